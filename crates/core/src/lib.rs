//! The vocabulary of Broca, without I/O: ids, states, retry decisions, the broker envelope and its
//! subjects, routes, message formatting, time.
//!
//! Everything here is a value or a pure function. The adapters (`broca-store`, `broca-bus`, `broca-letta`,
//! `broca-plugin`) share these types and never each other's.

pub mod access;
pub mod agent;
pub mod attachment;
pub mod breaker;
pub mod burst;
pub mod chat_command;
pub mod clock;
pub mod delivery;
pub mod envelope;
pub mod event;
pub mod format;
pub mod id;
pub mod incoming;
pub mod instance;
pub mod journal;
pub mod live;
pub mod metric;
pub mod notice;
pub mod retry;
pub mod rights;
pub mod route;
mod schema;
pub mod state;
pub mod subject;
pub mod trace;

pub use agent::{Answer, TurnOutcome, Usage};
pub use attachment::{Attachment, AttachmentPolicy, KeptFile};
pub use clock::{Clock, SystemClock, Timestamp};
pub use delivery::{DeliveryError, Part, Profile, Receipt, Response, ResponseKind};
pub use event::{Event, EventType};
pub use id::{
    ActId, ChangeId, ConversationId, HoldId, MessageId, OutboxId, PlanId, ProfileId, ResponseId, RuleId, TokenId,
    TurnId, UserId, WorkerId,
};
pub use incoming::{Claim, Incoming, Limits, Refusal, Sender};
pub use instance::Instance;
pub use journal::EventKind;
pub use state::{IllegalTransition, MessageState, ResponseState, TurnState};
pub use trace::TraceParent;
