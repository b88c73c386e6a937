//! A medium that fails on order, for good or until it is mended, as one process sees it.

use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use eciton_engine::base::{Error, Result};
use eciton_engine::storage::{
    AppendFile, Capabilities, ContentOf, Created, LockGuard, LockMode, MemoryStorage, Name, Object,
    ObjectWriter, Operation, Stat, Storage,
};
use parking_lot::Mutex;

/// What fails, and with which number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// Every operation.
    All(i32),
    /// Every operation that changes something.
    Writes(i32),
    /// Operations of one kind.
    Only(Operation, i32),
}

/// A medium that other processes reach as it is.
#[derive(Clone)]
pub(crate) struct Breakable {
    pub(crate) inner: MemoryStorage,
    broken: Arc<Mutex<Option<Broken>>>,
}

impl Breakable {
    pub(crate) fn new(inner: MemoryStorage) -> Breakable {
        Breakable {
            inner,
            broken: Arc::default(),
        }
    }

    /// Fails from here on, for all clones.
    pub(crate) fn fail(&self, broken: Broken) {
        *self.broken.lock() = Some(broken);
    }

    pub(crate) fn mend(&self) {
        *self.broken.lock() = None;
    }

    fn check(&self, operation: Operation, object: impl std::fmt::Display) -> Result<()> {
        use Operation::{Create, Finish, Lock, Remove, Replace, SyncNames, Write};
        let is_write = matches!(
            operation,
            Create | SyncNames | Remove | Replace | Write | Finish | Lock
        );
        let errno = match *self.broken.lock() {
            Some(Broken::All(errno)) => errno,
            Some(Broken::Writes(errno)) if is_write => errno,
            Some(Broken::Only(only, errno)) if only == operation => errno,
            _ => return Ok(()),
        };
        let cause = io::Error::from_raw_os_error(errno);
        Err(Error::storage(operation.as_str(), object, &cause))
    }
}

#[async_trait]
impl Storage for Breakable {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn create(&self, name: &Name, bytes: &[u8]) -> Result<Created> {
        self.check(Operation::Create, name)?;
        self.inner.create(name, bytes).await
    }

    async fn sync_names(&self, name: &Name) -> Result<()> {
        self.check(Operation::SyncNames, name)?;
        self.inner.sync_names(name).await
    }

    async fn stat(&self, name: &Name) -> Result<Option<Stat>> {
        self.check(Operation::Stat, name)?;
        self.inner.stat(name).await
    }

    async fn read(&self, name: &Name) -> Result<Option<Bytes>> {
        self.check(Operation::Read, name)?;
        self.inner.read(name).await
    }

    async fn open(&self, name: &Name) -> Result<Option<Arc<dyn Object>>> {
        self.check(Operation::Open, name)?;
        let object = self.inner.open(name).await?;
        let medium = self.clone();
        Ok(object.map(|object| -> Arc<dyn Object> {
            Arc::new(BreakableObject {
                name: name.clone(),
                medium,
                object,
            })
        }))
    }

    async fn list(&self, dir: &str) -> Result<Vec<Name>> {
        self.check(Operation::List, dir)?;
        self.inner.list(dir).await
    }

    async fn remove(&self, name: &Name) -> Result<bool> {
        self.check(Operation::Remove, name)?;
        self.inner.remove(name).await
    }

    async fn writer(&self, name: &Name) -> Result<Box<dyn ObjectWriter>> {
        self.check(Operation::Write, name)?;
        Ok(Box::new(BreakableWriter {
            name: name.clone(),
            medium: self.clone(),
            writer: self.inner.writer(name).await?,
        }))
    }

    async fn append_file(&self, name: &Name) -> Result<Box<dyn AppendFile>> {
        self.check(Operation::AppendFile, name)?;
        self.inner.append_file(name).await
    }

    async fn replace(&self, name: &Name, content: &ContentOf) -> Result<u128> {
        self.check(Operation::Replace, name)?;
        self.inner.replace(name, content).await
    }

    async fn lock(&self, mode: LockMode) -> Result<Box<dyn LockGuard>> {
        self.check(Operation::Lock, "LOCK")?;
        self.inner.lock(mode).await
    }

    fn location(&self) -> String {
        self.inner.location()
    }
}

struct BreakableObject {
    name: Name,
    medium: Breakable,
    object: Arc<dyn Object>,
}

#[async_trait]
impl Object for BreakableObject {
    fn len(&self) -> u64 {
        self.object.len()
    }

    async fn read_at(&self, offset: u64, len: usize) -> Result<Bytes> {
        self.medium.check(Operation::ReadAt, &self.name)?;
        self.object.read_at(offset, len).await
    }
}

struct BreakableWriter {
    name: Name,
    medium: Breakable,
    writer: Box<dyn ObjectWriter>,
}

#[async_trait]
impl ObjectWriter for BreakableWriter {
    async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.medium.check(Operation::Write, &self.name)?;
        self.writer.write(bytes).await
    }

    async fn finish(self: Box<Self>) -> Result<Created> {
        self.medium.check(Operation::Finish, &self.name)?;
        self.writer.finish().await
    }
}
