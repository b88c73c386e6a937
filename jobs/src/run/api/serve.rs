//! Working on every open job of a database, until asked to stop.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use eciton_engine::{Action, Db};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span};

use super::run::run;
use crate::command::CommandHost;
use crate::run::records::error::JobError;
use crate::run::records::inputs::{self, Inputs};
use crate::run::records::ledger::Ledger;
use crate::run::records::spans;
use crate::run::schedule::health::Health;
use crate::run::schedule::job_queue::{Queue, Queued};
use crate::run::schedule::leases::Leases;
use crate::run::schedule::options::{COMMIT_INTERVAL, PATIENCE, RunOptions};
use crate::run::schedule::permits::Permits;
use crate::run::schedule::resources::Resources;
use crate::run::settle::observer::{ObserverOf, Silent};
use crate::run::settle::report::JobReport;
use crate::source::Reach;

/// Jobs that one process works on at the same time: those of the largest priorities, and among equals the oldest, until
/// others of them have their turn. Up to twice as many where these have nothing to do for all slots.
pub const JOBS_AT_ONCE_MAX: usize = 16;
/// How long some jobs are worked on while others of the same priority have no place among them.
const TURN: Duration = Duration::from_secs(10);
/// How long there has to be room before more jobs have a place than usual.
const IDLE: Duration = Duration::from_millis(500);
/// How long a process waits before it looks for new jobs.
const LOOKS_APART: Duration = Duration::from_millis(250);
/// How long a job that cannot be run here is left to others.
const ASIDE: Duration = Duration::from_secs(30);

/// How jobs are served.
#[derive(Clone)]
pub struct ServeOptions {
    /// Shards computed at the same time, of all jobs together; at least 1.
    pub slots: usize,
    /// Whether this process gets anything done.
    pub health: Health,
    /// As [`RunOptions::commit_interval`].
    pub commit_interval: Duration,
    /// Which files are read of jobs that were submitted over gRPC; of others any.
    pub reach: Reach,
    /// As [`RunOptions::commands`].
    pub commands: Option<CommandHost>,
    /// As [`RunOptions::resources`].
    pub resources: Option<Resources>,
    /// Who is told of a job, by its name.
    pub observer: ObserverOf,
    /// Who else of this process takes shards: see [`Leases`].
    pub leases: Leases,
    /// Ends serving: no new shards, those at work finish and commit.
    pub stop: CancellationToken,
    /// Once [`ServeOptions::stop`] is cancelled: what is still at work breaks off.
    pub break_off: CancellationToken,
}

impl ServeOptions {
    /// Serves with so many slots until `stop`, and tells nobody.
    pub fn new(slots: usize, stop: CancellationToken) -> ServeOptions {
        ServeOptions {
            slots,
            health: Health::new(),
            commit_interval: COMMIT_INTERVAL,
            reach: Reach::anywhere(),
            commands: None,
            resources: None,
            observer: Arc::new(|_| Arc::new(Silent)),
            leases: Leases::new(),
            stop,
            break_off: CancellationToken::new(),
        }
    }
}

