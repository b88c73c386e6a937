//! What it costs a job that workers are killed and stopped while it runs, and that Redis forgets everything: the answer
//! has to be the one of an undisturbed run, every shard has to count once, and time is lost.
//!
//! Four workers of one slot; two are killed, one stands still for longer than its lease and goes on then, and Redis is
//! flushed twice. Workers that are gone take their part of the machine with them only as far as there are fewer left
//! than cores: the time that the rest would need is told as the floor.

use std::time::{Duration, Instant};

use eciton_compare::report::{Line, median};
use eciton_compare::usage::cpu_seconds_of;
use eciton_jobs::run::JobStatus;
use rustix::process::Signal;

use crate::place::{Place, Worker};

/// Shards where nothing else is said.
pub(crate) const SHARDS: u64 = 3000;
/// Processor time that a shard takes.
const SHARD: Duration = Duration::from_millis(50);
const WORKERS: usize = 4;
const LEASE: &str = "2s";
/// Longer than a lease.
const STILL: Duration = Duration::from_secs(3);
const JOB: &str = "struck";
const STORE: &str = "remainders";
/// How often the job is looked at: seldom, since it takes of what the workers have.
const LOOKS_APART: Duration = Duration::from_millis(50);
/// A job that takes so long is given up.
const PATIENCE: Duration = Duration::from_mins(20);
/// How often it is told how the job goes.
const TELL: Duration = Duration::from_secs(5);
/// What finds out how many rows a shard of [`SHARD`] has.
const TRIAL_ROWS: u64 = 200_000;
const TRIAL_SHARDS: u64 = 30;

#[derive(Clone, Copy, Debug)]
enum Strike {
    Flush,
    Kill(usize),
    Stop(usize),
}

/// What happens once so many percent of the shards are done.
const STRIKES: [(u64, Strike); 5] = [
    (20, Strike::Flush),
    (30, Strike::Kill(0)),
    (45, Strike::Stop(2)),
    (50, Strike::Kill(1)),
    (60, Strike::Flush),
];

/// How a run went.
struct Went {
    seconds: f64,
    /// Seconds of an undisturbed run that were lost with the workers.
    lost_seconds: f64,
    answer: String,
}

/// Undisturbed and disturbed runs in turn.
pub(crate) fn measure(shards: u64, runs: usize) -> Result<Vec<Line>, String> {
    let rows = rows_of_a_shard()?;
    eprintln!("shards of {rows} rows");
    let (mut quiet, mut struck) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        quiet.push(run(shards, rows, &[])?);
        struck.push(run(shards, rows, &STRIKES)?);
    }
    let answer = &quiet[0].answer;
    // The remainders by seven.
    if answer.lines().count() != 7 {
        return Err(format!("expected 7 records, got: {answer}"));
    }
    if quiet
        .iter()
        .chain(&struck)
        .any(|went| went.answer != *answer)
    {
        return Err("the answers differ".to_owned());
    }
    let undisturbed = median(quiet.iter().map(|went| went.seconds).collect());
    let floor = |went: &Went| undisturbed + went.lost_seconds;
    let line = |workload: &str, unit, ours, floor| Line {
        workload: format!("{workload}_{shards}_shards_of_50_ms_{WORKERS}_workers"),
        unit,
        higher_is_better: false,
        ours: Some(ours),
        peers: Vec::new(),
        floor,
    };
    Ok(vec![
        line("undisturbed", "s", undisturbed, None),
        line(
            "struck",
            "s",
            median(struck.iter().map(|went| went.seconds).collect()),
            Some(median(struck.iter().map(floor).collect())),
        ),
        line(
            "struck_lost_beyond_capacity",
            "%",
            median(
                struck
                    .iter()
                    .map(|went| (went.seconds - floor(went)).max(0.0) * 100.0 / undisturbed)
                    .collect(),
            ),
            None,
        ),
    ])
}

fn job_file(name: &str, shards: u64, rows: u64) -> String {
    format!(
        r#"
name = "{name}"
[source]
format = "range"
from = 0
to = {to}
shard_len = {rows}
[transform]
sql = "SELECT i % 7 AS k, i * 3 % 1013 AS v FROM source"
[merge]
into_existing = true
store = "{STORE}"
key = ["k"]
[merge.values]
rows = "count()"
sum = "sum(v)"
[run]
lease = "{LEASE}"
"#,
        to = shards * rows
    )
}

