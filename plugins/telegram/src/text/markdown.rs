//! Markdown (CommonMark, with tables, task lists and struck text) as styled text and pictures.

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

use super::{
    rich::{Rich, Style},
    table::Table,
};

/// A stretch of an answer that Telegram shows in one way.
#[derive(Debug)]
pub(super) enum Piece {
    Text(Rich),
    Photo {
        url: String,
        alt: String,
        /// Where it ends in the markdown.
        end: usize,
    },
}

/// Further pictures of one answer stay links: each is a message, and a chat takes about one a second.
const MAX_PHOTOS: usize = 10;
/// Telegram drops a link whose address is longer than about this; it is then written out.
const MAX_LINK_BYTES: usize = 2_000;

/// Reads markdown; what is no notation, HTML for example, stays as it is written.
pub(super) fn read(markdown: &str, photos: bool) -> Vec<Piece> {
    let options = Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TABLES | Options::ENABLE_TASKLISTS;
    let mut reader = Reader { photos_left: if photos { MAX_PHOTOS } else { 0 }, ..Reader::default() };
    for (event, source) in Parser::new_ext(markdown, options).into_offset_iter() {
        let opens = matches!(event, Event::Start(_));
        if !reader.collects() {
            reader.rich.mark(source.start);
        }
        reader.end = source.end;
        reader.event(event);
        if !opens && !reader.collects() {
            reader.rich.mark(source.end);
        }
    }
    reader.flush();
    if reader.pieces.is_empty() {
        // Nothing of it is visible, e.g. the definition of a link that nobody uses: it is sent as it is.
        reader.rich.push(markdown.trim(), &Style::default());
        reader.flush();
    }
    reader.pieces
}

#[derive(Debug, Default)]
struct Reader {
    pieces: Vec<Piece>,
    rich: Rich,
    style: Style,
    /// Where the event at hand ends in the markdown.
    end: usize,
    depth: usize,
    bold: usize,
    italic: usize,
    strike: usize,
    quotes: usize,
    /// The next number of each list that is open, `None` for bullets.
    lists: Vec<Option<u64>>,
    /// A list item's mark was just written.
    fresh_item: bool,
    /// The code block that is open.
    code: Option<String>,
    table: Option<Table>,
    links: Vec<Link>,
    image: Option<Image>,
    photos_left: usize,
    pictures: Vec<Piece>,
    paragraph: Paragraph,
}

/// The paragraph that is open: one that holds pictures alone leaves no text.
#[derive(Debug, Default)]
struct Paragraph {
    start: usize,
    pictures: usize,
    words: bool,
}

#[derive(Debug)]
struct Link {
    url: String,
    text: String,
    clickable: bool,
}

#[derive(Debug)]
struct Image {
    url: String,
    alt: String,
    /// Images in the alternative text of this one.
    inner: usize,
}

