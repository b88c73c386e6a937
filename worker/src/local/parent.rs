//! Ending with the process that started this one, however that ends.

use std::ffi::{OsStr, OsString};
use std::io;
use std::process::Command;

use crate::failure::Failure;

/// From now on this process is killed as soon as its parent ends, which has this number. It survives becoming another
/// program. Where the system cannot do that (others than Linux), it outlives a parent that is killed.
///
/// What counts is the thread of the parent that started it: it has to be one that lives as long as the parent.
///
/// # Errors
/// Where the parent has ended already.
pub(crate) fn end_with(parent: u32) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Signal, getppid, set_parent_process_death_signal};
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // Asked for after that: a parent that ended in between would not be noticed otherwise.
        let now = getppid().map(|pid| pid.as_raw_nonzero().get());
        if now.and_then(|pid| u32::try_from(pid).ok()) != Some(parent) {
            let why = format!("process {parent}, which started this one, has ended");
            return Err(io::Error::other(why));
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = parent;
    Ok(())
}

/// Becomes another program; returns only where that fails.
pub(crate) fn become_program(program: &OsStr, args: &[OsString]) -> Failure {
    let mut command = Command::new(program);
    command.args(args);
    #[cfg(unix)]
    let cause = std::os::unix::process::CommandExt::exec(&mut command);
    #[cfg(not(unix))]
    let cause = io::Error::from(io::ErrorKind::Unsupported);
    let program = program.display();
    Failure::Work(format!("{program}: cannot be started: {cause}"))
}
