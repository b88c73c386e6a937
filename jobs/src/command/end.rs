//! How a run of a program ended.

use std::fmt;
use std::process::ExitStatus;
use std::time::Duration;

/// Why an attempt with a program failed, as `run.retry_on` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailureClass {
    /// It exited with a code other than 0.
    Exit,
    /// A signal ended it.
    Signal,
    /// It ran longer than it may.
    Timeout,
    /// It wrote what is not what was asked for.
    Output,
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProgramEnd {
    /// It exited with this code.
    Exited(i32),
    /// This signal ended it.
    Signaled(i32),
    /// It ran longer than this, and was killed.
    TimedOut(Duration),
    /// It wrote more than so many bytes of rows, and was killed.
    Flooded(u64),
    /// Nobody wants its results any more: it was killed.
    BrokenOff,
}

impl ProgramEnd {
    /// How a process ended that nobody killed on purpose.
    pub(crate) fn of(status: ExitStatus) -> ProgramEnd {
        match (status.code(), signal(status)) {
            (Some(code), _) => ProgramEnd::Exited(code),
            (None, signal) => ProgramEnd::Signaled(signal.unwrap_or(0)),
        }
    }

    /// Whether it ended well.
    pub(crate) fn is_success(self) -> bool {
        self == ProgramEnd::Exited(0)
    }

    /// The class of its failure; `None` where it did not fail.
    pub(crate) fn class(self) -> Option<FailureClass> {
        match self {
            ProgramEnd::Exited(0) | ProgramEnd::BrokenOff => None,
            ProgramEnd::Exited(_) => Some(FailureClass::Exit),
            ProgramEnd::Signaled(_) => Some(FailureClass::Signal),
            ProgramEnd::TimedOut(_) => Some(FailureClass::Timeout),
            ProgramEnd::Flooded(_) => Some(FailureClass::Output),
        }
    }

    /// The exit code, if it exited.
    pub(crate) fn code(self) -> Option<i32> {
        match self {
            ProgramEnd::Exited(code) => Some(code),
            _ => None,
        }
    }

    /// The signal that ended it; 0 if none did.
    pub(crate) fn signal(self) -> i32 {
        match self {
            ProgramEnd::Signaled(signal) => signal,
            _ => 0,
        }
    }
}

impl fmt::Display for ProgramEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProgramEnd::Exited(code) => write!(f, "exited with code {code}"),
            ProgramEnd::Signaled(signal) => match signal_name(*signal) {
                Some(name) => write!(f, "was ended by signal {signal} ({name})"),
                None => write!(f, "was ended by signal {signal}"),
            },
            ProgramEnd::TimedOut(limit) => write!(
                f,
                "ran longer than `command.timeout` allows ({} s) and was killed",
                limit.as_secs_f64()
            ),
            ProgramEnd::Flooded(len) => {
                write!(
                    f,
                    "wrote more than {len} bytes of rows and was killed; expected a smaller shard"
                )
            }
            ProgramEnd::BrokenOff => write!(f, "was killed, since its results are not wanted"),
        }
    }
}

fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        4 => "SIGILL",
        6 => "SIGABRT",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        15 => "SIGTERM",
        _ => return None,
    })
}

#[cfg(unix)]
fn signal(status: ExitStatus) -> Option<i32> {
    std::os::unix::process::ExitStatusExt::signal(&status)
}

#[cfg(not(unix))]
fn signal(_: ExitStatus) -> Option<i32> {
    None
}
