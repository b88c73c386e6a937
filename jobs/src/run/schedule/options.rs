//! How a job is run.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::health::Health;
use super::leases::Leases;
use super::permits::Permits;
use super::resources::Resources;
use crate::command::CommandHost;
use crate::run::settle::observer::{Observer, Silent};
use crate::source::Reach;

/// How long computed shards wait for others to be committed with, unless the options say otherwise: what
/// a killed process has to compute again.
pub const COMMIT_INTERVAL: Duration = Duration::from_millis(500);

/// How long another process may be at a shard, at least, before it is computed a second time, unless the options say
/// otherwise.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// How a job is run.
#[derive(Clone)]
pub struct RunOptions {
    /// Shards computed at the same time, each on a thread of its own; at least 1.
    pub workers: usize,
    /// What the workers of several runs have to share, if anything: each shard takes room there.
    pub permits: Option<Permits>,
    /// Whether this process gets anything done, of all runs together.
    pub health: Health,
    /// Who else of this process takes shards, if anybody does: see [`Leases`].
    pub leases: Option<Leases>,
    /// How long another process may be at a shard, at least, before it is computed here, too, once nothing else is left.
    /// Where shards take long, it waits longer.
    pub patience: Duration,
    /// What is computed is committed once it has waited about so long, whatever the workers are at, and when nothing is
    /// left to compute. Zero: each shard by itself.
    pub commit_interval: Duration,
    /// Which files are read of a job that was submitted over gRPC; of others any.
    pub reach: Reach,
    /// The permission to run the programs of jobs; `None`: jobs that have one are not run.
    pub commands: Option<CommandHost>,
    /// What shards take of this process; `None`: as much as they like.
    pub resources: Option<Resources>,
    /// Told what happens.
    pub observer: Arc<dyn Observer>,
    /// Ends the run early: no new shards, those at work finish and commit, or break off if that takes longer than
    /// [`RunOptions::grace`].
    pub stop: CancellationToken,
    /// How long shards at work may take once [`RunOptions::stop`] is cancelled. `None`: as long as they like.
    pub grace: Option<Duration>,
    /// Has shards at work break off at once. Where it comes without [`RunOptions::stop`], nothing is promised.
    pub break_off: CancellationToken,
}

impl Default for RunOptions {
    fn default() -> RunOptions {
        let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        RunOptions {
            workers,
            permits: None,
            health: Health::new(),
            leases: None,
            patience: PATIENCE,
            commit_interval: COMMIT_INTERVAL,
            reach: Reach::anywhere(),
            commands: None,
            resources: None,
            observer: Arc::new(Silent),
            stop: CancellationToken::new(),
            grace: None,
            break_off: CancellationToken::new(),
        }
    }
}
