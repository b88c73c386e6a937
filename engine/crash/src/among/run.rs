//! One run: processes and Redis are started, struck as planned, and ended; then all of it is judged.

use std::fmt;
use std::io;
use std::path::Path;
use std::process::{ExitCode, ExitStatus};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::cells::{ACCOUNTS, SETUP};
use super::journal::{Entry, Journal, Step, now_ns};
use super::judge;
use super::redis::Redis;
use super::remains::{self, Remains};
use super::said::Said;
use super::seat::Seat;
use super::strikes::{self, Strike};
use super::worker::{Fault, Orders};

/// Tasks of each process.
const TASKS: u64 = 4;
/// Between two looks at the processes.
const LOOK: Duration = Duration::from_millis(10);
/// Between two lines that tell how far it is.
const TELL: Duration = Duration::from_secs(30);
/// Looks (of 5 ms) until all processes have ended that were asked to.
const END_LOOKS_MAX: u32 = 36_000;
/// Notes that are told.
const NOTES_MAX: usize = 12;

/// How large a run is.
#[derive(Clone, Debug)]
pub struct Scale {
    /// Processes at the same time.
    pub processes: u64,
    /// How long they are struck.
    pub lasting: Duration,
    /// What decides what is struck when.
    pub seed: u64,
    /// Transactions a second of all together, at most, on average.
    pub rate: u64,
    /// What the processes do wrong.
    pub fault: Option<Fault>,
}

/// What happened in a run.
#[derive(Clone, Debug, Default)]
struct Tally {
    processes: u64,
    kills: u64,
    kills_still: u64,
    stops: u64,
    flushes: u64,
    redis_restarts: u64,
    redis_stops: u64,
    commits: usize,
    reads: usize,
    conflicts: u64,
    open: usize,
    unknown: u64,
    refused: u64,
    seconds: u64,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hundredths = self.commits as u64 * 100 / self.seconds.max(1);
        write!(
            f,
            "processes {} seconds {} kills {} (of stopped {}) stops {} flushes {} redis restarts {} redis stops {} \
             commits {} ({}.{:02}/s) reads {} conflicts {} open {} unknown {} refused {}",
            self.processes,
            self.seconds,
            self.kills,
            self.kills_still,
            self.stops,
            self.flushes,
            self.redis_restarts,
            self.redis_stops,
            self.commits,
            hundredths / 100,
            hundredths % 100,
            self.reads,
            self.conflicts,
            self.open,
            self.unknown,
            self.refused,
        )
    }
}

/// Does a run and says how it went.
pub fn main(scale: &Scale) -> ExitCode {
    println!("seed {}", scale.seed);
    match play(scale) {
        Ok(violations) => ExitCode::from(u8::from(violations > 0)),
        Err(cause) => {
            eprintln!(
                "seed {}: the machine does not play along: {cause}",
                scale.seed
            );
            ExitCode::from(3)
        }
    }
}

fn play(scale: &Scale) -> io::Result<usize> {
    let temp = tempfile::Builder::new().prefix("eciton-among-").tempdir()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let folder = temp.path().join("db");
    let journals = temp.path().join("journals");
    std::fs::create_dir(&journals)?;
    let set_up = runtime.block_on(remains::set_up(&folder));
    let set_up = set_up.map_err(|error| io::Error::other(format!("setting up: {error}")))?;

    let mut redis = Redis::start(temp.path())?;
    let mut said = Said::default();
    note_set_up(&journals, set_up)?;
    let mut field = Field::new(scale, &folder, &journals, &redis)?;
    field.strike(scale, &mut redis, &mut said.wrong)?;
    field.end(&mut redis, &mut said.wrong)?;
    // Whatever else is there now, nobody can commit any more.
    redis.kill();
    let mut tally = std::mem::take(&mut field.tally);
    drop(field);

    hear(&journals, &mut said)?;
    (tally.commits, tally.reads) = said.acknowledged();
    (tally.conflicts, tally.open) = (said.conflicts, said.open());
    (tally.unknown, tally.refused) = (said.unknown, said.refused);
    let wrong = match runtime.block_on(Remains::read(&folder)) {
        Ok(remains) => weigh(&said, &remains),
        Err(error) => {
            let mut wrong = said.wrong.clone();
            wrong.push(format!("the database cannot be read: {error}"));
            wrong
        }
    };
    tell(scale, &said, &wrong);
    if !wrong.is_empty() && scale.fault.is_none() {
        println!(
            "the folder and the journals stay in {}",
            temp.keep().display()
        );
    }
    println!("{tally} violations {}", wrong.len());
    Ok(wrong.len())
}

