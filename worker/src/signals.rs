//! Signals: the first that asks for an end asks for draining, the second ends at once.
//!
//! A command that has nothing to drain, or has not begun its work yet, ends at the first one: [`unless_asked`] tells what to
//! do then. Once a part of the command drains, it takes the signals over ([`Signals::taken`]).
//!
//! SIGINT and SIGTERM ask for an end. SIGHUP has a worker read its tokens and certificates again; whoever runs a job in a
//! terminal that is closed drains, unless SIGHUP was ignored when the process was started, as `nohup` does.

use std::future::poll_fn;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll};
use std::time::Duration;

use eciton_jobs::run::CancellationToken;
use parking_lot::Mutex;

use crate::failure::{CODE_SIGNAL, Failure};
use crate::logs;
use crate::staged;

/// Signals that no part of the command has taken over.
static UNTAKEN: Mutex<Option<Signals>> = Mutex::new(None);
/// How long telling why the process ends may take, where nobody reads.
const TELLING_MAX: Duration = Duration::from_secs(1);

/// Which signal asks for an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Interrupt = 1,
    Terminate = 2,
    /// The terminal has gone.
    Hangup = 3,
}

/// Which signal came first, once one has.
#[derive(Clone, Debug, Default)]
pub(crate) struct First(Arc<AtomicU8>);

/// What became of the work after the signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drained {
    /// It was finished.
    Finished,
    /// Some of it took longer than there was time for, and was given up.
    Overdue,
    /// Other processes had it, and have ended.
    Elsewhere,
}

impl Asked {
    fn name(self) -> &'static str {
        match self {
            Asked::Interrupt => "SIGINT",
            Asked::Terminate => "SIGTERM",
            Asked::Hangup => "SIGHUP",
        }
    }
}

impl First {
    /// A service is ended by SIGTERM, which is no failure; SIGINT and a closed terminal are told by the exit code.
    ///
    /// # Errors
    /// [`Failure::Interrupted`] after one of those.
    pub(crate) fn conclude(&self, drained: Drained) -> Result<(), Failure> {
        let by = match self.0.load(Ordering::SeqCst) {
            n if n == Asked::Interrupt as u8 => "SIGINT",
            n if n == Asked::Hangup as u8 => "SIGHUP",
            _ => return Ok(()),
        };
        let work = match drained {
            Drained::Finished => "what was at work is finished",
            Drained::Overdue => {
                "what was still at work when the time to drain was over is given up, and other workers compute it again"
            }
            Drained::Elsewhere => {
                "all workers have ended; what one could not finish in time is computed again by others"
            }
        };
        Err(Failure::Interrupted(format!("ended by {by}; {work}")))
    }

    pub(crate) fn note(&self, asked: Asked) {
        self.0.store(asked as u8, Ordering::SeqCst);
    }
}

/// Starts listening. The first signal requests `stop`; the second ends the process without draining,
/// which is safe: what was committed stays, the rest is repeated by the next run.
///
/// # Errors
/// Where the system has no more room for signal handlers.
pub(crate) fn listen(stop: CancellationToken, mut signals: Signals) -> First {
    let first = First::default();
    let came = first.clone();
    tokio::spawn(async move {
        came.note(signals.next().await);
        let words = "stopping: the shards at work are finished; a second signal ends at once";
        match logs::is_json() {
            true => tracing::info!("{words}"),
            // Whether or not anyone reads this, stopping goes on.
            false => drop(writeln!(io::stderr(), "{words}")),
        }
        stop.cancel();
        signals.next().await;
        std::process::exit(i32::from(CODE_SIGNAL));
    });
    first
}

/// Does the work of a command. A signal ends the process with 130 and says `advice`, unless the work has taken the signals
/// over by then. Nothing is unwound for that, and nothing has to be: what was acknowledged stays, as after a kill; files that
/// were begun and not published are removed.
///
/// # Errors
/// Those of the work, or where the system has no more room for signal handlers.
pub(crate) async fn unless_asked<T>(
    advice: Advice,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    *UNTAKEN.lock() = Some(Signals::with_hangup()?);
    // A task of its own: the work may block its thread, in reading standard input for instance.
    let asked = tokio::spawn(async move {
        let asked = poll_fn(|context| match UNTAKEN.lock().as_mut() {
            Some(signals) => signals.poll_next(context),
            None => Poll::Pending,
        });
        advice.end(asked.await);
    });
    let done = work.await;
    asked.abort();
    done
}

