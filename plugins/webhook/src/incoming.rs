//! Signed webhooks in.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    Json,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use broca_plugin::Ingested;
use serde_json::json;

use crate::{
    api::{Refused, Road, Shared, Written, json_body},
    signature::{ID, SIGNATURE, Signed, TIMESTAMP, Unsigned, verify},
};

/// 202 once the message is committed, also when it was before; anything else means that it is not, and 422 that it
/// never will be.
pub(crate) async fn take(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refused> {
    let id = believed(&shared, &headers, &body)
        .map_err(|error| Refused::new(StatusCode::UNAUTHORIZED, "unsigned", error))?
        .to_owned();
    let written: Written = json_body(&body)?;
    if written.wait_s.is_some() {
        let what = "a webhook does not wait: leave wait_s out, or use /v1/chat";
        return Err(Refused::new(StatusCode::BAD_REQUEST, "bad_json", what));
    }
    let ingested = shared.ingest(written.incoming(format!("webhook/{id}"), None, Road::Webhook)).await?;
    let duplicate = matches!(ingested, Ingested::Duplicate(_));
    let told = json!({"message_id": ingested.message(), "duplicate": duplicate});
    Ok((StatusCode::ACCEPTED, Json(told)).into_response())
}

/// The id of a request that is signed and fresh.
fn believed<'a>(shared: &Shared, headers: &'a HeaderMap, body: &[u8]) -> Result<&'a str, Unsigned> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).ok_or(Unsigned::Headers);
    let (id, timestamp, signatures) = (header(ID)?, header(TIMESTAMP)?, header(SIGNATURE)?);
    let incoming = shared.settings.incoming.as_ref().ok_or(Unsigned::Signature)?;
    verify(&incoming.signers, &Signed { id, timestamp, signatures, body }, seconds_now(), incoming.tolerance)?;
    Ok(id)
}

pub(crate) fn seconds_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
