//! `broca mcp`: the table of operations for MCP hosts.

use std::{net::SocketAddr, sync::Arc};

use broca_admin::operations::Caller;
use broca_core::rights::Access;
use broca_store::Via;
use rmcp::{ServiceExt, transport::stdio};

use super::letters::person;
use crate::{
    app::App,
    failure::{Blame, Code, Failure},
    mcp::Server,
    serving::{self, ListenArgs, PATIENCE},
    supervisor::announce_ready,
};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Without --http it speaks on standard input and output, with the rights of whoever started it: to look, unless\n\
    --access says more. With --http it serves http://ADDRESS/mcp, and callers show a token (`broca token add`)."
)]
pub(crate) struct Args {
    /// Serves streamable HTTP there, instead of standard input and output
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["access", "contents"])]
    http: Option<SocketAddr>,
    /// What the host on standard input may do: read, operate or admin
    #[arg(long, default_value = "read", value_name = "ACCESS")]
    access: Access,
    /// The host on standard input may read what people and agents wrote
    #[arg(long)]
    contents: bool,
    #[command(flatten)]
    door: ListenArgs,
}

pub(crate) async fn run(app: &App, args: &Args) -> Result<(), Failure> {
    let deps = Arc::new(app.patient_deps(PATIENCE).await?);
    let Some(address) = args.http else {
        let name = format!("mcp:{}", person());
        let caller = Caller { name, via: Via::Mcp, access: args.access, contents: args.contents };
        return on_stdio(app, Server::local(deps, caller)).await;
    };
    let door = args.door.door(address, deps.clone())?.for_callers_by(Via::Mcp);
    let listener = serving::listen(address).await?;
    let address = listener.local_addr()?;
    tracing::info!(%address, "MCP is served");
    app.note(&format!("MCP is served at http://{address}/mcp"));
    announce_ready(None);
    serving::serve(app, listener, Server::router(deps, door, app.shutdown.begin.clone())).await
}

/// Until the host closes its end, or the first signal.
async fn on_stdio(app: &App, server: Server) -> Result<(), Failure> {
    let shutdown = app.shutdown.begin.clone();
    let running = server.serve_with_ct(stdio(), shutdown).await.blame(Code::Failure, "the MCP host did not begin")?;
    running.waiting().await.blame(Code::Failure, "the MCP server ended badly")?;
    Ok(())
}
