//! The envelope around every reply of the API.

use std::time::Duration;

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header::RETRY_AFTER},
    response::{IntoResponse, Response},
};
use broca_core::{Clock, SystemClock};
use serde_json::{Value, json};

use super::store::NotKept;
use crate::wire::iso;

/// What went well.
#[derive(Debug)]
pub(super) struct Done {
    message: &'static str,
    data: Value,
}

impl Done {
    pub(super) fn new(message: &'static str, data: Value) -> Self {
        Self { message, data }
    }
}

impl IntoResponse for Done {
    fn into_response(self) -> Response {
        let timestamp = iso(SystemClock.now());
        Json(json!({"success": true, "message": self.message, "timestamp": timestamp, "data": self.data}))
            .into_response()
    }
}

/// Why a request came to nothing.
#[derive(Debug)]
pub(super) struct Refused {
    status: StatusCode,
    error: String,
    retry_after: Option<Duration>,
}

impl Refused {
    pub(super) fn new(status: StatusCode, error: impl ToString) -> Self {
        Self { status, error: error.to_string(), retry_after: None }
    }

    pub(super) fn bad(error: impl ToString) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }

    pub(super) fn not_found(error: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, error)
    }

    pub(super) fn too_many(wait: Duration) -> Self {
        let refused = Self::new(StatusCode::TOO_MANY_REQUESTS, "Rate limit exceeded. Please try again later.");
        Self { retry_after: Some(wait), ..refused }
    }

    pub(super) fn unavailable(error: &str) -> Self {
        Self { retry_after: Some(Duration::from_secs(2)), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, error) }
    }
}

impl From<NotKept> for Refused {
    fn from(error: NotKept) -> Self {
        Self::unavailable(&error.to_string())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let timestamp = iso(SystemClock.now());
        let mut body = json!({"success": false, "error": self.error, "timestamp": timestamp});
        let wait = self.retry_after.map(|wait| wait.as_secs().max(1));
        if let Some(seconds) = wait {
            body["retry_after"] = seconds.into();
        }
        let mut response = (self.status, Json(body)).into_response();
        if let Some(seconds) = wait {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

pub(super) type Outcome = Result<Done, Refused>;
