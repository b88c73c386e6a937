//! Many processes at one database, each with many clients that commit one small record after the other, durably.
//!
//! Ours is one folder and a Redis of its own; SQLite in WAL mode, which several processes may write to at once without a
//! server, is one file; `PostgreSQL` is a server; SOP is a folder and a Redis, like ours. Every side gets the same
//! processes and clients, and afterwards the database must hold exactly what was acknowledged.

mod call;
mod child;
mod histogram;
mod ours;
#[cfg(feature = "postgres")]
mod postgres;
mod redis;
mod report;
mod server;
mod sop;
#[cfg(feature = "sqlite")]
mod sqlite;
mod swarm;

pub use call::{USAGE, main};
pub use child::CHILD;
pub use redis::Redis;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::engine::Result;
use server::Server;

/// Bytes of a value.
const VALUE_LEN: usize = 100;

/// What clients write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Each its own keys, far from the others'.
    Disjoint,
    /// Keys of their own again, but next to the others': they meet in the same node of the tree.
    Near,
    /// All the same key: each adds one to it.
    Add,
    /// All the same key: each replaces it.
    Replace,
}

impl Work {
    pub(crate) const ALL: [Work; 4] = [Work::Disjoint, Work::Near, Work::Add, Work::Replace];

    /// What it is called in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Work::Disjoint => "disjoint_keys",
            Work::Near => "keys_of_one_node",
            Work::Add => "add_to_one_key",
            Work::Replace => "replace_one_key",
        }
    }

    /// The key of a client's commit, as numbers in the order that counts.
    pub(crate) fn key(self, client: Client, number: u64) -> [u64; 3] {
        match self {
            Work::Disjoint => [client.process, client.number, number],
            Work::Near => [number, client.process, client.number],
            Work::Add | Work::Replace => [0; 3],
        }
    }

    /// A client's value, which is never the one that stands there.
    pub(crate) fn value(client: Client, number: u64) -> [u8; VALUE_LEN] {
        let mut value = [7; VALUE_LEN];
        let parts = [client.process, client.number, number].map(u64::to_le_bytes);
        for (place, byte) in value.iter_mut().zip(parts.into_iter().flatten()) {
            *place = byte;
        }
        value
    }

    /// Whether each commit leaves a record of its own.
    pub(crate) fn has_own_keys(self) -> bool {
        matches!(self, Work::Disjoint | Work::Near)
    }
}

/// A client among all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client {
    /// Its process.
    pub(crate) process: u64,
    /// Its number there.
    pub(crate) number: u64,
}

/// What a process is to do.
#[derive(Clone, Debug)]
pub(crate) struct Orders {
    pub(crate) work: Work,
    /// Which process it is.
    pub(crate) process: u64,
    pub(crate) clients: u64,
    pub(crate) lasts: Duration,
    pub(crate) folder: PathBuf,
    /// Where the server is, if there is one.
    pub(crate) server: String,
}

impl Orders {
    /// Where the database is.
    pub(crate) fn place(&self) -> Place {
        Place {
            folder: self.folder.clone(),
            server: self.server.clone(),
        }
    }
}

/// Where a database is.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) folder: PathBuf,
    /// Where the server is, if there is one.
    pub(crate) server: String,
}

/// What clients have done.
#[derive(Clone, Debug, Default)]
pub(crate) struct Done {
    /// Commits that were acknowledged in time.
    pub(crate) in_time: u64,
    /// All that were acknowledged: those too that were under way when time was over.
    pub(crate) commits: u64,
    /// Commits that lost against others and were tried again.
    pub(crate) conflicts: u64,
    /// What a commit took, with all its tries.
    pub(crate) latency: histogram::Histogram,
}

impl Done {
    pub(crate) fn join(&mut self, other: &Done) {
        self.in_time += other.in_time;
        self.commits += other.commits;
        self.conflicts += other.conflicts;
        self.latency.join(&other.latency);
    }
}

/// What comes of starting a server: none where a side needs none.
pub(crate) type Served = Result<Option<Box<dyn Server>>>;

/// A side of the comparison.
#[derive(Clone, Copy)]
pub(crate) struct Side {
    pub(crate) name: &'static str,
    /// Needs more than is there on most machines: measured only where it is asked for by name.
    pub(crate) by_name: bool,
    /// Starts what it needs beside its processes.
    pub(crate) serve: fn(&Path) -> Served,
    /// Makes the database.
    pub(crate) prepare: fn(&Place, Work) -> Result<()>,
    /// Opens it, says that it is ready, and lets clients work.
    pub(crate) work: fn(&Orders) -> Result<Done>,
    /// What the database holds: records, or what was added.
    pub(crate) count: fn(&Place, Work) -> Result<u64>,
}

/// Ours first.
pub(crate) const SIDES: &[Side] = &[
    ours::SIDE,
    #[cfg(feature = "sqlite")]
    sqlite::SIDE,
    #[cfg(feature = "postgres")]
    postgres::SIDE,
    sop::SIDE,
];
