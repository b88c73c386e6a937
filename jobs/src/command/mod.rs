//! Programs that compute shards: starting them, feeding them, bounding them, and leaving nothing of them behind.
//!
//! A program runs in a process group of its own, in a private folder that is removed afterwards, with an environment that
//! has nothing of the worker's but `PATH` and what the job names. Whatever becomes of it or of its worker, none of its
//! processes stays: see [`scratch`](self) for what happens after a crash. This module knows nothing of jobs; what is
//! done with the rows is the caller's.
//!
//! | file | is |
//! |---|---|
//! | `host` | whether and where this process runs programs |
//! | `program` | running one program |
//! | `scratch` | folders, and what is done after a crash |
//! | `strays` | processes that left their process group |
//! | `tail` | the end of standard error |
//! | `end` | how a program ended |
//! | `error` | why one could not be run |
//! | [`limits`] | every bound |

mod end;
mod error;
mod host;
pub mod limits;
mod program;
mod scratch;
mod strays;
mod tail;

pub(crate) use end::{FailureClass, ProgramEnd};
pub(crate) use error::CommandError;
pub use host::CommandHost;
pub(crate) use program::{Invocation, ProgramInput, Ran, StillWanted, run};

pub(crate) use scratch::Scratch;
pub(crate) use tail::Tail;

#[cfg(test)]
mod tests;
