//! Standard output: results alone, as text for people or as JSON for scripts. Logs and errors go to standard error.

use std::{
    io::{self, IsTerminal, Write},
    sync::atomic::{AtomicBool, Ordering},
};

use serde::Serialize;
use serde_json::{Map, Value};

use crate::failure::Failure;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    #[default]
    Table,
    Json,
    /// One line for each item of a list, or one for the whole
    Ndjson,
}

impl Format {
    /// What a command line that is not understood asks for, where that is JSON of some kind.
    pub(crate) fn asked_for(words: &[String]) -> Option<Self> {
        let named = |name: &str| match name {
            "json" => Some(Self::Json),
            "ndjson" => Some(Self::Ndjson),
            _ => None,
        };
        words.iter().enumerate().find_map(|(at, word)| match word.as_str() {
            "--json" => Some(Self::Json),
            "-o" | "--output" => named(words.get(at + 1)?),
            word => named(word.strip_prefix("--output=").or_else(|| word.strip_prefix("-o"))?),
        })
    }
}

/// When results for people are in colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Colour {
    /// On a terminal, unless NO_COLOR is set
    #[default]
    Auto,
    Always,
    Never,
}

/// Whether this process paints.
static PAINTS: AtomicBool = AtomicBool::new(false);

impl Colour {
    /// Decides it for this process.
    pub(crate) fn set(self, format: Format) {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let paints = match self {
            Self::Auto => io::stdout().is_terminal() && !set("NO_COLOR") && !dumb,
            Self::Always => true,
            Self::Never => false,
        };
        PAINTS.store(paints && format == Format::Table, Ordering::Relaxed);
    }
}

/// What a word means for whoever reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Good,
    Poor,
    Bad,
    Head,
}

pub(crate) fn paint(tone: Tone, text: &str) -> String {
    let code = match tone {
        Tone::Good => 32,
        Tone::Poor => 33,
        Tone::Bad => 31,
        Tone::Head => 1,
    };
    if PAINTS.load(Ordering::Relaxed) && !text.is_empty() {
        format!("\x1b[{code}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

/// The name of a state, in its colour.
pub(crate) fn state(name: &str) -> String {
    let tone = match name {
        "completed" | "delivered" | "ok" | "done" | "works" => Tone::Good,
        "failed" | "dead" | "FAILED" | "refused" | "broken" => Tone::Bad,
        "parked" | "held" | "retry" | "unknown" | "warning" | "suppressed" | "active" | "ending" => Tone::Poor,
        _ => return name.to_owned(),
    };
    paint(tone, name)
}

/// Writes the results of a command.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    pub(crate) format: Format,
}

impl Output {
    pub(crate) fn is_json(self) -> bool {
        self.format != Format::Table
    }

    /// Writes `value` as JSON, or `text` for people.
    pub(crate) fn result<T: Serialize>(self, value: &T, text: impl FnOnce() -> String) -> Result<(), Failure> {
        if self.is_json() { self.json(value) } else { self.text(&text()) }
    }

    pub(crate) fn json<T: Serialize>(self, value: &T) -> Result<(), Failure> {
        if self.format == Format::Ndjson {
            return self.lines(&serde_json::to_value(value).map_err(anyhow::Error::from)?);
        }
        let text = serde_json::to_string_pretty(value).map_err(anyhow::Error::from)?;
        self.text(&text)
    }

    /// A list as its items, and then whatever stands beside them, such as where the next page begins.
    fn lines(self, value: &Value) -> Result<(), Failure> {
        let Some(items) = value.get("items").and_then(Value::as_array) else { return self.json_line(value) };
        items.iter().try_for_each(|item| self.json_line(item))?;
        let beside = value.as_object().into_iter().flatten().filter(|(key, field)| *key != "items" && !field.is_null());
        let beside: Map<String, Value> = beside.map(|(key, field)| (key.clone(), field.clone())).collect();
        if beside.is_empty() { Ok(()) } else { self.json_line(&beside) }
    }

    /// One of several results that are written as they come.
    pub(crate) fn json_line<T: Serialize>(self, value: &T) -> Result<(), Failure> {
        let text = serde_json::to_string(value).map_err(anyhow::Error::from)?;
        self.text(&text)
    }

    pub(crate) fn text(self, text: &str) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
            // `broca … | head` is no failure of ours.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            result => Ok(result?),
        }
    }
}

/// The lines of a page, and how to have the next one.
pub(crate) fn paged<C: std::fmt::Display>(mut lines: String, next_cursor: Option<&C>) -> String {
    if let Some(cursor) = next_cursor {
        lines.push_str(&format!("\nthere are more: --cursor {cursor}"));
    }
    lines
}

/// A table without lines, as it is easiest to read and to cut. Columns are as wide as their widest cell.
pub(crate) fn table<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let header = header.map(|name| paint(Tone::Head, name));
    let rows: Vec<[String; N]> = [header].into_iter().chain(rows).collect();
    pairs(&rows)
}

/// With where the next page begins.
pub(crate) fn more(table: String, cursor: Option<&impl std::fmt::Display>) -> String {
    match cursor {
        Some(cursor) => format!("{table}\nthere are more: --cursor {cursor}"),
        None => table,
    }
}

/// How many characters are seen: what paints is none.
fn wide(cell: &str) -> usize {
    let painted = cell.split("\x1b[").enumerate();
    let seen = painted.map(|(n, part)| if n == 0 { part } else { part.split_once('m').map_or(part, |(_, rest)| rest) });
    seen.map(|part| part.chars().count()).sum()
}

/// Rows without a header.
pub(crate) fn pairs<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| wide(&row[column])).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell}{}", " ".repeat(width - wide(cell))));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_command_line_is_answered_as_it_asked() {
        let asked = |line: &str| Format::asked_for(&line.split(' ').map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(asked("broca dlq --json x"), Some(Format::Json));
        for line in ["broca -o ndjson x", "broca --output=ndjson x", "broca -ondjson", "broca --output ndjson"] {
            assert_eq!(asked(line), Some(Format::Ndjson), "{line}");
        }
        assert_eq!(asked("broca -o table x"), None);
        assert_eq!(asked("broca x -o"), None);
    }

    #[test]
    fn colour_takes_no_room() {
        assert_eq!((wide("\x1b[31mdead\x1b[0m"), wide("tote Fälle"), wide("")), (4, 10, 0));
    }

    #[test]
    fn columns_are_aligned_and_lines_end_with_their_text() {
        let rows = [["worker-1".to_owned(), "7".to_owned()], ["cli".to_owned(), String::new()]];
        assert_eq!(table(["process", "pid"], rows), "process   pid\nworker-1  7\ncli");
    }
}
