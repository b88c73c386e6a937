//! SIGINT and SIGTERM: the first asks for draining, the second ends at once.

use std::io::{self, Write};

use eciton_jobs::run::Stop;

use crate::failure::CODE_SIGNAL;

/// Starts listening. The first signal requests `stop`; the second ends the process without draining,
/// which is safe: what was committed stays, the rest is repeated by the next run.
///
/// # Errors
/// Where the system has no more room for signal handlers.
pub(crate) fn listen(stop: Stop) -> io::Result<()> {
    let mut signals = Signals::new()?;
    tokio::spawn(async move {
        signals.next().await;
        let words = "stopping: the shards at work are finished; a second signal ends at once";
        // Whether or not anyone reads this, stopping goes on.
        writeln!(io::stderr(), "{words}").ok();
        stop.request();
        signals.next().await;
        std::process::exit(i32::from(CODE_SIGNAL));
    });
    Ok(())
}

/// Signals that ask for an end.
#[cfg(unix)]
pub(crate) struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    /// From now on they do not end the process by themselves.
    ///
    /// # Errors
    /// Where the system has no more room for signal handlers.
    pub(crate) fn new() -> io::Result<Signals> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(not(unix))]
pub(crate) struct Signals;

#[cfg(not(unix))]
impl Signals {
    pub(crate) fn new() -> io::Result<Signals> {
        Ok(Signals)
    }

    pub(crate) async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            // No handler could be set: Ctrl-C then ends the process by itself.
            std::future::pending::<()>().await;
        }
    }
}
