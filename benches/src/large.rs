//! What many shards in one job cost besides being computed: submitting it, looking at it, and what is kept of it.

use std::time::{Duration, Instant};

use eciton_compare::report::{Line, median};
use eciton_compare::usage::peak_mb_of;
use serde_json::Value;

use crate::place::{Place, Worker};

/// Shards where nothing else is said.
pub(crate) const SHARDS: u64 = 1_000_000;
const WORKERS: usize = 2;
const JOB: &str = "large";
/// How often the job is looked at while it runs.
const LOOKS_APART: Duration = Duration::from_millis(250);
/// How often it is shown, of which the median counts.
const SHOWN: usize = 9;

/// How a run went.
struct Went {
    submit_seconds: f64,
    show_seconds: f64,
    shards_a_second: f64,
    kept_bytes: f64,
    peak_mb: f64,
}

/// So many runs.
pub(crate) fn measure(shards: u64, runs: usize) -> Result<Vec<Line>, String> {
    let went: Vec<Went> = (0..runs).map(|_| run(shards)).collect::<Result<_, _>>()?;
    let line = |name: &str, unit, higher_is_better, value: &dyn Fn(&Went) -> f64| Line {
        workload: format!("{name}_{shards}_shards_{WORKERS}_workers"),
        unit,
        higher_is_better,
        ours: Some(median(went.iter().map(value).collect())),
        peers: Vec::new(),
        floor: None,
    };
    Ok(vec![
        line("large_submit", "s", false, &|run| run.submit_seconds),
        line("large_show", "s", false, &|run| run.show_seconds),
        line("large", "shards/s", true, &|run| run.shards_a_second),
        line("large_kept", "B/shard", false, &|run| run.kept_bytes),
        line("large_peak_memory", "MB", false, &|run| run.peak_mb),
    ])
}

/// All shards add to one record: what is kept is kept of the shards.
fn job_file(shards: u64) -> String {
    format!(
        r#"
name = "{JOB}"
[source]
format = "range"
from = 0
to = {shards}
shard_len = 1
[transform]
sql = "SELECT i % 1 AS zero FROM source"
[merge]
store = "{JOB}"
key = ["zero"]
[merge.values]
rows = "count()"
"#
    )
}

#[allow(clippy::cast_precision_loss, reason = "counts of one measurement")]
fn run(shards: u64) -> Result<Went, String> {
    let place = Place::new()?;
    let begun = Instant::now();
    place.submit(&job_file(shards))?;
    let submit_seconds = begun.elapsed().as_secs_f64();
    let begun = Instant::now();
    let workers: Vec<Worker> = (0..WORKERS)
        .map(|_| place.worker(&[]))
        .collect::<Result<_, _>>()?;
    place.wait_looking(JOB, shards, LOOKS_APART)?;
    let seconds = begun.elapsed().as_secs_f64();
    let peak_mb = workers.iter().map(|worker| peak_mb_of(worker.id())).sum();
    drop(workers);
    let show = || -> Result<f64, String> {
        let begun = Instant::now();
        place.told(&["job", "show", JOB])?;
        Ok(begun.elapsed().as_secs_f64())
    };
    let shown = (0..SHOWN)
        .map(|_| show())
        .collect::<Result<Vec<f64>, _>>()?;
    place.told(&["db", "compact"])?;
    let info = place.told(&["db", "info", "--json"])?;
    let info: Value = serde_json::from_str(&info).map_err(|error| error.to_string())?;
    let kept = info["run_bytes"].as_f64().ok_or("no `run_bytes`")?;
    Ok(Went {
        submit_seconds,
        show_seconds: median(shown),
        shards_a_second: shards as f64 / seconds,
        kept_bytes: kept / shards as f64,
        peak_mb,
    })
}
