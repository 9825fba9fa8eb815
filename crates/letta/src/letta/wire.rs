//! Letta's JSON, read leniently: unknown fields, unknown kinds of message and fields of an unexpected type are
//! skipped, so that a newer server does not break an older Broca.

use broca_core::Usage;
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// What it is, or nothing: a field of the wrong type counts as absent.
fn lenient<'de, D: Deserializer<'de>, T: DeserializeOwned>(input: D) -> Result<Option<T>, D::Error> {
    Ok(serde_json::from_value(Value::deserialize(input)?).ok())
}

/// One event of a stream. Its text is not read: what counts is what Letta stored.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct StreamEvent {
    #[serde(deserialize_with = "lenient")]
    pub(super) message_type: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub(super) run_id: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub(super) seq_id: Option<i64>,
    #[serde(deserialize_with = "lenient")]
    pub(super) stop_reason: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub(super) error_type: Option<String>,
    /// An error's text. Only ever searched for known codes: it may quote what was said.
    #[serde(deserialize_with = "lenient")]
    pub(super) message: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub(super) detail: Option<String>,
    #[serde(flatten)]
    pub(super) usage: Tokens,
}

/// The counters of a `usage_statistics` event and of `GET /v1/runs/{id}/usage`.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Tokens {
    #[serde(deserialize_with = "lenient")]
    prompt_tokens: Option<i64>,
    #[serde(deserialize_with = "lenient")]
    completion_tokens: Option<i64>,
    #[serde(deserialize_with = "lenient")]
    total_tokens: Option<i64>,
    #[serde(deserialize_with = "lenient")]
    step_count: Option<i64>,
}

impl Tokens {
    pub(super) fn usage(self) -> Usage {
        Usage {
            prompt_tokens: self.prompt_tokens.unwrap_or(0),
            completion_tokens: self.completion_tokens.unwrap_or(0),
            total_tokens: self.total_tokens.unwrap_or(0),
            step_count: self.step_count.unwrap_or(0),
        }
    }
}

/// The sum of what several runs of one turn used.
pub(super) fn added(a: Option<Usage>, b: Option<Usage>) -> Option<Usage> {
    match (a, b) {
        (Some(a), Some(b)) => Some(Usage {
            prompt_tokens: a.prompt_tokens + b.prompt_tokens,
            completion_tokens: a.completion_tokens + b.completion_tokens,
            total_tokens: a.total_tokens + b.total_tokens,
            step_count: a.step_count + b.step_count,
        }),
        (one, None) | (None, one) => one,
    }
}

/// A row of `/v1/runs/`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Run {
    pub(super) id: String,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) status: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) stop_reason: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    created_at: Option<String>,
    /// A failed run keeps the text of its error in `error`.
    #[serde(default, deserialize_with = "lenient")]
    metadata: Option<Value>,
}

impl Run {
    pub(super) fn is_over(&self) -> bool {
        matches!(self.status.as_deref(), Some("completed" | "failed" | "cancelled"))
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.status.as_deref() == Some("cancelled") || self.stop_reason.as_deref() == Some("cancelled")
    }

    pub(super) fn error_text(&self) -> String {
        self.metadata.as_ref().and_then(|m| m.get("error")).map(Value::to_string).unwrap_or_default()
    }

    pub(super) fn created_at(&self) -> Option<OffsetDateTime> {
        moment(self.created_at.as_deref()?)
    }
}

/// A message as listings show it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Message {
    #[serde(default, deserialize_with = "lenient")]
    pub(super) id: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) message_type: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) otid: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) run_id: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    date: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    content: Option<Value>,
    #[serde(default, deserialize_with = "lenient")]
    tool_call: Option<Value>,
    #[serde(default, deserialize_with = "lenient")]
    tool_calls: Option<Value>,
}

impl Message {
    pub(super) fn is(&self, kind: &str) -> bool {
        self.message_type.as_deref() == Some(kind)
    }

    pub(super) fn date(&self) -> Option<OffsetDateTime> {
        moment(self.date.as_deref()?)
    }

