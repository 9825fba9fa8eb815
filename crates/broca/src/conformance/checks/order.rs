//! An answer that the program is to deliver, and what it says of it.

use broca_core::{MessageId, ResponseId, ResponseKind};
use broca_plugin_exec::protocol::{Answer, Class, FromChild, Part, Person, ToChild, ToDeliver};
use serde_json::{Value, json};

use crate::conformance::{
    life::{Life, OPEN_REQUESTS},
    verdict::{Checked, holds, wrong},
};

#[derive(Clone, Debug)]
pub(super) struct Order {
    pub(super) user: String,
    pub(super) text: String,
    pub(super) response: ResponseId,
    /// What the platform has of it, as earlier attempts recorded it.
    pub(super) parts: Vec<Part>,
    pub(super) attempt: u32,
}

/// What the program said of a delivery.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum End {
    Delivered { ids: Vec<String>, parts: Vec<Part> },
    Retry { after_ms: Option<u64>, class: Option<Class> },
    Dead { class: Class },
    Unknown,
}

impl Order {
    pub(super) fn to(user: &str, text: &str) -> Self {
        let response = ResponseId::new();
        Self { user: user.to_owned(), text: text.to_owned(), response, parts: Vec::new(), attempt: 1 }
    }

    fn told(&self) -> ToDeliver {
        let done = self.parts.last().map_or(0, |part| part.text_end);
        ToDeliver {
            message_id: MessageId::new(),
            response: Answer {
                id: self.response,
                kind: ResponseKind::Answer,
                text: self.text.clone(),
                rest: self.text.get(done..).unwrap_or_default().to_owned(),
                chat_id: None,
                attributes: Value::Null,
                attempt: self.attempt,
                parts: self.parts.clone(),
            },
            profile: Person {
                platform: "trial".to_owned(),
                platform_user_id: self.user.clone(),
                username: Some(self.user.clone()),
                display_name: None,
                metadata: json!({}),
            },
        }
    }

    /// Hands it over; the number by which the program answers.
    pub(super) async fn hand(&self, life: &mut Life) -> Checked<u64> {
        let id = life.number();
        life.tell(&ToChild::Deliver { id, answer: self.told() }).await?;
        Ok(id)
    }

    pub(super) async fn ask_after(&self, life: &mut Life) -> Checked<FromChild> {
        let id = life.number();
        life.tell(&ToChild::Settle { id, answer: self.told() }).await?;
        let meant = move |line: &FromChild| matches!(line, FromChild::Settled { .. }) && line_of(line) == Some(id);
        life.hear("answer to `settle`", meant).await
    }

    /// From the hand-over to its end; parts are recorded.
    pub(super) async fn deliver(&self, life: &mut Life) -> Checked<End> {
        let id = self.hand(life).await?;
        end_of(life, id).await
    }
}

/// What becomes of a delivery; parts are recorded.
pub(super) async fn end_of(life: &mut Life, id: u64) -> Checked<End> {
    let mut parts: Vec<Part> = Vec::new();
    for _ in 0..=OPEN_REQUESTS {
        let line = life.hear("word of what became of a delivery", |line| line_of(line) == Some(id)).await?;
        match line {
            FromChild::Part { platform_message_id, text_bytes, .. } => {
                let done = parts.last().map_or(0, |part| part.text_end);
                parts.push(Part { platform_message_id, text_end: done + text_bytes });
                life.tell(&ToChild::PartRecorded { id }).await?;
            }
            FromChild::Delivered { platform_message_ids: ids, .. } => return Ok(End::Delivered { ids, parts }),
            FromChild::Retry { after_ms, class, .. } => return Ok(End::Retry { after_ms, class }),
            FromChild::Dead { class, .. } => return Ok(End::Dead { class }),
            FromChild::Unknown { .. } => return Ok(End::Unknown),
            other => return Err(wrong(format!("it answers a delivery with {other:?}"), "")),
        }
    }
    Err(wrong("it sends parts without end", "`rest` has an end"))
}

/// The question that a line answers, of those that the suite asks.
fn line_of(line: &FromChild) -> Option<u64> {
    match line {
        FromChild::Part { id, .. }
        | FromChild::Delivered { id, .. }
        | FromChild::Retry { id, .. }
        | FromChild::Dead { id, .. }
        | FromChild::Unknown { id, .. }
        | FromChild::Settled { id, .. } => Some(*id),
        _ => None,
    }
}

impl End {
    pub(super) fn is_delivered(&self) -> Checked {
        let advice = "say `delivered` with the platform's ids once the platform has it";
        holds(matches!(self, Self::Delivered { .. }), || format!("it says {self:?} of a send that went well"), advice)
    }
}
