//! `broca api`: the table of operations over HTTP.

use std::{net::SocketAddr, sync::Arc};

use crate::{
    app::App,
    failure::Failure,
    serving::{self, ListenArgs, PATIENCE, operations},
    supervisor::announce_ready,
};

#[derive(Debug, clap::Args)]
#[command(after_help = "Callers show a token: `broca token add NAME --access read|operate|admin`.\n\
    GET /v1/operations lists the operations with the schemas of requests and answers, POST /v1/operations/<name> does one.")]
pub(crate) struct Args {
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:9470", value_name = "ADDRESS")]
    listen: SocketAddr,
    #[command(flatten)]
    door: ListenArgs,
}

pub(crate) async fn run(app: &App, args: &Args) -> Result<(), Failure> {
    let deps = Arc::new(app.patient_deps(PATIENCE).await?);
    let door = args.door.door(args.listen, deps.clone())?;
    let listener = serving::listen(args.listen).await?;
    let address = listener.local_addr()?;
    tracing::info!(%address, "operations are served");
    app.note(&format!("operations are served at http://{address}/v1/operations"));
    announce_ready(None);
    serving::serve(app, listener, operations::router(door, deps)).await
}
