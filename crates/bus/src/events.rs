//! What the connection reports: logged once, at the level it deserves, and told to whoever waits on it.

use async_nats::{ClientError, Event, ServerError};
use broca_core::metric;
use tokio::sync::watch;

/// Counts the connections made. A waiter that sees it grow knows that whatever was in flight is gone.
#[derive(Debug)]
pub(crate) struct Connections {
    made: watch::Sender<u64>,
    servers: String,
}

impl Connections {
    pub(crate) fn new(servers: String) -> Self {
        // From here on both are there to be read, and not only once something happened.
        metrics::gauge!(metric::NATS_CONNECTED.name).set(0.0);
        metrics::counter!(metric::NATS_RECONNECTS.name).increment(0);
        Self { made: watch::Sender::new(0), servers }
    }

    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.made.subscribe()
    }

    /// The client drops events when 128 of them wait; everything that listens here also has a time-out.
    pub(crate) fn on(&self, event: Event) {
        let servers = &self.servers;
        match event {
            Event::Connected => {
                let reconnected = *self.made.borrow() > 0;
                self.made.send_modify(|made| *made += 1);
                metrics::gauge!(metric::NATS_CONNECTED.name).set(1.0);
                if reconnected {
                    metrics::counter!(metric::NATS_RECONNECTS.name).increment(1);
                    tracing::info!(%servers, "reconnected to NATS");
                } else {
                    tracing::info!(%servers, "connected to NATS");
                }
            }
            Event::Disconnected => {
                metrics::gauge!(metric::NATS_CONNECTED.name).set(0.0);
                tracing::warn!(%servers, "lost the connection to NATS, reconnecting");
            }
            Event::LameDuckMode => tracing::info!(%servers, "the NATS server is shutting down, moving to another"),
            Event::SlowConsumer(id) => {
                tracing::error!(%servers, subscription = id, "the client dropped messages; JetStream redelivers them");
            }
            Event::ServerError(ServerError::AuthorizationViolation) => {
                tracing::error!(%servers, "NATS refuses the credentials; check user, password, seed or credentials file");
            }
            Event::ServerError(error) => {
                tracing::error!(%servers, %error, "NATS reports an error; a permissions violation means that this user's rights do not fit its role");
            }
            // The client reports every failed attempt to reconnect this way: the loss itself was logged.
            Event::ClientError(ClientError::Other(error)) => {
                tracing::debug!(%servers, %error, "cannot reconnect to NATS yet");
            }
            Event::ClientError(error) => tracing::error!(%servers, %error, "the NATS client reports an error"),
            Event::Draining | Event::Closed => tracing::debug!(%servers, "the connection to NATS ends"),
        }
    }
}
