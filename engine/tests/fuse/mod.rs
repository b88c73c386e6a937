//! Databases in a folder that several machines share over a network file system, each with caches of its own:
//! the machines are mounts of one folder, and nothing is between them but that.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and may wait for an unmount"
)]

mod faults;
mod modes;
mod netfs;
mod serve;
mod sharing;
mod work;
