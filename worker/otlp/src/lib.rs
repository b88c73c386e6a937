//! Exports spans to a collector, by OTLP over gRPC (<https://opentelemetry.io/docs/specs/otlp/>).
//!
//! A crate of its own, so that a program without it compiles nothing of it: `eciton-worker` has it behind the feature
//! `otlp`. Messages and the service are generated from the files of OpenTelemetry, in `proto/`, with what the swarm's own
//! contract is generated with. The crates of OpenTelemetry are not used: they ask for features of `futures` with which
//! everything above it, DataFusion included, would be built a second time.
//!
//! A collector that is away costs nothing but memory for [`QUEUE_MAX`] spans: whoever ends a span never waits. What finds
//! no place is dropped and counted.

mod collector;
mod error;
mod exporter;
mod headers;
mod message;
pub mod proto;

pub use error::OtlpError;
pub use exporter::{Exporter, QUEUE_MAX};
pub use headers::{HEADERS, Headers};
pub use message::Process;
