//! What happened in a run, in numbers.

use std::fmt;

/// What happened in a run.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Processes at the same time.
    pub processes: u64,
    /// How long they were struck.
    pub seconds: u64,
    /// Processes that were killed.
    pub kills: u64,
    /// Those of them that stood still.
    pub kills_still: u64,
    /// Processes that were stopped.
    pub stops: u64,
    /// How often Redis forgot everything.
    pub flushes: u64,
    /// How often it, or a master of it, was killed.
    pub redis_kills: u64,
    /// How often it, or a master of it, was stopped.
    pub redis_stops: u64,
    /// How often the nodes of a cluster agreed on another master.
    pub elections: u64,
    /// How often a link was cut.
    pub cuts: u64,
    /// Acknowledged transactions that write.
    pub commits: usize,
    /// Acknowledged transactions that only read.
    pub reads: usize,
    /// Transactions that others were in the way of.
    pub conflicts: u64,
    /// Transactions that write and whose client, mostly for having been killed, was told nothing.
    pub open: usize,
    /// Commits that returned without an outcome.
    pub unknown: u64,
    /// Transactions that were refused for other reasons.
    pub refused: u64,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hundredths = self.commits as u64 * 100 / self.seconds.max(1);
        write!(
            f,
            "processes {} seconds {} kills {} (of stopped {}) stops {} flushes {} redis kills {} redis stops {} \
             elections {} cuts {} commits {} ({}.{:02}/s) reads {} conflicts {} open {} unknown {} refused {}",
            self.processes,
            self.seconds,
            self.kills,
            self.kills_still,
            self.stops,
            self.flushes,
            self.redis_kills,
            self.redis_stops,
            self.elections,
            self.cuts,
            self.commits,
            hundredths / 100,
            hundredths % 100,
            self.reads,
            self.conflicts,
            self.open,
            self.unknown,
            self.refused,
        )
    }
}
