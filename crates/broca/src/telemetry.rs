//! Logs: to standard error, for people or as JSON, with ids as fields and never with message text.

use std::io::{self, IsTerminal, Write};

use tracing_subscriber::{EnvFilter, fmt, fmt::MakeWriter, util::SubscriberInitExt};

use crate::{
    config::LogFormat,
    failure::{Blame, Code, Failure},
    supervisor::Lines,
};

/// Starts the log. `RUST_LOG`, where it is set, wins over `level`. `name` is what lines begin with, for a process
/// whose lines stand among those of others.
///
/// # Errors
/// The level is no filter.
pub(crate) fn start(level: &str, format: LogFormat, name: Option<&'static str>) -> Result<(), Failure> {
    let (filter, key) = match std::env::var("RUST_LOG") {
        Ok(filter) if !filter.is_empty() => (filter, "environment variable RUST_LOG"),
        _ => (with_quiet_crates(level), "log.level"),
    };
    let filter = EnvFilter::try_new(&filter).map_err(|error| {
        Failure::new(Code::Usage, format!("{key}: {error}"))
            .hint("use error, warn, info, debug or trace, or a filter like info,broca_pipeline=debug")
    })?;
    let log = fmt().with_env_filter(filter).with_writer(Writers { format, name });
    let started = match format {
        LogFormat::Pretty => log.with_ansi(colour()).with_target(false).finish().try_init(),
        LogFormat::Json => log.json().flatten_event(true).with_current_span(true).finish().try_init(),
    };
    started.blame(Code::Failure, "cannot start the log")
}

/// A level is meant for Broca's own lines; of its libraries only what is wrong is shown, unless they are named.
fn with_quiet_crates(level: &str) -> String {
    match level {
        "off" | "error" => level.to_owned(),
        // A later directive for the same crate wins over an earlier one.
        level => format!("async_nats=warn,hyper=warn,hyper_util=warn,reqwest=warn,sqlx=warn,{level}"),
    }
}

#[derive(Debug)]
struct Writers {
    format: LogFormat,
    name: Option<&'static str>,
}

impl<'a> MakeWriter<'a> for Writers {
    type Writer = Box<dyn Write + 'a>;

    fn make_writer(&'a self) -> Self::Writer {
        match self.name {
            Some(name) => Box::new(Named { format: self.format, name }),
            None => Box::new(io::stderr()),
        }
    }
}

/// Gives each line, which comes in one piece, the name that its process has in the common log.
struct Named {
    format: LogFormat,
    name: &'static str,
}

impl Write for Named {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        Lines::shared(self.format).write(self.name, String::from_utf8_lossy(line).trim_end());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Set by a parent process that passes our lines on to a terminal.
pub(crate) const FORCE_COLOUR: &str = "CLICOLOR_FORCE";

/// Whether lines on standard error are to be coloured: by the usual variables, else when a person reads them.
pub(crate) fn colour() -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty() && value != "0");
    if set("NO_COLOR") {
        return false;
    }
    set(FORCE_COLOUR) || io::stderr().is_terminal()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_quiet_unless_they_are_named() {
        let filter = |level: &str| EnvFilter::new(with_quiet_crates(level)).to_string();
        assert!(filter("debug").contains("async_nats=warn") && filter("debug").contains("debug"));
        let named = filter("info,async_nats=trace");
        assert!(named.contains("async_nats=trace") && !named.contains("async_nats=warn"), "{named}");
        assert_eq!(filter("error"), "error");
    }
}
