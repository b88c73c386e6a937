//! Renders a view of a swarm: a screen for people, a line of JSON for programs.

use eciton_engine::json::timestamp;
use eciton_jobs::run::JobStatus;
use eciton_proto::v1::{Worker, WorkerJob, WorkerKind, WorkerState};
use serde_json::{Value, json};

use crate::presence::PresentWorkers;
use crate::table::{Cell, cut, fitting_lines};
use crate::throughput::Throughputs;
use crate::view::{SwarmView, name};
use crate::words::counted;
use crate::{job, progress};

/// Characters of a bar on a wide screen, and from which width on it is one.
const BAR_WIDE: (usize, usize) = (20, 110);
/// The same for a narrower one; below there is no bar.
const BAR_NARROW: (usize, usize) = (10, 95);

/// Columns of jobs and of workers that a narrow screen does without, the first to go first.
const JOBS_SPARE: [&str; 6] = ["conflicts", "failed", "rows/s", "running", "state", "left"];
const WORKERS_SPARE: [&str; 4] = ["address", "done", "slots", "state"];

/// What jobs are sorted by on a screen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Order {
    /// Open ones in the order of their submission, then those that ended.
    #[default]
    Submitted,
    Name,
    State,
    /// Shards that are left, the most first.
    Left,
    /// Rows a second, the most first.
    Speed,
    /// Time that is left, the most first.
    Time,
}

impl Order {
    /// The order that a key asks for.
    pub(crate) fn of_key(key: u8) -> Option<Order> {
        Some(match key.to_ascii_lowercase() {
            b'o' => Order::Submitted,
            b'n' => Order::Name,
            b's' => Order::State,
            b'l' => Order::Left,
            b'r' => Order::Speed,
            b't' => Order::Time,
            _ => return None,
        })
    }

    fn sorted<'l>(
        self,
        view: &'l SwarmView,
        throughputs: &Throughputs,
    ) -> impl Iterator<Item = &'l JobStatus> {
        let mut jobs: Vec<&JobStatus> = view.open.iter().chain(&view.ended).collect();
        let most = |number: Option<f64>| std::cmp::Reverse(Most(number.unwrap_or(-1.0)));
        match self {
            Order::Submitted => {}
            Order::Name => jobs.sort_by(|a, b| a.name.cmp(&b.name)),
            Order::State => jobs.sort_by_key(|job| job.state),
            Order::Left => jobs.sort_by_key(|job| std::cmp::Reverse(left(job))),
            Order::Speed => jobs.sort_by_key(|job| most(throughputs.rows_per_second(job))),
            Order::Time => jobs.sort_by_key(|job| most(throughputs.eta_seconds(job))),
        }
        jobs.into_iter()
    }
}

/// A number that has an order.
#[derive(PartialEq)]
struct Most(f64);

impl Eq for Most {}

