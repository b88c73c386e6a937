//! A swarm on this machine: processes that are started again whenever they end, and that end with this one.
//!
//! | module | is |
//! |---|---|
//! | `parent` | ending with the process that started this one |
//! | `member` | a process that is started again whenever it ends |
//! | `redis` | a Redis for these workers alone |
//! | `secret` | a file that only its owner can read |
//! | `news` | what is told of all this |

mod member;
mod news;
mod parent;
mod redis;
mod secret;

pub(crate) use member::Member;
pub(crate) use news::{SwarmNews, Who};
pub(crate) use parent::{become_program, end_with};
pub(crate) use redis::OwnRedis;
pub(crate) use secret::Secret;

use std::ffi::OsString;
use std::io;
use std::process::Command;

/// This program, to be called with these arguments.
///
/// # Errors
/// Where the system does not tell where it is.
pub(crate) fn this_program(args: &[OsString]) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(args);
    Ok(command)
}
