//! Computing shards where a process has died: see [`session`](crate::run::settle::session).

use std::collections::HashSet;

use eciton_proto::v1::Outcome;
use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::context::{Ending, RunContext};
use crate::run::records::error::JobError;
use crate::run::settle::session::{Killed, tell_killed};

/// Held while a shard is computed: by all at once, or by the only one. Of a process there is one, whatever jobs it
/// works on at whatever databases, since it dies as a whole.
static AT_WORK: RwLock<()> = RwLock::new(());

/// A shard is computed, until this is dropped.
pub(crate) enum Care {
    /// With others beside it.
    Among {
        _others: RwLockReadGuard<'static, ()>,
    },
    /// With nothing beside it.
    Alone {
        _nobody: RwLockWriteGuard<'static, ()>,
    },
}

impl Care {
    pub(crate) fn is_alone(&self) -> bool {
        matches!(self, Care::Alone { .. })
    }
}

impl RunContext {
    /// Waits until a shard may be computed, and records that it is about to be where somebody has to know. Blocks.
    /// `None` if it has ended meanwhile.
    pub(crate) fn care_for(&self, shard: u64) -> Result<Option<Care>, Ending> {
        if !self.session.is_careful() {
            return Ok(Some(Care::Among {
                _others: AT_WORK.read(),
            }));
        }
        let state = self.job.ledger.shard_now(&self.job.name, shard);
        let state = self.runtime.block_on(state)?;
        if state.outcome() != Outcome::Unspecified {
            return Ok(None);
        }
        if state.suspected > 0 {
            let alone = Care::Alone {
                _nobody: AT_WORK.write(),
            };
            let only = || HashSet::from([shard]);
            let listed = self.session.list(Some(shard), only, true);
            self.runtime.block_on(listed)?;
            return Ok(Some(alone));
        }
        let among = Care::Among {
            _others: AT_WORK.read(),
        };
        if !self.session.lists(shard) {
            let next = || {
                let upcoming = self.queue.upcoming(self.claims.is_none());
                let mut shards: HashSet<u64> = upcoming.into_iter().collect();
                shards.extend(self.begun.lock().keys());
                shards.insert(shard);
                shards
            };
            let listed = self.session.list(Some(shard), next, false);
            self.runtime.block_on(listed)?;
        }
        Ok(Some(among))
    }

    /// A shard that was computed alone has not ended, and is not at work any more.
    pub(crate) fn unlist(&self) -> Result<(), Ending> {
        let nothing = self.session.list(None, HashSet::new, false);
        Ok(self.runtime.block_on(nothing)?)
    }

    /// Looks whether others have died at the job.
    pub(crate) async fn count_deaths(&self) -> Result<(), JobError> {
        for killed in self.session.count_deaths().await? {
            self.tell_killed(&killed);
        }
        Ok(())
    }

    fn tell_killed(&self, killed: &Killed) {
        if killed.is_final {
            self.ended(killed.shard);
        }
        tell_killed(&*self.observer, killed);
    }
}
