//! Taking the rows of a shard.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use eciton_engine::Transaction;
use eciton_proto::limits::{ROWS_CHUNK_LEN_MAX, ROWS_LEN_MAX};
use eciton_proto::v1::{
    CompleteBegin, CompleteEnd, CompleteOutcome, CompleteResponse, JobPhase,
    Outcome as ShardOutcome, RowsFormat,
};
use tokio::runtime::Handle;
use tracing::Instrument as _;

use super::desk::{PullDesk, lease_name};
use super::error::{PullError, broken, lost};
use super::jobs::{FoundJob, PulledJob};
use super::rows::{Decoder, RowsError};
use super::streams::StreamPlace;
use super::token::Token;
use crate::run::JobError;
use crate::run::compute::attempt::ShardResults;
use crate::run::compute::error::AttemptError;
use crate::run::compute::gather::{Gathering, OverflowSink};
use crate::run::settle::batch::Batch;
use crate::run::settle::commit::Admission;
use crate::run::settle::failure::{Failure, bounded};
use crate::run::settle::observer::Event;
use crate::run::settle::settlement::Settlement;
use crate::source::{check_read_by_others, content_hash};

/// Rows of a shard of which only a file tells how many it has. That many of every shard that a job may have can still be
/// added up.
const ROWS_MAX: u64 = 1 << 40;
/// Bytes of groups that are kept of one of them, and as many of operands, about.
pub const GROUPS_LEN_MAX: usize = 16 << 20;
/// Bytes that are decoded at once.
const BLOCK_LEN: usize = 512 * 1024;
/// Parts of a lease after each of which it is prolonged while rows come.
const RENEWALS: u32 = 3;

/// A shard whose rows come: `Shards.Complete`. Dropped before its end it counts for nothing.
pub struct Completion {
    shard: PulledShard,
    /// `None` while a block is being decoded.
    intake: Option<Box<Intake>>,
    waiting: BytesMut,
    rows_len: u64,
    held: Instant,
    place: StreamPlace,
}

/// The shard that is to be ended, without its rows.
struct PulledShard {
    desk: PullDesk,
    token: Token,
    name: String,
    /// `None` once nothing of it is wanted: how the shard stands is said at the end.
    job: Option<Arc<PulledJob>>,
}

/// Rows on their way to results.
struct Intake {
    decoder: Decoder,
    gathering: Option<Gathering>,
    rows: u64,
    /// Why the sink does not take a row.
    refused: Option<String>,
}

impl PullDesk {
    /// Begins to take the rows of a shard. Waits until there is room.
    ///
    /// # Errors
    /// [`PullError::Invalid`], [`PullError::Lost`], [`PullError::Stopped`]; what the database refuses.
    pub async fn complete(&self, begin: &CompleteBegin) -> Result<Completion, PullError> {
        let token = self.token(&begin.token).await?;
        let format = begin.format();
        if format == RowsFormat::Unspecified {
            let what = "`format` must be ROWS_FORMAT_JSON_LINES or ROWS_FORMAT_ARROW_STREAM";
            return Err(PullError::Invalid(what.to_owned()));
        }
        let place = self.0.completes.place(token.holder).await?;
        self.look().await?;
        let (name, found) = self.job_of(&token).await?;
        let job = match found {
            FoundJob::Open(job) if job.open.retries == token.shard_id.retries => Some(job),
            FoundJob::Ended => None,
            _ => return Err(PullError::Stopped(name)),
        };
        if let Some(job) = &job
            && !self.may_count(job, &token).await
            && !self.has_ended(job, &token).await?
        {
            return Err(lost(&token));
        }
        let intake = job
            .as_ref()
            .map(|job| Box::new(Intake::new(job, &token, format)));
        Ok(Completion {
            shard: PulledShard {
                desk: self.clone(),
                token,
                name,
                job,
            },
            intake,
            waiting: BytesMut::new(),
            rows_len: 0,
            held: Instant::now(),
            place,
        })
    }

    async fn has_ended(&self, job: &PulledJob, token: &Token) -> Result<bool, PullError> {
        let state = job
            .open
            .ledger
            .shard_now(&job.open.name, token.shard_id.shard);
        Ok(state.await?.outcome() != ShardOutcome::Unspecified)
    }
}

impl Completion {
    /// Waits until this has lost its place among the streams that are taken, or was open for too long; why.
    pub fn lost(&self) -> impl Future<Output = PullError> + Send + use<> {
        self.place.lost()
    }

