//! What all requests share.

use std::sync::Arc;

use broca_plugin::{Context, PluginError};
use tokio::sync::Semaphore;

use super::{
    keys::Key,
    limits::{Limits, Seats},
    store::Store,
};
use crate::settings::ServerSettings;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) ctx: Context,
    pub(super) settings: ServerSettings,
    pub(super) store: Arc<Store>,
    pub(super) api_key: Key,
    pub(super) admin_key: Key,
    pub(super) limits: Limits,
    pub(super) requests: Semaphore,
    pub(super) streams: Arc<Seats>,
}

impl Shared {
    pub(super) fn new(ctx: Context, settings: ServerSettings, store: Arc<Store>) -> Result<Self, PluginError> {
        let (api_key, admin_key) = settings.keys()?;
        Ok(Self {
            api_key: Key::new(api_key.as_ref()),
            admin_key: Key::new(admin_key.as_ref()),
            limits: Limits::default(),
            requests: Semaphore::new(settings.max_requests),
            streams: Seats::new(settings.max_streams, settings.max_streams_per_address),
            ctx,
            settings,
            store,
        })
    }

    /// How long a session without a message or an answer is active.
    pub(super) fn session_timeout_us(&self) -> i64 {
        let set = self.store.see(|book| book.config.session_timeout_s);
        i64::try_from(set.unwrap_or(self.settings.session_timeout_s)).unwrap_or(i64::MAX).saturating_mul(1_000_000)
    }
}