/// Works on every job of the database that has not ended, also those that are submitted meanwhile by others, until
/// it is asked to stop. The slots go to the jobs of the largest priority, and to equals in turn, shard by shard. However
/// many jobs are open, [`JOBS_AT_ONCE_MAX`] of them take threads and memory; one that has to make room for a more urgent
/// one finishes the shards that it is at.
///
/// A job that cannot be run here (its files are out of reach, its records are damaged) is told in the log and left to
/// others for a while; it stops no other job.
///
/// # Errors
/// [`JobError::Engine`] if the database fails: what was committed stays, and whoever serves it next goes on.
pub async fn serve(db: &Db, options: &ServeOptions) -> Result<(), JobError> {
    let permits = Permits::new(options.slots);
    let mut queue = Queue::default();
    let mut at_work: HashMap<String, AtWork> = HashMap::new();
    let mut aside: HashMap<String, Instant> = HashMap::new();
    let mut turn_began = Instant::now();
    let mut places = JOBS_AT_ONCE_MAX;
    let mut all_busy = Instant::now();
    // Tasks, and not futures that only this one polls: whichever holds a lock of the database while this one waits
    // for it has to come further.
    let mut runs = JoinSet::new();
    loop {
        if options.stop.is_cancelled() {
            if runs.is_empty() {
                return Ok(());
            }
            // Their tokens are children of this one.
        } else {
            aside.retain(|_, until| *until > Instant::now());
            let mut open = open_jobs(db, &mut queue, |name| at_work.contains_key(name)).await?;
            open.retain(|job| !aside.contains_key(&job.name));
            if turn_began.elapsed() >= TURN {
                turn_began = Instant::now();
                queue.had_turn(whose_turn_is_over(&open));
            }
            // Where all shards of the most urgent jobs are at work elsewhere, or wait, others have the slots.
            if !permits.has_free() {
                all_busy = Instant::now();
            }
            let is_idle = all_busy.elapsed() >= IDLE && at_work.len() >= places;
            places = match (is_idle, open.len() > places) {
                (true, true) => (places + 1).min(2 * JOBS_AT_ONCE_MAX),
                (_, false) => places.min(open.len()).max(JOBS_AT_ONCE_MAX),
                (false, true) => places,
            };
            open.truncate(places);
            make_room(&at_work, &open, places);
            for job in open {
                let name = job.name;
                // Those that make room still finish their shards.
                if at_work.contains_key(&name) || at_work.len() >= 3 * JOBS_AT_ONCE_MAX {
                    continue;
                }
                let stop = options.stop.child_token();
                let run_options = RunOptions {
                    workers: options.slots,
                    permits: Some(permits.clone()),
                    health: options.health.clone(),
                    patience: PATIENCE,
                    leases: Some(options.leases.clone()),
                    commit_interval: options.commit_interval,
                    reach: options.reach.clone(),
                    commands: options.commands.clone(),
                    resources: options.resources.clone(),
                    observer: (options.observer)(&name),
                    stop: stop.clone(),
                    grace: None,
                    break_off: options.break_off.clone(),
                };
                let priority = job.priority;
                at_work.insert(name.clone(), AtWork { stop, priority });
                let span = opening(db, &name).await?;
                span.in_scope(|| tracing::info!(job = name, "at work"));
                let db = db.clone();
                runs.spawn(async move {
                    let ended = run(&db, &name, run_options).instrument(span.clone()).await;
                    (name, span, ended)
                });
            }
        }
        tokio::select! {
            Some(joined) = runs.join_next() => {
                let (name, span, ended) = joined.map_err(|error| JobError::Worker(error.to_string()))?;
                at_work.remove(&name);
                let _entered = span.enter();
                if let Some(error) = told(&name, ended)? {
                    tracing::warn!(job = name, %error, "cannot be run here; left to others for a while");
                    aside.insert(name, Instant::now() + ASIDE);
                }
            }
            () = tokio::time::sleep(LOOKS_APART) => {}
            () = options.stop.cancelled(), if !options.stop.is_cancelled() => {}
        }
    }
}

/// A job that is worked on here.
struct AtWork {
    stop: CancellationToken,
    priority: i32,
}

/// The jobs that have a place and that others of the same priority wait for.
fn whose_turn_is_over(open: &[Queued]) -> Vec<u64> {
    let Some(waits) = open.get(JOBS_AT_ONCE_MAX) else {
        return Vec::new();
    };
    let placed = open.iter().take(JOBS_AT_ONCE_MAX);
    let equal = placed.filter(|job| job.priority == waits.priority);
    equal.map(|job| job.number).collect()
}

/// Has jobs make room that have no place any more, where others wait for one: as many as wait, the least urgent first.
fn make_room(at_work: &HashMap<String, AtWork>, placed: &[Queued], places: usize) {
    let is_placed = |name: &str| placed.iter().any(|job| job.name == name);
    let going = at_work
        .values()
        .filter(|run| run.stop.is_cancelled())
        .count();
    let coming = placed
        .iter()
        .filter(|job| !at_work.contains_key(&job.name))
        .count();
    let staying = at_work.len() - going;
    let excess = (staying + coming).saturating_sub(places);
    let mut displaced: Vec<&AtWork> = at_work
        .iter()
        .filter(|(name, run)| !is_placed(name) && !run.stop.is_cancelled())
        .map(|(_, run)| run)
        .collect();
    displaced.sort_by_key(|run| run.priority);
    displaced
        .iter()
        .take(excess)
        .for_each(|run| run.stop.cancel());
}

