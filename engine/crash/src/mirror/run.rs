//! One run: a database, a fault, and the judgement.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::CHECK;
use super::kind::Kind;
use super::path::{ActivePath, Tmpfs};
use super::places::Places;
use super::process::Worker;
use crate::dice::Dice;

/// A database that has not gone on after this time never does.
const PATIENCE: Duration = Duration::from_mins(1);

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    /// How the path failed.
    pub kind: Kind,
    /// Worker processes.
    pub processes: usize,
    /// Commits that were acknowledged.
    pub acknowledged: usize,
    /// The longest commit of each process during or after the fault.
    pub longest: Vec<Duration>,
    /// What must not be.
    pub wrong: Vec<String>,
}

/// What a worker has said.
#[derive(Debug, Default)]
struct Said {
    is_ready: bool,
    begun: BTreeSet<u64>,
    acknowledged: BTreeSet<u64>,
    after: usize,
    longest: Duration,
    is_done: bool,
    ended: bool,
}

impl Said {
    fn hear(&mut self, line: Option<&str>, is_after: bool) {
        let Some(line) = line else {
            self.ended = true;
            return;
        };
        let mut words = line.split(' ');
        let word = words.next().unwrap_or_default();
        let mut number = || words.next().and_then(|word| word.parse::<u64>().ok());
        match (word, number(), number()) {
            ("ready", ..) => self.is_ready = true,
            ("begin", Some(count), _) => drop(self.begun.insert(count)),
            ("ack", Some(count), Some(micros)) => {
                self.acknowledged.insert(count);
                if is_after {
                    self.after += 1;
                    self.longest = self.longest.max(Duration::from_micros(micros));
                }
            }
            ("done", ..) => self.is_done = true,
            _ => {}
        }
    }
}

/// Plays the run of a seed.
///
/// # Errors
/// The machine does not play along.
pub fn play(program: &Path, seed: u64) -> io::Result<Outcome> {
    let dice = Dice::of(seed, &[19]);
    let kinds = Kind::all();
    // Few kinds are errors that are told; the others take as many runs together.
    let kind = match dice.once_in(2) {
        true => kinds[usize::try_from(dice.below(4)).unwrap_or(0)],
        false => kinds[usize::try_from(dice.below(kinds.len() as u64)).unwrap_or(0)],
    };
    let processes = 1 + usize::from(dice.once_in(2));
    let before = 1 + usize::try_from(dice.below(20)).unwrap_or(0);
    let (active, passive) = (
        ActivePath::new(kind, Dice::of(seed, &[20]))?,
        Tmpfs::passive()?,
    );
    let places = Places {
        active: active.folder(),
        passive: passive.folder(),
        limit: kind.limit(),
    };
    let mut outcome = Outcome {
        kind,
        processes,
        acknowledged: 0,
        longest: Vec::new(),
        wrong: Vec::new(),
    };
    let (told, events) = mpsc::channel();
    let (mut workers, mut said) = (Vec::new(), Vec::new());
    for number in 0..processes {
        workers.push(Worker::start(program, &places, number, told.clone())?);
        said.push(Said::default());
        // The first one creates the database.
        let wrong = listen(&events, &mut said, false, |said| {
            said.last().is_some_and(|last| last.is_ready)
        });
        outcome.wrong.extend(wrong);
    }
    let wrong = listen(&events, &mut said, false, |said| {
        said.iter().all(|one| one.acknowledged.len() >= before)
    });
    outcome.wrong.extend(wrong);
    if outcome.wrong.is_empty() {
        active.fail(kind)?;
        let wrong = listen(&events, &mut said, true, |said| {
            said.iter().all(|one| one.after >= kind.commits_after())
        });
        outcome.wrong.extend(wrong);
        // A slow path is left after a while only.
        if kind == Kind::Slow {
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_secs(4) {
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        workers.iter_mut().for_each(Worker::ask_to_end);
        let wrong = listen(&events, &mut said, true, |said| {
            said.iter().all(|one| one.is_done)
        });
        outcome.wrong.extend(wrong);
    }
    workers.iter_mut().for_each(Worker::kill);
    active.let_go();
    drop(workers);
    listen(&events, &mut said, true, |said| {
        said.iter().all(|one| one.ended)
    });
    for (number, one) in said.iter().enumerate() {
        if !one.is_done {
            outcome
                .wrong
                .push(format!("worker {number} did not end by itself"));
        }
        outcome.acknowledged += one.acknowledged.len();
        outcome.longest.push(one.longest);
    }
    outcome.wrong.extend(judge(program, &places, &said)?);
    Ok(outcome)
}

/// Hears the workers until `done`; says what went wrong if they do not come so far.
fn listen(
    events: &Receiver<(usize, Option<String>)>,
    said: &mut [Said],
    is_after: bool,
    done: impl Fn(&[Said]) -> bool,
) -> Option<String> {
    let end = Instant::now() + PATIENCE;
    while !done(said) {
        let left = end.saturating_duration_since(Instant::now());
        match events.recv_timeout(left) {
            Ok((number, line)) => {
                said[number].hear(line.as_deref(), is_after);
                if line.is_none() && !done(said) && !said[number].is_done {
                    return Some(format!("worker {number} has ended"));
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                return Some(format!("no progress within {} s", PATIENCE.as_secs()));
            }
            Err(RecvTimeoutError::Disconnected) => return Some("nobody is left".to_owned()),
        }
    }
    None
}

/// Compares what is there with what was said.
fn judge(program: &Path, places: &Places, said: &[Said]) -> io::Result<Vec<String>> {
    let mut checker = Command::new(program);
    checker.arg(CHECK).args(places.to_args());
    let looked = checker.stdin(Stdio::null()).output()?;
    let mut wrong = Vec::new();
    if !looked.status.success() {
        let why = String::from_utf8_lossy(&looked.stderr);
        wrong.push(format!("the database is not read: {}", why.trim()));
        return Ok(wrong);
    }
    let mut values: BTreeMap<(usize, u64), u64> = BTreeMap::new();
    for line in String::from_utf8_lossy(&looked.stdout).lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok());
        match (words[0], number(1), number(2), number(3)) {
            ("value", Some(worker), Some(count), Some(times)) => {
                let worker = usize::try_from(worker).unwrap_or(usize::MAX);
                values.insert((worker, count), times);
            }
            ("generation", Some(1), ..) => {}
            _ => wrong.push(line.to_owned()),
        }
    }
    for (number, one) in said.iter().enumerate() {
        for count in &one.acknowledged {
            match values.get(&(number, *count)) {
                Some(1) => {}
                Some(times) => wrong.push(format!("{number}/{count} is there {times} times")),
                None => wrong.push(format!("{number}/{count} was acknowledged and is lost")),
            }
        }
    }
    for ((worker, count), times) in values {
        let begun = said
            .get(worker)
            .is_some_and(|one| one.begun.contains(&count));
        if !begun || times != 1 {
            wrong.push(format!(
                "{worker}/{count} is there {times} times, begun: {begun}"
            ));
        }
    }
    Ok(wrong)
}
