//! Objects that several processes contend for: the active path decides, and they exist once they stand on both.

use bytes::Bytes;

use super::member::Member;
use super::storage::{MirrorStorage, Route};
use crate::base::{Error, Mutant, Rare, Result};
use crate::storage::{Access, Created, Name, Prepared, head, is_head_of};

impl MirrorStorage {
    /// Creates an object on every path in force, the active one first.
    pub(super) async fn create_contended(&self, name: &Name, bytes: &[u8]) -> Result<Created> {
        self.note_slot(name);
        if name.as_log().is_some() && self.is_slow() {
            // If it is left, this create fails, and the caller seals.
            self.lost().await;
        }
        let Route { active, passive } = self.route();
        let Some(passive) = passive else {
            return active.run(active.storage.create(name, bytes)).await;
        };
        // What takes time and nobody sees is done on both at once; a failure of the passive path shows when it publishes.
        let (first, second) = futures::join!(
            active.run(active.storage.prepare(name, bytes)),
            passive.run(passive.storage.prepare(name, bytes))
        );
        let created = active.run(active.storage.publish(name, bytes, first?));
        let created = created.await?;
        let prepared = second.unwrap_or(None);
        if created == Created::Exists || Mutant::AckOnePath.on() {
            return Ok(created);
        }
        // What the passive path has stands on the active one for good: who completes it there must not be alone with it.
        if !Mutant::CompleteVolatile.on()
            && !active.run(active.storage.confirm(name, bytes)).await?
        {
            Rare::MirrorLostIt.seen();
            return Ok(Created::Exists);
        }
        self.complete(&passive, name, bytes, prepared).await
    }

    /// Creates on the passive path what stands on the active one. `Exists` where something else stands there: a seal.
    ///
    /// # Errors
    /// [`Error::PathLost`]: it stands on the active path, so nobody may take it for not written.
    async fn complete(
        &self,
        passive: &Member,
        name: &Name,
        bytes: &[u8],
        prepared: Option<Prepared>,
    ) -> Result<Created> {
        let lost = |error: Error| Error::PathLost {
            path: format!("{}: {error}", passive.storage.location()),
        };
        self.bring(passive, name, bytes).await?;
        let created = passive.run(passive.storage.publish(name, bytes, prepared));
        let created = created.await;
        if created.map_err(lost)? == Created::New {
            return Ok(Created::New);
        }
        let found = passive.run(head(&*passive.storage, name)).await;
        let found = found.map_err(lost)?;
        let is_same = found.is_some_and(|found| is_head_of(&found, bytes));
        if !is_same {
            Rare::MirrorFenced.seen();
        }
        Ok(if is_same {
            Created::New
        } else {
            Created::Exists
        })
    }

    /// Remembers how far the log goes, for people.
    fn note_slot(&self, name: &Name) {
        if let Some((_, n)) = name.as_log() {
            let mut newest = self.newest.lock();
            *newest = n.max(*newest);
        }
    }

    /// The object under a name, once it stands on every path in force. An object on the passive path was durable on the active
    /// one before. Nobody has been told of an object that the passive path lacks; if the active path has it, it is
    /// completed first.
    ///
    /// # Errors
    /// What the passive path refuses. A failure of the active one changes no answer; it is noted.
    pub(super) async fn find(&self, name: &Name, len_max: u64) -> Result<Option<Bytes>> {
        self.note_slot(name);
        let Route { active, passive } = self.route();
        let Some(passive) = passive else {
            return active.run(active.storage.read_at_most(name, len_max)).await;
        };
        let on_passive = passive
            .run(passive.storage.read_at_most(name, len_max))
            .await?;
        if on_passive.is_some() {
            return Ok(on_passive);
        }
        // Who only reads cannot complete it.
        if self.access() == Access::ReadOnly {
            return Ok(None);
        }
        let bytes = match active.run(active.storage.read_at_most(name, len_max)).await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(None),
            Err(_) => {
                Rare::MirrorReadPassive.seen();
                return Ok(None);
            }
        };
        if Mutant::NoComplete.on() {
            return Ok(Some(bytes));
        }
        if !Mutant::CompleteVolatile.on()
            && !active.run(active.storage.confirm(name, &bytes)).await?
        {
            Rare::MirrorLostIt.seen();
            return Ok(None);
        }
        Rare::MirrorCompleted.seen();
        match self.complete(&passive, name, &bytes, None).await? {
            Created::New => Ok(Some(bytes)),
            // A seal: what the active path holds was never confirmed.
            Created::Exists => {
                Rare::MirrorSealRead.seen();
                passive
                    .run(passive.storage.read_at_most(name, len_max))
                    .await
            }
        }
    }

    /// Makes an object durable, and looks again: on the passive path, since what stands there was made durable on the
    /// active one before.
    pub(super) async fn confirm_contended(&self, name: &Name, bytes: &[u8]) -> Result<bool> {
        let Route { active, passive } = self.route();
        let last = passive.unwrap_or(active);
        last.run(last.storage.confirm(name, bytes)).await
    }
}
