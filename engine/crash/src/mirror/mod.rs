//! Databases on two storage paths, the active one of which fails for real.
//!
//! A **run** mounts a file system for the active path: one of the harness's own, or a tmpfs. One or two worker processes
//! commit numbers to the database and say so on their pipes. Then the file system fails: it returns an error, refuses
//! changes, hangs, becomes slow, fills up or is mounted anew read-only. Every process must go on with the standby path. A
//! checker process then reads the database, and the judge compares: every acknowledged number is there, none twice, in one
//! generation more.
//!
//! The file system of the harness is served by the harness; only other processes use it. It ends with the harness, so
//! nothing hangs for longer.

pub mod args;
pub mod checker;
pub mod kind;
pub mod latency;
mod path;
pub mod places;
mod process;
pub mod run;
pub mod worker;

/// The word that makes the program measure what mirroring costs.
pub const LATENCY: &str = "mirror-latency";
/// The word that makes the program a worker.
pub const WORK: &str = "work-mirror";
/// The word that makes the program a checker.
pub const CHECK: &str = "check-mirror";