    /// Takes part of the rows.
    ///
    /// # Errors
    /// [`PullError::Invalid`] for what is not of the format or lacks columns; [`PullError::TooLarge`];
    /// [`PullError::Unavailable`] where the database cannot take them now. Nothing of the shard counts then, and this
    /// is of no more use.
    pub async fn rows(&mut self, chunk: Bytes) -> Result<(), PullError> {
        if chunk.len() > ROWS_CHUNK_LEN_MAX {
            return Err(PullError::TooLarge(format!(
                "a chunk of {} bytes, expected at most {ROWS_CHUNK_LEN_MAX}",
                chunk.len()
            )));
        }
        self.rows_len += chunk.len() as u64;
        self.place.came(chunk.len());
        if self.rows_len > ROWS_LEN_MAX {
            let what = format!("rows of more than {ROWS_LEN_MAX} bytes");
            return Err(PullError::TooLarge(what));
        }
        self.waiting.extend_from_slice(&chunk);
        if self.waiting.len() < BLOCK_LEN {
            return Ok(());
        }
        self.hold().await;
        self.decode(false).await
    }

    /// Keeps the lease while rows come. Whether it is still there is asked at the end.
    async fn hold(&mut self) {
        if let Some(job) = &self.shard.job
            && self.held.elapsed() * RENEWALS >= Duration::from_millis(job.open.lease_ms)
        {
            self.shard.desk.hold(job, &self.shard.token).await;
            self.held = Instant::now();
        }
    }

    async fn decode(&mut self, is_last: bool) -> Result<(), PullError> {
        let block = self.waiting.split().freeze();
        assert!(
            self.waiting.is_empty(),
            "{} bytes are left of a block",
            self.waiting.len()
        );
        assert!(
            block.len() as u64 <= self.rows_len,
            "{} bytes of {} that came",
            block.len(),
            self.rows_len
        );
        let (Some(job), Some(mut intake)) = (self.shard.job.clone(), self.intake.take()) else {
            return Ok(());
        };
        let (shard, runtime) = (self.shard.token.shard_id.shard, Handle::current());
        let decoding = tokio::task::spawn_blocking(move || {
            let is_wanted = intake.take(&job, shard, &block, is_last, &runtime)?;
            Ok::<_, PullError>(is_wanted.then_some(intake))
        });
        self.intake = decoding.await.map_err(broken)??;
        if self.intake.is_none() {
            // Why is said at the end.
            self.shard.job = None;
        }
        Ok(())
    }

    /// Commits the shard with its rows, durably, and says what became of it. It is done also if who waits for it goes
    /// away.
    ///
    /// # Errors
    /// As [`Completion::rows`]; [`PullError::Invalid`] for counts that do not agree; [`PullError::Lost`] and
    /// [`PullError::Stopped`].
    pub async fn end(self, end: CompleteEnd) -> Result<CompleteResponse, PullError> {
        let ending = tokio::spawn(self.finish(end));
        ending.await.map_err(broken)?
    }

    async fn finish(mut self, end: CompleteEnd) -> Result<CompleteResponse, PullError> {
        count("rows_len", end.rows_len, self.rows_len)?;
        if !matches!(end.bytes_hash.len(), 0 | 16) {
            let found = end.bytes_hash.len();
            let what = format!("`bytes_hash` has {found} bytes, expected 16 or none");
            return Err(PullError::Invalid(what));
        }
        self.decode(true).await?;
        let (Some(job), Some(intake)) = (self.shard.job.clone(), self.intake.take()) else {
            return self.shard.ended().await;
        };
        if let Some(refused) = intake.refused {
            return self.shard.refuse(&job, &refused).await;
        }
        count("rows", end.rows, intake.rows)?;
        if end.rows_skipped > 0 && !job.skips {
            let what = "`rows_skipped` is set, and the job lets no record be left out";
            return Err(PullError::Invalid(what.to_owned()));
        }
        let (shard, runtime) = (self.shard.token.shard_id.shard, Handle::current());
        let rows_max = rows_max(&job, shard).await?;
        if end.rows_read.saturating_add(end.rows_skipped) > rows_max {
            let (read, skipped) = (end.rows_read, end.rows_skipped);
            return Err(PullError::Invalid(format!(
                "`rows_read` is {read} and `rows_skipped` {skipped}, and shard {shard} has {rows_max} rows at most"
            )));
        }
        let gathered = {
            let job = Arc::clone(&job);
            tokio::task::spawn_blocking(move || match intake.gathering {
                Some(gathering) => into(&job, shard, &runtime, |into| gathering.end(into)),
                None => Ok(None),
            })
        };
        let (results, groups) = match gathered.await.map_err(broken)? {
            Ok(Some(gathered)) => gathered,
            Ok(None) => return self.shard.ended().await,
            Err(error) => return self.shard.unfit(&job, error).await,
        };
        let hash = <[u8; 16]>::try_from(&end.bytes_hash[..]).ok();
        let hash = hash.map(u128::from_be_bytes);
        if let Some(changed) = of_recorded_file(&job, shard, hash).await? {
            return self.shard.refuse(&job, &changed).await;
        }
        let outcome = ShardResults {
            results,
            groups,
            rows_read: end.rows_read,
            rows_skipped: end.rows_skipped,
            values_ignored: end.values_ignored,
            content_hash: hash.map_or(0, content_hash),
            checkpoint_parts: 0,
            log: None,
        };
        self.shard.commit(&job, outcome).await
    }
}

