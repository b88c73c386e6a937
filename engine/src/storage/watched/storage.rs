//! [`WatchedStorage`]: a medium with a watchdog.

use std::sync::{Arc, mpsc};

use async_trait::async_trait;
use bytes::Bytes;
use futures::channel::oneshot;
use futures::future::{Either, select};

use super::WatchOptions;
use super::handles::{WatchedLock, WatchedObject, WatchedPrepared, WatchedWriter};
use super::watch::{Watch, now};
use crate::base::Result;
use crate::storage::{
    AppendFile, Capabilities, ContentOf, Created, LockGuard, LockMode, Name, Object, ObjectWriter,
    Operation, Prepared, Stat, Storage, Unreachable,
};

/// A medium of which no operation takes longer than a limit. Each one runs on a thread of the medium's own; the caller of
/// an operation that has not returned in time gets a time-out (`ETIMEDOUT`). Such an operation may take place later all the
/// same, as one whose reply was lost. For media that hang instead of failing, as network file systems do.
///
/// Append files are not watched: a mirror has none.
pub struct WatchedStorage {
    inner: Arc<dyn Storage>,
    capabilities: Capabilities,
    watch: Arc<Watch>,
}

impl WatchedStorage {
    /// Watches `inner`.
    pub fn new(inner: Arc<dyn Storage>, options: WatchOptions) -> WatchedStorage {
        WatchedStorage {
            capabilities: inner.capabilities(),
            watch: Arc::new(Watch::new(Arc::clone(&inner), options)),
            inner,
        }
    }

    /// Watches the medium at `location` from its opening on.
    ///
    /// # Errors
    /// Those of `open`, and [`Error::Storage`](crate::base::Error::Storage) where it hangs.
    pub async fn open<S: Storage>(
        location: &str,
        options: WatchOptions,
        open: impl FnOnce() -> Result<S> + Send + 'static,
    ) -> Result<WatchedStorage> {
        let nothing = Unreachable::new(location, "it is being opened");
        let watch = Arc::new(Watch::new(Arc::new(nothing), options));
        let work = async move {
            let inner: Arc<dyn Storage> = Arc::new(open()?);
            Ok(WatchedStorage::new(inner, options))
        };
        watch.run(Operation::Open, location, 0, work).await
    }

    /// Writes, syncs, reads back and removes an object, within the limit.
    ///
    /// # Errors
    /// What the medium refused, or that it did not answer.
    pub(crate) async fn probe(&self) -> Result<()> {
        self.watch.probe().await
    }

    /// Whether this medium has been so much slower than its peer for so long that it should be given up.
    pub(crate) fn is_slower_than(&self, peer: &WatchedStorage) -> bool {
        let slow_for = self.watch.options.slow_for;
        self.watch.pace.is_slow(&peer.watch.pace, now(), slow_for)
    }

    /// Forgets how slow it was.
    pub(crate) fn forget_pace(&self) {
        self.watch.pace.forget();
    }

    /// Carries out an operation on the medium by its own handle on it.
    async fn run<T: Send + 'static, F: Future<Output = Result<T>> + Send + 'static>(
        &self,
        operation: Operation,
        object: &str,
        len: usize,
        work: impl FnOnce(Arc<dyn Storage>) -> F,
    ) -> Result<T> {
        let work = work(Arc::clone(&self.inner));
        self.watch.run(operation, object, len, work).await
    }

    /// As [`Self::run`], for operations that ask the caller what to write.
    async fn run_asking<T: Send + 'static, F: Future<Output = Result<T>> + Send + 'static>(
        &self,
        object: &str,
        content: &ContentOf<'_>,
        work: impl FnOnce(Arc<dyn Storage>, Box<ContentOf<'static>>) -> F,
    ) -> Result<T> {
        let (ask, asked) = oneshot::channel::<u128>();
        let (tell, told) = mpsc::sync_channel::<Vec<u8>>(1);
        let ask = parking_lot::Mutex::new(Some(ask));
        let told = parking_lot::Mutex::new(told);
        let remote: Box<ContentOf<'static>> = Box::new(move |identity| {
            if let Some(ask) = ask.lock().take() {
                ask.send(identity).unwrap_or_default();
            }
            let told = told.lock().recv();
            told.unwrap_or_else(|_| {
                loop {
                    // The caller has given up, so nothing must be written, and this operation never ends.
                    std::thread::park();
                }
            })
        });
        let work = work(Arc::clone(&self.inner), remote);
        let done = self.watch.run(Operation::Replace, object, 0, work);
        match select(Box::pin(done), asked).await {
            Either::Left((done, _)) => done,
            Either::Right((identity, done)) => {
                if let Ok(identity) = identity {
                    drop(tell.send(content(identity)));
                }
                done.await
            }
        }
    }
}

#[async_trait]
impl Storage for WatchedStorage {
    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn watched(&self) -> Option<&WatchedStorage> {
        Some(self)
    }

    async fn reopened(&self) -> Result<Option<Arc<dyn Storage>>> {
        let work = |inner: Arc<dyn Storage>| async move { inner.reopened().await };
        let again = self.run(Operation::Open, "", 0, work).await?;
        let options = self.watch.options;
        Ok(again.map(|inner| Arc::new(WatchedStorage::new(inner, options)) as Arc<dyn Storage>))
    }

    async fn create(&self, name: &Name, bytes: &[u8]) -> Result<Created> {
        let (own, bytes) = (name.clone(), Bytes::copy_from_slice(bytes));
        let len = bytes.len();
        let work = |inner: Arc<dyn Storage>| async move { inner.create(&own, &bytes).await };
        self.run(Operation::Create, name.as_str(), len, work).await
    }

