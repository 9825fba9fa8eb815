//! The names in the broker. They are a contract with stored data, permissions and other consumers.

use crate::{Instance, MessageId, event::EventType};

/// Wakes: one message for every message that a worker should look at. Work-queue retention.
pub const STREAM_IN: &str = "BROCA_IN";
/// Answers for plugins. Work-queue retention.
pub const STREAM_OUT: &str = "BROCA_OUT";
/// Dead letters, newest per message. Limits retention.
pub const STREAM_DLQ: &str = "BROCA_DLQ";
/// What happened, for dashboards and plugins. Limits retention, short.
pub const STREAM_EVENTS: &str = "BROCA_EVENTS";
/// The key-value bucket of live settings.
pub const KV_SETTINGS: &str = "broca_settings";
/// The stream that the bucket is.
pub const STREAM_SETTINGS: &str = "KV_broca_settings";
/// The bucket's key of the modes that hold instead of the configured ones.
pub const KEY_MODES: &str = "mode";
/// The one durable consumer that all workers share.
pub const CONSUMER_WORKERS: &str = "workers";

/// Where a plugin instance publishes its wakes: `broca.in.<instance>`.
pub fn incoming(instance: &Instance) -> String {
    format!("broca.in.{instance}")
}

/// Where answers for a plugin instance go: `broca.out.<instance>`.
pub fn outgoing(instance: &Instance) -> String {
    format!("broca.out.{instance}")
}

/// The durable consumer that an instance binds: `out-<instance>`.
pub fn outgoing_consumer(instance: &Instance) -> String {
    format!("out-{instance}")
}

/// Where the copy of a dead letter goes; `stage` is `turn` or `delivery`.
pub fn dead_letter(stage: &str, instance: &Instance, message: MessageId) -> String {
    format!("broca.dlq.{stage}.{instance}.{message}")
}

/// All the copies of a message's dead letters, as a filter.
pub fn dead_letters_of(instance: &Instance, message: MessageId) -> String {
    format!("broca.dlq.*.{instance}.{message}")
}

/// Where an event is published: `broca.events.<type>.<instance>`.
pub fn event(kind: &EventType, instance: &Instance) -> String {
    format!("broca.events.{kind}.{instance}")
}

/// What to subscribe to for events of a type, of one instance or of all.
pub fn events(kind: &EventType, instance: Option<&Instance>) -> String {
    format!("broca.events.{kind}.{}", instance.map_or("*", Instance::as_str))
}

/// Where workers tell an instance that somebody waits for an answer: `broca.typing.<instance>`. Of no stream: it is
/// worth something now or never.
pub fn typing(instance: &Instance) -> String {
    format!("broca.typing.{instance}")
}

/// The bucket's key of an instance's settings.
pub fn settings_key(instance: &Instance) -> String {
    format!("plugin.{instance}")
}

/// The bucket's key of what an instance is told to do.
pub fn control_key(instance: &Instance) -> String {
    format!("control.{instance}")
}

/// The object store's bucket of an instance's files: `BROCA_FILES_<instance>`.
pub fn files_bucket(instance: &Instance) -> String {
    format!("BROCA_FILES_{instance}")
}

/// The stream that such a bucket is.
pub fn files_stream(instance: &Instance) -> String {
    format!("OBJ_{}", files_bucket(instance))
}

/// The subject of one of the bucket's keys.
pub fn of_setting(key: &str) -> String {
    format!("$KV.{KV_SETTINGS}.{key}")
}

/// The instance that a `broca.in.<instance>` or `broca.out.<instance>` subject names.
pub fn instance_of(subject: &str) -> Option<Instance> {
    let token = subject.strip_prefix("broca.in.").or_else(|| subject.strip_prefix("broca.out."))?;
    token.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_names_its_instance_and_nothing_else_does() {
        let instance: Instance = "web-chat".parse().unwrap();
        assert_eq!(instance_of(&incoming(&instance)), Some(instance.clone()));
        assert_eq!(instance_of(&outgoing(&instance)), Some(instance));
        for stray in ["broca.in.", "broca.in.a.b", "broca.dlq.turn.web.1", "other.in.web"] {
            assert_eq!(instance_of(stray), None, "{stray}");
        }
    }
}
