//! Collection: deletes what no retained manifest and no retained slot refers to (S12 of the protocol).
//!
//! Never by clock. Unused segments go only after a `collect` record, from which on no record may refer to
//! them; slots and manifests go only after a floor, below which nothing means anything.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::folder::Folder;
use super::manifest::Manifest;
use crate::base::{Error, FloorId, ManifestId, Mutant, Position, Rare, Result, SegmentId};
use crate::log::file::is_begun;
use crate::log::once::{Owner, confirm, create_once};
use crate::log::{Body, Floor, Floors, Replay, Strictness};
use crate::storage::Name;

/// What collecting did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CollectOutcome {
    /// Segments deleted.
    pub segments: u64,
    /// Log files deleted.
    pub log_files: u64,
    /// Manifests deleted.
    pub manifests: u64,
}

/// What collection leaves although opening does not need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Manifests, the newest included, with what they refer to: for readers that begin with one.
    pub manifests: usize,
    /// As many slots as a transaction may lag: for those that other processes are still to validate.
    pub window: bool,
}

/// How far the log is read for what it refers to.
#[derive(Clone, Copy)]
enum LogReach {
    /// Through the slot of the collect record. Later ones cannot refer to what goes, and may not be read: one that is
    /// not durable yet may be replaced, and the one after it would look like damage.
    Through(Position),
    /// To its end, which is at least there: nobody else writes, but a slot whose write failed may stand there all the
    /// same, and refer to anything.
    EndFrom(Position),
}

impl Folder {
    /// The newest manifest, durable: up to which unused segments may be collected once a record says so.
    /// `None` if it changes or vanishes meanwhile.
    ///
    /// # Errors
    /// What the storage refuses.
    pub async fn collectable(&self, known: ManifestId) -> Result<Option<ManifestId>> {
        let manifest = match self.newest_after(known).await? {
            Some(newest) => Some(newest),
            None => self.manifest(known).await?,
        };
        let Some(manifest) = manifest else {
            return Ok(None);
        };
        Ok(self.confirm(&manifest).await?.then_some(manifest.id))
    }

    /// Deletes the segments tagged up to `manifest` that nothing needs. A `collect` record that names it
    /// stands in slot `recorded` or before.
    ///
    /// # Errors
    /// What the storage refuses: what was deleted until then was unused.
    pub async fn collect_segments(&self, manifest: ManifestId, recorded: Position) -> Result<u64> {
        let claimed = BTreeSet::new();
        let log = LogReach::Through(recorded);
        self.collect_unclaimed(manifest, log, claimed).await
    }

    /// Collects where this process alone writes. No record says what goes: the one who could still refer to
    /// it has claimed it. `newest` is the newest manifest, `applied` the newest slot.
    ///
    /// # Errors
    /// What the storage refuses: everything that still means something is there.
    pub async fn collect_alone(
        &self,
        newest: ManifestId,
        applied: Position,
        keep: Keep,
    ) -> Result<CollectOutcome> {
        let claimed = self.claims.pass(newest);
        // A medium that is full may have no room for a floor, and room is what this is about.
        let raised = self.raise_floor(applied, newest, keep).await;
        let log = LogReach::EndFrom(applied);
        let segments = self.collect_unclaimed(newest, log, claimed).await?;
        Ok(CollectOutcome {
            segments,
            ..raised?
        })
    }

    async fn collect_unclaimed(
        &self,
        manifest: ManifestId,
        log: LogReach,
        claimed: BTreeSet<SegmentId>,
    ) -> Result<u64> {
        let Some(mut needed) = self.needed_segments(manifest, log).await? else {
            Rare::CollectionGivenUp.seen();
            return Ok(0);
        };
        needed.extend(claimed);
        let mut deleted = 0;
        for name in self.storage.list(Name::SEGMENT).await? {
            let Some(id) = name.as_segment() else {
                continue;
            };
            if id.tag <= manifest.0 && !needed.contains(&id) && self.storage.remove(&name).await? {
                deleted += 1;
            }
        }
        Ok(deleted)
    }

