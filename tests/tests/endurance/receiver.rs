//! Somebody who receives webhooks, on a runtime of its own: when it goes away, it goes as a process does, with every
//! connection.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, routing::post};
use serde_json::Value;
use tokio::{net::TcpListener, runtime::Runtime};

/// What was received: each webhook once, as its id says, in order.
type Received = Arc<Mutex<(BTreeSet<String>, Vec<String>)>>;

pub(crate) struct Receiver {
    address: SocketAddr,
    received: Received,
    runtime: Option<Runtime>,
}

impl Receiver {
    pub(crate) fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut receiver = Self { address, received: Received::default(), runtime: None };
        receiver.listens(listener);
        receiver
    }

    fn listens(&mut self, listener: std::net::TcpListener) {
        async fn take(State(received): State<Received>, headers: HeaderMap, body: Bytes) {
            let id = headers["webhook-id"].to_str().unwrap().to_owned();
            let body: Value = serde_json::from_slice(&body).unwrap();
            let mut received = received.lock().unwrap();
            if received.0.insert(id) {
                received.1.push(body["data"]["text"].as_str().unwrap().to_owned());
            }
        }
        listener.set_nonblocking(true).unwrap();
        let router = Router::new().route("/", post(take)).with_state(self.received.clone());
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.spawn(async move { axum::serve(TcpListener::from_std(listener).unwrap(), router).await });
        self.runtime = Some(runtime);
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    pub(crate) fn texts(&self) -> Vec<String> {
        self.received.lock().unwrap().1.clone()
    }

    pub(crate) fn goes_away(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }

    pub(crate) async fn comes_back(&mut self) {
        // What is left of the one before ends in a moment.
        let listener = loop {
            match std::net::TcpListener::bind(self.address) {
                Ok(listener) => break listener,
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
            }
        };
        self.listens(listener);
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
