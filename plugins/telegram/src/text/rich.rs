//! Text with styles, free of any notation.

use std::{ops::Range, sync::Arc};

/// How a stretch of text looks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Style {
    pub(super) quote: bool,
    /// A block of code, with its language, which may be empty.
    pub(super) pre: Option<Arc<str>>,
    pub(super) code: bool,
    pub(super) link: Option<Arc<str>>,
    pub(super) bold: bool,
    pub(super) italic: bool,
    pub(super) strike: bool,
}

/// Text in which every byte has one style.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rich {
    pub(super) text: String,
    /// Ends and styles of the stretches, in order; the last one ends where the text does.
    pub(super) runs: Vec<(usize, Style)>,
    /// Places in the text, and the places in the source that they come from; both rise.
    marks: Vec<(usize, usize)>,
}

impl Rich {
    pub(super) fn link(text: &str, url: &str) -> Self {
        let mut rich = Self::default();
        rich.push(text, &Style { link: Some(url.into()), ..Style::default() });
        rich
    }

    pub(super) fn push(&mut self, text: &str, style: &Style) {
        if text.is_empty() {
            return;
        }
        self.text.push_str(text);
        match self.runs.last_mut() {
            Some((end, last)) if last == style => *end = self.text.len(),
            _ => self.runs.push((self.text.len(), style.clone())),
        }
    }

    /// What is pushed from here on comes from behind `source`.
    pub(super) fn mark(&mut self, source: usize) {
        let source = self.marks.last().map_or(source, |(_, last)| source.max(*last));
        self.marks.push((self.text.len(), source));
    }

    /// About where a place in the text comes from; a later place never comes from before.
    pub(super) fn source_of(&self, at: usize) -> usize {
        let behind = self.marks.partition_point(|(place, _)| *place <= at);
        let (place, source) = behind.checked_sub(1).map_or((0, 0), |before| self.marks[before]);
        let found = source + (at - place);
        self.marks.get(behind).map_or(found, |(_, next)| found.min(*next))
    }

    /// Forgets what was pushed behind `len` bytes.
    pub(super) fn truncate(&mut self, len: usize) {
        self.text.truncate(len);
        self.marks.retain(|(place, _)| *place <= len);
        while self.runs.last().is_some_and(|(end, _)| *end > len) {
            let start = self.runs.len().checked_sub(2).map_or(0, |before| self.runs[before].0);
            if start >= len {
                self.runs.pop();
            } else if let Some((end, _)) = self.runs.last_mut() {
                *end = len;
            }
        }
    }

    /// The stretches of a part of the text.
    pub(super) fn stretches(&self, part: Range<usize>) -> impl Iterator<Item = (Range<usize>, &Style)> {
        let first = self.runs.partition_point(|(end, _)| *end <= part.start);
        let mut start = part.start;
        self.runs[first..].iter().take_while(move |_| start < part.end).map_while(move |(end, style)| {
            let end = (*end).min(part.end);
            let stretch = start..end;
            start = end;
            (!stretch.is_empty()).then_some((stretch, style))
        })
    }

    /// The visible text of a part, with the addresses behind the links.
    pub(super) fn with_links(&self, part: Range<usize>) -> String {
        let mut plain = String::with_capacity(part.len());
        for (stretch, style) in self.stretches(part) {
            let text = &self.text[stretch];
            plain.push_str(text);
            if let Some(url) = style.link.as_deref().filter(|url| *url != text) {
                plain.push_str(&format!(" ({url})"));
            }
        }
        plain
    }
}
