//! What many shards in one job cost besides being computed: submitting it, looking at it, and what is kept of it.
//!
//! Of a shard of a file a hash is kept besides: how much that is a second, smaller job tells, over a file of a line of more
//! than a kibibyte for each of its shards.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::time::{Duration, Instant};

use eciton_compare::report::{Line, median};
use eciton_compare::usage::peak_mb_of;
use serde_json::Value;

use crate::place::{Place, Worker};

/// Shards where nothing else is said.
pub(crate) const SHARDS: u64 = 1_000_000;
const WORKERS: usize = 2;
const JOB: &str = "large";
/// The job over a file has so many times less shards.
const FILE_PART: u64 = 5;
/// Bytes of a line of the file, at least, and of a shard.
const LINE_LEN: usize = 1024;
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
    let file_shards = (shards / FILE_PART).max(1);
    let file_kept = (0..runs).map(|_| run_file(file_shards));
    let file_kept = file_kept.collect::<Result<Vec<f64>, _>>()?;
    let line_of = |name: &str, shards, unit, higher_is_better, ours| Line {
        workload: format!("{name}_{shards}_shards_{WORKERS}_workers"),
        unit,
        higher_is_better,
        ours: Some(ours),
        peers: Vec::new(),
        floor: None,
    };
    let line = |name, unit, higher_is_better, value: &dyn Fn(&Went) -> f64| {
        let ours = median(went.iter().map(value).collect());
        line_of(name, shards, unit, higher_is_better, ours)
    };
    Ok(vec![
        line("large_submit", "s", false, &|run| run.submit_seconds),
        line("large_show", "s", false, &|run| run.show_seconds),
        line("large", "shards/s", true, &|run| run.shards_a_second),
        line("large_kept", "B/shard", false, &|run| run.kept_bytes),
        line_of(
            "large_kept_of_files",
            file_shards,
            "B/shard",
            false,
            median(file_kept),
        ),
        line("large_peak_memory", "MB", false, &|run| run.peak_mb),
    ])
}

/// All shards add to one record: what is kept is kept of the shards.
fn job_file(source: &str) -> String {
    format!(
        r#"
name = "{JOB}"
[source]
{source}
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
    let source = format!("format = \"range\"\nfrom = 0\nto = {shards}\nshard_len = 1");
    place.submit(&job_file(&source))?;
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
    Ok(Went {
        submit_seconds,
        show_seconds: median(shown),
        shards_a_second: shards as f64 / seconds,
        kept_bytes: kept(&place)? / shards as f64,
        peak_mb,
    })
}

/// Bytes of the database's runs.
fn kept(place: &Place) -> Result<f64, String> {
    place.told(&["db", "compact"])?;
    let info = place.told(&["db", "info", "--json"])?;
    let info: Value = serde_json::from_str(&info).map_err(|error| error.to_string())?;
    info["run_bytes"]
        .as_f64()
        .ok_or("no `run_bytes`".to_owned())
}

/// The bytes that are kept of a done shard of a file, besides the plan, which says where each shard lies.
#[allow(clippy::cast_precision_loss, reason = "counts of one measurement")]
fn run_file(shards: u64) -> Result<f64, String> {
    let place = Place::new()?;
    write_lines(&place, shards).map_err(|error| error.to_string())?;
    let source = format!("format = \"csv\"\npaths = [\"lines.csv\"]\nshard_size = {LINE_LEN}");
    place.submit(&job_file(&source))?;
    let plan = kept(&place)?;
    let workers = (0..WORKERS).map(|_| place.worker(&[]));
    let workers = workers.collect::<Result<Vec<Worker>, _>>()?;
    let planned = place.status(JOB)?.map_or(0, |status| status.shards.total);
    if planned < shards {
        return Err(format!("{planned} shards of {shards} lines"));
    }
    place.wait_looking(JOB, planned, LOOKS_APART)?;
    drop(workers);
    Ok((kept(&place)? - plan) / planned as f64)
}

fn write_lines(place: &Place, lines: u64) -> std::io::Result<()> {
    let mut file = BufWriter::new(File::create(place.path("lines.csv"))?);
    writeln!(file, "i,filler")?;
    for line in 0..usize::try_from(lines).unwrap_or(usize::MAX) {
        // Lengths as in a file of text, so that the plan does not compress better than one of those.
        let filler = LINE_LEN + line * 7919 % 512;
        writeln!(file, "{line},{:x<filler$}", "")?;
    }
    file.flush()
}
