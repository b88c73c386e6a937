//! Filling a storage path with what another one has, beside whoever writes there (S13 of the protocol).
//!
//! Each object is checked before it is written, and is durable where it comes from: what a path has and its peer may still
//! lose would be another history. What was written counts once it is durable, and was looked at again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use super::instance::Instance;
use crate::base::checksum::Hasher128;
use crate::base::limits::{FLOOR_LEN_MAX, MANIFEST_LEN_MAX, RELOADS_MAX, SLOT_FILE_LEN_MAX};
use crate::base::{Error, FloorId, Generation, ManifestId, Mutant, Position, Result, RunRef};
use crate::fold::Manifest;
use crate::log::{Body, Floor, Floors, slot};
use crate::storage::{Created, Name, Operation, Stat, Storage, head, is_head_of};

/// Bytes that are copied at a time.
const COPY_LEN: usize = 1024 * 1024;

/// The next slot of a log that is copied.
#[derive(Clone, Copy, Debug)]
struct LogPoint {
    next: Position,
    generation: Generation,
    /// Of the slot before, if it was read.
    prev: Option<u128>,
}

/// What became of objects, told as they are copied: the object and its bytes.
pub(super) type OnCopied<'a> = &'a (dyn Fn(&Name, u64) + Send + Sync);

/// A path that is being filled.
pub(super) struct Filling<'a> {
    from: &'a Arc<dyn Storage>,
    to: &'a Arc<dyn Storage>,
    /// What stands there, durable.
    filled: BTreeSet<Name>,
    /// Where the slots that stand there end.
    end: Option<LogPoint>,
    /// Written, or found there, and not known to be durable.
    unsettled: Vec<Name>,
    told: Option<OnCopied<'a>>,
    copied: u64,
}

