//! What a transaction has checked when it commits.

use super::snapshot::Snapshot;
use crate::base::{Error, Position, Result};
use bytes::Bytes;

/// How a transaction is begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TxOptions {
    /// What is checked.
    pub check: Check,
}

/// What a transaction has checked when it commits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Check {
    /// Every key and every range that it read: it commits only if they are as it read them. Strictly
    /// serializable.
    #[default]
    Reads,
    /// Nothing that it read.
    ///
    /// Promised: it reads one consistent state, the one at its beginning, and its own writes on top; its
    /// writes become durable and visible together or not at all; what others read and it writes conflicts
    /// for *them*, as ever. It costs no memory for what it reads, and as long as it opens no stream it never
    /// grows too old by taking long.
    ///
    /// Not promised: that what it read still holds when it commits. Of two that change one key the later
    /// slot wins, and an update that the other made in between is lost: what was computed from reads
    /// may be computed from what is no more. Loads, rewrites of everything, readers of much: yes;
    /// counters and transfers: no (a merge is right in either mode).
    ///
    /// Two things are checked all the same, since acknowledged writes would vanish or make no sense
    /// together without: that the stores written to have not been dropped, and, where a stream was opened,
    /// its head.
    Nothing,
}

/// Whether the stores that a transaction used are those that there are: numbers of stores are never used
/// twice, so equal records mean equal stores. The state in which that was seen.
pub(super) async fn stores_stand(
    keys: impl Iterator<Item = &Bytes>,
    read: &Snapshot,
    now: &Snapshot,
) -> Result<Position> {
    for key in keys {
        if read.get_full(key).await? != now.get_full(key).await? {
            return Err(Error::Conflict {
                what: "the catalog: a store has been dropped".to_owned(),
                read_at: read.position(),
            });
        }
    }
    Ok(now.position())
}
