//! The bot's webhook is called with each update, until it answers 2xx: several at once, but one after another in each
//! chat.

use std::{sync::Arc, time::Duration};

use http_body_util::Full;
use hyper::{
    Request,
    body::Bytes,
    header::{CONTENT_TYPE, HOST, RETRY_AFTER},
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinSet, time::sleep};

use super::{Shared, updates::Waiting};

#[derive(Clone, Debug)]
pub(super) struct Webhook {
    pub(super) url: String,
    pub(super) secret: String,
    pub(super) connections: usize,
}

/// The real server waits a second and doubles it.
const PAUSE: Duration = Duration::from_millis(100);

/// Calls the webhook, while there is one, until the server stops.
pub(super) async fn push(shared: Arc<Shared>) {
    let mut stopped = shared.stopped.subscribe();
    let mut changes = shared.changes.subscribe();
    let mut calls: JoinSet<i64> = JoinSet::new();
    let mut under_way: Vec<i64> = Vec::new();
    loop {
        let webhook = shared.lock().webhook.clone();
        if let Some(webhook) = &webhook {
            let heads = shared.lock().updates.heads(&under_way);
            for head in heads.into_iter().take(webhook.connections.saturating_sub(under_way.len())) {
                under_way.push(head.id);
                calls.spawn(deliver(Arc::clone(&shared), webhook.clone(), head));
            }
        }
        tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => return,
            Some(done) = calls.join_next() => under_way.retain(|id| done.as_ref().is_ok_and(|done| done != id)),
            changed = changes.changed() => if changed.is_err() { return },
        }
    }
}

/// One call. Returns the update's number, taken or not.
async fn deliver(shared: Arc<Shared>, webhook: Webhook, waiting: Waiting) -> i64 {
    match post(&webhook, waiting.update.to_string()).await {
        Ok((status, _)) if (200..300).contains(&status) => {
            shared.lock().updates.done(waiting.id);
            shared.changed();
        }
        Ok((_, Some(retry_after))) => sleep(Duration::from_secs(retry_after)).await,
        Ok((_, None)) | Err(_) => sleep(PAUSE).await,
    }
    waiting.id
}

/// The status, and the wait that the bot asks for.
async fn post(webhook: &Webhook, body: String) -> Result<(u16, Option<u64>), Box<dyn std::error::Error + Send + Sync>> {
    let uri: hyper::Uri = webhook.url.parse()?;
    let authority = uri.authority().ok_or("the webhook's address has no host")?.clone();
    let stream = TcpStream::connect((authority.host(), authority.port_u16().unwrap_or(80))).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = Request::post(uri.path_and_query().map_or("/", |path| path.as_str()))
        .header(HOST, authority.as_str())
        .header(CONTENT_TYPE, "application/json")
        .header("X-Telegram-Bot-Api-Secret-Token", &webhook.secret)
        .body(Full::new(Bytes::from(body)))?;
    let response = sender.send_request(request).await?;
    let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    connection.abort();
    Ok((response.status().as_u16(), retry_after))
}
