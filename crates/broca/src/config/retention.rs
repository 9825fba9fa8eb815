//! The settings that say how long things are kept.

use std::time::Duration;

use broca_store::RetentionPolicy;
use serde::{Deserialize, Serialize};

/// How long what has ended is kept; 0 days are for ever.
#[derive(Clone, Debug, Deserialize, Serialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RetentionSettings {
    /// How often one of the workers removes what is over for long enough; 0 is never.
    pub(crate) interval_s: u64,
    /// Messages with all that hangs on them, since the last that happened to them.
    pub(crate) messages_days: u64,
    /// Dead letters that were resolved or replayed, since then.
    pub(crate) dead_letters_days: u64,
    /// Dead letters that nobody dealt with.
    pub(crate) open_dead_letters_days: u64,
    /// So many messages at most; 0 is any number.
    pub(crate) max_messages: u64,
    /// The steps of messages that have ended; 0: as long as their message.
    pub(crate) events_days: u64,
    /// Replay plans and holds that are over, and codes that nobody approved.
    pub(crate) records_days: u64,
    /// What operators did.
    pub(crate) audit_days: u64,
    /// How long a platform may repeat an event and is told that it is known, though the message is removed.
    pub(crate) dedupe_days: u64,
    /// The limits of the broker's streams, where they are not those of nats/.
    pub(crate) streams: StreamSettings,
}

impl Default for RetentionSettings {
    fn default() -> Self {
        Self {
            interval_s: 300,
            messages_days: 90,
            dead_letters_days: 90,
            open_dead_letters_days: 0,
            max_messages: 0,
            events_days: 0,
            records_days: 90,
            audit_days: 365,
            dedupe_days: 7,
            streams: StreamSettings::default(),
        }
    }
}

impl RetentionSettings {
    pub(crate) fn policy(&self) -> RetentionPolicy {
        let days = |days: u64| Duration::from_secs(days * 86_400);
        let age = |n: u64| (n > 0).then(|| days(n));
        RetentionPolicy {
            messages: age(self.messages_days),
            dead_letters: age(self.dead_letters_days),
            open_dead_letters: age(self.open_dead_letters_days),
            max_messages: (self.max_messages > 0).then_some(self.max_messages),
            events: age(self.events_days),
            records: age(self.records_days),
            audit: age(self.audit_days),
            dedupe: days(self.dedupe_days),
        }
    }
}

/// The limits of the broker's streams, where they are not those of the files under nats/. `broca nats apply` applies them.
#[derive(Clone, Debug, Default, Deserialize, Serialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct StreamSettings {
    /// Copies of dead letters; 0 is for ever.
    pub(crate) dlq_days: Option<u64>,
    /// Of that stream, in MiB.
    pub(crate) dlq_mb: Option<u64>,
    /// How long the stream of events keeps what happened, for dashboards and plugins.
    pub(crate) events_hours: Option<u64>,
    /// Of that stream, in MiB.
    pub(crate) events_mb: Option<u64>,
    /// In MiB; when it is full, wakes wait in the database.
    pub(crate) in_mb: Option<u64>,
    /// In MiB; when it is full, answers wait there.
    pub(crate) out_mb: Option<u64>,
}
