//! Which shard is computed next, by whom, and when: the run of one job in this process.
//!
//! This module must not decide what becomes of results: it hands them to [`settle`](super::settle). It does not know how jobs
//! are recorded, replaced or removed.
//!
//! Files import only from lower ranks:
//!
//! | rank | file | is |
//! |---|---|---|
//! | 5 | `tasks` | what goes on beside the workers of a run |
//! | 5 | `worker` | a thread that computes shard after shard |
//! | 4 | `care` | computing shards where a process has died |
//! | 4 | `flush` | committing what the workers of a run have computed |
//! | 4 | `inquiry` | asking other processes whether they see a file |
//! | 3 | `context` | what the workers of a run share |
//! | 2 | `options` | how a job is run |
//! | 2 | `shard_queue` | the shards of a job, handed out to the workers of a process |
//! | 1 | `claims` | the leases of this process for shards of a job |
//! | 1 | `permits` | room for shards of all jobs of a process |
//! | 0 | `doubts` | what a process doubts of the files of a job |
//! | 0 | `health` | whether this process gets anything done |
//! | 0 | `job_queue` | open jobs in the order in which they are worked on |
//! | 0 | `leases` | who of this process is at which shard |
//! | 0 | `resources` | what shards take of this process beside time |
//! | 0 | `untried_shards` | shards that were not handed out so far, in order |

pub(crate) mod care;
pub(crate) mod claims;
pub(crate) mod context;
pub(crate) mod doubts;
pub(crate) mod flush;
pub(crate) mod health;
pub(crate) mod inquiry;
pub(crate) mod job_queue;
pub(crate) mod leases;
pub(crate) mod options;
pub(crate) mod permits;
pub(crate) mod resources;
pub(crate) mod shard_queue;
pub(crate) mod tasks;
pub(crate) mod untried_shards;
pub(crate) mod worker;
