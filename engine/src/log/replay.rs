//! Reads the log forward, slot by slot, and tells how it ends.
//!
//! What can be found where the next slot should stand:
//!
//! | found | means |
//! |---|---|
//! | a whole slot that follows | the next slot |
//! | zeros to the end of the file | the log ends here, or goes on in the next file |
//! | something else, and no whole slot that can come after it | a torn end: a crash in the middle of a write |
//! | something else, and a whole slot that can come after it | damage: a slot is written only after the one before it is durable |
//! | a whole slot that does not follow | damage |
//!
//! An append file is read to its end before the next name is probed; that may be another append file or
//! a file of one slot.

use std::sync::Arc;

use bytes::Bytes;

use super::file::{FIRST_SLOT_OFFSET, FileHead, HeadFault};
use super::slot::{self, SLOT_MAGIC, Slot, SlotFault};
use crate::base::limits::{LOG_FILE_LEN_MAX, RELOADS_MAX, SECTOR_LEN, SLOT_LEN_MAX};
use crate::base::{Error, Generation, Position, Rare, Result};
use crate::storage::{Name, Object, Storage};

const CHUNK_LEN: u64 = 1024 * 1024;
/// Bytes of a log file beyond which it is none: twice what one is given, and far more than a slot on top of it.
const LOG_FILE_READ_MAX: u64 = 2 * LOG_FILE_LEN_MAX;

/// From where the log counts: a manifest's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogStart {
    /// The generation of the next slot.
    pub generation: Generation,
    /// The slot before the first that is wanted.
    pub last: Position,
    /// Its hash.
    pub hash: u128,
    /// The file where the next slot stands or would stand, with its offset.
    pub place: Option<(Generation, Position, u64)>,
}

/// How replay takes damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// Damage is an error that names the object.
    Whole,
    /// The log ends before the first thing that does not hold: a copy of a live folder.
    Prefix,
}

/// Where the log ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEnd {
    /// The generation of the next slot.
    pub generation: Generation,
    /// The newest slot.
    pub last: Position,
    /// Its hash.
    pub hash: u128,
    /// The file in which it stands.
    pub file: Option<FileEnd>,
}

/// The end of the last file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileEnd {
    /// The generation in its name.
    pub generation: Generation,
    /// Its first slot.
    pub first: Position,
    /// Where the newest of what was read of it begins: a slot, the head of a file without slots, or
    /// `offset` where nothing of it had to be read.
    pub newest: u64,
    /// Bytes that count.
    pub offset: u64,
    /// What stands beyond them, if it is not zeros.
    pub torn: Option<String>,
}

/// A reading of the log.
pub struct Replay {
    storage: Arc<dyn Storage>,
    strictness: Strictness,
    generation: Generation,
    last: Position,
    hash: u128,
    file: Option<ReplayFile>,
    /// The newest slot that stands in an append file, of those that were read.
    last_appended: Option<Position>,
    /// Where to end although the log goes on.
    until: Option<Position>,
    done: bool,
}

struct ReplayFile {
    storage: Arc<dyn Storage>,
    name: Name,
    generation: Generation,
    first: Position,
    object: Arc<dyn Object>,
    /// Where the newest slot that was read begins.
    newest: u64,
    offset: u64,
    /// Bytes read ahead, from `offset` on.
    ahead: Bytes,
    torn: Option<String>,
}

/// What the next name holds.
enum Probed {
    Append(ReplayFile),
    /// A file of one slot.
    Single(Name, Slot),
}

