//! Lines that no program means well with.

use broca_plugin_exec::protocol::{self, FromChild};
use proptest::prelude::*;
use serde_json::{Value, json};

const TYPES: &[&str] = &[
    "ready",
    "ingest",
    "status",
    "history",
    "cancel",
    "part",
    "delivered",
    "retry",
    "dead",
    "unknown",
    "settled",
    "applied",
    "settings_refused",
    "state",
    "log",
    "emit",
    "failed",
    "hello",
    "deliver",
    "",
];

/// Fields that are read, and words that mean something in them.
const FIELDS: &[&str] = &[
    "id",
    "message",
    "message_id",
    "event_id",
    "sender",
    "platform_user_id",
    "username",
    "metadata",
    "chat_id",
    "text",
    "attributes",
    "addressed",
    "traceparent",
    "max_attempts",
    "limit",
    "reason",
    "platform_message_id",
    "text_bytes",
    "platform_message_ids",
    "after_ms",
    "class",
    "outcome",
    "parts",
    "text_end",
    "restart",
    "state",
    "detail",
    "level",
    "kind",
    "data",
    "cause",
    "name",
    "version",
    "capabilities",
    "markdown",
];
const WORDS: &[&str] = &[
    "blocked",
    "rate_limited",
    "delivered",
    "partly",
    "connected",
    "degraded",
    "info",
    "error",
    "x-own",
    "settings",
    "01a20a75-2634-75f9-aaa5-72502bdb0e44",
    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
];

fn nonsense() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        Just(json!(0.5)),
        "\\PC{0,20}".prop_map(Value::from),
        proptest::sample::select(WORDS).prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 48, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((proptest::sample::select(FIELDS), inner), 0..6)
                .prop_map(|fields| fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
        ]
    })
}

fn line() -> impl Strategy<Value = String> {
    let fields = prop::collection::vec((proptest::sample::select(FIELDS), nonsense()), 0..8);
    let typed = (proptest::sample::select(TYPES), fields).prop_map(|(kind, fields)| {
        let mut line = json!({"v": 1, "type": kind});
        for (key, value) in fields {
            line[key] = value;
        }
        line.to_string()
    });
    prop_oneof![typed, "\\PC{0,200}", nonsense().prop_map(|value| value.to_string())]
}

proptest! {
    /// Whatever it is, it is a message or it is not; what is one says the same when it is written again.
    #[test]
    fn a_line_is_a_message_or_it_is_not(line in line()) {
        if let Ok(message) = protocol::read::<FromChild>(&line) {
            let again = protocol::write(&message).unwrap();
            prop_assert_eq!(protocol::read::<FromChild>(&again).unwrap(), message);
        }
    }
}
