//! The HTML that Telegram takes in messages, read as its server does: few tags, all closed, in order.
//!
//! Written from <https://core.telegram.org/bots/api#html-style>, and where that is silent from what the server's
//! published source does with it.

/// A text without its tags, and what they said of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marked {
    pub text: String,
    pub entities: Vec<Entity>,
}

/// A marked stretch; offset and length are in UTF-16 code units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entity {
    /// As the bot API names it: `bold`, `text_link`, `pre`, …
    pub kind: &'static str,
    pub offset: usize,
    pub length: usize,
    /// The address of a link, or the language of a block of code.
    pub argument: Option<String>,
}

/// The server keeps no more of a message.
pub const MAX_ENTITIES: usize = 100;

struct Open {
    tag: String,
    argument: Option<String>,
    offset: usize,
}

/// # Errors
/// What the server says behind `can't parse entities: `.
pub fn parse(html: &str) -> Result<Marked, String> {
    let mut reader = Reader { html, at: 0, units: 0, marked: Marked::default(), open: Vec::new() };
    while let Some(c) = reader.peek() {
        match c {
            '<' if reader.rest().starts_with("</") => reader.end_tag()?,
            '<' => reader.start_tag()?,
            '&' => {
                let (c, len) = character(reader.rest()).unwrap_or(('&', 1));
                reader.at += len;
                reader.push(c);
            }
            c => {
                reader.at += c.len_utf8();
                reader.push(c);
            }
        }
    }
    if let Some(open) = reader.open.last() {
        return Err(format!("Can't find end tag corresponding to start tag \"{}\"", open.tag));
    }
    reader.marked.entities.sort_by_key(|entity| (entity.offset, std::cmp::Reverse(entity.length)));
    Ok(reader.marked)
}

struct Reader<'a> {
    html: &'a str,
    at: usize,
    units: usize,
    marked: Marked,
    open: Vec<Open>,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        &self.html[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn push(&mut self, c: char) {
        self.marked.text.push(c);
        self.units += c.len_utf16();
    }

    fn start_tag(&mut self) -> Result<(), String> {
        let begin = self.at;
        let unclosed = || format!("Unclosed start tag at byte offset {begin}");
        self.at += 1;
        let name_len = self.rest().find(|c: char| c.is_ascii_whitespace() || c == '>').ok_or_else(unclosed)?;
        let tag = self.rest()[..name_len].to_ascii_lowercase();
        if kind(&tag).is_none() {
            return Err(format!("Unsupported start tag \"{tag}\" at byte offset {begin}"));
        }
        self.at += name_len;
        let mut argument = None;
        loop {
            let rest = self.rest();
            self.at += rest.len() - rest.trim_ascii_start().len();
            match self.peek().ok_or_else(unclosed)? {
                '>' => break,
                _ => {
                    let (name, value) = self.attribute(&tag, begin)?;
                    argument = meaning(&tag, &name, value).or(argument);
                }
            }
        }
        self.at += 1;
        if tag == "span" && argument.as_deref() != Some("spoiler") {
            return Err(format!("Tag \"span\" must have class \"tg-spoiler\" at byte offset {begin}"));
        }
        self.open.push(Open { tag, argument, offset: self.units });
        Ok(())
    }

    fn attribute(&mut self, tag: &str, begin: usize) -> Result<(String, String), String> {
        let rest = self.rest();
        let ends = |c: char| c.is_ascii_whitespace() || matches!(c, '=' | '>' | '/' | '"' | '\'');
        let name = rest[..rest.find(ends).unwrap_or(rest.len())].to_owned();
        if name.is_empty() {
            return Err(format!("Empty attribute name in the tag \"{tag}\" at byte offset {begin}"));
        }
        self.at += name.len();
        let behind = self.rest().trim_ascii_start();
        let Some(value) = behind.strip_prefix('=') else { return Ok((name, String::new())) };
        let value = value.trim_ascii_start();
        let start = self.html.len() - value.len();
        let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''));
        let Some(quote) = quote else {
            let len =
                value.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '.' | '-')).unwrap_or(value.len());
            let (token, behind) = value.split_at(len);
            if !behind.starts_with(|c: char| c.is_ascii_whitespace() || c == '>') {
                return Err(format!("Unexpected end of name token at byte offset {start}"));
            }
            let token = token.to_ascii_lowercase();
            self.at = start + len;
            return Ok((name, token));
        };
        let inner = &value[1..];
        let len = inner.find(quote).ok_or_else(|| format!("Unclosed start tag at byte offset {begin}"))?;
        let decoded = decoded(&inner[..len]);
        self.at = start + 1 + len + 1;
        Ok((name, decoded))
    }

    fn end_tag(&mut self) -> Result<(), String> {
        let begin = self.at;
        let Some(open) = self.open.pop() else { return Err(format!("Unexpected end tag at byte offset {begin}")) };
        let close = self.rest().find('>').ok_or_else(|| format!("Unclosed end tag at byte offset {begin}"))?;
        let name = self.rest()[2..close].trim_ascii().to_ascii_lowercase();
        if !name.is_empty() && name != open.tag {
            let expected = &open.tag;
            return Err(format!(
                "Unmatched end tag at byte offset {begin}, expected \"</{expected}>\", found \"</{name}>\""
            ));
        }
        self.at += close + 1;
        self.close(open);
        Ok(())
    }

    fn close(&mut self, open: Open) {
        let Some(kind) = kind(&open.tag).filter(|_| self.units > open.offset) else { return };
        let length = self.units - open.offset;
        let same = |entity: &&mut Entity| entity.offset == open.offset && entity.length == length;
        let inner = self.marked.entities.last_mut().filter(same);
        match (kind, inner) {
            ("pre", Some(code)) if code.kind == "code" && code.argument.is_some() => code.kind = "pre",
            ("code", Some(pre)) if pre.kind == "pre" && open.argument.is_some() => pre.argument = open.argument,
            ("text_link", _) if !is_link(open.argument.as_deref().unwrap_or_default()) => {}
            (kind, _) => {
                self.marked.entities.push(Entity { kind, offset: open.offset, length, argument: open.argument });
            }
        }
    }
}

