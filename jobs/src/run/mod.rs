//! Running jobs: from a job file to results in a store, exactly once.
//!
//! # What is stored
//! Everything about jobs is in two system stores. `_tallies` has one merged record a job, with the sums over its
//! shards; `_jobs` has the rest, as messages of `eciton.v1`:
//!
//! | key | message | written |
//! |---|---|---|
//! | `["registry"]` | `Registry` | when a job is submitted |
//! | `["lease_key"]` | 32 bytes that tokens of leases are authenticated with | when the first lease is given to a program |
//! | `["job", name]` | `JobState` | when it is submitted, started, ended, cancelled, retried |
//! | `["spec", name]`, `["plan", name]` | `JobSpec`, `Plan` | once |
//! | `["files", name, c]`, `["shards", name, c]` | `FileChunk`, `ShardChunk` | once; again by a retry whose files were mended |
//! | `["doubt", name, process]` | `SourceDoubt` | when a process finds files missing or changed, and others answer |
//! | `["session", name, id]` | `Session` | when a run begins, and away when it ends; see `session` |
//! | `["program_file", name, n]` | bytes | once: the files that `command.files` names |
//! | `["program_log", name, shard, attempt]` | `ProgramLog` | when a program has ended, with the mark of its shard where it did well, and from time to time while it runs |
//! | `["export", name, n]` | `ExportedFiles` | with the mark of a shard that has written files |
//! | `["age", name]` | `JobAge` | from time to time while a job with a deadline is open, or several processes work |
//! | `["shard", name, n]` | `ShardState`, or 3 bytes of a hash | when an attempt at the shard ends |
//!
//! A shard that nobody has tried has no record, so that a job of a million shards costs a few chunks
//! when it is submitted. The record of one that its first attempt has done is, where it read a file, nothing but the first
//! 3 bytes of the hash of what it read (jobs of `JobState.layout` 2; those of layout 1 have a message with 8 bytes of it,
//! are read, and go on as they are). Counts are merged as shards end, in the same transactions, so that two workers never
//! conflict over them, and a job's counts cost one read.
//!
//! # States
//! A job is `pending` when it is submitted, `running` from the first [`run()`] on (also while no process
//! works on it), and `done` or `failed` once every shard has ended, `failed` if any of them did.
//! [`cancel()`] makes it `cancelled`. [`retry()`] makes a failed or cancelled job `running` again, its
//! failed shards untried. A job whose store was dropped is `failed`, with the reason, also if it was `done`. There is no
//! other way out of `done`, `failed` and `cancelled` but [`remove()`] and [`replace()`].
//!
//! A shard is untried, then `done` or `failed`. An attempt that ends in an error which trying again
//! may mend (a disk, a network) is counted and repeated up to `max_attempts` times, after a wait that doubles and
//! holds no room; one that reading the same bytes again cannot mend (a malformed record, a cast that fails) fails the
//! shard at once. The others go on. A process whose attempts all fail takes no shard for a while ([`Health`]), so
//! that it does not use up the attempts of all.
//!
//! An attempt that fails because the file of the shard is not there, cannot be opened or is not the recorded one fails the
//! shard at once where the process is alone. Among others it first asks whether they see the file: if so, it takes no
//! shard of this job until it sees it, too, and no attempt is counted.
//!
//! # Exactly once
//! A shard's results and its `done` mark are written by one transaction, which also reads the shard's
//! record and the job's. A worker may put several shards that it has computed into one transaction
//! ([`RunOptions::commit_interval`]): they share its fate. So:
//! - before the commit nothing of the shard is visible, after it everything is, and nothing in
//!   between survives a kill: a shard without the mark has left no trace and is computed anew;
//! - of two workers that computed the same shard one commits; the other's read of the shard's record
//!   is then out of date, its commit conflicts, it reads the mark and drops its copy;
//! - a cancelled job takes no more results, and after a retry none that were computed from the files
//!   as they were before, because both change the job's record, which every commit has read;
//! - a job that was removed takes none, nor one of its name that was recorded afterwards: it has another number;
//! - nothing goes into a store that was dropped, or into another one of its name: every commit looks whether the store has
//!   the number that it had when the job was recorded.
//!
//! That a shard is computed twice must not matter: the same bytes give the same rows (the plan and the
//! files' contents are fixed, transforms that do not repeat are refused), and results are operands
//! that commute, so the order in which shards commit does not show either.
//!
//! # Several processes
//! Where the database is shared, any number of processes may [`run()`] the same job at once. Each takes a lease of a
//! shard before it computes it and prolongs it while it does, so that they do different ones; short shards are leased
//! many at a time. Who finds only shards at which others are looks at these from time to time: it takes over what
//! those who were killed have left, once their leases are over, and computes a second time what others are at for
//! three times as long as shards take here. Leases are hints: without them each process has an order of its own and
//! the commits decide, and only work is lost.
//!
//! # Resources
//! A worker is a thread that computes one shard at a time. It holds a batch of rows, the groups so far (see
//! [`AGGREGATE_LEN_MAX`](crate::aggregate::AGGREGATE_LEN_MAX)), and computed shards with results up to
//! [`RESULTS_LEN_MAX`]; beyond that results move into the transaction, which moves them to runs on
//! disk. Small batches are left to whichever worker of the process commits next, within
//! [`RunOptions::commit_interval`], so that a commit is shared by all of them; where none comes by, because all are at
//! shards that take long, the run itself commits what has waited so long. One worker looks for shards for all that wait.
//! Of a job's shards a process keeps a bit each, and an order of blocks of them.
//!
//! # Modules
//! Modules import only from lower ranks:
//!
//! | rank | module | is |
//! |---|---|---|
//! | 4 | [`pull`], `api` | programs that compute shards elsewhere; what callers do with jobs |
//! | 3 | `schedule` | which shard is computed next, by whom, and when |
//! | 2 | `settle` | what becomes of computed shards and failed attempts |
//! | 1 | `compute` | from a shard to its results, in memory |
//! | 0 | `records` | what is stored about jobs |

