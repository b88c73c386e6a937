//! The append-only file: real zeros ahead of the writer, so that a commit is one write and one `fdatasync`.
//!
//! Why zeros and not `fallocate`: an extent that is allocated but unwritten must be marked written
//! on its first write, and that is a commit of the file system's journal inside every sync.
//!
//! Why `pwrite` + `fdatasync` and not `O_DSYNC` or `RWF_DSYNC`: over written blocks all three took the
//! same time within 2 %, the time of the device. A sync of its own reaches the server behind every
//! FUSE and virtiofs mount; a flag on a write need not.

use std::fs::File;
use std::io;
use std::sync::Arc;

use async_trait::async_trait;

use super::block;
use super::folder::LocalFolder;
use super::platform::write_all_at;
use crate::base::{Error, Result};
use crate::storage::operation::is_out_of_space;
use crate::storage::{AppendFile, Name, Operation, check_allocated};

/// Bytes of zeros in one write.
const ZEROS_LEN: usize = 1024 * 1024;

#[derive(Debug)]
pub(super) struct LocalAppendFile {
    folder: Arc<LocalFolder>,
    name: Name,
    file: File,
    allocated: u64,
    /// What left the content of the file unknown.
    failed: Option<Error>,
}

impl LocalAppendFile {
    pub(super) fn new(
        folder: Arc<LocalFolder>,
        name: Name,
        file: File,
    ) -> io::Result<LocalAppendFile> {
        let allocated = file.metadata()?.len();
        Ok(LocalAppendFile {
            folder,
            name,
            file,
            allocated,
            failed: None,
        })
    }

    fn usable(&self) -> Result<()> {
        self.failed.clone().map_or(Ok(()), Err)
    }

    /// Remembers a failure that leaves the file unknown.
    fn settle(&mut self, operation: Operation, done: io::Result<()>) -> Result<()> {
        assert!(
            self.failed.is_none(),
            "{}: {operation} after {:?}",
            self.name,
            self.failed
        );
        done.map_err(|cause| {
            let failure = operation.error(&self.name, &cause);
            self.failed = Some(failure.clone());
            failure
        })
    }

    fn write_zeros(&self, len: u64) -> io::Result<()> {
        let zeros = vec![0; ZEROS_LEN];
        let mut offset = self.allocated;
        while offset < len {
            let part = usize::try_from(len - offset)
                .unwrap_or(ZEROS_LEN)
                .min(ZEROS_LEN);
            write_all_at(&self.file, &zeros[..part], offset)?;
            offset += part as u64;
        }
        assert_eq!(offset, len.max(self.allocated), "{}: zeros", self.name);
        self.file.sync_data()
    }
}

#[async_trait]
impl AppendFile for LocalAppendFile {
    fn allocated(&self) -> u64 {
        self.allocated
    }

    async fn check_place(&self) -> Result<()> {
        let there = self.folder.still_there();
        there.map_err(|cause| Operation::WriteDurable.error(&self.name, &cause))
    }

    async fn allocate(&mut self, len: u64) -> Result<()> {
        self.usable()?;
        if len <= self.allocated {
            return Ok(());
        }
        let Err(cause) = block(|| self.write_zeros(len)) else {
            assert!(
                self.allocated < len,
                "{}: {} bytes were allocated, {len} are",
                self.name,
                self.allocated
            );
            self.allocated = len;
            return Ok(());
        };
        // Also gives back the space, which others may need more.
        let cut = self.file.set_len(self.allocated);
        if is_out_of_space(cause.kind()) && cut.is_ok() {
            return Err(Operation::Allocate.error(&self.name, &cause));
        }
        self.settle(Operation::Allocate, Err(cause))
    }

    async fn write_durable(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.usable()?;
        let end = offset.checked_add(bytes.len() as u64);
        check_allocated(&self.name, end, self.allocated)?;
        let done = write_all_at(&self.file, bytes, offset).and_then(|()| self.file.sync_data());
        self.settle(Operation::WriteDurable, done)
    }

    async fn sync(&mut self) -> Result<()> {
        self.usable()?;
        let done = block(|| self.file.sync_data());
        self.settle(Operation::Sync, done)
    }

    async fn truncate(&mut self, len: u64) -> Result<()> {
        self.usable()?;
        check_allocated(&self.name, Some(len), self.allocated)?;
        // The new length is metadata: `fdatasync` need not write it.
        let done = block(|| self.file.set_len(len).and_then(|()| self.file.sync_all()));
        self.settle(Operation::Truncate, done)?;
        assert!(
            len <= self.allocated,
            "{}: {len} bytes are left of {}",
            self.name,
            self.allocated
        );
        self.allocated = len;
        Ok(())
    }
}