impl PulledShard {
    async fn commit(
        &self,
        job: &PulledJob,
        outcome: ShardResults,
    ) -> Result<CompleteResponse, PullError> {
        if !self.desk.may_count(job, &self.token).await
            && !self.desk.has_ended(job, &self.token).await?
        {
            return Err(lost(&self.token));
        }
        let shard = self.token.shard_id.shard;
        let settlement = job.open.settle(Batch::alone(shard, outcome));
        let settlement = settlement.instrument(job.open.span.clone()).await?;
        match &settlement {
            Settlement::Done { shards, conflicts } => {
                self.desk
                    .0
                    .leases
                    .end(self.token.shard_id, self.token.holder, None);
                self.desk.0.programs.ended(self.token.holder, true);
                let (mut rows, mut records_merged) = (0, 0);
                for shard in shards {
                    rows += shard.rows_read;
                    records_merged += shard.records_merged;
                }
                job.observer.observe(&Event::RowsRead { shard, rows });
                settlement.tell(&*job.observer);
                job.ended(shard).await;
                Ok(CompleteResponse {
                    outcome: CompleteOutcome::Done.into(),
                    error: String::new(),
                    records_merged,
                    conflicts: *conflicts,
                })
            }
            Settlement::Dropped { .. } | Settlement::Cancelled | Settlement::Changed => {
                self.ended().await
            }
            Settlement::Again => Err(PullError::Unavailable(
                "other transactions came in between, and the rows are too many to be kept; expected \
                 them to be sent again"
                    .to_owned(),
            )),
            Settlement::Failed {
                message,
                transient: false,
            } => self.refuse(job, message).await,
            // The rows may be sent again: no attempt has failed.
            Settlement::Failed { message, .. } => Err(PullError::Unavailable(message.clone())),
        }
    }

    /// The rows could not be made results or committed.
    async fn unfit(
        &self,
        job: &PulledJob,
        error: AttemptError,
    ) -> Result<CompleteResponse, PullError> {
        match error {
            AttemptError::Shard {
                message,
                transient: false,
            } => self.refuse(job, &message).await,
            other => Err(other.into()),
        }
    }

    /// The shard fails: the same rows never will be taken.
    async fn refuse(&self, job: &PulledJob, why: &str) -> Result<CompleteResponse, PullError> {
        let why = bounded(why);
        if !self.desk.may_count(job, &self.token).await {
            return self.ended().await;
        }
        let attempts = Some(self.token.attempts);
        let shard = self.token.shard_id.shard;
        let recorded = job.open.record_failure(shard, attempts, why, false);
        let failure = recorded.await?;
        match failure {
            Failure::Final(_) => {
                self.desk.failed(job, &self.token, &failure, why).await;
                Ok(refused(why))
            }
            Failure::Again { .. } | Failure::NotAdmitted(_) => self.ended().await,
        }
    }

    /// The shard is not to be worked on any more, or by somebody else: how it stands.
    async fn ended(&self) -> Result<CompleteResponse, PullError> {
        let (desk, token) = (&self.desk, &self.token);
        let stopped = || PullError::Stopped(self.name.clone());
        let Some(ledger) = crate::run::records::ledger::Ledger::find(&desk.0.db).await? else {
            return Err(stopped());
        };
        let Some(job) = ledger.state_now(&self.name).await? else {
            return Err(stopped());
        };
        if (job.number, job.retries) != (token.shard_id.job, token.shard_id.retries) {
            return Err(stopped());
        }
        let has_stopped = match job.phase() {
            JobPhase::Cancelled => true,
            // As a whole: its results are gone.
            JobPhase::Failed => !job.reason.is_empty(),
            _ => false,
        };
        let shard = ledger.shard_now(&self.name, token.shard_id.shard).await?;
        let outcome = match shard.outcome() {
            ShardOutcome::Done => Ok(CompleteResponse {
                outcome: CompleteOutcome::AlreadyDone.into(),
                ..CompleteResponse::default()
            }),
            // By these rows, as far as can be told: the answer was lost.
            ShardOutcome::Failed if shard.attempts == token.attempts + 1 => {
                Ok(refused(bounded(&shard.error)))
            }
            ShardOutcome::Unspecified if has_stopped => Err(stopped()),
            ShardOutcome::Failed | ShardOutcome::Unspecified => Err(lost(token)),
        };
        if desk.0.leases.end(token.shard_id, token.holder, None) {
            desk.0.db.release(&lease_name(token.shard_id)).await;
        }
        desk.0.programs.ended(token.holder, false);
        if let Some(job) = &self.job
            && outcome.is_ok()
        {
            let shard = token.shard_id.shard;
            job.observer.observe(&Event::ShardDropped { shard });
            job.ended(shard).await;
        }
        outcome
    }
}

