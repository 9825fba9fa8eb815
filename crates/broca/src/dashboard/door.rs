//! Whom a request comes from, and whether it may come in.
//!
//! A page of somebody else in the same browser may send requests here, with our cookie where it is not `SameSite`. So the name
//! (`Host`) is looked at first, on every request; whatever is no plain look must come from our own page (`Origin`,
//! `Sec-Fetch-Site`) and show what only our page was told ([`CSRF`]).

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::Response,
};
use broca_admin::operations::{Caller, Code, Deps, OperationError, tokens};
use broca_core::rights::Access;
use broca_store::Via;
use secrecy::{ExposeSecret, SecretString};

use super::sessions::Sessions;
use crate::{
    failure::Failure,
    serving::{guard::Hosts, refused, with_status},
};

pub(super) const CSRF: HeaderName = HeaderName::from_static("x-broca-csrf");

#[derive(Debug)]
pub(crate) struct Doorman {
    pub(super) deps: Arc<Deps>,
    hosts: Hosts,
    /// Only this machine reaches us: while there is no token, everybody may look.
    here_alone: bool,
    secure: bool,
    pub(super) sessions: Sessions,
    /// Of those who are not logged in.
    csrf: String,
}

/// Whom a request comes from.
#[derive(Clone, Debug)]
pub(super) struct Visitor {
    pub(super) caller: Caller,
    pub(super) csrf: String,
    /// The secret of their session, if they are logged in.
    pub(super) session: Option<String>,
}

impl Doorman {
    pub(crate) fn new(
        deps: Arc<Deps>,
        hosts: Hosts,
        here_alone: bool,
        secure: bool,
        life: Duration,
    ) -> Result<Self, Failure> {
        let csrf = tokens::secret("csrf_")?;
        Ok(Self { deps, hosts, here_alone, secure, sessions: Sessions::new(life), csrf })
    }

    /// What a page without a session sends with each act.
    pub(super) fn csrf(&self) -> &str {
        &self.csrf
    }

    /// A browser takes a cookie with this beginning by TLS alone, and from this host alone.
    fn cookie_name(&self) -> &'static str {
        if self.secure { "__Host-broca" } else { "broca" }
    }

    /// The cookie that begins or, with a life of nothing, ends a session.
    pub(super) fn cookie(&self, secret: &str, life: Duration) -> Result<HeaderValue, OperationError> {
        let (name, secure) = (self.cookie_name(), if self.secure { "; Secure" } else { "" });
        let cookie = format!("{name}={secret}; Path=/; HttpOnly; SameSite=Strict; Max-Age={}{secure}", life.as_secs());
        HeaderValue::from_str(&cookie).map_err(|error| OperationError::new(Code::Failure, error.to_string()))
    }

    fn shown_cookie<'h>(&self, headers: &'h HeaderMap) -> Option<&'h str> {
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let pairs = cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
        pairs.filter(|(name, _)| *name == self.cookie_name()).map(|(_, secret)| secret).next()
    }

    /// Ends the session whose cookie is shown, if it is one.
    pub(super) fn end_shown(&self, headers: &HeaderMap) {
        if let Some(secret) = self.shown_cookie(headers) {
            self.sessions.end(secret);
        }
    }

    /// Somebody with this token, as the audit log calls them.
    pub(super) async fn caller(&self, token: &SecretString) -> Result<Caller, OperationError> {
        let caller = tokens::caller(&self.deps.store, token.expose_secret(), Via::Http).await?;
        let name = caller.name.strip_prefix("http:").unwrap_or(&caller.name);
        Ok(Caller { name: format!("dashboard:{name}"), ..caller })
    }

    /// Whether everybody may look: nobody else reaches us, and nobody made a token.
    pub(super) async fn is_open(&self) -> Result<bool, OperationError> {
        Ok(self.here_alone && !self.deps.store.tokens().await?.iter().any(|token| token.live))
    }

    /// Who asks; `None` when they have to log in.
    pub(super) async fn visitor(&self, headers: &HeaderMap) -> Result<Option<Visitor>, OperationError> {
        if let Some(secret) = self.shown_cookie(headers)
            && let Some(session) = self.sessions.of(secret, Instant::now())
        {
            return match self.caller(&session.token).await {
                Ok(caller) => Ok(Some(Visitor { caller, csrf: session.csrf, session: Some(secret.to_owned()) })),
                Err(error) if error.code == Code::Unauthorised => {
                    self.sessions.end(secret);
                    Ok(None)
                }
                Err(error) => Err(error),
            };
        }
        let anybody =
            || Caller { name: "dashboard:anybody".to_owned(), via: Via::Http, access: Access::Read, contents: false };
        let open = self.is_open().await?;
        Ok(open.then(|| Visitor { caller: anybody(), csrf: self.csrf.clone(), session: None }))
    }
}