mod api;
mod compute;
pub mod pull;
mod records;
mod schedule;
mod settle;

pub use api::cancel::cancel;
pub use api::drop_store::drop_store;
pub use api::graph::{GraphJob, graph, open_inputs};
pub use api::logs::{LogsOf, ShardLog, logs};
pub use api::outline::{
    Outline, OutlinedColumn, OutlinedExport, OutlinedFile, OutlinedOutput, OutlinedProgram,
};
pub use api::remove::{Removal, Removed, remove};
pub use api::replace::{Replaced, replace, replace_within};
pub use api::retry::{Retried, retry, retry_within};
pub use api::run::run;
pub use api::serve::{JOBS_AT_ONCE_MAX, ServeOptions, serve};
pub use api::submit::{Checked, Submitted, check, check_in, preview, submit, submit_within};
pub use api::trial::permit_trials;
pub use api::view::{JobPage, PageOf, page, view};
pub use api::work::{Work, work};
pub use compute::planning::{PLANNING_AT_ONCE_MAX, PLANNING_TIME_MAX, PLANNING_WAIT_MAX};
pub use compute::results::RESULTS_LEN_MAX;
pub use records::error::{ExitCode, JobError};
pub use records::status::{FAILURES_SHOWN_MAX, JobStatus, ShardCounts, ShardFailure, list, status};
pub use schedule::health::Health;
pub use schedule::leases::{LEASES_MAX, Leases};
pub use schedule::options::{COMMIT_INTERVAL, PATIENCE, RunOptions};
pub use schedule::permits::Permits;
pub use schedule::resources::Resources;
pub use settle::observer::{Event, Observer, ObserverOf, Silent};
pub use settle::report::{End, JobReport};
pub use tokio_util::sync::CancellationToken;

#[cfg(test)]
mod tests;
