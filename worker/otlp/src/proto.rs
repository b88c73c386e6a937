//! The messages of OTLP, as `proto/` has them (opentelemetry-proto, Apache-2.0).
#![allow(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    reason = "generated; the .proto files are the documentation"
)]

include!(concat!(env!("OUT_DIR"), "/otlp.rs"));
