//! Spans of the program, with ids: log lines name them, and an exporter gets each one that has ended.
//!
//! A job has one trace, whoever works on it: its id follows from the job's name, number and time of submission, so that
//! processes agree on it without a word. Each process adds a span `job` of its own to it, without a parent; below it are
//! spans of shards and commits. A span with a field `traceparent` (<https://www.w3.org/TR/trace-context/>) continues the
//! trace of a caller.
//!
//! Only spans of the project's own crates count: those of libraries may hold addresses and headers.

mod fields;
mod ids;
mod layer;
mod span;

pub use ids::{SpanId, TraceId, trace_of};
pub use layer::{SpanSink, Spans, is_own};
pub use span::{EndedSpan, SpanContext, SpanValue, scope_of};