impl Reader {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => {
                self.depth += 1;
                self.start(tag);
            }
            Event::End(tag) => {
                self.end(tag);
                self.depth -= 1;
                if self.depth == 0 && !self.pictures.is_empty() {
                    self.flush();
                }
            }
            Event::Text(text) => self.text(&text),
            Event::Code(text) | Event::InlineMath(text) | Event::DisplayMath(text) => {
                let style = Style { code: true, ..self.style.clone() };
                self.styled(&text, &style);
            }
            Event::Html(html) | Event::InlineHtml(html) => match html.trim() {
                "<br>" | "<br/>" | "<br />" => self.text("\n"),
                _ => self.text(&html),
            },
            Event::FootnoteReference(name) => self.text(&format!("[^{name}]")),
            Event::SoftBreak | Event::HardBreak => self.text("\n"),
            Event::Rule => {
                self.block();
                self.text("———");
            }
            Event::TaskListMarker(done) => self.text(if done { "☑ " } else { "☐ " }),
        }
    }

    /// Text is kept back until the end of what it is in.
    fn collects(&self) -> bool {
        self.table.is_some() || self.code.as_ref().is_some_and(|code| !code.is_empty())
    }

    fn start(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::Paragraph => {
                self.paragraph = Paragraph { start: self.rich.text.len(), ..Paragraph::default() };
                self.block();
            }
            Tag::Heading { .. } => {
                self.block();
                self.bold += 1;
            }
            Tag::BlockQuote(_) => {
                self.block();
                self.quotes += 1;
            }
            Tag::CodeBlock(kind) => {
                self.block();
                self.own_line();
                self.style.pre = Some(language(&kind).into());
                self.code = Some(String::new());
            }
            Tag::List(first) => {
                if self.lists.is_empty() {
                    self.block();
                }
                self.lists.push(first);
            }
            Tag::Item => self.item(),
            Tag::Table(alignments) => {
                self.block();
                self.own_line();
                self.table = Some(Table { alignments, ..Table::default() });
            }
            Tag::TableHead | Tag::TableRow => self.in_table(Table::begin_row),
            Tag::TableCell => self.in_table(Table::begin_cell),
            Tag::Emphasis => self.italic += 1,
            Tag::Strong => self.bold += 1,
            Tag::Strikethrough => self.strike += 1,
            Tag::Link { dest_url, .. } => self.link(dest_url.into_string()),
            Tag::Image { dest_url, .. } => match &mut self.image {
                Some(outer) => outer.inner += 1,
                None => self.image = Some(Image { url: dest_url.into_string(), alt: String::new(), inner: 0 }),
            },
            Tag::HtmlBlock => self.block(),
            // Not switched on in the parser's options.
            _ => {}
        }
        self.restyle();
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Paragraph => self.end_paragraph(),
            TagEnd::Heading(_) | TagEnd::Strong => self.bold -= 1,
            TagEnd::BlockQuote(_) => self.quotes -= 1,
            TagEnd::CodeBlock => {
                let code = self.code.take().unwrap_or_default();
                let style = Style { quote: self.quotes > 0, pre: self.style.pre.take(), ..Style::default() };
                self.rich.push(code.trim_end_matches('\n'), &style);
            }
            TagEnd::List(_) => drop(self.lists.pop()),
            TagEnd::Item => self.fresh_item = false,
            TagEnd::Table => {
                let written = self.table.take().unwrap_or_default().written();
                let style = Style { quote: self.quotes > 0, pre: Some("".into()), ..Style::default() };
                self.rich.push(&written, &style);
            }
            TagEnd::Emphasis => self.italic -= 1,
            TagEnd::Strikethrough => self.strike -= 1,
            TagEnd::Link => self.end_link(),
            TagEnd::Image => self.end_image(),
            _ => {}
        }
        self.restyle();
    }

    fn restyle(&mut self) {
        self.style = Style {
            quote: self.quotes > 0,
            pre: self.style.pre.take(),
            code: false,
            link: self.links.last().filter(|link| link.clickable).map(|link| link.url.as_str().into()),
            bold: self.bold > 0,
            italic: self.italic > 0,
            strike: self.strike > 0,
        };
    }

    fn text(&mut self, text: &str) {
        let style = self.style.clone();
        self.styled(text, &style);
    }

    fn styled(&mut self, text: &str, style: &Style) {
        if let Some(image) = &mut self.image {
            return image.alt.push_str(text);
        }
        if let Some(link) = self.links.last_mut() {
            link.text.push_str(text);
        }
        if let Some(code) = &mut self.code {
            return code.push_str(text);
        }
        if let Some(table) = &mut self.table {
            return table.push(&text.replace('\n', " "));
        }
        self.paragraph.words |= !text.trim().is_empty();
        self.fresh_item = false;
        self.rich.push(text, style);
    }

    /// A block begins: a blank line stands between it and what is before, in a list a line's end.
    fn block(&mut self) {
        if self.fresh_item {
            return;
        }
        if self.lists.is_empty() {
            self.line_ends(2);
        } else {
            self.line_ends(1);
            self.indent(self.lists.len());
        }
    }

    /// Code does not begin behind a list item's mark.
    fn own_line(&mut self) {
        if self.fresh_item || !self.lists.is_empty() {
            self.fresh_item = false;
            let end = self.rich.text.trim_end_matches(' ').len();
            self.rich.truncate(end);
            self.line_ends(1);
        }
    }

    fn line_ends(&mut self, wanted: usize) {
        let text = &self.rich.text;
        if text.is_empty() {
            return;
        }
        let there = text.len() - text.trim_end_matches('\n').len();
        let style = Style { quote: self.quotes > 0, ..Style::default() };
        self.rich.push(&"\n".repeat(wanted.saturating_sub(there)), &style);
    }

    fn indent(&mut self, levels: usize) {
        let style = Style { quote: self.quotes > 0, ..Style::default() };
        self.rich.push(&"   ".repeat(levels.min(8)), &style);
    }

    fn item(&mut self) {
        self.line_ends(1);
        self.indent(self.lists.len().saturating_sub(1));
        let mark = match self.lists.last_mut() {
            Some(Some(number)) => {
                let mark = format!("{number}. ");
                *number = number.saturating_add(1);
                mark
            }
            _ => "• ".to_owned(),
        };
        self.text(&mark);
        self.fresh_item = true;
    }

    fn in_table(&mut self, change: impl FnOnce(&mut Table)) {
        if let Some(table) = &mut self.table {
            change(table);
        }
    }

    fn link(&mut self, url: String) {
        let known = ["http://", "https://", "tg://"].iter().any(|scheme| url.starts_with(scheme));
        let clickable = known && url.len() <= MAX_LINK_BYTES && self.table.is_none();
        self.links.push(Link { url, text: String::new(), clickable });
    }

    /// What Telegram would not make a link of is written out, or its address would be lost.
    fn end_link(&mut self) {
        let Some(link) = self.links.pop() else { return };
        self.restyle();
        if !link.clickable && !link.url.is_empty() && !link.url.ends_with(&link.text) {
            self.text(&format!(" ({})", link.url));
        } else if link.text.is_empty() && self.image.is_none() {
            let style = Style { link: Some(link.url.as_str().into()), ..self.style.clone() };
            self.styled(&link.url, &style);
        }
    }

    fn end_image(&mut self) {
        match &mut self.image {
            Some(image) if image.inner > 0 => return image.inner -= 1,
            _ => {}
        }
        let Some(Image { url, alt, .. }) = self.image.take() else { return };
        let label = if alt.trim().is_empty() { "image" } else { alt.trim() };
        let words = self.paragraph.words;
        if self.photos_left > 0 && (url.starts_with("https://") || url.starts_with("http://")) {
            self.photos_left -= 1;
            self.text(label);
            self.paragraph.pictures += 1;
            self.paragraph.words = words;
            let alt = alt.trim().to_owned();
            self.pictures.push(Piece::Photo { url, alt, end: self.end });
        } else {
            self.link(url);
            self.restyle();
            self.text(label);
            self.end_link();
        }
    }

    fn end_paragraph(&mut self) {
        if self.paragraph.pictures > 0 && !self.paragraph.words && self.lists.is_empty() {
            self.rich.truncate(self.paragraph.start);
        }
    }

    /// Ends the text that is open; the pictures that were in it follow.
    fn flush(&mut self) {
        let rich = std::mem::take(&mut self.rich);
        if !rich.text.trim().is_empty() {
            self.pieces.push(Piece::Text(rich));
        }
        self.pieces.append(&mut self.pictures);
    }
}

/// The language of a code block as Telegram names it: one word.
fn language(kind: &CodeBlockKind<'_>) -> String {
    let CodeBlockKind::Fenced(info) = kind else { return String::new() };
    let word = info.split([' ', ',', '{']).next().unwrap_or_default();
    let allowed = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '+' | '#' | '.');
    word.chars().filter(allowed).take(32).collect()
}
