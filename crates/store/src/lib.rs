//! All SQL of Broca, on SQLite and PostgreSQL behind one concrete [`Store`].
//!
//! This is the only crate that names sqlx. Every operation on a message's way exists as a batch and is
//! group-committed: callers hand in one item, whatever waits becomes the next statement.
//!
//! Order and ownership are rows. A conversation counts what it accepted (`tail`) and what it finished (`head`);
//! accept, claim, finish and release all write its row, so none of them can overlook another. Whoever claims it
//! raises its `epoch`, and every write under a lease names the epoch it was taken with.

mod accept;
mod access;
mod accounts;
mod audit;
mod audit_log;
mod backlog;
mod backlog_plan;
mod backup;
mod batcher;
mod cancel;
mod catch_up;
mod closing;
mod cursor;
mod db;
mod dead_letters;
mod decode;
mod delivering;
mod duties;
mod end_turn;
mod ending;
mod endpoints;
mod error;
mod export;
mod facts;
mod forget;
mod holding;
mod holds;
mod joint;
mod journal;
mod journey;
mod limits;
mod listing;
mod lite;
mod live;
mod notices;
mod operation;
mod pairing;
mod parking;
mod people;
mod person;
mod pg;
mod plans;
mod queue;
mod reading;
mod replay;
mod retention;
mod rows;
mod set_aside;
mod settle;
mod slots;
mod standing;
mod stops;
mod store;
mod targets;
mod tokens;
mod turns;
mod tx;
mod workers;
mod workload;
mod writes;
mod yardstick;

pub use access::{AccessCopy, AccessRule, AccessState, Activation, NewRule, RuleSource};
pub use accounts::{Account, AccountClaim, AccountLease, AccountOwner, ClaimAccount};
pub use audit::{AuditLimits, Irregular, Irregularity};
pub use audit_log::{Act, ActEnd, ActFilter, ActOutcome, NewAct, Via};
pub use backlog::{
    AGES_S, Backlog, BacklogFilter, BacklogGroup, QueueItem, Stand, WaitingConversation, WaitingMessage,
};
pub use backlog_plan::{BacklogAct, BacklogStep, PacedPlan};
pub use cancel::Cancelled;
pub use closing::LetterCopy;
pub use cursor::PageCursor;
pub use dead_letters::{Closed, ClosedLetters, Letter, LetterFilter, Stage};
pub use duties::Duty;
pub use end_turn::{EndTurn, MessageEnd, TurnEnded};
pub use ending::{End, Finish, Finished, IfFailed, NewResponse};
pub use endpoints::{Endpoint, EndpointSign, EndpointStep, EndpointStepped};
pub use error::StoreError;
pub use export::{ExportFilter, ExportStep};
pub use facts::DatabaseFacts;
pub use forget::{AgentSide, ForgetEnd, ForgetItem, Forgotten, PersonConversation, PersonData};
pub use holds::{Hold, HoldState, HoldSubject, NewHold, Person, PutOn};
pub use joint::StartJoint;
pub use journey::JourneyEvent;
pub use listing::{ConversationFilter, ListedConversation, ListedMessage, MessageFilter};
pub use live::{Applied, LiveChange, NewLiveChange, Outcome, SetMode};
pub use pairing::{Pairing, PairingState, PairingTerms};
pub use parking::{Park, Parked, ParkedCount, Unpark};
pub use people::{User, UserConversation, UserFilter, UserProfile};
pub use person::{PersonChange, PersonSettings};
pub use plans::{NewPlan, NewPlanItem, Plan, PlanItem};
pub use replay::{ReplayRecord, Replayed};
pub use retention::{Chosen, Cuts, EventsStep, Kept, Removed, RetentionPolicy};
pub use rows::*;
pub use settle::Settled;
pub use slots::SlotWish;
pub use standing::{AnswerStanding, FirstInLine, HoldStanding, Journey, LeaseStanding, OwedPublish, Queue, Standing};
pub use stops::{Behind, Stop, StopKind};
pub use store::{Backend, PENDING_PAGE, Store, StoreOptions};
pub use targets::{DeadTarget, TargetCursor, TargetFilter};
pub use tokens::{ApiToken, Confirmation, NewToken};
pub use turns::{ResumeTurn, StartTurn};
pub use workers::{Pace, Pulse, Sign, WorkerRow};
pub use workload::Workload;
pub use yardstick::Yardstick;
