//! See the parent module.

pub(crate) mod care;
pub(crate) mod claims;
pub(crate) mod doubt;
pub(crate) mod flush;
pub(crate) mod health;
pub(crate) mod job_queue;
pub(crate) mod leases;
pub(crate) mod permits;
pub(crate) mod shard_order;
pub(crate) mod shard_queue;
pub(crate) mod stop;
pub(crate) mod worker;