fn tell(scale: &Scale, said: &Said, wrong: &[String]) {
    for note in said.notes.iter().take(NOTES_MAX) {
        println!("note: {note}");
    }
    let more = said.notes.len().saturating_sub(NOTES_MAX);
    if more > 0 {
        println!("note: and {more} more");
    }
    for what in wrong {
        println!("seed {}: VIOLATION: {what}", scale.seed);
    }
    if !wrong.is_empty() {
        let fault = scale.fault.map_or("", Fault::word);
        println!(
            "repeat with `cargo run -p eciton-crash -- among --processes {} --seconds {} --seed {} --rate {} {fault}`",
            scale.processes,
            scale.lasting.as_secs(),
            scale.seed,
            scale.rate
        );
    }
}

/// Notes in a journal what was done before the first process.
fn note_set_up(journals: &Path, (from_ns, at_ns, position): (u64, u64, u64)) -> io::Result<()> {
    let journal = Journal::create(&journals.join(format!("{}-0", u64::MAX)))?;
    journal.say(&Entry::Begin {
        id: SETUP,
        fresh: true,
        from_ns,
        steps: (0..ACCOUNTS).map(Step::Set).collect(),
    });
    journal.say(&Entry::Done {
        id: SETUP,
        at_ns,
        position,
    });
    Ok(())
}

/// Judges once more what a run has left.
pub fn judge_again(left: &Path) -> ExitCode {
    let judged = || -> io::Result<usize> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let mut said = Said::default();
        hear(&left.join("journals"), &mut said)?;
        let remains = runtime.block_on(Remains::read(&left.join("db")));
        let remains = remains.map_err(|error| io::Error::other(error.to_string()))?;
        let wrong = weigh(&said, &remains);
        for what in &wrong {
            println!("VIOLATION: {what}");
        }
        println!("violations {}", wrong.len());
        Ok(wrong.len())
    };
    match judged() {
        Ok(violations) => ExitCode::from(u8::from(violations > 0)),
        Err(cause) => {
            eprintln!("{}: cannot be judged: {cause}", left.display());
            ExitCode::from(3)
        }
    }
}

/// Reads all journals.
fn hear(journals: &Path, said: &mut Said) -> io::Result<()> {
    for entry in std::fs::read_dir(journals)? {
        let entry = entry?;
        let name = entry.file_name();
        let place = name.to_str().and_then(|name| name.split('-').next());
        let worker = place.and_then(|place| place.parse().ok());
        let worker = worker.ok_or_else(|| io::Error::other("a journal without a place"))?;
        for line in Journal::read(&entry.path())? {
            said.hear(worker, line);
        }
    }
    Ok(())
}

fn weigh(said: &Said, remains: &Remains) -> Vec<String> {
    let begun = Instant::now();
    let mut wrong = judge::judge(said, remains);
    let history = judge::history(said, remains);
    wrong.extend(judge::judge_history(&history));
    println!(
        "judged {} transactions up to slot {} in {:.1} s",
        history.len(),
        remains.position,
        begun.elapsed().as_secs_f64()
    );
    wrong
}

/// The processes, and what was done to them.
struct Field {
    seats: Vec<Seat>,
    tally: Tally,
}

impl Field {
    fn new(scale: &Scale, folder: &Path, journals: &Path, redis: &Redis) -> io::Result<Field> {
        let begun_ns = now_ns();
        let program = std::env::current_exe()?;
        let mut seats = Vec::new();
        for worker in 0..scale.processes {
            let orders = Orders {
                folder: folder.to_owned(),
                journal: journals.to_owned(),
                redis_url: redis.url(),
                seed: scale.seed,
                worker,
                life: 0,
                tasks: TASKS,
                pace_ms: 1000 * TASKS * scale.processes / scale.rate,
                begun_ns,
                fault: scale.fault,
            };
            let mut seat = Seat::new(&program, orders, journals);
            seat.start()?;
            seats.push(seat);
        }
        let tally = Tally {
            processes: scale.processes,
            ..Tally::default()
        };
        Ok(Field { seats, tally })
    }

