//! A part of the log in a backup: consecutive slots, as they stand in the log, one after the other.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::entry::{FileSum, PartRef, name};
use super::{COPY_LEN, at, sum_of};
use crate::base::checksum::Hasher128;
use crate::base::{Error, Position, Result, RunRef};
use crate::log::slot::{self, SlotFault};
use crate::log::{Body, LogStart, Replay, Slot, Strictness};
use crate::storage::{Created, Name, Object, ObjectWriter, Storage};

/// The directory of the parts.
pub(super) const DIR: &str = "part";

/// A part that is in the folder, and the runs that its records refer to, with the slots that do.
pub(super) struct WrittenPart {
    pub(super) part: PartRef,
    pub(super) runs: Vec<(Position, RunRef)>,
    /// Whether it was written now, and not there already.
    pub(super) is_new: bool,
}

/// Slots of the log, as a part holds them.
struct Stretch {
    sum: FileSum,
    runs: Vec<(Position, RunRef)>,
}

/// Copies the slots after `start` up to `end`, where the log has this hash; `None` where there is none. A file that
/// has the part's name already is taken if every byte of it is right, and replaced if not.
///
/// # Errors
/// [`Error::Corrupt`] and [`Error::SnapshotTooOld`] where the slots are not all there any more, or are another
/// history's: nothing was changed then. What a storage refuses.
pub(super) async fn write(
    from: &Arc<dyn Storage>,
    to: &dyn Storage,
    start: &LogStart,
    (end, hash): (Position, u128),
) -> Result<Option<WrittenPart>> {
    if start.last == end && start.hash == hash {
        return Ok(None);
    }
    let name = name(&format!(
        "{DIR}/{:016x}-{:016x}-{hash:032x}",
        start.last.0, end.0
    ))?;
    let goal = (end, hash);
    let there = to.open(&name).await.map_err(at(to))?;
    let mut found = None;
    if let Some(there) = there {
        // The log is read before anything is removed: where it has these slots no more, what is there stays.
        let stretch = copy_slots(from, start, goal, None).await?;
        if sum_of(&*there).await.map_err(at(to))? == stretch.sum {
            found = Some(stretch);
        } else {
            to.remove(&name).await.map_err(at(to))?;
        }
    }
    let is_new = found.is_none();
    let stretch = match found {
        Some(stretch) => stretch,
        None => {
            let mut writer = to.writer(&name).await.map_err(at(to))?;
            let stretch = copy_slots(from, start, goal, Some((to, &mut *writer))).await?;
            if writer.finish().await.map_err(at(to))? == Created::Exists {
                let message = format!("{name} has just been written by another process");
                return Err(Error::Invalid(message));
            }
            stretch
        }
    };
    to.sync_names(&name).await.map_err(at(to))?;
    let part = PartRef {
        name,
        from: start.last,
        to: end,
        sum: stretch.sum,
    };
    Ok(Some(WrittenPart {
        part,
        runs: stretch.runs,
        is_new,
    }))
}

/// Reads the slots after `start` up to `end`, and writes them where there is a writer.
async fn copy_slots(
    from: &Arc<dyn Storage>,
    start: &LogStart,
    (end, hash): (Position, u128),
    mut writer: Option<(&dyn Storage, &mut dyn ObjectWriter)>,
) -> Result<Stretch> {
    let replay = Replay::begin(Arc::clone(from), start, Strictness::Whole).await;
    let mut replay = replay.map_err(at(&**from))?;
    replay.stop_after(end);
    let (mut hasher, mut len, mut runs) = (Hasher128::default(), 0, Vec::new());
    while let Some(slot) = replay.next().await.map_err(at(&**from))? {
        let (bytes, _) = slot::encode_again(&slot);
        runs.extend(runs_of(&slot).map(|run| (slot.header.n, run)));
        hasher.update(&bytes);
        len += bytes.len() as u64;
        if let Some((to, writer)) = &mut writer {
            writer.write(&bytes).await.map_err(at(*to))?;
        }
    }
    if (replay.end().last, replay.end().hash) != (end, hash) {
        let object = format!("the log up to slot {end}");
        return Err(Error::SnapshotTooOld { object });
    }
    assert!(len > 0, "no slot between {} and {end}", start.last);
    let sum = FileSum {
        len,
        hash: hasher.digest(),
    };
    Ok(Stretch { sum, runs })
}

