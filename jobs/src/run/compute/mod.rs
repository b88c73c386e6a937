//! From a shard to its results, in memory: reading, transforming and aggregating, and how a job is planned.
//!
//! This module must not know who asks for a shard, and it commits nothing: results that do not fit into memory go into a
//! transaction that the caller begins and ends.
//!
//! Files import only from lower ranks:
//!
//! | rank | file | is |
//! |---|---|---|
//! | 7 | `program` | computing one shard with a program |
//! | 6 | `attempt` | computing one shard |
//! | 5 | `program_context` | what a program needs of whoever computes a shard |
//! | 4 | `blame` | which rows an error is about |
//! | 4 | `open` | a job that is worked on, with its plan and its store |
//! | 3 | `gather` | from rows to results |
//! | 3 | `planning` | planning with bounded time |
//! | 2 | `pipeline` | source, transform and sink of a job |
//! | 1 | `export` | rows of a shard as files |
//! | 0 | `checkpoint` | the file that a program saves its state in |
//! | 0 | `error` | why an attempt gave nothing |
//! | 0 | `retry_policy` | which failures of a program are tried again |
//! | 0 | `results` | the operands of one shard |
//! | 0 | `step` | the program that a job runs over each shard |

pub(crate) mod attempt;
pub(crate) mod blame;
pub(crate) mod checkpoint;
pub(crate) mod error;
pub(crate) mod export;
pub(crate) mod gather;
pub(crate) mod open;
pub(crate) mod pipeline;
pub(crate) mod planning;
pub(crate) mod program;
pub(crate) mod program_context;
pub(crate) mod results;
pub(crate) mod retry_policy;
pub(crate) mod step;
