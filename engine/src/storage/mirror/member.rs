//! One storage path of a mirror, and what this process knows of its health.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::base::{Error, PathId, Result};
use crate::storage::Storage;
use crate::storage::fault::{FaultClass, SYNC_FAILED, class_of};

/// One storage path.
pub(super) struct Member {
    /// Its number.
    pub(super) id: PathId,
    /// What it lies on.
    pub(super) storage: Arc<dyn Storage>,
    /// The identity of its mark: another one, or none, means that the path was left, and what stood on it may be gone.
    pub(super) mark: Option<u128>,
    health: Mutex<PathHealth>,
}

/// What this process knows of a path.
#[derive(Clone, Debug)]
pub(super) enum PathHealth {
    /// Nothing speaks against it.
    Good,
    /// An operation failed in a way that may mean that the path is lost.
    Suspect(Fault),
    /// It is lost, for as long as this process has the database open: nothing is asked of it any more.
    Lost(Fault),
}

/// A failure of a path.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    /// A word for it in metrics.
    pub(super) cause: &'static str,
    /// The failure itself.
    pub(super) error: Error,
}

impl Member {
    pub(super) fn new(id: PathId, storage: Arc<dyn Storage>, mark: Option<u128>) -> Member {
        Member {
            id,
            storage,
            mark,
            health: Mutex::new(PathHealth::Good),
        }
    }

    pub(super) fn health(&self) -> PathHealth {
        self.health.lock().clone()
    }

    /// Carries out an operation, unless the path is lost, and notes how it failed.
    pub(super) async fn run<T>(&self, operation: impl Future<Output = Result<T>>) -> Result<T> {
        if let PathHealth::Lost(fault) = &*self.health.lock() {
            return Err(fault.error.clone());
        }
        operation.await.inspect_err(|error| self.note(error))
    }

    /// Notes a failure. A sync that failed is never tried again: the path is given up.
    fn note(&self, error: &Error) {
        let (class, cause) = class_of(error);
        if class != FaultClass::Failover {
            return;
        }
        let fault = Fault {
            cause,
            error: error.clone(),
        };
        let is_sync = cause == SYNC_FAILED;
        let mut health = self.health.lock();
        match &*health {
            PathHealth::Lost(_) => {}
            _ if is_sync => {
                let cause = format!("on the storage path {}: {error}", self.storage.location());
                let error = Error::Halted { cause };
                *health = PathHealth::Lost(Fault { error, ..fault });
            }
            PathHealth::Good => *health = PathHealth::Suspect(fault),
            PathHealth::Suspect(_) => {}
        }
        let (before, after) = (is_sync, &*health);
        assert!(
            !matches!(after, PathHealth::Good),
            "{error}: a failure of path {} leaves no trace",
            self.id
        );
        assert!(
            !before || matches!(after, PathHealth::Lost(_)),
            "{error}: path {} is still asked after a failed sync",
            self.id
        );
    }

    /// A write probe went through: what failed was not the path.
    pub(super) fn acquit(&self) {
        let mut health = self.health.lock();
        if matches!(&*health, PathHealth::Suspect(_)) {
            *health = PathHealth::Good;
        }
    }

    /// Nothing is asked of it any more.
    pub(super) fn give_up(&self, fault: Fault) {
        let mut health = self.health.lock();
        if !matches!(&*health, PathHealth::Lost(_)) {
            *health = PathHealth::Lost(fault);
        }
    }
}
