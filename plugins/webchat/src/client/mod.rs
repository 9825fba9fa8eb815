//! A bridge that stands elsewhere: its inbox is fetched, answers go into its outbox.

mod bridge;
mod entry;
mod outbox;
mod poll;
mod recover;

use std::{sync::OnceLock, time::Duration};

use broca_core::{
    DeliveryError, Profile, Receipt, Response,
    agent::{Failure, FailureClass},
    delivery::Settlement,
};
use broca_plugin::{Context, Parts, PluginError};

use crate::settings::ClientSettings;
use bridge::Bridge;

#[derive(Debug)]
pub(crate) struct Client {
    settings: ClientSettings,
    bridge: OnceLock<Bridge>,
}

impl Client {
    pub(crate) fn new(settings: ClientSettings) -> Result<Self, PluginError> {
        settings.endpoint()?;
        Ok(Self { settings, bridge: OnceLock::new() })
    }

    /// The keys are read when they are first needed.
    fn bridge(&self) -> Result<&Bridge, PluginError> {
        if let Some(bridge) = self.bridge.get() {
            return Ok(bridge);
        }
        let (api_key, admin_key) = self.settings.keys()?;
        let bridge = Bridge::new(self.settings.endpoint()?, api_key, admin_key)
            .map_err(|error| PluginError::Settings(format!("no HTTP client: {error}")))?;
        Ok(self.bridge.get_or_init(|| bridge))
    }

    /// Only the admin's key can be tried: some bridges take a message out of the inbox by showing it.
    pub(crate) async fn check(&self) -> Result<Option<String>, PluginError> {
        let bridge = self.bridge()?;
        if !bridge.has_admin_key() {
            return Ok(None);
        }
        match bridge.sessions(0).await {
            Ok(_) => Ok(Some("the bridge takes the admin's key".to_owned())),
            Err(error) if error.is_bad_key() => Err(PluginError::Credentials(format!(
                "client.admin_key: {error}; without it, what a killed process had fetched does not come back"
            ))),
            Err(error) => Err(PluginError::Platform(error.to_string())),
        }
    }

    pub(crate) async fn run(&self, ctx: Context) -> Result<(), PluginError> {
        let every = Duration::from_secs(self.settings.poll_interval_s);
        let recover = Duration::from_secs(self.settings.recover_minutes * 60);
        poll::run(self.bridge()?, ctx, every, recover).await
    }

    pub(crate) async fn deliver(
        &self,
        response: &Response,
        profile: &Profile,
        parts: &Parts,
    ) -> Result<Receipt, DeliveryError> {
        let bridge = self.bridge().map_err(|error| DeliveryError::Retry {
            after: Some(Duration::from_secs(60)),
            failure: Failure::new(FailureClass::Misconfigured, error.to_string()),
        })?;
        outbox::deliver(bridge, response, profile, parts, self.settings.max_response_bytes).await
    }

    pub(crate) async fn settle(&self, response: &Response, profile: &Profile) -> Settlement {
        match self.bridge() {
            Ok(bridge) => outbox::settle(bridge, response, profile, self.settings.max_response_bytes).await,
            Err(_) => Settlement::CannotTell,
        }
    }
}
