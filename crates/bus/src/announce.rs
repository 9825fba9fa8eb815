//! What is worth something now or never: said without an acknowledgement, heard by whoever listens at that moment.

use std::time::Duration;

use async_nats::Subscriber;
use bytes::Bytes;
use futures::StreamExt;

use crate::{Bus, BusError};

/// How long one may wait for room in the client.
const PATIENCE: Duration = Duration::from_secs(1);

impl Bus {
    /// Says something once. `Ok` means that it is on its way, not that anybody heard it; without a connection it
    /// is not said at all.
    pub async fn announce(&self, subject: String, payload: Vec<u8>) -> Result<(), BusError> {
        if !self.is_connected() {
            return Err(BusError::Unavailable("there is no connection to say it on".into()));
        }
        let said = self.inner.client().publish(subject, Bytes::from(payload));
        match tokio::time::timeout(PATIENCE, said).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(BusError::Unavailable(format!("not said: {error}"))),
            Err(_) => Err(BusError::Unavailable(format!("no room to say it within {PATIENCE:?}"))),
        }
    }

    /// Hears what is said under `subject` (which may have wildcards) from now on. Reconnects by itself; what is said
    /// meanwhile is missed. A user without the right to it hears nothing, and the log has the server's complaint.
    pub async fn listen(&self, subject: String) -> Result<Announcements, BusError> {
        let heard = self.inner.client().subscribe(subject.clone()).await;
        let heard = heard.map_err(|error| BusError::Unavailable(format!("cannot listen to {subject}: {error}")))?;
        Ok(Announcements { heard, _bus: self.clone() })
    }
}

/// What is said under a subject; nothing more when dropped.
#[derive(Debug)]
pub struct Announcements {
    heard: Subscriber,
    /// The connection stays for as long as somebody listens on it.
    _bus: Bus,
}

impl Announcements {
    /// The next one, with its subject. Cancel-safe. `None` only when the connection is closed for good.
    pub async fn next(&mut self) -> Option<(String, Vec<u8>)> {
        let message = self.heard.next().await?;
        Some((message.subject.to_string(), message.payload.to_vec()))
    }
}
