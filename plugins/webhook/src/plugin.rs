//! The plugin: listens, and sends each answer back by the road that its message came.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
};

use async_trait::async_trait;
use broca_core::{DeliveryError, MessageId, Profile, Receipt, Response, delivery::Settlement};
use broca_plugin::{Blueprint, Capabilities, Context, Manifest, Parts, Plugin, PluginError, PluginState};
use serde_json::Value;
use tokio::net::TcpListener;

use crate::{
    api::{Kept, Road, Shared, router},
    outgoing::Sender,
    settings::{Checked, WebhookSettings},
    waiting::Waiting,
};

/// The plugin as the binary finds it.
pub fn blueprint() -> Blueprint {
    Blueprint::new(manifest(), WebhookPlugin::new)
}

fn manifest() -> Manifest {
    // Several processes may stand behind one proxy: whatever one of them is asked for is in SQL.
    let capabilities = Capabilities { replicas: true, settles: true, attachments: true, ..Capabilities::default() };
    Manifest { capabilities, ..Manifest::new("webhook", env!("CARGO_PKG_VERSION")) }
}

#[derive(Debug)]
pub struct WebhookPlugin {
    settings: Arc<Checked>,
    sender: Option<Sender>,
    waiting: Waiting,
    address: OnceLock<SocketAddr>,
}

impl WebhookPlugin {
    /// # Errors
    /// [`PluginError::Settings`] says which key does not fit.
    pub fn new(settings: WebhookSettings) -> Result<Self, PluginError> {
        let mut settings = settings.checked()?;
        let sender = settings.outgoing.take().map(Sender::new).transpose();
        let sender = sender.map_err(|error| PluginError::Settings(format!("no HTTP client: {error}")))?;
        Ok(Self { settings: Arc::new(settings), sender, waiting: Waiting::default(), address: OnceLock::new() })
    }

    /// Where it listens, once it does.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address.get().copied()
    }
}

/// Answers to what came by another version's road are kept, and may be fetched.
fn kept(response: &Response) -> Kept {
    serde_json::from_value(response.attributes.clone()).unwrap_or(Kept { road: Road::Chat, attributes: Value::Null })
}

#[async_trait]
impl Plugin for WebhookPlugin {
    fn manifest(&self) -> Manifest {
        manifest()
    }

    /// There is nobody to ask; whoever has this plugin has read its secrets.
    async fn check(&self) -> Result<Option<String>, PluginError> {
        Ok(Some("its secrets can be read, and are long enough".to_owned()))
    }

    async fn run(&self, ctx: Context) -> Result<(), PluginError> {
        let listen = self.settings.listen;
        let cannot = |error: std::io::Error| PluginError::Platform(format!("cannot listen at {listen}: {error}"));
        let listener = TcpListener::bind(listen).await.map_err(cannot)?;
        let address = listener.local_addr().map_err(cannot)?;
        // A plugin runs once.
        let address = *self.address.get_or_init(|| address);
        tracing::info!(%address, "listening");
        ctx.report(PluginState::Connected);
        let shared = Shared::new(ctx.clone(), self.settings.clone(), self.waiting.clone());
        axum::serve(listener, router(Arc::new(shared)))
            .with_graceful_shutdown(async move { ctx.shutdown.cancelled().await })
            .await
            .map_err(cannot)
    }

    async fn deliver(
        &self,
        response: &Response,
        profile: &Profile,
        message_id: MessageId,
        _parts: &Parts,
    ) -> Result<Receipt, DeliveryError> {
        let kept = kept(response);
        match (&self.sender, kept.road) {
            (Some(sender), Road::Webhook) => sender.send(response, profile, message_id, &kept.attributes).await,
            // The answer is in SQL already: whoever waits is told, everybody else may fetch it.
            (None, _) | (_, Road::Chat) => {
                self.waiting.tell(message_id);
                Ok(Receipt::of(response.id.to_string()))
            }
        }
    }

    async fn settle(&self, response: &Response, _profile: &Profile, _message_id: MessageId) -> Settlement {
        match (&self.sender, kept(response).road) {
            (Some(sender), Road::Webhook) if !sender.may_repeat() => Settlement::CannotTell,
            // Sending again under the same id is what the receiver is made for.
            _ => Settlement::NotDelivered,
        }
    }
}
