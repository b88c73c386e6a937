//! Spans as messages of OTLP.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::proto::opentelemetry::proto::collector::trace::v1::ExportTraceServiceRequest;
use crate::proto::opentelemetry::proto::common::v1::any_value::Value;
use crate::proto::opentelemetry::proto::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use crate::proto::opentelemetry::proto::resource::v1::Resource;
use crate::proto::opentelemetry::proto::trace::v1::span::SpanKind;
use crate::proto::opentelemetry::proto::trace::v1::status::StatusCode;
use crate::proto::opentelemetry::proto::trace::v1::{
    ResourceSpans, ScopeSpans, Span, SpanFlags, Status,
};
use eciton_trace::{EndedSpan, SpanValue};

/// What tells one exporting process from another.
#[derive(Clone, Debug)]
pub struct Process {
    /// The version of the program.
    pub version: String,
    /// The name of the process among others.
    pub name: String,
}

/// One export of spans.
pub(crate) fn request(process: &Process, spans: &[EndedSpan]) -> ExportTraceServiceRequest {
    let named = |(key, value): (&str, &str)| attribute(key, &SpanValue::Text(value.to_owned()));
    let attributes = [
        ("service.name", "eciton"),
        ("service.version", &process.version),
        ("service.instance.id", &process.name),
    ];
    let scope = InstrumentationScope {
        name: "eciton".to_owned(),
        version: process.version.clone(),
        ..InstrumentationScope::default()
    };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource {
                attributes: attributes.map(named).to_vec(),
                ..Resource::default()
            }),
            scope_spans: vec![ScopeSpans {
                scope: Some(scope),
                spans: spans.iter().map(span).collect(),
                schema_url: String::new(),
            }],
            schema_url: String::new(),
        }],
    }
}

fn span(span: &EndedSpan) -> Span {
    let status = span.error.as_ref().map(|error| Status {
        message: error.clone(),
        code: StatusCode::Error.into(),
    });
    Span {
        trace_id: span.trace.to_bytes().to_vec(),
        span_id: span.id.to_bytes().to_vec(),
        parent_span_id: span
            .parent
            .map_or_else(Vec::new, |id| id.to_bytes().to_vec()),
        // It is sampled, as every span is.
        flags: 1 | SpanFlags::ContextHasIsRemoteMask as u32,
        name: span.name.to_owned(),
        kind: SpanKind::Internal.into(),
        start_time_unix_nano: nanoseconds(span.began),
        end_time_unix_nano: nanoseconds(span.ended),
        attributes: span
            .fields
            .iter()
            .map(|(key, value)| attribute(key, value))
            .collect(),
        status,
        ..Span::default()
    }
}

fn nanoseconds(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

fn attribute(key: &str, value: &SpanValue) -> KeyValue {
    let value = match value {
        SpanValue::Text(text) => Value::StringValue(text.clone()),
        SpanValue::Int(value) => Value::IntValue(*value),
        SpanValue::Float(value) => Value::DoubleValue(*value),
        SpanValue::Bool(value) => Value::BoolValue(*value),
    };
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}
