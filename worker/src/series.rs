//! The series of each job, kept while it is worked on here and for a while longer.
//!
//! A worker lives for months and works on any number of jobs; each has some thirty series. Those of a job are dropped
//! together, a while after the last run of it has ended here. A job that is open keeps its series however quiet it is,
//! so no counter falls back while it is there; one that is retried after that begins again at 0, as after a restart.
//!
//! Whatever has a label `job` is of that job: each has a recorder of its own, and all are rendered as one page.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use metrics_exporter_prometheus::{PrometheusHandle, PrometheusRecorder};
use parking_lot::Mutex;

/// Jobs whose series are kept after their end, at most: the latest. Each has some thirty; with those of the jobs that are
/// worked on at a time, a worker tells fewer than 2,000, however many jobs there are.
const ENDED_MAX: usize = 24;

/// The series of this process, where they are served.
static SERIES: OnceLock<Arc<Series>> = OnceLock::new();

/// The recorder of a process.
pub(crate) struct Series {
    make: fn() -> PrometheusRecorder,
    /// What belongs to no job.
    general: Recorded,
    jobs: Mutex<HashMap<String, OfJob>>,
    help: Mutex<BTreeMap<String, String>>,
    keep: Duration,
}

/// A recorder, and how what it has is told.
#[derive(Clone)]
struct Recorded {
    recorder: Arc<PrometheusRecorder>,
    handle: PrometheusHandle,
}

impl Recorded {
    fn new(make: fn() -> PrometheusRecorder) -> Recorded {
        let recorder = make();
        Recorded {
            handle: recorder.handle(),
            recorder: Arc::new(recorder),
        }
    }
}

struct OfJob {
    recorded: Recorded,
    /// Runs of it in this process.
    runs: usize,
    /// When the last of them ended, or something was counted without any.
    since: Instant,
}

impl Series {
    /// Keeps the series of a job for so long after its last run here. `make` makes a recorder.
    pub(crate) fn new(make: fn() -> PrometheusRecorder, keep: Duration) -> Series {
        Series {
            make,
            general: Recorded::new(make),
            jobs: Mutex::default(),
            help: Mutex::default(),
            keep,
        }
    }

    /// Takes all that is counted in this process from now on; `None` where something takes it already.
    pub(crate) fn install(self) -> Option<Arc<Series>> {
        let series = Arc::new(self);
        metrics::set_global_recorder(Arc::clone(&series)).ok()?;
        SERIES.set(Arc::clone(&series)).ok()?;
        Some(series)
    }

    /// A run of a job begins here; nothing where no series are served.
    pub(crate) fn begun(job: &str) {
        if let Some(series) = SERIES.get() {
            series.begin(job);
        }
    }

    /// A run of a job has ended here.
    pub(crate) fn ended(job: &str) {
        if let Some(series) = SERIES.get() {
            series.end(job);
        }
    }

    fn begin(&self, job: &str) {
        let mut jobs = self.jobs.lock();
        self.of_job(&mut jobs, job).runs += 1;
    }

    fn end(&self, job: &str) {
        if let Some(of_job) = self.jobs.lock().get_mut(job) {
            of_job.runs = of_job.runs.saturating_sub(1);
            of_job.since = Instant::now();
        }
    }

    fn of_job<'j>(&self, jobs: &'j mut HashMap<String, OfJob>, job: &str) -> &'j mut OfJob {
        jobs.entry(job.to_owned()).or_insert_with(|| OfJob {
            recorded: Recorded::new(self.make),
            runs: 0,
            since: Instant::now(),
        })
    }

    /// Where something of this key is counted.
    fn recorder(&self, key: &Key) -> Arc<PrometheusRecorder> {
        let Some(label) = key.labels().find(|label| label.key() == "job") else {
            return Arc::clone(&self.general.recorder);
        };
        let mut jobs = self.jobs.lock();
        let of_job = self.of_job(&mut jobs, label.value());
        of_job.since = Instant::now();
        Arc::clone(&of_job.recorded.recorder)
    }

    /// Drops what is over, and keeps what is counted from growing. To be called every few seconds.
    pub(crate) fn tend(&self) {
        self.general.handle.run_upkeep();
        let mut jobs = self.jobs.lock();
        jobs.retain(|_, job| job.runs > 0 || job.since.elapsed() < self.keep);
        let mut over: Vec<Instant> = jobs
            .values()
            .filter(|job| job.runs == 0)
            .map(|job| job.since)
            .collect();
        if over.len() > ENDED_MAX {
            over.sort_unstable();
            let first = over[over.len() - ENDED_MAX];
            jobs.retain(|_, job| job.runs > 0 || job.since >= first);
        }
        for job in jobs.values() {
            job.recorded.handle.run_upkeep();
        }
    }

    /// All of it, as Prometheus reads it.
    pub(crate) fn render(&self) -> String {
        self.tend();
        let handles: Vec<PrometheusHandle> = {
            let jobs = self.jobs.lock();
            let of_jobs = jobs.values().map(|job| job.recorded.handle.clone());
            std::iter::once(self.general.handle.clone())
                .chain(of_jobs)
                .collect()
        };
        let mut families = Families::default();
        for handle in handles {
            families.add(&handle.render());
        }
        families.text(&self.help.lock())
    }

    fn explain(&self, name: &KeyName, text: &SharedString) {
        let (name, text) = (name.as_str().to_owned(), text.to_string());
        self.help.lock().insert(name, text);
    }
}