impl PartialOrd for Most {
    fn partial_cmp(&self, other: &Most) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Most {
    fn cmp(&self, other: &Most) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// Counts over all jobs and workers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Totals {
    shards_left: u64,
    rows_per_second: Option<f64>,
    conflicts: u64,
    workers: usize,
    slots: u64,
    busy: u64,
}

impl Totals {
    fn of(view: &SwarmView, throughputs: &Throughputs) -> Totals {
        let mut totals = Totals::default();
        for job in &view.open {
            totals.shards_left += left(job);
            totals.conflicts += job.conflicts;
            if let Some(speed) = throughputs.rows_per_second(job) {
                totals.rows_per_second = Some(totals.rows_per_second.unwrap_or(0.0) + speed);
            }
        }
        if let PresentWorkers::Known(workers) = &view.workers {
            totals.workers = workers.len();
            totals.slots = workers.iter().map(|worker| u64::from(slots(worker))).sum();
            totals.busy = workers.iter().map(|worker| u64::from(worker.busy)).sum();
        }
        totals
    }
}

/// The line of `top --json`.
pub(crate) fn json(view: &SwarmView, throughputs: &Throughputs) -> Value {
    let totals = Totals::of(view, throughputs);
    let mut told = json!({
        "jobs_open": view.open.len(),
        "jobs_ended": view.ended.len(),
        "shards_left": totals.shards_left,
        "conflicts": totals.conflicts,
    });
    if let Some(speed) = totals.rows_per_second {
        told["rows_per_second"] = json!(speed);
    }
    let workers = match &view.workers {
        PresentWorkers::Known(workers) => {
            told["workers"] = json!(totals.workers);
            told["slots"] = json!(totals.slots);
            told["busy"] = json!(totals.busy);
            workers.iter().map(worker_json).collect()
        }
        PresentWorkers::Unknown(_) => Value::Null,
    };
    let jobs = view.open.iter().chain(&view.ended);
    let jobs: Vec<Value> = jobs.map(|job| job_json(job, throughputs)).collect();
    json!({"at_ms": view.at_ms, "workers": workers, "jobs": jobs, "totals": told})
}

fn job_json(job: &JobStatus, throughputs: &Throughputs) -> Value {
    let mut told = job::json(job);
    for (key, value) in [
        ("rows_per_second", throughputs.rows_per_second(job)),
        ("eta_seconds", throughputs.eta_seconds(job)),
    ] {
        if let Some(value) = value {
            told[key] = json!(value);
        }
    }
    told
}

fn worker_json(worker: &Worker) -> Value {
    let moment = |ms: i64| timestamp::format(ms.saturating_mul(1000));
    let info = worker.info.clone().unwrap_or_default();
    json!({
        "id": worker.id,
        "name": name(worker),
        "version": info.version,
        "kind": match worker.kind() {
            WorkerKind::Pulling => "pulling",
            WorkerKind::Node | WorkerKind::Unspecified => "node",
        },
        "state": state(worker),
        "address": worker.address,
        "slots": info.slots,
        "busy": worker.busy,
        "jobs": worker.jobs.iter().map(worker_job_json).collect::<Vec<_>>(),
        "shards_done": worker.shards_done,
        "started_at": moment(worker.started_ms),
        "seen_at": moment(worker.seen_ms),
    })
}

fn worker_job_json(job: &WorkerJob) -> Value {
    let mut told = json!({"name": job.name, "running": job.running});
    if !job.aside.is_empty() {
        told["aside"] = json!(job.aside);
    }
    told
}

/// The screen, as lines of `width_max` characters at most, and which of them are headings.
pub(crate) fn text(
    view: &SwarmView,
    throughputs: &Throughputs,
    order: Order,
    width_max: usize,
) -> Vec<Line> {
    let mut text = Text {
        lines: Vec::new(),
        width_max,
    };
    let totals = Totals::of(view, throughputs);
    text.plain(&summary(view, &totals));
    text.plain(&match &view.workers {
        PresentWorkers::Known(workers) if workers.is_empty() => "no workers are there".to_owned(),
        PresentWorkers::Known(workers) => {
            format!(
                "{}, {}, {} at work",
                counted(workers.len() as u64, "worker"),
                counted(totals.slots, "slot"),
                counted(totals.busy, "shard"),
            )
        }
        PresentWorkers::Unknown(why) => (*why).to_owned(),
    });
    if !(view.open.is_empty() && view.ended.is_empty()) {
        text.table(jobs(view, throughputs, order, width_max));
        for job in view.open.iter().chain(&view.ended) {
            if !job.note.is_empty() {
                text.plain(&format!("{}: {}", job.name, job.note));
            }
        }
    }
    if let PresentWorkers::Known(workers) = &view.workers
        && !workers.is_empty()
    {
        text.table(workers_table(workers, width_max));
        for worker in workers {
            for job in worker.jobs.iter().filter(|job| !job.aside.is_empty()) {
                let (worker, job, why) = (name(worker), &job.name, &job.aside);
                text.plain(&format!("{worker} takes no shard of {job}: {why}"));
            }
        }
    }
    text.lines
}

/// A line of the screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) text: String,
    /// Whether it has the names of columns.
    pub(crate) is_heading: bool,
}

struct Text {
    lines: Vec<Line>,
    width_max: usize,
}

impl Text {
    fn plain(&mut self, text: &str) {
        self.lines.push(Line {
            text: cut(text, self.width_max),
            is_heading: false,
        });
    }

    fn table(&mut self, lines: Vec<String>) {
        self.plain("");
        let lines = lines.into_iter().enumerate();
        self.lines.extend(lines.map(|(index, text)| Line {
            text,
            is_heading: index == 0,
        }));
    }
}

