//! The engine beside the embedded engines that a user would take instead: the same work, the same data
//! from the same seed, the same durability, in one run on one machine.
//!
//! Each engine is a file in `engines`, which says how it is used and why; each workload is a file in
//! `lines`. Every read sums up what it got, and the sum is compared with the one that must come out, so
//! that nothing is fast by being wrong. Engines take turns, a group of lines each, in processes of their
//! own, and the median of several runs counts.
//!
//! Peers stand behind features, so that ordinary builds never compile them. The modules that other
//! benchmarks need as well are public.

mod call;
mod child;
pub mod cluster;
mod engine;
mod engines;
mod floor;
mod harness;
mod lines;
pub mod machine;
pub mod random;
mod records;
pub mod report;
pub mod usage;
#[cfg(any(test, feature = "any-peer"))]
mod versions;

pub use call::{USAGE, main};
pub use child::CHILD;
