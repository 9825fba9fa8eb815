//! The table of operations for people with a browser. Whatever the page shows or does is an operation, called as by HTTP: the
//! same rights, the same audit, the same two steps.
//!
//! - [`door`]: whom a request comes from, and whether it may come in.
//! - [`sessions`]: who is logged in.
//! - [`api`]: logging in and out, and the operations.
//! - [`page`]: the page itself, from files in this binary.

mod api;
mod door;
mod page;
mod sessions;

use std::sync::Arc;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware::{from_fn, from_fn_with_state},
    routing::{get, post},
};

pub(crate) use self::door::Doorman;
use crate::serving::{MAX_BODY_BYTES, healthz};

pub(crate) fn router(doorman: Arc<Doorman>) -> Router {
    let with_rights = Router::new()
        .route("/api/operations/{name}", post(api::operation))
        .route("/api/logout", post(api::logout))
        .layer(from_fn_with_state(doorman.clone(), door::visitor));
    let guarded = Router::new()
        .route("/", get(page::index))
        .route("/assets/{name}", get(page::asset))
        .route("/api/session", get(api::session))
        .route("/api/login", post(api::login))
        .merge(with_rights)
        .fallback(api::nothing_here)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(from_fn_with_state(doorman.clone(), door::known_page))
        .with_state(doorman);
    Router::new().route("/healthz", get(healthz)).merge(guarded).layer(from_fn(page::safe))
}
