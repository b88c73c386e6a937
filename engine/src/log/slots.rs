//! The log as many processes write it: one immutable file a slot, created if absent, so that of several
//! writers one wins and the others read what it wrote (S6 and S7 of the protocol).

use std::sync::Arc;

use bytes::Bytes;

use super::append::AppendError;
use super::floor::Floors;
use super::once::{Owner, confirm, create_once};
use super::record::{Body, LogRecord};
use super::slot::{self, Slot, SlotFault, SlotHeader};
use crate::base::limits::{SEAL_TRIES_MAX, SLOT_FILE_LEN_MAX};
use crate::base::{Error, Generation, Mutant, PathId, Position, Rare, Result, TxId};
use crate::storage::{MirrorStorage, Name, Operation, Sealed, Storage};

/// What became of a slot that this process tried to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// It stands, durable, with these bytes.
    Won(Bytes),
    /// Another slot stands there, or storage lost this one: read on and validate again.
    Lost,
}

/// A slot that was followed.
#[derive(Clone, Debug)]
pub struct Followed {
    /// The slot.
    pub slot: Slot,
    /// Whether it was read from storage, and not only from a bus.
    pub stored: bool,
}

/// The end of the log as this process has followed it, and the way to the next slot.
pub struct SlotLog {
    storage: Arc<dyn Storage>,
    floors: Floors,
    generation: Generation,
    last: Position,
    hash: u128,
    /// The generation under which that slot stands.
    last_under: Generation,
    /// The newest slot that is known to be on storage. What came over a bus feeds memory, never the
    /// decision that the next slot may be created (I1).
    confirmed: Position,
    /// A sync has failed: nothing is written any more (S6).
    halted: Option<String>,
    /// What [`Mutant::EarlyAnswer`] leaves for later.
    late: Option<(Name, Bytes)>,
}

impl SlotLog {
    /// Follows the log from `last` on, which is known to be durable.
    pub fn new(
        storage: Arc<dyn Storage>,
        floors: Floors,
        generation: Generation,
        last: (Position, u128),
    ) -> SlotLog {
        SlotLog {
            storage,
            floors,
            generation,
            last: last.0,
            hash: last.1,
            last_under: generation,
            confirmed: last.0,
            halted: None,
            late: None,
        }
    }

    /// The newest slot that was read or written, and its hash.
    pub fn last(&self) -> (Position, u128) {
        (self.last, self.hash)
    }

    /// The generation of the next slot.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The paths on which that generation stands, the active one first; empty where the database has one path only.
    pub fn paths(&self) -> Vec<PathId> {
        let mirror = self.storage.mirror();
        mirror.map(MirrorStorage::paths).unwrap_or_default()
    }

    /// The floors, for whoever collects.
    pub fn floors(&mut self) -> &mut Floors {
        &mut self.floors
    }

    /// The next slot; `None` where there is none yet. It is durable, and above the floor. The log stays
    /// where it is until [`SlotLog::accept`].
    ///
    /// `hint` may be the bytes of that slot as somebody offered them.
    ///
    /// # Errors
    /// [`Error::SnapshotTooOld`] if the log was collected under this process: begin again from a
    /// manifest. [`Error::Corrupt`] naming the slot; what the storage refuses.
    pub async fn next(&mut self, hint: Option<Bytes>) -> Result<Option<Followed>> {
        let followed = self.next_slot(hint).await?;
        if let Some(followed) = &followed {
            self.join(&followed.slot).await?;
        }
        Ok(followed)
    }

    async fn next_slot(&mut self, hint: Option<Bytes>) -> Result<Option<Followed>> {
        if let Some(slot) = hint.and_then(|bytes| self.fitting(&bytes)) {
            return Ok(Some(Followed {
                slot,
                stored: false,
            }));
        }
        let storage = Arc::clone(&self.storage);
        let Some(mirror) = storage.mirror() else {
            return self.look().await;
        };
        // Each turn goes on without a path that the one before could do nothing with.
        for _ in 0..SEAL_TRIES_MAX {
            let looked = match mirror.is_suspect() {
                true => Ok(None),
                false => self.look().await,
            };
            let failure = match looked {
                Ok(None) if mirror.is_suspect() => None,
                Ok(found) => return Ok(found),
                Err(error) => Some(error),
            };
            let Some(lost) = mirror.lost().await else {
                match failure {
                    Some(error) => return Err(stopped(mirror, error)),
                    None => return self.look().await.map_err(|error| stopped(mirror, error)),
                }
            };
            // Somebody may have written, or sealed, on the path that is left.
            match self.look().await {
                Ok(None) | Err(Error::Storage { .. } | Error::Halted { .. }) => {}
                found => return found,
            }
            if let Some(sealed) = self.seal(mirror, lost).await? {
                return Ok(Some(sealed));
            }
        }
        let cause = "the path that is left takes no seal".to_owned();
        Err(Error::Halted { cause })
    }

