//! Where programs take shards.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use eciton_engine::Db;
use eciton_engine::entropy::{Entropy as _, SystemEntropy};
use eciton_proto::limits::{PULL_JOBS_MAX, PULL_TASKS_MAX, PULL_WAIT_MS_MAX, RESPONSE_LEN_MAX};
use eciton_proto::prost::Message;
use eciton_proto::v1::{
    Outcome, PullRequest, PullResponse, StepKind, TaskSpec, Worker, WorkerInfo, WorkerJob,
};
use parking_lot::Mutex;
use tokio::sync::{Mutex as AsyncMutex, OnceCell};

use super::error::PullError;
use super::jobs::{FoundJob, Jobs, PulledJob};
use super::programs::Programs;
use super::streams::Streams;
use super::task::read_of;
use super::token::{DecodedToken, LeaseKey, Token};
use crate::run::records::error::damaged;
use crate::run::records::ledger::Ledger;
use crate::run::schedule::claims::{idle, prefix};
use crate::run::schedule::job_queue::Queue;
use crate::run::schedule::leases::{LeaseHolder, Leases, ShardId};
use crate::run::settle::backoff::due_in;
use crate::run::settle::observer::{Event, ObserverOf};
use crate::run::{CancellationToken, JobError};
use crate::source::Reach;

/// What others have committed is looked at so often at most, and who waits for a task looks so often for one.
const LOOKS_APART: Duration = Duration::from_millis(100);
/// Shards that one call looks at, at most, for each task that it may give.
const TRIES_PER_TASK: usize = 16;
/// How long a shard is left to others whose file cannot be read here.
const ASIDE: Duration = Duration::from_secs(30);
/// Bytes of an answer that are left for one more task.
const TASK_LEN_MAX: usize = 64 * 1024;

/// Hands shards of the open jobs of a database to programs, and takes what they made of them. Cheap to clone.
#[derive(Clone)]
pub struct PullDesk(pub(super) Arc<DeskState>);

pub(super) struct DeskState {
    pub(super) db: Db,
    pub(super) leases: Leases,
    observer: ObserverOf,
    reach: Reach,
    stop: CancellationToken,
    /// Names this peer in tokens.
    pub(super) peer: u64,
    /// What tokens are made and checked with, once it was needed.
    key: OnceCell<LeaseKey>,
    pub(super) jobs: Jobs,
    pub(super) programs: Programs,
    looked: Mutex<Option<Instant>>,
    queue: AsyncMutex<Queue>,
    /// Room for shards that are taken.
    pub(super) completes: Arc<Streams>,
}

impl PullDesk {
    /// A desk at a database. `leases` are those of whoever else takes shards in this process
    /// ([`ServeOptions::leases`](crate::run::ServeOptions::leases)), `observer` is told what becomes of them. Of jobs
    /// that were submitted over gRPC only files within `reach` are handed out. Once `stop` is requested no more tasks are
    /// given; all else goes on.
    pub fn new(
        db: &Db,
        leases: Leases,
        observer: ObserverOf,
        reach: Reach,
        stop: CancellationToken,
    ) -> PullDesk {
        let low = |wide: u128| {
            let bytes = wide.to_le_bytes();
            bytes
                .first_chunk()
                .map_or(0, |low| u64::from_le_bytes(*low))
        };
        PullDesk(Arc::new(DeskState {
            db: db.clone(),
            leases,
            observer,
            reach,
            stop,
            peer: low(SystemEntropy.next_u128()),
            key: OnceCell::new(),
            jobs: Jobs::default(),
            programs: Programs::default(),
            looked: Mutex::default(),
            queue: AsyncMutex::default(),
            completes: Streams::new(),
        }))
    }

