//! Telegram calls us: each call is answered with 200 only when its update is committed, or never can be. Anything
//! else has Telegram call again, in the order of the chat, for a day.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header::RETRY_AFTER},
    response::{IntoResponse, Response},
    routing::post,
};
use broca_plugin::{PluginError, PluginState};
use ring::hmac;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use subtle::ConstantTimeEq;
use tokio::net::TcpListener;

use crate::{
    api::{Api, wire::WebhookInfo},
    health::{Health, Persistent, persist, state_of},
    inbox::Inbox,
    settings::TelegramSettings,
};

/// Telegram's updates are at most 64 KiB.
const MAX_BODY_BYTES: usize = 1 << 20;
const SECRET_HEADER: &str = "x-telegram-bot-api-secret-token";
/// How often Telegram is asked whether its calls get through.
const LOOK: Duration = Duration::from_secs(60);
/// A failed call that is older than this is over.
const RECENT_S: i64 = 180;

#[derive(Debug)]
struct Door {
    inbox: Inbox,
    secret: SecretString,
}

/// The secret that goes with a token when none is set: every process that has the token finds the same.
pub(crate) fn secret_of(token: &SecretString) -> SecretString {
    let key = hmac::Key::new(hmac::HMAC_SHA256, token.expose_secret().as_bytes());
    let tag = hmac::sign(&key, b"broca telegram webhook");
    tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()
}

/// Listens, has Telegram call, and serves its calls until the process should stop. The webhook stays set then: what
/// people write meanwhile waits at Telegram.
pub(crate) async fn run(
    api: &Api,
    inbox: Inbox,
    (url, settings): (&str, &TelegramSettings),
    secret: SecretString,
    health: &mut Health,
) -> Result<(), PluginError> {
    let shutdown = inbox.ctx.shutdown.clone();
    let listener = TcpListener::bind(settings.webhook_listen)
        .await
        .map_err(|error| PluginError::Platform(format!("cannot listen on {}: {error}", settings.webhook_listen)))?;
    let path = reqwest::Url::parse(url).map_or_else(|_| "/".to_owned(), |url| url.path().to_owned());
    let door = Arc::new(Door { inbox, secret: secret.clone() });
    let router = Router::new().route(&path, post(call)).with_state(door);
    let serving = axum::serve(listener, router).with_graceful_shutdown(shutdown.clone().cancelled_owned());
    let watching = async {
        let set =
            persist(&shutdown, health, || api.set_webhook(url, secret.expose_secret(), settings.webhook_connections));
        match set.await {
            Persistent::Done(_) => {}
            Persistent::Stopped => return Ok(()),
            Persistent::BadCredentials(error) => return Err(error),
        }
        watch(api, url, health, &shutdown).await
    };
    tokio::select! {
        served = serving.into_future() => {
            served.map_err(|error| PluginError::Platform(format!("the webhook's listener failed: {error}")))
        }
        // The watch ends by itself only when something is wrong; a shutdown lets calls under way end.
        Err(error) = watching => Err(error),
    }
}

async fn watch(
    api: &Api,
    url: &str,
    health: &mut Health,
    shutdown: &tokio_util::sync::CancellationToken,
) -> Result<(), PluginError> {
    while !shutdown.is_cancelled() {
        let state = match api.webhook_info().await {
            Ok(info) => state_by(&info, url),
            Err(error) => state_of(&error),
        };
        if let PluginState::BadCredentials { detail } = state {
            return Err(PluginError::Credentials(detail));
        }
        health.report(state);
        shutdown.run_until_cancelled(tokio::time::sleep(LOOK)).await;
    }
    Ok(())
}

fn state_by(info: &WebhookInfo, url: &str) -> PluginState {
    if info.url != url {
        return PluginState::Degraded {
            detail: "another program polls with this bot's token or has set another webhook: stop it, then restart this instance".into(),
        };
    }
    let age_s = info.last_error_date.map(|at| now_s().saturating_sub(at));
    match &info.last_error_message {
        Some(why) if info.pending_update_count > 0 && age_s.is_some_and(|age| age < RECENT_S) => {
            let waiting = info.pending_update_count;
            PluginState::Degraded {
                detail: format!("Telegram's calls do not get through, {waiting} updates wait: {why}"),
            }
        }
        _ => PluginState::Connected,
    }
}

fn now_s() -> i64 {
    use broca_core::Clock;
    broca_core::SystemClock.now().micros() / 1_000_000
}

async fn call(State(door): State<Arc<Door>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    if !door.is_telegram(&head.headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    match door.take(body).await {
        Ok(status) => status.into_response(),
        Err(why) => {
            tracing::warn!(why, "an update is not accepted now, Telegram calls again");
            (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "1")]).into_response()
        }
    }
}

impl Door {
    fn is_telegram(&self, headers: &HeaderMap) -> bool {
        let said = headers.get(SECRET_HEADER).map(|value| value.as_bytes()).unwrap_or_default();
        said.ct_eq(self.secret.expose_secret().as_bytes()).into()
    }

    async fn take(&self, body: Body) -> Result<StatusCode, String> {
        let Ok(body) = to_bytes(body, MAX_BODY_BYTES).await else { return Ok(StatusCode::PAYLOAD_TOO_LARGE) };
        let Ok(update) = serde_json::from_slice::<Value>(&body) else { return Ok(StatusCode::BAD_REQUEST) };
        self.inbox.take(update).await.map_err(|why| why.to_string())?;
        Ok(StatusCode::OK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_made_from_the_token_alone() {
        let secret = |token: &str| secret_of(&SecretString::from(token)).expose_secret().to_owned();
        assert_eq!(secret("1:a"), secret("1:a"));
        assert_ne!(secret("1:a"), secret("1:b"));
        assert!(secret("1:a").len() == 64 && secret("1:a").chars().all(|c| c.is_ascii_alphanumeric()));
    }

    #[test]
    fn what_telegram_says_of_its_calls_becomes_a_state() {
        let url = "https://b.example/t";
        let info = |more: Value| {
            let mut info = serde_json::json!({"url": url, "pending_update_count": 3});
            info.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            state_by(&serde_json::from_value(info).unwrap(), url)
        };
        assert_eq!(info(serde_json::json!({})), PluginState::Connected);
        let failing = serde_json::json!({"last_error_date": now_s() - 5, "last_error_message": "Connection refused"});
        let detail = "Telegram's calls do not get through, 3 updates wait: Connection refused".to_owned();
        assert_eq!(info(failing), PluginState::Degraded { detail });
        let old = serde_json::json!({"last_error_date": 1, "last_error_message": "Connection refused"});
        assert_eq!(info(old), PluginState::Connected);
        assert!(matches!(info(serde_json::json!({"url": ""})), PluginState::Degraded { .. }));
    }
}
