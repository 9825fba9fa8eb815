//! One message of the bridge's, as Broca takes it.

use broca_core::{Incoming, Sender};
use serde_json::{Value, json};

use super::bridge::id_text;
use crate::wire::username;

#[derive(Debug)]
pub(super) struct Entry {
    /// The bridge's number of it, where it is one.
    pub(super) number: Option<u64>,
    pub(super) incoming: Incoming,
}

impl Entry {
    /// `None` when it says neither where it is from nor what it says.
    ///
    /// Its id within its session is what makes it one message, however often and by whatever road it is fetched: the
    /// bridge's numbers alone begin anew when its database does.
    pub(super) fn read(entry: &Value, session_uid: Option<&str>) -> Option<Self> {
        let session = entry["session_id"].as_str().filter(|session| !session.is_empty())?;
        let text = entry["message"].as_str()?;
        let id = id_text(&entry["id"]).or_else(|| id_text(&entry["timestamp"]))?;
        // A person is known by their uid, over all their sessions.
        let uid = entry["uid"].as_str().or(session_uid).filter(|uid| !uid.is_empty()).unwrap_or(session);
        let sender = Sender {
            platform_user_id: uid.to_owned(),
            username: Some(username(uid)),
            display_name: None,
            metadata: json!({"session_id": session, "uid": uid, "source": "web_chat"}),
        };
        let incoming = Incoming {
            event_id: format!("{session}/{id}"),
            sender,
            text: text.to_owned(),
            attributes: json!({"session_id": session, "message_id": entry["id"]}),
            ..Incoming::default()
        };
        Some(Self { number: id.parse().ok(), incoming })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_texts_are_one_id() {
        let number = json!({"id": 7, "session_id": "session_abc123", "message": "hi", "uid": "2632f72d266e529c"});
        let text = json!({"id": "7", "session_id": "session_abc123", "message": "hi", "timestamp": "x"});
        let (number, text) =
            (Entry::read(&number, None).unwrap(), Entry::read(&text, Some("2632f72d266e529c")).unwrap());
        assert_eq!(number.incoming.event_id, text.incoming.event_id);
        assert_eq!(number.incoming.sender, text.incoming.sender);
        assert_eq!(number.incoming.sender.username.as_deref(), Some("web_user_2632f72d266e529c"));
        assert_eq!((number.number, text.number), (Some(7), Some(7)));
    }

    #[test]
    fn what_is_no_message_is_none() {
        for entry in [
            json!(null),
            json!([]),
            json!({"id": 1}),
            json!({"id": 1, "session_id": "", "message": "x"}),
            json!({"session_id": "s", "message": "x"}),
        ] {
            assert!(Entry::read(&entry, None).is_none(), "{entry}");
        }
        let nobody = json!({"id": 1, "session_id": "session_abc123", "message": "hi", "uid": null});
        assert_eq!(Entry::read(&nobody, None).unwrap().incoming.sender.platform_user_id, "session_abc123");
    }
}