/// Reads a whole part: that its bytes are those of its entry, and that its slots lead from `before`, if that is
/// known, to `end`. Tells `seen` each slot.
///
/// # Errors
/// [`Error::Corrupt`] naming the part; what the storage refuses.
pub(super) async fn check(
    storage: &dyn Storage,
    part: &PartRef,
    before: Option<(Position, u128)>,
    end: (Position, u128),
    seen: &mut (dyn FnMut(&Slot) + Send),
) -> Result<()> {
    let mut reader = PartReader::open(storage, part).await?;
    let mut last = before;
    while let Some(slot) = reader.next().await? {
        let follows =
            last.is_none_or(|(n, hash)| slot.header.n == n.next() && slot.header.prev == hash);
        let is_first = last.is_none() && slot.header.n != part.from.next();
        if !follows || is_first {
            let before = last.map_or(part.from, |(n, _)| n);
            let detail = format!("slot {} does not follow slot {before}", slot.header.n);
            return Err(Error::corrupt(&part.name, detail));
        }
        last = Some((slot.header.n, slot.hash));
        seen(&slot);
    }
    if last != Some(end) {
        let (last, end) = (last.map_or(part.from, |(n, _)| n), end.0);
        let detail = format!("it ends at slot {last}, not {end}, or holds another slot {end}");
        return Err(Error::corrupt(&part.name, detail));
    }
    Ok(())
}

/// The runs that a slot refers to.
pub(super) fn runs_of(slot: &Slot) -> impl Iterator<Item = RunRef> + '_ {
    slot.records.iter().flat_map(|record| match &record.body {
        Body::Bulk(runs) => runs.clone(),
        _ => Vec::new(),
    })
}

/// Reads the slots of a part, and holds all of it against its checksum.
pub(super) struct PartReader {
    name: Name,
    object: Arc<dyn Object>,
    offset: u64,
    ahead: Bytes,
    hasher: Hasher128,
    hash: u128,
}

impl PartReader {
    /// Begins with the first slot of `part`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where it is missing or not as long as it should be.
    pub(super) async fn open(storage: &dyn Storage, part: &PartRef) -> Result<PartReader> {
        let object = storage.open(&part.name).await?;
        let object = object.ok_or_else(|| Error::corrupt(&part.name, "it is missing"))?;
        if object.len() != part.sum.len {
            return Err(Error::corrupt(&part.name, "it has another length"));
        }
        Ok(PartReader {
            name: part.name.clone(),
            object,
            offset: 0,
            ahead: Bytes::new(),
            hasher: Hasher128::default(),
            hash: part.sum.hash,
        })
    }

    /// The next slot; `None` at the end, where the whole part has been held against its checksum.
    ///
    /// # Errors
    /// [`Error::Corrupt`] naming the part; what the storage refuses.
    pub(super) async fn next(&mut self) -> Result<Option<Slot>> {
        loop {
            let wanted = match slot::decode(&self.ahead) {
                Ok(slot) => {
                    let padded = slot::padded_len(slot.len).min(self.ahead.len());
                    self.ahead = self.ahead.slice(padded..);
                    return Ok(Some(slot));
                }
                Err(SlotFault::Short { len }) => len,
                Err(fault) => {
                    let detail = format!("before byte {}: {fault:?}", self.offset);
                    return Err(Error::corrupt(&self.name, detail));
                }
            };
            let left = self.object.len() - self.offset;
            if left == 0 && self.ahead.is_empty() {
                if self.hasher.digest() != self.hash {
                    // The slots have checksums of their own; this finds what stands between them.
                    let detail = "it does not match its checksum";
                    return Err(Error::corrupt(&self.name, detail));
                }
                return Ok(None);
            }
            let missing = wanted.saturating_sub(self.ahead.len()).max(COPY_LEN);
            let len = usize::try_from(left).unwrap_or(missing).min(missing);
            if len == 0 {
                return Err(Error::corrupt(&self.name, "it ends within a slot"));
            }
            let mut ahead = BytesMut::from(&self.ahead[..]);
            let bytes = self.object.read_at(self.offset, len).await?;
            self.hasher.update(&bytes);
            ahead.extend_from_slice(&bytes);
            self.ahead = ahead.freeze();
            self.offset += len as u64;
        }
    }
}
