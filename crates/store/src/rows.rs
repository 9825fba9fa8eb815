//! What goes into the store and what comes out of it: the vocabulary of its operations.

use std::time::Duration;

use broca_core::{
    ConversationId, Instance, KeptFile, MessageId, MessageState, OutboxId, Part, Profile, Receipt, Response,
    ResponseId, ResponseKind, ResponseState, Timestamp, TraceParent, TurnId, UserId, WorkerId,
    access::{Allowance, Suppression},
    agent::Failure,
    retry::Budget,
    route::Scope,
};

use crate::PairingTerms;

/// A checked message on its way in, with what the route said of it.
#[derive(Clone, Debug)]
pub struct NewMessage {
    pub id: MessageId,
    pub instance: Instance,
    pub platform: String,
    /// Already checked ([`broca_core::Incoming::checked`]).
    pub incoming: broca_core::Incoming,
    pub route: String,
    pub agent: String,
    pub scope: Scope,
    pub trace: TraceParent,
    /// What came with it; its bytes are where these say, or nowhere.
    pub files: Vec<KeptFile>,
    pub admission: Admission,
}

/// Whether a message is let in, as far as is known before it is counted.
#[derive(Clone, Debug, Default)]
pub enum Admission {
    #[default]
    Open,
    /// If its sender has not said too much, which is counted in the transaction that stores the message.
    Within { allowance: Allowance, keep_text: bool },
    /// It is stored and goes nowhere.
    Suppressed { suppression: Suppression, keep_text: bool },
    /// The same, and its sender gets a code unless they have one.
    AskPairing { suppression: Suppression, keep_text: bool, terms: PairingTerms },
    /// It is stored aside, for [`crate::Store::obey`]; whoever has a limit is counted.
    Command { allowance: Option<Allowance> },
}

/// What became of a [`NewMessage`]: committed, in its place, with its wake owed to the broker.
#[derive(Clone, Debug)]
pub enum Accepted {
    New {
        message: MessageId,
        conversation: ConversationId,
        /// The owed wake: publish it, then [`crate::Store::outbox_done`].
        outbox: OutboxId,
        at: Timestamp,
    },
    /// `(instance, event_id)` was accepted before, as this message.
    Duplicate { message: MessageId },
    /// Committed and not let in. Nobody waits for it, and it owes nothing but the notice to its sender, if there is one.
    Suppressed { message: MessageId, suppression: Suppression, notice: Option<Box<Owed>> },
}

/// A publish that is owed to the broker, with everything needed to make it.
#[derive(Clone, Debug, PartialEq)]
pub struct Owed {
    pub id: OutboxId,
    pub what: OwedKind,
    pub instance: Instance,
    pub message: MessageId,
    pub conversation: ConversationId,
    pub text: String,
    pub trace: Option<TraceParent>,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq)]
pub enum OwedKind {
    /// A worker should look at the conversation.
    Wake,
    /// An answer waits for its plugin.
    Response(ResponseId),
    /// A message failed (`stage` `turn`) or its answer did (`stage` `delivery`).
    DeadLetter { stage: String, class: String, reason: String, attempts: u32 },
}

/// A worker's wish to hold the conversation of a message.
#[derive(Clone, Debug)]
pub struct ClaimRequest {
    pub message: MessageId,
    /// From the broker's subject; must be the row's.
    pub instance: Instance,
    pub worker: WorkerId,
    pub ttl: Duration,
}

#[derive(Clone, Debug)]
pub enum Claimed {
    Held(Box<Lease>),
    /// Another worker holds it; it will see the message.
    Busy,
    /// Nothing is attempted before that time; the sweep wakes it then.
    Parked {
        until: Timestamp,
    },
    /// An operator keeps it back until then; `None` is until further notice. The sweep wakes it when the hold ends.
    OnHold {
        until: Option<Timestamp>,
    },
    /// Nothing is pending, or nothing but what is on hold.
    Idle,
    /// No such message, or it belongs to another instance: the wake is not ours.
    Unknown,
}

impl Claimed {
    /// As the statements say it.
    pub(crate) fn on_hold(until: Option<i64>) -> Self {
        Self::OnHold { until: until.filter(|until| *until < i64::MAX).map(Timestamp) }
    }
}