/// Reads a file of one slot. It was whole before it had a name, so anything else is damage.
async fn single(name: Name, object: &dyn Object) -> Result<Probed> {
    let len = usize::try_from(object.len()).unwrap_or(usize::MAX);
    if len > SLOT_LEN_MAX + SECTOR_LEN {
        return Err(Error::corrupt(&name, "it is longer than any slot"));
    }
    match slot::decode(&object.read_at(0, len).await?) {
        Ok(slot) if slot::padded_len(slot.len) == len => Ok(Probed::Single(name, slot)),
        Ok(_) => Err(Error::corrupt(&name, "bytes follow its slot")),
        Err(SlotFault::TooNew { version }) => Err(too_new(&name, version)),
        Err(SlotFault::Broken(detail)) => Err(Error::corrupt(&name, detail)),
        Err(SlotFault::Absent | SlotFault::Short { .. }) => {
            Err(Error::corrupt(&name, "it is not a whole slot"))
        }
    }
}

/// What stands at the reader's place.
enum ReplayedHere {
    Slot(Slot),
    /// Nothing but zeros from here on.
    Zeros,
    Torn(String),
    Damaged(String),
}

impl Replay {
    /// Begins after `start.last`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where the file that `start` names is not what it should be.
    pub async fn begin(
        storage: Arc<dyn Storage>,
        start: &LogStart,
        strictness: Strictness,
    ) -> Result<Replay> {
        let mut replay = Replay {
            storage,
            strictness,
            generation: start.generation,
            last: start.last,
            hash: start.hash,
            file: None,
            last_appended: None,
            until: None,
            done: false,
        };
        if let Some((generation, first, offset)) = start.place {
            let name = Name::log(generation, first);
            match replay.storage.open(&name).await? {
                Some(object) => {
                    replay.file = Some(ReplayFile::new(
                        &replay.storage,
                        name,
                        generation,
                        first,
                        object,
                        offset,
                    ));
                }
                None if strictness == Strictness::Prefix => replay.done = true,
                None => {
                    return Err(Error::corrupt(
                        name,
                        "the manifest refers to it and it is missing",
                    ));
                }
            }
        }
        Ok(replay)
    }

    /// Ends after slot `n`, although the log may go on.
    pub fn stop_after(&mut self, n: Position) {
        self.until = Some(n);
    }

    /// The newest slot that stands in an append file, of those that were read.
    pub fn last_appended(&self) -> Option<Position> {
        self.last_appended
    }

    /// The next slot; `None` at the end.
    ///
    /// # Errors
    /// [`Error::Corrupt`] naming the file, offset and slot; [`Error::FormatTooNew`]; what the
    /// storage refuses.
    pub async fn next(&mut self) -> Result<Option<Slot>> {
        if self.done || self.until.is_some_and(|until| self.last >= until) {
            return Ok(None);
        }
        let found = self.find_next().await;
        match found {
            Err(Error::Corrupt { object, detail }) if self.strictness == Strictness::Prefix => {
                tracing::info!(object, detail, "the copy ends here");
                self.done = true;
                if let Some(file) = &mut self.file {
                    file.torn = Some(detail);
                }
                Ok(None)
            }
            Ok(None) => {
                self.done = true;
                Ok(None)
            }
            other => other,
        }
    }

    async fn find_next(&mut self) -> Result<Option<Slot>> {
        loop {
            let want = self.last.next();
            if let Some(file) = self
                .file
                .as_mut()
                .filter(|file| file.generation == self.generation)
            {
                match file.look(want).await? {
                    ReplayedHere::Slot(slot) => return self.accept(slot).map(Some),
                    ReplayedHere::Zeros => {}
                    ReplayedHere::Torn(detail) => {
                        Rare::TornEndRead.seen();
                        file.torn = Some(detail);
                    }
                    ReplayedHere::Damaged(detail) => {
                        let detail = format!("slot {want} at byte {}: {detail}", file.offset);
                        return Err(Error::corrupt(&file.name, detail));
                    }
                }
            }
            // A file that ends before its first slot is the end: the next one would have its name.
            let here = self.file.as_ref().map(|file| (file.generation, file.first));
            if here == Some((self.generation, want)) {
                return Ok(None);
            }
            match self.probe(want).await? {
                None => return Ok(None),
                Some(Probed::Append(next)) => self.file = Some(next),
                Some(Probed::Single(name, slot)) => {
                    self.file = None;
                    return self.follow(&name, 0, slot).map(Some);
                }
            }
        }
    }

