//! Everything that is counted and measured, by name: the one table. Whoever counts takes the name from here, the
//! process that shows it takes kind, help and buckets; `deploy/metrics.md` is the same table for people, and a test
//! holds the two and a running process together.
//!
//! Labels are few and have few values: never an id, a person or a text. The label `plugin` is the name of a plugin's
//! instance; Prometheus keeps `instance` for the address that it asks.

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only rises, from zero at the start of the process.
    Counter,
    Gauge,
    /// A histogram of seconds.
    Seconds,
    /// A histogram of the seconds of something that takes milliseconds.
    ShortSeconds,
    /// A histogram of counts.
    Sizes,
}

impl Kind {
    /// As Prometheus calls it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Seconds | Self::ShortSeconds | Self::Sizes => "histogram",
        }
    }

    /// The upper bounds of a histogram's buckets.
    pub fn buckets(self) -> &'static [f64] {
        match self {
            Self::Counter | Self::Gauge => &[],
            Self::Seconds => {
                &[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 3600.0]
            }
            Self::ShortSeconds => &[0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0],
            Self::Sizes => &[1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 200.0],
        }
    }
}

/// What a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Worker,
    Plugin,
    Up,
}

impl Role {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Plugin => "plugin",
            Self::Up => "up",
        }
    }
}

/// One line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    pub name: &'static str,
    pub kind: Kind,
    pub labels: &'static [&'static str],
    /// The processes that show it.
    pub by: &'static [Role],
    /// It is about the whole deployment, and one process at a time shows it.
    pub one_at_a_time: bool,
    pub help: &'static str,
}

