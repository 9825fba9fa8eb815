//! The plugin process.

use std::path::PathBuf;

use async_trait::async_trait;
use broca_core::{DeliveryError, MessageId, Profile, Receipt, Response};
use broca_plugin::{Capabilities, Context, Manifest, Plugin, PluginError};
use serde::{Deserialize, Serialize};

/// Where terminals find the plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CliSettings {
    /// The Unix socket, e.g. `<data_dir>/cli.sock`; at most about 100 bytes long (a limit of the operating system).
    pub socket: PathBuf,
}

/// Serves terminals on a Unix socket.
#[derive(Debug)]
pub struct CliPlugin {
    settings: CliSettings,
}

impl CliPlugin {
    pub fn new(settings: CliSettings) -> Self {
        Self { settings }
    }
}

#[async_trait]
impl Plugin for CliPlugin {
    fn manifest(&self) -> Manifest {
        Manifest {
            name: "cli".into(),
            platform: "cli".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            capabilities: Capabilities { max_text_chars: None, settles: true, replicas: false },
        }
    }

    async fn run(&self, _ctx: Context) -> Result<(), PluginError> {
        Err(PluginError::Settings(format!("{} is not served yet", self.settings.socket.display())))
    }

    async fn deliver(
        &self,
        _response: &Response,
        _profile: &Profile,
        _message_id: MessageId,
    ) -> Result<Receipt, DeliveryError> {
        Ok(Receipt::of("mailbox"))
    }
}
