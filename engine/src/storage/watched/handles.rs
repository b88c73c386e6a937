//! Open objects, writers and locks of a watched medium.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::watch::{Watch, gone};
use crate::base::Result;
use crate::storage::{Created, LockGuard, Name, Object, ObjectWriter, Operation, Prepared};

/// An open object. Closing it may hang as well, so another thread does that.
pub(super) struct WatchedObject {
    pub(super) name: Name,
    pub(super) len: u64,
    /// Present until this is dropped.
    pub(super) object: Option<Arc<dyn Object>>,
    pub(super) watch: Arc<Watch>,
}

#[async_trait]
impl Object for WatchedObject {
    fn len(&self) -> u64 {
        self.len
    }

    async fn read_at(&self, offset: u64, len: usize) -> Result<Bytes> {
        let name = self.name.as_str();
        let Some(object) = self.object.clone() else {
            return Err(gone(Operation::ReadAt, name));
        };
        let work = async move { object.read_at(offset, len).await };
        self.watch.run(Operation::ReadAt, name, len, work).await
    }
}

impl Drop for WatchedObject {
    fn drop(&mut self) {
        if let Some(object) = self.object.take() {
            self.watch.spawn(Box::new(move || drop(object)));
        }
    }
}

/// A large object on its way to a watched medium.
pub(super) struct WatchedWriter {
    pub(super) name: Name,
    /// Bytes so far.
    pub(super) len: usize,
    /// Absent after a failure: it may hang still.
    pub(super) writer: Option<Box<dyn ObjectWriter>>,
    pub(super) failure: Option<crate::base::Error>,
    pub(super) watch: Arc<Watch>,
}

impl WatchedWriter {
    fn take(&mut self, operation: Operation) -> Result<Box<dyn ObjectWriter>> {
        let failed = || gone(operation, self.name.as_str());
        self.writer
            .take()
            .ok_or_else(|| self.failure.clone().unwrap_or_else(failed))
    }
}

#[async_trait]
impl ObjectWriter for WatchedWriter {
    async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let mut writer = self.take(Operation::Write)?;
        let bytes = Bytes::copy_from_slice(bytes);
        let len = bytes.len();
        let work = async move { Ok((writer.write(&bytes).await, writer)) };
        let name = self.name.as_str();
        let done = self.watch.run(Operation::Write, name, len, work).await;
        let written = match done {
            Ok((written, writer)) => {
                self.writer = Some(writer);
                written
            }
            Err(error) => Err(error),
        };
        self.len += len;
        written.inspect_err(|error| self.failure = Some(error.clone()))
    }

    async fn finish(mut self: Box<Self>) -> Result<Created> {
        let writer = self.take(Operation::Finish)?;
        let work = async move { writer.finish().await };
        let (name, len) = (self.name.as_str(), self.len);
        self.watch.run(Operation::Finish, name, len, work).await
    }
}

impl Drop for WatchedWriter {
    fn drop(&mut self) {
        if let Some(writer) = self.writer.take() {
            self.watch.spawn(Box::new(move || drop(writer)));
        }
    }
}

/// An object of a watched medium that has no name yet. Removing it may hang as well.
pub(super) struct WatchedPrepared {
    pub(super) prepared: Option<Prepared>,
    pub(super) watch: Arc<Watch>,
}

impl Drop for WatchedPrepared {
    fn drop(&mut self) {
        if let Some(prepared) = self.prepared.take() {
            self.watch.spawn(Box::new(move || drop(prepared)));
        }
    }
}

/// The lock of a watched medium.
pub(super) struct WatchedLock {
    pub(super) guard: Option<Box<dyn LockGuard>>,
    pub(super) watch: Arc<Watch>,
}

impl LockGuard for WatchedLock {}

impl Drop for WatchedLock {
    fn drop(&mut self) {
        let Some(guard) = self.guard.take() else {
            return;
        };
        // The caller may take the lock anew, so wait for its release, unless the medium hangs.
        let (done, released) = std::sync::mpsc::sync_channel::<()>(1);
        self.watch.spawn(Box::new(move || {
            drop(guard);
            drop(done);
        }));
        // Nothing is sent: the wait ends with the release.
        released
            .recv_timeout(self.watch.options.limit)
            .unwrap_or_default();
    }
}
