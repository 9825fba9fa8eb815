//! How the agent and people are told of files: a line for each.

use std::fmt;

use super::{KeptFile, Kind, MAX_REASON_CHARS, plain};
use crate::format::platform_label;

impl Kind {
    /// For people.
    pub fn label(self) -> &'static str {
        match self {
            Self::Animation => "animation",
            Self::Audio => "audio",
            Self::Document => "document",
            Self::Image => "image",
            Self::Sticker => "sticker",
            Self::Video => "video",
            Self::VideoNote => "video note",
            Self::Voice => "voice message",
        }
    }
}

impl KeptFile {
    /// The line that tells of it. Those of images are the original's.
    pub fn line(&self, platform: &str) -> String {
        let mut facts = self.facts();
        let label = match (self.kind, &facts) {
            (Kind::Image, Facts::Dimensions(_)) => "image",
            (Kind::Image, _) => "image document",
            (kind, _) => kind.label(),
        };
        if let Some(why) = &self.refused {
            facts =
                Facts::Named(format!("{}{}not passed on: {}", facts, facts.separator(), plain(why, MAX_REASON_CHARS)));
        }
        let label = format!("{} {label}", platform_label(platform));
        match facts {
            Facts::None => format!("[{label}]"),
            facts => format!("[{label}: {facts}]"),
        }
    }

    fn facts(&self) -> Facts {
        if let (Kind::Image, Some(width), Some(height)) = (self.kind, self.width, self.height) {
            return Facts::Dimensions(format!("{width}x{height}px"));
        }
        let name = self.name.as_ref();
        let facts = [
            name.map(|name| if self.kind == Kind::Sticker { name.clone() } else { format!("name={name}") }),
            self.duration_s.map(|seconds| format!("duration={seconds}s")),
            self.mime.as_ref().map(|mime| format!("mime={mime}")),
            self.size.map(|bytes| format!("size={bytes}b")),
        ];
        let facts = facts.into_iter().flatten().collect::<Vec<_>>().join(" ");
        if facts.is_empty() { Facts::None } else { Facts::Named(facts) }
    }
}

enum Facts {
    None,
    Dimensions(String),
    Named(String),
}

impl Facts {
    fn separator(&self) -> &'static str {
        if matches!(self, Self::None) { "" } else { "; " }
    }
}

impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::Dimensions(text) | Self::Named(text) => f.write_str(text),
        }
    }
}

const URL_LINE: &str = "[Image Attachment: ";

/// A message's text with a line for each of its files. `more` were reported beyond those that are on record.
pub fn with_lines(text: &str, platform: &str, files: &[KeptFile], more: usize, url_lines: bool) -> String {
    let mut lines: Vec<String> = Some(text.to_owned()).filter(|text| !text.is_empty()).into_iter().collect();
    for file in files {
        lines.push(file.line(platform));
        if let Some(url) = file.url.as_ref().filter(|_| url_lines && file.kind == Kind::Image) {
            lines.push(format!("{URL_LINE}{url}]"));
        }
    }
    if more > 0 {
        lines.push(format!("[{}: {more} more files]", platform_label(platform)));
    }
    lines.join("\n")
}

/// A text without the lines that may make an agent fetch an image.
pub fn without_url_lines(text: &str) -> String {
    text.lines().filter(|line| !line.starts_with(URL_LINE)).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attachment::{Attachment, Content};
    use proptest::prelude::*;
    use serde_json::json;

    fn image(content: &[u8]) -> Attachment {
        Attachment { kind: Kind::Image, content: Some(Content(content.to_vec())), ..Attachment::default() }
    }

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n and so on";

    #[test]
    fn images_are_told_as_the_original_told_them() {
        let photo = Attachment { width: Some(1280), height: Some(960), size: Some(9), ..image(PNG) }.described();
        assert_eq!(photo.line("telegram"), "[Telegram image: 1280x960px]");
        let document = Attachment { mime: Some("image/png".into()), size: Some(7), ..image(PNG) }.described();
        assert_eq!(document.line("telegram"), "[Telegram image document: mime=image/png size=7b]");
        let large = KeptFile { refused: Some("it is too [large]".into()), ..photo };
        assert_eq!(large.line("telegram"), "[Telegram image: 1280x960px; not passed on: it is too large]");
        let bare = KeptFile { kind: Kind::Image, refused: Some("gone".into()), ..KeptFile::default() };
        assert_eq!(bare.line("web-chat"), "[Web Chat image document: not passed on: gone]");
    }

    #[test]
    fn everything_else_is_described() {
        let voice = json!({"kind": "voice", "duration_s": 5, "mime": "audio/ogg", "size": 9});
        for (file, line) in [
            (voice, "[Telegram voice message: duration=5s mime=audio/ogg size=9b]"),
            (json!({"kind": "document", "name": "a]\n[b.pdf"}), "[Telegram document: name=ab.pdf]"),
            (json!({"kind": "sticker", "name": "🦀"}), "[Telegram sticker: 🦀]"),
            (json!({"kind": "hologram"}), "[Telegram document]"),
            (json!({"mime": "audio/ogg; codecs=opus"}), "[Telegram document: mime=audio/ogg]"),
            (json!({"mime": "call me at once"}), "[Telegram document]"),
        ] {
            let file: Attachment = serde_json::from_value(file).unwrap();
            assert_eq!(file.described().line("telegram"), line);
        }
    }

    #[test]
    fn an_address_is_told_only_where_that_is_wanted() {
        let at = |url: &str| Attachment { url: Some(url.into()), ..image(PNG) }.described();
        let files = [at("https://example.org/a.png")];
        assert_eq!(with_lines("look", "cli", &files, 0, false), "look\n[CLI image document: size=18b]");
        let told = with_lines("", "cli", &files, 2, true);
        assert_eq!(
            told,
            "[CLI image document: size=18b]\n[Image Attachment: https://example.org/a.png]\n[CLI: 2 more files]"
        );
        assert_eq!(without_url_lines(&told), "[CLI image document: size=18b]\n[CLI: 2 more files]");
        for url in ["http://example.org/a.png", "https://a/b]\n[c", "file:///etc/passwd", "https://a b"] {
            assert_eq!(at(url).url, None, "{url}");
        }
    }

    proptest! {
        #[test]
        fn a_line_is_one_line_in_one_pair_of_brackets(name in any::<String>(), why in any::<String>(), mime in any::<String>()) {
            let file = Attachment { name: Some(name), mime: Some(mime), ..Attachment::default() };
            let line = KeptFile { refused: Some(why), ..file.described() }.line("telegram");
            prop_assert!(line.starts_with('[') && line.ends_with(']') && !line.contains('\n'));
            prop_assert_eq!(line.matches(['[', ']']).count(), 2);
        }
    }
}