/// A held conversation.
#[derive(Clone, Debug)]
pub struct Lease {
    pub conversation: ConversationId,
    /// The fence: every write names it, and none happens once somebody else has a higher one.
    pub epoch: i64,
    /// The agent's configured name.
    pub agent: String,
    /// The agent's own id of the conversation, once created.
    pub agent_conversation: Option<String>,
    /// The first pending messages, in order; at most [`crate::PENDING_PAGE`].
    pub pending: Vec<PendingMessage>,
    /// The turn that was started and never finished, if any. It belongs to `pending[0]`.
    pub open_turn: Option<StartedTurn>,
}

#[derive(Clone, Debug)]
pub struct PendingMessage {
    pub id: MessageId,
    /// Its place in the conversation.
    pub seq: i64,
    /// Attempts started so far, resumed ones included.
    pub attempts: u32,
    /// Of these, the ones before the last replay: they count against no budget.
    pub attempts_before: u32,
    pub instance: Instance,
    pub route: String,
    pub chat_id: Option<String>,
    pub is_group: bool,
    pub text: String,
    pub profile: Profile,
    /// What its sender's agent is to bear in mind with each of their messages.
    pub instructions: Option<String>,
    pub received_at: Timestamp,
    /// The time since it was accepted or last replayed, by the database's clock, at `read_at`.
    pub age: Duration,
    pub read_at: std::time::Instant,
    pub trace: Option<TraceParent>,
    /// What it is allowed, where that is not what its route says.
    pub budget: Option<Budget>,
    /// A mention or a question, as its plugin says.
    pub urgent: bool,
    /// An operator brought it back.
    pub replayed: bool,
    /// Somebody wants what waits to become one turn, whatever its route says.
    pub to_join: bool,
    /// The agent has its text, by a turn that was stopped.
    pub heard: bool,
    /// How often its turn was stopped for a later message.
    pub interrupted: u32,
    pub files: Vec<KeptFile>,
}

#[derive(Clone, Debug)]
pub struct StartedTurn {
    pub id: TurnId,
    /// The first, where it says several.
    pub message: MessageId,
    /// How many it says.
    pub messages: u32,
    pub attempt: u32,
    pub run: Option<String>,
    pub run_seq: i64,
    pub agent_conversation: Option<String>,
    pub started_at: Timestamp,
    pub age: Duration,
}

/// The answer to a write under a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fenced<T> {
    Done(T),
    /// The lease was lost: nothing was written, and nothing else may be.
    LeaseLost,
}

/// A conversation that has work and nobody who does it: publish a wake for its message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SweptWake {
    pub conversation: ConversationId,
    /// The first pending one.
    pub message: MessageId,
    pub instance: Instance,
    pub at: Timestamp,
}

/// What a plugin process gets when it wants to deliver an answer.
#[derive(Clone, Debug)]
pub enum Delivery {
    /// Deliver it now; the attempt is recorded.
    Go(Box<Dispatch>),
    /// An earlier process was cut off in this attempt: settle it first.
    Settle(Box<Dispatch>),
    /// An earlier answer of the same chat is still open; whoever ends that one brings this one.
    Behind,
    /// Another process holds it, or its next attempt is later.
    Wait { until: Timestamp },
    /// An operator keeps the instance back until then; `None` is until further notice.
    OnHold { until: Option<Timestamp> },
    /// It is over.
    Over(ResponseState),
    /// No such answer, or another instance's.
    Unknown,
}

#[derive(Clone, Debug)]
pub struct Dispatch {
    pub response: Response,
    pub profile: Profile,
    pub message: MessageId,
    /// Attempts before the last replay, or before the one that last sent a part: they count against no budget.
    pub attempts_before: u32,
    /// The time since it was written or last replayed, by the database's clock.
    pub age: Duration,
    /// The time since its message was accepted, or either of the two was last replayed, at `read_at`.
    pub waited: Duration,
    pub read_at: std::time::Instant,
    /// The platform takes nothing for this chat, by what it last said: end the attempt without asking it.
    pub refused: Option<Refused>,
}

/// What a platform said of a chat that it takes nothing for.
#[derive(Clone, Debug)]
pub struct Refused {
    pub failure: Failure,
    pub since: Timestamp,
}

/// What the platform has by now of an answer that takes several of its messages. Fenced by `(host, attempt)`.
#[derive(Clone, Debug)]
pub struct RecordParts {
    pub response: ResponseId,
    pub host: WorkerId,
    pub attempt: u32,
    /// All of them, from the first on.
    pub parts: Vec<Part>,
}

