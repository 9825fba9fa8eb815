//! The plugin: a client of a bridge, or a bridge.

use std::net::SocketAddr;

use async_trait::async_trait;
use broca_core::{DeliveryError, MessageId, Profile, Receipt, Response, delivery::Settlement};
use broca_plugin::{Blueprint, Capabilities, Context, Manifest, Markdown, Parts, Plugin, PluginError, Typing};

use crate::{
    client::Client,
    server::Server,
    settings::{Mode, WebchatSettings, wrong},
};

/// The plugin as the binary finds it.
pub fn blueprint() -> Blueprint {
    Blueprint::new(manifest(), WebchatPlugin::new)
}

fn manifest() -> Manifest {
    let capabilities =
        Capabilities { settles: true, typing: true, markdown: Markdown::Common, ..Capabilities::default() };
    Manifest { capabilities, ..Manifest::new("webchat", env!("CARGO_PKG_VERSION")) }
}

#[derive(Debug)]
pub struct WebchatPlugin {
    side: Side,
}

#[derive(Debug)]
enum Side {
    Client(Client),
    Server(Server),
}

impl WebchatPlugin {
    /// # Errors
    /// [`PluginError::Settings`] says which key does not fit.
    pub fn new(settings: WebchatSettings) -> Result<Self, PluginError> {
        let mode = settings.mode.unwrap_or(if settings.client.is_some() { Mode::Client } else { Mode::Server });
        let side = match mode {
            Mode::Client => {
                let client = settings.client.ok_or_else(|| {
                    wrong("client is missing: mode = \"client\" needs client.api_url and client.api_key")
                })?;
                Side::Client(Client::new(client)?)
            }
            Mode::Server => Side::Server(Server::new(settings.server.unwrap_or_default())?),
        };
        Ok(Self { side })
    }

    /// Where the server listens, once it does.
    pub fn address(&self) -> Option<SocketAddr> {
        match &self.side {
            Side::Client(_) => None,
            Side::Server(server) => server.address(),
        }
    }
}

#[async_trait]
impl Plugin for WebchatPlugin {
    fn manifest(&self) -> Manifest {
        manifest()
    }

    async fn check(&self) -> Result<Option<String>, PluginError> {
        match &self.side {
            Side::Client(client) => client.check().await,
            Side::Server(_) => Ok(None),
        }
    }

    async fn run(&self, ctx: Context) -> Result<(), PluginError> {
        match &self.side {
            Side::Client(client) => client.run(ctx).await,
            Side::Server(server) => server.run(ctx).await,
        }
    }

    async fn deliver(
        &self,
        response: &Response,
        profile: &Profile,
        message_id: MessageId,
        parts: &Parts,
    ) -> Result<Receipt, DeliveryError> {
        match &self.side {
            Side::Client(client) => client.deliver(response, profile, parts).await,
            Side::Server(server) => server.deliver(response, profile, message_id).await,
        }
    }

    async fn settle(&self, response: &Response, profile: &Profile, _message_id: MessageId) -> Settlement {
        match &self.side {
            Side::Client(client) => client.settle(response, profile).await,
            Side::Server(server) => server.settle(response).await,
        }
    }

    async fn typing(&self, typing: &Typing) {
        if let Side::Server(server) = &self.side {
            server.typing(typing).await;
        }
    }
}
