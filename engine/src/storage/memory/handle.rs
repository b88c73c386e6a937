//! What [`MemoryStorage`](super::MemoryStorage) opens: objects, writers, append files, the lock.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;

use super::fault::Fate;
use super::inode::Inode;
use super::state::MemoryState;
use crate::base::{Error, Result};
use crate::storage::operation::is_out_of_space;
use crate::storage::{
    AppendFile, Created, LockGuard, Name, Object, ObjectWriter, Operation, check_allocated,
    check_range,
};

pub(super) struct MemoryObject {
    pub(super) state: Arc<Mutex<MemoryState>>,
    pub(super) name: Name,
    pub(super) inode: Arc<Inode>,
    pub(super) len: u64,
}

impl MemoryObject {
    fn read(&self, offset: u64, len: usize) -> Result<Bytes> {
        let mut state = self.state.lock();
        state
            .faults
            .before_look(Operation::ReadAt, self.name.as_str())?;
        check_range(&self.name, offset, len, self.len)?;
        let content = self.inode.content.lock();
        let end = check_range(&self.name, offset, len, content.len() as u64)?;
        let end = in_memory(end);
        assert!(
            len <= end && end <= content.len(),
            "{}: {len} bytes up to {end} of {}",
            self.name,
            content.len()
        );
        state.bytes_read += len as u64;
        let read = content.read_range(end - len..end);
        assert_eq!(read.len(), len, "{} at {offset}", self.name);
        Ok(read)
    }
}

#[async_trait]
impl Object for MemoryObject {
    fn len(&self) -> u64 {
        self.len
    }

    async fn read_at(&self, offset: u64, len: usize) -> Result<Bytes> {
        self.read(offset, len)
    }

    fn read_into(&self, offset: u64, bytes: &mut [u8]) -> Option<Result<()>> {
        let read = self.read(offset, bytes.len());
        Some(read.map(|read| bytes.copy_from_slice(&read)))
    }
}

pub(super) struct MemoryWriter {
    pub(super) state: Arc<Mutex<MemoryState>>,
    pub(super) name: Name,
    pub(super) bytes: Vec<u8>,
    pub(super) failed: Option<Error>,
}

#[async_trait]
impl ObjectWriter for MemoryWriter {
    async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if let Some(failure) = &self.failed {
            return Err(failure.clone());
        }
        let fate = self
            .state
            .lock()
            .begin_change(Operation::Write, self.name.as_str());
        let written = fate.and_then(|fate| fate.result(()));
        self.failed = written.as_ref().err().cloned();
        self.bytes.extend_from_slice(bytes);
        written
    }

    async fn finish(self: Box<Self>) -> Result<Created> {
        if let Some(failure) = self.failed {
            return Err(failure);
        }
        let mut state = self.state.lock();
        let fate = state.begin_change(Operation::Finish, self.name.as_str())?;
        state.create(&self.name, self.bytes.into(), fate)
    }
}

pub(super) struct MemoryAppendFile {
    pub(super) state: Arc<Mutex<MemoryState>>,
    pub(super) name: Name,
    pub(super) inode: Arc<Inode>,
    pub(super) allocated: u64,
    /// What left the content of the file unknown.
    pub(super) failed: Option<Error>,
}

impl MemoryAppendFile {
    /// Carries out a change of the content, in the way that its fate asks for.
    fn change(
        &mut self,
        operation: Operation,
        apply: impl FnOnce(&Inode, &MemoryState, &Fate),
    ) -> Result<()> {
        if let Some(failure) = &self.failed {
            return Err(failure.clone());
        }
        let mut state = self.state.lock();
        let fate = state.begin_change(operation, self.name.as_str())?;
        apply(&self.inode, &state, &fate);
        let done = fate.result(());
        debug_assert!(self.failed.is_none(), "{}: {:?}", self.name, self.failed);
        if let Err(failure) = &done
            && !(operation == Operation::Allocate && says_no_room(failure))
        {
            self.failed = Some(failure.clone());
        }
        done
    }
}

fn says_no_room(failure: &Error) -> bool {
    matches!(failure, Error::Storage { kind, .. } if is_out_of_space(*kind))
}

#[async_trait]
impl AppendFile for MemoryAppendFile {
    fn allocated(&self) -> u64 {
        self.allocated
    }

    async fn allocate(&mut self, len: u64) -> Result<()> {
        if len <= self.allocated {
            return self.failed.clone().map_or(Ok(()), Err);
        }
        self.change(Operation::Allocate, |inode, state, fate| {
            let mut content = inode.content.lock();
            match fate {
                Fate::Done => content.allocate(in_memory(len)),
                Fate::Refused(_) => {}
                Fate::Crashed(_) => content.allocate_torn(in_memory(len), &state.faults.entropy),
            }
        })?;
        assert!(
            self.allocated < len,
            "{}: {} bytes were allocated, {len} are",
            self.name,
            self.allocated
        );
        self.allocated = len;
        Ok(())
    }

    async fn write_durable(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        check_allocated(
            &self.name,
            offset.checked_add(bytes.len() as u64),
            self.allocated,
        )?;
        self.change(Operation::WriteDurable, |inode, state, fate| {
            let mut content = inode.content.lock();
            match fate {
                Fate::Done => content.write(in_memory(offset), bytes),
                _ => content.write_torn(in_memory(offset), bytes, &state.faults.entropy),
            }
        })
    }

    async fn sync(&mut self) -> Result<()> {
        self.change(Operation::Sync, |inode, _, fate| {
            // What a sync that failed has written is for the power loss to decide.
            if matches!(fate, Fate::Done) {
                inode.content.lock().sync();
            }
        })
    }

    async fn truncate(&mut self, len: u64) -> Result<()> {
        check_allocated(&self.name, Some(len), self.allocated)?;
        self.change(Operation::Truncate, |inode, state, fate| {
            let mut content = inode.content.lock();
            if fate.lands(&state.faults.entropy) {
                content.truncate(in_memory(len));
            }
            if matches!(fate, Fate::Done) {
                content.sync();
            }
        })?;
        self.allocated = len;
        Ok(())
    }
}

pub(super) struct MemoryLock {
    pub(super) state: Arc<Mutex<MemoryState>>,
}

impl LockGuard for MemoryLock {}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        debug_assert!(
            state.locked.is_some_and(|(_, holders)| holders > 0),
            "a lock is let go of that nobody holds: {:?}",
            state.locked
        );
        state.locked = match state.locked {
            Some((mode, holders)) if holders > 1 => Some((mode, holders - 1)),
            _ => None,
        };
    }
}

/// A length or offset within bytes that are in memory.
#[allow(
    clippy::expect_used,
    reason = "what is in memory has a length that fits"
)]
pub(super) fn in_memory(len: u64) -> usize {
    usize::try_from(len).expect("a length beyond the memory of the machine")
}
