//! What becomes of computed shards: one decision, whoever has computed them.
//!
//! A thread of this process and a program that pulled a shard both hand over a [`Batch`]. The results are committed with
//! the marks of its shards, all or none. Where that is refused the reason decides:
//! - a shard has ended before: of one shard the results are dropped; several are computed again, each by itself, since
//!   the others may still count;
//! - the commit lost with the results in it: they are computed again;
//! - the store does not take a result: of one shard the attempt has failed; several are computed again, each by itself,
//!   so that only the one fails whose result it is;
//! - the job was cancelled, or is another one by now: nothing of it is wanted.
//!
//! Callers only keep their own books by what they are told: a thread its leases and its queue, a desk its tokens.

use super::batch::{Batch, ComputedShard};
use super::commit::{Admission, AdmissionRefusal, Committed};
use super::observer::{Event, Observer};
use crate::run::compute::error::AttemptError;
use crate::run::compute::open::OpenJob;
use crate::run::records::error::JobError;
use crate::run::records::exports;

/// What became of computed shards.
#[derive(Debug)]
pub(crate) enum Settlement {
    /// They are done, durably.
    Done {
        /// The shards.
        shards: Vec<ComputedShard>,
        /// Commits that lost before.
        conflicts: u32,
    },
    /// The only shard had ended, here or in another process. What was computed is dropped.
    Dropped {
        /// The shard.
        shard: u64,
    },
    /// Nothing was committed: the shards are to be computed again, each by itself.
    Again,
    /// The attempt at the only shard has failed, and is not counted yet.
    Failed {
        /// Why, for people.
        message: String,
        /// Whether another attempt at the same bytes may succeed.
        transient: bool,
    },
    /// The job was cancelled.
    Cancelled,
    /// The job was retried, removed or replaced, or its store is gone.
    Changed,
}

impl Settlement {
    /// What follows for shards that may not be worked on.
    pub(crate) fn of_refused(shards: &[u64], refusal: AdmissionRefusal) -> Settlement {
        match (refusal, shards) {
            (AdmissionRefusal::Ended, [shard]) => Settlement::Dropped { shard: *shard },
            (AdmissionRefusal::Ended, _) => Settlement::Again,
            (AdmissionRefusal::Cancelled, _) => Settlement::Cancelled,
            (AdmissionRefusal::Changed, _) => Settlement::Changed,
        }
    }

    fn of_error(shards: &[ComputedShard], error: AttemptError) -> Result<Settlement, JobError> {
        let (message, transient) = match error {
            AttemptError::Fatal(error) => return Err(error),
            AttemptError::Shard { message, transient }
            | AttemptError::Program { message, transient } => (message, transient),
            AttemptError::Source(error) => (error.to_string(), error.is_transient()),
        };
        Ok(match shards.len() {
            1 => Settlement::Failed { message, transient },
            _ => Settlement::Again,
        })
    }

    /// Tells of shards that have ended by this.
    pub(crate) fn tell(&self, observer: &dyn Observer) {
        match self {
            Settlement::Done { shards, conflicts } => {
                for shard in shards {
                    observer.observe(&Event::ShardDone {
                        shard: shard.number,
                        rows_read: shard.rows_read,
                        rows_skipped: shard.rows_skipped,
                        records_merged: shard.records_merged,
                        conflicts: *conflicts,
                    });
                }
            }
            Settlement::Dropped { shard } => {
                observer.observe(&Event::ShardDropped { shard: *shard });
            }
            Settlement::Again
            | Settlement::Failed { .. }
            | Settlement::Cancelled
            | Settlement::Changed => {}
        }
    }
}

impl OpenJob {
    /// Commits computed shards, and decides what becomes of them. Durable when it returns [`Settlement::Done`].
    ///
    /// # Errors
    /// What the database refuses, where that is not about these results.
    pub(crate) async fn settle(&self, mut batch: Batch) -> Result<Settlement, JobError> {
        let (shards, results) = batch.take();
        let numbers: Vec<u64> = shards.iter().map(|shard| shard.number).collect();
        assert!(!numbers.is_empty(), "a batch that is settled has shards");
        let committed = match results {
            Ok(results) => self.commit(&shards, results).await,
            Err(error) => Err(error),
        };
        self.settle_files(&shards, &committed).await;
        Ok(match committed {
            Ok(Committed::Done { conflicts }) => Settlement::Done { shards, conflicts },
            Ok(Committed::NotAdmitted(refusal)) => Settlement::of_refused(&numbers, refusal),
            Ok(Committed::Lost) => Settlement::Again,
            Err(error) => Settlement::of_error(&shards, error)?,
        })
    }

    /// Makes the files of committed shards visible, and removes those of others. Where it cannot be told whether they are
    /// committed they stay: ending the job makes those visible that are.
    async fn settle_files(
        &self,
        shards: &[ComputedShard],
        committed: &Result<Committed, AttemptError>,
    ) {
        let files: Vec<_> = shards
            .iter()
            .flat_map(|shard| shard.files.clone())
            .collect();
        let Some(plan) = self.export.clone().filter(|_| !files.is_empty()) else {
            return;
        };
        let is_committed = match committed {
            Ok(Committed::Done { .. }) => true,
            Ok(Committed::NotAdmitted(_) | Committed::Lost) | Err(AttemptError::Shard { .. }) => {
                false
            }
            Err(_) => return,
        };
        let settled = tokio::task::spawn_blocking(move || match is_committed {
            true => exports::publish(&plan, &files),
            false => {
                exports::discard(&plan, &files);
                Ok(())
            }
        });
        let why = match settled.await {
            Ok(Ok(())) => return,
            Ok(Err(why)) => why,
            Err(error) => error.to_string(),
        };
        tracing::warn!(
            job = self.name,
            error = why,
            "files are not visible yet; the end of the job sees to that"
        );
    }

    /// What becomes of a shard whose computing was given up, since it seemed not to be wanted any more; one that
    /// is wanted after all is computed again.
    ///
    /// # Errors
    /// What the database refuses.
    pub(crate) async fn settle_given_up(&self, shard: u64) -> Result<Settlement, JobError> {
        Ok(match self.admit([shard]).await? {
            Admission::Open(_) => Settlement::Again,
            Admission::Refused(refusal) => Settlement::of_refused(&[shard], refusal),
        })
    }
}
