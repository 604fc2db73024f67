//! Spans and metrics as OTLP says them: `ExportTraceServiceRequest` and `ExportMetricsServiceRequest` of
//! <https://github.com/open-telemetry/opentelemetry-proto>, version 1.

use std::time::{Duration, SystemTime};

use opentelemetry::{
    Array, InstrumentationScope, KeyValue, SpanId, Value,
    trace::{SpanKind, Status},
};
use opentelemetry_sdk::{Resource, trace::SpanData};

use super::{
    metrics::{Data, Metric, Point},
    protobuf::Message,
};

/// The body of a request to `/v1/traces`.
pub(super) fn traces(resource: &Resource, spans: &[SpanData]) -> Vec<u8> {
    let mut request = Message::default();
    request.message(1, |resource_spans| {
        resource_spans.message(1, |message| attributes(message, 1, resource.iter()));
        // Spans of one scope mostly come together; that one is said twice is allowed.
        for of_scope in spans.chunk_by(|one, other| one.instrumentation_scope == other.instrumentation_scope) {
            resource_spans.message(2, |scope_spans| {
                if let Some(first) = of_scope.first() {
                    scope(scope_spans, &first.instrumentation_scope);
                }
                for data in of_scope {
                    scope_spans.message(2, |message| span(message, data));
                }
            });
        }
    });
    request.into_bytes()
}

/// The body of a request to `/v1/metrics`: everything since `begun`.
pub(super) fn metrics(resource: &Resource, metrics: &[Metric], begun: SystemTime, now: SystemTime) -> Vec<u8> {
    let mut request = Message::default();
    request.message(1, |resource_metrics| {
        resource_metrics.message(1, |message| attributes(message, 1, resource.iter()));
        resource_metrics.message(2, |scope_metrics| {
            scope(scope_metrics, &super::scope());
            for one in metrics {
                scope_metrics.message(2, |message| metric(message, one, [nanoseconds(begun), nanoseconds(now)]));
            }
        });
    });
    request.into_bytes()
}

fn scope(message: &mut Message, scope: &InstrumentationScope) {
    message.message(1, |message| {
        message.bytes(1, scope.name().as_bytes());
        message.bytes(2, scope.version().unwrap_or_default().as_bytes());
    });
    message.bytes(3, scope.schema_url().unwrap_or_default().as_bytes());
}

fn span(message: &mut Message, span: &SpanData) {
    let context = &span.span_context;
    message.bytes(1, &context.trace_id().to_bytes());
    message.bytes(2, &context.span_id().to_bytes());
    message.bytes(3, context.trace_state().header().as_bytes());
    if span.parent_span_id != SpanId::INVALID {
        message.bytes(4, &span.parent_span_id.to_bytes());
    }
    message.bytes(5, span.name.as_bytes());
    message.varint(6, kind(&span.span_kind));
    message.fixed64(7, nanoseconds(span.start_time));
    message.fixed64(8, nanoseconds(span.end_time));
    attributes(message, 9, span.attributes.iter().map(|attribute| (&attribute.key, &attribute.value)));
    message.varint(10, u64::from(span.dropped_attributes_count));
    for event in span.events.iter() {
        message.message(11, |message| {
            message.fixed64(1, nanoseconds(event.timestamp));
            message.bytes(2, event.name.as_bytes());
            attributes(message, 3, event.attributes.iter().map(|attribute| (&attribute.key, &attribute.value)));
        });
    }
    message.varint(12, u64::from(span.events.dropped_count));
    match &span.status {
        Status::Unset => {}
        Status::Ok => message.message(15, |message| message.varint(3, 1)),
        Status::Error { description } => message.message(15, |message| {
            message.bytes(2, description.as_bytes());
            message.varint(3, 2);
        }),
    }
    // Trace flags, that it is known whether the parent is remote, and whether it is.
    let remote = if span.parent_span_is_remote { 0x200 } else { 0 };
    message.fixed32(16, u32::from(context.trace_flags().to_u8()) | 0x100 | remote);
}

fn kind(kind: &SpanKind) -> u64 {
    match kind {
        SpanKind::Internal => 1,
        SpanKind::Server => 2,
        SpanKind::Client => 3,
        SpanKind::Producer => 4,
        SpanKind::Consumer => 5,
    }
}

fn metric(message: &mut Message, metric: &Metric, times: [u64; 2]) {
    message.bytes(1, metric.name.as_bytes());
    message.bytes(2, metric.description.as_bytes());
    message.bytes(3, metric.unit.as_bytes());
    match &metric.data {
        Data::Gauge(points) => message.message(5, |gauge| {
            for point in points {
                gauge.message(1, |message| {
                    number(message, point, times);
                    message.double(4, point.value);
                });
            }
        }),
        Data::Sum(points) => message.message(7, |sum| {
            for point in points {
                sum.message(1, |message| {
                    number(message, point, times);
                    message.fixed64(6, point.value);
                });
            }
            sum.varint(2, CUMULATIVE);
            sum.varint(3, 1);
        }),
        Data::Histogram(points) => message.message(9, |histogram| {
            for point in points {
                histogram.message(1, |message| {
                    let counted = &point.value;
                    message.fixed64(2, times[0]);
                    message.fixed64(3, times[1]);
                    message.fixed64(4, counted.count());
                    message.double(5, counted.sum);
                    message.packed(6, counted.buckets.iter().copied());
                    message.packed(7, counted.bounds.iter().map(|bound| bound.to_bits()));
                    point_attributes(message, 9, &point.attributes);
                });
            }
            histogram.varint(2, CUMULATIVE);
        }),
    }
}

const CUMULATIVE: u64 = 2;

fn number<T>(message: &mut Message, point: &Point<T>, times: [u64; 2]) {
    message.fixed64(2, times[0]);
    message.fixed64(3, times[1]);
    point_attributes(message, 7, &point.attributes);
}

fn point_attributes(message: &mut Message, field: u32, all: &[KeyValue]) {
    attributes(message, field, all.iter().map(|attribute| (&attribute.key, &attribute.value)));
}

fn attributes<'a>(message: &mut Message, field: u32, all: impl Iterator<Item = (&'a opentelemetry::Key, &'a Value)>) {
    for (key, value) in all {
        message.message(field, |message| {
            message.bytes(1, key.as_str().as_bytes());
            message.message(2, |message| any_value(message, value));
        });
    }
}

fn any_value(message: &mut Message, value: &Value) {
    match value {
        Value::Bool(value) => message.present_varint(2, u64::from(*value)),
        Value::I64(value) => message.present_varint(3, value.cast_unsigned()),
        Value::F64(value) => message.double(4, *value),
        Value::Array(Array::String(values)) => message.message(5, |list| {
            for value in values {
                list.message(1, |message| message.present(1, value.as_str().as_bytes()));
            }
        }),
        // Others are not made here, nor by the SDK; as text nothing of them is lost.
        other => message.present(1, other.as_str().as_bytes()),
    }
}

/// Since 1970; until the year 2554.
fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
