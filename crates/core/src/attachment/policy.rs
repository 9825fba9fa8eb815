//! What of a message's files is kept, and what an image is.

use serde::{Deserialize, Serialize};

use super::{Attachment, MAX_REASON_CHARS, plain};

/// What of a message's files is kept, and for how long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AttachmentPolicy {
    /// Whether images are kept and passed on; without it, they are described like all other files.
    pub enabled: bool,
    /// Of one image.
    pub max_bytes: u64,
    /// Images of one message.
    pub max_images: usize,
    /// Of those in [`IMAGE_TYPES`].
    pub types: Vec<String>,
    /// After so many days an image is gone from the broker.
    pub keep_days: u64,
    /// All images of an instance together, in MiB; when it is full, images are described.
    pub bucket_mb: u64,
    /// Whether the agent is told the public address of an image that has one, in the original's line.
    pub image_url_line: bool,
}

/// What Letta's models take.
pub const IMAGE_TYPES: [&str; 4] = ["image/jpeg", "image/png", "image/gif", "image/webp"];

impl Default for AttachmentPolicy {
    fn default() -> Self {
        Self {
            enabled: true,
            max_bytes: 5 << 20,
            max_images: 4,
            types: IMAGE_TYPES.map(str::to_owned).into(),
            keep_days: 30,
            bucket_mb: 256,
            image_url_line: false,
        }
    }
}

impl AttachmentPolicy {
    /// Nothing is kept.
    pub fn off() -> Self {
        Self { enabled: false, ..Self::default() }
    }

    /// Whether an image is worth fetching, as far as its platform says what it is.
    ///
    /// # Errors
    /// Why it is not; nothing needs to be fetched then.
    pub fn admits(&self, file: &Attachment) -> Result<(), String> {
        match file.size {
            Some(size) if size > self.max_bytes => Err(too_large(size, self.max_bytes)),
            _ => Ok(()),
        }
    }

    /// What an image's bytes are.
    ///
    /// # Errors
    /// Why it is not kept, in words for the agent and for people.
    pub fn judge(&self, file: &Attachment) -> Result<&'static str, String> {
        if let Some(trouble) = &file.trouble {
            return Err(plain(trouble, MAX_REASON_CHARS));
        }
        self.admits(file)?;
        let Some(content) = &file.content else { return Err("it came without its content".to_owned()) };
        if content.len() as u64 > self.max_bytes {
            return Err(too_large(content.len() as u64, self.max_bytes));
        }
        match image_type(content) {
            Some(mime) if self.types.iter().any(|allowed| allowed == mime) => Ok(mime),
            Some(mime) => Err(format!("{mime} is not allowed here")),
            None => Err("it is no JPEG, PNG, GIF or WebP, whatever it is called".to_owned()),
        }
    }
}

fn too_large(size: u64, limit: u64) -> String {
    format!("it has {size} bytes, more than the limit of {limit}")
}

/// By the first bytes, which do not lie as labels do.
fn image_type(content: &[u8]) -> Option<&'static str> {
    match content {
        [0xFF, 0xD8, 0xFF, ..] => Some("image/jpeg"),
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1A, b'\n', ..] => Some("image/png"),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attachment::{Content, Kind};

    fn image(content: &[u8]) -> Attachment {
        Attachment { kind: Kind::Image, content: Some(Content(content.to_vec())), ..Attachment::default() }
    }

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n and so on";

    #[test]
    fn what_an_image_is_its_bytes_say() {
        let policy = AttachmentPolicy::default();
        assert_eq!(policy.judge(&image(PNG)), Ok("image/png"));
        assert_eq!(policy.judge(&image(b"RIFF\0\0\0\0WEBPVP8 ")), Ok("image/webp"));
        let labelled = Attachment { mime: Some("image/png".into()), ..image(b"<svg onload='x()'>") };
        assert!(policy.judge(&labelled).unwrap_err().contains("whatever it is called"));
        let png = AttachmentPolicy { types: vec!["image/png".into()], ..policy.clone() };
        assert_eq!(png.judge(&image(b"GIF89a....")).unwrap_err(), "image/gif is not allowed here");
        let small = AttachmentPolicy { max_bytes: 10, ..policy.clone() };
        let why = "it has 18 bytes, more than the limit of 10";
        assert_eq!(small.judge(&image(PNG)).unwrap_err(), why);
        let claimed = Attachment { size: Some(18), ..Attachment::default() };
        assert_eq!(small.admits(&claimed).unwrap_err(), why);
        let lost = Attachment { trouble: Some("the platform\0 is [away]\n".into()), ..Attachment::default() };
        assert_eq!(policy.judge(&lost).unwrap_err(), "the platform is away", "and no database refuses it");
        assert!(policy.judge(&Attachment::default()).is_err());
    }
}
