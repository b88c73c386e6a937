//! Writes the next slot: one durable write within space that was allocated before, so that no
//! metadata of the file system has to be committed with it.

use std::sync::Arc;

use super::file::{FIRST_SLOT_OFFSET, FileHead, PrevFile};
use super::record::LogRecord;
use super::replay::{FileEnd, LogEnd};
use super::slot::{self, Slot, SlotHeader};
use crate::base::limits::{
    LOG_ALLOCATE_LEN_MAX, LOG_ALLOCATE_LEN_MIN, LOG_FILE_LEN_MAX, SECTOR_LEN,
};
use crate::base::{Error, Generation, Mutant, Position, Rare, Result};
use crate::storage::{AppendFile, Name, Storage};

/// Why a slot was not appended.
#[derive(Clone, Debug)]
pub enum AppendError {
    /// Nothing was written; the same slot may be tried again.
    NotWritten(Error),
    /// The write failed in the middle: whether the slot is durable is known only after the next
    /// open. The writer has halted.
    Unknown(Error),
}

/// The end of the log, open for writing by the one process that holds the lock.
pub struct LogWriter {
    storage: Arc<dyn Storage>,
    generation: Generation,
    /// The newest durable slot.
    last: Position,
    /// Its hash.
    hash: u128,
    /// The file being written; `None` until the next slot begins one.
    file: Option<LogFile>,
    /// What the next file says of the one before it.
    prev_file: Option<PrevFile>,
    halted: Option<String>,
}

struct LogFile {
    name: Name,
    handle: Box<dyn AppendFile>,
    generation: Generation,
    first: Position,
    /// Where the next slot goes.
    offset: u64,
}

impl LogWriter {
    /// Goes on where replay ended. Whatever was read is made durable first: an earlier process may
    /// have been killed between its write and its sync, or its sync may have failed, and a slot that is
    /// exposed must not vanish.
    ///
    /// # Errors
    /// What the storage refuses.
    pub async fn open(storage: Arc<dyn Storage>, end: &LogEnd) -> Result<LogWriter> {
        let mut writer = LogWriter {
            storage,
            generation: end.generation,
            last: end.last,
            hash: end.hash,
            file: None,
            prev_file: None,
            halted: None,
        };
        if let Some(file) = &end.file {
            writer.reopen(file).await?;
            assert_ne!(
                writer.file.is_some(),
                writer.prev_file.is_some(),
                "slot {}: the last file goes on, or is left behind",
                end.last
            );
        }
        writer.take_up().await?;
        Ok(writer)
    }

    /// An earlier process may have ended while it began the next file: then the next slot goes there. In the
    /// file before, it would stand beyond the name that says where that file ends.
    async fn take_up(&mut self) -> Result<()> {
        let next = self.last.next();
        if self.file.as_ref().is_some_and(|file| file.first < next) {
            let name = Name::log(self.generation, next);
            if self.storage.stat(&name).await?.is_some() && !Mutant::TakeUpLeftOut.on() {
                Rare::FileTakenUp.seen();
                self.leave_file().await;
            }
        }
        Ok(())
    }

    async fn reopen(&mut self, file: &FileEnd) -> Result<()> {
        let name = Name::log(file.generation, file.first);
        let mut handle = self.storage.append_file(&name).await?;
        if !Mutant::ReopenNoSync.on() {
            self.settle(&name, &mut *handle, file).await?;
            self.storage.sync_names(&name).await?;
        }
        let (generation, first, offset) = (file.generation, file.first, file.offset);
        let torn = file.torn.is_some();
        if torn && offset == FIRST_SLOT_OFFSET {
            Rare::TornFileBegunAgain.seen();
            // Not one slot of it counts, and the next file would have its name: begin it again.
            handle.truncate(offset).await?;
        }
        // A torn end is left behind for good: the next file's head says how much of this one counts.
        let is_left = torn && offset > FIRST_SLOT_OFFSET && !Mutant::TornOverwritten.on();
        if is_left || generation != self.generation {
            if torn {
                Rare::TornEndLeft.seen();
            }
            self.prev_file = Some(PrevFile {
                generation,
                first,
                valid_len: offset,
            });
        } else {
            self.file = Some(LogFile {
                name,
                handle,
                generation,
                first,
                offset,
            });
        }
        Ok(())
    }

