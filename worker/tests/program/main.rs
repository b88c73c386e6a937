//! The program as its users call it. One test program, because each one more links `DataFusion` anew.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::format_push_string,
    reason = "a test fails by panicking"
)]

mod answers;
mod bad_calls;
mod copies;
mod full_disk;
mod jobs;
mod kill;
mod neighbours;
mod records;
mod streams;
mod support;
