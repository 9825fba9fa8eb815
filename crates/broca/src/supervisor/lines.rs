//! The output of all processes as one log on standard error: each line behind the name of its process, or, when the
//! log is JSON, with the name as a field.

use std::{
    io::{self, Write},
    sync::Arc,
};

use crate::{config::LogFormat, telemetry};

/// ANSI colours that read on dark and light grounds.
const COLOURS: [u8; 6] = [36, 33, 35, 32, 34, 31];

#[derive(Clone, Debug)]
pub(crate) struct Lines {
    format: LogFormat,
    colour: bool,
    /// Characters of the longest name.
    width: usize,
}

impl Lines {
    pub(crate) fn new<'a>(format: LogFormat, names: impl IntoIterator<Item = &'a str>) -> Arc<Self> {
        let width = names.into_iter().map(str::len).max().unwrap_or(0);
        Arc::new(Self { format, colour: telemetry::colour(), width })
    }

    pub(crate) fn colour(&self) -> bool {
        self.colour
    }

    /// Writes one line of a process. A closed standard error ends no process.
    pub(crate) fn write(&self, name: &str, line: &str) {
        let text = self.line(name, line);
        if writeln!(io::stderr().lock(), "{text}").is_err() {
            tracing::trace!(name, "standard error is closed");
        }
    }

    fn line(&self, name: &str, line: &str) -> String {
        match (self.format, line.strip_prefix('{')) {
            (LogFormat::Json, Some("}")) => format!("{{\"process\":{}}}", json(name)),
            (LogFormat::Json, Some(rest)) => format!("{{\"process\":{},{rest}", json(name)),
            (LogFormat::Json, None) => format!("{{\"process\":{},\"line\":{}}}", json(name), json(line)),
            (LogFormat::Pretty, _) => format!("{} {line}", self.prefix(name)),
        }
    }

    fn prefix(&self, name: &str) -> String {
        let padded = format!("{name:<width$} |", width = self.width);
        if !self.colour {
            return padded;
        }
        let sum: usize = name.bytes().map(usize::from).sum();
        format!("\u{1b}[{}m{padded}\u{1b}[0m", COLOURS[sum % COLOURS.len()])
    }
}

fn json(text: &str) -> serde_json::Value {
    serde_json::Value::from(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_aligned() {
        let lines = Lines { format: LogFormat::Pretty, colour: false, width: 8 };
        assert_eq!(lines.line("cli", "hello"), "cli      | hello");
        assert_eq!(lines.line("worker-1", "hello"), "worker-1 | hello");
    }

    #[test]
    fn json_lines_stay_json_and_carry_the_name() {
        let lines = Lines { format: LogFormat::Json, colour: false, width: 8 };
        for line in [r#"{"level":"INFO"}"#, "{}", "panicked at 'x'", "a \"quoted\" {line}"] {
            let value: serde_json::Value = serde_json::from_str(&lines.line("cli", line)).unwrap();
            assert_eq!(value["process"], "cli");
        }
    }
}
