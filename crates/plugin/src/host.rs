//! Runs one plugin until it is told to stop.

use std::{sync::Arc, time::Duration};

use tokio_util::task::AbortOnDropHandle;

use crate::{Context, Plugin, PluginError, PluginState};

#[derive(Debug, thiserror::Error)]
pub enum HostError {
    #[error(transparent)]
    Plugin(#[from] PluginError),
    #[error("the plugin returned although nobody asked it to stop")]
    EndedEarly,
    #[error("the plugin panicked: look for the panic above in its log")]
    Panicked,
    #[error("the plugin did not stop within {0:?}")]
    StopTimeout(Duration),
}

/// Runs `plugin` until `ctx.shutdown`, then gives it `grace` to return. When this returns (or is dropped) the plugin
/// no longer runs.
///
/// The last state reported says how it ended: stopped, or what is wrong.
///
/// # Errors
/// Whatever ended it other than a shutdown; the supervisor restarts the process.
pub async fn host(plugin: Arc<dyn Plugin>, ctx: Context, grace: Duration) -> Result<(), HostError> {
    ctx.report(PluginState::Connecting);
    let ended = run(plugin, ctx.clone(), grace).await;
    ctx.report(match &ended {
        Ok(()) => PluginState::Stopped,
        // Restarting does not help in these two cases: a person has to do something.
        Err(error @ HostError::Plugin(PluginError::Settings(_))) => {
            PluginState::Misconfigured { detail: error.to_string() }
        }
        Err(error @ HostError::Plugin(PluginError::Credentials(_))) => {
            PluginState::BadCredentials { detail: error.to_string() }
        }
        Err(error) => PluginState::Degraded { detail: error.to_string() },
    });
    ended
}

async fn run(plugin: Arc<dyn Plugin>, ctx: Context, grace: Duration) -> Result<(), HostError> {
    let shutdown = ctx.shutdown.clone();
    // A task of its own: a panic ends the plugin, not the process that has to report it.
    let mut running = AbortOnDropHandle::new(tokio::spawn(async move { plugin.run(ctx).await }));
    let ended = tokio::select! {
        ended = &mut running => ended,
        () = shutdown.cancelled() => {
            tokio::time::timeout(grace, &mut running).await.map_err(|_| HostError::StopTimeout(grace))?
        }
    };
    match ended {
        Ok(Ok(())) if shutdown.is_cancelled() => Ok(()),
        Ok(Ok(())) => Err(HostError::EndedEarly),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(HostError::Panicked),
    }
}