fn forbidden(message: &str, hint: &str) -> Response {
    with_status(StatusCode::FORBIDDEN, &OperationError::new(Code::Unauthorised, message).hint(hint))
}

/// Lets requests to a name of ours in and, where they may do something, only those of our own page.
pub(super) async fn known_page(State(doorman): State<Arc<Doorman>>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    if !doorman.hosts.are_asked(headers, request.uri().authority()) {
        return forbidden("this server is not called that", "start it with --allow-host and the name that you use");
    }
    let only_looks = [Method::GET, Method::HEAD].contains(request.method());
    if !only_looks && !is_of_our_page(headers) {
        return forbidden(
            "this came from another page than the dashboard's",
            "a proxy before it must pass on Host and Origin as they are",
        );
    }
    next.run(request).await
}

fn is_of_our_page(headers: &HeaderMap) -> bool {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let site = HeaderName::from_static("sec-fetch-site");
    if headers.get(&site).is_some_and(|site| site != "same-origin") {
        return false;
    }
    let origin = text(header::ORIGIN).and_then(|origin| origin.split_once("://"));
    origin.is_some_and(|(scheme, host)| {
        matches!(scheme, "http" | "https") && text(header::HOST).is_some_and(|own| own.eq_ignore_ascii_case(host))
    })
}

/// Shows `csrf`.
pub(super) fn shows(headers: &HeaderMap, csrf: &str) -> bool {
    headers.get(CSRF).is_some_and(|shown| shown.as_bytes() == csrf.as_bytes())
}

pub(super) fn without_csrf() -> Response {
    forbidden("this does not show what the dashboard's page was told", "load the page again")
}

/// Finds out whom a request comes from.
pub(super) async fn visitor(State(doorman): State<Arc<Doorman>>, mut request: Request, next: Next) -> Response {
    match doorman.visitor(request.headers()).await {
        Ok(Some(visitor)) if shows(request.headers(), &visitor.csrf) => {
            request.extensions_mut().insert(visitor);
            next.run(request).await
        }
        Ok(Some(_)) => without_csrf(),
        Ok(None) => with_status(
            StatusCode::UNAUTHORIZED,
            &OperationError::new(Code::Unauthorised, "nobody is logged in, or not any more")
                .hint("log in with a token"),
        ),
        Err(error) => refused(&error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn only_our_own_page_may_act() {
        let ours = |pairs: &[(&'static str, &str)]| is_of_our_page(&asked(pairs));
        assert!(ours(&[("host", "localhost:9480"), ("origin", "http://localhost:9480")]));
        assert!(ours(&[("host", "Ops.example"), ("origin", "https://ops.example"), ("sec-fetch-site", "same-origin")]));
        for other in [
            &[("host", "localhost:9480")][..],
            &[("host", "localhost:9480"), ("origin", "null")],
            &[("host", "localhost:9480"), ("origin", "http://localhost:9481")],
            &[("host", "localhost:9480"), ("origin", "http://localhost")],
            &[("host", "localhost:9480"), ("origin", "ftp://localhost:9480")],
            &[("origin", "http://localhost:9480")],
            &[("host", "a.example"), ("origin", "https://a.example"), ("sec-fetch-site", "same-site")],
        ] {
            assert!(!ours(other), "{other:?}");
        }
    }
}
