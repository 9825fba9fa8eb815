//! Runs one plugin until it is told to stop.

use std::{sync::Arc, time::Duration};

use crate::{Context, Plugin, PluginError, PluginState};

#[derive(Debug, thiserror::Error)]
pub enum HostError {
    #[error(transparent)]
    Plugin(#[from] PluginError),
    #[error("the plugin returned although nobody asked it to stop")]
    EndedEarly,
    #[error("the plugin panicked")]
    Panicked,
    #[error("the plugin did not stop within {0:?}")]
    StopTimeout(Duration),
}

/// Runs `plugin` until `ctx.shutdown`, then gives it `grace` to return.
///
/// # Errors
/// Whatever ended it other than a shutdown; the supervisor restarts the process.
pub async fn host(plugin: Arc<dyn Plugin>, ctx: Context, grace: Duration) -> Result<(), HostError> {
    let shutdown = ctx.shutdown.clone();
    ctx.report(PluginState::Connecting);
    let running_ctx = ctx.clone();
    let mut running = tokio::spawn(async move { plugin.run(running_ctx).await });
    let ended = tokio::select! {
        ended = &mut running => {
            if !shutdown.is_cancelled() && matches!(ended, Ok(Ok(()))) {
                return Err(HostError::EndedEarly);
            }
            ended
        }
        () = shutdown.cancelled() => match tokio::time::timeout(grace, &mut running).await {
            Ok(ended) => ended,
            Err(_) => {
                running.abort();
                return Err(HostError::StopTimeout(grace));
            }
        },
    };
    ctx.report(PluginState::Stopped);
    match ended {
        Ok(result) => Ok(result?),
        Err(_) => Err(HostError::Panicked),
    }
}
