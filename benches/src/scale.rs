//! How many shards a second a growing number of workers gets done that share one folder and one Redis.
//!
//! A shard is one number and a wait: it takes time, but no processor, so a thousand workers fit onto a small machine.
//! What they cost besides is what is measured: leases, reads, commits, and following what the others commit. The floor
//! is what as many workers would do if that cost nothing.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use eciton_compare::report::{Line, median};
use eciton_compare::usage::cpu_seconds_of;
use eciton_engine::coord::SharedCoordinator;
use eciton_engine::coord::redis::{RedisBus, RedisOptions};
use eciton_engine::{Db, Environment, Mode, Options};
use eciton_jobs::run::{self, Event, Observer, RunOptions};

use crate::child::Answer;
use crate::place::Place;

/// Numbers of workers.
const WORKERS: [u64; 6] = [4, 16, 64, 250, 500, 1000];
/// Processes that they share.
const PROCESSES: u64 = 4;
/// What a shard takes.
const WAIT: Duration = Duration::from_millis(50);
/// Shards of each worker where nothing else is said: ten seconds of them.
pub(crate) const SHARDS: u64 = 200;
const JOB: &str = "scale";

/// How a run went.
struct Went {
    shards_a_second: f64,
    cpu_us: f64,
}

/// Each number of workers, so often.
pub(crate) fn measure(shards: u64, runs: usize) -> Result<Vec<Line>, String> {
    let mut lines = Vec::new();
    for workers in WORKERS {
        let mut went = Vec::new();
        for _ in 0..runs {
            went.push(run(workers, workers * shards)?);
        }
        let line = |name: &str, unit, higher_is_better, value: &dyn Fn(&Went) -> f64, floor| Line {
            workload: format!("{name}_{workers}_workers"),
            unit,
            higher_is_better,
            ours: Some(median(went.iter().map(value).collect())),
            peers: Vec::new(),
            floor,
        };
        #[allow(clippy::cast_precision_loss, reason = "counts of one measurement")]
        let most = workers as f64 / WAIT.as_secs_f64();
        let speed = |went: &Went| went.shards_a_second;
        lines.push(line("swarm_scale", "shards/s", true, &speed, Some(most)));
        lines.push(line(
            "swarm_scale_cpu",
            "us/shard",
            false,
            &|went| went.cpu_us,
            None,
        ));
        eprintln!(
            "{workers:>5} workers: {:.0} of {most:.0} shards/s",
            speed(&went[0])
        );
    }
    Ok(lines)
}

fn job_file(shards: u64) -> String {
    format!(
        r#"
name = "{JOB}"
[source]
format = "range"
from = 0
to = {shards}
shard_len = 1
[merge]
store = "{JOB}"
key = ["i"]
[merge.values]
rows = "count()"
"#
    )
}

fn run(workers: u64, shards: u64) -> Result<Went, String> {
    let place = Place::new()?;
    place.submit(&job_file(shards))?;
    let mut processes = Vec::new();
    let count = PROCESSES.min(workers);
    for number in 0..count {
        // Those that are left over go to the first.
        let share = workers / count + u64::from(number < workers % count);
        processes.push(Process::start(&place, share)?);
    }
    for process in &mut processes {
        process.wait_until_ready()?;
    }
    let ids: Vec<u32> = processes.iter().map(|process| process.child.id()).collect();
    let cpu = || -> f64 {
        let all = ids.iter().copied().chain([place.redis().id()]);
        all.map(cpu_seconds_of).sum()
    };
    let before = cpu();
    let begun = Instant::now();
    for process in &mut processes {
        process.go()?;
    }
    for process in &mut processes {
        process.wait_until_done()?;
    }
    let seconds = begun.elapsed().as_secs_f64();
    let used = cpu() - before;
    let done = place.status(JOB)?.map_or(0, |status| status.shards.done);
    if done != shards {
        return Err(format!("{done} of {shards} shards are done"));
    }
    #[allow(clippy::cast_precision_loss, reason = "counts of one measurement")]
    let count = shards as f64;
    Ok(Went {
        shards_a_second: count / seconds,
        cpu_us: used * 1e6 / count,
    })
}

/// Some workers in a process of their own. It says a line once it is ready, and one once the job has ended; it begins
/// at a line and ends with its input, so that it can be looked at in between.
struct Process {
    child: Child,
    said: BufReader<std::process::ChildStdout>,
}

impl Drop for Process {
    fn drop(&mut self) {
        // What is gone already need not be ended.
        self.child
            .kill()
            .and_then(|()| self.child.wait().map(drop))
            .ok();
    }
}

impl Process {
    fn start(place: &Place, workers: u64) -> Result<Process, String> {
        let text = |error: std::io::Error| error.to_string();
        let mut child = Command::new(std::env::current_exe().map_err(text)?)
            .args(["child", "scale"])
            .arg(place.db())
            .args([place.redis().url(), workers.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(text)?;
        let said = child.stdout.take().ok_or("no output")?;
        Ok(Process {
            child,
            said: BufReader::new(said),
        })
    }

    fn wait_until_ready(&mut self) -> Result<(), String> {
        self.expect("ready")
    }

    fn go(&mut self) -> Result<(), String> {
        let input = self.child.stdin.as_mut().ok_or("no input")?;
        writeln!(input).map_err(|error| error.to_string())
    }

    fn wait_until_done(&mut self) -> Result<(), String> {
        self.expect("done")
    }

    fn expect(&mut self, word: &str) -> Result<(), String> {
        let mut line = String::new();
        let read = self.said.read_line(&mut line);
        read.map_err(|error| error.to_string())?;
        match line.trim() == word {
            true => Ok(()),
            false => Err(format!("workers: expected `{word}`, got `{}`", line.trim())),
        }
    }
}

/// Waits where a row is read: within the computing of the shard, on the worker's own thread.
struct Waits;

impl Observer for Waits {
    fn observe(&self, event: &Event<'_>) {
        if let Event::RowsRead { .. } = event {
            std::thread::sleep(WAIT);
        }
    }
}

/// The workers' side: so many of them, at a job that is there.
pub(crate) async fn work(db: &str, redis: &str, workers: &str) -> Result<Answer, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let workers = workers.parse().map_err(|error| text(&error))?;
    let environment = Environment::default();
    let (clock, entropy) = (environment.clock.clone(), environment.entropy.clone());
    let bus = RedisBus::new(RedisOptions::at(redis), clock.clone(), entropy.clone());
    let bus = Arc::new(bus.map_err(|error| text(&error))?);
    let environment = Environment {
        coordinator: Arc::new(SharedCoordinator::new(bus, clock, entropy)),
        ..environment
    };
    let options = Options {
        mode: Mode::Clustered,
        ..Options::default()
    };
    let db = Db::open_among(Path::new(db), options, environment)
        .await
        .map_err(|error| text(&error))?;
    println!("ready");
    let mut line = String::new();
    let mut input = std::io::stdin().lock();
    input.read_line(&mut line).map_err(|error| text(&error))?;
    let options = RunOptions {
        workers,
        observer: Arc::new(Waits),
        ..RunOptions::default()
    };
    run::run(&db, JOB, options)
        .await
        .map_err(|error| text(&error))?;
    println!("done");
    // It is asked how much it has used.
    input.read_line(&mut line).map_err(|error| text(&error))?;
    Ok(Answer::default())
}
