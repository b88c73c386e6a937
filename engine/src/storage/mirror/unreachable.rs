//! A path that is not there.

use std::io;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::base::{Error, Result};
use crate::storage::{
    Access, AppendFile, Capabilities, ContentOf, Created, LocalStorage, LockGuard, LockMode, Name,
    Object, ObjectWriter, Operation, Stat, Storage,
};

/// Stands for a storage path that cannot be reached: every operation fails as it would there, and the database goes on
/// without the path as soon as its rules allow that.
#[derive(Clone, Debug)]
pub struct Unreachable {
    location: String,
    why: String,
}

impl Unreachable {
    /// The path at `location`, which cannot be reached for this reason.
    pub fn new(location: impl Into<String>, why: impl Into<String>) -> Unreachable {
        Unreachable {
            location: location.into(),
            why: why.into(),
        }
    }

    fn error(&self, operation: Operation, object: impl std::fmt::Display) -> Error {
        let cause = io::Error::new(io::ErrorKind::NotConnected, self.why.clone());
        operation.error(object, &cause)
    }
}

#[async_trait]
impl Storage for Unreachable {
    fn capabilities(&self) -> Capabilities {
        Capabilities::FOLDER
    }

    async fn create(&self, name: &Name, _bytes: &[u8]) -> Result<Created> {
        Err(self.error(Operation::Create, name))
    }

    async fn sync_names(&self, name: &Name) -> Result<()> {
        Err(self.error(Operation::SyncNames, name))
    }

    async fn stat(&self, name: &Name) -> Result<Option<Stat>> {
        Err(self.error(Operation::Stat, name))
    }

    async fn read(&self, name: &Name) -> Result<Option<Bytes>> {
        Err(self.error(Operation::Read, name))
    }

    async fn open(&self, name: &Name) -> Result<Option<Arc<dyn Object>>> {
        Err(self.error(Operation::Open, name))
    }

    async fn list(&self, dir: &str) -> Result<Vec<Name>> {
        Err(self.error(Operation::List, dir))
    }

    async fn remove(&self, name: &Name) -> Result<bool> {
        Err(self.error(Operation::Remove, name))
    }

    async fn writer(&self, name: &Name) -> Result<Box<dyn ObjectWriter>> {
        Err(self.error(Operation::Write, name))
    }

    async fn append_file(&self, name: &Name) -> Result<Box<dyn AppendFile>> {
        Err(self.error(Operation::AppendFile, name))
    }

    async fn replace(&self, name: &Name, _content: &ContentOf) -> Result<u128> {
        Err(self.error(Operation::Replace, name))
    }

    async fn lock(&self, mode: LockMode) -> Result<Box<dyn LockGuard>> {
        Err(self.error(Operation::Lock, format_args!("{mode:?}")))
    }

    async fn reopened(&self) -> Result<Option<Arc<dyn Storage>>> {
        let folder = LocalStorage::open(Path::new(&self.location), Access::ReadWrite)?;
        Ok(Some(Arc::new(folder)))
    }

    fn location(&self) -> String {
        self.location.clone()
    }
}
