//! One span for each step on a message's way, all in the message's own trace: its id is in SQL, in the broker's headers and
//! in the agent's. As with metrics, this crate only says what happened; whether anybody listens is the binary's
//! business, and while nobody does a span costs one look at a flag.
//!
//! ```text
//! accept              the trace's root, or a child of the platform's own span
//! ├─ publish wake, publish response, …
//! ├─ turn             its id goes to the agent as the parent of what happens there
//! └─ deliver
//! ```
//!
//! The id of `accept` is the parent id that the message's row carries. So every process knows whose child its span is,
//! without having heard of the others.

use std::{
    sync::OnceLock,
    time::{Duration, Instant, SystemTime},
};

use broca_core::{Instance, MessageId, ResponseId, TraceParent, TurnId, TurnOutcome};
use broca_store::{DeliveryEnd, Dispatch, Owed, PendingMessage};

use crate::meter;

/// A step that ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    pub name: &'static str,
    pub kind: SpanKind,
    /// Its trace, and its own id as the parent of others.
    pub own: TraceParent,
    pub parent: Option<TraceParent>,
    pub started: SystemTime,
    pub took: Duration,
    /// Ids and words of small sets; never a text, a person or a key.
    pub attributes: Vec<(&'static str, String)>,
    /// The class of the failure that it ended in.
    pub failure: Option<String>,
}

/// OpenTelemetry's kinds, those that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// Something reached us.
    Server,
    /// We asked somebody.
    Client,
    /// We handed something to the broker.
    Producer,
}

/// Where spans go. Must not block.
pub trait SpanSink: Send + Sync + std::fmt::Debug {
    fn ended(&self, span: Span);
}

static SINK: OnceLock<Box<dyn SpanSink>> = OnceLock::new();

/// Spans go there from now on. The first call counts, for the whole process.
pub fn listen(sink: Box<dyn SpanSink>) {
    drop(SINK.set(sink));
}

/// Tells whoever listens of a step of a message that has a trace.
fn tell(trace: Option<TraceParent>, span: impl FnOnce(TraceParent) -> Span) {
    if let (Some(sink), Some(trace)) = (SINK.get(), trace) {
        sink.ended(span(trace));
    }
}

/// When something began that took so long until now.
fn began(took: Duration) -> SystemTime {
    let now = SystemTime::now();
    now.checked_sub(took).unwrap_or(now)
}

/// A message is committed. `platform_trace` is the trace that the platform's request belongs to, if it had one.
pub(crate) fn accepted(
    trace: TraceParent,
    platform_trace: Option<TraceParent>,
    (instance, message): (&Instance, MessageId),
    started: Instant,
) {
    tell(Some(trace), |own| {
        let took = started.elapsed();
        Span {
            name: "accept",
            kind: SpanKind::Server,
            own,
            parent: platform_trace,
            started: began(took),
            took,
            attributes: vec![("broca.instance", instance.to_string()), ("broca.message_id", message.to_string())],
            failure: None,
        }
    });
}

/// A publish that the broker is asked to confirm.
pub(crate) struct Publish(Option<(Span, Instant)>);

impl Publish {
    pub(crate) fn begins(owed: &Owed) -> Self {
        let Some((_, parent)) = SINK.get().zip(owed.trace) else { return Self(None) };
        let span = Span {
            name: "publish",
            kind: SpanKind::Producer,
            own: parent.child(),
            parent: Some(parent),
            started: SystemTime::now(),
            took: Duration::ZERO,
            attributes: vec![
                ("messaging.system", "nats".to_owned()),
                ("messaging.operation.name", "publish".to_owned()),
                ("messaging.message.id", owed.id.to_string()),
                ("broca.publish", meter::kind_of(&owed.what).to_owned()),
                ("broca.instance", owed.instance.to_string()),
                ("broca.message_id", owed.message.to_string()),
            ],
            failure: None,
        };
        Self(Some((span, Instant::now())))
    }