    /// Seals the generation on the path that is left: the next slot, under this generation's name, begins another one that
    /// stands there alone. Whoever still writes this generation needs that path, and finds the seal (S13). `None` where
    /// another slot stands there.
    async fn seal(&mut self, mirror: &MirrorStorage, lost: PathId) -> Result<Option<Followed>> {
        let paths = mirror.paths();
        let left: Vec<PathId> = paths.iter().copied().filter(|id| *id != lost).collect();
        assert_eq!(left.len(), 1, "{lost} of {paths:?} is lost");
        if !self.predecessor_stands().await? {
            return Ok(None);
        }
        let (n, generation) = (self.last.next(), Generation(self.generation.0 + 1));
        let header = SlotHeader {
            version: slot::SLOT_VERSION,
            n,
            generation: self.generation,
            prev: self.hash,
            nonce: mirror.entropy().next_u128(),
            time_ms: mirror.clock().wall_ms(),
        };
        let record = LogRecord {
            txid: TxId(mirror.entropy().next_u128()),
            read_at: self.last,
            body: Body::Seal {
                generation,
                paths: left.clone(),
            },
        };
        let (bytes, _) = slot::encode(&header, &[record]);
        let bytes = Bytes::from(bytes);
        let name = match Mutant::SealNewName.on() {
            true => Name::log(generation, n),
            false => Name::log(self.generation, n),
        };
        let storage = mirror.path(left[0])?;
        let stands = create_once(&*storage, &name, &bytes).await? == Owner::Us
            && mirror.confirm_on(left[0], &name, &bytes).await?;
        if !stands {
            Rare::SealLost.seen();
            return Ok(None);
        }
        // A process that slept may have sealed what was collected long ago (S11).
        self.floors.check(n).await?;
        Rare::Sealed.seen();
        tracing::warn!(
            generation = generation.0,
            position = n.0,
            path = storage.location(),
            "[Failover] sealed: the database goes on with one storage path"
        );
        let slot = decode(&name, &bytes)?;
        Ok(Some(Followed { slot, stored: true }))
    }

    /// Commits that from the next slot on the database stands on these paths. One that joins is completed before this
    /// returns.
    ///
    /// # Errors
    /// As [`SlotLog::append`].
    pub async fn seal_on(&mut self, paths: &[PathId]) -> Result<Attempt, AppendError> {
        let storage = Arc::clone(&self.storage);
        let Some(mirror) = storage.mirror() else {
            let message = "a database with one storage path has no generations to seal".to_owned();
            return Err(AppendError::NotWritten(Error::Invalid(message)));
        };
        let record = LogRecord {
            txid: TxId(mirror.entropy().next_u128()),
            read_at: self.last,
            body: Body::Seal {
                generation: Generation(self.generation.0 + 1),
                paths: paths.to_vec(),
            },
        };
        let (nonce, time_ms) = (mirror.entropy().next_u128(), mirror.clock().wall_ms());
        self.append(&[record], nonce, time_ms).await
    }

