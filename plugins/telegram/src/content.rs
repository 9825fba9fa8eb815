//! What a message says, in words: its text, and a line for whatever else it holds.

use serde_json::{Value, json};

use crate::api::wire::{File, Message};

/// The words of a message, and what it holds beside them.
#[derive(Debug, PartialEq)]
pub(crate) struct Said {
    /// What the agent reads; empty when the message says nothing, as a service message does.
    pub(crate) text: String,
    /// Files, by the ids under which Telegram gives them out.
    pub(crate) attachments: Vec<Value>,
}

pub(crate) fn read(message: &Message) -> Said {
    let own = message.text.as_deref().or(message.caption.as_deref()).unwrap_or_default();
    let (line, attachment) = beside(message);
    let lines = [Some(own.to_owned()), line];
    let text = lines.into_iter().flatten().filter(|line| !line.trim().is_empty()).collect::<Vec<_>>().join("\n");
    Said { text, attachments: attachment.into_iter().collect() }
}

/// The line and the file of what stands beside the text. The lines of pictures are the original's.
fn beside(message: &Message) -> (Option<String>, Option<Value>) {
    let content = &message.content;
    if let Some(picture) = largest(&content.photo) {
        let (width, height) = (picture.width.unwrap_or_default(), picture.height.unwrap_or_default());
        return (Some(format!("[Telegram image: {width}x{height}px]")), Some(attachment("image", picture)));
    }
    let files = [
        // Telegram names an animation as a document, too.
        ("animation", &content.animation),
        ("document", &content.document),
        ("video", &content.video),
        ("video note", &content.video_note),
        ("voice message", &content.voice),
        ("audio", &content.audio),
        ("sticker", &content.sticker),
    ];
    if let Some((kind, file)) = files.into_iter().find_map(|(kind, file)| Some((kind, file.as_ref()?))) {
        let image = kind == "document" && file.mime_type.as_deref().is_some_and(|mime| mime.starts_with("image/"));
        return if image {
            (Some(described("image document", file)), Some(attachment("image", file)))
        } else {
            (Some(described(kind, file)), Some(attachment(&kind.replace(' ', "_"), file)))
        };
    }
    (without_file(message), None)
}

fn without_file(message: &Message) -> Option<String> {
    let content = &message.content;
    if let Some(at) = &content.location {
        return Some(format!("[Telegram location: {}, {}]", at.latitude, at.longitude));
    }
    if let Some(contact) = &content.contact {
        let name = format!("{} {}", contact.first_name, contact.last_name.as_deref().unwrap_or_default());
        return Some(format!("[Telegram contact: {}, {}]", plain(name.trim()), plain(&contact.phone_number)));
    }
    content.poll.as_ref().map(|poll| format!("[Telegram poll: {}]", plain(&poll.question)))
}

fn largest(sizes: &[File]) -> Option<&File> {
    sizes.iter().max_by_key(|size| size.width.unwrap_or_default().saturating_mul(size.height.unwrap_or_default()))
}

fn described(kind: &str, file: &File) -> String {
    let facts = [
        file.emoji.as_deref().map(plain),
        file.file_name.as_deref().or(file.title.as_deref()).map(|name| format!("name={}", plain(name))),
        file.duration.map(|seconds| format!("duration={seconds}s")),
        file.mime_type.as_deref().map(|mime| format!("mime={}", plain(mime))),
        file.file_size.map(|bytes| format!("size={bytes}b")),
    ];
    let facts = facts.into_iter().flatten().collect::<Vec<_>>().join(" ");
    if facts.is_empty() { format!("[Telegram {kind}]") } else { format!("[Telegram {kind}: {facts}]") }
}

/// What somebody else wrote must not end the line's bracket, nor the line.
fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() && !matches!(c, '[' | ']')).take(100).collect()
}

fn attachment(kind: &str, file: &File) -> Value {
    let fields = json!({
        "kind": kind,
        "file_id": file.file_id,
        "file_unique_id": file.file_unique_id,
        "mime": file.mime_type,
        "size": file.file_size,
        "name": file.file_name.as_deref().map(plain),
        "width": file.width,
        "height": file.height,
        "duration_s": file.duration,
    });
    let mut fields = fields;
    if let Some(fields) = fields.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(more: Value) -> Said {
        let mut message = json!({"message_id": 1, "chat": {"id": 5, "type": "private"}});
        message.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        read(&serde_json::from_value(message).unwrap())
    }

    #[test]
    fn pictures_are_told_as_the_original_told_them() {
        let photo = json!({"caption": "look", "photo": [
            {"file_id": "small", "width": 90, "height": 67, "file_size": 1000},
            {"file_id": "large", "file_unique_id": "u", "width": 1280, "height": 960, "file_size": 90000},
        ]});
        let photo = said(photo);
        assert_eq!(photo.text, "look\n[Telegram image: 1280x960px]");
        let large = json!({"kind": "image", "file_id": "large", "file_unique_id": "u", "size": 90000, "width": 1280, "height": 960});
        assert_eq!(photo.attachments, [large]);
        let document = json!({"document": {"file_id": "f", "mime_type": "image/png", "file_size": 7}});
        assert_eq!(said(document).text, "[Telegram image document: mime=image/png size=7b]");
    }

    #[test]
    fn everything_else_is_described() {
        for (more, line) in [
            (
                json!({"voice": {"file_id": "f", "duration": 5, "mime_type": "audio/ogg", "file_size": 9}}),
                "[Telegram voice message: duration=5s mime=audio/ogg size=9b]",
            ),
            (json!({"document": {"file_id": "f", "file_name": "a]\n[b.pdf"}}), "[Telegram document: name=ab.pdf]"),
            (json!({"sticker": {"file_id": "f", "emoji": "🦀"}}), "[Telegram sticker: 🦀]"),
            (json!({"animation": {"file_id": "f"}, "document": {"file_id": "f"}}), "[Telegram animation]"),
            (json!({"location": {"latitude": 52.5, "longitude": 13.4}}), "[Telegram location: 52.5, 13.4]"),
            (json!({"contact": {"phone_number": "+49", "first_name": "Bo"}}), "[Telegram contact: Bo, +49]"),
            (json!({"poll": {"question": "when?"}}), "[Telegram poll: when?]"),
            (json!({"new_chat_title": "x"}), ""),
        ] {
            assert_eq!(said(more).text, line);
        }
    }
}
