//! Memory that takes a while to write a slot, so that a commit can be given up in the middle.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use eciton_engine::base::Result;
use eciton_engine::storage::{
    AppendFile, Capabilities, ContentOf, Created, LockGuard, LockMode, MemoryStorage, Name, Object,
    ObjectWriter, Stat, Storage,
};
use shuttle::future::yield_now;

/// A medium that gives way before and after each durable write to the log.
pub(crate) struct Slow(pub(crate) MemoryStorage);

struct SlowFile(Box<dyn AppendFile>);

#[async_trait]
impl Storage for Slow {
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    async fn create(&self, name: &Name, bytes: &[u8]) -> Result<Created> {
        self.0.create(name, bytes).await
    }

    async fn sync_names(&self, name: &Name) -> Result<()> {
        self.0.sync_names(name).await
    }

    async fn stat(&self, name: &Name) -> Result<Option<Stat>> {
        self.0.stat(name).await
    }

    async fn read(&self, name: &Name) -> Result<Option<Bytes>> {
        self.0.read(name).await
    }

    async fn open(&self, name: &Name) -> Result<Option<Arc<dyn Object>>> {
        self.0.open(name).await
    }

    async fn list(&self, dir: &str) -> Result<Vec<Name>> {
        self.0.list(dir).await
    }

    async fn remove(&self, name: &Name) -> Result<bool> {
        self.0.remove(name).await
    }

    async fn writer(&self, name: &Name) -> Result<Box<dyn ObjectWriter>> {
        self.0.writer(name).await
    }

    async fn append_file(&self, name: &Name) -> Result<Box<dyn AppendFile>> {
        Ok(Box::new(SlowFile(self.0.append_file(name).await?)))
    }

    async fn replace(&self, name: &Name, content: &ContentOf) -> Result<u128> {
        self.0.replace(name, content).await
    }

    async fn lock(&self, mode: LockMode) -> Result<Box<dyn LockGuard>> {
        self.0.lock(mode).await
    }

    fn location(&self) -> String {
        self.0.location()
    }
}

#[async_trait]
impl AppendFile for SlowFile {
    fn allocated(&self) -> u64 {
        self.0.allocated()
    }

    async fn allocate(&mut self, len: u64) -> Result<()> {
        self.0.allocate(len).await
    }

    async fn write_durable(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        yield_now().await;
        let written = self.0.write_durable(offset, bytes).await;
        yield_now().await;
        written
    }

    async fn sync(&mut self) -> Result<()> {
        self.0.sync().await
    }

    async fn truncate(&mut self, len: u64) -> Result<()> {
        self.0.truncate(len).await
    }
}
