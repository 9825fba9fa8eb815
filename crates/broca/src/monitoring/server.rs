//! The pages.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{Exposition, Readiness};

#[derive(Clone)]
struct Pages {
    exposition: Exposition,
    readiness: Arc<Readiness>,
}

pub(super) async fn serve(listener: TcpListener, exposition: Exposition, readiness: Arc<Readiness>) {
    let pages = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/targets", get(targets))
        .with_state(Pages { exposition, readiness });
    if let Err(error) = axum::serve(listener, pages).await {
        tracing::error!(%error, "metrics are served no more");
    }
}

async fn metrics(State(pages): State<Pages>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], pages.exposition.text())
}

async fn readyz(State(pages): State<Pages>) -> impl IntoResponse {
    let ready = pages.readiness.ask().await;
    let status = if ready.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(ready))
}

/// The children of `broca up`, as Prometheus's HTTP service discovery takes them: their ports change.
async fn targets(State(pages): State<Pages>, headers: HeaderMap) -> Json<Value> {
    let asked = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default().to_owned();
    let children = pages.readiness.children();
    let targets = children.iter().filter_map(|child| {
        let target = reachable(child.metrics?, &asked);
        Some(json!({"targets": [target], "labels": {"broca_process": child.name}}))
    });
    Json(targets.collect())
}

/// A process that listens everywhere is reached where this one was reached.
fn reachable(address: SocketAddr, asked: &str) -> String {
    let host = asked.rsplit_once(':').map_or(asked, |(host, _)| host);
    if address.ip().is_unspecified() && !host.is_empty() {
        return format!("{host}:{}", address.port());
    }
    address.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_can_be_reached_by_whoever_asked() {
        let everywhere: SocketAddr = "0.0.0.0:7".parse().unwrap();
        assert_eq!(reachable(everywhere, "broca.example:9464"), "broca.example:7");
        assert_eq!(reachable(everywhere, "[::1]:9464"), "[::1]:7");
        assert_eq!(reachable("127.0.0.1:7".parse().unwrap(), "localhost:9464"), "127.0.0.1:7");
    }
}
