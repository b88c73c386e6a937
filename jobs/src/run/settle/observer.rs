//! What a run tells while it goes on.

use std::sync::Arc;

use crate::run::records::status::ShardCounts;

/// Something that happened. Shards are given by their numbers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// Work begins.
    Started {
        /// The shards as this run found them.
        shards: ShardCounts,
    },
    /// The job does not start yet. Told again and again while it waits.
    Waits {
        /// The jobs that it waits for, with their states, for people.
        on: &'a str,
    },
    /// An attempt at a shard begins.
    ShardStarted {
        /// The shard.
        shard: u64,
    },
    /// Rows were read.
    RowsRead {
        /// The shard.
        shard: u64,
        /// How many since the last event of this kind.
        rows: u64,
    },
    /// A shard is done: its results are durable and visible.
    ShardDone {
        /// The shard.
        shard: u64,
        /// Rows read.
        rows_read: u64,
        /// Malformed records left out.
        rows_skipped: u64,
        /// Operands committed.
        records_merged: u64,
        /// Times the commit lost against another transaction.
        conflicts: u32,
    },
    /// Another process has done the shard. What this one has computed of it, if anything, was dropped.
    ShardDropped {
        /// The shard.
        shard: u64,
    },
    /// A computed shard's results were dropped with a commit that could not be made: it is computed again, here or
    /// elsewhere, and counts as no attempt of the job.
    ResultsLost {
        /// The shard.
        shard: u64,
    },
    /// An attempt failed and is repeated.
    AttemptFailed {
        /// The shard.
        shard: u64,
        /// Which attempt it was, from 1.
        attempt: u32,
        /// Why.
        error: &'a str,
        /// Milliseconds until the next one.
        retry_in_ms: u64,
    },
    /// Too many attempts have failed here in a row: this process takes no shard for a while.
    Quarantined {
        /// How long.
        pause: std::time::Duration,
        /// Why the last attempt failed.
        error: &'a str,
    },
    /// The file of a shard is not there, or not as it was recorded: the shard was given back, and counts as not tried.
    ShardGivenBack {
        /// The shard.
        shard: u64,
    },
    /// Files of the job are not here as others see them: this process takes no shard of it for a while.
    SourceMissing {
        /// How long.
        pause: std::time::Duration,
        /// What is wrong with the first of them.
        error: &'a str,
    },
    /// The files are here again, or nobody else sees them either: this process takes shards of the job.
    SourceBack,
    /// A shard failed for good.
    ShardFailed {
        /// The shard.
        shard: u64,
        /// Attempts.
        attempts: u32,
        /// Why.
        error: &'a str,
    },
}

/// Takes events. Called from the workers' threads, many times a second: it must be quick and must not
/// block.
pub trait Observer: Send + Sync + 'static {
    /// Takes one event.
    fn observe(&self, event: &Event<'_>);
}

/// Takes no notice.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {
    fn observe(&self, _event: &Event<'_>) {}
}

/// Makes who is told of a job, from its name.
pub type ObserverOf = Arc<dyn Fn(&str) -> Arc<dyn Observer> + Send + Sync>;
