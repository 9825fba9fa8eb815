//! Where a long text is cut: between blocks before lines, between lines before words, never within a letter, and
//! within a block of code only when it does not fit into one message.

use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation;

use super::{
    html,
    rich::{Rich, Style},
};

/// What one message holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    /// UTF-16 code units of visible text.
    pub(crate) units: usize,
    /// Telegram's server drops the formatting of all further entities, and with it the addresses of links.
    pub(crate) entities: usize,
    /// Telegram refuses more than 32 KiB before it parses.
    pub(crate) html_bytes: usize,
}

impl Default for Room {
    fn default() -> Self {
        Self { units: super::MAX_TEXT_UNITS, entities: 100, html_bytes: 1 << 15 }
    }
}

/// How good a place is for a cut; the better one is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Seam {
    Letter,
    /// Between words of a link or of code in a line.
    Inside,
    Word,
    CodeLine,
    Line,
    Block,
}

/// A letter as people see it, with what it costs.
struct Letter<'a> {
    start: usize,
    end: usize,
    units: usize,
    html_bytes: usize,
    run: usize,
    style: &'a Style,
    /// Of the place behind it.
    seam: Seam,
}

/// The parts of the text, each within `room`. White space at a cut belongs to no part.
pub(super) fn split(rich: &Rich, room: Room) -> Vec<Range<usize>> {
    let letters = letters(rich);
    let costs: Vec<(usize, usize)> = rich.runs.iter().map(|(_, style)| html::cost(style)).collect();
    let mut parts = Vec::new();
    let mut first = 0;
    while let Some(begin) = skip_blank(rich, &letters, first) {
        let fits = reach(&letters, &costs, begin, room);
        let after = if fits == letters.len() { fits } else { seam(rich, &letters, begin, fits, &costs, room) };
        let end = letters[begin..after].last().map_or(0, |letter| letter.end);
        let start = letters[begin].start;
        let kept = rich.text[start..end].trim_end().len();
        if kept > 0 {
            parts.push(start..start + kept);
        }
        first = after;
    }
    parts
}

/// The first letter of a part: blank lines go, and outside of code all white space.
fn skip_blank(rich: &Rich, letters: &[Letter<'_>], first: usize) -> Option<usize> {
    let rest = letters.get(first..)?;
    let text = |letter: &Letter<'_>| &rich.text[letter.start..letter.end];
    let solid = rest.iter().position(|letter| !text(letter).trim().is_empty())?;
    let line = rest[..solid].iter().rposition(|letter| text(letter) == "\n").map_or(0, |at| at + 1);
    let indented_code = rest[line..=solid].iter().all(|letter| letter.style.pre.is_some());
    Some(first + if indented_code { line } else { solid })
}

/// The first letter that no longer fits; at least one always does.
fn reach(letters: &[Letter<'_>], costs: &[(usize, usize)], begin: usize, room: Room) -> usize {
    let (mut units, mut entities, mut bytes) = (0, 0, 0);
    let mut run = None;
    for (at, letter) in letters.iter().enumerate().skip(begin) {
        if run != Some(letter.run) {
            run = Some(letter.run);
            entities += costs[letter.run].0;
            bytes += costs[letter.run].1;
        }
        units += letter.units;
        bytes += letter.html_bytes;
        if units > room.units || entities > room.entities || bytes > room.html_bytes {
            return at.max(begin + 1);
        }
    }
    letters.len()
}

/// The letter behind the best cut between `begin` and `fits`.
fn seam(rich: &Rich, letters: &[Letter<'_>], begin: usize, fits: usize, costs: &[(usize, usize)], room: Room) -> usize {
    if let Some(start) = code_around(letters, fits).filter(|start| *start > begin) {
        let end = letters[start..].iter().take_while(|letter| letter.run == letters[start].run).count() + start;
        let something_before = skip_blank(rich, letters, begin).is_some_and(|solid| solid < start);
        if something_before && reach(letters, costs, start, room) >= end {
            return start;
        }
    }
    let best = |range: Range<usize>, least: Seam| {
        let seams = range.filter(|at| letters[at - 1].seam >= least);
        seams.max_by_key(|at| (letters[at - 1].seam, *at))
    };
    // A good place far in front would leave a short message; then a worse one further on is better.
    let half = begin + (fits - begin) / 2;
    best(half.max(begin + 1)..fits + 1, Seam::Word)
        .or_else(|| (begin + 1..=fits).rev().find(|at| letters[at - 1].seam >= Seam::Inside))
        .unwrap_or(fits)
}

/// The beginning of the block of code that a cut in front of `at` would break.
fn code_around(letters: &[Letter<'_>], at: usize) -> Option<usize> {
    let (before, behind) = (letters.get(at.checked_sub(1)?)?, letters.get(at)?);
    (before.style.pre.is_some() && before.run == behind.run).then(|| letters.partition_point(|l| l.run < before.run))
}

fn letters(rich: &Rich) -> Vec<Letter<'_>> {
    let mut letters: Vec<Letter<'_>> = Vec::with_capacity(rich.text.len());
    let mut begin = 0;
    for (run, (end, style)) in rich.runs.iter().enumerate() {
        let graphemes = rich.text[begin..*end].grapheme_indices(true);
        for (start, end) in graphemes.flat_map(|(at, letter)| pieces(begin + at, letter)) {
            let text = &rich.text[start..end];
            let html_bytes = text.chars().map(html::escaped_len).sum();
            letters.push(Letter { start, end, units: units(text), html_bytes, run, style, seam: Seam::Letter });
        }
        begin = *end;
    }
    for at in 0..letters.len() {
        letters[at].seam = seam_behind(rich, &letters, at);
    }
    letters
}

/// A letter with hundreds of marks on it is no letter: it is cut like text.
fn pieces(start: usize, letter: &str) -> impl Iterator<Item = (usize, usize)> + use<'_> {
    const MAX_LETTER_BYTES: usize = 128;
    let whole = (letter.len() <= MAX_LETTER_BYTES).then_some((start, start + letter.len()));
    let single =
        whole.is_none().then(|| letter.char_indices().map(move |(at, c)| (start + at, start + at + c.len_utf8())));
    whole.into_iter().chain(single.into_iter().flatten())
}

fn seam_behind(rich: &Rich, letters: &[Letter<'_>], at: usize) -> Seam {
    let letter = &letters[at];
    let Some(next) = letters.get(at + 1) else { return Seam::Block };
    let text = |letter: &Letter<'_>| &rich.text[letter.start..letter.end];
    let in_code = letter.style.pre.is_some() && letter.run == next.run;
    match text(letter) {
        "\n" | "\r\n" if in_code => Seam::CodeLine,
        "\n" | "\r\n" if next.style.pre.is_some() || (at > 0 && text(&letters[at - 1]) == "\n") => Seam::Block,
        "\n" | "\r\n" => Seam::Line,
        blank if blank.trim().is_empty() => {
            let inside = letter.run == next.run && (letter.style.code || letter.style.link.is_some());
            if inside || in_code { Seam::Inside } else { Seam::Word }
        }
        _ => Seam::Letter,
    }
}

/// How long Telegram finds a text.
pub(crate) fn units(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

/// The longest beginning of at most `most` units.
pub(crate) fn first_units(text: &str, most: usize) -> &str {
    let mut used = 0;
    let end = text.grapheme_indices(true).find(|(_, letter)| {
        used += units(letter);
        used > most
    });
    &text[..end.map_or(text.len(), |(start, _)| start)]
}
