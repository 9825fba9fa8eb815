//! What the page asks for: who is there, logging in and out, and the operations.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Extension, Json,
    body::Bytes,
    extract::{ConnectInfo, Path, State, rejection::BytesRejection},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use broca_admin::operations::{Caller, Code, OperationError, table, tokens};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::door::{Doorman, Visitor, shows, without_csrf};
use crate::serving::{
    refused,
    two_steps::{self, Step},
    with_status,
};

pub(super) async fn nothing_here() -> Response {
    refused(&OperationError::new(Code::NotFound, "there is nothing here").hint("the dashboard is at /"))
}

fn answer(value: Value) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], Json(value)).into_response()
}

fn who(caller: &Caller, logged_in: bool) -> Value {
    let name = caller.name.strip_prefix("dashboard:").unwrap_or(&caller.name);
    json!({"name": name, "access": caller.access, "contents": caller.contents, "logged_in": logged_in})
}

/// Who is there, and what the page has to send with each act.
pub(super) async fn session(State(doorman): State<Arc<Doorman>>, headers: HeaderMap) -> Response {
    match doorman.visitor(&headers).await {
        Ok(Some(Visitor { caller, csrf, session })) => {
            answer(json!({"csrf": csrf, "who": who(&caller, session.is_some()), "version": env!("CARGO_PKG_VERSION")}))
        }
        Ok(None) => answer(json!({"csrf": doorman.csrf(), "who": null, "version": env!("CARGO_PKG_VERSION")})),
        Err(error) => refused(&error),
    }
}

/// A body that is JSON of this shape.
fn understood<T: DeserializeOwned>(body: Result<Bytes, BytesRejection>) -> Result<T, OperationError> {
    let body = body.map_err(|error| OperationError::new(Code::Usage, error.to_string()))?;
    serde_json::from_slice(&body).map_err(|error| OperationError::new(Code::Usage, format!("no such request: {error}")))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Shown {
    token: SecretString,
}

pub(super) async fn login(
    State(doorman): State<Arc<Doorman>>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let now = Instant::now();
    if !shows(&headers, doorman.csrf()) {
        return without_csrf();
    }
    if !doorman.sessions.may_try(from.ip(), now) {
        let error = OperationError::new(Code::Unauthorised, "too many wrong tokens").hint("wait a minute");
        return ([(header::RETRY_AFTER, "60")], with_status(StatusCode::TOO_MANY_REQUESTS, &error)).into_response();
    }
    let begun = async {
        let Shown { token } = understood(body)?;
        let token = SecretString::from(token.expose_secret().trim());
        let caller = doorman.caller(&token).await?;
        let (secret, csrf) = (tokens::secret("")?, tokens::secret("csrf_")?);
        let cookie = doorman.cookie(&secret, doorman.sessions.life())?;
        doorman.end_shown(&headers);
        doorman.sessions.begin(secret, csrf.clone(), token, now);
        tracing::info!(who = %caller.name, "logged in");
        let inside = answer(json!({"csrf": csrf, "who": who(&caller, true), "version": env!("CARGO_PKG_VERSION")}));
        Ok(([(header::SET_COOKIE, cookie)], inside).into_response())
    };
    match begun.await {
        Ok(response) => response,
        Err(error) => {
            let error: OperationError = error;
            if error.code != Code::Unauthorised {
                return refused(&error);
            }
            doorman.sessions.failed(from.ip(), now);
            tracing::warn!(from = %from.ip(), "a wrong token was shown at login");
            with_status(StatusCode::UNAUTHORIZED, &error)
        }
    }
}

pub(super) async fn logout(State(doorman): State<Arc<Doorman>>, Extension(visitor): Extension<Visitor>) -> Response {
    if let Some(secret) = &visitor.session {
        doorman.sessions.end(secret);
    }
    match doorman.cookie("", Duration::ZERO) {
        Ok(cookie) => ([(header::SET_COOKIE, cookie)], answer(json!({}))).into_response(),
        Err(error) => refused(&error),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    #[serde(default)]
    request: Value,
    /// What the first call gave, of an operation that takes two.
    #[serde(default)]
    confirm: Option<String>,
}

/// Does an operation, or says what it would do.
pub(super) async fn operation(
    State(doorman): State<Arc<Doorman>>,
    Extension(visitor): Extension<Visitor>,
    Path(name): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let Some(entry) = table::find(&name) else {
        return refused(&OperationError::new(Code::NotFound, format!("there is no operation '{name}'")));
    };
    let Asked { request, confirm } = match understood(body) {
        Ok(asked) => asked,
        Err(error) => return refused(&error),
    };
    match two_steps::step(entry, &doorman.deps, &visitor.caller, request, confirm.as_deref()).await {
        Ok(Step::Done(done)) => answer(json!({"answer": done})),
        Ok(Step::Proposed(proposal)) => answer(json!({"proposal": proposal})),
        Err(error) => refused(&error),
    }
}
