//! The workers that were heard of lately over Redis, for processes that only read the database.

use std::sync::atomic::{AtomicBool, Ordering};

use eciton_engine::Db;
use eciton_engine::coord::Bus;
use eciton_engine::coord::redis::RedisBus;
use eciton_jobs::run::JobStatus;
use eciton_proto::v1::Worker;

use crate::cli::Global;
use crate::failure::Failure;
use crate::peer::{Running, told_worker};
use crate::{database, settings};

/// Milliseconds that listening waits for Redis.
const REDIS_MS_MAX: u64 = 500;

/// Who works.
#[derive(Clone, Debug)]
pub(crate) enum PresentWorkers {
    /// Those who were heard of.
    Known(Vec<Worker>),
    /// Nobody can tell, and why.
    Unknown(&'static str),
}

impl PresentWorkers {
    /// Says in each job how many of its shards somebody is at, as far as workers have said it.
    pub(crate) fn count_in(&self, jobs: &mut [JobStatus]) {
        let PresentWorkers::Known(workers) = self else {
            return;
        };
        let running = Running::of(workers);
        for job in jobs.iter_mut().filter(|job| is_open(job)) {
            job.shards.set_running(running.of_job(&job.name));
        }
    }
}

/// Knows which workers are present, where the settings name a Redis.
pub(crate) struct Presence {
    bus: Option<Box<RedisBus>>,
    /// Whether it was said that nothing can be heard.
    has_warned: AtomicBool,
}

impl Presence {
    /// The presence at the Redis of the settings. Connects to nothing yet.
    ///
    /// # Errors
    /// [`Failure::Usage`] for settings that cannot be.
    pub(crate) fn new(global: &Global) -> Result<Presence, Failure> {
        let redis = settings::redis(global)?;
        Ok(Presence {
            bus: redis.map(database::bus).transpose()?.map(Box::new),
            has_warned: AtomicBool::new(false),
        })
    }

    /// Whoever has said lately that he works on the database.
    pub(crate) async fn workers(&self, db: &Db) -> PresentWorkers {
        let Some(bus) = &self.bus else {
            return PresentWorkers::Unknown(
                "workers are not known: --redis or --peer tells of them",
            );
        };
        let instance = db.info().instance;
        if !bus.connected(instance, REDIS_MS_MAX).await {
            return PresentWorkers::Unknown(
                "workers are not known: Redis cannot be reached, or refuses what it is asked for",
            );
        }
        let notes = bus.announced(instance).await.into_iter();
        PresentWorkers::Known(notes.filter_map(told_worker).collect())
    }

    /// Says in each job how many of its shards workers say that they are at: `running`, which stays 0 where no Redis is
    /// named. One that cannot be reached is told once. Nobody is asked where no job is open.
    pub(crate) async fn count_in(&self, db: &Db, jobs: &mut [JobStatus]) {
        if self.bus.is_none() || !jobs.iter().any(is_open) {
            return;
        }
        let workers = self.workers(db).await;
        if let PresentWorkers::Unknown(why) = &workers
            && !self.has_warned.swap(true, Ordering::Relaxed)
        {
            tracing::warn!("`running` says nothing: {why}");
        }
        workers.count_in(jobs);
    }
}

/// Whether a job may have shards at work.
fn is_open(job: &JobStatus) -> bool {
    matches!(job.state, "pending" | "running")
}
