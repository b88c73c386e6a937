//! `job watch`: how a job goes, until it has ended.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use eciton_jobs::run::JobStatus;
use indicatif::ProgressBar;
use serde_json::{Value, json};

use super::job::{remote, seen, sole};
use crate::cli::{Global, Peers};
use crate::failure::Failure;
use crate::heard::Ears;
use crate::output::Output;
use crate::pace::Pace;
use crate::remote::Watch;
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
    let mut news = News::begin(global, name, peers).await?;
    let mut shown = Shown::new(global);
    let mut pace = Pace::default();
    let mut status = news.next(global).await?;
    loop {
        pace.look(&status, Instant::now());
        shown.news(global, &status, &pace)?;
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
enum News {
    /// A database that is looked at from time to time; how it stood at first.
    Here {
        name: String,
        ears: Ears,
        first: Option<JobStatus>,
    },
    /// A peer that tells them.
    There(Watch),
}

impl News {
    async fn begin(global: &Global, name: Option<&str>, peers: &Peers) -> Result<News, Failure> {
        if let Some(mut remote) = remote(global, peers)? {
            let name = match name {
                Some(name) => name.to_owned(),
                None => sole(remote.jobs().await?)?.name,
            };
            return Ok(News::There(Watch::new(remote, &name)));
        }
        let ears = Ears::new(global)?;
        let first = database::reading(global, async |db| seen(db, name, &ears).await).await?;
        Ok(News::Here {
            name: first.name.clone(),
            ears,
            first: Some(first),
        })
    }

    async fn next(&mut self, global: &Global) -> Result<JobStatus, Failure> {
        match self {
            News::There(watch) => watch.next().await,
            News::Here { name, ears, first } => match first.take() {
                Some(first) => Ok(first),
                None => {
                    tokio::time::sleep(LOOKS_APART).await;
                    // What is open for reading stays as it was when it was opened: it takes no lock, so whoever
                    // writes may collect what it would have to follow. Opening reads the newest manifest and the
                    // log behind it, a few files.
                    database::reading(global, async |db| seen(db, Some(name), ears).await).await
                }
            },
        }
    }
}

/// What is on the screen.
enum Shown {
    /// A line of JSON a change; the last one, without what changes by itself.
    Json(Option<Value>),
    Bar(ProgressBar),
    Lines(Option<Instant>),
}

impl Shown {
    fn new(global: &Global) -> Shown {
        if global.json {
            Shown::Json(None)
        } else if io::stdout().is_terminal() && io::stderr().is_terminal() {
            Shown::Bar(progress::bar(""))
        } else {
            Shown::Lines(None)
        }
    }

    fn news(&mut self, global: &Global, status: &JobStatus, pace: &Pace) -> Result<(), Failure> {
        match self {
            Shown::Json(last) => {
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
                    ("rows_per_second", pace.rows_per_second()),
                    ("eta_seconds", pace.eta_seconds()),
                ] {
                    if let Some(value) = value {
                        told[key] = json!(value);
                    }
                }
                Ok(Output::tell(global, &told.to_string())?)
            }
            Shown::Bar(bar) => {
                bar.set_prefix(status.name.clone());
                bar.set_length(status.shards.total);
                bar.set_position(status.shards.done + status.shards.failed);
                let shards = counted(status.shards.total, "shard");
                bar.set_message(format!("{shards}, {}", describe(status, pace)));
                Ok(())
            }
            Shown::Lines(last) => {
                if last.is_some_and(|last| last.elapsed() < LINES_APART) {
                    return Ok(());
                }
                *last = Some(Instant::now());
                let shards = &status.shards;
                let ended = shards.done + shards.failed;
                let (name, total) = (&status.name, counted(shards.total, "shard"));
                let what = describe(status, pace);
                let text = format!("{name}: {} of {total}, {what}", grouped(ended));
                Ok(Output::tell(global, &text)?)
            }
        }
    }

    /// The summary of `job show`, for people.
    fn end(self, global: &Global, status: &JobStatus) -> Result<(), Failure> {
        match self {
            Shown::Json(_) => return Ok(()),
            Shown::Bar(bar) => bar.finish_and_clear(),
            Shown::Lines(_) => {}
        }
        Ok(Output::tell(global, &job::text(status, None).join("\n"))?)
    }
}

/// `running, 84211 rows/s, 12 s left, 2 failed, 3 running, 1 conflicts`, without what is nought or not known.
fn describe(status: &JobStatus, pace: &Pace) -> String {
    let mut parts = vec![status.state.to_owned()];
    if let Some(speed) = pace.rows_per_second() {
        parts.push(format!("{speed:.0} rows/s"));
    }
    if let Some(seconds) = pace.eta_seconds() {
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
