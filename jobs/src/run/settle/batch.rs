//! Computed shards that wait to be committed together.
//!
//! A commit costs a sync of the disk and one operand a group, however few rows stand behind it. So a
//! worker keeps computing for a moment before it commits, and shards that share groups cost each group
//! once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use eciton_engine::merge::Operand;
use eciton_engine::{Key, Transaction};
use eciton_proto::v1::{ExportedFile, ProgramLog};

use crate::aggregate::Aggregator;
use crate::run::compute::attempt::ShardResults;
use crate::run::compute::error::AttemptError;

/// Shards of one commit: their records are read and written one by one.
pub(crate) const BATCH_SHARDS_MAX: usize = 1024;

/// What a commit merges.
type CommitOperands = Vec<(Key, Operand)>;

/// Results that can be committed.
pub(super) enum Commitable {
    /// In memory.
    Operands(CommitOperands),
    /// In a transaction, since they do not fit into memory.
    Overflow(Box<Transaction>),
}

/// A computed shard, without its results.
#[derive(Clone, Debug)]
pub(crate) struct ComputedShard {
    pub(crate) number: u64,
    pub(crate) rows_read: u64,
    pub(crate) rows_skipped: u64,
    /// Values of members of JSON objects that are no columns.
    pub(crate) values_ignored: u64,
    /// As in `ShardState`.
    pub(crate) content_hash: u64,
    /// Operands that the commit has because of this shard: for groups that earlier shards of the batch
    /// had too there is one operand, counted there.
    pub(crate) records_merged: u64,
    /// Records that have the checkpoint of the program that computed it: they go with its mark.
    pub(crate) checkpoint_parts: u32,
    /// What is kept of the program that computed it, if that said anything.
    pub(crate) log: Option<Arc<ProgramLog>>,
    /// Files that it has written: they are recorded with its mark.
    pub(crate) files: Vec<ExportedFile>,
}

/// Computed shards and their results, which no one has seen yet.
#[derive(Default)]
pub(crate) struct Batch {
    shards: Vec<ComputedShard>,
    /// Results that are no operands yet.
    groups: Option<Box<Aggregator>>,
    /// An empty aggregator whose memory the next shard may have.
    spare: Option<Box<Aggregator>>,
    operands: Vec<(Key, Operand)>,
    operands_len: usize,
    /// The transaction that has results of the only shard, where they do not fit into memory.
    overflow: Option<Box<Transaction>>,
    /// When the first shard came; `None` of an empty one.
    begun: Option<Instant>,
}

impl Batch {
    /// A shard that stands for itself.
    pub(crate) fn alone(shard: u64, outcome: ShardResults) -> Batch {
        let mut alone = Batch::default();
        alone.add(shard, outcome);
        assert_eq!(alone.shards(), 1, "shard {shard} was computed alone");
        alone
    }

    /// Takes a shard; one whose results are not all in memory only if there is no other.
    pub(crate) fn add(&mut self, shard: u64, outcome: ShardResults) {
        self.begun.get_or_insert_with(Instant::now);
        let ShardResults {
            mut results,
            groups,
            rows_read,
            rows_skipped,
            values_ignored,
            content_hash,
            checkpoint_parts,
            log,
        } = outcome;
        let overflow = results.take_overflow();
        let files = results.take_files();
        assert!(
            self.overflow.is_none() && (overflow.is_none() || self.shards.is_empty()),
            "shard {shard} and {} others in one transaction",
            self.shards.len()
        );
        self.overflow = overflow.map(Box::new);
        let mut records_merged = results.count();
        self.operands_len += results.len();
        self.operands.extend(results.into_kept());
        if let Some(mut groups) = groups {
            let new = match &mut self.groups {
                Some(kept) => {
                    let new = kept.absorb(&groups);
                    groups.clear();
                    self.spare = Some(groups);
                    new
                }
                None => self.groups.insert(groups).groups(),
            };
            records_merged += new as u64;
        }
        self.shards.push(ComputedShard {
            number: shard,
            rows_read,
            rows_skipped,
            values_ignored,
            content_hash,
            records_merged,
            checkpoint_parts,
            log,
            files,
        });
        assert!(
            self.begun.is_some(),
            "{} shards have no beginning",
            self.shards.len()
        );
    }

    /// An empty aggregator that this batch has no use for.
    pub(crate) fn spare(&mut self) -> Option<Box<Aggregator>> {
        self.spare.take()
    }

    /// Adds the shards and the results of another batch.
    pub(crate) fn join(&mut self, other: Batch) {
        if self.is_empty() {
            *self = other;
            return;
        }
        assert!(
            self.overflow.is_none() && other.overflow.is_none(),
            "a transaction has the results of one shard"
        );
        self.begun = self.begun.min(other.begun);
        self.operands_len += other.operands_len;
        self.operands.extend(other.operands);
        let (first, more) = (self.shards.len(), other.shards.len());
        self.shards.extend(other.shards);
        assert_eq!(self.shards.len(), first + more, "shards of both");
        let Some(groups) = other.groups else {
            return;
        };
        let Some(kept) = &mut self.groups else {
            self.groups = Some(groups);
            return;
        };
        // Groups that both have are counted where they were first.
        let mut known = (groups.groups() - kept.absorb(&groups)) as u64;
        for shard in &mut self.shards[first..] {
            let both = known.min(shard.records_merged);
            shard.records_merged -= both;
            known -= both;
        }
        debug_assert_eq!(known, 0, "groups of both that no shard has counted");
    }

