//! What a worker tells Prometheus: the engine's metrics, and those of the jobs it works on.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use eciton_jobs::run::{Event, Observer};
use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusRecorder};
use parking_lot::Mutex;

use crate::access::{Access, Role};
use crate::failure::Failure;
use crate::health::Health;
use crate::reload::Reload;
use crate::scrape;
use crate::series::Series;
use crate::settings::Metrics;
use crate::space::{STORAGE_FREE, STORAGE_SIZE};

/// How many workers were heard of lately.
pub(crate) const WORKERS_ALIVE: &str = "eciton_workers_alive";

/// Shards of a job.
pub(crate) const JOB_SHARDS: &str = "eciton_job_shards";
/// Those of them that have not ended.
pub(crate) const JOB_SHARDS_LEFT: &str = "eciton_job_shards_left";
/// Those of them that this process computes.
pub(crate) const SHARDS_RUNNING: &str = "eciton_shards_running";
/// How many shards this process holds the lease of.
pub(crate) const LEASES_HELD: &str = "eciton_leases_held";

/// Upper bounds of times, in seconds: from a commit on a fast disc to a long shard.
const SECONDS: [f64; 16] = [
    0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0,
    600.0,
];
/// Upper bounds of how many commits one slot serves.
const RECORDS: [f64; 12] = [
    1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0,
];

