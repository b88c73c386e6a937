//! An open object of a mirror.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;

use super::member::Member;
use crate::base::Result;
use crate::storage::{Name, Object, check_range};

/// A segment that is open on one path and read from another where that fails.
pub(super) struct MirrorObject {
    pub(super) name: Name,
    pub(super) member: Arc<Member>,
    pub(super) object: Arc<dyn Object>,
    /// The other path, if one is in force.
    pub(super) other: Option<Arc<Member>>,
    /// What stands there, once it was needed.
    pub(super) opened: Mutex<Option<Arc<dyn Object>>>,
}

impl MirrorObject {
    async fn elsewhere(&self) -> Option<Arc<dyn Object>> {
        if let Some(opened) = self.opened.lock().clone() {
            return Some(opened);
        }
        let other = self.other.as_ref()?;
        let opened = other.run(other.storage.open(&self.name)).await.ok()??;
        if opened.len() != self.object.len() {
            return None;
        }
        *self.opened.lock() = Some(Arc::clone(&opened));
        Some(opened)
    }
}

#[async_trait]
impl Object for MirrorObject {
    fn len(&self) -> u64 {
        self.object.len()
    }

    async fn read_at(&self, offset: u64, len: usize) -> Result<Bytes> {
        let read = self.member.run(self.object.read_at(offset, len)).await;
        let Err(error) = read else { return read };
        match self.elsewhere().await {
            Some(object) => object.read_at(offset, len).await,
            None => Err(error),
        }
    }

    fn read_into(&self, offset: u64, bytes: &mut [u8]) -> Option<Result<()>> {
        match self.object.read_into(offset, bytes) {
            Some(Ok(())) => Some(Ok(())),
            // The other path is asked by whoever can wait.
            Some(Err(_)) | None => None,
        }
    }
}

/// A small object that was read whole.
pub(super) struct WholeObject {
    pub(super) name: Name,
    pub(super) bytes: Bytes,
}

#[async_trait]
impl Object for WholeObject {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    async fn read_at(&self, offset: u64, len: usize) -> Result<Bytes> {
        let end = check_range(&self.name, offset, len, self.len())?;
        let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
        Ok(self.bytes.slice(place(offset)..place(end)))
    }
}