    /// Every segment that a retained manifest or the log after the oldest of them refers to; `None` if
    /// anything moved meanwhile.
    async fn needed_segments(
        &self,
        newest: ManifestId,
        log: LogReach,
    ) -> Result<Option<BTreeSet<SegmentId>>> {
        let mut floors = Floors::find(Arc::clone(&self.storage)).await?;
        let (_, floor) = floors.probe().await?;
        let Some(manifests) = self.retained(floor.manifest, newest).await? else {
            return Ok(None);
        };
        let Some(oldest) = manifests.first() else {
            return Ok(None);
        };
        let runs = manifests.iter().flat_map(|manifest| &manifest.runs);
        let mut needed: BTreeSet<SegmentId> = runs.map(|entry| entry.run.id).collect();
        if Mutant::CollectNoLog.on() {
            return Ok(Some(needed));
        }
        let storage = Arc::clone(&self.storage);
        let start = oldest.log_start();
        let mut replay = Replay::begin(storage, &start, Strictness::Whole).await?;
        let wanted = match log {
            LogReach::Through(recorded) => {
                replay.stop_after(recorded);
                recorded
            }
            LogReach::EndFrom(applied) => applied,
        };
        loop {
            let slot = match replay.next().await {
                Ok(Some(slot)) => slot,
                Ok(None) => break,
                // Another collector was faster, and below its floor a process that slept may have created a slot that
                // continues anything (S11).
                Err(error @ Error::Corrupt { .. }) => {
                    let floors = Floors::find(Arc::clone(&self.storage)).await?;
                    let is_void = start.last.next() < floors.newest().1.slot;
                    if is_void {
                        Rare::CollectionGivenUp.seen();
                        return Ok(None);
                    }
                    return Err(error);
                }
                Err(error) => return Err(error),
            };
            for record in &slot.records {
                if let Body::Bulk(runs) = &record.body {
                    needed.extend(runs.iter().map(|run| run.id));
                }
            }
        }
        Ok((replay.end().last >= wanted).then_some(needed))
    }

    /// All manifests from `first` on, oldest first; `None` if one vanished meanwhile, or if they do not
    /// reach `known`, which exists. They are read by number, since a listing may be stale.
    async fn retained(
        &self,
        first: ManifestId,
        known: ManifestId,
    ) -> Result<Option<Vec<Manifest>>> {
        let mut manifests: Vec<Manifest> = Vec::new();
        if Mutant::CollectByListing.on() {
            let listed = self.storage.list(Name::MANIFEST).await?;
            let ids = listed.iter().filter_map(Name::as_manifest);
            for id in ids.filter(|id| *id >= first) {
                manifests.extend(self.manifest(id).await?);
            }
            return Ok(Some(manifests));
        }
        let mut next = first;
        loop {
            match self.manifest(next).await? {
                Some(manifest) => manifests.push(manifest),
                None if manifests.is_empty() => match self.oldest_after(next).await? {
                    // A copy that has become its own begins with the manifest that counted.
                    Some(oldest) if first == ManifestId(0) => {
                        Rare::CopyCollected.seen();
                        next = oldest;
                        continue;
                    }
                    _ => return Ok(None),
                },
                None => break,
            }
            next = ManifestId(next.0 + 1);
        }
        let is_next = |pair: &[Manifest]| pair[0].id.0 + 1 == pair[1].id.0;
        assert!(
            manifests.windows(2).all(is_next),
            "manifests from {first} to {next} have no gap"
        );
        let reaches = manifests.last().is_some_and(|last| last.id >= known);
        Ok(reaches.then_some(manifests))
    }

    async fn oldest_after(&self, id: ManifestId) -> Result<Option<ManifestId>> {
        let listed = self.storage.list(Name::MANIFEST).await?;
        let ids = listed.iter().filter_map(Name::as_manifest);
        Ok(ids.filter(|listed| *listed > id).min())
    }

    /// Raises the floor as far as is safe, and deletes the slots and manifests below it. `applied` is the
    /// newest slot that is known, and `known` a manifest that exists.
    ///
    /// # Errors
    /// What the storage refuses: everything that still means something is there.
    pub async fn raise_floor(
        &self,
        applied: Position,
        known: ManifestId,
        keep: Keep,
    ) -> Result<CollectOutcome> {
        let mut floors = Floors::find(Arc::clone(&self.storage)).await?;
        let (id, floor) = floors.probe().await?;
        let mut outcome = CollectOutcome::default();
        let Some(raised) = self.next_floor(floor, applied, known, keep).await? else {
            return self.sweep(id, floor, outcome).await;
        };
        if Mutant::FloorLate.on() {
            outcome = self.sweep(id, raised, outcome).await?;
        }
        assert!(
            raised.slot >= floor.slot && raised.manifest >= floor.manifest,
            "{raised:?} after {floor:?}: floors never decrease"
        );
        let next = FloorId(id.0 + 1);
        let name = Name::floor(next);
        let bytes = raised.encode(next);
        match create_once(&*self.storage, &name, &bytes).await? {
            Owner::Us => {}
            Owner::Others | Owner::Nobody => {
                Rare::FloorRaceLost.seen();
                return Ok(outcome);
            }
        }
        if Mutant::FloorNotDurable.on() {
            outcome = self.sweep(next, raised, outcome).await?;
        }
        if !confirm(&*self.storage, &name, &bytes).await? {
            return Ok(outcome);
        }
        self.sweep(next, raised, outcome).await
    }