    async fn prepare(&self, name: &Name, bytes: &[u8]) -> Result<Option<Prepared>> {
        let (own, bytes) = (name.clone(), Bytes::copy_from_slice(bytes));
        let len = bytes.len();
        let work = |inner: Arc<dyn Storage>| async move { inner.prepare(&own, &bytes).await };
        let prepared = self.run(Operation::Create, name.as_str(), len, work);
        Ok(prepared.await?.map(|prepared| {
            Prepared::new(WatchedPrepared {
                prepared: Some(prepared),
                watch: Arc::clone(&self.watch),
            })
        }))
    }

    async fn publish(
        &self,
        name: &Name,
        bytes: &[u8],
        prepared: Option<Prepared>,
    ) -> Result<Created> {
        let (own, bytes) = (name.clone(), Bytes::copy_from_slice(bytes));
        let prepared = prepared.and_then(Prepared::into_inner::<WatchedPrepared>);
        let prepared = prepared.and_then(|mut prepared| prepared.prepared.take());
        let len = bytes.len();
        let work =
            |inner: Arc<dyn Storage>| async move { inner.publish(&own, &bytes, prepared).await };
        self.run(Operation::Create, name.as_str(), len, work).await
    }

    async fn create_with(&self, name: &Name, content: &ContentOf) -> Result<Created> {
        let own = name.clone();
        let work = |inner: Arc<dyn Storage>, content: Box<ContentOf<'static>>| async move {
            inner.create_with(&own, &*content).await
        };
        self.run_asking(name.as_str(), content, work).await
    }

    async fn confirm(&self, name: &Name, bytes: &[u8]) -> Result<bool> {
        let (own, bytes) = (name.clone(), Bytes::copy_from_slice(bytes));
        let work = |inner: Arc<dyn Storage>| async move { inner.confirm(&own, &bytes).await };
        self.run(Operation::SyncNames, name.as_str(), 0, work).await
    }

    async fn sync_names(&self, name: &Name) -> Result<()> {
        let own = name.clone();
        let work = |inner: Arc<dyn Storage>| async move { inner.sync_names(&own).await };
        self.run(Operation::SyncNames, name.as_str(), 0, work).await
    }

    async fn stat(&self, name: &Name) -> Result<Option<Stat>> {
        let own = name.clone();
        let work = |inner: Arc<dyn Storage>| async move { inner.stat(&own).await };
        self.run(Operation::Stat, name.as_str(), 0, work).await
    }

    async fn read(&self, name: &Name) -> Result<Option<Bytes>> {
        self.read_at_most(name, u64::MAX).await
    }

    async fn read_at_most(&self, name: &Name, len_max: u64) -> Result<Option<Bytes>> {
        let own = name.clone();
        let work = |inner: Arc<dyn Storage>| async move { inner.read_at_most(&own, len_max).await };
        self.run(Operation::Read, name.as_str(), 0, work).await
    }

    async fn open(&self, name: &Name) -> Result<Option<Arc<dyn Object>>> {
        let own = name.clone();
        let work = |inner: Arc<dyn Storage>| async move { inner.open(&own).await };
        let opened = self.run(Operation::Open, name.as_str(), 0, work).await?;
        Ok(opened.map(|object| -> Arc<dyn Object> {
            Arc::new(WatchedObject {
                name: name.clone(),
                len: object.len(),
                object: Some(object),
                watch: Arc::clone(&self.watch),
            })
        }))
    }

    async fn list(&self, dir: &str) -> Result<Vec<Name>> {
        let own = dir.to_owned();
        let work = |inner: Arc<dyn Storage>| async move { inner.list(&own).await };
        self.run(Operation::List, dir, 0, work).await
    }

    async fn remove(&self, name: &Name) -> Result<bool> {
        let own = name.clone();
        let work = |inner: Arc<dyn Storage>| async move { inner.remove(&own).await };
        self.run(Operation::Remove, name.as_str(), 0, work).await
    }

    async fn writer(&self, name: &Name) -> Result<Box<dyn ObjectWriter>> {
        let own = name.clone();
        let work = |inner: Arc<dyn Storage>| async move { inner.writer(&own).await };
        let writer = self.run(Operation::Write, name.as_str(), 0, work).await?;
        Ok(Box::new(WatchedWriter {
            name: name.clone(),
            len: 0,
            writer: Some(writer),
            failure: None,
            watch: Arc::clone(&self.watch),
        }))
    }

    async fn append_file(&self, name: &Name) -> Result<Box<dyn AppendFile>> {
        self.inner.append_file(name).await
    }

    async fn replace(&self, name: &Name, content: &ContentOf) -> Result<u128> {
        let own = name.clone();
        let work = |inner: Arc<dyn Storage>, content: Box<ContentOf<'static>>| async move {
            inner.replace(&own, &*content).await
        };
        self.run_asking(name.as_str(), content, work).await
    }

    async fn lock(&self, mode: LockMode) -> Result<Box<dyn LockGuard>> {
        let work = |inner: Arc<dyn Storage>| async move { inner.lock(mode).await };
        let guard = self.run(Operation::Lock, "LOCK", 0, work).await?;
        Ok(Box::new(WatchedLock {
            guard: Some(guard),
            watch: Arc::clone(&self.watch),
        }))
    }

    async fn prune(&self) -> Result<()> {
        let work = |inner: Arc<dyn Storage>| async move { inner.prune().await };
        self.run(Operation::Remove, "empty folders", 0, work).await
    }

    fn location(&self) -> String {
        self.inner.location()
    }
}
