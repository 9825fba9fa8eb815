//! How the plugin stands with Telegram, said once for each change; and calls that are repeated until they succeed.

use std::time::Duration;

use broca_plugin::{Context, PluginError, PluginState};
use tokio_util::sync::CancellationToken;

use crate::api::ApiError;

/// The pauses after failures: doubled up to the longest.
pub(crate) const FIRST_PAUSE: Duration = Duration::from_secs(1);
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) struct Health {
    ctx: Context,
    said: PluginState,
}

impl Health {
    pub(crate) fn new(ctx: Context) -> Self {
        Self { ctx, said: PluginState::Connecting }
    }

    pub(crate) fn report(&mut self, state: PluginState) {
        if state != self.said && !self.ctx.shutdown.is_cancelled() {
            self.ctx.report(state.clone());
            self.said = state;
        }
    }
}

/// What a failed call says of the account.
pub(crate) fn state_of(error: &ApiError) -> PluginState {
    match error.refused() {
        Some(refused) if refused.has_bad_token() => PluginState::BadCredentials {
            detail: format!("{error}: get the bot's token from @BotFather (/token) and put it into the settings"),
        },
        _ => PluginState::Degraded { detail: error.to_string() },
    }
}

/// What a call that was repeated came to.
#[derive(Debug)]
pub(crate) enum Persistent<T> {
    Done(T),
    /// The process should stop.
    Stopped,
    BadCredentials(PluginError),
}

/// Calls until it succeeds, or a person has to do something.
pub(crate) async fn persist<T, F>(
    shutdown: &CancellationToken,
    health: &mut Health,
    call: impl Fn() -> F,
) -> Persistent<T>
where
    F: Future<Output = Result<T, ApiError>>,
{
    let mut pause = FIRST_PAUSE;
    loop {
        let error = match shutdown.run_until_cancelled(call()).await {
            None => return Persistent::Stopped,
            Some(Ok(done)) => return Persistent::Done(done),
            Some(Err(error)) => error,
        };
        let state = state_of(&error);
        if let PluginState::BadCredentials { detail } = state {
            return Persistent::BadCredentials(PluginError::Credentials(detail));
        }
        health.report(state);
        let wait = error.refused().and_then(|refused| refused.retry_after).unwrap_or_default();
        if shutdown.run_until_cancelled(tokio::time::sleep(pause.max(wait))).await.is_none() {
            return Persistent::Stopped;
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
