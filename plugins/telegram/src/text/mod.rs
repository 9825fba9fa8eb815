//! From what an agent wrote to what Telegram takes: markdown is read into styled text, cut into parts that fit, and
//! each part is written as Telegram's HTML.

mod html;
mod markdown;
mod original;
mod rich;
mod split;
mod table;

use std::ops::Range;

use rich::Rich;
pub(crate) use split::Room;

/// Characters of one message, in UTF-16 code units after the entities were parsed.
pub(crate) const MAX_TEXT_UNITS: usize = 4_096;
/// Characters of a photo's caption.
const MAX_CAPTION_UNITS: usize = 1_024;

/// What is sent as one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) body: Body,
    /// How many bytes of the answer are sent with it and all before it; greater with each part.
    pub(crate) end: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    Text(TextPart),
    Photo {
        url: String,
        caption: String,
        /// What is sent when Telegram cannot get the picture.
        instead: TextPart,
    },
}

/// One message's text, twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TextPart {
    pub(crate) html: String,
    /// For the case that Telegram does not understand the HTML.
    pub(crate) plain: String,
}

/// Reads an answer and cuts it into messages. With `photos`, pictures become messages of their own; without, links.
pub(crate) fn parts(answer: &str, room: Room, photos: bool) -> Vec<Part> {
    let markdown = original::as_markdown(answer);
    let mut parts: Vec<Part> = Vec::new();
    for piece in markdown::read(&markdown.text, photos) {
        match piece {
            markdown::Piece::Text(rich) => {
                for range in split::split(&rich, room) {
                    let end = markdown.source_of(rich.source_of(range.end));
                    parts.push(Part { body: Body::Text(text_part(&rich, range, room)), end });
                }
            }
            markdown::Piece::Photo { url, alt, end } => {
                parts.push(Part { body: photo(url, &alt, room), end: markdown.source_of(end) });
            }
        }
    }
    rising(&mut parts, answer.len());
    parts
}

/// A later attempt goes on behind the parts that are sent: no two of them may end at the same place.
fn rising(parts: &mut [Part], answer_len: usize) {
    let mut least = 0;
    for part in parts.iter_mut() {
        part.end = part.end.max(least + 1);
        least = part.end;
    }
    let mut most = answer_len;
    for part in parts.iter_mut().rev() {
        part.end = part.end.min(most);
        most = most.saturating_sub(1);
    }
    if let Some(last) = parts.last_mut() {
        last.end = answer_len;
    }
}

fn text_part(rich: &Rich, range: Range<usize>, room: Room) -> TextPart {
    let with_links = rich.with_links(range.clone());
    let fits = split::units(&with_links) <= room.units;
    let plain = if fits { with_links } else { rich.text[range.clone()].to_owned() };
    TextPart { html: html::write(rich, range), plain }
}

fn photo(url: String, alt: &str, room: Room) -> Body {
    let caption = split::first_units(alt, MAX_CAPTION_UNITS).to_owned();
    let label = if caption.is_empty() { &url } else { &caption };
    let link = Rich::link(split::first_units(label, room.units), &url);
    let instead = text_part(&link, 0..link.text.len(), room);
    Body::Photo { url, caption, instead }
}

#[cfg(test)]
mod tests;