    /// Where the floor may be: below the oldest manifest that stays, and as far behind the log's end as
    /// any transaction may lag. `None` if that is no higher than it is.
    async fn next_floor(
        &self,
        floor: Floor,
        applied: Position,
        known: ManifestId,
        keep: Keep,
    ) -> Result<Option<Floor>> {
        let Some(manifests) = self.retained(floor.manifest, known).await? else {
            return Ok(None);
        };
        let stay = keep.manifests.max(1);
        let Some(oldest) = manifests.len().checked_sub(stay).map(|at| &manifests[at]) else {
            return Ok(None);
        };
        let Some(newest) = manifests.last() else {
            return Ok(None);
        };
        // The newest one durable proves the older ones.
        if !self.confirm(newest).await? {
            return Ok(None);
        }
        let lag = Position(applied.0.saturating_sub(self.bounds.window_slots_max));
        let mut slot = match oldest.place {
            _ if keep.window && !Mutant::FloorNoWindow.on() => oldest.folded.min(lag),
            // It refers to the file in which its last slot stands.
            Some(_) => oldest.folded,
            None => oldest.folded.next(),
        };
        if Mutant::FloorHigh.on() {
            slot = Position(applied.0.saturating_sub(2));
        }
        let raised = Floor {
            slot: slot.max(floor.slot),
            manifest: oldest.id.max(floor.manifest),
        };
        Ok((raised != floor).then_some(raised))
    }

    /// Deletes what lies below floor `id`, which is durable.
    async fn sweep(
        &self,
        id: FloorId,
        floor: Floor,
        mut outcome: CollectOutcome,
    ) -> Result<CollectOutcome> {
        // Among others an older floor may be the next one that a process which slept looks for.
        if !self.shared {
            for name in self.storage.list(Name::FLOOR).await? {
                if name.as_floor().is_some_and(|older| older < id) {
                    self.storage.remove(&name).await?;
                }
            }
        }
        for name in self.storage.list(Name::MANIFEST).await? {
            if name.as_manifest().is_some_and(|id| id < floor.manifest)
                && self.storage.remove(&name).await?
            {
                outcome.manifests += 1;
            }
        }
        let mut files: Vec<(Position, Name)> = Vec::new();
        for name in self.storage.list(Name::LOG).await? {
            // A file without a head may have been passed over: the one before it went on.
            if let Some((_, first)) = name.as_log()
                && first <= floor.slot
                && is_begun(&*self.storage, &name).await?
            {
                files.push((first, name));
            }
        }
        files.sort();
        for pair in files.windows(2) {
            // A file holds the slots up to the first of the next one.
            let ([(_, name), (next, _)], true) = (pair, pair[1].0 <= floor.slot) else {
                break;
            };
            assert!(*next <= floor.slot, "{name} holds slots above the floor");
            if self.storage.remove(name).await? {
                outcome.log_files += 1;
            }
        }
        Ok(outcome)
    }

    /// What the mutant that goes by the clock does: deletes whatever the newest manifest does not name.
    ///
    /// # Errors
    /// What the storage refuses.
    pub async fn collect_by_clock(&self, known: ManifestId) -> Result<u64> {
        let missing = || Error::corrupt(Name::manifest(known), "it is gone");
        let newest = match self.newest_after(known).await? {
            Some(newest) => newest,
            None => self.manifest(known).await?.ok_or_else(missing)?,
        };
        let mut deleted = 0;
        for name in self.storage.list(Name::SEGMENT).await? {
            let Some(id) = name.as_segment() else {
                continue;
            };
            let named = newest.runs.iter().any(|entry| entry.run.id == id);
            if !named && self.storage.remove(&name).await? {
                deleted += 1;
            }
        }
        Ok(deleted)
    }
}
