//! The plugin process: listens, serves terminals, shows answers.

use std::{path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use broca_core::{DeliveryError, MessageId, Profile, Receipt, Response, delivery::Settlement};
use broca_plugin::{Blueprint, Capabilities, Context, Manifest, Parts, Plugin, PluginError, PluginState};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::{net::UnixStream, task::JoinSet};

use crate::{session, socket::Listener, terminals::Terminals};

/// Terminals that are served at a time.
const MAX_TERMINALS: usize = 256;
/// Before another terminal is accepted when the system refused one.
const PAUSE: Duration = Duration::from_millis(200);
/// The receipt of an answer that was shown nowhere yet.
const MAILBOX: &str = "mailbox";
/// The receipt of an answer that a terminal has shown.
const TERMINAL: &str = "terminal";

/// Where terminals find the plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CliSettings {
    /// The Unix socket, e.g. `<data_dir>/cli.sock`; at most about 100 bytes long (a limit of the operating system).
    /// A lock file of the same name and `.lock` stays beside it.
    pub socket: PathBuf,
}

/// The plugin as the binary finds it.
pub fn blueprint() -> Blueprint {
    Blueprint::new(manifest(), |settings: CliSettings| Ok(CliPlugin::new(settings)))
}

fn manifest() -> Manifest {
    let capabilities = Capabilities { settles: true, ..Capabilities::default() };
    Manifest { capabilities, ..Manifest::new("cli", env!("CARGO_PKG_VERSION")) }
}

/// Serves terminals on a Unix socket.
///
/// A person's mailbox is their history, and SQL has every answer before [`Plugin::deliver`] is called: an answer
/// is *delivered* as soon as it exists, and showing it at a connected terminal is a courtesy. So a delivery never
/// fails, and one that was cut off never has to be repeated ([`Plugin::settle`]): the terminal that waits
/// for it comes back, says its message again, and is told the answer with the message's end.
#[derive(Debug)]
pub struct CliPlugin {
    settings: CliSettings,
    terminals: Arc<Terminals>,
}

impl CliPlugin {
    pub fn new(settings: CliSettings) -> Self {
        Self { settings, terminals: Arc::default() }
    }

    fn seat(&self, stream: UnixStream, ctx: &Context, sessions: &mut JoinSet<()>) {
        if sessions.len() >= MAX_TERMINALS {
            tracing::warn!(MAX_TERMINALS, "too many terminals: one more was turned away");
            return;
        }
        let (ctx, terminals) = (ctx.clone(), Arc::clone(&self.terminals));
        sessions.spawn(async move {
            if let Err(error) = session::serve(stream, ctx, &terminals).await {
                tracing::debug!(%error, "a terminal's connection broke");
            }
        });
    }
}

#[async_trait]
impl Plugin for CliPlugin {
    fn manifest(&self) -> Manifest {
        manifest()
    }

    fn account(&self) -> Option<String> {
        Some(self.settings.socket.display().to_string())
    }

    async fn run(&self, ctx: Context) -> Result<(), PluginError> {
        let listener = Listener::bind(&self.settings.socket).await?;
        ctx.report(PluginState::Connected);
        let mut sessions = JoinSet::new();
        loop {
            tokio::select! {
                () = ctx.shutdown.cancelled() => break,
                accepted = listener.accept() => match accepted {
                    Ok(stream) => self.seat(stream, &ctx, &mut sessions),
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a terminal; trying again");
                        ctx.shutdown.run_until_cancelled(tokio::time::sleep(PAUSE)).await;
                    }
                },
                Some(ended) = sessions.join_next() => note_panic(ended),
            }
        }
        // New terminals are turned away first; those that are served see the same shutdown and leave.
        drop(listener);
        while let Some(ended) = sessions.join_next().await {
            note_panic(ended);
        }
        Ok(())
    }

    async fn deliver(
        &self,
        response: &Response,
        profile: &Profile,
        message_id: MessageId,
        _parts: &Parts,
    ) -> Result<Receipt, DeliveryError> {
        let shown = self.terminals.show(&profile.platform_user_id, response, message_id).await;
        Ok(Receipt::of(if shown { TERMINAL } else { MAILBOX }))
    }

    async fn settle(&self, _response: &Response, _profile: &Profile, _message_id: MessageId) -> Settlement {
        Settlement::Delivered(Receipt::of(MAILBOX))
    }
}

fn note_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "serving a terminal failed; the others go on");
    }
}
