//! What the workers of one run of a job share.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use eciton_proto::v1::Outcome;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::claims::Claims;
use super::doubts::Doubts;
use super::health::Health;
use super::options::RunOptions;
use super::permits::Permits;
use super::resources::Resources;
use super::shard_queue::ShardQueue;
use super::untried_shards::OpenShards;
use crate::run::compute::error::AttemptError;
use crate::run::compute::open::OpenJob;
use crate::run::compute::results::RESULTS_LEN_MAX;
use crate::run::records::age::Age;
use crate::run::records::error::JobError;
use crate::run::records::job::Job;
use crate::run::records::ledger::Ledger;
use crate::run::records::status::ShardCounts;
use crate::run::settle::observer::{Event, Observer};
use crate::run::settle::pool::Pool;
use crate::run::settle::session::{OwnSession, tell_killed};

/// What all workers of a run share.
pub(crate) struct RunContext {
    pub(crate) job: OpenJob,
    pub(crate) queue: ShardQueue,
    /// What remembers that this process is at the job, should it die.
    pub(crate) session: OwnSession,
    /// `None` where nobody else works on the database.
    pub(crate) claims: Option<Claims>,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) runtime: Handle,
    /// [`RESULTS_LEN_MAX`], less in tests.
    pub(crate) results_len_max: usize,
    /// How long computed shards wait for others to be committed with.
    pub(crate) commit_interval: Duration,
    /// What is shared with the workers of other jobs, if anything.
    pub(crate) permits: Option<Permits>,
    /// What shards take of this process, if that is bounded.
    pub(crate) resources: Option<Resources>,
    /// Whether this process gets anything done.
    pub(crate) health: Health,
    /// What this process doubts of the job's files.
    pub(crate) doubts: Doubts,
    /// Someone outside wants the run to end.
    pub(crate) stop: CancellationToken,
    /// Cancelled once shards at work have had their time after `stop`: they are to break off.
    pub(crate) overdue: CancellationToken,
    /// The run itself has to end, and why.
    pub(crate) ending: Arc<Mutex<Option<Ending>>>,
    /// Where workers leave what they have computed, to be committed together.
    pub(crate) pool: Pool,
    /// Shards that are not to be committed with others: they were in a batch that could not be committed as a whole.
    pub(crate) alone: Mutex<HashSet<u64>>,
    /// When shards at work were begun.
    pub(crate) begun: Mutex<HashMap<u64, Instant>>,
    /// Shards at work that are to break off, since another process is at them, and nobody is at others.
    pub(crate) giving_way: Arc<Mutex<HashSet<u64>>>,
    /// Held while what has waited long enough is committed beside the workers.
    pub(crate) flushing: Mutex<()>,
}

/// Why a run ends before its shards do.
#[derive(Debug)]
pub(crate) enum Ending {
    /// The job was cancelled.
    Cancelled,
    /// The job was retried: begin again with its new plan.
    Changed,
    /// The database failed.
    Failed(JobError),
}

impl From<JobError> for Ending {
    fn from(error: JobError) -> Ending {
        Ending::Failed(error)
    }
}

