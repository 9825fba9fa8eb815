//! The table of operations over HTTP, for programs and for MCP hosts: who may come in, and what they are told.

pub(crate) mod guard;
pub(crate) mod operations;
pub(crate) mod two_steps;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use broca_admin::operations::{Caller, Code as OperationCode, Deps, Entry, OperationError};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{
    app::App,
    failure::{Blame, Code, Failure},
};

/// How long an operation waits for the broker: whoever asked waits, too.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// The largest request.
pub(crate) const MAX_BODY_BYTES: usize = 256 * 1024;

/// Where a server listens, and who may come in besides those who show a token.
#[derive(Debug, clap::Args)]
pub(crate) struct ListenArgs {
    /// A name that this server is reached by, besides those of this machine itself, e.g. broca.example; may be repeated
    #[arg(long = "allow-host", value_name = "HOST")]
    hosts: Vec<String>,
    /// A web page's origin that may call, e.g. https://ops.example; none may unless it is named; may be repeated
    #[arg(long = "allow-origin", value_name = "ORIGIN")]
    origins: Vec<String>,
}

impl ListenArgs {
    /// Whom a server at `address` lets in.
    pub(crate) fn door(&self, address: SocketAddr, deps: Arc<Deps>) -> Result<guard::Door, Failure> {
        Ok(guard::Door::new(deps, reached_by(address, &self.hosts)?, &self.origins))
    }
}

/// The names of a server at `address`. One that other machines reach needs a name that they reach it by.
pub(crate) fn reached_by(address: SocketAddr, named: &[String]) -> Result<guard::Hosts, Failure> {
    if !address.ip().is_loopback() && named.is_empty() {
        return Err(Failure::new(
            Code::Usage,
            format!("{address} is not of this machine alone, and nobody said by which name it is reached"),
        )
        .hint("name it with --allow-host; tokens go over the wire as they are, so put TLS before it"));
    }
    Ok(guard::Hosts::with(named))
}

/// Listens, and says where; port 0 is a free one.
pub(crate) async fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.blame(Code::Conflict, format!("cannot listen on {address}"))
}

/// Serves until the first signal; what is under way then is finished.
pub(crate) async fn serve(app: &App, listener: TcpListener, router: Router) -> Result<(), Failure> {
    let begin = app.shutdown.begin.clone();
    let served = axum::serve(listener, router).with_graceful_shutdown(begin.cancelled_owned());
    Ok(served.await?)
}

/// Does an operation also when whoever asked has hung up: what was begun is not left in the middle.
pub(crate) async fn to_its_end(
    entry: &'static Entry,
    deps: &Arc<Deps>,
    caller: &Caller,
    request: Value,
) -> Result<Value, OperationError> {
    let (deps, caller) = (deps.clone(), caller.clone());
    let done = tokio::spawn(async move { entry.call(&deps, &caller, request).await });
    done.await
        .unwrap_or_else(|error| Err(OperationError::new(OperationCode::Failure, format!("it broke off: {error}"))))
}

/// An error as every caller gets it, with the status that says the same.
pub(crate) fn refused(error: &OperationError) -> Response {
    let status = match error.code {
        OperationCode::Usage => StatusCode::BAD_REQUEST,
        OperationCode::NotFound => StatusCode::NOT_FOUND,
        OperationCode::Conflict => StatusCode::CONFLICT,
        OperationCode::Unauthorised => StatusCode::FORBIDDEN,
        OperationCode::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        OperationCode::Failure => StatusCode::INTERNAL_SERVER_ERROR,
    };
    with_status(status, error)
}

pub(crate) fn with_status(status: StatusCode, error: &OperationError) -> Response {
    (status, [(header::CACHE_CONTROL, "no-store")], axum::Json(error.json())).into_response()
}

/// What is answered to everybody who knows the address, without a token.
pub(crate) async fn healthz() -> Response {
    axum::Json(json!({"status": "ok"})).into_response()
}