    /// Makes durable what was read of a file. After a sync that failed, a system may go on showing
    /// bytes that it has given up writing, and no later sync writes them; so the newest slot, the only
    /// one that a writer may have left so, is written once more, where it stands.
    async fn settle(&self, name: &Name, handle: &mut dyn AppendFile, file: &FileEnd) -> Result<()> {
        assert!(
            file.newest <= file.offset,
            "{name}: its newest slot at byte {} begins behind its end {}",
            file.newest,
            file.offset
        );
        let len = usize::try_from(file.offset - file.newest).unwrap_or(usize::MAX);
        if len == 0 {
            return handle.sync().await;
        }
        let object = self.storage.open(name).await?;
        let object = object.ok_or_else(|| Error::corrupt(name, "it was read and is gone"))?;
        let bytes = object.read_at(file.newest, len).await?;
        handle.write_durable(file.newest, &bytes).await?;
        // The write made durable what it wrote; what earlier processes wrote may need more.
        handle.sync().await
    }

    /// The newest durable slot and its hash.
    pub fn last(&self) -> (Position, u128) {
        (self.last, self.hash)
    }

    /// The generation of the next slot.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Where the next slot will stand, for a manifest: file generation, first slot, offset. `None` where it
    /// begins a file, which is found by the slot's name.
    pub fn place(&self) -> Option<(Generation, Position, u64)> {
        let next = self.last.next();
        if self.file.as_ref().is_some_and(|file| file.first == next) {
            return None;
        }
        let open = self
            .file
            .as_ref()
            .map(|file| (file.generation, file.first, file.offset));
        open.or(self
            .prev_file
            .map(|prev| (prev.generation, prev.first, prev.valid_len)))
    }

    /// Why nothing can be written any more, if so.
    pub fn halted(&self) -> Option<&str> {
        self.halted.as_deref()
    }

    /// Appends one slot; it is durable when this returns `Ok`.
    ///
    /// # Errors
    /// [`AppendError`]: whether the slot was certainly not written, or may have been.
    pub async fn append(
        &mut self,
        records: &[LogRecord],
        nonce: u128,
        time_ms: u64,
    ) -> Result<Position, AppendError> {
        if let Some(cause) = &self.halted {
            return Err(AppendError::NotWritten(Error::Halted {
                cause: cause.clone(),
            }));
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
        let (bytes, hash) = slot::encode(&header, records);
        assert!(
            bytes.len().is_multiple_of(SECTOR_LEN),
            "slot {n} of {} bytes is no whole number of sectors",
            bytes.len()
        );
        let file = self
            .room_for(bytes.len() as u64)
            .await
            .map_err(AppendError::NotWritten)?;
        // An acknowledged slot must be where its database is looked for.
        let there = file.handle.check_place().await;
        there.map_err(AppendError::NotWritten)?;
        if let Err(error) = file.handle.write_durable(file.offset, &bytes).await {
            // Never tried again: after a failed sync the medium may have dropped the pages and yet
            // report success the second time.
            Rare::AppendHalted.seen();
            self.halted = Some(format!("writing slot {n} to {}: {error}", file.name));
            return Err(AppendError::Unknown(error));
        }
        file.offset += bytes.len() as u64;
        assert!(
            file.offset <= file.handle.allocated(),
            "{}: slot {n} ends at byte {} of {}",
            file.name,
            file.offset,
            file.handle.allocated()
        );
        self.last = n;
        self.hash = hash;
        for record in records {
            if let Some(generation) = record.body.begins() {
                self.leave_file().await;
                self.generation = generation;
            }
        }
        Ok(n)
    }

    /// Appends slots of another copy of this log as they are: durable, with few writes, when this returns.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where they do not continue this log; what the storage refuses.
    pub async fn append_copies(&mut self, slots: &[Slot]) -> Result<()> {
        let (mut bytes, mut last) = (Vec::new(), (self.last, self.hash));
        for slot in slots {
            let (encoded, hash) = slot::encode_again(slot);
            let header = &slot.header;
            let continues = header.n == last.0.next()
                && header.prev == last.1
                && header.generation == self.generation;
            if !continues || hash != slot.hash {
                let detail = format!("it does not follow slot {}", last.0);
                return Err(Error::corrupt(format!("slot {}", header.n), detail));
            }
            bytes.extend_from_slice(&encoded);
            last = (header.n, hash);
            let generation = slot.records.iter().find_map(|record| record.body.begins());
            if let Some(generation) = generation {
                self.append_bytes(&std::mem::take(&mut bytes), last).await?;
                self.leave_file().await;
                self.generation = generation;
            }
        }
        self.append_bytes(&bytes, last).await?;
        assert_eq!(
            (self.last, self.hash),
            last,
            "every copied slot was appended"
        );
        Ok(())
    }

    /// Appends whole slots, of which `last` is the newest.
    async fn append_bytes(&mut self, bytes: &[u8], last: (Position, u128)) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        assert!(
            last.0 > self.last,
            "slots up to {} after slot {}",
            last.0,
            self.last
        );
        let file = self.room_for(bytes.len() as u64).await?;
        if let Err(error) = file.handle.write_durable(file.offset, bytes).await {
            self.halted = Some(format!("writing up to slot {}: {error}", last.0));
            return Err(error);
        }
        file.offset += bytes.len() as u64;
        (self.last, self.hash) = last;
        Ok(())
    }

