//! How far a job is, on stderr: a bar on a terminal, else a line every two seconds. And how far a piece of
//! work on a whole database is, on a terminal only.

use std::future::Future;
use std::io::{self, IsTerminal, Write};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use eciton_engine::Progress;
use eciton_jobs::run::{Event, Observer};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use parking_lot::Mutex;

use crate::logs;
use crate::quiet::is_quiet;
use crate::words::{counted, grouped};

/// Time between two lines where there is no terminal.
const LINES_APART: Duration = Duration::from_secs(2);
/// Time between two looks at the counts.
const LOOKS_APART: Duration = Duration::from_millis(100);

/// Counts what a run tells, for whoever looks from time to time.
#[derive(Debug, Default)]
pub(crate) struct Tracker {
    shards: AtomicU64,
    done: AtomicU64,
    failed: AtomicU64,
    /// Shards that had ended before this run: they tell nothing about its speed.
    before: AtomicU64,
    rows: AtomicU64,
    conflicts: AtomicU64,
    /// What the job was said to wait for.
    told: Mutex<String>,
}

/// The counts at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    shards: u64,
    ended: u64,
    failed: u64,
    before: u64,
    rows: u64,
    conflicts: u64,
}

impl Tracker {
    /// Rows that this process has read, those of attempts that failed included.
    pub(crate) fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    fn counts(&self) -> Counts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counts {
            shards: read(&self.shards),
            ended: read(&self.done) + read(&self.failed),
            failed: read(&self.failed),
            before: read(&self.before),
            rows: read(&self.rows),
            conflicts: read(&self.conflicts),
        }
    }
}

impl Observer for Tracker {
    fn observe(&self, event: &Event<'_>) {
        let add = |count: &AtomicU64, n: u64| count.fetch_add(n, Ordering::Relaxed);
        match event {
            Event::Started { shards } => {
                self.done.store(shards.done, Ordering::Relaxed);
                self.failed.store(shards.failed, Ordering::Relaxed);
                self.before
                    .store(shards.done + shards.failed, Ordering::Relaxed);
                self.shards.store(shards.total, Ordering::Relaxed);
            }
            Event::RowsRead { rows, .. } => {
                add(&self.rows, *rows);
            }
            Event::ShardDone { conflicts, .. } => {
                add(&self.conflicts, u64::from(*conflicts));
                add(&self.done, 1);
            }
            Event::ShardDropped { .. } => {
                add(&self.done, 1);
            }
            Event::AttemptFailed {
                shard,
                attempt,
                error,
                retry_in_ms,
            } => {
                tracing::warn!(shard, attempt, retry_in_ms, "attempt failed: {error}");
            }
            Event::ShardFailed {
                shard,
                attempts,
                error,
            } => {
                add(&self.failed, 1);
                tracing::warn!(shard, attempts, "shard failed: {error}");
            }
            Event::Waits { on } => {
                // It is told again and again; what is told once is told here.
                let mut told = self.told.lock();
                if *told != **on {
                    (*on).clone_into(&mut told);
                    tracing::warn!("not started: waits for {on}");
                }
            }
            _ => {}
        }
    }
}

/// Waits for `work` and shows meanwhile how far it is.
pub(crate) async fn show<T>(
    name: &str,
    tracker: &Arc<Tracker>,
    work: impl Future<Output = T>,
) -> T {
    let mut display = Display::new(name);
    let mut work = pin!(work);
    let mut looks = tokio::time::interval(LOOKS_APART);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            ended = &mut work => {
                display.finish(tracker.counts());
                return ended;
            }
            _ = looks.tick() => display.update(tracker.counts()),
        }
    }
}

/// Work that ends sooner shows no progress.
const PATIENCE: Duration = Duration::from_secs(1);

/// A bar for work that may take long, on a terminal only, once it has taken a second. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Meter {
    bar: ProgressBar,
    started: Instant,
    is_wanted: bool,
}

