//! Logs: to standard error, for people or as JSON, with ids as fields and never with message text.

use std::io::{self, IsTerminal};

use tracing_subscriber::{EnvFilter, fmt, util::SubscriberInitExt};

use crate::{
    config::{LogFormat, LogSettings},
    failure::{Code, Failure},
};

/// Starts the log. `RUST_LOG`, where it is set, wins over `log.level`.
///
/// # Errors
/// The level is no filter.
pub(crate) fn start(settings: &LogSettings) -> Result<(), Failure> {
    let (filter, key) = match std::env::var("RUST_LOG") {
        Ok(filter) if !filter.is_empty() => (filter, "environment variable RUST_LOG"),
        _ => (settings.level.clone(), "log.level"),
    };
    let filter = EnvFilter::try_new(&filter).map_err(|error| {
        Failure::new(Code::Usage, format!("{key}: {error}"))
            .hint("use error, warn, info, debug or trace, or a filter like info,broca_pipeline=debug")
    })?;
    let log = fmt().with_env_filter(filter).with_writer(io::stderr);
    let started = match settings.format {
        LogFormat::Pretty => log.with_ansi(colour()).with_target(false).finish().try_init(),
        LogFormat::Json => log.json().flatten_event(true).with_current_span(true).finish().try_init(),
    };
    started.map_err(|error| Failure::new(Code::Failure, format!("cannot start the log: {error}")))
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
