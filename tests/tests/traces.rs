//! One message is one trace, from the plugin to the agent and back, at whoever collects traces.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, body::Bytes, extract::State, http::StatusCode, routing::post};
use broca_tests::{Database, Rig, RigOptions, eventually};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    trace::v1::{Span, status::StatusCode as Ended},
};
use prost::Message;
use serde_json::Value;
use tokio::net::TcpListener;

const PATIENCE: Duration = Duration::from_secs(30);

/// A collector that keeps what it gets.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Span>>>);

impl Collector {
    /// Where it listens.
    async fn start(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it has an address");
        let router = Router::new().route("/v1/traces", post(take)).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}")
    }

    fn spans(&self) -> Vec<Span> {
        self.0.lock().expect("nobody panicked").clone()
    }

    fn of(&self, trace: &[u8], name: &str) -> Vec<Span> {
        self.spans().into_iter().filter(|span| span.trace_id == trace && span.name == name).collect()
    }
}

async fn take(State(collector): State<Collector>, body: Bytes) -> StatusCode {
    let Ok(request) = ExportTraceServiceRequest::decode(body) else { return StatusCode::BAD_REQUEST };
    let spans =
        request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans);
    collector.0.lock().expect("nobody panicked").extend(spans);
    StatusCode::OK
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex digits")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_message_is_one_trace() {
    let collector = Collector::default();
    let endpoint = collector.start().await;
    let rig = Rig::start(RigOptions::new(Database::Sqlite)).await;
    let traced = [("BROCA_TRACES__ENDPOINT", endpoint.as_str())];
    let mut worker = rig.spawn("worker", &["worker"], &traced);
    let mut plugin = rig.spawn("plugin", &["plugin", "run", "demo"], &traced);
    rig.platform.say("ann", "once #letta(http=503)");
    eventually("it is answered", PATIENCE, || async { rig.platform.log().len() == 1 }).await;
    let store = rig.store().await;
    let message = broca_tests::message_of(&store, "ann", "once #letta(http=503)").await.expect("it was accepted");
    let shown: Value =
        serde_json::from_str(&rig.succeeds(&["message", "show", &message.id.to_string(), "--json"])).expect("JSON");
    let trace_id = shown["trace_id"].as_str().expect("a trace").to_owned();
    let trace = bytes(&trace_id);
    // What a process has not sent yet it sends when it ends.
    for process in [&mut worker, &mut plugin] {
        assert!(process.stop(PATIENCE).is_some_and(|status| status.success()), "{}", process.output());
    }

    let [accept] = &collector.of(&trace, "accept")[..] else { panic!("{:?}", collector.spans()) };
    assert!(accept.parent_span_id.is_empty(), "it is the root");
    let turns = collector.of(&trace, "turn");
    let failed = |span: &Span| span.status.as_ref().is_some_and(|status| status.code == Ended::Error as i32);
    assert_eq!(turns.iter().map(failed).collect::<Vec<_>>(), [true, false], "one attempt fails, one does not");
    assert_eq!(turns[0].status.as_ref().expect("a status").message, "unavailable");
    let children: Vec<Span> =
        ["turn", "publish", "deliver"].iter().flat_map(|name| collector.of(&trace, name)).collect();
    // Two turns, the wake and the answer at least, and one delivery.
    assert!(children.len() >= 5, "{children:?}");
    assert!(children.iter().all(|span| span.parent_span_id == accept.span_id), "{children:?}");
    let ids: BTreeSet<&[u8]> = children.iter().map(|span| span.span_id.as_slice()).collect();
    assert_eq!(ids.len(), children.len());
    let end = |span: &Span| span.end_time_unix_nano >= span.start_time_unix_nano;
    assert!(children.iter().chain([accept]).all(end));

    // Nothing that a person wrote, and nobody's name, is in a span.
    let all = format!("{:?}", collector.spans());
    assert!(!all.contains("once") && !all.contains("ann"), "{all}");
}
