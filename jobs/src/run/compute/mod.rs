//! From a shard to its results, in memory: reading, transforming and aggregating, and how a job is planned.
//!
//! This module must not know who asks for a shard, and it commits nothing: results that do not fit into memory go into a
//! transaction that the caller begins and ends.
//!
//! Files import only from lower ranks:
//!
//! | rank | file | is |
//! |---|---|---|
//! | 3 | `attempt` | computing one shard |
//! | 2 | `blame` | which rows an error is about |
//! | 2 | `open` | a job that is worked on, with its plan and its store |
//! | 1 | `gather` | from rows to results |
//! | 1 | `planning` | planning with bounded time |
//! | 0 | `error` | why an attempt gave nothing |
//! | 0 | `pipeline` | source, transform and sink of a job |
//! | 0 | `results` | the operands of one shard |

pub(crate) mod attempt;
pub(crate) mod blame;
pub(crate) mod error;
pub(crate) mod gather;
pub(crate) mod open;
pub(crate) mod pipeline;
pub(crate) mod planning;
pub(crate) mod results;
