//! The `broca` binary: settings, telemetry, shutdown, and one file per subcommand.

mod agents;
mod apart;
mod app;
mod asking;
mod chat_operator;
mod cli;
mod commands;
mod config;
mod conformance;
mod contexts;
mod dashboard;
mod embedded;
mod emulation;
mod failure;
mod manager;
mod mcp;
mod monitoring;
mod operator;
mod output;
mod plugins;
mod progress;
mod reload;
mod run_file;
mod serving;
mod shutdown;
mod supervisor;
mod telemetry;
mod traces;
mod wiring;

use std::{process::ExitCode, time::Duration};

use clap::Parser;

use crate::{
    cli::Cli,
    failure::{Code, Failure},
    output::{Format, Output},
};

/// A monitoring plugin's exit code for "could not find out".
const UNKNOWN: u8 = 3;
/// Threads that block (a terminal's read) do not keep the process for longer than this.
const THREADS_GRACE: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|first| first == commands::describe::FLAG) {
        let output = Output { format: Format::Json };
        return match commands::describe::run(output) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => failure.exit_code(),
        };
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return not_understood(&error),
    };
    let output = Output { format: cli.global.format() };
    cli.global.color.set(output.format);
    let is_check = matches!(cli.command, cli::Command::Check(_));
    match start(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) if failure.is_said() => failure.exit_code(),
        Err(failure) => {
            report(&failure, output);
            // To a monitor, a check that could not ask is neither good nor bad.
            if is_check { ExitCode::from(UNKNOWN) } else { failure.exit_code() }
        }
    }
}

fn start(cli: Cli) -> Result<(), Failure> {
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        return Err(Failure::new(Code::Failure, "a TLS provider was installed before ours"));
    }
    // Becomes another program, so it comes before any thread.
    if let cli::Command::Tied(args) = &cli.command {
        return commands::tied::run(args);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(app::run(cli));
    runtime.shutdown_timeout(THREADS_GRACE);
    result
}

/// A person reads the failure on standard error; a script that asked for JSON finds it on standard output.
fn report(failure: &Failure, output: Output) {
    if output.is_json() && output.json(&failure.json()).is_ok() {
        return;
    }
    eprintln!("{failure}");
}

/// Help and version are no failures; a wrong command line is, with exit code 2.
fn not_understood(error: &clap::Error) -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    if let Some(format) = Format::asked_for(&words).filter(|_| error.use_stderr()) {
        let text = error.render().to_string();
        let message = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        report(&Failure::new(Code::Usage, message).hint("see `broca --help`"), Output { format });
    } else if let Err(error) = error.print() {
        eprintln!("error: {error}");
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Code::Usage as u8))
}