    /// The file whose first slot is `want`, if it has been begun.
    async fn probe(&self, want: Position) -> Result<Option<Probed>> {
        let name = Name::log(self.generation, want);
        let Some(object) = self.storage.open(&name).await? else {
            return Ok(None);
        };
        let len = usize::try_from(object.len())
            .unwrap_or(usize::MAX)
            .min(SECTOR_LEN);
        let first = object.read_at(0, len).await?;
        if first.starts_with(&SLOT_MAGIC) {
            return single(name, &*object).await.map(Some);
        }
        let head = match FileHead::decode(&first) {
            Ok(head) => head,
            Err(HeadFault::Absent) => {
                Rare::HeadlessFileRead.seen();
                return Ok(None);
            }
            Err(HeadFault::Broken(detail)) => return Err(Error::corrupt(name, detail)),
            Err(HeadFault::TooNew { version }) => return Err(too_new(&name, version)),
        };
        if head.first != want || head.generation != self.generation || head.prev_hash != self.hash {
            return Err(Error::corrupt(
                name,
                format!("it does not follow slot {}", self.last),
            ));
        }
        if let (Some(prev), Some(file)) = (head.prev_file, &self.file) {
            let here = (file.generation, file.first, file.offset);
            if here != (prev.generation, prev.first, prev.valid_len) {
                let detail = format!(
                    "it counts {} bytes, {} were read",
                    prev.valid_len, file.offset
                );
                return Err(Error::corrupt(&file.name, detail));
            }
        }
        let mut begun = ReplayFile::new(
            &self.storage,
            name,
            self.generation,
            want,
            object,
            FIRST_SLOT_OFFSET,
        );
        begun.newest = 0; // its head
        Ok(Some(Probed::Append(begun)))
    }

    /// Checks that the slot continues the chain, and steps over it.
    fn accept(&mut self, slot: Slot) -> Result<Slot> {
        let Some(file) = &mut self.file else {
            return Ok(slot);
        };
        let (name, offset) = (file.name.clone(), file.offset);
        let slot = self.follow(&name, offset, slot)?;
        if let Some(file) = &mut self.file {
            let padded = slot::padded_len(slot.len);
            assert!(
                padded >= slot.len && padded.is_multiple_of(SECTOR_LEN),
                "slot {} of {} bytes takes {padded}",
                slot.header.n,
                slot.len
            );
            file.newest = file.offset;
            file.offset += padded as u64;
            assert!(
                file.newest < file.offset,
                "slot {} at byte {} ends at {}",
                slot.header.n,
                file.newest,
                file.offset
            );
            file.ahead = file.ahead.slice(padded.min(file.ahead.len())..);
            self.last_appended = Some(slot.header.n);
        }
        Ok(slot)
    }

    /// Checks that a slot, which stands at `offset` of `object`, continues the chain.
    fn follow(&mut self, object: &Name, offset: u64, slot: Slot) -> Result<Slot> {
        let header = &slot.header;
        let (n, prev) = (self.last.next(), self.hash);
        if header.n != n || header.prev != prev || header.generation != self.generation {
            let detail = format!(
                "byte {offset}: slot {} of generation {} does not follow slot {} of generation {}",
                header.n, header.generation, self.last, self.generation
            );
            return Err(Error::corrupt(object, detail));
        }
        self.last = n;
        self.hash = slot.hash;
        for record in &slot.records {
            if let Some(generation) = record.body.begins() {
                self.generation = generation;
            }
        }
        Ok(slot)
    }

    /// Where the log ended. Meaningful once [`Replay::next`] has returned `None`.
    pub fn end(&self) -> LogEnd {
        if let Some(file) = &self.file {
            assert!(
                file.newest <= file.offset,
                "{}: its newest slot at byte {} begins behind its end {}",
                file.name,
                file.newest,
                file.offset
            );
        }
        LogEnd {
            generation: self.generation,
            last: self.last,
            hash: self.hash,
            file: self.file.as_ref().map(|file| FileEnd {
                generation: file.generation,
                first: file.first,
                newest: file.newest,
                offset: file.offset,
                torn: file.torn.clone(),
            }),
        }
    }
}

