//! A transaction that is to be committed.

use crate::base::{Position, TxId};
use crate::coord::{ReadSet, Writes};

/// What a transaction that is to be committed consists of.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Its name.
    pub txid: TxId,
    /// The position whose state it read.
    pub read_at: Position,
    /// What it read.
    pub reads: ReadSet,
    /// What it writes.
    pub writes: Writes,
}
