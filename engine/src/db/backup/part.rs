//! A part of the log in a backup: consecutive slots, as they stand in the log, one after the other.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::COPY_LEN;
use super::entry::{PartRef, Sum, name};
use crate::base::checksum::Hasher128;
use crate::base::{Error, Position, Result, RunRef};
use crate::log::slot::{self, SlotFault};
use crate::log::{Body, LogStart, Replay, Slot, Strictness};
use crate::storage::{Name, Object, ObjectWriter, Storage};

/// The directory of the parts.
pub(super) const DIR: &str = "part";

/// A part that has been written, and the runs that its records refer to.
pub(super) struct Written {
    pub(super) part: PartRef,
    pub(super) runs: Vec<RunRef>,
}

/// Copies the slots after `start` up to `end`, where the log has this hash; `None` where there is none.
///
/// # Errors
/// [`Error::Corrupt`] and [`Error::SnapshotTooOld`] where they are not all there any more, or are another
/// history's; what a storage refuses.
pub(super) async fn write(
    from: &Arc<dyn Storage>,
    to: &dyn Storage,
    start: &LogStart,
    (end, hash): (Position, u128),
) -> Result<Option<Written>> {
    if start.last == end && start.hash == hash {
        return Ok(None);
    }
    let name = name(&format!(
        "{DIR}/{:016x}-{:016x}-{hash:032x}",
        start.last.0, end.0
    ))?;
    let mut replay = Replay::begin(Arc::clone(from), start, Strictness::Whole).await?;
    replay.stop_after(end);
    let (mut hasher, mut len, mut runs) = (Hasher128::default(), 0, Vec::new());
    let mut writer: Option<Box<dyn ObjectWriter>> = None;
    while let Some(slot) = replay.next().await? {
        let (bytes, _) = slot::encode_again(&slot);
        runs.extend(runs_of(&slot));
        hasher.update(&bytes);
        len += bytes.len() as u64;
        let writer = match &mut writer {
            Some(writer) => writer,
            none => none.insert(to.writer(&name).await?),
        };
        writer.write(&bytes).await?;
    }
    let here = (replay.end().last, replay.end().hash);
    let Some(writer) = writer.filter(|_| here == (end, hash)) else {
        let object = format!("the log up to slot {end}");
        return Err(Error::SnapshotTooOld { object });
    };
    writer.finish().await?;
    to.sync_names(&name).await?;
    let sum = Sum {
        len,
        hash: hasher.digest(),
    };
    let part = PartRef {
        name,
        from: start.last,
        to: end,
        sum,
    };
    Ok(Some(Written { part, runs }))
}

/// The runs that a slot refers to.
pub(super) fn runs_of(slot: &Slot) -> impl Iterator<Item = RunRef> + '_ {
    slot.records.iter().flat_map(|record| match &record.body {
        Body::Bulk(runs) => runs.clone(),
        _ => Vec::new(),
    })
}

/// Reads the slots of a part.
pub(super) struct Reader {
    name: Name,
    object: Arc<dyn Object>,
    offset: u64,
    ahead: Bytes,
}

impl Reader {
    /// Begins with the first slot of `part`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where it is missing or not as long as it should be.
    pub(super) async fn open(storage: &dyn Storage, part: &PartRef) -> Result<Reader> {
        let object = storage.open(&part.name).await?;
        let object = object.ok_or_else(|| Error::corrupt(&part.name, "it is missing"))?;
        if object.len() != part.sum.len {
            return Err(Error::corrupt(&part.name, "it has another length"));
        }
        Ok(Reader {
            name: part.name.clone(),
            object,
            offset: 0,
            ahead: Bytes::new(),
        })
    }

    /// The next slot; `None` at the end.
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
                return Ok(None);
            }
            let missing = wanted.saturating_sub(self.ahead.len()).max(COPY_LEN);
            let len = usize::try_from(left).unwrap_or(missing).min(missing);
            if len == 0 {
                return Err(Error::corrupt(&self.name, "it ends within a slot"));
            }
            let mut ahead = BytesMut::from(&self.ahead[..]);
            ahead.extend_from_slice(&self.object.read_at(self.offset, len).await?);
            self.ahead = ahead.freeze();
            self.offset += len as u64;
        }
    }
}