fn rows_of_a_shard() -> Result<u64, String> {
    let place = Place::new()?;
    let worker = place.worker(&[])?;
    place.submit(&job_file("warm", 2, TRIAL_ROWS))?;
    place.wait_for("warm", 2)?;
    let before = cpu_seconds_of(worker.id());
    place.submit(&job_file("trial", TRIAL_SHARDS, TRIAL_ROWS))?;
    place.wait_for("trial", TRIAL_SHARDS)?;
    #[allow(clippy::cast_precision_loss, reason = "counts of one measurement")]
    let (rows, shards) = (TRIAL_ROWS as f64, TRIAL_SHARDS as f64);
    let a_shard = (cpu_seconds_of(worker.id()) - before) / shards;
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "above nought and far below 2^53"
    )]
    let rows = (rows * SHARD.as_secs_f64() / a_shard.max(1e-4)) as u64;
    Ok(rows.max(1))
}

/// A worker and what has become of it.
struct Seat {
    worker: Worker,
    is_killed: bool,
    still_since: Option<Instant>,
}

fn run(shards: u64, rows: u64, strikes: &[(u64, Strike)]) -> Result<Went, String> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let place = Place::new()?;
    place.submit(&job_file(JOB, shards, rows))?;
    let begun = Instant::now();
    let mut seats = Vec::new();
    for _ in 0..WORKERS {
        seats.push(Seat {
            worker: place.worker(&[])?,
            is_killed: false,
            still_since: None,
        });
    }
    let mut told = begun;
    let mut due = strikes.iter();
    let mut next = due.next();
    let (mut last, mut lost) = (begun, Duration::ZERO);
    let status = loop {
        std::thread::sleep(LOOKS_APART);
        let status = place.status(JOB)?.ok_or("the job is not there")?;
        let now = Instant::now();
        let able = seats.iter().filter(|seat| seat.is_able()).count();
        lost += missing(now - last, able, cores);
        last = now;
        if matches!(status.state, "done" | "failed" | "cancelled") {
            break status;
        }
        if begun.elapsed() > PATIENCE {
            return Err(format!("the job does not end: {status:?}"));
        }
        if now - told >= TELL {
            told = now;
            let (seconds, done) = ((now - begun).as_secs(), status.shards.done);
            eprintln!("{seconds:>5} s  {done} of {shards} shards, {able} workers");
        }
        for seat in &mut seats {
            seat.go_on_if_due()?;
        }
        while let Some((_, strike)) = next.filter(|(at, _)| status.shards.done * 100 >= at * shards)
        {
            eprintln!("{:>5.1} s  {strike:?}", begun.elapsed().as_secs_f64());
            strike.carry_out(&place, &mut seats)?;
            next = due.next();
        }
    };
    let seconds = begun.elapsed().as_secs_f64();
    if next.is_some() {
        return Err("the job ended before everything had struck it; more shards?".to_owned());
    }
    counts_once(&status, shards, rows)?;
    Ok(Went {
        seconds,
        lost_seconds: lost.as_secs_f64(),
        answer: place.told(&["scan", STORE, "--json"])?,
    })
}

/// Time of all workers that is not there while only so many are able to work.
fn missing(passed: Duration, able: usize, cores: usize) -> Duration {
    let whole = WORKERS.min(cores);
    let there = able.min(whole);
    passed * u32::try_from(whole - there).unwrap_or(0) / u32::try_from(whole).unwrap_or(1)
}

fn counts_once(status: &JobStatus, shards: u64, rows: u64) -> Result<(), String> {
    let is_whole = status.state == "done" && status.shards.done == shards;
    if is_whole && status.rows_read == shards * rows {
        Ok(())
    } else {
        Err(format!("not every shard counts once: {status:?}"))
    }
}

impl Seat {
    fn is_able(&self) -> bool {
        !self.is_killed && self.still_since.is_none()
    }

    fn go_on_if_due(&mut self) -> Result<(), String> {
        if self
            .still_since
            .is_some_and(|since| since.elapsed() >= STILL)
        {
            self.worker.signal(Signal::CONT)?;
            self.still_since = None;
        }
        Ok(())
    }
}

impl Strike {
    fn carry_out(self, place: &Place, seats: &mut [Seat]) -> Result<(), String> {
        match self {
            Strike::Flush if place.redis().flush() => Ok(()),
            Strike::Flush => Err("Redis does not answer".to_owned()),
            Strike::Kill(seat) => {
                seats[seat].is_killed = true;
                seats[seat].worker.kill()
            }
            Strike::Stop(seat) => {
                seats[seat].still_since = Some(Instant::now());
                seats[seat].worker.signal(Signal::STOP)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_workers_that_the_cores_miss_are_missed() {
        let second = Duration::from_secs(1);
        assert_eq!(missing(second, 4, 2), Duration::ZERO);
        assert_eq!(missing(second, 2, 2), Duration::ZERO);
        assert_eq!(missing(second, 1, 2), second / 2);
        assert_eq!(missing(second, 0, 2), second);
        assert_eq!(missing(second, 3, 64), second / 4);
    }
}
