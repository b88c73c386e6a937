//! The place of one process, which others take after it: started, stopped, killed, and never left behind.
//!
//! Each is a process group of its own: whoever interrupts the harness at its terminal must not strike
//! them too.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::split::command_in;
use super::worker::Orders;

/// The word that makes the program a process among others.
pub const WORK_AMONG: &str = "work-among";
/// Between two looks whether a process has ended.
const LOOK: Duration = Duration::from_millis(5);

/// A place among the processes.
#[derive(Debug)]
pub struct Seat {
    program: PathBuf,
    orders: Orders,
    /// Where the journals go.
    journals: PathBuf,
    /// The network namespace, if it is not that of the harness.
    namespace: Option<String>,
    child: Option<Child>,
    /// When it goes on, while it stands still.
    still_until: Option<Instant>,
    /// When a process is started here, while there is none.
    away_until: Option<Instant>,
}

impl Seat {
    /// A place without a process; `orders` are those of the first.
    pub fn new(program: &Path, orders: Orders, journals: &Path, namespace: Option<String>) -> Seat {
        Seat {
            program: program.to_owned(),
            orders,
            journals: journals.to_owned(),
            namespace,
            child: None,
            still_until: None,
            away_until: None,
        }
    }

    /// Starts a process here.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(&mut self) -> io::Result<()> {
        let name = format!("{}-{}", self.orders.worker, self.orders.life);
        self.orders.journal = self.journals.join(name);
        let child = command_in(self.namespace.as_deref(), &self.program)
            .arg(WORK_AMONG)
            .args(self.orders.to_args())
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        self.orders.life += 1;
        self.child = Some(child);
        self.away_until = None;
        Ok(())
    }

    /// Whether a process is here that does not stand still.
    pub fn is_running(&self) -> bool {
        self.child.is_some() && self.still_until.is_none()
    }

    /// Whether a process is here.
    pub fn is_taken(&self) -> bool {
        self.child.is_some()
    }

    /// Kills the process, and waits until nothing is left of it; another is started after a while.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub fn kill(&mut self, away: Duration) -> io::Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        self.still_until = None;
        self.away_until = Some(Instant::now() + away);
        Ok(())
    }

    /// Stops the process for a while.
    ///
    /// # Errors
    /// It is gone.
    pub fn stop(&mut self, still: Duration) -> io::Result<()> {
        self.signal(Signal::STOP)?;
        self.still_until = Some(Instant::now() + still);
        Ok(())
    }

    /// Lets the process go on if it stands still.
    ///
    /// # Errors
    /// It is gone.
    pub fn go_on(&mut self) -> io::Result<()> {
        match self.still_until.take() {
            Some(_) => self.signal(Signal::CONT),
            None => Ok(()),
        }
    }

    /// Lets the process go on if it stands still, or starts one if there is none, due or not.
    ///
    /// # Errors
    /// It is gone, or does not start.
    pub fn come_back(&mut self) -> io::Result<()> {
        match &self.child {
            Some(_) => self.go_on(),
            None => self.start(),
        }
    }

    /// Does what is due: lets the process go on, or starts one. How one ended that nobody had asked to.
    ///
    /// # Errors
    /// It does not start, or cannot be waited for.
    pub fn look(&mut self) -> io::Result<Option<ExitStatus>> {
        let now = Instant::now();
        if self.still_until.is_some_and(|until| until <= now) {
            self.go_on()?;
        }
        if let Some(ended) = self.ended()? {
            self.still_until = None;
            self.away_until = Some(now);
            return Ok(Some(ended));
        }
        if self.away_until.is_some_and(|until| until <= now) {
            self.start()?;
        }
        Ok(None)
    }

    /// Asks the process to end.
    ///
    /// # Errors
    /// It is gone.
    pub fn ask_to_end(&self) -> io::Result<()> {
        self.signal(Signal::TERM)
    }

    /// Waits for the end of the process; `None` if it does not end, and is killed. `looks` is how often it is
    /// looked for, and how often is left: not a time, which passes on a machine that stands still, too.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub fn wait(&mut self, looks: &mut u32) -> io::Result<Option<ExitStatus>> {
        while self.child.is_some() {
            if let Some(ended) = self.ended()? {
                return Ok(Some(ended));
            }
            if *looks == 0 {
                self.kill(Duration::ZERO)?;
                return Ok(None);
            }
            *looks -= 1;
            std::thread::sleep(LOOK);
        }
        Ok(None)
    }

    fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        let ended = match &mut self.child {
            Some(child) => child.try_wait()?,
            None => None,
        };
        if ended.is_some() {
            self.child = None;
        }
        Ok(ended)
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        match &self.child {
            Some(child) => Ok(kill_process(Pid::from_child(child), signal)?),
            None => Ok(()),
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended by itself, which is as good.
            child.kill().unwrap_or_default();
            child.wait().map(drop).unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_away_comes_back_when_it_is_asked_to_though_it_is_not_due() {
        let orders = Orders {
            folder: PathBuf::new(),
            journal: PathBuf::new(),
            redis_url: String::new(),
            seed: 0,
            worker: 0,
            life: 0,
            tasks: 1,
            pace_ms: 1,
            begun_ns: 0,
            fault: None,
        };
        // What the process does is not the seat's concern.
        let mut seat = Seat::new(Path::new("true"), orders, Path::new(""), None);
        seat.start().unwrap();
        seat.kill(Duration::from_hours(1)).unwrap();
        seat.look().unwrap();
        assert!(!seat.is_taken());
        seat.come_back().unwrap();
        assert!(seat.is_taken());
        assert!(seat.wait(&mut 10_000).unwrap().unwrap().success());
    }
}