    /// Lets the next slot begin a file, which exists when this returns, unless the present one has fewer than
    /// `len_min` bytes: the one before can go as soon as its slots are folded.
    ///
    /// # Errors
    /// What the storage refuses; [`Error::Halted`] after an earlier failure. No slot is lost.
    pub async fn begin_next_file(&mut self, len_min: u64) -> Result<()> {
        if let Some(cause) = self.halted.clone() {
            return Err(Error::Halted { cause });
        }
        let next = self.last.next();
        let goes_on = |file: &LogFile| file.first == next || file.offset < len_min;
        if next.0 == 1 || self.file.as_ref().is_some_and(goes_on) {
            return Ok(());
        }
        self.leave_file().await;
        let begun = self.begin_file(0).await?;
        assert_eq!(
            begun.first, next,
            "{} begins with the next slot",
            begun.name
        );
        self.file = Some(begun);
        Ok(())
    }

    /// The file that takes the next `len` bytes, allocated.
    async fn room_for(&mut self, len: u64) -> Result<&mut LogFile> {
        let full = self.file.as_ref().is_some_and(|file| {
            file.offset > FIRST_SLOT_OFFSET && file.offset + len > LOG_FILE_LEN_MAX
        });
        if full {
            self.leave_file().await;
        }
        let file = match self.file.take() {
            Some(file) => file,
            None => self.begin_file(len).await?,
        };
        let file = self.file.insert(file);
        match allocate(file, file.offset + len).await {
            Err(error) if !error.is_no_room() => {
                // A sync has failed; whoever opens the file again would find it done.
                self.halted = Some(format!("allocating for {}: {error}", file.name));
                Err(error)
            }
            done => {
                done?;
                let (end, allocated) = (file.offset + len, file.handle.allocated());
                assert!(
                    end <= allocated,
                    "{}: room up to byte {end} of {allocated}",
                    file.name
                );
                Ok(file)
            }
        }
    }

    /// Ends the current file at its last slot.
    async fn leave_file(&mut self) {
        if let Some(mut file) = self.file.take() {
            let valid_len = file.offset;
            // What is allocated beyond costs space, nothing else.
            if let Err(error) = file.handle.truncate(valid_len).await {
                tracing::warn!(file = %file.name, %error, "allocated space was not given back");
            }
            self.prev_file = Some(PrevFile {
                generation: file.generation,
                first: file.first,
                valid_len,
            });
        }
    }

    async fn begin_file(&mut self, len: u64) -> Result<LogFile> {
        let first = self.last.next();
        let name = Name::log(self.generation, first);
        assert!(
            self.file.is_none(),
            "{name} is begun while another file is open"
        );
        let mut handle = self.storage.append_file(&name).await?;
        let head = FileHead {
            generation: self.generation,
            first,
            prev_hash: self.hash,
            prev_file: self.prev_file,
        };
        assert_eq!(
            FileHead::decode(&head.encode()),
            Ok(head),
            "the head of {name} reads back as it is written"
        );
        let wanted = (FIRST_SLOT_OFFSET + len).max(LOG_ALLOCATE_LEN_MIN);
        let begun = async {
            handle.allocate(wanted).await?;
            handle.write_durable(0, &head.encode()).await
        };
        if let Err(error) = begun.await {
            if !error.is_no_room() {
                // The handle that remembers the failure goes: another one would write and sync as if nothing were.
                self.halted = Some(format!("beginning {name}: {error}"));
            }
            return Err(error);
        }
        if let Err(error) = self.storage.sync_names(&name).await {
            // A second sync might report success without the name being durable.
            self.halted = Some(format!("making the name of {name} durable: {error}"));
            return Err(error);
        }
        let (generation, offset) = (self.generation, FIRST_SLOT_OFFSET);
        Ok(LogFile {
            name,
            handle,
            generation,
            first,
            offset,
        })
    }

