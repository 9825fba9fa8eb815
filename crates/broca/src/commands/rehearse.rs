//! `broca rehearse`: the scripted servers as processes, for the demo and for tests that kill them.

use std::{net::SocketAddr, path::PathBuf};

use broca_rehearsal::platform::{self, PlatformScript};
use tokio::net::TcpListener;

use crate::{
    failure::{Blame, Code, Failure},
    output::Output,
    shutdown::Shutdown,
};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// A chat platform
    Platform(PlatformArgs),
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