/// The jobs that have not ended and that wait for no other, the most urgent first; those that others have submitted a moment ago may be missing.
/// Those that have come to their deadlines while nobody worked on them are cancelled.
async fn open_jobs(
    db: &Db,
    queue: &mut Queue,
    at_work: impl Fn(&str) -> bool,
) -> Result<Vec<Queued>, JobError> {
    if db.is_shared() {
        db.catch_up().await?;
    }
    let Some(ledger) = Ledger::find(db).await? else {
        return Ok(Vec::new());
    };
    let mut open = queue.look(&ledger).await?;
    queue.keep_deadlines(&ledger, &open, at_work).await?;
    let mut waiting = HashSet::new();
    for job in open.iter().filter(|job| job.has_inputs) {
        let Some(state) = ledger.state_now(&job.name).await? else {
            continue;
        };
        if inputs::settle(&ledger, &job.name, &state).await? != Inputs::Done {
            waiting.insert(job.number);
        }
    }
    open.retain(|job| !waiting.contains(&job.number));
    Ok(open)
}

/// The span of a job that is about to be run.
async fn opening(db: &Db, name: &str) -> Result<Span, JobError> {
    match Ledger::find(db).await? {
        Some(ledger) => spans::opening(&ledger, name).await,
        None => Ok(Span::none()),
    }
}

/// How a run ended, told in the log; why it could not be run, where that is a matter of the job.
fn told(name: &str, ended: Result<JobReport, JobError>) -> Result<Option<JobError>, JobError> {
    match ended {
        Ok(report) => {
            let state = report.status.state;
            tracing::info!(job = name, state, "ended here");
            Ok(None)
        }
        // One of its name may be another one by now.
        Err(error @ (JobError::Removed { .. } | JobError::NotFound { .. })) => {
            tracing::info!(job = name, %error, "ended here");
            Ok(None)
        }
        // Anything else is about this job: a store that is another one by now, for instance.
        Err(JobError::Engine(error))
            if matches!(error.action(), Action::Reopen | Action::Recover) =>
        {
            Err(JobError::Engine(error))
        }
        Err(error) => Ok(Some(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_work(names: &[(&str, i32)]) -> HashMap<String, AtWork> {
        let run = |(name, priority): &(&str, i32)| {
            let stop = CancellationToken::new();
            let priority = *priority;
            ((*name).to_owned(), AtWork { stop, priority })
        };
        names.iter().map(run).collect()
    }

    #[test]
    fn the_least_urgent_make_room_and_no_more_than_are_waited_for() {
        let names: Vec<String> = (0..JOBS_AT_ONCE_MAX).map(|n| n.to_string()).collect();
        let low: Vec<(&str, i32)> = names.iter().map(|name| (name.as_str(), -1)).collect();
        let runs = at_work(&low);
        let queued = |name: &str, priority| Queued::test(name, priority);
        // All that are there have a place.
        let placed: Vec<Queued> = names.iter().map(|name| queued(name, -1)).collect();
        make_room(&runs, &placed, JOBS_AT_ONCE_MAX);
        let stopped = |runs: &HashMap<String, AtWork>| {
            runs.values().filter(|run| run.stop.is_cancelled()).count()
        };
        assert_eq!(stopped(&runs), 0);
        // A more urgent one takes the last one's.
        let mut placed: Vec<Queued> = placed.into_iter().take(JOBS_AT_ONCE_MAX - 1).collect();
        placed.insert(0, queued("urgent", 5));
        make_room(&runs, &placed, JOBS_AT_ONCE_MAX);
        make_room(&runs, &placed, JOBS_AT_ONCE_MAX);
        assert_eq!(stopped(&runs), 1);
    }
}