    /// Gives back what is allocated beyond the last slot.
    ///
    /// # Errors
    /// What the storage refuses; every slot is durable all the same.
    pub async fn close(&mut self) -> Result<()> {
        match &mut self.file {
            Some(file) if self.halted.is_none() => file.handle.truncate(file.offset).await,
            _ => Ok(()),
        }
    }
}

/// Doubles the file up to a bound, so that allocating costs a bounded share of writing; where space
/// is short, just what is needed.
async fn allocate(file: &mut LogFile, needed: u64) -> Result<()> {
    let allocated = file.handle.allocated();
    if needed <= allocated {
        return Ok(());
    }
    let step = allocated.clamp(LOG_ALLOCATE_LEN_MIN, LOG_ALLOCATE_LEN_MAX);
    let ample = needed.max((allocated + step).min(LOG_FILE_LEN_MAX));
    if ample > needed && file.handle.allocate(ample).await.is_ok() {
        return Ok(());
    }
    file.handle.allocate(needed).await
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures::executor::block_on;

    use super::*;
    use crate::base::{Op, TxId};
    use crate::log::Body;
    use crate::storage::{MemoryStorage, Operation};

    fn record(id: u128) -> LogRecord {
        LogRecord {
            txid: TxId(id),
            read_at: Position::ZERO,
            body: Body::Writes(vec![(Bytes::from("key"), Op::Delete)]),
        }
    }

    async fn writer(storage: &MemoryStorage) -> LogWriter {
        let end = LogEnd {
            generation: Generation(0),
            last: Position::ZERO,
            hash: 0,
            file: None,
        };
        LogWriter::open(Arc::new(storage.clone()), &end)
            .await
            .unwrap()
    }

    /// A sync that failed must not be tried again, and a new handle on the file remembers none: whatever of a file
    /// was being begun, or allocated, when the medium failed, this process writes no more.
    #[test]
    fn a_file_that_failed_while_it_was_begun_is_not_begun_again() {
        for operation in [
            Operation::Allocate,
            Operation::WriteDurable,
            Operation::SyncNames,
        ] {
            for begun in [0, 1] {
                let storage = MemoryStorage::new();
                block_on(async {
                    let mut writer = writer(&storage).await;
                    for id in 0..begun {
                        writer.append(&[record(id)], 1, 0).await.unwrap();
                    }
                    writer.leave_file().await;
                    storage.inject(operation, 5);
                    let what = format!("{operation} after {begun}");
                    let refused = writer.append(&[record(7)], 1, 0).await;
                    assert!(
                        matches!(refused, Err(AppendError::NotWritten(_))),
                        "{what}: {refused:?}"
                    );
                    assert!(writer.halted().is_some(), "{what}");
                    let before = storage.ops();
                    let again = writer.append(&[record(8)], 1, 0).await;
                    let halted =
                        matches!(again, Err(AppendError::NotWritten(Error::Halted { .. })));
                    assert!(halted, "{what}: {again:?}");
                    writer.begin_next_file(0).await.ok();
                    assert_eq!(
                        storage.ops(),
                        before,
                        "{what}: the medium was written again"
                    );
                });
            }
        }
    }

    #[test]
    fn a_medium_that_was_only_full_is_written_again() {
        let storage = MemoryStorage::new();
        block_on(async {
            let mut writer = writer(&storage).await;
            for _ in 0..2 {
                storage.inject(Operation::Allocate, 28);
                let refused = writer.append(&[record(1)], 1, 0).await;
                assert!(
                    matches!(refused, Err(AppendError::NotWritten(_))),
                    "{refused:?}"
                );
                assert_eq!(writer.halted(), None);
            }
            assert_eq!(
                writer.append(&[record(2)], 1, 0).await.unwrap(),
                Position(1)
            );
        });
    }

    #[test]
    fn space_that_could_not_be_allocated_ends_writing() {
        let storage = MemoryStorage::new();
        block_on(async {
            let mut writer = writer(&storage).await;
            writer.append(&[record(1)], 1, 0).await.unwrap();
            let mut long = record(2);
            long.body = Body::Writes(vec![(
                Bytes::from("key"),
                Op::Put(Bytes::from(vec![1; 1 << 20])),
            )]);
            storage.inject(Operation::Allocate, 5);
            let refused = writer.append(&[long], 1, 0).await;
            assert!(
                matches!(refused, Err(AppendError::NotWritten(_))),
                "{refused:?}"
            );
            let again = writer.append(&[record(3)], 1, 0).await;
            assert!(
                matches!(again, Err(AppendError::NotWritten(Error::Halted { .. }))),
                "{again:?}"
            );
        });
    }
}