impl ReplayFile {
    fn new(
        storage: &Arc<dyn Storage>,
        name: Name,
        generation: Generation,
        first: Position,
        object: Arc<dyn Object>,
        offset: u64,
    ) -> ReplayFile {
        ReplayFile {
            storage: Arc::clone(storage),
            name,
            generation,
            first,
            object,
            newest: offset,
            offset,
            ahead: Bytes::new(),
            torn: None,
        }
    }

    /// What stands at the reader's place, where slot `want` should be.
    async fn look(&mut self, want: Position) -> Result<ReplayedHere> {
        let fault = match self.decode_here().await? {
            Ok(slot) => return Ok(ReplayedHere::Slot(slot)),
            Err(SlotFault::TooNew { version }) => return Err(too_new(&self.name, version)),
            Err(SlotFault::Absent) => "it begins with zeros".to_owned(),
            Err(SlotFault::Short { .. }) => "the file ends within it".to_owned(),
            Err(SlotFault::Broken(detail)) => detail,
        };
        match self.search_beyond(want).await? {
            Beyond::Zeros => Ok(ReplayedHere::Zeros),
            Beyond::Bytes => Ok(ReplayedHere::Torn(fault)),
            Beyond::Crowded => Ok(ReplayedHere::Damaged(format!(
                "{fault}, and after it stand more headers of slots than the file has room for"
            ))),
            Beyond::Slot(later) => {
                // Beside a running writer the slot may have been completed since it was looked at.
                self.ahead = Bytes::new();
                match self.decode_here().await? {
                    Ok(slot) => {
                        Rare::SlotCompletedMeanwhile.seen();
                        Ok(ReplayedHere::Slot(slot))
                    }
                    Err(_) => Ok(ReplayedHere::Damaged(format!(
                        "{fault}, yet slot {later} after it is whole"
                    ))),
                }
            }
        }
    }

    async fn decode_here(&mut self) -> Result<Result<Slot, SlotFault>> {
        let mut wanted = SECTOR_LEN;
        loop {
            let whole = self.read_ahead(wanted).await?;
            match slot::decode(&self.ahead) {
                Err(SlotFault::Short { len }) if whole && len > wanted => wanted = len,
                other => return Ok(other),
            }
        }
    }

    /// Has at least `len` bytes ahead; `false` where the file is too short for that.
    async fn read_ahead(&mut self, len: usize) -> Result<bool> {
        if self.ahead.len() >= len {
            return Ok(true);
        }
        self.ahead = self.read(self.offset, CHUNK_LEN.max(len as u64)).await?;
        Ok(self.ahead.len() >= len)
    }

    /// Up to `len` bytes from `offset`, fewer where the file ends.
    async fn read(&mut self, offset: u64, len: u64) -> Result<Bytes> {
        let mut tries = 0;
        loop {
            let left = self.object.len().saturating_sub(offset);
            let wanted = usize::try_from(left.min(len)).unwrap_or(usize::MAX);
            if wanted == 0 {
                return Ok(Bytes::new());
            }
            match self.object.read_at(offset, wanted).await {
                Err(error @ Error::Corrupt { .. }) if tries < RELOADS_MAX => {
                    // A writer that closes gives back what it had allocated ahead; and the next one may
                    // have allocated again.
                    tries += 1;
                    self.object = self.storage.open(&self.name).await?.ok_or(error)?;
                }
                read => return read,
            }
        }
    }

