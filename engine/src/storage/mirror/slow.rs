//! Grey failure: a path that works, and takes so long that the database is better off without it.

use super::member::{Fault, Member, PathHealth};
use super::probe::probe;
use super::storage::{MirrorStorage, Route};
use crate::base::{PathId, Result};
use crate::storage::Operation;
use crate::storage::fault::{FaultClass, class_of};
use crate::storage::watched::pace::is_slow;

/// Probes that must all be slow before a path is given up.
const PROBES: u32 = 3;

impl MirrorStorage {
    /// Whether the operations of the active path have been so much slower than those of the passive one for so long that
    /// [`MirrorStorage::lost`] is worth asking.
    pub(super) fn is_slow(&self) -> bool {
        let Route { active, passive } = self.route();
        let Some(passive) = passive else {
            return false;
        };
        if !matches!(
            (active.health(), passive.health()),
            (PathHealth::Good, PathHealth::Good)
        ) {
            return false;
        }
        let watched = active.storage.watched().zip(passive.storage.watched());
        watched.is_some_and(|(active, passive)| active.is_slower_than(passive))
    }

    /// The active path, if write probes on it are slow as well, in comparison with the passive path at the same time.
    pub(super) async fn slow(&self, active: &Member, passive: &Member) -> Option<PathId> {
        let (mut own_last, mut peer_last) = (std::time::Duration::ZERO, std::time::Duration::ZERO);
        for _ in 0..PROBES {
            let (own, peer) = futures::join!(self.timed(active), self.timed(passive));
            (own_last, peer_last) = (own.1, peer.1);
            if let Err(error) = own.0 {
                let (class, cause) = class_of(&error);
                if class == FaultClass::Failover && peer.0.is_ok() {
                    active.give_up(Fault { cause, error });
                    return Some(active.id);
                }
                return None;
            }
            if peer.0.is_err() || !is_slow(own_last, peer_last) {
                if let Some(watched) = active.storage.watched() {
                    watched.forget_pace();
                }
                return None;
            }
        }
        let (own, peer) = (own_last.as_millis(), peer_last.as_micros());
        let message =
            format!("a write probe takes {own} ms, and {peer} us on the other storage path");
        let cause = std::io::Error::new(std::io::ErrorKind::TimedOut, message);
        let error = Operation::Write.error(active.storage.location(), &cause);
        tracing::warn!(
            cause = "slow",
            path = active.storage.location(),
            "[Failover] a storage path is too slow: {error}"
        );
        active.give_up(Fault {
            cause: "slow",
            error,
        });
        Some(active.id)
    }

    async fn timed(&self, member: &Member) -> (Result<()>, std::time::Duration) {
        let begun = self.clock().monotonic_ns();
        let done = probe(&*member.storage, self.entropy()).await;
        let took = self.clock().monotonic_ns().saturating_sub(begun);
        (done, std::time::Duration::from_nanos(took))
    }
}