    /// Strikes as planned until the time is over.
    fn strike(
        &mut self,
        scale: &Scale,
        redis: &mut Redis,
        wrong: &mut Vec<String>,
    ) -> io::Result<()> {
        let (begun, mut told) = (Instant::now(), Instant::now());
        let run_ms = u64::try_from(scale.lasting.as_millis()).unwrap_or(u64::MAX);
        let mut plan = strikes::plan(scale.seed, scale.processes, run_ms).into_iter();
        let mut next = plan.next();
        let mut redis_back: Option<Instant> = None;
        while begun.elapsed() < scale.lasting {
            if redis_back.is_some_and(|at| at <= Instant::now()) {
                go_on(redis)?;
                redis_back = None;
            }
            self.look(wrong)?;
            while let Some((at_ms, strike)) = next
                && Duration::from_millis(at_ms) <= begun.elapsed()
            {
                let back = self.carry_out(strike, redis, redis_back.is_some())?;
                redis_back = redis_back.or(back);
                next = plan.next();
            }
            if told.elapsed() > TELL {
                told = Instant::now();
                let (kills, stops) = (self.tally.kills, self.tally.stops);
                println!(
                    "after {} s: kills {kills} stops {stops}",
                    begun.elapsed().as_secs()
                );
            }
            std::thread::sleep(LOOK);
        }
        self.tally.seconds = begun.elapsed().as_secs();
        if redis_back.is_some() {
            go_on(redis)?;
        }
        Ok(())
    }

    /// Does what is due at the seats.
    fn look(&mut self, wrong: &mut Vec<String>) -> io::Result<()> {
        for (worker, seat) in self.seats.iter_mut().enumerate() {
            if let Some(status) = seat.look()? {
                wrong.push(format!("process {worker} ended by itself: {status}"));
            }
        }
        Ok(())
    }

    /// When Redis is to come back, if it is struck. While it is away it cannot be struck again.
    fn carry_out(
        &mut self,
        strike: Strike,
        redis: &mut Redis,
        redis_away: bool,
    ) -> io::Result<Option<Instant>> {
        let after = |ms| Instant::now() + Duration::from_millis(ms);
        match strike {
            Strike::Kill { worker, away_ms } => {
                if let Some(seat) = self.next_of(worker, Seat::is_taken) {
                    let is_still = !seat.is_running();
                    seat.kill(Duration::from_millis(away_ms))?;
                    self.tally.kills += 1;
                    self.tally.kills_still += u64::from(is_still);
                }
            }
            Strike::Stop { worker, still_ms } => {
                if let Some(seat) = self.next_of(worker, Seat::is_running) {
                    seat.stop(Duration::from_millis(still_ms))?;
                    self.tally.stops += 1;
                }
            }
            Strike::Flush if !redis_away => self.tally.flushes += u64::from(redis.flush()),
            Strike::RedisKill { away_ms } if !redis_away => {
                redis.kill();
                self.tally.redis_restarts += 1;
                return Ok(Some(after(away_ms)));
            }
            Strike::RedisStop { still_ms } if !redis_away => {
                redis.signal(Signal::STOP)?;
                self.tally.redis_stops += 1;
                return Ok(Some(after(still_ms)));
            }
            Strike::Flush | Strike::RedisKill { .. } | Strike::RedisStop { .. } => {}
        }
        Ok(None)
    }

    /// The seat of this place, or the next one for which it holds.
    fn next_of(&mut self, worker: u64, holds: fn(&Seat) -> bool) -> Option<&mut Seat> {
        let first = usize::try_from(worker).unwrap_or(0);
        let at = (first..self.seats.len())
            .chain(0..first)
            .find(|at| holds(&self.seats[*at]))?;
        self.seats.get_mut(at)
    }

    /// Everybody goes on, is asked to end, and does.
    fn end(&mut self, redis: &mut Redis, wrong: &mut Vec<String>) -> io::Result<()> {
        if !redis.comes_up()? {
            return Err(io::Error::other("redis-server does not come back"));
        }
        for seat in &mut self.seats {
            seat.go_on()?;
        }
        self.look(wrong)?;
        for seat in &mut self.seats {
            seat.ask_to_end()?;
        }
        let mut looks = END_LOOKS_MAX;
        for (worker, seat) in self.seats.iter_mut().enumerate() {
            if !seat.is_taken() {
                continue;
            }
            match seat.wait(&mut looks)? {
                Some(status) if ended_well(status) => {}
                Some(status) => wrong.push(format!("process {worker} ended with {status}")),
                None => wrong.push(format!("process {worker} did not end when it was asked to")),
            }
        }
        Ok(())
    }
}

/// A process that was asked before it listened ends by the signal.
fn ended_well(status: ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt;
    status.success() || status.signal() == Some(Signal::TERM.as_raw())
}

/// Starts Redis again, or lets it go on.
fn go_on(redis: &mut Redis) -> io::Result<()> {
    if redis.is_down() {
        redis.restart()
    } else {
        redis.signal(Signal::CONT)
    }
}
