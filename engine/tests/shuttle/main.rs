//! The group commit and the shared view under a scheduler that draws who runs when.
//!
//! The code under test is that of production; only its locks, atomics and containers give way to the
//! scheduler at every step (`base::sync`). Two schedulers draw from fixed seeds: one uniformly, one with
//! few preemptions at unlikely places (Burckhardt et al., "A Randomized Scheduler with
//! Probabilistic Guarantees of Finding Bugs", ASPLOS 2010).
//!
//! A failure prints its scheduler and seed, and the schedule itself. `ECITON_SCHEDULE=<that text>` with
//! the test's name replays just it; `ECITON_SCHEDULES=<number>` says how many a seed draws.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod explore;
mod group_commit;
mod in_turn;
mod planted;
mod scene;
mod shared_view;
mod slow;
mod watched;