fn summary(view: &SwarmView, totals: &Totals) -> String {
    let open = view.open.len();
    if open == 0 {
        return match view.ended.len() {
            0 => "no job is open, and none has ended within the last hour".to_owned(),
            _ => "no job is open".to_owned(),
        };
    }
    let mut parts = vec![
        format!("{} open", counted(open as u64, "job")),
        format!("{} left", counted(totals.shards_left, "shard")),
    ];
    if let Some(speed) = totals.rows_per_second {
        parts.push(format!("{speed:.0} rows/s"));
    }
    parts.push(counted(totals.conflicts, "conflict"));
    parts.join(", ")
}

fn jobs(
    view: &SwarmView,
    throughputs: &Throughputs,
    order: Order,
    width_max: usize,
) -> Vec<String> {
    let bar_width = [BAR_WIDE, BAR_NARROW]
        .into_iter()
        .find(|(_, from)| (*from..usize::MAX).contains(&width_max))
        .map(|(width, _)| width);
    let mut names = vec!["job", "state"];
    names.extend(bar_width.map(|_| ""));
    names.extend(["shards", "running", "failed", "rows/s", "conflicts", "left"]);
    let knows_running = matches!(view.workers, PresentWorkers::Known(_));
    let row = |job: &JobStatus| {
        let shards = &job.shards;
        let known = |text: Option<String>| Cell::number(text.unwrap_or_else(|| "-".to_owned()));
        let mut row = vec![Cell::text(&job.name), Cell::text(job.state)];
        row.extend(bar_width.map(|width| Cell::text(&bar(job, width))));
        let speed = throughputs.rows_per_second(job);
        row.extend([
            Cell::number(format!("{}/{}", shards.done, shards.total)),
            known(knows_running.then(|| shards.running.to_string())),
            Cell::number(shards.failed),
            known(speed.map(|speed| format!("{speed:.0}"))),
            Cell::number(job.conflicts),
            known(throughputs.eta_seconds(job).map(progress::seconds)),
        ]);
        row
    };
    let rows: Vec<_> = order.sorted(view, throughputs).map(row).collect();
    fitting_lines(&names, &rows, &JOBS_SPARE, width_max)
}

fn workers_table(workers: &[Worker], width_max: usize) -> Vec<String> {
    let row = |worker: &Worker| {
        let is_aside = worker.jobs.iter().any(|job| !job.aside.is_empty());
        let state = match state(worker) {
            "running" if is_aside => "put aside",
            state => state,
        };
        vec![
            Cell::text(name(worker)),
            Cell::text(state),
            Cell::number(slots(worker)),
            Cell::number(worker.busy),
            Cell::number(worker.shards_done),
            Cell::text(&worker.address),
        ]
    };
    let rows: Vec<_> = workers.iter().map(row).collect();
    let names = ["worker", "state", "slots", "at work", "done", "address"];
    fitting_lines(&names, &rows, &WORKERS_SPARE, width_max)
}

/// How much of a job has ended.
fn bar(job: &JobStatus, width: usize) -> String {
    let total = job.shards.total;
    let filled = match total {
        0 => 0,
        // Full only where nothing is left.
        total => (total - left(job)).saturating_mul(width as u64) / total,
    };
    let filled = usize::try_from(filled).map_or(width, |filled| filled.min(width));
    format!("{}{}", "█".repeat(filled), "░".repeat(width - filled))
}

/// Shards that have not ended.
fn left(job: &JobStatus) -> u64 {
    let ended = job.shards.done.saturating_add(job.shards.failed);
    job.shards.total.saturating_sub(ended)
}

fn slots(worker: &Worker) -> u32 {
    worker.info.as_ref().map_or(0, |info| info.slots)
}

