//! The output of all processes as one log on standard error: each line behind the name of its process, or, when the
//! log is JSON, with the name as a field.

use std::io::{self, Write};

use crate::{config::LogFormat, telemetry};

/// ANSI colours that read on dark and light grounds.
const COLOURS: [u8; 6] = [36, 33, 35, 32, 34, 31];

/// Room for the names; a longer one moves its own lines only.
const WIDTH: usize = 9;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Lines {
    format: LogFormat,
    colour: bool,
}

impl Lines {
    /// The log that all processes of a `broca up` share.
    pub(crate) fn shared(format: LogFormat) -> Self {
        Self { format, colour: telemetry::colour() }
    }

    pub(crate) fn colour(self) -> bool {
        self.colour
    }

    /// Writes one line of a process. A closed standard error ends no process.
    pub(crate) fn write(self, name: &str, line: &str) {
        let text = self.line(name, line);
        // Nobody is left to tell.
        drop(writeln!(io::stderr().lock(), "{text}"));
    }

    fn line(self, name: &str, line: &str) -> String {
        match (self.format, line.strip_prefix('{')) {
            (LogFormat::Json, Some("}")) => format!("{{\"process\":{}}}", json(name)),
            (LogFormat::Json, Some(rest)) => format!("{{\"process\":{},{rest}", json(name)),
            (LogFormat::Json, None) => format!("{{\"process\":{},\"line\":{}}}", json(name), json(line)),
            (LogFormat::Pretty, _) => format!("{} {line}", self.prefix(name)),
        }
    }

    fn prefix(self, name: &str) -> String {
        let padded = format!("{name:<WIDTH$} |");
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
        let lines = Lines { format: LogFormat::Pretty, colour: false };
        assert_eq!(lines.line("cli", "hello"), "cli       | hello");
        assert_eq!(lines.line("worker-1", "hello"), "worker-1  | hello");
    }

    #[test]
    fn json_lines_stay_json_and_carry_the_name() {
        let lines = Lines { format: LogFormat::Json, colour: false };
        for line in [r#"{"level":"INFO"}"#, "{}", "panicked at 'x'", "a \"quoted\" {line}"] {
            let value: serde_json::Value = serde_json::from_str(&lines.line("cli", line)).unwrap();
            assert_eq!(value["process"], "cli");
        }
    }
}
