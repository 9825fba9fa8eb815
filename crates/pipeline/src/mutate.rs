//! The protections that a test can switch off, to show that the end-to-end audit would notice their absence: an audit
//! that passes without them proves nothing.
//!
//! In a development build, `BROCA_MUTATE=<name>` switches one of them off for the process. A release build has none
//! of this. Each is the smallest change that still is an honest picture of a pipeline without the protection:
//!
//! | name | what is gone |
//! |---|---|
//! | `fence` | a worker does not listen to the fence: told that its lease is lost, it goes on and calls the agent |
//! | `outbox` | what is owed to the broker is forgotten when it is sent, not when the broker confirms it |
//! | `sweep` | nobody looks for what a crash or an outage left lying |
//! | `dedup` | an event that the platform reports twice is two messages |
//!
//! The database's own guards cannot be switched off: `fence` shows a worker that ignores them, and that it is not
//! enough that its writes are refused.

macro_rules! protections {
    ($($(#[$doc:meta])* $variant:ident = $name:literal),* $(,)?) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Protection { $($(#[$doc])* $variant),* }

        impl Protection {
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }
        }
    };
}

protections!(
    /// Whoever lost the lease stops.
    Fence = "fence",
    /// A publish is owed until the broker's PubAck.
    Outbox = "outbox",
    /// What was left lying is found by its row.
    Sweep = "sweep",
    /// One event is one message.
    Dedup = "dedup",
);

/// Whether the protection is switched off: never.
#[cfg(not(debug_assertions))]
pub(crate) fn is_off(_protection: Protection) -> bool {
    false
}

/// Whether a test switched the protection off.
#[cfg(debug_assertions)]
pub(crate) fn is_off(protection: Protection) -> bool {
    use std::sync::LazyLock;

    static OFF: LazyLock<Option<String>> = LazyLock::new(|| std::env::var("BROCA_MUTATE").ok());
    OFF.as_deref() == Some(protection.name())
}