/// The end of a delivery attempt. Fenced by `(host, attempt)`.
#[derive(Clone, Debug)]
pub struct FinishDelivery {
    pub response: ResponseId,
    pub host: WorkerId,
    pub attempt: u32,
    pub end: DeliveryEnd,
}

#[derive(Clone, Debug)]
pub enum DeliveryEnd {
    Delivered(Receipt),
    Retry {
        failure: Failure,
        delay: Duration,
    },
    /// Dead-lettered with stage `delivery`.
    Dead(Failure),
    /// The same, and remembered of the chat: what was written before this attempt is not delivered there, until
    /// somebody writes in it, or until `probe_after`.
    TargetDead {
        failure: Failure,
        probe_after: Duration,
    },
    Unknown(Failure),
    /// The platform does not have it after all (settled), or the host stops: back to pending, attempt not counted.
    HandBack,
}

/// What a [`FinishDelivery`] led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryFinished {
    /// The next open answer of the same chat, now first in line.
    pub next: Option<ResponseId>,
    pub owed: Option<OutboxId>,
}

/// One message with all that happened to it.
#[derive(Clone, Debug, serde::Serialize, schemars::JsonSchema)]
pub struct MessageRecord {
    pub id: MessageId,
    pub state: MessageState,
    pub instance: Instance,
    pub platform: String,
    pub platform_user_id: String,
    pub user_id: UserId,
    pub conversation_id: ConversationId,
    pub seq: i64,
    pub route: String,
    pub chat_id: Option<String>,
    pub is_group: bool,
    pub agent: String,
    pub text: String,
    /// What came with it; those that have an `object` are in the instance's bucket until they expire.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<KeptFile>,
    pub attempts: u32,
    /// What it is allowed, where that is not what its route says.
    pub budget: Option<Budget>,
    /// What its trace is called at whoever collects traces.
    pub trace_id: Option<String>,
    pub class: Option<String>,
    pub reason: Option<String>,
    pub received_at: Timestamp,
    pub finished_at: Option<Timestamp>,
    pub turns: Vec<TurnRecord>,
    pub responses: Vec<ResponseRecord>,
    /// The message that has the answer, where several were answered in one turn and this one was not the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answered_with: Option<MessageId>,
    /// Oldest first.
    pub replays: Vec<crate::ReplayRecord>,
}

#[derive(Clone, Debug, serde::Serialize, schemars::JsonSchema)]
pub struct TurnRecord {
    pub id: TurnId,
    pub state: broca_core::TurnState,
    pub attempt: u32,
    /// How many messages it said.
    pub messages: u32,
    pub worker: String,
    pub run: Option<String>,
    pub class: Option<String>,
    pub reason: Option<String>,
    pub started_at: Timestamp,
    pub finished_at: Option<Timestamp>,
}

#[derive(Clone, Debug, serde::Serialize, schemars::JsonSchema)]
pub struct ResponseRecord {
    pub id: ResponseId,
    pub kind: ResponseKind,
    pub state: ResponseState,
    pub attempts: u32,
    pub text: String,
    pub receipt: Option<Receipt>,
    /// What the platform has of an answer that takes several of its messages; the last one is in the receipt alone.
    pub parts: Vec<Part>,
    pub class: Option<String>,
    pub reason: Option<String>,
    pub created_at: Timestamp,
    pub finished_at: Option<Timestamp>,
}

/// Counts for `broca status`.
#[derive(Clone, Debug, Default, serde::Serialize, schemars::JsonSchema)]
pub struct Counts {
    pub messages: std::collections::BTreeMap<String, i64>,
    /// Answers by their states.
    pub responses: std::collections::BTreeMap<String, i64>,
    /// What people were told instead of an answer, likewise.
    pub notices: std::collections::BTreeMap<String, i64>,
    pub users: i64,
    pub conversations: i64,
    pub pending_conversations: i64,
    pub leased_conversations: i64,
    /// On hold because they kept failing.
    pub quarantined_conversations: i64,
    pub outbox: i64,
    /// Age of the oldest message that is not over, by the database's clock.
    pub oldest_open: Option<Duration>,
}

/// A line of a person's chat history, oldest first.
#[derive(Clone, Debug, serde::Serialize)]
pub struct HistoryLine {
    pub message: MessageId,
    pub text: String,
    pub state: MessageState,
    pub answer: Option<String>,
    pub received_at: Timestamp,
}
