//! Who may come in: requests to a name that this server has, from no web page that is not named, with a token.
//!
//! A page in somebody's browser can send requests to servers of their machine. The names (`Host`) and the page's
//! `Origin` are looked at first, so that such a page learns nothing, not even whether a token is right.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header, uri::Authority},
    middleware::Next,
    response::Response,
};
use broca_admin::operations::{Code, Deps, OperationError, tokens};
use broca_store::Via;

use super::{refused, with_status};

/// The names that a server is reached by.
#[derive(Clone, Debug)]
pub(crate) struct Hosts(Arc<[String]>);

impl Hosts {
    /// Those of this machine itself, and `more`.
    pub(crate) fn with(more: &[String]) -> Self {
        let own = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
        Self(own.into_iter().chain(more.iter().map(|host| host.to_ascii_lowercase())).collect())
    }

    /// Whether a request is to one of them.
    pub(crate) fn are_asked(&self, headers: &HeaderMap, authority: Option<&Authority>) -> bool {
        let named = headers.get(header::HOST).and_then(|host| host.to_str().ok()?.parse::<Authority>().ok());
        let Some(asked) = named.as_ref().or(authority) else { return false };
        let host = asked.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        self.0.contains(&host)
    }
}

#[derive(Clone)]
pub(crate) struct Door {
    deps: Arc<Deps>,
    hosts: Hosts,
    origins: Arc<[String]>,
    via: Via,
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door").field("hosts", &self.hosts).field("origins", &self.origins).finish_non_exhaustive()
    }
}

impl Door {
    pub(crate) fn new(deps: Arc<Deps>, hosts: Hosts, origins: &[String]) -> Self {
        Self { deps, hosts, origins: origins.iter().cloned().collect(), via: Via::Http }
    }

    /// What the callers' way is called.
    pub(crate) fn for_callers_by(self, via: Via) -> Self {
        Self { via, ..self }
    }

    /// The names that are let in.
    pub(crate) fn hosts(&self) -> Vec<String> {
        self.hosts.0.to_vec()
    }

    pub(crate) fn origins(&self) -> Vec<String> {
        self.origins.to_vec()
    }

    fn knows_origin(&self, headers: &HeaderMap) -> bool {
        headers.get_all(header::ORIGIN).iter().all(|origin| self.origins.iter().any(|known| origin == known.as_str()))
    }
}

/// Lets a request in with the caller whose token it shows, or says why not.
pub(crate) async fn guard(State(door): State<Door>, mut request: Request, next: Next) -> Response {
    let forbidden = |message: &str, hint: &str| {
        with_status(StatusCode::FORBIDDEN, &OperationError::new(Code::Unauthorised, message).hint(hint))
    };
    if !door.hosts.are_asked(request.headers(), request.uri().authority()) {
        return forbidden("this server is not called that", "start it with --allow-host and the name that you use");
    }
    if !door.knows_origin(request.headers()) {
        return forbidden("web pages of this origin may not call", "start it with --allow-origin if they should");
    }
    let Some(token) = bearer(request.headers()) else {
        return unauthorised(
            &OperationError::new(Code::Unauthorised, "no token was shown")
                .hint("send `Authorization: Bearer <token>`; `broca token add NAME` makes one"),
        );
    };
    match tokens::caller(&door.deps.store, token, door.via).await {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(error) if error.code == Code::Unauthorised => unauthorised(&error),
        Err(error) => refused(&error),
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn unauthorised(error: &OperationError) -> Response {
    let mut response = with_status(StatusCode::UNAUTHORIZED, error);
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}
