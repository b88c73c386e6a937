//! A large write-once object: a temporary file that gets its name at the end.

use std::io::{self, Write};
use std::sync::Arc;

use async_trait::async_trait;

use super::block;
use super::folder::LocalFolder;
use super::temp::Temp;
use crate::base::{Error, Result};
use crate::storage::{Created, Name, ObjectWriter, Operation};

/// Bytes gathered before they go to the system.
const BUFFER_LEN: usize = 256 * 1024;

#[derive(Debug)]
pub(super) struct LocalWriter {
    folder: Arc<LocalFolder>,
    name: Name,
    temp: Temp,
    buffer: Vec<u8>,
    failed: Option<Error>,
}

impl LocalWriter {
    pub(super) fn new(folder: Arc<LocalFolder>, name: Name) -> io::Result<LocalWriter> {
        let kept = folder.dirs.keep();
        let temp = Temp::create_for_long(&folder)?;
        drop(kept);
        let buffer = Vec::with_capacity(BUFFER_LEN);
        Ok(LocalWriter {
            folder,
            name,
            temp,
            buffer,
            failed: None,
        })
    }

    fn add(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.buffer.len() + bytes.len() > BUFFER_LEN {
            self.flush()?;
        }
        if bytes.len() >= BUFFER_LEN {
            assert!(
                self.buffer.is_empty(),
                "{}: {} bytes come before these",
                self.name,
                self.buffer.len()
            );
            return self.temp.file.write_all(bytes);
        }
        self.buffer.extend_from_slice(bytes);
        assert!(
            self.buffer.len() <= BUFFER_LEN,
            "{}: {} bytes are gathered",
            self.name,
            self.buffer.len()
        );
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.temp.file.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    fn publish(mut self) -> io::Result<Created> {
        self.flush()?;
        assert!(
            self.buffer.is_empty(),
            "{}: {} bytes are not written",
            self.name,
            self.buffer.len()
        );
        self.temp.file.sync_all()?;
        let root = self.folder.to_write()?;
        let _kept = self.folder.dirs.keep();
        self.folder.dirs.make(self.name.dir())?;
        self.temp.link(root, self.name.as_str())
    }
}

#[async_trait]
impl ObjectWriter for LocalWriter {
    async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if let Some(failure) = &self.failed {
            return Err(failure.clone());
        }
        let written = self
            .add(bytes)
            .map_err(|cause| Operation::Write.error(&self.name, &cause));
        self.failed = written.as_ref().err().cloned();
        written
    }

    async fn finish(self: Box<Self>) -> Result<Created> {
        if let Some(failure) = self.failed {
            return Err(failure);
        }
        let name = self.name.clone();
        block(|| self.publish()).map_err(|cause| Operation::Finish.error(&name, &cause))
    }
}