    /// Takes leases of shards that nobody is at: `Shards.Pull`. Waits for one to come up as long as the request says.
    ///
    /// # Errors
    /// [`PullError::Invalid`] beyond a limit; [`PullError::Job`] with [`JobError::NotFound`] for a job that is not
    /// there, or what the database refuses; [`PullError::TooLarge`] for a named job that fits into no answer;
    /// [`PullError::Unavailable`] after a stop.
    pub async fn pull(&self, request: &PullRequest) -> Result<PullResponse, PullError> {
        check(request)?;
        let wait_ms = request.wait_ms.min(PULL_WAIT_MS_MAX);
        let until = Instant::now() + Duration::from_millis(wait_ms.into());
        loop {
            if self.0.stop.is_cancelled() {
                let why = "this peer drains: it gives no more tasks; expected another peer";
                return Err(PullError::Unavailable(why.to_owned()));
            }
            let answer = self.pull_now(request).await?;
            let all_ended = !request.jobs.is_empty() && answer.ended.len() >= named(request).len();
            let left = until.saturating_duration_since(Instant::now());
            if !answer.tasks.is_empty() || all_ended || left.is_zero() {
                return Ok(answer);
            }
            tokio::select! {
                () = tokio::time::sleep(LOOKS_APART.min(left)) => {}
                () = self.0.stop.cancelled() => {}
            }
        }
    }