    pub(crate) fn ends(self, confirmed: bool) {
        let Some((span, started)) = self.0 else { return };
        let failure = (!confirmed).then(|| "unavailable".to_owned());
        tell(Some(span.own), |_| Span { took: started.elapsed(), failure, ..span });
    }
}

/// A turn under way. It is told when it ends, in the trace of each message that is said in it.
pub(crate) struct Turn {
    /// Each message's trace, and the span's own.
    traces: Vec<(Option<TraceParent>, Option<TraceParent>)>,
    /// Alike in all of them.
    attributes: Vec<(&'static str, String)>,
    messages: Vec<MessageId>,
    started: Instant,
}

impl Turn {
    pub(crate) fn begins(messages: &[PendingMessage], turn: TurnId, agent: &str) -> Self {
        let traces = messages.iter().map(|m| (m.trace, m.trace.map(TraceParent::child))).collect();
        let (mut attributes, mut ids) = (Vec::new(), Vec::new());
        if SINK.get().is_some() {
            attributes = vec![
                ("broca.turn_id", turn.to_string()),
                ("gen_ai.operation.name", "invoke_agent".to_owned()),
                ("gen_ai.agent.name", agent.to_owned()),
            ];
            ids = messages.iter().map(|message| message.id).collect();
        }
        Self { traces, attributes, messages: ids, started: Instant::now() }
    }

    /// The agent's spans are children of this one: that of the last message, which is answered.
    pub(crate) fn own(&self) -> Option<TraceParent> {
        self.traces.last().and_then(|(_, own)| *own)
    }

    pub(crate) fn ends(self, attempt: u32, outcome: &TurnOutcome) {
        let failure = match outcome {
            TurnOutcome::Answered(_) => None,
            TurnOutcome::Retry { failure, .. }
            | TurnOutcome::NoConversation(failure)
            | TurnOutcome::Dead(failure)
            | TurnOutcome::Unknown(failure) => Some(failure.class.to_string()),
        };
        self.tell(failure, Some(attempt));
    }

    pub(crate) fn stops(self) {
        self.tell(Some("stopped".to_owned()), None);
    }

    /// The lease was lost, or the process stops: the turn goes on without us.
    pub(crate) fn leaves(self) {
        self.tell(Some("left".to_owned()), None);
    }

    fn tell(self, failure: Option<String>, attempt: Option<u32>) {
        let took = self.started.elapsed();
        for ((parent, own), message) in self.traces.into_iter().zip(self.messages) {
            tell(own, |own| {
                let mut attributes = self.attributes.clone();
                attributes.push(("broca.message_id", message.to_string()));
                attributes.extend(attempt.map(|attempt| ("broca.attempt", attempt.to_string())));
                let (failure, started) = (failure.clone(), began(took));
                Span { name: "turn", kind: SpanKind::Client, own, parent, started, took, attributes, failure }
            });
        }
    }
}

/// A delivery attempt came to its end.
pub(crate) fn delivered(instance: &Instance, dispatch: &Dispatch, started: Instant, end: &DeliveryEnd) {
    let failure = match end {
        DeliveryEnd::Delivered(_) => None,
        DeliveryEnd::HandBack => Some("handed_back".to_owned()),
        DeliveryEnd::Retry { failure, .. }
        | DeliveryEnd::TargetDead { failure, .. }
        | DeliveryEnd::Dead(failure)
        | DeliveryEnd::Unknown(failure) => Some(failure.class.to_string()),
    };
    let response: ResponseId = dispatch.response.id;
    tell(dispatch.response.trace, |parent| {
        let took = started.elapsed();
        Span {
            name: "deliver",
            kind: SpanKind::Client,
            own: parent.child(),
            parent: Some(parent),
            started: began(took),
            took,
            attributes: vec![
                ("broca.instance", instance.to_string()),
                ("broca.platform", dispatch.profile.platform.clone()),
                ("broca.message_id", dispatch.message.to_string()),
                ("broca.response_id", response.to_string()),
                ("broca.attempt", dispatch.response.attempt.to_string()),
            ],
            failure,
        }
    });
}
