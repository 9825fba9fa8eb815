//! What a message says: its words, and the file that it holds beside them.

use broca_core::{Attachment, attachment::Kind};
use serde_json::{Value, json};

use crate::api::wire::{Content, File, Message};

/// The words of a message, and what it holds beside them.
#[derive(Debug, PartialEq)]
pub(crate) struct Said {
    /// Empty when the message has no words: it is a file alone, or says nothing, as a service message does.
    pub(crate) text: String,
    pub(crate) file: Option<Held>,
}

/// A file, as Telegram gives it out.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Held {
    pub(crate) attachment: Attachment,
    pub(crate) file_id: String,
    file_unique_id: Option<String>,
}

impl Held {
    /// By what Telegram knows it again, for whoever reads the message's attributes.
    pub(crate) fn reference(&self) -> Value {
        json!({"file_id": self.file_id, "file_unique_id": self.file_unique_id})
    }
}

/// Of a photo, the largest version that has no more than `max_bytes` is meant.
pub(crate) fn read(message: &Message, max_bytes: u64) -> Said {
    let own = message.text.as_deref().or(message.caption.as_deref()).unwrap_or_default();
    let file = file(&message.content, max_bytes);
    let line = if file.is_none() { without_file(message) } else { None };
    let lines = [Some(own.to_owned()), line];
    let text = lines.into_iter().flatten().filter(|line| !line.trim().is_empty()).collect::<Vec<_>>().join("\n");
    Said { text, file }
}

fn file(content: &Content, max_bytes: u64) -> Option<Held> {
    if let Some(photo) = largest(&content.photo, max_bytes) {
        return Some(held(Kind::Image, photo));
    }
    let files = [
        // Telegram names an animation as a document, too.
        (Kind::Animation, &content.animation),
        (Kind::Document, &content.document),
        (Kind::Video, &content.video),
        (Kind::VideoNote, &content.video_note),
        (Kind::Voice, &content.voice),
        (Kind::Audio, &content.audio),
        (Kind::Sticker, &content.sticker),
    ];
    let (kind, file) = files.into_iter().find_map(|(kind, file)| Some((kind, file.as_ref()?)))?;
    let image = kind == Kind::Document && file.mime_type.as_deref().is_some_and(|mime| mime.starts_with("image/"));
    Some(held(if image { Kind::Image } else { kind }, file))
}

fn held(kind: Kind, file: &File) -> Held {
    let name = if kind == Kind::Sticker { &file.emoji } else { &file.file_name };
    let attachment = Attachment {
        kind,
        mime: file.mime_type.clone(),
        size: file.file_size,
        width: file.width.and_then(|width| u32::try_from(width).ok()),
        height: file.height.and_then(|height| u32::try_from(height).ok()),
        duration_s: file.duration,
        name: name.as_ref().or(file.title.as_ref()).cloned(),
        ..Attachment::default()
    };
    Held { attachment, file_id: file.file_id.clone(), file_unique_id: file.file_unique_id.clone() }
}

/// The largest of those that fit, or else the smallest of all.
fn largest(sizes: &[File], max_bytes: u64) -> Option<&File> {
    let area = |size: &&File| size.width.unwrap_or_default().saturating_mul(size.height.unwrap_or_default());
    let fits = |size: &&File| size.file_size.is_none_or(|bytes| bytes <= max_bytes);
    sizes.iter().filter(fits).max_by_key(area).or_else(|| sizes.iter().min_by_key(area))
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

/// What somebody else wrote must not end the line's bracket, nor the line.
fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() && !matches!(c, '[' | ']')).take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(more: Value) -> Said {
        let mut message = json!({"message_id": 1, "chat": {"id": 5, "type": "private"}});
        message.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        read(&serde_json::from_value(message).unwrap(), 100_000)
    }

    /// As the agent reads it.
    fn line(more: Value) -> String {
        let Said { text, file } = said(more);
        file.map_or(text, |file| file.attachment.described().line("telegram"))
    }

    #[test]
    fn the_largest_photo_that_fits_is_the_one() {
        let sizes = json!([
            {"file_id": "small", "width": 90, "height": 67, "file_size": 1000},
            {"file_id": "large", "file_unique_id": "u", "width": 1280, "height": 960, "file_size": 90000},
            {"file_id": "huge", "width": 2560, "height": 1920, "file_size": 900000},
        ]);
        let photo = said(json!({"caption": "look", "photo": sizes}));
        let file = photo.file.unwrap();
        assert_eq!((photo.text.as_str(), file.file_id.as_str()), ("look", "large"));
        assert_eq!(file.attachment.described().line("telegram"), "[Telegram image: 1280x960px]");
        assert_eq!(file.reference(), json!({"file_id": "large", "file_unique_id": "u"}));
        let huge = said(
            json!({"photo": [sizes[2], {"file_id": "vast", "width": 9000, "height": 9000, "file_size": 9000000}]}),
        );
        assert_eq!((huge.text.as_str(), huge.file.unwrap().file_id.as_str()), ("", "huge"));
    }

    #[test]
    fn every_kind_of_file_is_told_apart() {
        for (more, told) in [
            (
                json!({"document": {"file_id": "f", "mime_type": "image/png", "file_size": 7}}),
                "[Telegram image document: mime=image/png size=7b]",
            ),
            (
                json!({"voice": {"file_id": "f", "duration": 5, "mime_type": "audio/ogg", "file_size": 9}}),
                "[Telegram voice message: duration=5s mime=audio/ogg size=9b]",
            ),
            (json!({"document": {"file_id": "f", "file_name": "a]\n[b.pdf"}}), "[Telegram document: name=ab.pdf]"),
            (json!({"audio": {"file_id": "f", "title": "Song"}}), "[Telegram audio: name=Song]"),
            (json!({"sticker": {"file_id": "f", "emoji": "🦀"}}), "[Telegram sticker: 🦀]"),
            (json!({"animation": {"file_id": "f"}, "document": {"file_id": "f"}}), "[Telegram animation]"),
            (json!({"location": {"latitude": 52.5, "longitude": 13.4}}), "[Telegram location: 52.5, 13.4]"),
            (json!({"contact": {"phone_number": "+49", "first_name": "Bo"}}), "[Telegram contact: Bo, +49]"),
            (json!({"poll": {"question": "when?"}}), "[Telegram poll: when?]"),
            (json!({"new_chat_title": "x"}), ""),
        ] {
            assert_eq!(line(more), told);
        }
    }
}
