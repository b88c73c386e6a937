//! Processes of one side, let loose together.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use super::child::{READY, Told};
use super::{Done, Orders, Place, SIDES, Side, Work};
use crate::engine::{Result, text};

/// How many, and for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub(super) processes: u64,
    /// Of each process.
    pub(super) clients: u64,
    pub(super) lasts: Duration,
}

/// What they did together.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub(super) done: Done,
    /// Commits of each process, in time.
    pub(super) each: Vec<u64>,
    pub(super) seconds: f64,
    /// Of the processes and of the server.
    pub(super) cpu_seconds: f64,
    pub(super) written: u64,
    /// What a peer's database holds and must not, or the reverse.
    pub(super) wrong: Option<String>,
}

impl Outcome {
    #[allow(clippy::cast_precision_loss, reason = "counts of one measurement")]
    pub(super) fn rate(&self) -> f64 {
        self.done.in_time as f64 / self.seconds
    }

    /// The commits of the slowest process as a part of what each has on average.
    #[allow(clippy::cast_precision_loss, reason = "counts of one measurement")]
    pub(super) fn fairness(&self) -> f64 {
        let least = self.each.iter().min().copied().unwrap_or(0) as f64;
        least * self.each.len() as f64 / (self.done.in_time.max(1) as f64)
    }
}

struct Process {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nothing is left behind of a measurement that failed.
        self.child
            .kill()
            .and_then(|()| self.child.wait().map(drop))
            .unwrap_or(());
    }
}

/// Makes a database in `folder`, lets the processes work on it, and compares what it holds with what they were told.
///
/// # Errors
/// What a process tells; what our database holds and must not.
pub(super) fn run(side: &Side, work: Work, size: Size, folder: &Path) -> Result<Outcome> {
    std::fs::create_dir_all(folder).map_err(text)?;
    let server = (side.serve)(folder)?;
    let place = Place {
        folder: folder.to_owned(),
        server: server
            .as_ref()
            .map(|server| server.url())
            .unwrap_or_default(),
    };
    (side.prepare)(&place, work)?;
    let mut processes = Vec::new();
    for process in 0..size.processes {
        let orders = Orders {
            work,
            process,
            clients: size.clients,
            lasts: size.lasts,
            folder: folder.to_owned(),
            server: place.server.clone(),
        };
        processes.push(start(&orders.encode(side.name))?);
    }
    for process in &mut processes {
        let line = line_of(process)?;
        if line != READY {
            return Err(format!("{}: it told `{line}`", side.name));
        }
    }
    let served_before = server.as_ref().map_or(0.0, |server| server.cpu_seconds());
    for process in &mut processes {
        let stdin = process.child.stdin.as_mut().ok_or("no pipe")?;
        writeln!(stdin, "go").map_err(text)?;
    }
    let mut outcome = Outcome {
        done: Done::default(),
        each: Vec::new(),
        seconds: size.lasts.as_secs_f64(),
        cpu_seconds: 0.0,
        written: 0,
        wrong: None,
    };
    for process in &mut processes {
        let line = line_of(process)?;
        let told = Told::decode(&line).ok_or(format!("{}: it told `{line}`", side.name))?;
        outcome.done.join(&told.done);
        outcome.each.push(told.done.in_time);
        outcome.cpu_seconds += told.cpu_seconds;
        outcome.written += told.written;
    }
    // Those of a server that were for these clients have ended, or count with it.
    drop(processes);
    let served = server.as_ref().map_or(0.0, |server| server.cpu_seconds());
    outcome.cpu_seconds += served - served_before;
    match check(side, work, &place, &outcome.done) {
        Err(wrong) if side.name != SIDES[0].name => outcome.wrong = Some(wrong),
        checked => checked?,
    }
    Ok(outcome)
}

fn check(side: &Side, work: Work, place: &Place, done: &Done) -> Result<()> {
    let expected = match work {
        Work::Disjoint | Work::Near | Work::Add => done.commits,
        Work::Replace => 1,
    };
    let found = (side.count)(place, work)?;
    if found == expected {
        return Ok(());
    }
    let what = if work.has_own_keys() {
        "records"
    } else {
        "in it"
    };
    Err(format!(
        "{}, {}: {found} {what}, expected {expected}",
        side.name,
        work.name()
    ))
}

fn start(args: &[String]) -> Result<Process> {
    let exe = std::env::current_exe().map_err(text)?;
    let mut command = Command::new(exe);
    let command = command
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = command.spawn().map_err(text)?;
    let stdout = child.stdout.take().ok_or("no pipe")?;
    Ok(Process {
        child,
        stdout: BufReader::new(stdout),
    })
}

fn line_of(process: &mut Process) -> Result<String> {
    let mut line = String::new();
    process.stdout.read_line(&mut line).map_err(text)?;
    Ok(line.trim_end().to_owned())
}