/// Serves all metrics of this process as the settings say, path `/metrics`, from now on. Gives what it is made of that can
/// be read again.
///
/// # Errors
/// [`Failure::Usage`] where nobody can listen there, where a file of tokens cannot be read, and beyond this machine where
/// anybody could read them.
pub(crate) fn serve(
    metrics: &Metrics,
    health: Arc<Health>,
) -> Result<Option<Arc<dyn Reload>>, Failure> {
    let address = metrics.address;
    let access = match (&metrics.token_file, &metrics.tokens) {
        (Some(path), _) => Access::read_plain(path, Role::Metrics)?,
        (None, Some(path)) if metrics.is_beyond() && !metrics.insecure => Access::read(path)?,
        (None, _) if metrics.is_beyond() && !metrics.insecure => {
            return Err(Failure::Usage(format!(
                "--metrics {address}: beyond this machine anybody could read them: expected --metrics-token-file, or \
                 --tokens with a token of the role `metrics`, or --insecure where the network itself keeps others out"
            )));
        }
        (None, _) => Access::open(),
    };
    let access = Arc::new(access);
    recorder().map_err(|error| Failure::Work(format!("--metrics {address}: {error}")))?;
    let series = Series::new(|| recorder().unwrap_or_else(|_| bare()), metrics.keep);
    let series = series.install().ok_or_else(|| {
        Failure::Work(format!(
            "--metrics {address}: something else counts in this process"
        ))
    })?;
    scrape::serve(address, series, Arc::clone(&access), health)?;
    describe();
    begin();
    gauge!("eciton_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    let is_guarded = access.is_guarded();
    Ok(is_guarded.then_some(access as Arc<dyn Reload>))
}

/// What counts, with the bounds of the histograms.
fn recorder() -> Result<PrometheusRecorder, BuildError> {
    let records = Matcher::Full("eciton_combine_batch_records".to_owned());
    let builder = PrometheusBuilder::new().set_buckets(&SECONDS)?;
    Ok(builder
        .set_buckets_for_metric(records, &RECORDS)?
        .build_recorder())
}

/// The same without them: bounds that were taken once are taken again.
fn bare() -> PrometheusRecorder {
    PrometheusBuilder::new().build_recorder()
}

/// Has what has not happened told as 0: who asks for a rate later finds where it began, and alerts can be written.
fn begin() {
    for kind in ["key", "range"] {
        counter!("eciton_conflicts_total", "kind" => kind).increment(0);
    }
    for reason in ["conflict", "too_old", "other"] {
        counter!("eciton_commit_aborts_total", "reason" => reason).increment(0);
    }
    for name in [
        "eciton_merges_total",
        "eciton_log_slots_total",
        "eciton_worker_put_aside_total",
    ] {
        counter!(name).increment(0);
    }
}

/// The same for the counters of a job: an alert at the first shard that fails needs the 0 before it.
fn begin_job(job: &str) {
    for state in ["done", "failed"] {
        counter!("eciton_shards_total", "job" => job.to_owned(), "state" => state).increment(0);
    }
    for outcome in ["done", "failed", "dropped", "lost"] {
        counter!("eciton_shard_attempts_total", "job" => job.to_owned(), "outcome" => outcome)
            .increment(0);
    }
    for name in [
        "eciton_rows_read_total",
        "eciton_records_merged_total",
        "eciton_worker_source_put_aside_total",
    ] {
        counter!(name, "job" => job.to_owned()).increment(0);
    }
}

/// What a metric is to Prometheus.
#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// Every metric that a worker has, those of the engine included; `deploy/metrics.md` says the same at length.
#[rustfmt::skip]
const METRICS: [(Kind, &str, &str); 39] = [
    (Kind::Gauge, "eciton_build_info", "The version of this process; always 1"),
    (Kind::Counter, "eciton_shards_total", "Shards that have ended here, by what became of them"),
    (Kind::Counter, "eciton_shard_attempts_total", "Attempts at shards that have ended here; outcome `lost`: computed, and to be computed again, since a commit of several could not be made"),
    (Kind::Gauge, JOB_SHARDS, "Shards of a job that this worker works on"),
    (Kind::Gauge, JOB_SHARDS_LEFT, "Those of them that have not ended, here or elsewhere; 0 once this worker does not work on the job"),
    (Kind::Gauge, SHARDS_RUNNING, "Shards that this worker computes now"),
    (Kind::Counter, "eciton_worker_put_aside_total", "Times this worker took no shard for a while, since all its attempts failed"),
    (Kind::Counter, "eciton_worker_source_put_aside_total", "Times this worker took no shard of a job for a while, since files of it that others see were missing or changed here"),
    (Kind::Gauge, "eciton_worker_source_missing", "Whether this worker takes no shard of a job now for that reason"),
    (Kind::Histogram, "eciton_shard_duration_seconds", "From the first time that a shard is begun here to its end, waits between attempts and results that were lost included"),
    (Kind::Counter, "eciton_rows_read_total", "Rows that were read, of dropped attempts, too"),
    (Kind::Counter, "eciton_records_merged_total", "Operands and records that were committed"),
    (Kind::Counter, "eciton_commits_total", "Transactions that were committed by this process's slots"),
    (Kind::Counter, "eciton_commit_aborts_total", "Transactions that were refused, by reason"),
    (Kind::Counter, "eciton_conflicts_total", "Transactions that lost against others, by what met: a key, or something within a range that was read"),
    (Kind::Counter, "eciton_merges_total", "Operands that were merged into records by this process's slots; they never conflict"),
    (Kind::Gauge, STORAGE_FREE, "Bytes that are free on the file system of the database; absent for a bucket"),
    (Kind::Gauge, STORAGE_SIZE, "Bytes of that file system"),
    (Kind::Counter, "eciton_storage_errors_total", "Operations that the storage refused, by the system's name of the error"),
    (Kind::Counter, "eciton_failovers_total", "Times this process left a storage path of a mirrored database, by the cause"),
    (Kind::Gauge, "eciton_storage_path_active", "Whether reads and writes begin on this storage path"),
    (Kind::Gauge, "eciton_storage_paths_in_force", "Storage paths that hold everything that is written"),
    (Kind::Counter, "eciton_storage_heals_total", "Damaged or missing objects that were restored from the other storage path"),
    (Kind::Counter, "eciton_cache_hits_total", "Pages that were found in memory, and pieces that were found on the local disk, by tier"),
    (Kind::Counter, "eciton_cache_misses_total", "Pages that were read from the storage, and pieces that were asked of the bucket, by tier"),
    (Kind::Gauge, "eciton_fold_lag_records", "Keys that were written and are not folded into runs yet"),
    (Kind::Gauge, "eciton_fold_lag_bytes", "Bytes of memory that these take"),
    (Kind::Histogram, "eciton_commit_duration_seconds", "What writing a slot took"),
    (Kind::Histogram, "eciton_combine_batch_records", "Transactions in a slot"),
    (Kind::Counter, "eciton_log_slots_total", "Slots that this process has written"),
    (Kind::Gauge, "eciton_log_position", "The last slot that this process has written"),
    (Kind::Histogram, "eciton_fold_duration_seconds", "What a fold took"),
    (Kind::Gauge, WORKERS_ALIVE, "Workers and pulling programs that were heard of lately, this one included"),
    (Kind::Gauge, LEASES_HELD, "Shards that this process has the lease of, for its slots or for programs that pull"),
    (Kind::Gauge, "eciton_coordinator_up", "Whether Redis can be reached"),
    (Kind::Counter, "eciton_spans_exported_total", "Spans that the collector took"),
    (Kind::Counter, "eciton_spans_dropped_total", "Spans that no collector has got; reason `queue`: too many waited, `collector`: it did not take them"),
    (Kind::Counter, "eciton_coordinator_errors_total", "Calls that Redis refused, by its code"),
    (Kind::Counter, "eciton_coordinator_reconnects_total", "Times Redis was reached again"),
];

fn describe() {
    for (kind, name, text) in METRICS {
        match kind {
            Kind::Counter => describe_counter!(name, text),
            Kind::Gauge => describe_gauge!(name, text),
            Kind::Histogram => describe_histogram!(name, text),
        }
    }
}

/// Counts what happens to the shards of one job.
pub(crate) struct JobMetrics {
    job: String,
    begun: Mutex<HashMap<u64, Begun>>,
}

/// A shard that was begun here and has not ended.
struct Begun {
    /// For the first time.
    at: Instant,
    /// Whether an attempt goes on, or its results wait for their commit.
    at_work: bool,
}

impl JobMetrics {
    pub(crate) fn new(job: &str) -> JobMetrics {
        Series::begun(job);
        begin_job(job);
        JobMetrics {
            job: job.to_owned(),
            begun: Mutex::default(),
        }
    }

    fn begin(&self, shard: u64) {
        let mut begun = self.begun.lock();
        let begun = begun.entry(shard).or_insert_with(|| Begun {
            at: Instant::now(),
            at_work: true,
        });
        begun.at_work = true;
    }

    /// An attempt has ended and the shard has not.
    fn broke_off(&self, shard: u64, outcome: &'static str) {
        if let Some(begun) = self.begun.lock().get_mut(&shard) {
            begun.at_work = false;
        }
        self.attempt(outcome);
    }

    fn ended(&self, shard: u64, state: &'static str) {
        let job = self.job.clone();
        counter!("eciton_shards_total", "job" => job.clone(), "state" => state).increment(1);
        if let Some(begun) = self.begun.lock().remove(&shard) {
            histogram!("eciton_shard_duration_seconds", "job" => job).record(begun.at.elapsed());
        }
    }

    fn source_missing(&self, is_missing: bool) {
        let value = if is_missing { 1.0 } else { 0.0 };
        gauge!("eciton_worker_source_missing", "job" => self.job.clone()).set(value);
    }

    fn attempt(&self, outcome: &'static str) {
        let job = self.job.clone();
        counter!("eciton_shard_attempts_total", "job" => job, "outcome" => outcome).increment(1);
    }
}

impl Drop for JobMetrics {
    fn drop(&mut self) {
        Series::ended(&self.job);
    }
}

impl Observer for JobMetrics {
    fn observe(&self, event: &Event<'_>) {
        match event {
            Event::ShardStarted { shard } => {
                self.begin(*shard);
            }
            Event::RowsRead { rows, .. } => {
                counter!("eciton_rows_read_total", "job" => self.job.clone()).increment(*rows);
            }
            Event::ShardDone {
                shard,
                records_merged,
                ..
            } => {
                self.attempt("done");
                self.ended(*shard, "done");
                let job = self.job.clone();
                counter!("eciton_records_merged_total", "job" => job).increment(*records_merged);
            }
            Event::ShardDropped { shard } => {
                let begun = self.begun.lock().remove(shard);
                // Most are found ended before they are begun: that is no attempt.
                if begun.is_some_and(|begun| begun.at_work) {
                    self.attempt("dropped");
                }
            }
            Event::ResultsLost { shard } => self.broke_off(*shard, "lost"),
            Event::AttemptFailed { shard, .. } => self.broke_off(*shard, "failed"),
            Event::Quarantined { .. } => {
                counter!("eciton_worker_put_aside_total").increment(1);
            }
            // Another try begins it anew: the time here says nothing of the shard.
            Event::ShardGivenBack { shard } => {
                self.begun.lock().remove(shard);
            }
            Event::SourceMissing { .. } => {
                let job = self.job.clone();
                counter!("eciton_worker_source_put_aside_total", "job" => job).increment(1);
                self.source_missing(true);
            }
            Event::SourceBack => self.source_missing(false),
            Event::ShardFailed { shard, .. } => {
                self.attempt("failed");
                self.ended(*shard, "failed");
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_metric_is_explained_and_nothing_else() {
        let page = include_str!("../../deploy/metrics.md");
        let rows = page.lines().filter_map(|line| {
            let mut cells = line.strip_prefix("| `eciton_")?.split(" | ");
            let name = format!("eciton_{}", cells.next()?.trim_end_matches('`'));
            Some((name, cells.next()?.to_owned()))
        });
        let explained: std::collections::BTreeMap<_, _> = rows.collect();
        let told = METRICS.map(|(kind, name, _)| {
            let kind = match kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram => "histogram",
            };
            (name.to_owned(), kind.to_owned())
        });
        assert_eq!(explained, told.into());
    }

    #[test]
    fn a_shard_is_timed_from_its_first_beginning_and_each_attempt_counts_once() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            let told = JobMetrics::new("j");
            // Another process did it, and nobody here.
            told.observe(&Event::ShardDropped { shard: 9 });
            let begin = |shard| told.observe(&Event::ShardStarted { shard });
            begin(1);
            begin(2);
            std::thread::sleep(Duration::from_millis(20));
            told.observe(&Event::ResultsLost { shard: 1 });
            told.observe(&Event::ResultsLost { shard: 2 });
            begin(1);
            told.observe(&Event::ShardDone {
                shard: 1,
                rows_read: 5,
                rows_skipped: 0,
                records_merged: 1,
                conflicts: 0,
            });
            // Lost, and then found ended.
            told.observe(&Event::ShardDropped { shard: 2 });
            begin(3);
            told.observe(&Event::ShardDropped { shard: 3 });
            assert!(told.begun.lock().is_empty());
        });
        let told = handle.render();
        let value = |name: &str| {
            let line = told.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or("none").trim().to_owned()
        };
        for (outcome, count) in [("done", "1"), ("lost", "2"), ("dropped", "1")] {
            let name = format!("eciton_shard_attempts_total{{job=\"j\",outcome=\"{outcome}\"}}");
            assert_eq!(value(&name), count, "{outcome}: {told}");
        }
        let seconds = value("eciton_shard_duration_seconds_sum{job=\"j\"}");
        assert!(seconds.parse::<f64>().unwrap() >= 0.02, "{told}");
    }
}
