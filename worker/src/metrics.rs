//! What a worker tells Prometheus: the engine's metrics, and those of the jobs it works on.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Instant;

use eciton_jobs::run::{Event, Observer};
use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use parking_lot::Mutex;

use crate::failure::Failure;

/// How many workers were heard of lately.
pub(crate) const WORKERS_ALIVE: &str = "eciton_workers_alive";

/// Upper bounds of times, in seconds: from a commit on a fast disc to a long shard.
const SECONDS: [f64; 16] = [
    0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0,
    600.0,
];
/// Upper bounds of how many commits one slot serves.
const RECORDS: [f64; 12] = [
    1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0,
];

/// Serves all metrics of this process at `address`, path `/metrics`, from now on.
///
/// # Errors
/// [`Failure::Usage`] where nobody can listen there.
pub(crate) fn serve(address: SocketAddr) -> Result<(), Failure> {
    let cannot = |error: &dyn std::fmt::Display| {
        Failure::Usage(format!("--metrics {address}: cannot listen there: {error}"))
    };
    // The exporter tells this only to its own task.
    std::net::TcpListener::bind(address).map_err(|error| cannot(&error))?;
    PrometheusBuilder::new()
        .with_http_listener(address)
        .set_buckets(&SECONDS)
        .and_then(|builder| {
            let records = Matcher::Full("eciton_combine_batch_records".to_owned());
            builder.set_buckets_for_metric(records, &RECORDS)
        })
        .and_then(PrometheusBuilder::install)
        .map_err(|error| cannot(&error))?;
    describe();
    gauge!("eciton_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    Ok(())
}

fn describe() {
    describe_gauge!("eciton_build_info", "The version of this process; always 1");
    describe_counter!(
        "eciton_shards_total",
        "Shards that have ended here, by what became of them"
    );
    describe_counter!(
        "eciton_shard_attempts_total",
        "Attempts at shards that have ended here; outcome `lost`: computed, and to be computed again, since a commit of several could not be made"
    );
    describe_counter!(
        "eciton_worker_put_aside_total",
        "Times this worker took no shard for a while, since all its attempts failed"
    );
    describe_histogram!(
        "eciton_shard_duration_seconds",
        "From the first time that a shard is begun here to its end, waits between attempts and results that were lost included"
    );
    describe_counter!(
        "eciton_rows_read_total",
        "Rows that were read, of dropped attempts, too"
    );
    describe_counter!(
        "eciton_records_merged_total",
        "Operands and records that were committed"
    );
    describe_counter!(
        "eciton_commits_total",
        "Transactions that were committed by this process's slots"
    );
    describe_counter!(
        "eciton_commit_aborts_total",
        "Transactions that were refused, by reason"
    );
    describe_counter!(
        "eciton_conflicts_total",
        "Transactions that lost against others"
    );
    describe_histogram!("eciton_commit_duration_seconds", "What writing a slot took");
    describe_histogram!("eciton_combine_batch_records", "Transactions in a slot");
    describe_counter!(
        "eciton_log_slots_total",
        "Slots that this process has written"
    );
    describe_gauge!(
        "eciton_log_position",
        "The last slot that this process has written"
    );
    describe_histogram!("eciton_fold_duration_seconds", "What a fold took");
    describe_gauge!(
        WORKERS_ALIVE,
        "Workers and pulling programs that were heard of lately, this one included"
    );
    describe_gauge!("eciton_coordinator_up", "Whether Redis can be reached");
    describe_counter!(
        "eciton_coordinator_reconnects_total",
        "Times Redis was reached again"
    );
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

    fn attempt(&self, outcome: &'static str) {
        let job = self.job.clone();
        counter!("eciton_shard_attempts_total", "job" => job, "outcome" => outcome).increment(1);
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
            Event::PutAside { .. } => {
                counter!("eciton_worker_put_aside_total").increment(1);
            }
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
