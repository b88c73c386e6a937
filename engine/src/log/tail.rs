//! The end of the log, in either form: the way to the next slot.

use bytes::Bytes;

use super::append::{AppendError, LogWriter};
use super::record::LogRecord;
use super::slots::{Attempt, Followed, SlotLog};
use crate::base::{Generation, PathId, Position, Result};

/// Where the next slot is written: the append file of one process, or a file a slot among many.
pub enum Tail {
    /// This process alone writes.
    Append(LogWriter),
    /// Any process may be first.
    Slots(Box<SlotLog>),
}

impl Tail {
    /// Whether other processes write too.
    pub fn is_shared(&self) -> bool {
        matches!(self, Tail::Slots(_))
    }

    /// The newest slot and its hash.
    pub fn last(&self) -> (Position, u128) {
        match self {
            Tail::Append(writer) => writer.last(),
            Tail::Slots(log) => log.last(),
        }
    }

    /// The generation of the next slot.
    pub fn generation(&self) -> Generation {
        match self {
            Tail::Append(writer) => writer.generation(),
            Tail::Slots(log) => log.generation(),
        }
    }

    /// The paths on which that generation stands, the active one first; empty where the database has one path only.
    pub fn paths(&self) -> Vec<PathId> {
        match self {
            Tail::Append(_) => Vec::new(),
            Tail::Slots(log) => log.paths(),
        }
    }

    /// Where the next slot will stand within a file, for a manifest.
    pub fn place(&self) -> Option<(Generation, Position, u64)> {
        match self {
            Tail::Append(writer) => writer.place(),
            Tail::Slots(_) => None,
        }
    }

    /// The next slot that another process has written, as [`SlotLog::next`].
    ///
    /// # Errors
    /// As [`SlotLog::next`].
    pub async fn next(&mut self, hint: Option<Bytes>) -> Result<Option<Followed>> {
        match self {
            Tail::Append(_) => Ok(None),
            Tail::Slots(log) => log.next(hint).await,
        }
    }

    /// Steps over a slot that [`Tail::next`] returned.
    pub fn accept(&mut self, followed: &Followed) {
        match self {
            Tail::Append(_) => unreachable!("nobody else writes to an append file"),
            Tail::Slots(log) => log.accept(followed),
        }
    }

    /// Writes the next slot; it is durable when this returns [`Attempt::Won`].
    ///
    /// # Errors
    /// [`AppendError`]: whether the slot was certainly not written, or may have been.
    pub async fn append(
        &mut self,
        records: &[LogRecord],
        nonce: u128,
        time_ms: u64,
    ) -> Result<Attempt, AppendError> {
        match self {
            Tail::Append(writer) => {
                writer.append(records, nonce, time_ms).await?;
                Ok(Attempt::Won(Bytes::new()))
            }
            Tail::Slots(log) => log.append(records, nonce, time_ms).await,
        }
    }

    /// Lets the next slot begin a file if the present one has `len_min` bytes; where each slot has one, it does
    /// so anyway.
    ///
    /// # Errors
    /// As [`LogWriter::begin_next_file`].
    pub async fn begin_next_file(&mut self, len_min: u64) -> Result<()> {
        match self {
            Tail::Append(writer) => writer.begin_next_file(len_min).await,
            Tail::Slots(_) => Ok(()),
        }
    }

    /// What [`SlotLog::settle_late`] does.
    ///
    /// # Errors
    /// What the storage refuses.
    pub async fn settle_late(&mut self) -> Result<()> {
        match self {
            Tail::Append(_) => Ok(()),
            Tail::Slots(log) => log.settle_late().await,
        }
    }

    /// Ends writing in good order.
    ///
    /// # Errors
    /// What the storage refuses; every committed slot is durable all the same.
    pub async fn close(&mut self) -> Result<()> {
        match self {
            Tail::Append(writer) => writer.close().await,
            Tail::Slots(_) => Ok(()),
        }
    }
}
