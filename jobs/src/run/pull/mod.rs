//! Handing shards to programs that compute them elsewhere, and taking their rows: the business of the service `Shards`,
//! whose comments in `shards.proto` say what is promised. What carries the messages is not known here.
//!
//! A program computes rows and nothing else. What becomes of them is the same as in a [run](crate::run::run()): they are
//! aggregated by the job's own plan, and committed in one transaction with the shard's mark, which has read the job's
//! record and the shard's. So it is as exact, whatever a program does, and however often.
//!
//! # Leases
//! A lease is an entry in the process's [`Leases`](super::Leases), which its own slots respect, and one among processes
//! where the database is shared. Its token names the job, how often that was retried, the shard, the attempts that
//! had been counted, the holder and the peer. So any peer can check it: the transaction that ends an attempt reads all
//! that matters of it from the database. It is authenticated with a key that the database keeps and no program gets, so
//! that nobody ends a shard that he was not given. What only the peer knows is whether somebody else has taken the shard since.
//!
//! # Resources
//! [`COMPLETES_MAX`] shards are taken at the same time; more wait for their turn and are not read meanwhile. Each keeps
//! [`GROUPS_LEN_MAX`] bytes of groups and as many of operands, about, and what it has not decoded yet: at most one row
//! or message of `ROW_LEN_MAX` bytes. Results beyond that go into the transaction, and then, if that loses against
//! another one, the program has to send them again.
//!
//! # Files
//! They import only from lower ranks:
//!
//! | rank | file | is |
//! |---|---|---|
//! | 5 | `complete` | taking the rows of a shard |
//! | 5 | `hold` | holding leases, and ending attempts without rows |
//! | 4 | `desk` | where programs take shards |
//! | 3 | `jobs` | the jobs whose shards are handed out |
//! | 2 | `rows` | decoding rows |
//! | 2 | `streams` | which streams of rows are taken at a time |
//! | 1 | `error` | why a program's call was not answered |
//! | 0 | `programs` | the programs that were heard of |
//! | 0 | `task` | jobs and shards as a program is told of them |
//! | 0 | `token` | what a lease is called outside |

mod complete;
mod desk;
mod error;
mod hold;
mod jobs;
mod programs;
mod rows;
mod streams;
mod task;
mod token;

pub use complete::{Completion, GROUPS_LEN_MAX};
pub use desk::PullDesk;
pub use error::PullError;
pub use streams::COMPLETES_MAX;