impl Intake {
    fn new(job: &PulledJob, token: &Token, format: RowsFormat) -> Intake {
        let gathering = Gathering::new(
            &job.open.pipeline,
            (job.open.job_number, token.shard_id.shard),
            None,
            (GROUPS_LEN_MAX, GROUPS_LEN_MAX),
        );
        Intake {
            decoder: Decoder::new(format),
            gathering: Some(gathering),
            rows: 0,
            refused: None,
        }
    }

    /// Takes a block of rows; `false` if nothing of the shard is wanted any more. Blocks.
    fn take(
        &mut self,
        job: &PulledJob,
        shard: u64,
        block: &[u8],
        is_last: bool,
        runtime: &Handle,
    ) -> Result<bool, PullError> {
        if self.refused.is_some() {
            return Ok(true);
        }
        assert!(
            self.gathering.is_some(),
            "rows of shard {shard} are taken, and go nowhere"
        );
        let before = self.rows;
        let (gathering, rows) = (&mut self.gathering, &mut self.rows);
        let mut refused = None;
        let mut is_wanted = true;
        let mut push = |batch: arrow::array::RecordBatch| {
            *rows += batch.num_rows() as u64;
            let Some(gathering) = gathering
                .as_mut()
                .filter(|_| refused.is_none() && is_wanted)
            else {
                return Ok(());
            };
            match into(job, shard, runtime, |into| gathering.push(&batch, into)) {
                Ok(goes_on) => is_wanted = goes_on,
                Err(AttemptError::Shard {
                    message,
                    transient: false,
                }) => refused = Some(message),
                Err(error) => return Err(RowsError::Other(error.into())),
            }
            Ok(())
        };
        self.decoder.take(&job.wanted, block, &mut push)?;
        if is_last {
            self.decoder.end(&job.wanted, &mut push)?;
        }
        assert!(self.rows >= before, "{} rows after {before}", self.rows);
        if refused.is_some() {
            // What was gathered is of no use.
            self.gathering = None;
            self.refused = refused;
        }
        Ok(is_wanted)
    }
}

/// How many rows a shard can have at most.
async fn rows_max(job: &PulledJob, number: u64) -> Result<u64, PullError> {
    let source = &job.open.pipeline.source;
    let shard = job.open.locate(number).await?;
    let format = source.format().map_err(JobError::from)?;
    let rows = format.rows_max(source, shard).map_err(JobError::from)?;
    Ok(rows.unwrap_or(ROWS_MAX))
}

/// Calls `work` with where results go that do not fit into memory. Blocks.
fn into<T>(
    job: &PulledJob,
    shard: u64,
    runtime: &Handle,
    work: impl FnOnce(&OverflowSink<'_>) -> T,
) -> T {
    let admit = || -> Result<Option<Transaction>, AttemptError> {
        let admitted = runtime.block_on(job.open.admit([shard]));
        match admitted.map_err(AttemptError::Fatal)? {
            Admission::Open(tx) => Ok(Some(*tx)),
            Admission::Refused(_) => Ok(None),
        }
    };
    work(&OverflowSink {
        store: &job.open.store,
        runtime,
        admit: &admit,
    })
}

/// Why rows are not of the file that was recorded, if it changed since it was handed out.
async fn of_recorded_file(
    job: &Arc<PulledJob>,
    shard: u64,
    bytes_hash: Option<u128>,
) -> Result<Option<String>, PullError> {
    let shard = job.open.locate(shard).await?;
    let looked_at = Arc::clone(job);
    let checked = tokio::task::spawn_blocking(move || {
        check_read_by_others(&looked_at.open.pipeline.source, shard, bytes_hash)
    });
    match checked.await.map_err(broken)? {
        Ok(true) => Ok(None),
        Ok(false) => Err(PullError::Invalid(
            "`bytes_hash` is not that of the bytes that were recorded: the program sees another file"
                .to_owned(),
        )),
        Err(changed) => Ok(Some(changed.to_string())),
    }
}

/// Holds what was said against what came.
fn count(what: &'static str, said: u64, found: u64) -> Result<(), PullError> {
    match said == found {
        true => Ok(()),
        false => Err(PullError::Invalid(format!(
            "`{what}` is {said}, and {found} came"
        ))),
    }
}

fn refused(why: &str) -> CompleteResponse {
    CompleteResponse {
        outcome: CompleteOutcome::Refused.into(),
        error: why.to_owned(),
        ..CompleteResponse::default()
    }
}
