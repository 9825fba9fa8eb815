//! What people and agents wrote is shown to those alone who may read it, and secrets to nobody but whom they are made for.

use serde_json::Value;

/// The keys under which answers and requests have what people and agents wrote, wherever they stand.
const TEXTS: &[&str] =
    &["text", "was_text", "answer", "line", "contains", "instructions", "custom_instructions", "file_name", "file_url"];
/// The keys of JSON objects that say whatever somebody put there, of a person.
const OBJECTS: &[&str] = &["preferences", "agent_preferences"];
/// The keys of secrets.
const SECRETS: &[&str] = &["secret", "token", "password", "api_key", "confirm"];

/// The keys that say who somebody is. Who is forgotten must not stay in the audit log; ids of ours stay, and name nobody then.
const PERSONAL: &[&str] = &["who", "user", "username", "display_name", "platform_user_id"];

/// The keys that say who did something. An operator stays; somebody who acted in a chat is a person, as PLATFORM/ID.
const ACTORS: &[&str] = &["actor", "released_by", "removed_by", "approved_by", "revoked_by"];

/// Puts the lengths of texts into their places.
pub fn without_texts(value: &mut Value) {
    hide(value, &|key, _| TEXTS.contains(&key));
}

/// What the audit log may have.
pub(super) fn for_the_record(value: &mut Value) {
    let is_person = |key: &str, text: &str| ACTORS.contains(&key) && text.contains('/');
    hide(value, &|key, text| [TEXTS, SECRETS, PERSONAL].iter().any(|keys| keys.contains(&key)) || is_person(key, text));
}

fn hide(value: &mut Value, hidden: &dyn Fn(&str, &str) -> bool) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| hide(item, hidden)),
        Value::Object(fields) => {
            for (key, field) in fields {
                match field {
                    Value::String(text) if hidden(key, text) => redact(text),
                    Value::Array(items) => items.iter_mut().for_each(|item| match item {
                        Value::String(text) if hidden(key, text) => redact(text),
                        item => hide(item, hidden),
                    }),
                    Value::Object(fields) if OBJECTS.contains(&key.as_str()) && !fields.is_empty() => {
                        let mut text = Value::from(std::mem::take(fields)).to_string();
                        redact(&mut text);
                        *field = Value::String(text);
                    }
                    field => hide(field, hidden),
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn redact(text: &mut String) {
    *text = format!("[redacted: {} characters]", text.chars().count());
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn texts_go_wherever_they_are_and_nothing_else_does() {
        let mut value =
            json!({"text": "hi", "items": [{"answer": "äö", "then": {"line": "x"}, "id": "7"}], "answer": null});
        without_texts(&mut value);
        let hidden = |n: usize| format!("[redacted: {n} characters]");
        let expected = json!({
            "text": hidden(2), "items": [{"answer": hidden(2), "then": {"line": hidden(1)}, "id": "7"}], "answer": null,
        });
        assert_eq!(value, expected);
        let mut files = json!({"files": [{"mime": "image/png", "file_name": "me.png", "file_url": "https://a"}]});
        without_texts(&mut files);
        let expected = json!({"files": [{"mime": "image/png", "file_name": hidden(6), "file_url": hidden(9)}]});
        assert_eq!(files, expected);
        let mut secret = json!({"secret": "broca_1", "name": "ci"});
        without_texts(&mut secret);
        assert_eq!(secret["secret"], "broca_1");
        secret["on"] = json!({"user": "telegram/7"});
        for_the_record(&mut secret);
        assert_eq!(secret["on"]["user"], hidden(10));
        let mut person =
            json!({"who": ["telegram/7"], "ids": ["8"], "agent_preferences": {"born": 1990}, "preferences": {}});
        for_the_record(&mut person);
        let expected = json!({"who": [hidden(10)], "ids": ["8"], "agent_preferences": hidden(13), "preferences": {}});
        assert_eq!(person, expected);
        assert_eq!((secret["name"].as_str(), secret["secret"].as_str()), (Some("ci"), Some(hidden(7).as_str())));
    }
}
