//! Signals: the first that asks for an end asks for draining, the second ends at once.
//!
//! SIGINT and SIGTERM ask for an end. SIGHUP has a worker read its tokens and certificates again; whoever runs a job in a
//! terminal that is closed drains, unless SIGHUP was ignored when the process was started, as `nohup` does.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use eciton_jobs::run::Stop;

use crate::failure::{CODE_SIGNAL, Failure};

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

impl First {
    /// A service is ended by SIGTERM, which is no failure; SIGINT and a closed terminal are told by the exit code.
    ///
    /// # Errors
    /// [`Failure::Interrupted`] after one of those.
    pub(crate) fn conclude(&self) -> Result<(), Failure> {
        let by = match self.0.load(Ordering::SeqCst) {
            n if n == Asked::Interrupt as u8 => "SIGINT",
            n if n == Asked::Hangup as u8 => "SIGHUP",
            _ => return Ok(()),
        };
        let told = format!("ended by {by}; what was at work is finished");
        Err(Failure::Interrupted(told))
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
pub(crate) fn listen(stop: Stop, mut signals: Signals) -> First {
    let first = First::default();
    let came = first.clone();
    tokio::spawn(async move {
        came.note(signals.next().await);
        let words = "stopping: the shards at work are finished; a second signal ends at once";
        // Whether or not anyone reads this, stopping goes on.
        writeln!(io::stderr(), "{words}").ok();
        stop.request();
        signals.next().await;
        std::process::exit(i32::from(CODE_SIGNAL));
    });
    first
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

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) -> Asked {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => Asked::Interrupt,
            _ = self.terminate.recv() => Asked::Terminate,
            _ = hangup => Asked::Hangup,
        }
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