impl Recorder for Series {
    fn describe_counter(&self, key: KeyName, _unit: Option<Unit>, text: SharedString) {
        self.explain(&key, &text);
    }

    fn describe_gauge(&self, key: KeyName, _unit: Option<Unit>, text: SharedString) {
        self.explain(&key, &text);
    }

    fn describe_histogram(&self, key: KeyName, _unit: Option<Unit>, text: SharedString) {
        self.explain(&key, &text);
    }

    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        self.recorder(key).register_counter(key, metadata)
    }

    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        self.recorder(key).register_gauge(key, metadata)
    }

    fn register_histogram(&self, key: &Key, metadata: &Metadata<'_>) -> Histogram {
        self.recorder(key).register_histogram(key, metadata)
    }
}

/// Metrics by their names: each may be told only once, with all its series.
#[derive(Default)]
struct Families(BTreeMap<String, Family>);

#[derive(Default)]
struct Family {
    /// The line that says what kind of metric it is.
    kind: String,
    series: String,
}

impl Families {
    /// Adds a page.
    fn add(&mut self, page: &str) {
        let mut name = String::new();
        for line in page.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let end = rest.find(' ').unwrap_or(rest.len());
                rest[..end].clone_into(&mut name);
                line.clone_into(&mut self.0.entry(name.clone()).or_default().kind);
            } else if !line.is_empty() && !line.starts_with('#') {
                let series = &mut self.0.entry(name.clone()).or_default().series;
                series.push_str(line);
                series.push('\n');
            }
        }
    }

    fn text(&self, help: &BTreeMap<String, String>) -> String {
        let mut text = String::new();
        for (name, family) in &self.0 {
            if let Some(help) = help.get(name) {
                let help = help.replace('\\', "\\\\").replace('\n', "\\n");
                writeln!(text, "# HELP {name} {help}").ok();
            }
            writeln!(text, "{}\n{}", family.kind, family.series).ok();
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use metrics::{counter, describe_counter, histogram};
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    fn make() -> PrometheusRecorder {
        let builder = PrometheusBuilder::new().set_buckets(&[1.0]).unwrap();
        builder.build_recorder()
    }

    /// Of an ended job nothing is left; an open one keeps what was counted, however quiet it is; one that comes back
    /// appears again.
    #[test]
    fn series_of_ended_jobs_are_dropped_and_those_of_open_ones_stay() {
        let series = Series::new(make, Duration::ZERO);
        let count = |job: &str| {
            metrics::with_local_recorder(&series, || {
                counter!("eciton_x_total", "job" => job.to_owned()).increment(1);
                histogram!("eciton_s_seconds", "job" => job.to_owned()).record(0.5);
            });
        };
        metrics::with_local_recorder(&series, || {
            describe_counter!("eciton_x_total", "what it is");
            counter!("eciton_general_total").increment(7);
        });
        for job in ["a", "b"] {
            series.begin(job);
            count(job);
        }
        // A second run of the same job.
        series.begin("b");
        series.end("b");
        series.end("a");
        let page = series.render();
        assert!(!page.contains("job=\"a\""), "{page}");
        for line in [
            "# HELP eciton_x_total what it is",
            "# TYPE eciton_x_total counter",
            "eciton_x_total{job=\"b\"} 1",
            "eciton_s_seconds_count{job=\"b\"} 1",
            "eciton_general_total 7",
        ] {
            assert_eq!(
                page.lines().filter(|told| *told == line).count(),
                1,
                "{line}: {page}"
            );
        }
        count("b");
        assert!(series.render().contains("eciton_x_total{job=\"b\"} 2"));
        series.begin("a");
        count("a");
        let page = series.render();
        assert!(page.contains("eciton_x_total{job=\"a\"} 1"), "{page}");
        assert_eq!(page.matches("# TYPE eciton_x_total").count(), 1, "{page}");
    }

    #[test]
    fn only_so_many_ended_jobs_are_kept() {
        let series = Series::new(make, Duration::from_hours(1));
        for number in 0..ENDED_MAX + 5 {
            let job = format!("j{number}");
            series.begin(&job);
            series.end(&job);
        }
        series.begin("open");
        series.tend();
        let jobs = series.jobs.lock();
        assert!(jobs.len() <= ENDED_MAX + 1, "{}", jobs.len());
        assert!(jobs.contains_key("open") && !jobs.contains_key("j0"));
    }
}
