//! Serving gRPC: every worker with `--listen` is a peer of the others, and answers for the whole database.
//!
//! | module | is |
//! |---|---|
//! | `server` | the listener, the services behind it, and how they end |
//! | `tls` | certificates, which can be replaced while it serves |
//! | `connections` | how many connections there may be, and what they may take |
//! | `swarm` | the calls of the service `Swarm` |
//! | `callers` | submissions as a part of their callers' traces |
//! | `watch` | telling how a job goes, until it has ended |
//! | `shards` | the calls of the service `Shards` |
//! | `workers` | who works on the database |
//! | `presence` | workers tell each other that they are there |
//! | `requests`, `pages` | what a request may ask for, checked before any work |
//! | `statuses` | errors as gRPC tells them |
//! | `guard`, `access` | who may call what: roles and tokens |
//! | `activity` | what this process is at |
//!
//! Whatever a call changes is durable before it is answered, so that the process that answered may die right after.
//! Work on the database is done in tasks of its own: a caller that goes away, or reads slowly, stops none of it
//! halfway, and holds up nobody else.

mod activity;
mod callers;
mod connections;
mod guard;
mod pages;
mod presence;
mod requests;
mod server;
mod shards;
mod swarm;
mod tls;
mod watch;
mod workers;

#[cfg(test)]
mod tests;

pub(crate) use activity::Activity;
pub(crate) use presence::{Running, told as told_worker};
pub(crate) use server::{Listener, Serving};

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use eciton_engine::{Action, Db};
use eciton_jobs::run::pull::PullDesk;
use eciton_jobs::run::{CancellationToken, JobError, Leases, Observer};
use eciton_jobs::source::Reach;
use futures::future::BoxFuture;
use tokio::sync::{Mutex, Semaphore};
use tonic::Status;

use presence::Heard;
use workers::Me;

use crate::metrics::JobMetrics;

/// Jobs that are checked and recorded at the same time; others wait.
const SUBMITS_AT_ONCE_MAX: usize = 16;
/// How often a peer that drains looks whether programs still hold leases.
const LOOKS_APART: Duration = Duration::from_millis(50);
/// How often something is read again that was collected meanwhile.
const READS_MAX: u32 = 5;

/// A process that serves calls, shared by all of them. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Peer(Arc<Inner>);

struct Inner {
    db: Db,
    me: Me,
    stop: CancellationToken,
    /// Requested when nothing is served any more in a moment.
    leaving: CancellationToken,
    activity: Arc<Activity>,
    /// Which files are read of jobs that come over gRPC.
    reach: Reach,
    /// Whether jobs are taken that run programs.
    commands: bool,
    submits: Semaphore,
    desk: PullDesk,
    /// When the last look at what others have committed began.
    refreshed: Mutex<Option<Instant>>,
    /// What other workers have said.
    heard: Mutex<Option<Arc<Heard>>>,
}

impl Peer {
    /// A peer that answers for `db` until `stop` is requested, and goes on telling afterwards. Others are told that it
    /// serves at `address`, and works with so many slots. Jobs that are submitted here read no further than `reach`.
    pub(crate) fn new(
        db: &Db,
        address: Option<&str>,
        slots: usize,
        activity: Arc<Activity>,
        leases: Leases,
        reach: Reach,
        stop: CancellationToken,
    ) -> Peer {
        let observer = Arc::new(|job: &str| Arc::new(JobMetrics::new(job)) as Arc<dyn Observer>);
        let desk = PullDesk::new(db, leases, observer, reach.clone(), stop.clone());
        Peer(Arc::new(Inner {
            db: db.clone(),
            me: Me::new(address, slots),
            stop,
            leaving: CancellationToken::new(),
            activity,
            reach,
            commands: false,
            submits: Semaphore::new(SUBMITS_AT_ONCE_MAX),
            desk,
            refreshed: Mutex::default(),
            heard: Mutex::default(),
        }))
    }

    /// The same peer before anybody knows it, which takes jobs that run programs where `allowed` says so.
    pub(crate) fn with_commands(mut self, allowed: bool) -> Peer {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.commands = allowed;
        }
        self
    }

    /// Where programs take shards.
    fn desk(&self) -> &PullDesk {
        &self.0.desk
    }

    /// Waits until no program holds a lease that it was given here.
    pub(crate) async fn pulled(&self) {
        while self.0.desk.leases() > 0 {
            tokio::time::sleep(LOOKS_APART).await;
        }
    }

    /// Has watches end: nothing is served any more in a moment.
    fn leave(&self) {
        self.0.leaving.cancel();
    }

    /// Whether it is about to go: it takes nothing new.
    fn is_draining(&self) -> bool {
        self.0.stop.is_cancelled()
    }

    /// Reads, in a task of its own, from a state that has everything that was committed anywhere before.
    ///
    /// # Errors
    /// What the work fails with, as a status.
    async fn read<T, W>(&self, work: W) -> Result<T, Status>
    where
        T: Send + 'static,
        W: Fn(Db) -> BoxFuture<'static, Result<T, JobError>> + Send + Sync + 'static,
    {
        let peer = self.clone();
        self.change(async move {
            let mut reads = 1;
            loop {
                peer.refresh().await?;
                match work(peer.0.db.clone()).await {
                    // In a bucket a state may be collected while it is read.
                    Err(JobError::Engine(error))
                        if error.action() == Action::Retry && reads < READS_MAX =>
                    {
                        reads += 1;
                    }
                    done => return done,
                }
            }
        })
        .await
    }

    /// Makes visible whatever was committed anywhere before. Many calls at a time look together: one look that begins
    /// after a call did is enough for it.
    ///
    /// # Errors
    /// As [`Db::refresh`].
    async fn refresh(&self) -> Result<(), JobError> {
        let Inner { db, refreshed, .. } = &*self.0;
        if !db.is_shared() {
            return Ok(());
        }
        let called = Instant::now();
        let mut refreshed = refreshed.lock().await;
        if refreshed.is_none_or(|began| began < called) {
            let begins = Instant::now();
            db.refresh().await?;
            *refreshed = Some(begins);
        }
        Ok(())
    }

    /// Works in a task of its own, which goes on to its end even if the caller goes away.
    ///
    /// # Errors
    /// What the work fails with, as a status.
    async fn change<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, JobError>> + Send + 'static,
    ) -> Result<T, Status> {
        match tokio::spawn(work).await {
            Ok(done) => done.map_err(|error| crate::statuses::of_job(&error)),
            Err(died) => Err(Status::internal(format!(
                "the call ended unexpectedly: {died}"
            ))),
        }
    }
}

/// Milliseconds since the Unix epoch, for people.
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}