    /// Whether it and another one may be one commit, whose results have `len_max` bytes at most.
    fn fits(&self, other: &Batch, len_max: usize) -> bool {
        self.shards.len() + other.shards.len() <= BATCH_SHARDS_MAX
            && self.len() + other.len() <= len_max
    }

    /// Bytes of results that it keeps, about.
    pub(crate) fn len(&self) -> usize {
        self.operands_len + self.groups.as_ref().map_or(0, |groups| groups.len_bytes())
    }

    /// Whether it is time to commit: for its age, its length in bytes, or its number of shards.
    pub(crate) fn is_due(&self, age_max: Duration, len_max: usize) -> bool {
        let is_old = |begun: Instant| begun.elapsed() >= age_max;
        !self.shards.is_empty()
            && (self.shards.len() >= BATCH_SHARDS_MAX
                || self.len() >= len_max
                || self.begun.is_some_and(is_old))
    }

    /// When its first shard came.
    pub(crate) fn begun(&self) -> Option<Instant> {
        self.begun
    }

    /// How many shards are in it.
    pub(crate) fn shards(&self) -> usize {
        self.shards.len()
    }

    /// Their numbers.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = u64> {
        self.shards.iter().map(|shard| shard.number)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.shards.is_empty()
    }

    /// The shards, and their results, of a key one operand or more. The batch is empty afterwards.
    pub(super) fn take(&mut self) -> (Vec<ComputedShard>, Result<Commitable, AttemptError>) {
        let Batch {
            shards,
            groups,
            mut operands,
            overflow,
            ..
        } = std::mem::take(self);
        assert!(
            self.is_empty() && self.begun.is_none(),
            "{} shards are left of a batch that was taken",
            self.shards.len()
        );
        if let Some(tx) = overflow {
            return (shards, Ok(Commitable::Overflow(tx)));
        }
        if let Some(mut groups) = groups {
            match groups.take() {
                Ok(taken) => operands.extend(taken),
                Err(error) => return (shards, Err(error.into())),
            }
        }
        (shards, Ok(Commitable::Operands(operands)))
    }

    /// A shard with so many bytes of results.
    #[cfg(test)]
    pub(crate) fn of(shard: u64, len: usize) -> Batch {
        let ready = ComputedShard {
            number: shard,
            rows_read: 0,
            rows_skipped: 0,
            values_ignored: 0,
            content_hash: 0,
            records_merged: 0,
            checkpoint_parts: 0,
            log: None,
            files: Vec::new(),
        };
        Batch {
            shards: vec![ready],
            operands_len: len,
            begun: Some(Instant::now()),
            ..Batch::default()
        }
    }

    /// As if it had been begun so much earlier.
    #[cfg(test)]
    pub(crate) fn aged(mut self, by: Duration) -> Batch {
        self.begun = self.begun.and_then(|begun| begun.checked_sub(by));
        self
    }
}

/// As few batches as will do, of what each may be one commit: of [`BATCH_SHARDS_MAX`] shards and `len_max` bytes of
/// results, unless a batch alone has more.
pub(crate) fn joined(batches: Vec<Batch>, len_max: usize) -> Vec<Batch> {
    let mut joined: Vec<Batch> = Vec::new();
    let mut shards = 0;
    for batch in batches {
        if batch.is_empty() {
            continue;
        }
        shards += batch.shards();
        match joined.iter_mut().find(|into| into.fits(&batch, len_max)) {
            Some(into) => into.join(batch),
            None => joined.push(batch),
        }
    }
    let all: usize = joined.iter().map(Batch::shards).sum();
    assert_eq!(all, shards, "no shard is lost or doubled");
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_joined_up_to_what_one_commit_may_have() {
        let of = |count: usize, len| {
            let mut batch = Batch::of(0, len);
            batch.shards = vec![batch.shards[0].clone(); count];
            batch
        };
        let counts = |batches, len_max| -> Vec<usize> {
            joined(batches, len_max).iter().map(Batch::shards).collect()
        };
        let (all, most) = (BATCH_SHARDS_MAX, BATCH_SHARDS_MAX - 1);
        assert_eq!(counts(vec![of(most, 0), of(1, 0)], 9), [all]);
        assert_eq!(counts(vec![of(most, 0), of(2, 0), of(1, 0)], 9), [all, 2]);
        assert_eq!(counts(vec![of(all, 0), of(all, 0)], 9), [all, all]);
        assert_eq!(counts(vec![of(1, 4), of(2, 5), of(3, 1)], 9), [3, 3]);
        // What is too much alone is a commit all the same, and keeps nobody.
        assert_eq!(counts(vec![of(1, 10), of(2, 5), of(3, 4)], 9), [1, 5]);
        assert_eq!(counts(vec![of(all + 1, 0), of(1, 0)], 9), [all + 1, 1]);
        assert_eq!(counts(vec![Batch::default()], 9), [0usize; 0]);
    }

    #[test]
    fn a_batch_is_due_once_its_first_shard_is_old_enough() {
        let age_max = Duration::from_hours(1);
        let mut batch = Batch::of(1, 0);
        assert!(!batch.is_due(age_max, usize::MAX));
        assert!(batch.is_due(Duration::ZERO, usize::MAX));
        let older = Batch::of(0, 0).aged(Duration::from_millis(2));
        let old = older.begun;
        assert!(older.is_due(Duration::from_millis(2), usize::MAX));
        batch.join(older);
        assert_eq!(batch.begun, old);
        assert!(batch.take().1.is_ok());
        assert!(!batch.is_due(Duration::ZERO, 0), "nothing is never due");
    }
}