    /// What follows beyond the reader's place, sector by sector.
    ///
    /// A slot counts as one that was written after `want` if it can be one: of this file's generation, with a sector
    /// at least for each slot between, and not within what the slot at the reader's place says is its own. A slot
    /// that this program has written holds nothing that begins like one (`slot::encode`); one of an older program may.
    async fn search_beyond(&mut self, want: Position) -> Result<Beyond> {
        if self.object.len() > LOG_FILE_READ_MAX {
            let len = self.object.len();
            let detail =
                format!("it has {len} bytes, and no log file has more than {LOG_FILE_READ_MAX}");
            return Err(Error::corrupt(&self.name, detail));
        }
        let here = slot::claim(&self.ahead).filter(|(header, _)| header.n == want);
        let from = self.offset + here.map_or(0, |(_, len)| len as u64);
        // Slots do not overlap: all that there are after this one have no more bytes than the file.
        let mut budget = self.object.len();
        let mut at = self.offset;
        let mut zeros = true;
        loop {
            let chunk = self.read(at, CHUNK_LEN).await?;
            if chunk.is_empty() {
                return Ok(if zeros { Beyond::Zeros } else { Beyond::Bytes });
            }
            zeros = zeros && chunk.iter().all(|byte| *byte == 0);
            for (index, sector) in chunk.chunks(SECTOR_LEN).enumerate() {
                let place = at + (index * SECTOR_LEN) as u64;
                if place == self.offset || place < from || !sector.starts_with(&SLOT_MAGIC) {
                    continue;
                }
                let Some((header, len)) = slot::claim(sector) else {
                    continue;
                };
                let sectors = (place - self.offset) / SECTOR_LEN as u64;
                let ahead = header.n.0.saturating_sub(want.0);
                if ahead == 0 || ahead > sectors || header.generation != self.generation {
                    continue;
                }
                let Some(left) = budget.checked_sub(len as u64) else {
                    return Ok(Beyond::Crowded);
                };
                budget = left;
                if slot::decode(&self.read(place, len as u64).await?).is_ok() {
                    return Ok(Beyond::Slot(header.n));
                }
            }
            at += chunk.len() as u64;
        }
    }
}

enum Beyond {
    Zeros,
    Bytes,
    Slot(Position),
    /// More headers of slots that are not whole than slots that fit.
    Crowded,
}

fn too_new(name: &Name, version: u32) -> Error {
    Error::FormatTooNew {
        object: name.to_string(),
        found: version,
        known: u32::from(slot::SLOT_VERSION),
    }
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;

    use super::*;
    use crate::base::{Op, TxId};
    use crate::log::Body;
    use crate::log::{LogRecord, LogWriter};
    use crate::storage::MemoryStorage;

    fn record(id: u128) -> LogRecord {
        let body = Body::Writes(vec![(Bytes::from("key"), Op::Delete)]);
        LogRecord {
            txid: TxId(id),
            read_at: Position::ZERO,
            body,
        }
    }

    /// A reader that had opened the file while a writer held space ahead of its last slot met an error
    /// when the writer closed and gave that space back.
    #[test]
    fn a_writer_that_closes_does_not_disturb_a_reader() {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        let start = LogStart {
            generation: Generation(0),
            last: Position::ZERO,
            hash: 0,
            place: None,
        };
        block_on(async {
            let begin = || Replay::begin(Arc::clone(&storage), &start, Strictness::Whole);
            let end = begin().await.unwrap().end();
            let mut writer = LogWriter::open(Arc::clone(&storage), &end).await.unwrap();
            writer.append(&[record(1)], 1, 0).await.unwrap();
            let place = Some((Generation(0), Position(1), FIRST_SLOT_OFFSET));
            let start = LogStart { place, ..start };
            let mut replay = Replay::begin(Arc::clone(&storage), &start, Strictness::Whole)
                .await
                .unwrap();
            writer.append(&[record(2)], 2, 0).await.unwrap();
            writer.close().await.unwrap();
            let mut seen = Vec::new();
            while let Some(slot) = replay.next().await.unwrap() {
                seen.push(slot.header.n.0);
            }
            assert_eq!(seen, [1, 2]);
            assert_eq!(replay.end().last, Position(2));
        });
    }
}
