//! A medium that hangs or is slow on order.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use eciton_engine::base::Result;
use eciton_engine::storage::{
    AppendFile, Capabilities, ContentOf, Created, LockGuard, LockMode, MemoryStorage, Name, Object,
    ObjectWriter, Operation, Stat, Storage,
};
use parking_lot::{Condvar, Mutex};

/// What a medium does instead of answering at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hang {
    /// Nothing returns.
    All,
    /// No operation of this kind returns.
    Only(Operation),
    /// Every operation takes that much longer.
    Slow(Duration),
}

/// A medium in memory whose calls block the thread, as system calls do.
#[derive(Clone)]
pub(crate) struct Hanging {
    pub(crate) inner: MemoryStorage,
    hang: Arc<(Mutex<Option<Hang>>, Condvar)>,
}

impl Hanging {
    pub(crate) fn new(inner: MemoryStorage) -> Hanging {
        Hanging {
            inner,
            hang: Arc::default(),
        }
    }

    /// From here on it hangs so; `None`: calls return, those that hang too.
    pub(crate) fn set(&self, hang: Option<Hang>) {
        *self.hang.0.lock() = hang;
        self.hang.1.notify_all();
    }

    #[allow(clippy::disallowed_methods, reason = "a slow system call")]
    fn pass(&self, operation: Operation) {
        let (hang, moved) = &*self.hang;
        let mut hang = hang.lock();
        while *hang == Some(Hang::All) || *hang == Some(Hang::Only(operation)) {
            moved.wait(&mut hang);
        }
        if let Some(Hang::Slow(longer)) = *hang {
            drop(hang);
            std::thread::sleep(longer);
        }
    }
}

#[async_trait]
impl Storage for Hanging {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn create(&self, name: &Name, bytes: &[u8]) -> Result<Created> {
        self.pass(Operation::Create);
        self.inner.create(name, bytes).await
    }

    async fn sync_names(&self, name: &Name) -> Result<()> {
        self.pass(Operation::SyncNames);
        self.inner.sync_names(name).await
    }

    async fn stat(&self, name: &Name) -> Result<Option<Stat>> {
        self.pass(Operation::Stat);
        self.inner.stat(name).await
    }

    async fn read(&self, name: &Name) -> Result<Option<Bytes>> {
        self.pass(Operation::Read);
        self.inner.read(name).await
    }

    async fn open(&self, name: &Name) -> Result<Option<Arc<dyn Object>>> {
        self.pass(Operation::Open);
        self.inner.open(name).await
    }

    async fn list(&self, dir: &str) -> Result<Vec<Name>> {
        self.pass(Operation::List);
        self.inner.list(dir).await
    }

    async fn remove(&self, name: &Name) -> Result<bool> {
        self.pass(Operation::Remove);
        self.inner.remove(name).await
    }

    async fn writer(&self, name: &Name) -> Result<Box<dyn ObjectWriter>> {
        self.pass(Operation::Write);
        self.inner.writer(name).await
    }

    async fn append_file(&self, name: &Name) -> Result<Box<dyn AppendFile>> {
        self.inner.append_file(name).await
    }

    async fn replace(&self, name: &Name, content: &ContentOf) -> Result<u128> {
        self.pass(Operation::Replace);
        self.inner.replace(name, content).await
    }

    async fn lock(&self, mode: LockMode) -> Result<Box<dyn LockGuard>> {
        self.pass(Operation::Lock);
        self.inner.lock(mode).await
    }

    fn location(&self) -> String {
        self.inner.location()
    }
}
