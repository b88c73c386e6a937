//! What a shard costs in which there is nothing to do: a job of many, two workers, and every shard committed durably.
//!
//! Beside Ray, Dask and `HyperQueue`, which commit nothing: two of their workers run as many functions that return at
//! once. `benches/compare/python/swarm_peers.py` runs these, in the Python that `ECITON_PEERS_PYTHON` names; without
//! it only ours is measured.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use eciton_compare::report::{Line, median};
use eciton_compare::usage::{cpu_seconds_of, peak_mb_of};
use serde_json::Value;

use crate::place::{Place, Worker};

/// Shards where nothing else is said.
pub(crate) const SHARDS: u64 = 10_000;
const WORKERS: usize = 2;
const JOB: &str = "nothing";
/// Names the Python that has the peers.
const PYTHON: &str = "ECITON_PEERS_PYTHON";
const PEERS: [&str; 4] = ["ray_tasks", "ray_actors", "dask", "hyperqueue"];

/// What one side did.
#[derive(Clone, Copy, Debug)]
struct Measured {
    /// From the submission to the last shard.
    seconds: f64,
    /// Of all processes, during that time.
    cpu_seconds: f64,
    /// From the submission to the first shard, where the workers were there before.
    first_seconds: f64,
    /// From starting two workers to the first shard of a job that was there before.
    start_seconds: f64,
    /// The largest resident sizes of all processes together.
    peak_mb: f64,
}

/// All sides, in turn.
pub(crate) fn measure(shards: u64, runs: usize) -> Result<Vec<Line>, String> {
    let python = std::env::var_os(PYTHON);
    let mut ours = Vec::new();
    let mut peers: Vec<(&'static str, Vec<Measured>)> = Vec::new();
    for _ in 0..runs {
        ours.push(run_ours(shards)?);
        let Some(python) = &python else { continue };
        for name in PEERS {
            let measured = run_peer(Path::new(python), name, shards)?;
            match peers.iter_mut().find(|(known, _)| *known == name) {
                Some((_, runs)) => runs.push(measured),
                None => peers.push((name, vec![measured])),
            }
        }
    }
    #[allow(clippy::cast_precision_loss, reason = "counts of one measurement")]
    let count = shards as f64;
    let line = |workload: &str, unit, higher_is_better, value: &dyn Fn(&Measured) -> f64| Line {
        workload: format!("{workload}_{shards}_shards_{WORKERS}_workers"),
        unit,
        higher_is_better,
        ours: Some(median(ours.iter().map(value).collect())),
        peers: peers
            .iter()
            .map(|(name, runs)| (*name, median(runs.iter().map(value).collect())))
            .collect(),
        floor: None,
    };
    Ok(vec![
        line("swarm_no_op", "shards/s", true, &|run| count / run.seconds),
        line("swarm_no_op_cpu", "us/shard", false, &|run| {
            run.cpu_seconds * 1e6 / count
        }),
        line("swarm_submit_to_first", "s", false, &|run| {
            run.first_seconds
        }),
        line("swarm_start_to_first", "s", false, &|run| run.start_seconds),
        line("swarm_peak_memory", "MB", false, &|run| run.peak_mb),
    ])
}

/// A job of empty shards.
pub(crate) fn job_file(name: &str, shards: u64) -> String {
    format!(
        r#"
name = "{name}"
[source]
format = "range"
from = 0
to = {shards}
shard_len = 1
[merge]
store = "{name}"
key = ["i"]
[merge.values]
rows = "count()"
"#
    )
}

fn run_ours(shards: u64) -> Result<Measured, String> {
    let place = Place::new()?;
    // Workers that are started where a job waits.
    place.submit(&job_file("waits", 2))?;
    let started = Instant::now();
    let workers: Vec<Worker> = (0..WORKERS)
        .map(|_| place.worker(&[]))
        .collect::<Result<_, _>>()?;
    place.wait_for("waits", 1)?;
    let start_seconds = started.elapsed().as_secs_f64();
    place.wait_for("waits", 2)?;
    // A job that is submitted where workers wait.
    let processes: Vec<u32> = workers
        .iter()
        .map(Worker::id)
        .chain([place.redis().id()])
        .collect();
    let cpu = || {
        processes
            .iter()
            .map(|process| cpu_seconds_of(*process))
            .sum::<f64>()
    };
    let before = cpu();
    let submitted = Instant::now();
    place.submit(&job_file(JOB, shards))?;
    place.wait_for(JOB, 1)?;
    let first_seconds = submitted.elapsed().as_secs_f64();
    place.wait_for(JOB, shards)?;
    Ok(Measured {
        seconds: submitted.elapsed().as_secs_f64(),
        cpu_seconds: cpu() - before,
        first_seconds,
        start_seconds,
        peak_mb: processes.iter().map(|process| peak_mb_of(*process)).sum(),
    })
}

fn run_peer(python: &Path, name: &str, shards: u64) -> Result<Measured, String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("compare/python/swarm_peers.py");
    let output = Command::new(python)
        .arg(script)
        .args([name, &shards.to_string()])
        .output()
        .map_err(|error| format!("{}: {error}", python.display()))?;
    let told = String::from_utf8_lossy(&output.stdout);
    let line = told.lines().last().unwrap_or_default();
    let wrong = || format!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim());
    let value: Value = serde_json::from_str(line).map_err(|_| wrong())?;
    let field = |field: &str| value[field].as_f64().ok_or_else(wrong);
    Ok(Measured {
        seconds: field("seconds")?,
        cpu_seconds: field("cpu_seconds")?,
        first_seconds: field("first_seconds")?,
        start_seconds: field("start_seconds")?,
        peak_mb: field("peak_mb")?,
    })
}
