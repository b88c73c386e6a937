//! An append file: its writes, allocations and cuts can be left in the middle.

use async_trait::async_trait;
use eciton_engine::base::{Error, Result};
use eciton_engine::storage::{AppendFile, Name, Operation};

use super::{SimStorage, Trouble};
use crate::clock::yield_now;
use crate::disk::ENOSPC;
use crate::fault::FaultKind;

/// Bytes that are written whole or not at all.
const SECTOR_LEN: u64 = 512;

pub(super) struct SimAppendFile {
    storage: SimStorage,
    name: Name,
    inner: Box<dyn AppendFile>,
    /// The file has ended: the memory below refuses everything by itself.
    has_ended: bool,
}

impl SimAppendFile {
    pub(super) fn new(
        storage: SimStorage,
        name: Name,
        inner: Box<dyn AppendFile>,
    ) -> SimAppendFile {
        SimAppendFile {
            storage,
            name,
            inner,
            has_ended: false,
        }
    }

    /// Lets others go first; `true` if the operation is to be carried out in full. Where it is to
    /// fail, the memory below is told so: it knows what is left half-done, and that the file has ended.
    async fn begin(&self, operation: Operation, kinds: &[FaultKind], is_valid: bool) -> bool {
        let object = self.name.as_str();
        let trouble = self.storage.begin(operation, object, kinds).await;
        if self.has_ended || !is_valid {
            return false;
        }
        let Trouble::Errno(errno) = trouble else {
            return true;
        };
        self.storage.disk.memory.inject(operation, errno);
        false
    }

    /// A place between, both included, to which an operation in the middle has come: whole sectors,
    /// since no system leaves a write that was cut short within one.
    fn part(&self, from: u64, to: u64) -> u64 {
        let place = from + self.storage.shared.schedule_below(to - from + 1);
        if place == to {
            to
        } else {
            (place - place % SECTOR_LEN).max(from)
        }
    }

    async fn end(&mut self, operation: Operation, result: Result<()>) -> Result<()> {
        let is_full = |error: &Error| {
            matches!(
                error,
                Error::Storage {
                    errno: Some(ENOSPC),
                    ..
                }
            )
        };
        let goes_on = |error| operation == Operation::Allocate && is_full(error);
        self.has_ended |= result.as_ref().is_err_and(|error| !goes_on(error));
        let object = self.name.as_str();
        let result = self
            .storage
            .traced(operation, object, result, |()| "done".to_owned());
        self.storage.shared.gap().await;
        result
    }
}

#[async_trait]
impl AppendFile for SimAppendFile {
    fn allocated(&self) -> u64 {
        self.inner.allocated()
    }

    async fn allocate(&mut self, len: u64) -> Result<()> {
        let operation = Operation::Allocate;
        let before = self.inner.allocated();
        if len > before {
            let kinds = [FaultKind::IoError, FaultKind::NoSpace, FaultKind::Slow];
            if self.begin(operation, &kinds, true).await {
                let part = self.part(before, len);
                let memory = &self.storage.disk.memory;
                memory.resize_unsynced(&self.name, part);
                yield_now().await;
            }
        }
        let result = self.inner.allocate(len).await;
        self.end(operation, result).await
    }

    async fn write_durable(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        let operation = Operation::WriteDurable;
        let kinds = [FaultKind::IoError, FaultKind::Slow];
        let end = offset.checked_add(bytes.len() as u64);
        let is_within = end.is_some_and(|end| end <= self.inner.allocated());
        if self.begin(operation, &kinds, is_within).await {
            // First a part of it in memory, then all of it, then on the disk.
            let memory = &self.storage.disk.memory;
            let part = self.part(offset, offset + bytes.len() as u64) - offset;
            let part = usize::try_from(part).unwrap_or(bytes.len());
            memory.write_unsynced(&self.name, offset, &bytes[..part]);
            yield_now().await;
            memory.write_unsynced(&self.name, offset, bytes);
            yield_now().await;
        }
        let result = self.inner.write_durable(offset, bytes).await;
        self.end(operation, result).await
    }

    async fn sync(&mut self) -> Result<()> {
        let operation = Operation::Sync;
        let kinds = [FaultKind::IoError, FaultKind::Slow];
        self.begin(operation, &kinds, true).await;
        let result = self.inner.sync().await;
        self.end(operation, result).await
    }

    async fn truncate(&mut self, len: u64) -> Result<()> {
        let operation = Operation::Truncate;
        let is_within = len <= self.inner.allocated();
        let kinds = [FaultKind::IoError, FaultKind::Slow];
        if self.begin(operation, &kinds, is_within).await {
            self.storage.disk.memory.resize_unsynced(&self.name, len);
            yield_now().await;
        }
        let result = self.inner.truncate(len).await;
        self.end(operation, result).await
    }
}
