//! One HTTP call at a time: sends it, bounds it, and says how far it got. Nothing is retried here.

use std::{collections::VecDeque, pin::Pin, time::Duration};

use broca_core::TraceParent;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use reqwest::{
    Client, RequestBuilder, Response, Url,
    header::{AUTHORIZATION, HeaderMap, HeaderValue, RETRY_AFTER},
    redirect::Policy,
};
use secrecy::ExposeSecret;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    options::{LettaError, LettaOptions, normalise},
    refusal::Refusal,
    sse::{SseEvent, SseParser},
    wire::StreamEvent,
};

const MAX_REFUSAL_BYTES: usize = 64 << 10;
const MAX_EVENT_BYTES: usize = 8 << 20;

/// How a call failed.
#[derive(Debug)]
pub(super) enum CallError {
    /// No connection came about: the server does not know of the call.
    NotSent(String),
    /// The connection broke or fell silent after the call was (perhaps) sent: its fate is unknown.
    Lost(String),
    Refused(Refusal),
    /// The server's answer is not what its protocol promises.
    Garbled(String),
    /// It is longer than anything that is read.
    TooLong,
}

impl CallError {
    /// Whether the same question may be answered in a moment.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::NotSent(_) | Self::Lost(_) => true,
            Self::Refused(refusal) => refusal.is_passing(),
            Self::Garbled(_) | Self::TooLong => false,
        }
    }
}

pub(super) type Call<T> = Result<T, CallError>;

#[derive(Debug)]
pub(super) struct Http {
    client: Client,
    base: Url,
    request_timeout: Duration,
    max_answer_bytes: usize,
}

impl Http {
    pub(super) fn new(options: &LettaOptions) -> Result<Self, LettaError> {
        let base = normalise(&options.endpoint)?;
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            return Err(LettaError::NoTlsProvider);
        }
        let mut headers = HeaderMap::new();
        if let Some(key) = &options.api_key {
            let bearer = format!("Bearer {}", key.expose_secret());
            let mut value = HeaderValue::from_str(&bearer).map_err(|_| LettaError::ApiKey)?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let mut builder = Client::builder()
            .default_headers(headers)
            .user_agent(concat!("broca/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(options.connect_timeout)
            .read_timeout(options.stream_idle.max(options.request_timeout))
            .tcp_keepalive(Duration::from_secs(30))
            // Every running turn holds one connection; those of finished turns serve the next ones.
            .pool_max_idle_per_host(1024)
            .pool_idle_timeout(Duration::from_secs(60))
            // A POST that a redirect or the client repeats could be a second turn.
            .redirect(Policy::none())
            .retry(reqwest::retry::never());
        if base.scheme() == "http" {
            // Without this the client refuses to exist on a machine that has no CA certificates.
            builder = builder.tls_certs_only([]);
        }
        let client = builder.build().map_err(LettaError::Client)?;
        Ok(Self { client, base, request_timeout: options.request_timeout, max_answer_bytes: options.max_answer_bytes })
    }

    /// The server's address, as every way to write it comes to the same.
    pub(super) fn base(&self) -> &str {
        self.base.as_str()
    }

    /// `GET` of a path of ids, e.g. `["runs", "run-1"]`; an empty last part gives the final slash that collections need.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        trace: Option<TraceParent>,
    ) -> Call<T> {
        self.answer(traced(self.client.get(self.url(path)).query(query), trace)).await
    }

    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        body: &Value,
        trace: Option<TraceParent>,
    ) -> Call<T> {
        self.answer(traced(self.client.post(self.url(path)).query(query).json(body), trace)).await
    }

    pub(super) async fn put<T: DeserializeOwned>(&self, path: &[&str], body: &Value) -> Call<T> {
        self.answer(self.client.put(self.url(path)).json(body)).await
    }

    /// What a `DELETE` is answered with says nothing but that it was done.
    pub(super) async fn delete(&self, path: &[&str]) -> Call<()> {
        self.accepted(self.client.delete(self.url(path))).await.map(drop)
    }

    /// What such a `PATCH` is answered with is the whole agent; that it was done is enough.
    pub(super) async fn patch(&self, path: &[&str]) -> Call<()> {
        self.accepted(self.client.patch(self.url(path))).await.map(drop)
    }

