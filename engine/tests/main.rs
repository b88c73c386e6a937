//! The engine as programs use it. One test program, because each one more compiles what it calls of the engine anew;
//! what has to be alone in its process, or takes another build, is beside it.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod backups;
mod bus;
mod clustered;
mod copies;
mod damage;
mod database;
#[cfg(target_os = "linux")]
mod fuse;
mod hangs;
#[cfg(unix)]
mod hostile;
mod inline;
mod keys;
#[cfg(unix)]
mod leftovers;
mod loads;
mod matrix;
mod metrics;
mod mirror;
mod missing;
mod model;
mod modes;
#[cfg(feature = "object-store")]
mod object_cache;
#[cfg(feature = "object-store")]
mod objects;
#[cfg(unix)]
mod places;
#[cfg(feature = "redis")]
mod redis_commits;
#[cfg(feature = "redis")]
mod redis_faults;
mod reinstate;
mod scrub;
mod sketches;
mod space;
mod stream_edges;
mod streams;
mod support;
mod turns;
#[cfg(all(target_os = "linux", feature = "redis"))]
mod volumes;
