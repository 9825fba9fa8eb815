//! Styled text as Telegram's HTML: few tags, all of them closed, and `<`, `>`, `&` and `"` always escaped.

use std::{ops::Range, sync::Arc};

use super::rich::{Rich, Style};

/// A tag that is open. Telegram lets code and blocks of code hold nothing, and a link hold no code.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Tag {
    Quote,
    Pre(Arc<str>),
    Link(Arc<str>),
    Bold,
    Italic,
    Strike,
    Code,
}

/// Writes a part of the text.
pub(super) fn write(rich: &Rich, part: Range<usize>) -> String {
    let mut html = String::with_capacity(part.len() + part.len() / 4);
    let mut open: Vec<Tag> = Vec::new();
    for (stretch, style) in rich.stretches(part) {
        let wanted = tags(style);
        let kept = open.iter().zip(&wanted).take_while(|(have, want)| have == want).count();
        for tag in open.drain(kept..).rev() {
            tag.close(&mut html);
        }
        for tag in &wanted[kept..] {
            tag.open(&mut html);
        }
        open = wanted;
        escape(&rich.text[stretch], &mut html);
    }
    for tag in open.into_iter().rev() {
        tag.close(&mut html);
    }
    html
}

/// How many entities a stretch of this style makes at most, and how many bytes its tags take.
pub(super) fn cost(style: &Style) -> (usize, usize) {
    let tags = tags(style);
    let mut html = String::new();
    for tag in &tags {
        tag.open(&mut html);
        tag.close(&mut html);
    }
    (tags.len(), html.len())
}

/// The bytes that a character takes in HTML.
pub(super) fn escaped_len(c: char) -> usize {
    entity(c).map_or(c.len_utf8(), str::len)
}

pub(super) fn escape(text: &str, html: &mut String) {
    for c in text.chars() {
        match entity(c) {
            Some(entity) => html.push_str(entity),
            None => html.push(c),
        }
    }
}

fn entity(c: char) -> Option<&'static str> {
    match c {
        '<' => Some("&lt;"),
        '>' => Some("&gt;"),
        '&' => Some("&amp;"),
        '"' => Some("&quot;"),
        _ => None,
    }
}

/// From the outermost to the innermost.
fn tags(style: &Style) -> Vec<Tag> {
    let mut tags = Vec::new();
    if style.quote {
        tags.push(Tag::Quote);
    }
    if let Some(language) = &style.pre {
        tags.push(Tag::Pre(language.clone()));
        return tags;
    }
    if let Some(url) = &style.link {
        tags.push(Tag::Link(url.clone()));
    } else if style.code {
        tags.push(Tag::Code);
        return tags;
    }
    let plain = [(style.bold, Tag::Bold), (style.italic, Tag::Italic), (style.strike, Tag::Strike)];
    tags.extend(plain.into_iter().filter_map(|(wanted, tag)| wanted.then_some(tag)));
    tags
}

impl Tag {
    fn open(&self, html: &mut String) {
        match self {
            Self::Quote => html.push_str("<blockquote>"),
            Self::Pre(language) if language.is_empty() => html.push_str("<pre>"),
            Self::Pre(language) => {
                html.push_str("<pre><code class=\"language-");
                escape(language, html);
                html.push_str("\">");
            }
            Self::Link(url) => {
                html.push_str("<a href=\"");
                escape(url, html);
                html.push_str("\">");
            }
            Self::Bold => html.push_str("<b>"),
            Self::Italic => html.push_str("<i>"),
            Self::Strike => html.push_str("<s>"),
            Self::Code => html.push_str("<code>"),
        }
    }

    fn close(&self, html: &mut String) {
        html.push_str(match self {
            Self::Quote => "</blockquote>",
            Self::Pre(language) if language.is_empty() => "</pre>",
            Self::Pre(_) => "</code></pre>",
            Self::Link(_) => "</a>",
            Self::Bold => "</b>",
            Self::Italic => "</i>",
            Self::Strike => "</s>",
            Self::Code => "</code>",
        });
    }
}
