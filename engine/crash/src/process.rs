//! The processes of a run: started, listened to, stopped, killed, and never left behind.
//!
//! Each is a process group of its own: whoever interrupts the harness at its terminal must not strike
//! them too, where nobody expects it.

use std::io::{self, BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;

use rustix::process::{Pid, Signal, kill_process};

use crate::checker::Look;
use crate::disk::Gate;
use crate::line::Line;
use crate::state::State;
use crate::worker::Orders;

/// The word that makes the program a worker.
pub const WORK: &str = "work";
/// The word that makes the program a checker.
pub const CHECK: &str = "check";

/// What the harness hears.
#[derive(Debug)]
pub enum Event {
    /// A line of the worker.
    Said(Line),
    /// Something of the worker that is no line.
    Garbled(String),
    /// The medium stands still.
    Tripped,
    /// The worker has ended.
    Ended,
}

/// A worker, running. Dropping it kills it.
pub struct Worker {
    child: Child,
    gate: Option<Arc<Gate>>,
    reader: Option<JoinHandle<()>>,
    events: Receiver<Event>,
    sender: Sender<Event>,
}

impl Worker {
    /// Starts a worker: `program` is this program.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(program: &Path, orders: &Orders, gate: Option<Arc<Gate>>) -> io::Result<Worker> {
        let mut child = Command::new(program)
            .arg(WORK)
            .arg(&orders.folder)
            .args(to_args(orders))
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let (sender, events) = mpsc::channel();
        let out = child.stdout.take();
        let said = sender.clone();
        let reader = std::thread::spawn(move || {
            for text in out.into_iter().flat_map(|out| BufReader::new(out).lines()) {
                let Ok(text) = text else { break };
                let event = match Line::parse(&text) {
                    Some(line) => Event::Said(line),
                    None => Event::Garbled(text),
                };
                if said.send(event).is_err() {
                    return;
                }
            }
            // Nobody may listen any more.
            said.send(Event::Ended).unwrap_or_default();
        });
        Ok(Worker {
            child,
            gate,
            reader: Some(reader),
            events,
            sender,
        })
    }

    /// Where events come from.
    pub fn events(&self) -> &Receiver<Event> {
        &self.events
    }

    /// A sender of events, for the medium.
    pub fn sender(&self) -> Sender<Event> {
        self.sender.clone()
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// The process is gone.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("no process number"))?;
        Ok(kill_process(pid, signal)?)
    }

    /// Kills it, and returns once nothing of it is left, with what it had said and nobody heard yet.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub fn kill(mut self) -> io::Result<Vec<Event>> {
        self.end()?;
        Ok(self.events.try_iter().collect())
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub fn wait(mut self) -> io::Result<std::process::ExitStatus> {
        let status = self.child.wait()?;
        self.end()?;
        Ok(status)
    }

    fn end(&mut self) -> io::Result<()> {
        let Some(reader) = self.reader.take() else {
            return Ok(());
        };
        // The signal first: a process that waits at the gate must never see what follows.
        self.child.kill()?;
        if let Some(gate) = &self.gate {
            gate.refuse();
        }
        self.child.wait()?;
        reader
            .join()
            .map_err(|_| io::Error::other("the reader panicked"))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Err(cause) = self.end() {
            eprintln!("a worker may be left behind: {cause}");
        }
    }
}

fn to_args(orders: &Orders) -> Vec<String> {
    let numbers = [
        orders.seed,
        orders.round,
        orders.tasks,
        orders.transactions,
        orders.fold_len_min as u64,
        u64::from(orders.hasty),
        u64::from(orders.abrupt),
    ];
    numbers.iter().map(u64::to_string).collect()
}

/// The orders on a worker's command line, after the word itself.
pub fn from_args(args: &[String]) -> Option<Orders> {
    let (folder, numbers) = args.split_first()?;
    let numbers = numbers.iter().map(|word| word.parse().ok());
    let numbers: Vec<u64> = numbers.collect::<Option<_>>()?;
    let [seed, round, tasks, transactions, fold, hasty, abrupt] = numbers[..] else {
        return None;
    };
    Some(Orders {
        folder: PathBuf::from(folder),
        seed,
        round,
        tasks,
        transactions,
        fold_len_min: usize::try_from(fold).ok()?,
        hasty: hasty == 1,
        abrupt: abrupt == 1,
    })
}

/// Runs a checker to its end.
///
/// # Errors
/// What it says is wrong, or that it does not run.
pub fn check(program: &Path, folder: &Path, look: Look) -> Result<State, String> {
    let done = Command::new(program)
        .args([CHECK, look.word()])
        .arg(folder)
        .process_group(0)
        .stdin(Stdio::null())
        .output()
        .map_err(|cause| format!("the checker does not run: {cause}"))?;
    let said = String::from_utf8_lossy(&done.stdout);
    match State::parse(&said) {
        Some(state) if done.status.success() => Ok(state),
        _ => {
            let why = String::from_utf8_lossy(&done.stderr);
            Err(format!("{}: {}", done.status, why.trim_end()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_lead_back() {
        let orders = Orders {
            folder: PathBuf::from("a b"),
            seed: u64::MAX,
            round: 2,
            tasks: 3,
            transactions: 4,
            fold_len_min: 5,
            hasty: false,
            abrupt: true,
        };
        let mut args = vec!["a b".to_owned()];
        args.extend(to_args(&orders));
        let back = from_args(&args).unwrap();
        assert_eq!(format!("{back:?}"), format!("{orders:?}"));
        assert!(from_args(&args[..4]).is_none());
    }
}
