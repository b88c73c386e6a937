//! A path that joins the database: it is found, completed, and only then relied on.

use std::sync::Arc;

use bytes::Bytes;

use super::member::{Fault, Member};
use super::storage::MirrorStorage;
use crate::base::{Error, Generation, Mutant, PathId, Rare, Result};
use crate::storage::{Created, Name, Storage, head, is_head_of};

/// A seal that stands on the active path, durable.
pub struct Sealed<'a> {
    /// Its name.
    pub name: &'a Name,
    /// Its bytes.
    pub bytes: &'a Bytes,
}

impl MirrorStorage {
    /// Whether this generation stands on a path that the one in force does not.
    pub fn joins(&self, generation: Generation, paths: &[PathId]) -> bool {
        let (known, in_force) = self.in_force_since();
        generation > known && paths.iter().any(|id| !in_force.contains(id))
    }

    /// Follows the log to a generation that stands on these paths. One that is known already changes nothing.
    ///
    /// # Errors
    /// [`Error::PathLost`] where one of them is not found.
    pub async fn settle(&self, generation: Generation, paths: &[PathId]) -> Result<()> {
        if generation > self.in_force_since().0 {
            for id in paths {
                self.found(*id).await?;
            }
        }
        self.adopt(generation, paths);
        Ok(())
    }

    /// Completes a path that joins by this seal, which stands on `paths[0]`. Whoever created the seal had copied all slots
    /// before it; now the seal itself follows, so that nobody goes on after a seal that stands on one path only.
    ///
    /// # Errors
    /// [`Error::PathLost`] where the new path is not found, or refuses; [`Error::Corrupt`] where something else stands there.
    pub async fn join(&self, seal: Sealed<'_>, paths: &[PathId]) -> Result<()> {
        let [active, joining] = *paths else {
            return Ok(());
        };
        let fresh = self.found(joining).await?;
        let lost = |error: Error| Error::PathLost {
            path: format!("{}: {error}", fresh.storage.location()),
        };
        if Mutant::JoinIncomplete.on() {
            return Ok(());
        }
        let confirmed = fresh.run(fresh.storage.confirm(seal.name, seal.bytes));
        if confirmed.await.map_err(lost)? {
            return Ok(());
        }
        Rare::PathJoined.seen();
        // What others have published since it was copied, without knowing of the path: it is completed where it is looked
        // for, too, so a failure changes nothing.
        let active = self.found(active).await?;
        let completed = self.guide().complete(&active.storage, &fresh.storage).await;
        if let Err(error) = completed {
            tracing::debug!(%error, "not all was copied to a storage path that joins");
            if let Error::Halted { .. } = &error {
                // A sync has failed there, and is never tried again.
                let cause = "sync";
                fresh.give_up(Fault { cause, error });
            }
        }
        let created = fresh.run(fresh.storage.create(seal.name, seal.bytes));
        if created.await.map_err(lost)? == Created::Exists {
            let found = fresh.run(head(&*fresh.storage, seal.name)).await;
            let found = found.map_err(lost)?;
            if found.is_some_and(|found| !is_head_of(&found, seal.bytes)) {
                let detail = format!("{} has another slot there", fresh.storage.location());
                return Err(Error::corrupt(seal.name, detail));
            }
        }
        let confirmed = fresh.run(fresh.storage.confirm(seal.name, seal.bytes));
        match confirmed.await.map_err(lost)? {
            true => Ok(()),
            false => {
                let path = format!("{}: it loses what is written", fresh.storage.location());
                Err(Error::PathLost { path })
            }
        }
    }

    /// What a path needs beside an object that is about to be created there.
    pub(super) async fn bring(&self, to: &Member, name: &Name, bytes: &[u8]) -> Result<()> {
        if Mutant::BringNothing.on() {
            return Ok(());
        }
        let from = &self.route().active.storage;
        self.guide().bring(name, bytes, from, &to.storage).await
    }

    /// Makes sure that the last path in force is still the one that was opened. There a seal ends this generation, and there
    /// it stands until the path is emptied: before that, its mark becomes another object.
    pub(super) async fn last_stands(&self) -> Result<()> {
        let route = self.route();
        let last = route.passive.unwrap_or(route.active);
        let Some(known) = last.mark else {
            return Ok(());
        };
        if Mutant::MarkUnlooked.on() {
            return Ok(());
        }
        let found = last.run(last.storage.stat(&Name::path())).await?;
        if found.is_some_and(|found| found.identity == known) {
            return Ok(());
        }
        Rare::PathEmptied.seen();
        Err(Error::PathLost {
            path: format!(
                "{}: the database has left it, and it was emptied since; open the database again",
                last.storage.location()
            ),
        })
    }

    /// A path, looked for where it is not known.
    async fn found(&self, id: PathId) -> Result<Arc<Member>> {
        if let Some(known) = self.known(id) {
            return Ok(known);
        }
        let active: Arc<dyn Storage> = Arc::clone(&self.route().active.storage);
        let path = self.guide().locate(id, &active).await?;
        assert_eq!(path.id, id, "the path that was looked for is found");
        Ok(self.add_member(path))
    }
}
