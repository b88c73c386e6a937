//! [`MirrorGuide`]: what a mirror asks of those who know what the objects mean.

use std::sync::Arc;

use async_trait::async_trait;

use crate::base::{PathId, Result};
use crate::storage::{Name, Storage};

/// A path that a process knows.
#[derive(Clone)]
pub struct KnownPath {
    /// Its number.
    pub id: PathId,
    /// What it lies on.
    pub storage: Arc<dyn Storage>,
    /// The identity of its mark, from before anything else of it was read; `None` where it cannot be read.
    pub mark: Option<u128>,
}

/// Knows where paths are, and what objects refer to.
#[async_trait]
pub trait MirrorGuide: Send + Sync + 'static {
    /// The set that the paths of the database belong to.
    fn set(&self) -> u128;

    /// Finds a path that has come into force since the database was opened; `known` is a path that may tell where it is.
    ///
    /// # Errors
    /// [`Error::PathLost`](crate::base::Error::PathLost) saying what to name.
    async fn locate(&self, id: PathId, known: &Arc<dyn Storage>) -> Result<KnownPath>;

    /// Brings to a path what an object refers to, before the object itself is created there: a manifest without its
    /// segments is none.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::base::Error::Corrupt) naming what is damaged; what either path refuses.
    async fn bring(
        &self,
        name: &Name,
        bytes: &[u8],
        from: &Arc<dyn Storage>,
        to: &Arc<dyn Storage>,
    ) -> Result<()>;

    /// Makes a path hold, durably, the manifests and floors that `from` has, with what they refer to.
    ///
    /// # Errors
    /// As [`MirrorGuide::bring`]; [`Error::Halted`](crate::base::Error::Halted) after a sync that failed on `to`.
    async fn complete(&self, from: &Arc<dyn Storage>, to: &Arc<dyn Storage>) -> Result<()>;
}
