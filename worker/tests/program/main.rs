//! The program as its users call it. One test program, because each one more links `DataFusion` anew.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::format_push_string,
    reason = "a test fails by panicking"
)]

mod among;
mod answers;
mod approximate;
mod bad_calls;
mod book;
#[path = "../../../engine/tests/support/bucket.rs"]
mod bucket;
mod buckets;
mod cardinality;
mod clear;
mod cli_reference;
mod clocks;
mod commands;
mod copies;
mod data_root;
mod deployed;
mod dropped_store;
mod exporting;
mod exports;
mod failover;
mod faults;
mod frictions;
mod full_disk;
mod grpc;
mod health;
mod init;
mod jobs;
mod kill;
mod large;
mod leaving;
mod lifetimes;
mod listening;
mod neighbours;
#[cfg(feature = "otlp")]
mod otlp;
mod peer;
mod peers;
mod pictures;
mod pipelines;
mod poison;
mod prometheus;
mod pullers;
mod pulls;
mod query;
mod readme;
mod records;
#[path = "../../../engine/tests/support/redis.rs"]
#[allow(dead_code, reason = "the engine's tests need more of it")]
mod redis;
mod refusals;
mod reload;
mod removal;
mod replace;
mod restores;
mod runbook;
mod running;
mod science;
mod signals;
mod slow_streams;
mod sources;
mod streams;
mod support;
mod svg;
mod swarm;
mod top;
mod unfinished;
mod up;
