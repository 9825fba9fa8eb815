//! Somebody who receives webhooks and checks what the convention asks to be checked.

use std::sync::{Arc, Mutex};

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, response::IntoResponse, routing::post};
use broca_plugin_webhook::Signer;
use serde_json::Value;
use tokio::net::TcpListener;

use crate::scene::SECRET;

/// What the receiver does with the next request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reply {
    Status(u16, Option<&'static str>),
    /// Takes it and closes the connection without a word.
    Cut,
    /// Says nothing for longer than anybody waits.
    Stall,
}

#[derive(Debug, Default)]
pub(crate) struct Receiver {
    pub(crate) replies: Mutex<Vec<Reply>>,
    pub(crate) received: Mutex<Vec<(String, Value)>>,
}

impl Receiver {
    pub(crate) async fn start() -> (Arc<Self>, String) {
        let receiver = Arc::new(Self::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let router = Router::new().route("/hook", post(take)).with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (receiver, url)
    }
}

async fn take(State(receiver): State<Arc<Receiver>>, headers: HeaderMap, body: Bytes) -> impl IntoResponse {
    let header = |name: &str| headers[name].to_str().unwrap().to_owned();
    let (id, timestamp) = (header("webhook-id"), header("webhook-timestamp").parse().unwrap());
    assert_eq!(header("webhook-signature"), Signer::new(SECRET).unwrap().sign(&id, timestamp, &body));
    receiver.received.lock().unwrap().push((id, serde_json::from_slice(&body).unwrap()));
    let reply = receiver.replies.lock().unwrap().pop();
    match reply.unwrap_or(Reply::Status(204, None)) {
        Reply::Status(status, after) => {
            let status = axum::http::StatusCode::from_u16(status).unwrap();
            let mut response = status.into_response();
            if let Some(after) = after {
                response.headers_mut().insert("retry-after", after.parse().unwrap());
            }
            response
        }
        // The server's task for the connection ends here, quietly.
        Reply::Cut => std::panic::resume_unwind(Box::new("cut")),
        Reply::Stall => std::future::pending().await,
    }
}
