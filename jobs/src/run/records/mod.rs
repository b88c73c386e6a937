//! What is stored about jobs: the records of the stores `_jobs` and `_tallies`, and how they are read and changed.
//!
//! This module must not know how shards are computed, who computes them, or when. It reads plans and specifications as they
//! were recorded, and never plans a query.
//!
//! Files import only from lower ranks:
//!
//! | rank | file | is |
//! |---|---|---|
//! | 6 | `cancel` | cancelling a job by its record |
//! | 5 | `status` | how jobs stand |
//! | 4 | `inputs` | the jobs that a job comes after |
//! | 3 | `age` | how long a job has been open |
//! | 3 | `spans` | what a trace shows of a job |
//! | 3 | `target` | the store that takes a job's results |
//! | 3 | `exports` | the files that shards have written |
//! | 3 | `checkpoints` | what programs have saved for their next attempts |
//! | 3 | `programs` | files and logs of the programs of jobs |
//! | 2 | `ledger` | the store `_jobs` |
//! | 1 | `change` | transactions that may lose against others, tried again |
//! | 1 | `keys` | keys of records, and decoding them |
//! | 1 | `needs` | what a version has to know of a job |
//! | 1 | `tally` | sums over the shards of a job |
//! | 0 | `clock` | the wall clock |
//! | 0 | `error` | what can go wrong with a job as a whole |
//! | 0 | `job` | a job as it is recorded |
//! | 0 | `marks` | how the record of a shard is written |

pub(crate) mod age;
pub(crate) mod cancel;
pub(crate) mod change;
pub(crate) mod checkpoints;
pub(crate) mod clock;
pub(crate) mod error;
pub(crate) mod exports;
pub(crate) mod inputs;
pub(crate) mod job;
pub(crate) mod keys;
pub(crate) mod ledger;
pub(crate) mod marks;
pub(crate) mod needs;
pub(crate) mod programs;
pub(crate) mod spans;
pub(crate) mod status;
pub(crate) mod tally;
pub(crate) mod target;
