//! The contract between the pipeline and whatever answers.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use broca_core::{ConversationId, Timestamp, TraceParent, TurnId, TurnOutcome, agent::Failure};

/// The agent's own name for a conversation (`conv-…` at Letta). Kept in SQL once it is known.
pub type AgentConversation = String;

/// An image that the agent is shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Image {
    /// It stands behind so many bytes of the text.
    pub at: usize,
    /// E.g. `image/png`.
    pub media_type: String,
    /// Base64, and nothing in front of it.
    pub data: String,
}

impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Image({} at {}, {} characters)", self.media_type, self.at, self.data.len())
    }
}

/// One thing to say to an agent.
#[derive(Clone, Debug)]
pub struct TurnRequest {
    /// The idempotency key: globally unique for a logical turn, the same whenever that turn is repeated.
    pub turn: TurnId,
    pub conversation: AgentConversation,
    /// Already formatted.
    pub text: String,
    /// In the order of their places. An agent that takes none has the text, which tells of them.
    pub images: Arc<[Image]>,
    /// Who wrote, as stored with the message at the agent; not shown to the model.
    pub sender: Option<String>,
    pub trace: Option<TraceParent>,
    /// How long the turn may take in all, before it is cancelled and looked at.
    pub deadline: Duration,
}

/// What the record says of a turn that was started and whose end nobody wrote down.
#[derive(Clone, Debug)]
pub struct OpenTurn {
    pub request: TurnRequest,
    /// The agent's name for the run (`run-…` at Letta), if it got as far as being recorded.
    pub run: Option<String>,
    /// The last event of that run that was recorded.
    pub seq: i64,
    /// When the turn was started, by the database's clock.
    pub sent_at: Timestamp,
    /// How long ago that is, by the same clock.
    pub age: Duration,
}

/// Where a running turn is noted, so that a successor can find it. Called by the agent; must not block for
/// longer than a commit.
#[async_trait]
pub trait RunProgress: Send + Sync {
    /// The agent has given the turn a run id: returns once that is durable (or the lease was lost).
    async fn run_known(&self, turn: TurnId, run: &str);
    /// Events up to `seq` were read. Cheap; noted with the next heartbeat.
    fn seen(&self, turn: TurnId, seq: i64);
}

/// What became of a turn that was to be stopped.
#[derive(Clone, Debug, PartialEq)]
pub enum Stopped {
    /// It runs no more and brings no answer. `heard`: the agent has its text in the conversation, as far as can be told.
    Stopped { heard: bool },
    /// It came to its end all the same.
    Ended(TurnOutcome),
}

/// What the agent's side says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentHealth {
    pub version: String,
    /// Whether a turn can be repeated under its idempotency key (Letta: Redis behind it).
    pub idempotent: bool,
    /// One line for an operator.
    pub detail: String,
}

#[async_trait]
pub trait Agent: Send + Sync + std::fmt::Debug {
    /// The server that is asked, where there is one. Agents at one server share its fate: when it is away, none of them
    /// is asked. Without credentials: people see it.
    fn endpoint(&self) -> Option<&str> {
        None
    }

    /// Whether the agent has conversations of its own that must be created and remembered.
    fn keeps_conversations(&self) -> bool {
        true
    }

    /// Creates the agent's conversation for `key`; called once per conversation, its result is remembered.
    ///
    /// # Errors
    /// `TurnOutcome::Retry` or `TurnOutcome::Dead`: nothing was said to the agent yet.
    async fn create_conversation(&self, key: ConversationId, label: &str) -> Result<AgentConversation, TurnOutcome>;

    /// Says `request` to the agent and waits for the end of the turn. Cancelling the future (dropping it) leaves
    /// the turn running at the agent; [`Agent::recover`] finds it again.
    async fn run_turn(&self, request: TurnRequest, progress: &dyn RunProgress) -> TurnOutcome;

    /// Finds out what became of a turn that somebody else started, and brings it to its end: attaches to it while
    /// it runs, reads its answer when it is over, says it again (same key) only when the evidence says that the
    /// agent never got it or will recognise the key.
    async fn recover(&self, open: OpenTurn, progress: &dyn RunProgress) -> TurnOutcome;

    /// Has a turn stop that somebody began, perhaps the caller, and says what it came to. Waits for its end where it cannot
    /// be stopped.
    async fn stop(&self, open: OpenTurn, progress: &dyn RunProgress) -> Stopped;

    /// Stops whatever runs in a conversation.
    async fn cancel(&self, conversation: &AgentConversation) -> Result<(), Failure>;

    /// Deletes a conversation at the agent, as far as its server does; one that is gone already is deleted. (Letta 0.16.8
    /// marks it as deleted and shows it no more.)
    async fn delete_conversation(&self, conversation: &AgentConversation) -> Result<(), Failure>;

    /// Where each person has a block in the agent's memory; `None` where they have none.
    fn memory(&self) -> Option<&dyn Memory> {
        None
    }

    /// Asks whether the agent is there and what it can do.
    async fn probe(&self) -> Result<AgentHealth, Failure>;
}

/// What came of attaching a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attachment {
    Done,
    /// There is no such block any more.
    NoBlock,
    /// Other blocks stand in its place.
    Taken(Vec<String>),
}

/// The blocks of people in an agent's memory. Each call may be repeated; who may make them, the pipeline sees to.
#[async_trait]
pub trait Memory: Send + Sync {
    /// What names the agent wherever its server is the same: two settings of one agent share its memory.
    fn agent(&self) -> String;

    /// Creates a block, which is attached to nobody.
    async fn create(&self, value: &str) -> Result<String, Failure>;

    async fn attach(&self, block: &str) -> Result<Attachment, Failure>;

    /// One that is not attached is detached.
    async fn detach(&self, block: &str) -> Result<(), Failure>;

    /// All blocks that are attached.
    async fn list(&self) -> Result<Vec<String>, Failure>;

    /// Has the conversation's next turn see what is attached now.
    async fn recompile(&self, conversation: &str) -> Result<(), Failure>;

    /// The identity of a block's person, made when it is not there; `None` where nobody is to have one.
    async fn identify(&self, block: &str, name: &str) -> Result<Option<String>, Failure>;

    /// One that is gone is deleted. Its person's identity goes with it.
    async fn delete(&self, block: &str) -> Result<(), Failure>;

    /// Why nothing can be attached: a block of the agent's own stands in its place.
    fn is_taken(&self) -> Failure;
}