impl RunContext {
    /// Plans the job and finds what is left of it to do.
    pub(crate) async fn open(
        ledger: &Ledger,
        name: &str,
        job: &Job,
        options: &RunOptions,
    ) -> Result<RunContext, JobError> {
        let planned =
            OpenJob::new(ledger, name, job, &options.reach, options.commands.as_ref()).await?;
        if let Some(lacking) = options
            .resources
            .as_ref()
            .and_then(|all| all.lacks(&planned.needs))
        {
            return Err(JobError::Lacks {
                name: name.to_owned(),
                lacking,
            });
        }
        let total = job.plan.shards;
        let deadline_ms = job.spec.run.as_ref().map_or(0, |run| run.deadline_ms);
        let age = Age::new(ledger.age(name, &job.state).await?, true, deadline_ms);
        let bounds = (
            planned.max_attempts,
            Duration::from_millis(planned.lease_ms),
        );
        let session = OwnSession::new(ledger, name, &job.state, bounds, age);
        // Before shards are looked at: some may end by this.
        for killed in session.count_deaths().await? {
            tell_killed(&*options.observer, &killed);
        }
        let mut open = OpenShards::all(total);
        let (mut done, mut failed) = (0, 0);
        ledger
            .each_shard(name, |number, state| {
                match state.outcome() {
                    Outcome::Unspecified => return true,
                    Outcome::Done => done += 1,
                    Outcome::Failed => failed += 1,
                }
                open.remove(number);
                true
            })
            .await?;
        options.observer.observe(&Event::Started {
            shards: ShardCounts {
                total,
                done,
                failed,
                running: 0,
                pending: total.saturating_sub(done + failed),
            },
        });
        let number = (job.state.number, job.state.retries);
        let claims = Claims::new(
            &ledger.db,
            number,
            planned.lease_ms,
            options.leases.as_ref(),
        );
        Ok(RunContext {
            job: planned,
            session,
            queue: ShardQueue::new(open, ledger.db.is_shared(), options.patience),
            claims,
            observer: Arc::clone(&options.observer),
            runtime: Handle::current(),
            results_len_max: RESULTS_LEN_MAX,
            commit_interval: options.commit_interval,
            permits: options.permits.clone(),
            resources: options.resources.clone(),
            health: options.health.clone(),
            doubts: Doubts::default(),
            stop: options.stop.clone(),
            overdue: options.break_off.child_token(),
            ending: Arc::default(),
            pool: Pool::default(),
            alone: Mutex::default(),
            begun: Mutex::default(),
            giving_way: Arc::default(),
            flushing: Mutex::default(),
        })
    }

    /// The run has to end. The first reason is the one that is told.
    pub(crate) fn end_for(&self, ending: Ending) {
        let mut first = self.ending.lock();
        let before = first.as_ref().map(std::mem::discriminant);
        let kept = std::mem::discriminant(first.get_or_insert(ending));
        assert!(
            before.is_none_or(|before| before == kept),
            "the first reason to end is the one that is told"
        );
    }

    /// Whether the run has to end.
    pub(crate) fn is_ending(&self) -> bool {
        self.ending.lock().is_some()
    }

    /// A shard has ended, or another process has seen to that.
    pub(crate) fn ended(&self, shard: u64) {
        if let Some(claims) = &self.claims {
            claims.end(shard);
        }
        let begun = self.begun.lock().remove(&shard);
        self.giving_way.lock().remove(&shard);
        let took = begun.map(|begun| begun.elapsed());
        self.queue.ended(shard, took);
    }
}

/// What became of an attempt at a shard.
#[derive(Debug)]
pub(crate) enum Attempted {
    /// The shard is in a batch, or has ended.
    Over,
    /// Its results are gone: it is to be made again, and does not count.
    Again,
    /// It failed.
    Failed {
        message: String,
        transient: bool,
        /// Its program failed, which says nothing about this process.
        of_program: bool,
    },
    /// It failed, and may not in another process, which sees the file as it was recorded.
    SourceFailed { message: String, transient: bool },
    /// Another process is at it, and nobody was at others: this one does those first.
    GaveWay,
    /// It did not finish within what it had after the run was asked to stop. It is as if it had not been begun.
    Overdue,
}

impl Attempted {
    /// What an error makes of an attempt. One of the database ends the run.
    pub(crate) fn of_error(error: AttemptError) -> Result<Attempted, Ending> {
        match error {
            AttemptError::Shard { message, transient } => Ok(Attempted::Failed {
                message,
                transient,
                of_program: false,
            }),
            AttemptError::Program { message, transient } => Ok(Attempted::Failed {
                message,
                transient,
                of_program: true,
            }),
            AttemptError::Source(error) => Ok(Attempted::SourceFailed {
                message: error.to_string(),
                transient: error.is_transient(),
            }),
            AttemptError::Fatal(error) => Err(Ending::Failed(error)),
        }
    }
}
