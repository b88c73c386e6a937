//! A medium that counts what goes through it, looks for bytes in what is read, and when told to refuses runs or
//! takes its time to read them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;

use async_trait::async_trait;
use bytes::Bytes;
use eciton_engine::base::{Error, Result};
use eciton_engine::storage::{
    AppendFile, Capabilities, ContentOf, Created, LockGuard, LockMode, Name, Object, ObjectWriter,
    Stat, Storage,
};

/// What went through, in bytes and calls.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    read: AtomicU64,
    written: AtomicU64,
    /// Reads that brought the bytes looked for.
    seen: AtomicU64,
    needle: Vec<u8>,
    refuses: AtomicBool,
    waits: AtomicBool,
}

impl Counts {
    pub(crate) fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    pub(crate) fn seen(&self) -> u64 {
        self.seen.load(Ordering::Relaxed)
    }

    /// From now on writing large objects fails, or works again.
    pub(crate) fn refuse(&self, refuses: bool) {
        self.refuses.store(refuses, Ordering::Relaxed);
    }

    /// From now on a read of a large object is not done when it is first asked, or is again.
    pub(crate) fn wait(&self, waits: bool) {
        self.waits.store(waits, Ordering::Relaxed);
    }

    async fn waited(&self) {
        let mut asked = !self.waits.load(Ordering::Relaxed);
        std::future::poll_fn(|context| {
            if std::mem::replace(&mut asked, true) {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    fn add_read(&self, bytes: &[u8]) {
        self.read.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        let len = self.needle.len();
        if len > 0 && bytes.windows(len).any(|window| window == self.needle) {
            self.seen.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn add_written(&self, len: usize) {
        self.written.fetch_add(len as u64, Ordering::Relaxed);
    }
}

/// The medium behind the counter.
pub(crate) struct CountingStorage<S> {
    inner: S,
    counts: Arc<Counts>,
}

impl<S: Storage> CountingStorage<S> {
    /// Counts what goes to and from `inner`, and reads in which `needle` stands, unless it is empty.
    pub(crate) fn new(inner: S, needle: &[u8]) -> (Arc<CountingStorage<S>>, Arc<Counts>) {
        let counts = Arc::new(Counts {
            needle: needle.to_vec(),
            ..Counts::default()
        });
        let storage = CountingStorage {
            inner,
            counts: Arc::clone(&counts),
        };
        (Arc::new(storage), counts)
    }
}

#[async_trait]
impl<S: Storage> Storage for CountingStorage<S> {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn create(&self, name: &Name, bytes: &[u8]) -> Result<Created> {
        self.counts.add_written(bytes.len());
        self.inner.create(name, bytes).await
    }

    async fn sync_names(&self, name: &Name) -> Result<()> {
        self.inner.sync_names(name).await
    }

    async fn stat(&self, name: &Name) -> Result<Option<Stat>> {
        self.inner.stat(name).await
    }

    async fn read(&self, name: &Name) -> Result<Option<Bytes>> {
        let bytes = self.inner.read(name).await?;
        if let Some(bytes) = &bytes {
            self.counts.add_read(bytes);
        }
        Ok(bytes)
    }

    async fn open(&self, name: &Name) -> Result<Option<Arc<dyn Object>>> {
        let object = self.inner.open(name).await?;
        let counts = &self.counts;
        Ok(object.map(|inner| {
            let counts = Arc::clone(counts);
            Arc::new(CountingObject { inner, counts }) as Arc<dyn Object>
        }))
    }

    async fn list(&self, dir: &str) -> Result<Vec<Name>> {
        self.inner.list(dir).await
    }

    async fn remove(&self, name: &Name) -> Result<bool> {
        self.inner.remove(name).await
    }

    async fn writer(&self, name: &Name) -> Result<Box<dyn ObjectWriter>> {
        let (inner, counts) = (self.inner.writer(name).await?, Arc::clone(&self.counts));
        Ok(Box::new(CountingWriter { inner, counts }))
    }

    async fn append_file(&self, name: &Name) -> Result<Box<dyn AppendFile>> {
        let (inner, counts) = (
            self.inner.append_file(name).await?,
            Arc::clone(&self.counts),
        );
        Ok(Box::new(CountingAppend { inner, counts }))
    }

    async fn replace(&self, name: &Name, content: &ContentOf) -> Result<u128> {
        self.inner.replace(name, content).await
    }

    async fn lock(&self, mode: LockMode) -> Result<Box<dyn LockGuard>> {
        self.inner.lock(mode).await
    }

    fn location(&self) -> String {
        self.inner.location()
    }
}

struct CountingObject {
    inner: Arc<dyn Object>,
    counts: Arc<Counts>,
}

#[async_trait]
impl Object for CountingObject {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    async fn read_at(&self, offset: u64, len: usize) -> Result<Bytes> {
        self.counts.waited().await;
        let bytes = self.inner.read_at(offset, len).await?;
        self.counts.add_read(&bytes);
        Ok(bytes)
    }
}

struct CountingWriter {
    inner: Box<dyn ObjectWriter>,
    counts: Arc<Counts>,
}

#[async_trait]
impl ObjectWriter for CountingWriter {
    async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if self.counts.refuses.load(Ordering::Relaxed) {
            let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
            return Err(Error::storage("write", "a run", &full));
        }
        self.counts.add_written(bytes.len());
        self.inner.write(bytes).await
    }

    async fn finish(self: Box<Self>) -> Result<Created> {
        self.inner.finish().await
    }
}

struct CountingAppend {
    inner: Box<dyn AppendFile>,
    counts: Arc<Counts>,
}

#[async_trait]
impl AppendFile for CountingAppend {
    fn allocated(&self) -> u64 {
        self.inner.allocated()
    }

    async fn allocate(&mut self, len: u64) -> Result<()> {
        self.inner.allocate(len).await
    }

    async fn write_durable(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.counts.add_written(bytes.len());
        self.inner.write_durable(offset, bytes).await
    }

    async fn sync(&mut self) -> Result<()> {
        self.inner.sync().await
    }

    async fn truncate(&mut self, len: u64) -> Result<()> {
        self.inner.truncate(len).await
    }
}
