//! What a running process shows of itself over HTTP: `/metrics` for Prometheus, `/healthz` (it lives), `/readyz` (what it
//! works with can be reached), and of `broca up` also `/targets`, where Prometheus finds its children.
//!
//! Without `metrics.listen` a worker or a plugin shows nothing and counts nothing. `broca up` always listens, on a
//! free port of the loopback interface unless it is told otherwise, and so do its children.

mod exposition;
mod readiness;
mod server;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use broca_admin::janitor::OnDuty;
use broca_core::metric::Role;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use self::{exposition::Exposition, readiness::Readiness};
use crate::{
    app::App,
    failure::{Code, Failure},
    run_file::ProcessEntry,
};

/// A free port of this machine, for nobody else.
const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// The monitoring of this process; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Monitor {
    /// Where it listens.
    pub(crate) address: Option<SocketAddr>,
    /// Whether what is shown of the whole deployment is this process's to show.
    pub(crate) on_duty: OnDuty,
    readiness: Arc<Readiness>,
    _server: Option<AbortOnDropHandle<()>>,
}

impl Monitor {
    /// Listens, before anything else is reached: a process that waits for its database lives and is not ready.
    ///
    /// # Errors
    /// The address is taken, or not of this machine.
    pub(crate) async fn start(app: &App, role: Role, name: &str) -> Result<Self, Failure> {
        let readiness = Arc::new(Readiness::new(app.shutdown.begin.clone()));
        let wanted = app.config.settings.metrics.listen.or((role == Role::Up).then_some(LOOPBACK));
        let on_duty = OnDuty::default();
        let Some(wanted) = wanted else { return Ok(Self { address: None, on_duty, readiness, _server: None }) };
        let taken = |error: std::io::Error| {
            let from = app.config.source_of("metrics.listen");
            Failure::new(Code::Conflict, format!("cannot listen on metrics.listen {wanted} (from {from}): {error}"))
                .hint("is another process there already? give each process an address of its own, or port 0 for a free one")
        };
        let listener = TcpListener::bind(wanted).await.map_err(taken)?;
        let address = listener.local_addr()?;
        let exposition = Exposition::install(role, name, on_duty.clone())?;
        let server = tokio::spawn(server::serve(listener, exposition, readiness.clone()));
        tracing::info!(%address, "metrics, health and readiness are served");
        Ok(Self { address: Some(address), on_duty, readiness, _server: Some(AbortOnDropHandle::new(server)) })
    }

    /// From now on this process is ready when both can be reached.
    pub(crate) fn works_with(&self, store: &broca_store::Store, bus: &broca_bus::Bus) {
        self.readiness.works_with(store.clone(), bus.clone());
    }

    /// How the children of `broca up` stand.
    pub(crate) fn children_are(&self, children: &[ProcessEntry]) {
        exposition::show_children(children);
        self.readiness.children_are(children.to_vec());
    }
}

/// Where a child of the process that listens on `parent` listens: on the same interface, on a free port.
pub(crate) fn child_address(parent: SocketAddr) -> SocketAddr {
    SocketAddr::new(parent.ip(), 0)
}
