//! What becomes of computed shards and of failed attempts, durably; and the beginning and end of a job.
//!
//! This module must not know who computed a shard: a thread of this process, or a program that pulled it. It knows no leases
//! and no queue; callers hand over results and are told what became of them.
//!
//! Files import only from lower ranks:
//!
//! | rank | file | is |
//! |---|---|---|
//! | 4 | `lifecycle` | the beginning and the end of a job |
//! | 3 | `session` | the record that tells that a process died at a job |
//! | 2 | `failure` | what becomes of failed attempts |
//! | 2 | `settlement` | what becomes of computed shards, whoever has computed them |
//! | 1 | `commit` | the transactions that end attempts well |
//! | 1 | `pool` | batches of several workers, put together |
//! | 0 | `backoff` | how long a shard waits after a failed attempt |
//! | 0 | `batch` | computed shards that are committed together |
//! | 0 | `conclude` | the answer of a query, once all shards are done |
//! | 0 | `observer` | what is told while shards end |
//! | 0 | `report` | how a run ended |

pub(crate) mod backoff;
pub(crate) mod batch;
pub(crate) mod commit;
pub(crate) mod conclude;
pub(crate) mod failure;
pub(crate) mod lifecycle;
pub(crate) mod observer;
pub(crate) mod pool;
pub(crate) mod report;
pub(crate) mod session;
pub(crate) mod settlement;
