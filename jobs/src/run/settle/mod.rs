//! See the parent module.

pub(crate) mod backoff;
pub(crate) mod batch;
pub(crate) mod commit;
pub(crate) mod conclude;
pub(crate) mod observer;
pub(crate) mod pool;
pub(crate) mod report;
pub(crate) mod session;