impl Meter {
    /// A bar that says what is done, of bytes.
    pub(crate) fn new(what: &'static str) -> Meter {
        let bar = ProgressBar::hidden();
        let template = "{prefix} {wide_bar} {bytes}/{total_bytes} {msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_prefix(what);
        Meter {
            bar,
            started: Instant::now(),
            is_wanted: io::stderr().is_terminal() && !is_quiet(),
        }
    }

    /// A sign that work goes on which cannot tell how far it is.
    pub(crate) fn spinner(what: &'static str) -> Meter {
        let meter = Meter::new(what);
        let style = ProgressStyle::with_template("{prefix} {spinner} {elapsed} {msg}");
        if let Ok(style) = style {
            meter.bar.set_style(style);
        }
        meter
    }

    /// What the engine tells.
    pub(crate) fn progress(&self) -> impl Fn(&Progress<'_>) + Send + Sync + '_ {
        |progress: &Progress<'_>| {
            let (done, total) = (progress.objects, progress.objects_total);
            self.bytes(progress.bytes, progress.bytes_total);
            self.bar.set_message(format!("{done}/{total}"));
        }
    }

    /// So many bytes of all are done.
    pub(crate) fn bytes(&self, done: u64, total: u64) {
        self.appear();
        self.bar.set_length(total);
        self.bar.set_position(done);
    }

    /// So much is done of nobody knows how much.
    pub(crate) fn said(&self, what: String) {
        self.appear();
        self.bar.set_message(what);
        self.bar.tick();
    }

    /// Waits for `work` and shows that it goes on; `told` says how far it is.
    pub(crate) async fn during<T>(&self, told: impl Fn(), work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        let mut looks = tokio::time::interval(LOOKS_APART);
        loop {
            tokio::select! {
                ended = &mut work => {
                    self.finish();
                    return ended;
                }
                _ = looks.tick() => {
                    self.appear();
                    told();
                    self.bar.tick();
                }
            }
        }
    }

    /// Shows the bar once it is time.
    fn appear(&self) {
        let is_due = self.is_wanted && self.started.elapsed() >= PATIENCE;
        if is_due && self.bar.is_hidden() {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
            logs::keep_above(&self.bar);
        }
    }

    /// The bar gone: what follows is the outcome.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// What is on stderr.
struct Display {
    name: String,
    started: Instant,
    shown: ProgressDisplay,
}

enum ProgressDisplay {
    Nothing,
    Bar(ProgressBar),
    Lines { last: Option<Instant> },
}

impl Display {
    fn new(name: &str) -> Display {
        let shown = if is_quiet() {
            ProgressDisplay::Nothing
        } else if io::stderr().is_terminal() {
            ProgressDisplay::Bar(bar(name))
        } else {
            ProgressDisplay::Lines { last: None }
        };
        Display {
            name: name.to_owned(),
            started: Instant::now(),
            shown,
        }
    }

    /// Shows the counts once there are any, and if it is time.
    fn update(&mut self, counts: Counts) {
        if counts.shards == 0 {
            return;
        }
        match &mut self.shown {
            ProgressDisplay::Nothing => {}
            ProgressDisplay::Bar(bar) => {
                bar.set_length(counts.shards);
                bar.set_position(counts.ended);
                let shards = counted(counts.shards, "shard");
                let text = describe(counts, self.started.elapsed());
                bar.set_message(format!("{shards}, {text}"));
            }
            ProgressDisplay::Lines { last } => {
                if last.is_none_or(|last| last.elapsed() >= LINES_APART) {
                    *last = Some(Instant::now());
                    self.line(counts);
                }
            }
        }
    }

    /// The last line, or the bar gone: what follows is the summary.
    fn finish(self, counts: Counts) {
        match &self.shown {
            ProgressDisplay::Bar(bar) => bar.finish_and_clear(),
            ProgressDisplay::Lines { .. } if counts.shards > 0 => self.line(counts),
            ProgressDisplay::Nothing | ProgressDisplay::Lines { .. } => {}
        }
    }

