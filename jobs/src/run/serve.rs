//! Working on every open job of a database, until asked to stop.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use eciton_engine::base::Action;
use eciton_engine::db::Db;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::error::JobError;
use super::health::Health;
use super::leases::Leases;
use super::ledger::Ledger;
use super::observer::Observer;
use super::report::JobReport;
use super::runner::{COMMIT_INTERVAL, PATIENCE, RunOptions, run};
use super::slots::Slots;
use super::stop::Stop;
use crate::source::Reach;

/// Jobs that one process works on at the same time; the oldest come first.
pub const JOBS_AT_ONCE_MAX: usize = 16;
/// How long a process waits before it looks for new jobs.
const LOOKS_APART: Duration = Duration::from_millis(250);
/// How long a job that cannot be run here is left to others.
const ASIDE: Duration = Duration::from_secs(30);

/// Makes who is told of a job, from its name.
pub type ObserverOf = Arc<dyn Fn(&str) -> Arc<dyn Observer> + Send + Sync>;

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
    /// Who is told of a job, by its name.
    pub observer: ObserverOf,
    /// Who else of this process takes shards: see [`Leases`].
    pub leases: Leases,
    /// Ends serving: no new shards, those at work finish and commit.
    pub stop: Stop,
}

impl ServeOptions {
    /// Serves with so many slots until `stop`, and tells nobody.
    pub fn new(slots: usize, stop: Stop) -> ServeOptions {
        ServeOptions {
            slots,
            health: Health::new(),
            commit_interval: COMMIT_INTERVAL,
            reach: Reach::anywhere(),
            observer: Arc::new(|_| Arc::new(super::observer::Silent)),
            leases: Leases::new(),
            stop,
        }
    }
}

/// Works on every job of the database that has not ended, also those that are submitted meanwhile by others, until
/// it is asked to stop. The slots go to the jobs in turn, shard by shard.
///
/// A job that cannot be run here (its files are out of reach, its records are damaged) is told in the log and left to
/// others for a while; it stops no other job.
///
/// # Errors
/// [`JobError::Engine`] if the database fails: what was committed stays, and whoever serves it next goes on.
pub async fn serve(db: &Db, options: &ServeOptions) -> Result<(), JobError> {
    let slots = Slots::new(options.slots);
    let mut at_work: HashSet<String> = HashSet::new();
    let mut aside: HashMap<String, Instant> = HashMap::new();
    // Tasks, and not futures that only this one polls: whichever holds a lock of the database while this one waits
    // for it has to come further.
    let mut runs = JoinSet::new();
    loop {
        if options.stop.is_requested() {
            if runs.is_empty() {
                return Ok(());
            }
        } else {
            aside.retain(|_, until| *until > Instant::now());
            for name in open_jobs(db).await? {
                if at_work.len() >= JOBS_AT_ONCE_MAX {
                    break;
                }
                if aside.contains_key(&name) || !at_work.insert(name.clone()) {
                    continue;
                }
                let run_options = RunOptions {
                    workers: options.slots,
                    slots: Some(slots.clone()),
                    health: options.health.clone(),
                    patience: PATIENCE,
                    leases: Some(options.leases.clone()),
                    commit_interval: options.commit_interval,
                    reach: options.reach.clone(),
                    observer: (options.observer)(&name),
                    stop: options.stop.clone(),
                };
                tracing::info!(job = name, "at work");
                let db = db.clone();
                runs.spawn(async move {
                    let ended = run(&db, &name, run_options).await;
                    (name, ended)
                });
            }
        }
        tokio::select! {
            Some(joined) = runs.join_next() => {
                let (name, ended) = joined.map_err(|error| JobError::Worker(error.to_string()))?;
                at_work.remove(&name);
                if let Some(error) = told(&name, ended)? {
                    tracing::warn!(job = name, %error, "cannot be run here; left to others for a while");
                    aside.insert(name, Instant::now() + ASIDE);
                }
            }
            () = tokio::time::sleep(LOOKS_APART) => {}
            () = options.stop.requested(), if !options.stop.is_requested() => {}
        }
    }
}

/// The jobs that have not ended, the oldest first; those that others have submitted a moment ago may be missing.
pub(super) async fn open_jobs(db: &Db) -> Result<Vec<String>, JobError> {
    if db.is_shared() {
        db.catch_up().await?;
    }
    match Ledger::find(db).await? {
        Some(ledger) => ledger.open_jobs().await,
        None => Ok(Vec::new()),
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
