//! A view of the whole swarm at a moment: its jobs, from the database or from a peer, and its workers, from Redis or from a
//! peer.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use eciton_engine::Db;
use eciton_jobs::run::{self as jobs, JobStatus, PageOf};
use eciton_proto::v1::{self, JobPhase, JobView, Worker};

use crate::cli::{Global, Peers};
use crate::failure::Failure;
use crate::presence::{Presence, PresentWorkers};
use crate::remote::{Remote, status};
use crate::{database, settings};

/// Phases of jobs that have shards left.
const OPEN: [JobPhase; 2] = [JobPhase::Pending, JobPhase::Running];
/// Phases of jobs that have none.
const ENDED: [JobPhase; 3] = [JobPhase::Done, JobPhase::Failed, JobPhase::Cancelled];
/// Milliseconds for which a job that has ended is still told of.
pub(crate) const LATELY_MS: i64 = 3_600_000;
/// The same, by this process's own clock.
const LATELY: Duration = Duration::from_hours(1);
/// Jobs that have ended that are told of at most, the latest ones.
const LATELY_MAX: usize = 20;
/// Time between two looks for jobs that came and ended in between; those that were open are never missed.
const ENDED_APART: Duration = Duration::from_secs(5);
/// Jobs of a page.
const PAGE: usize = 500;

/// One picture of a swarm.
#[derive(Clone, Debug)]
pub(crate) struct SwarmView {
    /// When, in milliseconds since the Unix epoch.
    pub(crate) at_ms: i64,
    /// Jobs that are open, in the order of their submission.
    pub(crate) open: Vec<JobStatus>,
    /// Jobs that ended lately, the last one first.
    pub(crate) ended: Vec<JobStatus>,
    /// Who works, by their names. Where that is known, so is `running` of the jobs.
    pub(crate) workers: PresentWorkers,
}

/// Looks at a swarm from time to time.
pub(crate) struct Viewer {
    source: Source,
    known: Known,
}

enum Source {
    /// A database, read as it lies there, and the Redis between its workers.
    Here(Presence),
    There(Remote),
}

/// What the look before has found.
#[derive(Default)]
struct Known {
    /// Names of open jobs.
    open: HashSet<String>,
    /// Jobs that ended lately.
    ended: BTreeMap<String, JobStatus>,
    /// When jobs that ended were looked for.
    ended_at: Option<Instant>,
    /// Jobs that were open when they were looked at first, and when they were found ended: whatever clock wrote that.
    seen_to_end: HashMap<String, Instant>,
}

impl Known {
    fn ended_lately(&self, name: &str, finished_ms: Option<i64>, at_ms: i64) -> bool {
        self.seen_to_end.contains_key(name) || ended_lately(finished_ms, at_ms)
    }
}

impl Viewer {
    /// A viewer of a database or at peers, as the settings say. Looks at nothing yet.
    ///
    /// # Errors
    /// [`Failure::Usage`] for settings that cannot be.
    pub(crate) fn new(global: &Global, peers: &Peers) -> Result<Viewer, Failure> {
        let source = if let Some(peers) = settings::peers(global, peers)? {
            Source::There(Remote::new(&peers)?)
        } else {
            Source::Here(Presence::new(global)?)
        };
        Ok(Viewer {
            source,
            known: Known::default(),
        })
    }

    /// Looks.
    ///
    /// # Errors
    /// As `job ls`.
    pub(crate) async fn view(&mut self, global: &Global) -> Result<SwarmView, Failure> {
        let (known, at_ms) = (&self.known, now_ms());
        let ((open, known), workers) = match &mut self.source {
            Source::Here(presence) => {
                // Opened each time: see `job watch`.
                let viewed = database::reading(global, async |db| {
                    let found = find(Jobs::Here(db), known, at_ms).await?;
                    Ok((found, presence.workers(db).await))
                });
                let (mut found, workers) = viewed.await?;
                workers.count_in(&mut found.0);
                (found, workers)
            }
            Source::There(remote) => {
                let workers = PresentWorkers::Known(remote.workers().await?);
                (find(Jobs::There(remote), known, at_ms).await?, workers)
            }
        };
        let mut ended: Vec<JobStatus> = known.ended.values().cloned().collect();
        ended.retain(|job| {
            !known.open.contains(&job.name) && known.ended_lately(&job.name, job.finished_at, at_ms)
        });
        ended.sort_by_key(|job| std::cmp::Reverse(job.finished_at));
        self.known = known;
        Ok(SwarmView {
            at_ms,
            open,
            ended,
            workers: sorted(workers),
        })
    }
}