    async fn pull_now(&self, request: &PullRequest) -> Result<PullResponse, PullError> {
        let program = self.0.programs.heard_of(request.worker.as_ref());
        self.look().await?;
        let mut answer = PullResponse::default();
        let tasks_max = usize::try_from(request.tasks_max.max(1)).unwrap_or(1);
        let is_named = !request.jobs.is_empty();
        let Some(ledger) = Ledger::find(&self.0.db).await? else {
            return match request.jobs.first() {
                Some(name) => Err(missing(name, Vec::new())),
                None => Ok(nothing(answer, Duration::MAX)),
            };
        };
        let names = match is_named {
            true => named(request),
            false => self.in_order(&ledger).await?,
        };
        let mut pause = Duration::MAX;
        let mut len = 0;
        for name in names {
            if !is_named && answer.tasks.len() >= tasks_max {
                break;
            }
            let found = self.find(&ledger, &name).await;
            let job = match found {
                Ok(FoundJob::Open(job)) => job,
                Ok(FoundJob::Missing) if is_named => {
                    return Err(missing(&name, ledger.names().await?));
                }
                Ok(FoundJob::Ended | FoundJob::Cancelled) if is_named => {
                    answer.ended.push(name);
                    continue;
                }
                Ok(_) => continue,
                // One job that cannot be planned here keeps nobody from the others.
                Err(error) if !is_named && !matches!(error, JobError::Engine(_)) => {
                    tracing::warn!(job = name, %error, "cannot be handed out");
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            if let Some(what) = not_for_programs(&job) {
                if is_named && answer.tasks.is_empty() {
                    let why = format!(
                        "job `{name}` {what}, whose shards only processes with the database compute"
                    );
                    return Err(PullError::Invalid(why));
                }
                continue;
            }
            if answer.tasks.len() >= tasks_max || !is_wanted(request, &job) {
                continue;
            }
            let number = job.open.job_number;
            let job_len = job.told.encoded_len();
            if len + job_len + TASK_LEN_MAX > RESPONSE_LEN_MAX {
                if is_named && answer.tasks.is_empty() {
                    let why = format!("job `{name}` has {job_len} bytes, which no answer takes");
                    return Err(PullError::TooLarge(why));
                }
                continue;
            }
            let before = answer.tasks.len();
            let room = RESPONSE_LEN_MAX - TASK_LEN_MAX - len - job_len;
            self.take(&job, tasks_max - before, room, program, &mut answer.tasks)
                .await?;
            let taken = &answer.tasks[before..];
            if taken.is_empty() {
                job.look().await?;
                pause = pause.min(idle(job.open.lease_ms));
            } else {
                self.0.queue.lock().await.had_turn([number]);
                len += job_len + taken.iter().map(Message::encoded_len).sum::<usize>();
                answer.jobs.push(job.told.clone());
            }
        }
        assert!(
            answer.tasks.len() <= tasks_max,
            "{} tasks, {tasks_max} are wanted",
            answer.tasks.len()
        );
        assert!(
            answer.jobs.len() <= answer.tasks.len(),
            "{} jobs of {} tasks",
            answer.jobs.len(),
            answer.tasks.len()
        );
        Ok(nothing(answer, pause))
    }

    /// The names of all open jobs, those first whose tasks are given first.
    async fn in_order(&self, ledger: &Ledger) -> Result<Vec<String>, PullError> {
        let queue = self.0.queue.lock().await.look(ledger).await?;
        Ok(queue.into_iter().map(|job| job.name).collect())
    }

    /// Takes up to so many shards of a job, in up to so many bytes.
    async fn take(
        &self,
        job: &PulledJob,
        count: usize,
        mut len_max: usize,
        program: Option<u64>,
        tasks: &mut Vec<TaskSpec>,
    ) -> Result<(), PullError> {
        let enough = tasks.len() + count;
        let candidates_max = count.saturating_mul(TRIES_PER_TASK);
        let mut candidates = 0;
        for shard in job.candidates(count.saturating_mul(TRIES_PER_TASK)) {
            candidates += 1;
            assert!(
                candidates <= candidates_max,
                "shard {shard} is candidate {candidates} of {candidates_max}"
            );
            if tasks.len() >= enough || len_max < TASK_LEN_MAX {
                break;
            }
            let shard_id = ShardId {
                job: job.open.job_number,
                retries: job.open.retries,
                shard,
            };
            let holder = LeaseHolder::new();
            let until = Instant::now() + Duration::from_millis(job.open.lease_ms);
            if !self.0.leases.take(shard_id, holder, Some(until)) {
                continue;
            }
            match self.prepare(job, shard_id, holder).await {
                Ok(Ok(task)) => {
                    len_max = len_max.saturating_sub(task.encoded_len() + 8);
                    let name = &job.open.name;
                    self.0.programs.took(program, holder, name, until);
                    job.observer.observe(&Event::ShardStarted { shard });
                    tasks.push(task);
                }
                Ok(Err(rests_until)) => {
                    self.0.leases.end(shard_id, holder, rests_until);
                }
                Err(error) => {
                    self.0.leases.end(shard_id, holder, None);
                    return Err(error);
                }
            }
        }
        assert!(
            tasks.len() <= enough,
            "{} tasks, {enough} are allowed",
            tasks.len()
        );
        Ok(())
    }

    /// A shard that was taken here as a task; else until when nobody should take it, if that matters.
    async fn prepare(
        &self,
        job: &PulledJob,
        shard_id: ShardId,
        holder: LeaseHolder,
    ) -> Result<Result<TaskSpec, Option<Instant>>, PullError> {
        let open = &job.open;
        if !self.0.db.lease(&lease_name(shard_id), open.lease_ms).await {
            return Ok(Err(None));
        }
        // Afterwards what others had committed a moment before can be read.
        self.look().await?;
        let state = open.ledger.shard_now(&open.name, shard_id.shard).await?;
        if state.outcome() != Outcome::Unspecified {
            job.ended(shard_id.shard).await;
            return Ok(Err(None));
        }
        if let Some(wait) = due_in(&state) {
            self.0.db.release(&lease_name(shard_id)).await;
            return Ok(Err(Some(Instant::now() + wait)));
        }
        let shard = open.locate(shard_id.shard).await?;
        let read = match read_of(&open.pipeline.source, shard).await {
            Ok(read) => read,
            Err(error) => {
                tracing::warn!(job = open.name, shard = shard_id.shard, %error, "cannot be handed out; left to others");
                self.0.db.release(&lease_name(shard_id)).await;
                return Ok(Err(Some(Instant::now() + ASIDE)));
            }
        };
        let token = Token {
            shard_id,
            attempts: state.attempts,
            holder,
            peer: self.0.peer,
        };
        Ok(Ok(TaskSpec {
            job: open.name.clone(),
            shard: shard_id.shard,
            attempt: state.attempts.saturating_sub(state.attempts_before) + 1,
            token: token.encode(self.key(&open.ledger).await?),
            lease_ms: open.lease_ms,
            read: Some(read),
        }))
    }

    /// Makes visible what other processes have committed, if that was not done just before.
    pub(super) async fn look(&self) -> Result<(), PullError> {
        if !self.0.db.is_shared() {
            return Ok(());
        }
        let is_due = {
            let mut looked = self.0.looked.lock();
            let is_due = looked.is_none_or(|at| at.elapsed() >= LOOKS_APART);
            if is_due {
                *looked = Some(Instant::now());
            }
            is_due
        };
        if is_due {
            self.0.db.refresh().await?;
        }
        Ok(())
    }

    async fn find(&self, ledger: &Ledger, name: &str) -> Result<FoundJob, JobError> {
        let DeskState {
            jobs,
            observer,
            reach,
            ..
        } = &*self.0;
        jobs.find(ledger, name, observer, reach).await
    }

    /// The job of a token, by its name and as far as it is worked on.
    pub(super) async fn job_of(&self, token: &Token) -> Result<(String, FoundJob), PullError> {
        let unknown = || PullError::Invalid("a token of a job that is not there".to_owned());
        let ledger = Ledger::find(&self.0.db).await?.ok_or_else(unknown)?;
        let Some(name) = self.0.jobs.name(&ledger, token.shard_id.job).await? else {
            // A removed job had a number that was given out.
            let registry = ledger.registry(&mut self.0.db.begin()).await?;
            if token.shard_id.job == 0 || token.shard_id.job > registry.last_number {
                return Err(unknown());
            }
            return Ok((format!("number {}", token.shard_id.job), FoundJob::Missing));
        };
        // It may be gone, and another one may have its name.
        let state = ledger.state_now(&name).await?;
        if state.is_none_or(|state| state.number != token.shard_id.job) {
            return Ok((name, FoundJob::Missing));
        }
        let found = self.find(&ledger, &name).await?;
        let is_another =
            matches!(&found, FoundJob::Open(job) if job.open.job_number != token.shard_id.job);
        Ok((name, if is_another { FoundJob::Missing } else { found }))
    }

    /// What tokens of the database are made and checked with.
    async fn key(&self, ledger: &Ledger) -> Result<&LeaseKey, PullError> {
        let database = self.0.db.info().instance.0;
        let key = self.0.key.get_or_try_init(|| async {
            let kept = ledger.lease_key(LeaseKey::draw).await?;
            let damaged = || damaged("", "the key of leases", "its length");
            LeaseKey::new(&kept, database).ok_or_else(damaged)
        });
        Ok(key.await?)
    }

    /// The token that some bytes are; `None` for one of an earlier version, whose lease is lost.
    ///
    /// # Errors
    /// [`PullError::Invalid`] for a token that nobody gave.
    pub(super) async fn decoded(&self, bytes: &[u8]) -> Result<Option<Token>, PullError> {
        let unknown = || PullError::Invalid("a token that no peer of this database gave".into());
        let key = match self.0.key.get() {
            Some(key) => key,
            None => {
                // Another peer may have given the first lease a moment ago.
                if self.0.db.is_shared() {
                    self.0.db.refresh().await?;
                }
                let ledger = Ledger::find(&self.0.db).await?.ok_or_else(unknown)?;
                self.key(&ledger).await?
            }
        };
        match Token::decode(bytes, key) {
            DecodedToken::Token(token) => Ok(Some(token)),
            DecodedToken::Old => Ok(None),
            DecodedToken::Unknown => Err(unknown()),
        }
    }

    /// The token that some bytes are.
    ///
    /// # Errors
    /// As [`PullDesk::decoded`]; [`PullError::Lost`] for one of an earlier version.
    pub(super) async fn token(&self, bytes: &[u8]) -> Result<Token, PullError> {
        let old = || {
            let what = "the lease was given by an earlier version and is lost; expected its rows to be dropped";
            PullError::Lost(what.to_owned())
        };
        self.decoded(bytes).await?.ok_or_else(old)
    }

    /// Forgets the jobs that have ended; who observed them is dropped.
    ///
    /// # Errors
    /// What the database refuses.
    pub async fn forget_ended(&self) -> Result<(), JobError> {
        match Ledger::find(&self.0.db).await? {
            Some(ledger) => self.0.jobs.forget_ended(&ledger).await,
            None => Ok(()),
        }
    }

    /// How many leases run that this desk has given.
    pub fn leases(&self) -> usize {
        self.0.leases.running()
    }

    /// How many shards this process has a lease of, for its own slots or for programs that pull.
    pub fn held(&self) -> usize {
        self.0.leases.held()
    }

    /// The programs that were heard of lately, as workers of the swarm.
    pub fn programs(&self) -> Vec<Worker> {
        self.0.programs.list(self.0.peer)
    }

    /// How many shards of which job are at programs that do not say who they are: their leases run, and none of
    /// [`PullDesk::programs`] has them.
    pub fn unnamed(&self) -> Vec<WorkerJob> {
        self.0.programs.unnamed()
    }
}

fn check(request: &PullRequest) -> Result<(), PullError> {
    let invalid = |what: String| Err(PullError::Invalid(what));
    if request.tasks_max > PULL_TASKS_MAX {
        let found = request.tasks_max;
        return invalid(format!(
            "tasks_max is {found}, expected at most {PULL_TASKS_MAX}"
        ));
    }
    if request.jobs.len() > PULL_JOBS_MAX {
        let found = request.jobs.len();
        return invalid(format!("{found} jobs, expected at most {PULL_JOBS_MAX}"));
    }
    check_worker(request.worker.as_ref())
}

fn check_worker(worker: Option<&WorkerInfo>) -> Result<(), PullError> {
    use eciton_proto::limits::WORKER_TEXT_LEN_MAX as MAX;
    let texts = worker.map_or_else(Vec::new, |worker| vec![&worker.name, &worker.version]);
    match texts.into_iter().find(|text| text.len() > MAX) {
        Some(long) => Err(PullError::Invalid(format!(
            "a worker is described by a text of {} bytes, expected at most {MAX}",
            long.len()
        ))),
        None => Ok(()),
    }
}

/// The jobs that a request names, each once.
fn named(request: &PullRequest) -> Vec<String> {
    let mut seen = HashSet::new();
    let names = request.jobs.iter().filter(|name| seen.insert(*name));
    names.cloned().collect()
}

/// Whether the request takes tasks of a job. A value that is not known is none that any job has.
/// Why no program can compute shards of a job: the rows of one that gives the answer of a query are no SQL that it
/// could be told, and records of a store are in the database.
fn not_for_programs(job: &PulledJob) -> Option<&'static str> {
    if job.told.sink.is_none() {
        return Some("gives the answer of a query, writes files or deletes");
    }
    let reads_store = job.open.pipeline.source.is_stored();
    reads_store.then_some("reads the records of a store")
}

fn is_wanted(request: &PullRequest, job: &PulledJob) -> bool {
    let step: StepKind = job.step;
    let format = job.open.pipeline.source.spec().format;
    (request.steps.is_empty() || request.steps.contains(&step.into()))
        && (request.formats.is_empty() || request.formats.contains(&format))
}

fn missing(name: &str, known: Vec<String>) -> PullError {
    let name = name.to_owned();
    PullError::Job(JobError::NotFound { name, known })
}

/// The answer, with when to ask again if there is nothing in it.
fn nothing(mut answer: PullResponse, pause: Duration) -> PullResponse {
    if answer.tasks.is_empty() {
        let pause = pause.min(idle(u64::MAX / 2));
        answer.pause_ms = u32::try_from(pause.as_millis()).unwrap_or(0).max(1);
    }
    assert!(
        answer.pause_ms > 0 || !answer.tasks.is_empty(),
        "nothing to do and no pause"
    );
    answer
}

/// What the lease of a shard is called between processes.
pub(super) fn lease_name(shard_id: ShardId) -> String {
    format!(
        "{}/{}",
        prefix((shard_id.job, shard_id.retries)),
        shard_id.shard
    )
}
