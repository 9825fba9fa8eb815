//! How a message reads for the agent, and back.
//!
//! The original puts who wrote in front: `[Username: @alice, Telegram ID: 7] text`. It also flattens every
//! message to one line and drops emoji; here code and emoji stay, and [`Sanitising::Original`] brings its way back.

use serde::{Deserialize, Serialize};

use crate::Timestamp;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FormatOptions {
    /// What becomes of line breaks and emoji.
    pub sanitising: Sanitising,
    /// Adds `Timestamp: <RFC 3339>` to the header.
    pub timestamp: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Sanitising {
    /// Line breaks, indentation and emoji stay.
    #[default]
    Keep,
    /// One line, white space collapsed, nothing beyond the basic multilingual plane.
    Original,
}

/// Who wrote, and when.
#[derive(Clone, Copy, Debug)]
pub struct Header<'a> {
    pub platform: &'a str,
    pub platform_user_id: &'a str,
    pub username: Option<&'a str>,
    pub at: Timestamp,
    /// What an operator wants the agent to bear in mind with everything this person says.
    pub instructions: Option<&'a str>,
}

/// The text that the agent reads.
pub fn format_for_agent(header: &Header<'_>, text: &str, options: FormatOptions) -> String {
    let mut fields = Vec::with_capacity(4);
    if let Some(username) = header.username {
        fields.push(format!("Username: @{}", header_value(username.trim_start_matches('@'))));
    }
    fields.push(format!("{} ID: {}", platform_label(header.platform), header_value(header.platform_user_id)));
    if options.timestamp {
        fields.push(format!("Timestamp: {}", rfc3339(header.at)));
    }
    // Last, because a sentence may have commas.
    if let Some(instructions) = header.instructions.map(instruction).filter(|text| !text.is_empty()) {
        fields.push(format!("Instructions: {instructions}"));
    }
    let body = match options.sanitising {
        Sanitising::Keep => sanitize(text),
        Sanitising::Original => flatten(text),
    };
    format!("[{}] {body}", fields.join(", "))
}

/// The text without the header that [`format_for_agent`] put in front; text without one comes back whole.
pub fn extract_message_content(formatted: &str) -> &str {
    let Some((header, body)) = formatted.strip_prefix('[').and_then(|rest| rest.split_once("] ")) else {
        return formatted;
    };
    let is_header = header.split(", ").any(|field| field.split_once(": ").is_some_and(|(k, _)| k.ends_with(" ID")));
    if is_header { body } else { formatted }
}

/// Drops NUL and other control characters but keeps line breaks and tabs; CRLF becomes LF; outer white space goes.
pub fn sanitize(text: &str) -> String {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let kept: String = text.chars().filter(|c| matches!(c, '\n' | '\t') || !c.is_control()).collect();
    kept.trim().to_owned()
}

/// The original's way.
fn flatten(text: &str) -> String {
    let basic: String = text.chars().filter(|c| u32::from(*c) <= 0xFFFF && *c != '\0').collect();
    basic.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// `telegram` reads `Telegram`, `web-chat` reads `Web Chat`, `cli` reads `CLI`.
pub fn platform_label(platform: &str) -> String {
    if platform == "cli" {
        return "CLI".to_owned();
    }
    let words = platform.split(['-', '_']).filter(|w| !w.is_empty()).map(|word| {
        let mut chars = word.chars();
        chars.next().map(|c| c.to_uppercase().collect::<String>() + chars.as_str()).unwrap_or_default()
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Whatever could end the header early, or fake a field of it, does not get into it.
fn header_value(value: &str) -> String {
    value.chars().filter(|c| !matches!(c, '[' | ']' | ',') && !c.is_control()).collect()
}

/// On one line, without what would end the header.
fn instruction(text: &str) -> String {
    let kept: String = text.chars().filter(|c| !matches!(c, '[' | ']')).collect();
    flatten(&kept)
}

/// The time as people read it, in UTC and whole seconds, e.g. `2026-11-23T08:00:00Z`.
pub fn rfc3339(at: Timestamp) -> String {
    let nanos = i128::from(at.micros().div_euclid(1_000_000)) * 1_000_000_000;
    time::OffsetDateTime::from_unix_timestamp_nanos(nanos)
        .ok()
        .and_then(|t| t.format(&time::format_description::well_known::Rfc3339).ok())
        .unwrap_or_else(|| format!("{} us", at.micros()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALICE: Header<'_> = Header {
        platform: "telegram",
        platform_user_id: "7",
        username: Some("alice"),
        at: Timestamp(1_764_000_000_000_000),
        instructions: None,
    };

    proptest! {
        #[test]
        fn what_goes_in_front_comes_off_again(text in any::<String>(), name in any::<String>(), id in "\\PC{1,20}") {
            for (timestamp, instructions) in [(false, None), (true, None), (true, Some(name.as_str()))] {
                let header = Header { username: Some(&name), platform_user_id: &id, instructions, ..ALICE };
                let formatted = format_for_agent(&header, &text, FormatOptions { timestamp, ..FormatOptions::default() });
                prop_assert_eq!(extract_message_content(&formatted), sanitize(&text));
            }
        }

        #[test]
        fn sanitising_twice_changes_nothing(text in any::<String>()) {
            prop_assert_eq!(sanitize(&sanitize(&text)), sanitize(&text));
            prop_assert_eq!(flatten(&flatten(&text)), flatten(&text));
        }
    }

    #[test]
    fn reads_as_the_original_documents_it() {
        let plain = FormatOptions::default();
        assert_eq!(format_for_agent(&ALICE, "hello", plain), "[Username: @alice, Telegram ID: 7] hello");
        let nameless = Header { username: None, platform: "web-chat", ..ALICE };
        assert_eq!(format_for_agent(&nameless, "hello", plain), "[Web Chat ID: 7] hello");
        let stamped = FormatOptions { timestamp: true, ..plain };
        assert_eq!(
            format_for_agent(&ALICE, "hello", stamped),
            "[Username: @alice, Telegram ID: 7, Timestamp: 2025-11-24T16:00:00Z] hello"
        );
        let instructed = Header { instructions: Some("Be brief,\nand [kind]."), ..ALICE };
        assert_eq!(
            format_for_agent(&instructed, "hello", plain),
            "[Username: @alice, Telegram ID: 7, Instructions: Be brief, and kind.] hello"
        );
    }

    #[test]
    fn code_and_emoji_stay_unless_the_originals_way_is_asked_for() {
        let text = "look 🦀\r\n```\n  fn main() {}\n```";
        let kept = format_for_agent(&ALICE, text, FormatOptions::default());
        assert!(kept.ends_with("look 🦀\n```\n  fn main() {}\n```"));
        let original = FormatOptions { sanitising: Sanitising::Original, ..FormatOptions::default() };
        assert!(format_for_agent(&ALICE, text, original).ends_with("] look ``` fn main() {} ```"));
    }

    #[test]
    fn text_in_brackets_is_not_a_header() {
        for text in ["[note] hello", "[a: b] hello", "no brackets", "[unclosed"] {
            assert_eq!(extract_message_content(text), text);
        }
    }
}