/// Whether any job of the database is open.
///
/// # Errors
/// As `job ls`.
pub(crate) async fn is_any_open(global: &Global) -> Result<bool, Failure> {
    let open = database::reading(global, async |db| {
        Jobs::Here(db).in_phases(&OPEN, JobView::Basic).await
    });
    Ok(!open.await?.is_empty())
}

/// The jobs that are open, and what is known now.
async fn find(
    mut jobs: Jobs<'_>,
    known: &Known,
    at_ms: i64,
) -> Result<(Vec<JobStatus>, Known), Failure> {
    let open = jobs.in_phases(&OPEN, JobView::Counts).await?;
    let mut open: Vec<JobStatus> = open.into_iter().map(status).collect();
    open.sort_by_key(|job| job.number);
    let names: HashSet<String> = open.iter().map(|job| job.name.clone()).collect();
    let has_one_ended = !known.open.is_subset(&names);
    let mut seen_to_end = known.seen_to_end.clone();
    let ended_now = known.open.difference(&names);
    seen_to_end.extend(ended_now.map(|name| (name.clone(), Instant::now())));
    seen_to_end.retain(|name, at| !names.contains(name) && at.elapsed() < LATELY);
    let is_due = known.ended_at.is_none_or(|at| at.elapsed() >= ENDED_APART);
    let (ended, ended_at) = if has_one_ended || is_due {
        let is_lately = |job: &v1::JobStatus| {
            seen_to_end.contains_key(&job.name) || ended_lately(Some(job.finished_ms), at_ms)
        };
        let ended = lately(&mut jobs, is_lately, &known.ended).await?;
        (ended, Some(Instant::now()))
    } else {
        (known.ended.clone(), known.ended_at)
    };
    let known = Known {
        open: names,
        ended,
        ended_at,
        seen_to_end,
    };
    Ok((open, known))
}

/// Where jobs are asked for.
enum Jobs<'a> {
    Here(&'a Db),
    There(&'a mut Remote),
}

impl Jobs<'_> {
    async fn in_phases(
        &mut self,
        phases: &[JobPhase],
        view: JobView,
    ) -> Result<Vec<v1::JobStatus>, Failure> {
        let db = match self {
            Jobs::There(remote) => return remote.jobs_in(phases, view).await,
            Jobs::Here(db) => db,
        };
        let (mut found, mut after) = (Vec::new(), String::new());
        loop {
            let of = PageOf {
                after: &after,
                phases,
                limit: PAGE,
                counts: view == JobView::Counts,
                ..PageOf::default()
            };
            let page = jobs::page(db, &of).await?;
            found.extend(page.jobs);
            match page.next {
                Some(next) => after = next,
                None => return Ok(found),
            }
        }
    }

    async fn counts(&mut self, name: &str) -> Result<JobStatus, Failure> {
        let job = match self {
            Jobs::Here(db) => jobs::view(db, name, JobView::Counts).await?,
            Jobs::There(remote) => remote.counts(name).await?,
        };
        Ok(status(job))
    }
}

/// The jobs that ended last, if that was not long ago. What is known of those that have not changed is not asked for
/// again.
async fn lately(
    jobs: &mut Jobs<'_>,
    is_lately: impl Fn(&v1::JobStatus) -> bool,
    known: &BTreeMap<String, JobStatus>,
) -> Result<BTreeMap<String, JobStatus>, Failure> {
    let mut ended = jobs.in_phases(&ENDED, JobView::Basic).await?;
    ended.retain(is_lately);
    ended.sort_by_key(|job| std::cmp::Reverse(job.finished_ms));
    ended.truncate(LATELY_MAX);
    let mut lately = BTreeMap::new();
    for job in ended {
        let same = |known: &&JobStatus| {
            (known.number, known.finished_at) == (job.number, Some(job.finished_ms))
        };
        let status = match known.get(&job.name).filter(same) {
            Some(known) => known.clone(),
            None => jobs.counts(&job.name).await?,
        };
        lately.insert(job.name, status);
    }
    Ok(lately)
}

fn ended_lately(finished_ms: Option<i64>, at_ms: i64) -> bool {
    finished_ms.is_some_and(|ms| at_ms.saturating_sub(ms) < LATELY_MS)
}

/// By their names.
fn sorted(mut workers: PresentWorkers) -> PresentWorkers {
    if let PresentWorkers::Known(workers) = &mut workers {
        workers.sort_by(|a, b| (name(a), &a.id).cmp(&(name(b), &b.id)));
    }
    workers
}

/// What people call a worker.
pub(crate) fn name(worker: &Worker) -> &str {
    match &worker.info {
        Some(info) if !info.name.is_empty() => &info.name,
        _ => &worker.id,
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}
