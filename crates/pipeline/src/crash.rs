//! The places between two durable points, by name, where a test stops the process.
//!
//! In a development build, `BROCA_CRASH_AT=<name>` aborts the process the first time it gets there (once over all
//! processes that share the file named by `BROCA_CRASH_ONCE`). A release build has none of this.

macro_rules! points {
    ($($(#[$doc:meta])* $variant:ident = $name:literal),* $(,)?) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum CrashPoint { $($(#[$doc])* $variant),* }

        impl CrashPoint {
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }
        }
    };
}

points!(
    /// An image is in its bucket; its message is not committed. Only a message with one leads here.
    FileKept = "file-kept",
    /// The message is committed; its wake is not published.
    Ingested = "ingested",
    /// A command is committed; it is not obeyed. Only a command leads here.
    CommandStored = "command-stored",
    /// A wake or answer is published; the outbox does not know it.
    Published = "published",
    /// A worker holds the conversation; no turn is recorded.
    Claimed = "claimed",
    /// The turn is recorded; the agent was not called.
    TurnStarted = "turn-started",
    /// The sender's block is attached to the agent; nothing was said. Only an agent that keeps people's blocks leads here.
    BlockAttached = "block-attached",
    /// The agent has given the turn a run; the run is recorded, the answer is not there.
    RunKnown = "run-known",
    /// Somebody wants the turn stopped, and that is on record; the agent was not told. Only a stop leads here, and to the
    /// next one.
    StopAsked = "stop-asked",
    /// The agent was told to stop; nothing of that is recorded.
    Stopped = "stopped",
    /// The agent has answered; nothing of it is recorded.
    AgentAnswered = "agent-answered",
    /// Answer, turn and response are committed; the answer is not published.
    TurnFinished = "turn-finished",
    /// The conversation is released; its wake is not acked.
    Released = "released",
    /// What an ended hold took out of one conversation is back in its queue; the hold is not over. Only a hold
    /// leads here.
    HoldStep = "hold-step",
    /// The delivery attempt is recorded; the platform was not called.
    DeliveryBegun = "delivery-begun",
    /// The platform has the answer; no receipt is recorded.
    PlatformSent = "platform-sent",
    /// A part of the answer is at the platform and on record; the rest is not sent.
    PartRecorded = "part-recorded",
    /// The receipt is recorded; the broker's message is not acked.
    DeliveryFinished = "delivery-finished",
);

/// Marks the place.
#[cfg(not(debug_assertions))]
pub(crate) fn point(_here: CrashPoint) {}

/// Marks the place, and ends the process here when a test asked for it.
#[cfg(debug_assertions)]
pub(crate) fn point(here: CrashPoint) {
    use std::sync::LazyLock;

    static AT: LazyLock<Option<String>> = LazyLock::new(|| std::env::var("BROCA_CRASH_AT").ok());
    if AT.as_deref() != Some(here.name()) {
        return;
    }
    let first = match std::env::var_os("BROCA_CRASH_ONCE") {
        Some(marker) => std::fs::File::create_new(marker).is_ok(),
        None => true,
    };
    if first {
        tracing::error!(point = here.name(), "crashing, as BROCA_CRASH_AT says");
        std::process::abort();
    }
}