    fn line(&self, counts: Counts) {
        let text = describe(counts, self.started.elapsed());
        let Counts { ended, shards, .. } = counts;
        let (name, ended, shards) = (&self.name, grouped(ended), counted(shards, "shard"));
        // Progress that nobody reads any more must not end the work.
        writeln!(io::stderr(), "{name}: {ended} of {shards}, {text}").ok();
    }
}

/// A bar of the shards of a job, above which the log goes.
pub(crate) fn bar(name: &str) -> ProgressBar {
    let bar = ProgressBar::new(0);
    let template = "{prefix} {wide_bar} {human_pos} of {msg}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_prefix(name.to_owned());
    logs::keep_above(&bar);
    bar
}

/// `84211 rows/s, 12 s left, 2 failed`, without what is nought.
fn describe(counts: Counts, elapsed: Duration) -> String {
    let mut parts = vec![format!("{} rows/s", per_second(counts.rows, elapsed))];
    let here = counts.ended.saturating_sub(counts.before);
    let left = counts.shards.saturating_sub(counts.ended);
    if here > 0 && left > 0 {
        let ms = elapsed.as_millis() * u128::from(left) / u128::from(here);
        parts.push(format!("{} left", duration(ms)));
    }
    if counts.failed > 0 {
        parts.push(format!("{} failed", counts.failed));
    }
    if counts.conflicts > 0 {
        parts.push(counted(counts.conflicts, "conflict"));
    }
    parts.join(", ")
}

/// How many a second, whole.
pub(crate) fn per_second(count: u64, elapsed: Duration) -> u128 {
    u128::from(count) * 1000 / elapsed.as_millis().max(1)
}

/// `12 s`, `3 min 20 s`, `2 h 5 min`.
pub(crate) fn duration(ms: u128) -> String {
    let seconds = ms.div_ceil(1000);
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m} min {s} s"),
        (h, m, _) => format!("{h} h {m} min"),
    }
}

/// [`duration`] of seconds.
pub(crate) fn seconds(seconds: f64) -> String {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "nought where below, and saturating"
    )]
    duration((seconds * 1000.0) as u128)
}

#[cfg(test)]
mod tests {
    use super::*;
    use eciton_jobs::run::ShardCounts;

    #[test]
    fn the_rest_is_judged_by_this_process_alone() {
        let counts = Counts {
            shards: 100,
            ended: 60,
            before: 50,
            rows: 5000,
            ..Counts::default()
        };
        let five = Duration::from_secs(5);
        assert_eq!(describe(counts, five), "1000 rows/s, 20 s left");
        let nothing_yet = Counts {
            before: 60,
            ..counts
        };
        assert_eq!(describe(nothing_yet, five), "1000 rows/s");
        let troubled = Counts {
            ended: 100,
            failed: 40,
            conflicts: 2,
            ..counts
        };
        assert_eq!(
            describe(troubled, five),
            "1000 rows/s, 40 failed, 2 conflicts"
        );
    }

    #[test]
    fn events_are_counted() {
        let tracker = Tracker::default();
        let shards = ShardCounts {
            total: 9,
            done: 3,
            failed: 1,
            ..ShardCounts::default()
        };
        tracker.observe(&Event::Started { shards });
        tracker.observe(&Event::RowsRead { shard: 4, rows: 70 });
        tracker.observe(&Event::ShardDropped { shard: 5 });
        tracker.observe(&Event::ShardFailed {
            shard: 6,
            attempts: 4,
            error: "no",
        });
        let done = Event::ShardDone {
            shard: 4,
            rows_read: 70,
            rows_skipped: 0,
            records_merged: 7,
            conflicts: 2,
        };
        tracker.observe(&done);
        let counts = tracker.counts();
        let expected = Counts {
            shards: 9,
            ended: 7,
            failed: 2,
            before: 4,
            rows: 70,
            conflicts: 2,
        };
        assert_eq!(counts, expected);
    }

    #[test]
    fn durations_read_well() {
        assert_eq!(duration(1), "1 s");
        assert_eq!(duration(200_000), "3 min 20 s");
        assert_eq!(duration(7_500_000), "2 h 5 min");
    }
}
