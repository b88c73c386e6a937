//! An open object.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use eciton_engine::base::Result;
use eciton_engine::storage::{Name, Object, Operation};

use super::{SimStorage, Trouble};
use crate::clock::yield_now;
use crate::disk::failure;
use crate::fault::FaultKind;

/// Of so many reads of immutable bytes, one lets others go first: they read the same sooner or
/// later, so an order more would only cost steps.
const READS_PER_POINT: u64 = 4;

pub(super) struct SimObject {
    storage: SimStorage,
    name: Name,
    inner: Arc<dyn Object>,
    is_immutable: bool,
}

impl SimObject {
    pub(super) fn new(storage: SimStorage, name: Name, inner: Arc<dyn Object>) -> SimObject {
        let is_immutable = name.as_segment().is_some();
        SimObject {
            storage,
            name,
            inner,
            is_immutable,
        }
    }
}

#[async_trait]
impl Object for SimObject {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    async fn read_at(&self, offset: u64, len: usize) -> Result<Bytes> {
        let (operation, object) = (Operation::ReadAt, self.name.as_str());
        if !self.is_immutable || self.storage.shared.schedule_below(READS_PER_POINT) == 0 {
            yield_now().await;
        }
        let kinds = [FaultKind::IoError, FaultKind::Slow];
        let result = match self.storage.trouble(operation, object, &kinds).await {
            Trouble::Errno(errno) => Err(failure(operation, &self.name, errno)),
            Trouble::None | Trouble::Own(_) => self.inner.read_at(offset, len).await,
        };
        let show = |bytes: &Bytes| format!("{} bytes at {offset}", bytes.len());
        self.storage.traced(operation, object, result, show)
    }
}