    /// Completes the path that this slot adds, if it does: nobody goes on after such a seal before that path has all that
    /// came before it.
    async fn join(&mut self, slot: &Slot) -> Result<()> {
        let storage = Arc::clone(&self.storage);
        let Some(mirror) = storage.mirror() else {
            return Ok(());
        };
        for record in &slot.records {
            let Body::Seal { generation, paths } = &record.body else {
                continue;
            };
            if !mirror.joins(*generation, paths) {
                continue;
            }
            let (bytes, _) = slot::encode_again(slot);
            let header = &slot.header;
            let seal = Sealed {
                name: &Name::log(header.generation, header.n),
                bytes: &Bytes::from(bytes),
            };
            match mirror.join(seal, paths).await {
                Ok(()) => {}
                Err(error) => {
                    let after = (header.n, slot.hash, *generation);
                    if !self.has_left(mirror, after, paths).await? {
                        return Err(error);
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether a later seal, which is followed at once, has left the path that joins here: the others have been told that
    /// it is gone.
    async fn has_left(
        &self,
        mirror: &MirrorStorage,
        after: (Position, u128, Generation),
        paths: &[PathId],
    ) -> Result<bool> {
        let (mut last, mut hash, mut generation) = after;
        let active = mirror.path(paths[0])?;
        loop {
            let name = Name::log(generation, last.next());
            let Some(bytes) = active.read_at_most(&name, SLOT_FILE_LEN_MAX).await? else {
                return Ok(false);
            };
            let slot = decode(&name, &bytes)?;
            if slot.header.prev != hash {
                return Ok(false);
            }
            (last, hash) = (slot.header.n, slot.hash);
            for record in &slot.records {
                if let Body::Seal {
                    generation: begun,
                    paths: left,
                } = &record.body
                {
                    if !left.contains(&paths[1]) && active.confirm(&name, &bytes).await? {
                        Rare::JoinedAndLeft.seen();
                        mirror.settle(*begun, left).await?;
                        return Ok(true);
                    }
                    generation = *begun;
                }
            }
        }
    }

    /// What storage has as the next slot.
    async fn look(&mut self) -> Result<Option<Followed>> {
        let n = self.last.next();
        let name = Name::log(self.generation, n);
        let Some(bytes) = self.storage.read_at_most(&name, SLOT_FILE_LEN_MAX).await? else {
            if !Mutant::LinearNoFloor.on() {
                self.floors.check(n).await?;
            }
            return Ok(None);
        };
        let slot = decode(&name, &bytes)?;
        if !self.continues(&slot) {
            // A slot that was created below the floor may continue anything.
            let checked = self.floors.check(n).await;
            if checked.is_err() {
                Rare::SlotBelowFloorFollowsNothing.seen();
            }
            checked?;
            let detail = format!("it does not follow slot {} of this log", self.last);
            return Err(Error::corrupt(name, detail));
        }
        let durable = self.durable(&name, &slot, &bytes).await?;
        // A slot that is not durable is gone: storage lost it, and the log ends here; or it was collected
        // while this process slept, and the log does not.
        if !durable {
            Rare::ReadSlotVanished.seen();
        }
        self.floors.check(n).await?;
        Ok(durable.then_some(Followed { slot, stored: true }))
    }

    /// Steps over a slot that [`SlotLog::next`] returned.
    pub fn accept(&mut self, followed: &Followed) {
        assert!(
            self.continues(&followed.slot) || Mutant::HintUnchained.on(),
            "slot {} was followed from another end than slot {}",
            followed.slot.header.n,
            self.last
        );
        self.step(&followed.slot);
        if followed.stored {
            self.confirmed = followed.slot.header.n;
        }
        assert!(
            self.confirmed <= self.last,
            "slot {} is on storage, the log ends at {}",
            self.confirmed,
            self.last
        );
    }

    /// A slot from a bus, if it is whole and continues the chain.
    fn fitting(&self, bytes: &Bytes) -> Option<Slot> {
        let slot = slot::decode(bytes).ok()?;
        if slot.records.iter().any(is_seal) {
            // It decides where the log goes on, and is read there.
            return None;
        }
        let is_next = slot.header.n == self.last.next();
        let fits = self.continues(&slot) || (is_next && Mutant::HintUnchained.on());
        if !fits {
            Rare::HintRefused.seen();
        }
        fits.then_some(slot)
    }

    fn continues(&self, slot: &Slot) -> bool {
        let header = &slot.header;
        header.n == self.last.next()
            && header.prev == self.hash
            && header.generation == self.generation
    }

    fn step(&mut self, slot: &Slot) {
        assert_eq!(slot.header.n, self.last.next(), "slots have no gaps");
        self.last = slot.header.n;
        self.hash = slot.hash;
        self.last_under = slot.header.generation;
        for record in &slot.records {
            if let Some(generation) = record.body.begins() {
                self.generation = generation;
            }
            if let Body::Seal { generation, paths } = &record.body
                && let Some(mirror) = self.storage.mirror()
            {
                mirror.adopt(*generation, paths);
            }
        }
    }

    /// Whether a slot that was only read is durable: because its successor names exactly these bytes, or
    /// because it is synced now and stands there after that (I1).
    async fn durable(&mut self, name: &Name, slot: &Slot, bytes: &Bytes) -> Result<bool> {
        if Mutant::ReadNoSync.on() || self.is_durable_at_once() || self.has_successor(slot).await? {
            return Ok(true);
        }
        self.confirm(name, bytes).await
    }

    /// Whether what a call has created or read here is durable by that alone, name included.
    fn is_durable_at_once(&self) -> bool {
        self.storage.capabilities().durable_at_once
    }

    async fn has_successor(&self, slot: &Slot) -> Result<bool> {
        let changed = slot.records.iter().find_map(|record| record.body.begins());
        let generation = changed.unwrap_or(slot.header.generation);
        let name = Name::log(generation, slot.header.n.next());
        let Some(object) = self.storage.open(&name).await? else {
            return Ok(false);
        };
        let len = usize::try_from(object.len()).unwrap_or(usize::MAX);
        let head = object.read_at(0, len.min(slot::SLOT_HEADER_LEN)).await?;
        let header = slot::decode_head(&head).ok();
        Ok(header.is_some_and(|header| header.prev == slot.hash))
    }

    /// As [`confirm`]; a sync that fails ends writing.
    async fn confirm(&mut self, name: &Name, bytes: &[u8]) -> Result<bool> {
        self.writable()?;
        assert!(!self.is_durable_at_once(), "{name} is durable as it is");
        let confirmed = confirm(&*self.storage, name, bytes).await;
        if let Err(Error::Storage { op, .. }) = &confirmed
            && *op == Operation::SyncNames.as_str()
            // Of several paths the one on which it failed is given up.
            && self.storage.mirror().is_none()
        {
            Rare::SlotsHalted.seen();
            self.halted = Some(format!("making the name of {name} durable failed"));
        }
        confirmed
    }

    /// Whether this process may still write.
    ///
    /// # Errors
    /// [`Error::Halted`] after a sync that failed.
    pub fn writable(&self) -> Result<()> {
        match &self.halted {
            Some(cause) => Err(Error::Halted {
                cause: cause.clone(),
            }),
            None => Ok(()),
        }
    }

    /// Tries to create the next slot. `published` is called at the moment from which others may be told,
    /// which is after the slot is durable and above the floor.
    ///
    /// # Errors
    /// [`AppendError::NotWritten`] with [`Error::SnapshotTooOld`] if the log was collected under this
    /// process; [`AppendError::Unknown`] if the slot may yet appear: read on, and it is found or not.
    pub async fn append(
        &mut self,
        records: &[LogRecord],
        nonce: u128,
        time_ms: u64,
    ) -> Result<Attempt, AppendError> {
        self.writable().map_err(AppendError::NotWritten)?;
        if !self
            .predecessor_stands()
            .await
            .map_err(AppendError::NotWritten)?
        {
            return Ok(Attempt::Lost);
        }
        let n = self.last.next();
        let header = SlotHeader {
            version: slot::SLOT_VERSION,
            n,
            generation: self.generation,
            prev: self.hash,
            nonce,
            time_ms,
        };
        assert_eq!(
            self.confirmed, self.last,
            "slot {n}: the slot before it is on storage (I1)"
        );
        let (bytes, hash) = slot::encode(&header, records);
        let bytes = Bytes::from(bytes);
        let name = Name::log(self.generation, n);
        let owner = create_once(&*self.storage, &name, &bytes).await;
        if let Err(error) = &owner
            && let Some(attempt) = self.after_failure(error).await
        {
            return Ok(attempt);
        }
        let owner = owner.map_err(|error| match error.is_refusal() {
            // And it is not there, either.
            true => AppendError::NotWritten(error),
            false => AppendError::Unknown(error),
        });
        match owner? {
            Owner::Us => {}
            Owner::Others => {
                Rare::SlotLost.seen();
                return Ok(Attempt::Lost);
            }
            Owner::Nobody => {
                Rare::SlotVanished.seen();
                return Ok(Attempt::Lost);
            }
        }
        if Mutant::EarlyAnswer.on() {
            self.late = Some((name.clone(), bytes.clone()));
        } else if !Mutant::NoDirectorySync.on() && !self.is_durable_at_once() {
            let confirmed = self.confirm(&name, &bytes).await;
            if let Err(error) = &confirmed
                && let Some(attempt) = self.after_failure(error).await
            {
                return Ok(attempt);
            }
            if !confirmed.map_err(AppendError::Unknown)? {
                Rare::SlotNotDurable.seen();
                return Ok(Attempt::Lost);
            }
        }
        // A writer that slept may have created a slot that was collected long ago (S11).
        self.floors.check(n).await.map_err(AppendError::Unknown)?;
        let slot = slot::decode(&bytes);
        let slot = slot.map_err(|fault| {
            AppendError::Unknown(Error::corrupt(&name, format!("as written: {fault:?}")))
        })?;
        assert_eq!(
            slot.hash, hash,
            "slot {n} reads back with the hash that it was written with"
        );
        self.join(&slot).await.map_err(AppendError::Unknown)?;
        self.step(&slot);
        self.confirmed = n;
        assert_eq!(self.last, n, "the log ends with the slot that was created");
        Ok(Attempt::Won(bytes))
    }

    /// What a failure to write on several paths comes to: where one is lost and the database can go on without it, the slot
    /// is another's, the seal's, and is found by reading on.
    async fn after_failure(&self, error: &Error) -> Option<Attempt> {
        let lost = self.storage.mirror()?.lost().await?;
        tracing::debug!(%error, %lost, "a slot was not written");
        Some(Attempt::Lost)
    }

    /// What the mutant that answers too early does after answering; nothing otherwise.
    ///
    /// # Errors
    /// What the storage refuses.
    pub async fn settle_late(&mut self) -> Result<()> {
        if let Some((name, bytes)) = self.late.take() {
            self.confirm(&name, &bytes).await?;
        }
        Ok(())
    }

    /// I1: the slot before is on storage, and not only in what somebody sent.
    async fn predecessor_stands(&mut self) -> Result<bool> {
        assert!(
            self.confirmed <= self.last,
            "slot {} is on storage, the log ends at {}",
            self.confirmed,
            self.last
        );
        if self.confirmed == self.last || Mutant::PredecessorUnread.on() {
            return Ok(true);
        }
        let name = Name::log(self.last_under, self.last);
        let Some(bytes) = self.storage.read_at_most(&name, SLOT_FILE_LEN_MAX).await? else {
            Rare::PredecessorGone.seen();
            self.floors.check(self.last).await?;
            return Ok(false);
        };
        let slot = decode(&name, &bytes)?;
        if slot.hash != self.hash {
            self.floors.check(self.last).await?;
            return Err(Error::corrupt(name, "it is not the slot that was followed"));
        }
        if !self.durable(&name, &slot, &bytes).await? {
            self.floors.check(self.last).await?;
            return Ok(false);
        }
        self.confirmed = self.last;
        Ok(true)
    }
}

fn is_seal(record: &LogRecord) -> bool {
    matches!(record.body, Body::Seal { .. })
}

/// A failure, and why the database cannot go on without the path that failed.
fn stopped(mirror: &MirrorStorage, error: Error) -> Error {
    match mirror.stopped_by() {
        Some(path) => Error::PathLost { path },
        None => error,
    }
}

fn decode(name: &Name, bytes: &Bytes) -> Result<Slot> {
    match slot::decode(bytes) {
        Ok(slot) => Ok(slot),
        Err(SlotFault::TooNew { version }) => Err(Error::FormatTooNew {
            object: name.to_string(),
            found: version,
            known: u32::from(slot::SLOT_VERSION),
        }),
        Err(SlotFault::Broken(detail)) => Err(Error::corrupt(name, detail)),
        Err(SlotFault::Absent | SlotFault::Short { .. }) => {
            Err(Error::corrupt(name, "it is not a whole slot"))
        }
    }
}