/// What a tag makes of its text.
fn kind(tag: &str) -> Option<&'static str> {
    Some(match tag {
        "b" | "strong" => "bold",
        "i" | "em" => "italic",
        "u" | "ins" => "underline",
        "s" | "strike" | "del" => "strikethrough",
        "span" | "tg-spoiler" => "spoiler",
        "a" => "text_link",
        "code" => "code",
        "pre" => "pre",
        "blockquote" => "blockquote",
        _ => return None,
    })
}

fn meaning(tag: &str, attribute: &str, value: String) -> Option<String> {
    match (tag, attribute) {
        ("a", "href") => Some(value),
        ("code", "class") => value.strip_prefix("language-").map(str::to_owned),
        ("span", "class") => value.strip_prefix("tg-").map(str::to_owned),
        _ => None,
    }
}

fn is_link(url: &str) -> bool {
    ["http://", "https://", "tg://"].iter().any(|scheme| url.len() > scheme.len() && url.starts_with(scheme))
}

fn decoded(text: &str) -> String {
    let mut all = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let (c, len) = character(rest).unwrap_or((c, c.len_utf8()));
        all.push(c);
        rest = &rest[len..];
    }
    all
}

/// The character that a reference at the beginning of the text stands for; the `;` may be missing.
fn character(text: &str) -> Option<(char, usize)> {
    let name = text.strip_prefix('&')?;
    let digits = |text: &str, radix: u32| text.chars().take_while(|c| c.is_digit(radix)).count();
    let (c, len) = match name.strip_prefix('#') {
        Some(number) => {
            let (radix, skip) = if number.starts_with('x') { (16, 1) } else { (10, 0) };
            let len = digits(&number[skip..], radix);
            let code = u32::from_str_radix(&number[skip..skip + len], radix).ok().filter(|code| *code > 0)?;
            (char::from_u32(code)?, 1 + skip + len)
        }
        None => {
            let len = name.chars().take_while(char::is_ascii_alphabetic).count();
            let c = match &name[..len] {
                "lt" => '<',
                "gt" => '>',
                "amp" => '&',
                "quot" => '"',
                _ => return None,
            };
            (c, len)
        }
    };
    Some((c, 1 + len + usize::from(name[len..].starts_with(';'))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entities(html: &str) -> Vec<(&'static str, usize, usize, Option<String>)> {
        let marked = parse(html).unwrap();
        marked.entities.into_iter().map(|e| (e.kind, e.offset, e.length, e.argument)).collect()
    }

    #[test]
    fn the_documents_examples_are_understood() {
        let html = "<b>bold, <i>both</i></b> <a href=\"http://a.example/?a=1&amp;b=2\">x</a> <span class=\"tg-spoiler\">s</span>";
        let link = Some("http://a.example/?a=1&b=2".to_owned());
        let expected = [
            ("bold", 0, 10, None),
            ("italic", 6, 4, None),
            ("text_link", 11, 1, link),
            ("spoiler", 13, 1, Some("spoiler".into())),
        ];
        assert_eq!(entities(html), expected);
        let code = "🦀<pre><code class=\"language-rust\">a &lt; b</code></pre>";
        assert_eq!(entities(code), [("pre", 2, 5, Some("rust".into()))]);
        assert_eq!(parse("a &lt;b&gt; &#x26; &amp &nbsp; & <b></b>").unwrap().text, "a <b> & & &nbsp; & ");
    }

    #[test]
    fn what_the_server_refuses_is_refused() {
        for (html, what) in [
            ("<x>a</x>", "Unsupported start tag \"x\" at byte offset 0"),
            ("a <b>b", "Can't find end tag corresponding to start tag \"b\""),
            ("<b><i>a</b></i>", "Unmatched end tag at byte offset 7, expected \"</i>\", found \"</b>\""),
            ("a</b>", "Unexpected end tag at byte offset 1"),
            ("1 < 2", "Unsupported start tag \"\" at byte offset 2"),
            ("<b", "Unclosed start tag at byte offset 0"),
            ("<span>a</span>", "Tag \"span\" must have class \"tg-spoiler\" at byte offset 0"),
        ] {
            assert_eq!(parse(html).unwrap_err(), what, "{html}");
        }
    }
}
