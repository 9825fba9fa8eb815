//! Files that travel with a message: what a plugin reports, what of it is kept, and how the agent is told.
//!
//! Every file is described in the message's text, in a line of its own. Of images, the bytes are kept too, where the
//! policy allows it; what is not, says why in that line. So a message is never refused for what is attached to it, and
//! nothing of it is lost without a word.

mod lines;
mod policy;

use std::{fmt, ops::Deref};

use base64::{Engine, engine::general_purpose::STANDARD};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

pub use self::{
    lines::{with_lines, without_url_lines},
    policy::{AttachmentPolicy, IMAGE_TYPES},
};

/// What a file is, as its platform tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Animation,
    Audio,
    Image,
    Sticker,
    Video,
    VideoNote,
    Voice,
    /// Any other file, and what a newer version calls otherwise.
    #[default]
    #[serde(other)]
    Document,
}

/// The bytes of a file; base64 in JSON.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Content(pub Vec<u8>);

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Content({} bytes)", self.0.len())
    }
}

impl Deref for Content {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Serialize for Content {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(Self).map_err(|_| de::Error::custom("not base64"))
    }
}

/// A mistake in what is attached is no reason to lose a message.
fn decoded<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Content>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.and_then(|text| STANDARD.decode(text).ok()).map(Content))
}

impl JsonSchema for Content {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Content".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "contentEncoding": "base64"})
    }
}

/// A file as a plugin reports it. Everything but its kind may be missing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Attachment {
    pub kind: Kind,
    /// As its platform labels it. What an image really is, its first bytes say.
    pub mime: Option<String>,
    /// In bytes.
    pub size: Option<u64>,
    pub width: Option<u32>,
    pub height: Option<u32>,
    pub duration_s: Option<u64>,
    /// The file's name; of a sticker, its emoji.
    pub name: Option<String>,
    /// Where everybody may get it, if its platform gives such an address (`https`).
    pub url: Option<String>,
    /// Its bytes, in base64. Only images' are looked at; what is no base64 counts as missing.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "decoded")]
    pub content: Option<Content>,
    /// Why an image comes without its bytes, in words that fit behind "not passed on: ".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// What is on record of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct KeptFile {
    pub kind: Kind,
    /// Of a kept image, what its bytes are; of all else, what its platform calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mime: Option<String>,
    /// In bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_s: Option<u64>,
    /// What its sender called it: a text like any other of theirs.
    #[serde(rename = "file_name", skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(rename = "file_url", skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// SHA-256 of its bytes, in hex, where they were kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Its name in the bucket of the message's instance; it expires there before the message does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// Why an image was not kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// So many files of one message are on record; the rest is counted.
pub const MAX_FILES: usize = 16;
const MAX_LABEL_CHARS: usize = 100;
const MAX_REASON_CHARS: usize = 200;
const MAX_URL_BYTES: usize = 2_048;

impl Attachment {
    /// What is put on record of it while nothing is kept. Labels are made safe for a line of text.
    pub fn described(&self) -> KeptFile {
        let name = self.name.as_deref().map(|name| plain(name, MAX_LABEL_CHARS));
        KeptFile {
            kind: self.kind,
            mime: self.mime.as_deref().and_then(mime),
            size: self.size.or(self.content.as_ref().map(|content| content.len() as u64)),
            width: self.width,
            height: self.height,
            duration_s: self.duration_s,
            name: name.filter(|name| !name.is_empty()),
            url: self.url.clone().filter(|url| is_address(url)),
            ..KeptFile::default()
        }
    }
}

/// Without parameters. Some platforms tell what the sender's program says, whatever that is.
fn mime(label: &str) -> Option<String> {
    let mime = label.split(';').next().unwrap_or_default().trim();
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '+' | '-');
    let is_mime = mime.len() <= MAX_LABEL_CHARS && mime.matches('/').count() == 1 && mime.chars().all(fits);
    is_mime.then(|| mime.to_owned())
}

/// It stands alone on a line, in front of a bracket.
fn is_address(url: &str) -> bool {
    let fits = |c: char| c.is_ascii_graphic() && !matches!(c, '<' | '>' | '[' | ']' | '"');
    url.starts_with("https://") && url.len() <= MAX_URL_BYTES && url.chars().all(fits)
}

/// What somebody else wrote must not end the line's bracket, nor the line.
fn plain(text: &str, max_chars: usize) -> String {
    let kept = text.chars().filter(|c| !c.is_control() && !matches!(c, '[' | ']'));
    kept.take(max_chars).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn bytes_are_base64_in_json_and_do_not_stand_in_logs() {
        let written =
            serde_json::to_value(Attachment { content: Some(Content(b"hi".to_vec())), ..Attachment::default() })
                .unwrap();
        assert_eq!(written["content"], "aGk=");
        assert_eq!(
            serde_json::from_value::<Attachment>(written).unwrap(),
            Attachment { content: Some(Content(b"hi".to_vec())), ..Attachment::default() }
        );
        assert!(serde_json::from_value::<Content>(json!("hello!")).is_err());
        assert_eq!(serde_json::from_value::<Attachment>(json!({"content": "hello!"})).unwrap(), Attachment::default());
        assert!(!format!("{:?}", Content(b"secret".to_vec())).contains("secret"));
    }
}
