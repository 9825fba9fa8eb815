//! `broca rehearse`: the scripted servers as processes, for the demo and for tests that kill them.

use std::{net::SocketAddr, path::PathBuf};

use broca_rehearsal::{
    letta::{self, LettaScript},
    platform::{self, PlatformScript},
};
use tokio::net::TcpListener;

use crate::{
    failure::{Blame, Code, Failure},
    output::Output,
    shutdown::Shutdown,
};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// A Letta server
    Letta(LettaArgs),
    /// A chat platform
    Platform(PlatformArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct LettaArgs {
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Every turn that really ran is appended to this file
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Conversations, runs and messages are kept in this file, and read back at the next start
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
    /// A turn takes at least this long
    #[arg(long, default_value_t = 5, value_name = "MS")]
    min_ms: u64,
    /// A turn takes at most this long
    #[arg(long, default_value_t = 20, value_name = "MS")]
    max_ms: u64,
    /// No other agent exists [default: every agent does]
    #[arg(long, value_name = "ID")]
    agent_id: Option<String>,
    /// Of the random choice between the two
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,
}

#[derive(Debug, clap::Args)]
pub(crate) struct PlatformArgs {
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Every send is appended to this file before it is answered
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// How long a send waits between its receipt and its answer
    #[arg(long, default_value_t = 0, value_name = "MS")]
    hold_ms: u64,
}

pub(crate) async fn run(command: &Command, output: Output, shutdown: &Shutdown) -> Result<(), Failure> {
    match command {
        Command::Letta(args) => {
            let listener = listen(args.listen, output).await?;
            let script = LettaScript {
                turn_log: args.log.clone(),
                journal: args.journal.clone(),
                min_ms: args.min_ms,
                max_ms: args.max_ms,
                seed: args.seed,
                agent_id: args.agent_id.clone(),
                ..LettaScript::default()
            };
            until(shutdown, letta::serve(listener, script)).await
        }
        Command::Platform(args) => {
            let listener = listen(args.listen, output).await?;
            let script = PlatformScript { log: args.log.clone(), hold_ms: args.hold_ms, ..PlatformScript::default() };
            until(shutdown, platform::serve(listener, script)).await
        }
    }
}

/// Its first line on standard output says where it listens, for whoever started it on a free port.
async fn listen(address: SocketAddr, output: Output) -> Result<TcpListener, Failure> {
    let listener = TcpListener::bind(address).await.blame(Code::Failure, format!("cannot listen on {address}"))?;
    output.text(&format!("listening on http://{}", listener.local_addr()?))?;
    Ok(listener)
}

async fn until(shutdown: &Shutdown, serving: impl Future<Output = std::io::Result<()>>) -> Result<(), Failure> {
    match shutdown.begin.run_until_cancelled(serving).await {
        Some(ended) => Ok(ended?),
        None => Ok(()),
    }
}
