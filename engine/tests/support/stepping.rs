//! A medium that holds a process before one of its operations, as long as a test wants.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use eciton_engine::base::Result;
use eciton_engine::storage::{
    AppendFile, Capabilities, ContentOf, Created, LockGuard, LockMode, Name, Object, ObjectWriter,
    Stat, Storage,
};
use tokio::sync::Notify;

/// Where the process is held.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    passed: AtomicU64,
    stop_before: u64,
    held: Notify,
    free: Notify,
}

impl Gate {
    /// Waits until the process is held.
    pub(crate) async fn held(&self) {
        self.held.notified().await;
    }

    /// Lets the process go on.
    pub(crate) fn open(&self) {
        self.free.notify_one();
    }

    async fn pass(&self) {
        if self.passed.fetch_add(1, Ordering::Relaxed) == self.stop_before {
            self.held.notify_one();
            self.free.notified().await;
        }
    }
}

/// The medium of the process that is held.
pub(crate) struct SteppingStorage<S> {
    inner: Arc<S>,
    gate: Arc<Gate>,
}

impl<S: Storage> SteppingStorage<S> {
    /// Holds before operation `stop_before`, counted from 0.
    pub(crate) fn new(inner: Arc<S>, stop_before: u64) -> (Arc<SteppingStorage<S>>, Arc<Gate>) {
        let gate = Arc::new(Gate {
            stop_before,
            ..Gate::default()
        });
        let storage = SteppingStorage {
            inner,
            gate: Arc::clone(&gate),
        };
        (Arc::new(storage), gate)
    }
}

#[async_trait]
impl<S: Storage> Storage for SteppingStorage<S> {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn create(&self, name: &Name, bytes: &[u8]) -> Result<Created> {
        self.gate.pass().await;
        self.inner.create(name, bytes).await
    }

    async fn sync_names(&self, name: &Name) -> Result<()> {
        self.gate.pass().await;
        self.inner.sync_names(name).await
    }

    async fn stat(&self, name: &Name) -> Result<Option<Stat>> {
        self.gate.pass().await;
        self.inner.stat(name).await
    }

    async fn read(&self, name: &Name) -> Result<Option<Bytes>> {
        self.gate.pass().await;
        self.inner.read(name).await
    }

    async fn open(&self, name: &Name) -> Result<Option<Arc<dyn Object>>> {
        self.gate.pass().await;
        self.inner.open(name).await
    }

    async fn list(&self, dir: &str) -> Result<Vec<Name>> {
        self.gate.pass().await;
        self.inner.list(dir).await
    }

    async fn remove(&self, name: &Name) -> Result<bool> {
        self.gate.pass().await;
        self.inner.remove(name).await
    }

    async fn writer(&self, name: &Name) -> Result<Box<dyn ObjectWriter>> {
        self.gate.pass().await;
        self.inner.writer(name).await
    }

    async fn append_file(&self, name: &Name) -> Result<Box<dyn AppendFile>> {
        self.gate.pass().await;
        self.inner.append_file(name).await
    }

    async fn replace(&self, name: &Name, content: &ContentOf) -> Result<u128> {
        self.gate.pass().await;
        self.inner.replace(name, content).await
    }

    async fn lock(&self, mode: LockMode) -> Result<Box<dyn LockGuard>> {
        self.gate.pass().await;
        self.inner.lock(mode).await
    }

    fn location(&self) -> String {
        self.inner.location()
    }
}