impl<'a> Filling<'a> {
    pub(super) fn new(from: &'a Arc<dyn Storage>, to: &'a Arc<dyn Storage>) -> Filling<'a> {
        Filling {
            from,
            to,
            filled: BTreeSet::new(),
            end: None,
            unsettled: Vec::new(),
            told: None,
            copied: 0,
        }
    }

    /// Tells what is copied.
    pub(super) fn tell(&mut self, told: OnCopied<'a>) {
        self.told = Some(told);
    }

    /// Objects copied so far.
    pub(super) fn copied(&self) -> u64 {
        self.copied
    }

    /// Copies what is missing, the slots before `end` included, and makes it durable.
    ///
    /// # Errors
    /// [`Error::Corrupt`] naming what is damaged where it comes from; [`Error::SnapshotTooOld`] where collection is faster;
    /// [`Error::Halted`] after a sync that failed; what either path refuses.
    pub(super) async fn run(&mut self, end: Position) -> Result<()> {
        let mut failure = None;
        for _ in 0..RELOADS_MAX {
            match self.once(Some(end)).await {
                // Collected while it was read: begin again above the floor.
                Err(error @ (Error::SnapshotTooOld { .. } | Error::Corrupt { .. })) => {
                    let now = error.to_string();
                    if failure.as_ref().map(Error::to_string) == Some(now) {
                        return Err(error);
                    }
                    failure = Some(error);
                }
                done => return done,
            }
        }
        let object = self.from.location();
        Err(failure.unwrap_or(Error::SnapshotTooOld { object }))
    }

    /// Copies the manifests and floors that are missing, with what they refer to, and makes them durable.
    ///
    /// # Errors
    /// As [`Filling::run`].
    pub(super) async fn checkpoints(&mut self) -> Result<()> {
        self.once(None).await
    }

    async fn once(&mut self, end: Option<Position>) -> Result<()> {
        let (id, floor) = Floors::find(Arc::clone(self.from)).await?.newest();
        // The order of S12: manifests before the floor that rests on them.
        self.manifests_from(floor.manifest).await?;
        if let Some(end) = end {
            self.slots(floor.slot, end).await?;
        }
        self.settle().await?;
        self.floors(id).await?;
        if end.is_some() {
            self.instance().await?;
        }
        self.settle().await
    }

    /// Manifests from `first` on, without a gap, to the newest.
    async fn manifests_from(&mut self, first: ManifestId) -> Result<()> {
        let mut next = first;
        let mut newest = None;
        while let Some(bytes) = self.read(&Name::manifest(next), MANIFEST_LEN_MAX).await? {
            newest = Some((next, bytes.clone()));
            self.manifest(next, &bytes).await?;
            next = ManifestId(next.0 + 1);
        }
        let Some((id, _)) = newest else {
            return Err(self.gone(&Name::manifest(first)));
        };
        assert!(id >= first, "manifest {id} after {first}");
        Ok(())
    }

    /// As far as they are missing, manifests up to this one.
    pub(super) async fn manifests_to(&mut self, last: ManifestId) -> Result<()> {
        let mut missing = Vec::new();
        let mut id = last;
        loop {
            let name = Name::manifest(id);
            if self.to.stat(&name).await?.is_some() {
                break;
            }
            // Those below the floor are gone.
            let Some(bytes) = self.read(&name, MANIFEST_LEN_MAX).await? else {
                break;
            };
            missing.push((id, bytes));
            if id == ManifestId(0) {
                break;
            }
            id = ManifestId(id.0 - 1);
        }
        for (id, bytes) in missing.into_iter().rev() {
            self.manifest(id, &bytes).await?;
        }
        Ok(())
    }

    async fn manifest(&mut self, id: ManifestId, bytes: &Bytes) -> Result<()> {
        let name = Name::manifest(id);
        if self.filled.contains(&name) {
            return Ok(());
        }
        let manifest = self.checked(Manifest::decode(name.as_str(), id, bytes))?;
        // One that its own path may still lose is another one there later.
        if !self.from.confirm(&name, bytes).await? {
            return Err(self.gone(&name));
        }
        self.segments_of(&manifest).await?;
        self.settle().await?;
        self.put(&name, bytes).await
    }

    /// The segments that a manifest refers to; how many were copied.
    pub(super) async fn segments_of(&mut self, manifest: &Manifest) -> Result<u64> {
        let before = self.copied;
        for entry in &manifest.runs {
            self.segment(&entry.run).await?;
        }
        Ok(self.copied - before)
    }

    async fn segment(&mut self, run: &RunRef) -> Result<()> {
        let name = Name::segment(run.id);
        if self.filled.contains(&name) {
            return Ok(());
        }
        if let Some(found) = self.to.stat(&name).await?
            && found.len == run.len
        {
            self.unsettled.push(name);
            return Ok(());
        }
        let Some(object) = self.from.open(&name).await? else {
            return Err(self.gone(&name));
        };
        let mut writer = self.to.writer(&name).await?;
        let (mut hasher, mut offset) = (Hasher128::default(), 0);
        while offset < object.len() {
            let left = usize::try_from(object.len() - offset).unwrap_or(COPY_LEN);
            let bytes = object.read_at(offset, left.min(COPY_LEN)).await?;
            hasher.update(&bytes);
            writer.write(&bytes).await?;
            offset += bytes.len() as u64;
        }
        if (offset, hasher.digest()) != (run.len, run.hash) {
            return Err(self.rotten(&name, "it does not match its checksum"));
        }
        writer.finish().await?;
        self.written(&name, offset);
        Ok(())
    }

    /// The slots from `first` on before `end`, in order, each with what it refers to.
    async fn slots(&mut self, first: Position, end: Position) -> Result<()> {
        let first = first.max(Position(1));
        if first >= end {
            return Ok(());
        }
        let mut at = match self.end {
            Some(at) if at.next >= first => at,
            _ => LogPoint {
                next: first,
                generation: self.generation_of(first).await?,
                prev: None,
            },
        };
        while at.next < end {
            let name = Name::log(at.generation, at.next);
            let Some(bytes) = self.read(&name, SLOT_FILE_LEN_MAX).await? else {
                return Err(self.gone(&name));
            };
            let slot = slot::decode(&bytes).map_err(|fault| {
                self.rotten(&name, format!("it is not a whole slot: {fault:?}"))
            })?;
            let header = &slot.header;
            let follows = at.prev.is_none_or(|prev| header.prev == prev);
            if (header.n, header.generation) != (at.next, at.generation) || !follows {
                return Err(self.rotten(&name, "it does not follow the slot before it"));
            }
            for record in &slot.records {
                if let Body::Bulk(runs) = &record.body {
                    for run in runs {
                        self.segment_of_slot(run).await?;
                    }
                }
            }
            if !self.filled.contains(&name) {
                self.put(&name, &bytes).await?;
            }
            let begins = slot.records.iter().find_map(|record| record.body.begins());
            at = LogPoint {
                next: at.next.next(),
                generation: begins.unwrap_or(at.generation),
                prev: Some(slot.hash),
            };
        }
        self.settle().await?;
        self.end = Some(at);
        Ok(())
    }

    /// A run that a slot refers to. It may have been folded and collected since: then a manifest stands for the slot.
    async fn segment_of_slot(&mut self, run: &RunRef) -> Result<()> {
        match self.segment(run).await {
            Err(Error::SnapshotTooOld { .. }) => Ok(()),
            done => done,
        }
    }

    /// The generation under which a slot stands.
    async fn generation_of(&self, n: Position) -> Result<Generation> {
        for name in self.from.list(Name::LOG).await? {
            if let Some((generation, first)) = name.as_log()
                && first == n
            {
                return Ok(generation);
            }
        }
        let object = format!("slot {n}");
        Err(Error::SnapshotTooOld { object })
    }

    /// The floors up to the newest, the oldest first.
    async fn floors(&mut self, newest: FloorId) -> Result<()> {
        let mut missing = Vec::new();
        let mut id = newest;
        while id > FloorId(0) {
            let name = Name::floor(id);
            if self.filled.contains(&name) {
                break;
            }
            let Some(bytes) = self.read(&name, FLOOR_LEN_MAX).await? else {
                break;
            };
            self.checked(Floor::decode(id, &bytes))?;
            missing.push((name, bytes));
            id = FloorId(id.0 - 1);
        }
        for (name, bytes) in missing.into_iter().rev() {
            self.put(&name, &bytes).await?;
        }
        Ok(())
    }

    /// Who the database is.
    async fn instance(&mut self) -> Result<()> {
        let name = Name::instance();
        if self.to.stat(&name).await?.is_some() {
            return Ok(());
        }
        let Some((instance, ..)) = Instance::load_path(&**self.from).await? else {
            return Err(self.gone(&name));
        };
        instance.store_on_path(&**self.to).await
    }

    async fn read(&self, name: &Name, len_max: u64) -> Result<Option<Bytes>> {
        self.from.read_at_most(name, len_max).await
    }

    /// Writes an object, unless it is there.
    async fn put(&mut self, name: &Name, bytes: &Bytes) -> Result<()> {
        if self.to.create(name, bytes).await? == Created::Exists {
            let found = head(&**self.to, name).await?;
            if found.is_some_and(|found| !is_head_of(&found, bytes)) {
                let detail = format!("{} has another object there", self.to.location());
                return Err(Error::corrupt(name, detail));
            }
            self.unsettled.push(name.clone());
            return Ok(());
        }
        self.written(name, bytes.len() as u64);
        Ok(())
    }

    fn written(&mut self, name: &Name, len: u64) {
        self.copied += 1;
        self.unsettled.push(name.clone());
        if let Some(told) = self.told {
            told(name, len);
        }
    }

    /// Makes durable what was written or found, and makes sure that it is still there (I1).
    pub(super) async fn settle(&mut self) -> Result<()> {
        let names = std::mem::take(&mut self.unsettled);
        if Mutant::JoinVolatile.on() {
            self.filled.extend(names);
            return Ok(());
        }
        let mut before: BTreeMap<Name, Stat> = BTreeMap::new();
        for name in names {
            match self.to.stat(&name).await? {
                Some(stat) => drop(before.insert(name, stat)),
                None => return Err(self.lost(&name)),
            }
        }
        let mut synced: BTreeSet<String> = BTreeSet::new();
        for name in before.keys() {
            if synced.insert(name.dir().to_owned()) {
                let done = self.to.sync_names(name).await;
                done.map_err(|error| Error::Halted {
                    cause: format!("on the storage path {}: {error}", self.to.location()),
                })?;
            }
        }
        for (name, stat) in before {
            if self.to.stat(&name).await? != Some(stat) {
                return Err(self.lost(&name));
            }
            self.filled.insert(name);
        }
        Ok(())
    }

    /// What was listed or referred to is not there: it may have been collected meanwhile.
    fn gone(&self, name: &Name) -> Error {
        let object = format!("{}/{name}", self.from.location());
        Error::SnapshotTooOld { object }
    }

    /// The path that is filled has lost what was written.
    fn lost(&self, name: &Name) -> Error {
        let gone = std::io::Error::from(std::io::ErrorKind::NotFound);
        Operation::SyncNames.error(format_args!("{}/{name}", self.to.location()), &gone)
    }

    fn checked<T>(&self, decoded: Result<T>) -> Result<T> {
        decoded.map_err(|error| match error {
            Error::Corrupt { object, detail } => {
                Error::corrupt(format!("{}/{object}", self.from.location()), detail)
            }
            error => error,
        })
    }

    fn rotten(&self, name: &Name, detail: impl Into<String>) -> Error {
        Error::corrupt(format!("{}/{name}", self.from.location()), detail.into())
    }
}
