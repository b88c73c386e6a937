//! The bytes of one file: what a process reads, and what the medium holds, sector by sector.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::dice::Dice;

/// Bytes that a medium writes whole or not at all.
pub const SECTOR_LEN: usize = 512;

/// A sector's bytes on the medium; `None` of zeros.
type Sector = Option<Box<[u8; SECTOR_LEN]>>;

/// How a power loss treats the unsynced sectors of one file. Independent coins alone would hardly
/// ever keep a whole write or lose one, which is what mostly happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    All,
    Nothing,
    /// The sectors before this one were written.
    From(u64),
    /// The sectors from this one on were written.
    Before(u64),
    /// Each by itself.
    Coins,
}

impl Loss {
    fn choose(dice: &Dice, sectors: Range<u64>) -> Loss {
        let cut = sectors.start + dice.below(sectors.end - sectors.start);
        match dice.below(6) {
            0 => Loss::All,
            1 => Loss::Nothing,
            2 => Loss::From(cut),
            3 => Loss::Before(cut),
            _ => Loss::Coins,
        }
    }

    fn takes(self, sector: u64, dice: &Dice) -> bool {
        match self {
            Loss::All => true,
            Loss::Nothing => false,
            Loss::From(cut) => sector >= cut,
            Loss::Before(cut) => sector < cut,
            Loss::Coins => dice.once_in(2),
        }
    }
}

/// The bytes of a file.
#[derive(Debug, Default)]
pub struct Content {
    /// What a process reads.
    live: Vec<u8>,
    /// Sectors that were written since the last sync, with what the medium holds instead.
    dirty: BTreeMap<u64, Sector>,
    /// Sectors whose write failed. The system calls them clean, so no later sync writes them; the
    /// medium holds this instead.
    dropped: BTreeMap<u64, Sector>,
    /// The length on the medium.
    durable_len: usize,
}