fn state(worker: &Worker) -> &'static str {
    match worker.state() {
        WorkerState::Draining => "draining",
        WorkerState::Running | WorkerState::Unspecified => "running",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eciton_jobs::run::ShardCounts;
    use eciton_proto::v1::WorkerInfo;

    fn job(name: &str, state: &'static str, done: u64) -> JobStatus {
        JobStatus {
            id: name.into(),
            name: name.into(),
            number: 1,
            state,
            store: "s".into(),
            export_to: String::new(),
            shards: ShardCounts {
                total: 40,
                done,
                ..ShardCounts::default()
            },
            rows_read: done * 10,
            rows_skipped: 0,
            values_ignored: 0,
            records_merged: 0,
            attempts: done,
            conflicts: 2,
            retries: 0,
            submitted_at: 0,
            started_at: Some(0),
            finished_at: None,
            reason: String::new(),
            note: String::new(),
            wall_seconds: 1.0,
            failures: vec![],
        }
    }

    fn view() -> SwarmView {
        let worker = Worker {
            id: "1".into(),
            info: Some(WorkerInfo {
                name: "a-machine-with-a-long-name/1234".into(),
                slots: 4,
                ..WorkerInfo::default()
            }),
            busy: 3,
            address: "127.0.0.1:7711".into(),
            ..Worker::default()
        };
        SwarmView {
            at_ms: 1,
            open: vec![job("a-job-with-a-name-that-is-long", "running", 10)],
            ended: vec![job("levels", "done", 40)],
            workers: PresentWorkers::Known(vec![worker]),
        }
    }

    #[test]
    fn a_screen_is_as_wide_as_it_may_be() {
        let (view, throughputs) = (view(), Throughputs::default());
        for width in 1..200 {
            let lines = text(&view, &throughputs, Order::default(), width);
            let long = lines
                .iter()
                .find(|line| unicode_width::UnicodeWidthStr::width(line.text.as_str()) > width);
            assert_eq!(long, None, "at {width}");
            let has_bar = lines.iter().any(|line| line.text.contains('░'));
            assert_eq!(has_bar, width >= BAR_NARROW.1, "at {width}");
        }
        let lines = text(&view, &throughputs, Order::default(), 200);
        let told: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(told[0], "1 job open, 30 shards left, 2 conflicts");
        assert_eq!(told[1], "1 worker, 4 slots, 3 shards at work");
        assert!(told[4].contains("█████░░░░░░░░░░░░░░░"), "{}", told[4]);
        assert!(told[5].contains(&"█".repeat(20)), "{}", told[5]);
        assert_eq!(lines.iter().filter(|line| line.is_heading).count(), 2);
    }

    #[test]
    fn a_narrow_screen_has_what_matters() {
        let (mut view, throughputs) = (view(), Throughputs::default());
        view.ended[0].name = "東京の仕事".into();
        let at = |width| -> Vec<String> {
            let lines = text(&view, &throughputs, Order::default(), width);
            lines.into_iter().map(|line| line.text).collect()
        };
        let wide = at(80);
        for name in ["job", "state", "shards", "left", "conflicts"] {
            assert!(wide[3].contains(name), "{wide:#?}");
        }
        let narrow = at(40);
        assert!(
            narrow[3].contains("job") && narrow[3].contains("shards"),
            "{narrow:#?}"
        );
        assert!(!narrow[3].contains("conflicts"), "{narrow:#?}");
        assert!(
            narrow[4].contains("10/40") && narrow[5].contains("40/40"),
            "{narrow:#?}"
        );
        assert!(
            narrow
                .iter()
                .all(|line| !line.ends_with('…') || line.contains("work")),
            "{narrow:#?}"
        );
    }

    #[test]
    fn keys_sort_jobs() {
        let (mut view, throughputs) = (view(), Throughputs::default());
        view.open.push(job("b", "pending", 0));
        let first = |key: u8| {
            let order = Order::of_key(key).unwrap();
            order
                .sorted(&view, &throughputs)
                .next()
                .unwrap()
                .name
                .clone()
        };
        assert_eq!(first(b'o'), "a-job-with-a-name-that-is-long");
        assert_eq!(first(b'N'), "a-job-with-a-name-that-is-long");
        assert_eq!(
            (first(b'l').as_str(), first(b's').as_str()),
            ("b", "levels")
        );
        assert_eq!(Order::of_key(b'x'), None);
    }

    #[test]
    fn what_is_not_known_is_not_told() {
        let mut view = view();
        view.workers = PresentWorkers::Unknown("workers are not known");
        let told = json(&view, &Throughputs::default());
        assert_eq!(told["workers"], Value::Null);
        for absent in ["workers", "slots", "busy", "rows_per_second"] {
            assert_eq!(told["totals"].get(absent), None, "{absent}");
        }
        let lines = text(&view, &Throughputs::default(), Order::default(), 80);
        assert_eq!(lines[1].text, "workers are not known");
        assert_eq!(lines.len(), 6, "no table of workers: {lines:?}");
    }
}
