//! `job watch`: how a job goes, until it has ended.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use eciton_jobs::run::JobStatus;
use indicatif::ProgressBar;
use serde_json::{Value, json};

use super::found::{remote, seen, sole};
use crate::cli::{Global, Peers};
use crate::failure::Failure;
use crate::output::Output;
use crate::presence::Presence;
use crate::remote::Watch;
use crate::throughput::Throughput;
use crate::words::{counted, grouped};
use crate::{database, job, progress};

/// Time between two looks at a database that is read as it lies there.
const LOOKS_APART: Duration = Duration::from_millis(500);
/// Time between two lines where there is no terminal.
const LINES_APART: Duration = Duration::from_secs(2);

/// Tells how a job goes until it has ended.
///
/// # Errors
/// As `job show`; [`Failure::Work`] where the job failed or was cancelled.
pub(super) async fn watch(
    global: &Global,
    name: Option<&str>,
    peers: &Peers,
) -> Result<(), Failure> {
    let mut news = WatchedJob::begin(global, name, peers).await?;
    let mut shown = WatchDisplay::new(global);
    let mut throughput = Throughput::default();
    let mut status = news.next(global).await?;
    loop {
        throughput.sample(&status, Instant::now());
        shown.news(global, &status, &throughput)?;
        if has_ended(&status) {
            break;
        }
        status = news.next(global).await?;
    }
    shown.end(global, &status)?;
    match status.state {
        "done" => Ok(()),
        state => {
            let (failed, total) = (status.shards.failed, status.shards.total);
            let name = &status.name;
            Err(Failure::Work(format!(
                "job `{name}` is {state}: {} of {} failed",
                grouped(failed),
                counted(total, "shard")
            )))
        }
    }
}

fn has_ended(status: &JobStatus) -> bool {
    matches!(status.state, "done" | "failed" | "cancelled")
}

/// Where the news come from.
enum WatchedJob {
    /// A database that is looked at from time to time; how it stood at first.
    Here {
        name: String,
        presence: Presence,
        first: Option<JobStatus>,
    },
    /// A peer that tells them.
    There(Watch),
}

impl WatchedJob {
    async fn begin(
        global: &Global,
        name: Option<&str>,
        peers: &Peers,
    ) -> Result<WatchedJob, Failure> {
        if let Some(mut remote) = remote(global, peers)? {
            let name = match name {
                Some(name) => name.to_owned(),
                None => sole(remote.jobs().await?)?.name,
            };
            return Ok(WatchedJob::There(Watch::new(remote, &name)));
        }
        let presence = Presence::new(global)?;
        let first = database::reading(global, async |db| seen(db, name, &presence).await).await?;
        Ok(WatchedJob::Here {
            name: first.name.clone(),
            presence,
            first: Some(first),
        })
    }

    async fn next(&mut self, global: &Global) -> Result<JobStatus, Failure> {
        match self {
            WatchedJob::There(watch) => watch.next().await,
            WatchedJob::Here {
                name,
                presence,
                first,
            } => match first.take() {
                Some(first) => Ok(first),
                None => {
                    tokio::time::sleep(LOOKS_APART).await;
                    // What is open for reading stays as it was when it was opened: it takes no lock, so whoever
                    // writes may collect what it would have to follow. Opening reads the newest manifest and the
                    // log behind it, a few files.
                    database::reading(global, async |db| seen(db, Some(name), presence).await).await
                }
            },
        }
    }
}

/// What is on the screen.
enum WatchDisplay {
    /// A line of JSON a change; the last one, without what changes by itself.
    Json(Option<Value>),
    Bar(ProgressBar),
    Lines(Option<Instant>),
}

impl WatchDisplay {
    fn new(global: &Global) -> WatchDisplay {
        if global.json {
            WatchDisplay::Json(None)
        } else if io::stdout().is_terminal() && io::stderr().is_terminal() {
            WatchDisplay::Bar(progress::bar(""))
        } else {
            WatchDisplay::Lines(None)
        }
    }

    fn news(
        &mut self,
        global: &Global,
        status: &JobStatus,
        throughput: &Throughput,
    ) -> Result<(), Failure> {
        match self {
            WatchDisplay::Json(last) => {
                let mut told = job::json(status);
                let same = JobStatus {
                    wall_seconds: 0.0,
                    ..status.clone()
                };
                let same = Some(job::json(&same));
                if *last == same {
                    return Ok(());
                }
                *last = same;
                for (key, value) in [
                    ("rows_per_second", throughput.rows_per_second()),
                    ("eta_seconds", throughput.eta_seconds()),
                ] {
                    if let Some(value) = value {
                        told[key] = json!(value);
                    }
                }
                Ok(Output::tell(global, &told.to_string())?)
            }
            WatchDisplay::Bar(bar) => {
                bar.set_prefix(status.name.clone());
                bar.set_length(status.shards.total);
                bar.set_position(status.shards.done + status.shards.failed);
                let shards = counted(status.shards.total, "shard");
                bar.set_message(format!("{shards}, {}", describe(status, throughput)));
                Ok(())
            }
            WatchDisplay::Lines(last) => {
                if last.is_some_and(|last| last.elapsed() < LINES_APART) {
                    return Ok(());
                }
                *last = Some(Instant::now());
                let shards = &status.shards;
                let ended = shards.done + shards.failed;
                let (name, total) = (&status.name, counted(shards.total, "shard"));
                let what = describe(status, throughput);
                let text = format!("{name}: {} of {total}, {what}", grouped(ended));
                Ok(Output::tell(global, &text)?)
            }
        }
    }

    /// The summary of `job show`, for people.
    fn end(self, global: &Global, status: &JobStatus) -> Result<(), Failure> {
        match self {
            WatchDisplay::Json(_) => return Ok(()),
            WatchDisplay::Bar(bar) => bar.finish_and_clear(),
            WatchDisplay::Lines(_) => {}
        }
        Ok(Output::tell(global, &job::text(status, None).join("\n"))?)
    }
}

/// `running, 84211 rows/s, 12 s left, 2 failed, 3 running, 1 conflicts`, without what is nought or not known.
fn describe(status: &JobStatus, throughput: &Throughput) -> String {
    let mut parts = vec![status.state.to_owned()];
    if let Some(speed) = throughput.rows_per_second() {
        parts.push(format!("{speed:.0} rows/s"));
    }
    if let Some(seconds) = throughput.eta_seconds() {
        parts.push(format!("{} left", progress::seconds(seconds)));
    }
    let counts = [
        (status.shards.failed, "failed"),
        (status.shards.running, "running"),
    ];
    let more = counts.into_iter().filter(|(count, _)| *count > 0);
    parts.extend(more.map(|(count, what)| format!("{count} {what}")));
    if status.conflicts > 0 {
        parts.push(counted(status.conflicts, "conflict"));
    }
    parts.join(", ")
}
