//! Spans with ids.

use std::time::SystemTime;

use tracing::Subscriber;
use tracing_subscriber::registry::{LookupSpan, SpanRef};

use crate::fields::Fields;
use crate::ids::{SpanId, TraceId};

/// The value of a field.
#[derive(Clone, Debug, PartialEq)]
pub enum SpanValue {
    /// Text, at most 1,024 bytes of it.
    Text(String),
    /// A whole number; what is too large for it is the largest one.
    Int(i64),
    /// A number.
    Float(f64),
    /// Yes or no.
    Bool(bool),
}

/// A span that has ended.
#[derive(Clone, Debug)]
pub struct EndedSpan {
    /// Its trace.
    pub trace: TraceId,
    /// Its id.
    pub id: SpanId,
    /// The span that it is a part of.
    pub parent: Option<SpanId>,
    /// Its name.
    pub name: &'static str,
    /// When it began.
    pub began: SystemTime,
    /// When it ended, never before it began.
    pub ended: SystemTime,
    /// Why it failed, if it did.
    pub error: Option<String>,
    /// Its other fields.
    pub fields: Vec<(&'static str, SpanValue)>,
}

/// What a span of the registry has while it is open.
#[derive(Debug)]
pub(crate) struct OpenSpan {
    pub(crate) trace: TraceId,
    pub(crate) id: SpanId,
    pub(crate) parent: Option<SpanId>,
    pub(crate) began: SystemTime,
    pub(crate) since: std::time::Instant,
    pub(crate) fields: Fields,
    /// It has told which trace its job has.
    pub(crate) names_job: bool,
}

/// Where an event is: the ids of its span, and what that and those around it say.
#[derive(Clone, Debug, PartialEq)]
pub struct SpanContext {
    /// The trace.
    pub trace: TraceId,
    /// The innermost span.
    pub span: SpanId,
    /// Of the fields that were asked for, those that there are; of the innermost span that has one.
    pub fields: Vec<(&'static str, SpanValue)>,
}

/// Tells where a span is, with the fields of these names. `None` if it has no ids.
pub fn scope_of<S>(span: &SpanRef<'_, S>, wanted: &[&'static str]) -> Option<SpanContext>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let mut context: Option<SpanContext> = None;
    for span in span.scope() {
        let extensions = span.extensions();
        let Some(open) = extensions.get::<OpenSpan>() else {
            continue;
        };
        let context = context.get_or_insert_with(|| SpanContext {
            trace: open.trace,
            span: open.id,
            fields: Vec::new(),
        });
        for name in wanted {
            let is_known = context.fields.iter().any(|(known, _)| known == name);
            if let (false, Some(value)) = (is_known, open.fields.get(name)) {
                context.fields.push((name, value.clone()));
            }
        }
    }
    context
}