/// What to tell where a signal ends a command.
pub(crate) struct Advice {
    /// What to do, for people.
    pub(crate) words: String,
    /// Whether standard output has the failure as JSON, too.
    pub(crate) json: bool,
}

impl Advice {
    fn end(self, asked: Asked) {
        let Advice { words, json } = self;
        let (told, is_told) = mpsc::channel();
        // Somebody may hold standard output, in writing to a reader that does not read.
        std::thread::spawn(move || {
            Failure::Interrupted(format!("ended by {}{words}", asked.name())).conclude(json);
            told.send(()).ok();
        });
        is_told.recv_timeout(TELLING_MAX).ok();
        staged::remove_all();
        std::process::exit(i32::from(CODE_SIGNAL));
    }
}

/// Signals that ask for an end.
#[cfg(unix)]
pub(crate) struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hangup: Option<tokio::signal::unix::Signal>,
}

#[cfg(unix)]
impl Signals {
    /// From now on SIGINT and SIGTERM do not end the process by themselves.
    ///
    /// # Errors
    /// Where the system has no more room for signal handlers.
    pub(crate) fn new() -> io::Result<Signals> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: None,
        })
    }

    /// The same, and a terminal that is closed asks for an end, too, unless that was ignored from the beginning.
    ///
    /// # Errors
    /// As [`Signals::new`].
    pub(crate) fn with_hangup() -> io::Result<Signals> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut signals = Signals::new()?;
        if !ignores_hangup() {
            signals.hangup = Some(signal(SignalKind::hangup())?);
        }
        Ok(signals)
    }

    /// Takes over the signals of the command, with those that have come already.
    ///
    /// # Errors
    /// As [`Signals::new`].
    pub(crate) fn taken() -> io::Result<Signals> {
        let taken = UNTAKEN.lock().take();
        taken.map_or_else(Signals::with_hangup, Ok)
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) -> Asked {
        poll_fn(|context| self.poll_next(context)).await
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Asked> {
        let hangup = self.hangup.as_mut();
        // Each is polled, so that each wakes the task.
        let came = [
            (self.interrupt.poll_recv(context), Asked::Interrupt),
            (self.terminate.poll_recv(context), Asked::Terminate),
            (
                hangup.map_or(Poll::Pending, |hangup| hangup.poll_recv(context)),
                Asked::Hangup,
            ),
        ];
        let first = came.into_iter().find(|(came, _)| came.is_ready());
        first.map_or(Poll::Pending, |(_, asked)| Poll::Ready(asked))
    }
}

/// Whether SIGHUP is ignored, as far as the system tells.
#[cfg(unix)]
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // Signal 1 is the first bit.
    mask.is_some_and(|mask| mask & 1 == 1)
}

/// SIGHUP, for a process that it does not end.
#[cfg(unix)]
pub(crate) struct Hangups(tokio::signal::unix::Signal);

#[cfg(unix)]
impl Hangups {
    /// From now on it does not end the process.
    ///
    /// # Errors
    /// As [`Signals::new`].
    pub(crate) fn new() -> io::Result<Hangups> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Hangups(signal(SignalKind::hangup())?))
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) {
        self.0.recv().await;
    }
}

#[cfg(not(unix))]
pub(crate) struct Signals;

#[cfg(not(unix))]
impl Signals {
    pub(crate) fn new() -> io::Result<Signals> {
        Ok(Signals)
    }

    pub(crate) fn with_hangup() -> io::Result<Signals> {
        Ok(Signals)
    }

    pub(crate) fn taken() -> io::Result<Signals> {
        UNTAKEN.lock().take();
        Ok(Signals)
    }

    /// Until it is taken over, Ctrl-C ends the process by itself.
    fn poll_next(&mut self, _context: &mut Context<'_>) -> Poll<Asked> {
        Poll::Pending
    }

    pub(crate) async fn next(&mut self) -> Asked {
        if tokio::signal::ctrl_c().await.is_err() {
            // No handler could be set: Ctrl-C then ends the process by itself.
            std::future::pending::<()>().await;
        }
        Asked::Interrupt
    }
}

#[cfg(not(unix))]
pub(crate) struct Hangups;

#[cfg(not(unix))]
impl Hangups {
    pub(crate) fn new() -> io::Result<Hangups> {
        Ok(Hangups)
    }

    pub(crate) async fn next(&mut self) {
        std::future::pending::<()>().await;
    }
}