    /// A `POST` that is answered by a stream of events.
    pub(super) async fn open(&self, path: &[&str], body: &Value, trace: Option<TraceParent>) -> Call<EventStream> {
        let response = self.accepted(traced(self.client.post(self.url(path)).json(body), trace)).await?;
        Ok(EventStream::new(response))
    }

    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        // Letta's ids are plain, but one that is not must not reach another endpoint.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("v1").extend(path);
        }
        url
    }

    async fn answer<T: DeserializeOwned>(&self, request: RequestBuilder) -> Call<T> {
        let read = async {
            let response = self.accepted(request).await?;
            let body = read_body(response, self.max_answer_bytes).await?;
            serde_json::from_slice(&body).map_err(|error| {
                // Serde quotes what it found; where it found it is enough.
                CallError::Garbled(format!("unexpected JSON at line {} column {}", error.line(), error.column()))
            })
        };
        tokio::time::timeout(self.request_timeout, read).await.unwrap_or_else(|_| Err(self.late()))
    }

    /// Sends, and waits for the status. A refusal's body is read as well.
    async fn accepted(&self, request: RequestBuilder) -> Call<Response> {
        let sent = tokio::time::timeout(self.request_timeout, request.send()).await.map_err(|_| self.late())?;
        let response = sent.map_err(broken)?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status().as_u16();
        let retry_after =
            response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()).map(ToOwned::to_owned);
        let body = tokio::time::timeout(self.request_timeout, read_body(response, MAX_REFUSAL_BYTES)).await;
        // The status says enough when the body cannot be read.
        let body = body.ok().and_then(Result::ok).unwrap_or_default();
        Err(CallError::Refused(Refusal::read(status, retry_after.as_deref(), &body)))
    }

    fn late(&self) -> CallError {
        CallError::Lost(format!("no answer within {:?}", self.request_timeout))
    }
}

fn traced(request: RequestBuilder, trace: Option<TraceParent>) -> RequestBuilder {
    match trace {
        Some(trace) => request.header("traceparent", trace.to_string()),
        None => request,
    }
}

async fn read_body(mut response: Response, limit: usize) -> Call<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(broken)? {
        if body.len() + chunk.len() > limit {
            return Err(CallError::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Whether the server may have seen the request is decided by whether a connection came about.
fn broken(error: reqwest::Error) -> CallError {
    let unsent = error.is_connect() || error.is_builder();
    let what = if error.is_timeout() { "timed out" } else { "broke" };
    let error = error.without_url();
    let cause = std::iter::successors(std::error::Error::source(&error), |cause| cause.source()).last();
    let cause = cause.map(ToString::to_string).unwrap_or_default();
    if unsent {
        CallError::NotSent(format!("no connection: {cause}"))
    } else {
        CallError::Lost(format!("the connection {what}: {cause}"))
    }
}

/// What the next step of a stream is.
#[derive(Debug)]
pub(super) enum StreamStep {
    Event(Box<StreamEvent>),
    /// `[DONE]`
    Done,
    /// The connection ended or broke; the run may go on.
    Broken,
    /// What arrives cannot be read, and would not be the next time either.
    Unreadable,
}

/// The events of one run as they arrive.
pub(super) struct EventStream {
    chunks: Pin<Box<dyn Stream<Item = reqwest::Result<Bytes>> + Send>>,
    parser: SseParser,
    ready: VecDeque<SseEvent>,
    unreadable: bool,
}

impl std::fmt::Debug for EventStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventStream").field("ready", &self.ready.len()).finish_non_exhaustive()
    }
}

impl EventStream {
    fn new(response: Response) -> Self {
        Self {
            chunks: Box::pin(response.bytes_stream()),
            parser: SseParser::new(MAX_EVENT_BYTES),
            ready: VecDeque::new(),
            unreadable: false,
        }
    }

    /// Dropping the future loses nothing: what was read stays in the stream.
    pub(super) async fn next(&mut self) -> StreamStep {
        loop {
            while let Some(event) = self.ready.pop_front() {
                if event.data == "[DONE]" {
                    return StreamStep::Done;
                }
                // An event that is no JSON object is none that we know.
                if let Ok(event) = serde_json::from_str(&event.data) {
                    return StreamStep::Event(Box::new(event));
                }
            }
            if self.unreadable {
                return StreamStep::Unreadable;
            }
            match self.chunks.next().await {
                Some(Ok(chunk)) => self.unreadable = self.parser.feed(&chunk, &mut self.ready).is_err(),
                Some(Err(_)) | None => return StreamStep::Broken,
            }
        }
    }
}
