//! A job as it is recorded.

use eciton_proto::v1::{JobSpec, JobState, Plan};

/// A job as it was submitted, and its state.
#[derive(Clone)]
pub(crate) struct Job {
    pub(crate) spec: JobSpec,
    pub(crate) plan: Plan,
    pub(crate) state: JobState,
    /// The hash of the specification's bytes, as they are stored.
    pub(crate) stored_hash: u128,
}
