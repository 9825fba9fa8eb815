//! Traces: the pipeline's spans, to an OpenTelemetry collector.
//!
//! A message's trace id and the ids of its spans are ours (they are in SQL and in headers), so spans are handed to the
//! exporter ready made. It sends them in batches from a thread of its own; a collector that is away costs spans, never a message.

use std::time::Duration;

use broca_core::{TraceParent, metric::Role};
use broca_pipeline::spans::{self, Span, SpanKind, SpanSink};
use opentelemetry::{
    InstrumentationScope, KeyValue,
    trace::{self, SpanContext, SpanId, Status, TraceFlags, TraceId, TraceState},
};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    trace::{BatchSpanProcessor, SpanData, SpanEvents, SpanLinks, SpanProcessor},
};

use crate::{
    config::TraceSettings,
    failure::{Blame, Code, Failure},
};

/// How long the last spans may take when the process ends.
const PATIENCE: Duration = Duration::from_secs(3);

/// Keeps the exporter going; the last spans are sent when this is dropped.
#[derive(Debug)]
pub(crate) struct Traces {
    exporter: Option<&'static BatchSpanProcessor>,
}

impl Traces {
    /// Sends what this process does from now on, if a collector is named. Once in a process.
    ///
    /// # Errors
    /// The address is none.
    pub(crate) fn start(settings: &TraceSettings, role: Role, name: &str) -> Result<Self, Failure> {
        let Some(endpoint) = &settings.endpoint else { return Ok(Self { exporter: None }) };
        let address = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
        let exporter =
            SpanExporter::builder().with_http().with_endpoint(address).build().blame(Code::Usage, "traces.endpoint")?;
        let mut processor = BatchSpanProcessor::builder(exporter).build();
        let resource = Resource::builder().with_service_name("broca").with_attributes([
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", name.to_owned()),
            KeyValue::new("broca.role", role.as_str()),
        ]);
        processor.set_resource(&resource.build());
        // The sink lives as long as the process, and so does what it writes to.
        let exporter: &'static BatchSpanProcessor = Box::leak(Box::new(processor));
        let scope = InstrumentationScope::builder("broca").with_version(env!("CARGO_PKG_VERSION")).build();
        spans::listen(Box::new(Sink { exporter, scope, sample_ratio: settings.sample_ratio }));
        Ok(Self { exporter: Some(exporter) })
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        if let Some(exporter) = self.exporter
            && let Err(error) = exporter.shutdown_with_timeout(PATIENCE)
        {
            tracing::warn!(%error, "the last spans did not reach the collector");
        }
    }
}

#[derive(Debug)]
struct Sink {
    exporter: &'static BatchSpanProcessor,
    scope: InstrumentationScope,
    sample_ratio: f64,
}

impl SpanSink for Sink {
    fn ended(&self, span: Span) {
        if is_sampled(span.own, self.sample_ratio) {
            self.exporter.on_end(data(span, self.scope.clone()));
        }
    }
}

/// By the trace's id alone, so that every process decides alike.
fn is_sampled(trace: TraceParent, ratio: f64) -> bool {
    let (trace_id, _) = trace.ids();
    // Of the low 53 bits, which a float holds exactly.
    let place = (trace_id & ((1 << 53) - 1)) as f64 / (1_u64 << 53) as f64;
    place < ratio
}

fn data(span: Span, instrumentation_scope: InstrumentationScope) -> SpanData {
    let (trace_id, span_id) = span.own.ids();
    let parent_span_id = span.parent.map_or(SpanId::INVALID, |parent| SpanId::from(parent.ids().1));
    SpanData {
        span_context: SpanContext::new(
            TraceId::from(trace_id),
            SpanId::from(span_id),
            TraceFlags::SAMPLED,
            false,
            TraceState::NONE,
        ),
        parent_span_id,
        parent_span_is_remote: span.parent.is_some(),
        span_kind: match span.kind {
            SpanKind::Server => trace::SpanKind::Server,
            SpanKind::Client => trace::SpanKind::Client,
            SpanKind::Producer => trace::SpanKind::Producer,
        },
        name: span.name.into(),
        start_time: span.started,
        end_time: span.started + span.took,
        attributes: span.attributes.into_iter().map(|(key, value)| KeyValue::new(key, value)).collect(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: span.failure.map_or(Status::Unset, Status::error),
        instrumentation_scope,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_a_trace_is_sampled_or_none_of_it() {
        let traces: Vec<TraceParent> = (0..2_000).map(|_| TraceParent::random()).collect();
        let sampled = |ratio| traces.iter().filter(|trace| is_sampled(**trace, ratio)).count();
        assert_eq!((sampled(0.0), sampled(1.0)), (0, 2_000));
        assert!((100..900).contains(&sampled(0.25)), "{}", sampled(0.25));
        assert!(traces.iter().all(|trace| is_sampled(*trace, 0.5) == is_sampled(trace.child(), 0.5)));
    }
}