macro_rules! table {
    (@) => { false };
    (@ one) => { true };
    ($($(#[doc = $help:literal])+ $variant:ident: $kind:ident $name:literal [$($label:literal),*] by $($role:ident)+ $(, $one:ident)?;)*) => {
        $($(#[doc = $help])+ pub const $variant: Metric = Metric {
            name: $name,
            kind: Kind::$kind,
            labels: &[$($label),*],
            by: &[$(Role::$role),+],
            one_at_a_time: table!(@ $($one)?),
            help: concat!($($help),+),
        };)*

        /// The table.
        pub const ALL: &[Metric] = &[$($variant),*];
    };
}

table! {
    /// Always 1; says which process this is and which version it runs.
    BUILD_INFO: Gauge "broca_build_info" ["process", "role", "version"] by Worker Plugin Up;

    /// Reports of a platform: accepted, duplicate, suppressed (its sender may not talk), refused (can never be accepted), unavailable (nothing was stored).
    MESSAGES: Counter "broca_messages_total" ["plugin", "platform", "outcome"] by Plugin;
    /// From a plugin's report to the commit.
    INGEST: ShortSeconds "broca_ingest_duration_seconds" ["plugin", "platform"] by Plugin;

    /// Files that came with messages: kept (an image that the agent sees), not_kept (one that it does not, with the reason in the message), described (all else).
    FILES: Counter "broca_files_total" ["plugin", "platform", "outcome"] by Plugin;

    /// Wakes that a worker took: held, busy, parked, idle, unknown, superseded, failed.
    WAKES: Counter "broca_wakes_total" ["outcome"] by Worker;
    /// Turns that were begun, or taken up from a predecessor.
    TURNS_STARTED: Counter "broca_turns_started_total" ["agent"] by Worker;
    /// Turns that ended: answered, retry, dead, unknown, stopped, lease_lost, handed_over; with the class of the failure.
    TURNS: Counter "broca_turns_total" ["agent", "outcome", "class"] by Worker;
    /// How long the agent took for a turn.
    TURN: Seconds "broca_turn_duration_seconds" ["agent"] by Worker;
    /// 1 for the state of an agent's endpoint as this worker knows it: closed (it is asked), open (it is not), half_open (one turn is let through).
    BREAKER: Gauge "broca_breaker_state" ["endpoint", "state"] by Worker;
    /// How often this worker found that an agent's endpoint is away, so that nobody asks it for a while.
    BREAKER_OPENED: Counter "broca_breaker_opened_total" ["endpoint"] by Worker;
    /// Conversations that had to wait although nothing of them failed: for an endpoint, a slot, an agent to be configured, more messages of a burst.
    PARKED: Counter "broca_parked_total" ["agent", "what_for"] by Worker;
    /// How long a turn waited until its agent, or its agent's endpoint, might have one more.
    SLOT_WAIT: Seconds "broca_turn_slot_wait_seconds" ["agent"] by Worker;
    /// Tokens that turns used, as the agent counts them: prompt, completion.
    TOKENS: Counter "broca_tokens_total" ["agent", "kind"] by Worker;
    /// Messages that came to an end at the agent: completed, stored, failed, cancelled (in their turn).
    MESSAGES_ENDED: Counter "broca_messages_ended_total" ["plugin", "platform", "outcome"] by Worker;
    /// People who were to be told that their message failed.
    NOTICES: Counter "broca_notices_total" ["plugin", "platform"] by Worker;
    /// From the acceptance of a message, or its last replay, to its answer.
    ANSWER: Seconds "broca_answer_delay_seconds" ["plugin", "platform"] by Worker;
    /// Conversations that this worker holds.
    LEASES: Gauge "broca_leases_held" [] by Worker;
    /// Conversations that this worker lost to another one.
    LEASES_LOST: Counter "broca_leases_lost_total" [] by Worker;
    /// Conversations that the sweep woke because nobody worked on them.
    SWEPT_WAKES: Counter "broca_swept_wakes_total" [] by Worker;
    /// Owed publishes that the sweep made because whoever owed them did not.
    SWEPT_PUBLISHES: Counter "broca_swept_publishes_total" [] by Worker;

    /// Messages of the broker that this process may hold at a time.
    SLOTS: Gauge "broca_slots" [] by Worker Plugin;
    /// Messages of the broker that this process works on.
    SLOTS_USED: Gauge "broca_slots_used" [] by Worker Plugin;

    /// Delivery attempts: delivered, retry, dead, unknown, handed_back, lease_lost; with the class of the failure.
    DELIVERIES: Counter "broca_deliveries_total" ["plugin", "platform", "outcome", "class"] by Plugin;
    /// How long the platform took for an attempt.
    DELIVERY: Seconds "broca_delivery_duration_seconds" ["plugin", "platform"] by Plugin;
    /// From the acceptance of a message, or the last replay, to the platform's receipt for its answer.
    DELIVERED: Seconds "broca_delivered_delay_seconds" ["plugin", "platform"] by Plugin;
    /// 1 for the state that the plugin is in: waiting_for_account, connecting, connected, degraded, bad_credentials, misconfigured, stopping, stopped.
    PLUGIN_STATE: Gauge "broca_plugin_state" ["plugin", "platform", "state"] by Plugin;

    /// Events said: message, status, error, own.
    EVENTS: Counter "broca_events_total" ["type"] by Worker Plugin;
    /// Events that were not said: more than may be said a second, no room, no connection.
    EVENTS_DROPPED: Counter "broca_events_dropped_total" ["type"] by Worker Plugin;

    /// Publishes of what was owed, and of swept wakes: stored, duplicate (the stream had it already), failed.
    PUBLISHES: Counter "broca_publishes_total" ["kind", "outcome"] by Worker Plugin;
    /// From a publish to the broker's acknowledgement.
    PUBLISH: ShortSeconds "broca_publish_duration_seconds" [] by Worker Plugin;
    /// 1 while the connection to NATS stands.
    NATS_CONNECTED: Gauge "broca_nats_connected" [] by Worker Plugin;
    /// How often the connection to NATS was made again.
    NATS_RECONNECTS: Counter "broca_nats_reconnects_total" [] by Worker Plugin;

    /// Items that went into one statement.
    BATCH: Sizes "broca_store_batch_items" ["operation"] by Worker Plugin;
    /// How long a batch took in the database, repetitions included.
    STORE: ShortSeconds "broca_store_duration_seconds" ["operation"] by Worker Plugin;
    /// Items that the database did not take: unavailable, contention, refused.
    STORE_ERRORS: Counter "broca_store_errors_total" ["operation", "kind"] by Worker Plugin;

    /// Conversations with work: waiting (nobody has it yet), in_hand (a worker holds it), parked (tried again later).
    CONVERSATIONS: Gauge "broca_conversations" ["state"] by Worker, one;
    /// Conversations that are on hold because they kept failing.
    QUARANTINED: Gauge "broca_conversations_quarantined" [] by Worker, one;
    /// Age of the oldest message that is not over, since its acceptance or its last replay; 0 when all are.
    OLDEST_MESSAGE: Gauge "broca_oldest_message_age_seconds" [] by Worker, one;
    /// Answers that are neither delivered nor given up.
    ANSWERS_OPEN: Gauge "broca_answers_open" [] by Worker, one;
    /// Age of the oldest of them; 0 when there is none.
    OLDEST_ANSWER: Gauge "broca_oldest_answer_age_seconds" [] by Worker, one;
    /// Publishes that the broker has not confirmed.
    OUTBOX: Gauge "broca_outbox_owed" [] by Worker, one;
    /// Age of the oldest of them; 0 when there is none.
    OLDEST_OWED: Gauge "broca_oldest_owed_age_seconds" [] by Worker, one;
    /// Dead letters that nobody resolved or replayed, by the stage at which they failed: turn, delivery.
    DEAD_LETTERS: Gauge "broca_dead_letters_open" ["stage"] by Worker, one;
    /// Messages, and what belongs to them, that are neither over nor on their way, by the last audit. Zero, always.
    ORPHANS: Gauge "broca_orphans" [] by Worker, one;
    /// What the last audit found, by kind; `broca check` says what each means.
    FINDINGS: Gauge "broca_audit_findings" ["kind"] by Worker, one;
    /// When the last audit ended, in seconds since 1970, by the database's clock.
    AUDITED: Gauge "broca_audit_timestamp_seconds" [] by Worker, one;
    /// Rows that this worker removed because they are over for long enough: messages (with all that hangs on them), events, plans, holds, marks, acts (lines of the audit log), codes, counters.
    RETENTION_REMOVED: Counter "broca_retention_removed_total" ["kind"] by Worker;
    /// Age of the oldest message that is still there; 0 when there is none.
    OLDEST_KEPT: Gauge "broca_oldest_kept_age_seconds" [] by Worker, one;

    /// 1 while the process runs and said that it works.
    CHILD_UP: Gauge "broca_child_up" ["process"] by Up;
    /// How often the process ended although nobody told it to.
    CHILD_RESTARTS: Counter "broca_child_restarts_total" ["process"] by Up;
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_follow_the_conventions_of_prometheus() {
        let names: BTreeSet<_> = ALL.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), ALL.len(), "a name stands twice");
        for Metric { name, kind, labels, help, .. } in ALL {
            let plain = |text: &str| text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
            assert!(name.starts_with("broca_") && plain(name) && labels.iter().all(|label| plain(label)), "{name}");
            assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
            assert!(name.ends_with("_seconds") || !matches!(kind, Kind::Seconds | Kind::ShortSeconds), "{name}");
            assert!(kind.buckets().is_sorted(), "{name}");
            // Prometheus gives these to every series itself.
            assert!(!labels.contains(&"instance") && !labels.contains(&"job"), "{name}");
            assert!(help.trim().ends_with('.') && !help.contains('|'), "{name}: {help}");
        }
    }
}
