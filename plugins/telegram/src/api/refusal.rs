//! What can go wrong with a call, and what it means.

use std::time::Duration;

use super::wire::Reply;

/// A call that brought no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ApiError {
    /// Nobody was reached: Telegram knows nothing of the call.
    #[error("Telegram cannot be reached: {0}")]
    NotReached(String),
    /// The call was on its way when the connection broke, or its time ran out. Telegram may have done it, and cannot
    /// be asked.
    #[error("Telegram did not answer: {0}")]
    CutOff(String),
    #[error("{0}")]
    Refused(Refused),
    /// It was done, but its result is in no form that is understood.
    #[error("Telegram's answer cannot be read: is api_url the address of a bot API server?")]
    Unreadable,
}

/// Telegram's own word.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Telegram answered {code}: {description}")]
pub(crate) struct Refused {
    pub(crate) code: u16,
    pub(crate) description: String,
    pub(crate) retry_after: Option<Duration>,
    /// The chat has become another one.
    pub(crate) migrated_to: Option<i64>,
}

/// A wait longer than a day is no wait.
const MAX_WAIT_S: u64 = 86_400;

impl ApiError {
    /// `error` must not have an address in it any more.
    pub(super) fn of_request(error: reqwest::Error) -> Self {
        let why = innermost(&error);
        if error.is_connect() || error.is_builder() { Self::NotReached(why) } else { Self::CutOff(why) }
    }

    pub(crate) fn refused(&self) -> Option<&Refused> {
        match self {
            Self::Refused(refused) => Some(refused),
            _ => None,
        }
    }
}

impl Refused {
    pub(super) fn of<T>(status: u16, header: Option<u64>, code: Option<u16>, reply: Reply<T>) -> Self {
        let parameters = reply.parameters.unwrap_or_default();
        let wait = parameters.retry_after.or(header);
        Self {
            code: code.unwrap_or(status),
            description: first_line(&reply.description.unwrap_or_default()),
            retry_after: wait.map(|seconds| Duration::from_secs(seconds.min(MAX_WAIT_S))),
            migrated_to: parameters.migrate_to_chat_id,
        }
    }

    pub(super) fn by_gateway(status: u16, header: Option<u64>) -> Self {
        let retry_after = header.map(|seconds| Duration::from_secs(seconds.min(MAX_WAIT_S)));
        Self { code: status, description: "no answer of the bot API".into(), retry_after, migrated_to: None }
    }

    /// Telegram names the reasons of a 400 in words alone; these are of its server's source, version 10.0.
    fn says(&self, words: &[&str]) -> bool {
        let said = self.description.to_ascii_lowercase();
        words.iter().any(|word| said.contains(word))
    }

    pub(crate) fn has_bad_token(&self) -> bool {
        // A token without a colon in it reads as an unknown path.
        self.code == 401 || (self.code == 404 && !self.says(&["method not found"]))
    }

    /// The HTML was not understood; nothing was sent.
    pub(crate) fn is_bad_markup(&self) -> bool {
        self.code == 400 && self.says(&["can't parse entities"])
    }

    /// Nothing of the text is visible.
    pub(crate) fn is_empty_text(&self) -> bool {
        self.code == 400 && self.says(&["text is empty", "must be non-empty"])
    }

    /// The picture could not be had, or is none.
    pub(crate) fn is_bad_picture(&self) -> bool {
        let reasons = [
            "http url",
            "web page content",
            "file identifier",
            "image_process_failed",
            "photo_",
            "wrong type",
            "file is too big",
            "file must be non-empty",
            "webpage_",
        ];
        self.code == 400 && self.says(&reasons)
    }

    pub(crate) fn is_missing_chat(&self) -> bool {
        self.code == 400 && self.says(&["chat not found", "peer_id_invalid", "chat_id is empty", "user not found"])
    }

    pub(crate) fn is_missing_thread(&self) -> bool {
        self.code == 400 && self.says(&["message thread not found", "topic_deleted", "topic_closed"])
    }
}

/// The error below all others says it best: `Connection refused`, `operation timed out`.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut at = error;
    while let Some(source) = at.source() {
        at = source;
    }
    first_line(&at.to_string())
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().filter(|c| !c.is_control()).take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, body: &str) -> Refused {
        let reply: Reply<bool> = serde_json::from_str(body).unwrap();
        Refused::of(status, None, reply.error_code, reply)
    }

    #[test]
    fn telegrams_words_are_understood() {
        let limited = refused(
            429,
            r#"{"ok":false,"error_code":429,"description":"Too Many Requests: retry after 17","parameters":{"retry_after":17}}"#,
        );
        assert_eq!((limited.code, limited.retry_after), (429, Some(Duration::from_secs(17))));
        let moved = refused(
            400,
            r#"{"ok":false,"error_code":400,"description":"Bad Request: group chat was upgraded to a supergroup chat","parameters":{"migrate_to_chat_id":-1001}}"#,
        );
        assert_eq!(moved.migrated_to, Some(-1001));
        let markup = "Bad Request: can't parse entities: Unsupported start tag \"x\" at byte offset 0";
        let body = serde_json::json!({"ok": false, "error_code": 400, "description": markup}).to_string();
        assert!(refused(400, &body).is_bad_markup() && !refused(400, &body).is_missing_chat());
        assert!(refused(404, r#"{"ok":false,"error_code":404,"description":"Not Found"}"#).has_bad_token());
        assert!(refused(401, r#"{"ok":false}"#).has_bad_token());
        assert_eq!(Refused::by_gateway(502, Some(u64::MAX)).retry_after, Some(Duration::from_secs(MAX_WAIT_S)));
    }
}
