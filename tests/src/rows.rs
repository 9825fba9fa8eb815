//! What the rows and the broker say: where a message stands, and whether anything is still open.

use std::{collections::BTreeMap, time::Duration};

use broca_bus::{Backlog, Bus};
use broca_core::{MessageState, ResponseKind, ResponseState, subject};
use broca_store::{MessageRecord, Store};

use crate::eventually;

const PATIENCE: Duration = Duration::from_secs(40);

/// The message with this text that `user` wrote on the `demo` platform, if it is accepted.
pub async fn message_of(store: &Store, user: &str, text: &str) -> Option<MessageRecord> {
    let lines = store.history("demo", user, 500).await.expect("the store answers");
    let line = lines.into_iter().find(|line| line.text == text)?;
    store.message(line.message).await.expect("the store answers")
}

/// The same, once it is in `state`.
pub async fn message_in(store: &Store, user: &str, text: &str, state: MessageState) -> MessageRecord {
    let what = format!("'{text}' is {state}");
    eventually(&what, PATIENCE, || async { message_of(store, user, text).await.is_some_and(|m| m.state == state) })
        .await;
    message_of(store, user, text).await.expect("it was there")
}

/// The same, once its only answer is in `state`.
pub async fn answer_in(store: &Store, user: &str, text: &str, state: ResponseState) -> MessageRecord {
    let what = format!("the answer to '{text}' is {state}");
    let reached = |m: MessageRecord| {
        let answer = m.responses.iter().find(|response| response.kind == ResponseKind::Answer);
        answer.is_some_and(|answer| answer.state == state)
    };
    eventually(&what, PATIENCE, || async { message_of(store, user, text).await.is_some_and(reached) }).await;
    message_of(store, user, text).await.expect("it was there")
}

/// No message, answer or owed publish is open any more.
pub async fn all_over(store: &Store) -> bool {
    let counts = store.counts().await.expect("the store answers");
    let none = |states: &BTreeMap<String, i64>, open: &[&str]| {
        open.iter().all(|state| states.get(*state).is_none_or(|count| *count == 0))
    };
    none(&counts.messages, &["received", "processing"])
        && none(&counts.responses, &["pending", "delivering", "retry"])
        && none(&counts.notices, &["pending", "delivering", "retry"])
        && counts.outbox == 0
        && counts.pending_conversations == 0
}

/// Waits until nothing is open in the rows, and nothing waits or is in hand at the broker's consumers of the workers
/// and of `instances`.
pub async fn comes_to_rest(store: &Store, bus: &Bus, instances: &[&str]) {
    eventually("every message and every answer is over", PATIENCE, || all_over(store)).await;
    let outgoing = instances.iter().map(|name| (subject::STREAM_OUT, format!("out-{name}")));
    let consumers: Vec<_> = outgoing.chain([(subject::STREAM_IN, subject::CONSUMER_WORKERS.to_owned())]).collect();
    for (stream, consumer) in consumers {
        let what = format!("nothing waits for {consumer}");
        eventually(&what, PATIENCE, || async {
            let Backlog { pending, ack_pending, .. } = bus.backlog(stream, &consumer).await.expect("NATS answers");
            pending == 0 && ack_pending == 0
        })
        .await;
    }
}