impl Content {
    /// Bytes, as a process sees them.
    pub fn len(&self) -> usize {
        self.live.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    /// Up to `len` bytes from `offset`, fewer at the end.
    pub fn read(&self, offset: usize, len: usize) -> &[u8] {
        let start = offset.min(self.live.len());
        let end = offset.saturating_add(len).min(self.live.len());
        &self.live[start..end]
    }

    /// Writes `bytes` at `offset`; a gap before them reads as zeros.
    pub fn write(&mut self, offset: usize, bytes: &[u8], dice: &Dice) {
        let end = offset + bytes.len();
        if bytes.is_empty() {
            return;
        }
        self.soil(offset.min(self.live.len())..end, dice);
        if self.live.len() < end {
            self.live.resize(end, 0);
        }
        self.live[offset..end].copy_from_slice(bytes);
    }

    /// Cuts or lengthens the file, with zeros.
    pub fn set_len(&mut self, len: usize, dice: &Dice) {
        let (from, to) = (len.min(self.live.len()), len.max(self.live.len()));
        if from < to {
            self.soil(from..to, dice);
        }
        self.live.resize(len, 0);
    }

    /// Notes that the sectors of `range` are about to change.
    fn soil(&mut self, range: Range<usize>, dice: &Dice) {
        let sectors = range.start / SECTOR_LEN..range.end.div_ceil(SECTOR_LEN);
        for index in sectors {
            let sector = index as u64;
            let is_dirty = self.dirty.contains_key(&sector);
            // The system may write any time: now and then an overwritten state has reached the medium.
            if is_dirty && !dice.once_in(4) {
                continue;
            }
            let on_medium = match self.dropped.remove(&sector) {
                Some(kept) => kept,
                None => sector_of(&self.live, index),
            };
            self.dirty.insert(sector, on_medium);
        }
    }

    /// Makes everything durable; with `data_only` all but a shorter length, which reading the data
    /// does not need.
    pub fn sync(&mut self, data_only: bool) {
        if data_only && self.live.len() < self.durable_len {
            let kept = self.live.len().div_ceil(SECTOR_LEN) as u64;
            self.dirty = self.dirty.split_off(&kept);
            return;
        }
        self.dirty.clear();
        let end = self.live.len().div_ceil(SECTOR_LEN) as u64;
        drop(self.dropped.split_off(&end));
        self.durable_len = self.live.len();
    }

    /// A sync that fails: some sectors reach the medium, and the system forgets that the others have
    /// not (Rebello et al., "Can Applications Recover from fsync Failures?", USENIX ATC 2020). Either
    /// they can still be read (`stays`), or what the medium holds is read again.
    pub fn fail_sync(&mut self, stays: bool, dice: &Dice) {
        for (sector, on_medium) in std::mem::take(&mut self.dirty) {
            if dice.once_in(2) {
                continue;
            }
            if !stays {
                put_sector(&mut self.live, sector, on_medium.as_deref());
            }
            if stays {
                self.dropped.insert(sector, on_medium);
            }
        }
        self.durable_len = self.live.len();
    }

    /// What a power loss leaves.
    pub fn power_loss(&mut self, dice: &Dice) {
        let len = self.len_after_loss(dice);
        let was = self.live.len();
        self.live.resize(was.max(len), 0);
        let first = self.dirty.keys().next().copied().unwrap_or(0);
        let last = self.dirty.keys().next_back().copied().unwrap_or(0);
        let loss = Loss::choose(dice, first..last + 1);
        for (sector, on_medium) in std::mem::take(&mut self.dirty) {
            // Beyond a cut that did not reach the medium, its old bytes are there.
            let is_cut_off = sector >= was.div_ceil(SECTOR_LEN) as u64;
            if is_cut_off || loss.takes(sector, dice) {
                put_sector(&mut self.live, sector, on_medium.as_deref());
            }
        }
        for (sector, on_medium) in std::mem::take(&mut self.dropped) {
            put_sector(&mut self.live, sector, on_medium.as_deref());
        }
        self.live.truncate(len);
        self.durable_len = len;
    }

    fn len_after_loss(&self, dice: &Dice) -> usize {
        let (low, high) = (
            self.live.len().min(self.durable_len),
            self.live.len().max(self.durable_len),
        );
        match dice.below(4) {
            0 => self.durable_len,
            1 => {
                let between = dice.below((high - low) as u64 + 1);
                low + usize::try_from(between).unwrap_or(0)
            }
            _ => self.live.len(),
        }
    }
}

/// A sector of `bytes`, filled up with zeros.
fn sector_of(bytes: &[u8], index: usize) -> Sector {
    let start = (index * SECTOR_LEN).min(bytes.len());
    let part = &bytes[start..(start + SECTOR_LEN).min(bytes.len())];
    if part.iter().all(|byte| *byte == 0) {
        return None;
    }
    let mut sector = [0; SECTOR_LEN];
    sector[..part.len()].copy_from_slice(part);
    Some(Box::new(sector))
}

fn put_sector(bytes: &mut [u8], sector: u64, content: Option<&[u8; SECTOR_LEN]>) {
    let start = usize::try_from(sector)
        .unwrap_or(usize::MAX)
        .saturating_mul(SECTOR_LEN)
        .min(bytes.len());
    let end = (start + SECTOR_LEN).min(bytes.len());
    match content {
        Some(content) => bytes[start..end].copy_from_slice(&content[..end - start]),
        None => bytes[start..end].fill(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What remains of a file in each of many power losses.
    fn losses(make: impl Fn(&mut Content, &Dice)) -> Vec<Vec<u8>> {
        let after = |seed| {
            let dice = Dice::new(seed);
            let mut content = Content::default();
            make(&mut content, &dice);
            content.power_loss(&dice);
            content.live
        };
        (0..300).map(after).collect()
    }

    #[test]
    fn what_is_synced_stays() {
        let all = losses(|content, dice| {
            content.write(0, &[1; 2000], dice);
            content.sync(true);
        });
        assert!(all.iter().all(|bytes| *bytes == [1; 2000]));
    }

    #[test]
    fn what_is_not_synced_is_lost_by_sectors() {
        let all = losses(|content, dice| {
            content.write(0, &[1; 1024], dice);
            content.sync(false);
            content.write(0, &[2; 1024], dice);
        });
        let seen = |first, second| {
            all.iter()
                .any(|bytes| bytes[..512] == [first; 512] && bytes[512..] == [second; 512])
        };
        assert!(seen(1, 1) && seen(1, 2) && seen(2, 1) && seen(2, 2));
        assert!(all.iter().all(|bytes| bytes.len() == 1024));
    }

    #[test]
    fn a_new_file_may_be_short_or_zero() {
        let all = losses(|content, dice| content.write(0, &[7; 600], dice));
        assert!(all.iter().any(Vec::is_empty));
        assert!(all.iter().any(|bytes| bytes.len() > 1 && bytes.len() < 600));
        assert!(all.iter().any(|bytes| *bytes == [0; 600]));
        assert!(all.iter().any(|bytes| *bytes == [7; 600]));
    }

    #[test]
    fn a_cut_that_was_not_synced_may_come_back() {
        let all = losses(|content, dice| {
            content.write(0, &[3; 2048], dice);
            content.sync(false);
            content.set_len(512, dice);
            content.sync(true);
        });
        assert!(all.iter().any(|bytes| *bytes == [3; 512]));
        assert!(all.iter().any(|bytes| *bytes == [3; 2048]));
        let cut = losses(|content, dice| {
            content.write(0, &[3; 2048], dice);
            content.set_len(512, dice);
            content.sync(false);
        });
        assert!(cut.iter().all(|bytes| *bytes == [3; 512]));
    }

    #[test]
    fn an_intermediate_state_may_be_what_stays() {
        let all = losses(|content, dice| {
            content.write(0, &[1; 512], dice);
            content.write(0, &[2; 512], dice);
        });
        assert!(all.iter().any(|bytes| *bytes == [1; 512]));
        assert!(all.iter().any(|bytes| *bytes == [2; 512]));
    }

    #[test]
    fn a_failed_sync_is_not_made_good_by_the_next() {
        let all = losses(|content, dice| {
            content.write(0, &[1; 512], dice);
            content.sync(false);
            content.write(0, &[2; 512], dice);
            content.fail_sync(true, dice);
            assert_eq!(content.read(0, 512), [2; 512]);
            content.sync(false);
        });
        assert!(all.iter().any(|bytes| *bytes == [1; 512]));
        let again = losses(|content, dice| {
            content.write(0, &[1; 512], dice);
            content.fail_sync(true, dice);
            content.write(0, &[2; 512], dice);
            content.sync(false);
        });
        assert!(again.iter().all(|bytes| *bytes == [2; 512]));
    }
}