    /// The calls that an approval request asks about.
    fn tool_call_ids(&self) -> Vec<String> {
        let listed = self.tool_calls.as_ref().and_then(Value::as_array).into_iter().flatten();
        let mut ids: Vec<String> = Vec::new();
        for call in listed.chain(&self.tool_call) {
            if let Some(id) = call.get("tool_call_id").and_then(Value::as_str)
                && !ids.iter().any(|known| known == id)
            {
                ids.push(id.to_owned());
            }
        }
        ids
    }

    fn text(&self) -> String {
        match &self.content {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Array(parts)) => parts.iter().filter_map(|part| part.get("text")?.as_str()).collect(),
            _ => String::new(),
        }
    }
}

/// Letta writes RFC 3339; some rows lack the offset, and those are in UTC.
fn moment(text: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(text, &Rfc3339).or_else(|_| OffsetDateTime::parse(&format!("{text}Z"), &Rfc3339)).ok()
}

/// What the agent said, in order. Streamed chunks share their message's id and are one part.
pub(super) fn said(messages: &[Message]) -> Vec<String> {
    let mut parts: Vec<(Option<&str>, String)> = Vec::new();
    for message in messages.iter().filter(|message| message.is("assistant_message")) {
        let id = message.id.as_deref();
        match parts.iter_mut().find(|(known, _)| id.is_some() && *known == id) {
            Some((_, text)) => text.push_str(&message.text()),
            None => parts.push((id, message.text())),
        }
    }
    parts.into_iter().map(|(_, text)| text).filter(|text| !text.trim().is_empty()).collect()
}

/// The tool calls that wait for an approval. `newest_first` is a conversation's latest messages.
pub(super) fn awaiting_approval(newest_first: &[Message]) -> Vec<String> {
    for message in newest_first {
        if message.is("approval_request_message") {
            return message.tool_call_ids();
        }
        if message.is("approval_response_message") || message.is("tool_return_message") {
            break;
        }
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn messages(list: Value) -> Vec<Message> {
        serde_json::from_value(list).unwrap()
    }

    #[test]
    fn an_answer_is_every_assistant_message_and_nothing_else() {
        let list = messages(json!([
            {"id": "m1", "message_type": "user_message", "content": "hi", "otid": "o"},
            {"id": "m2", "message_type": "reasoning_message", "reasoning": "hm"},
            {"id": "m3", "message_type": "assistant_message", "content": "Let me "},
            {"id": "m3", "message_type": "assistant_message", "content": [{"type": "text", "text": "look."}]},
            {"id": "m4", "message_type": "tool_call_message", "tool_call": {"name": "f"}},
            {"id": "m5", "message_type": "assistant_message", "content": ""},
            {"id": "m6", "message_type": "assistant_message", "content": [{"type": "text", "text": "Found"}, {"type": "x"}]},
            {"id": 7, "message_type": "from_the_future", "content": {"a": 1}, "date": 5}
        ]));
        assert_eq!(said(&list), ["Let me look.", "Found"]);
    }

    #[test]
    fn only_an_unanswered_request_awaits_approval() {
        let request = json!({"message_type": "approval_request_message", "tool_call": {"tool_call_id": "c1"},
            "tool_calls": [{"tool_call_id": "c1"}, {"tool_call_id": "c2"}]});
        let answer = json!({"message_type": "approval_response_message"});
        assert_eq!(awaiting_approval(&messages(json!([request]))), ["c1", "c2"]);
        assert!(awaiting_approval(&messages(json!([answer, request]))).is_empty());
    }

    #[test]
    fn fields_of_unexpected_types_count_as_absent() {
        let event: StreamEvent =
            serde_json::from_value(json!({"message_type": "ping", "seq_id": "one", "run_id": 3, "message": {}}))
                .unwrap();
        assert_eq!((event.message_type.as_deref(), event.seq_id, event.run_id), (Some("ping"), None, None));
        let run: Run = serde_json::from_value(json!({"id": "run-1", "created_at": "2026-11-22T10:00:00"})).unwrap();
        assert!(!run.is_over() && run.created_at().is_some());
    }
}
