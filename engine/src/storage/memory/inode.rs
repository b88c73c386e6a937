//! An object's bytes: as the running machine sees them, and as its disk holds them.

use bytes::Bytes;
use parking_lot::Mutex;

use crate::base::entropy::SeededEntropy;

/// Bytes that a disk writes whole or not at all.
const SECTOR_LEN: usize = 512;

/// One object; names come and go.
#[derive(Debug)]
pub(super) struct Inode {
    pub(super) id: u64,
    /// Locked only under the lock of the [`MemoryState`](super::state::MemoryState).
    pub(super) content: Mutex<Content>,
}

#[derive(Clone, Debug)]
pub(super) enum Content {
    /// Write-once: durable before it had a name.
    Whole(Bytes),
    /// An append file.
    Appended {
        /// What a reader sees.
        live: Vec<u8>,
        /// What is on the disk.
        durable: Vec<u8>,
    },
}

impl Content {
    /// What a reader sees; only write-once objects come without a copy.
    pub(super) fn read(&self) -> Bytes {
        match self {
            Content::Whole(bytes) => bytes.clone(),
            Content::Appended { live, .. } => Bytes::copy_from_slice(live),
        }
    }

    /// A range that lies within.
    pub(super) fn read_range(&self, range: std::ops::Range<usize>) -> Bytes {
        match self {
            Content::Whole(bytes) => bytes.slice(range),
            Content::Appended { live, .. } => Bytes::copy_from_slice(&live[range]),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Content::Whole(bytes) => bytes.len(),
            Content::Appended { live, .. } => live.len(),
        }
    }

    /// Both states of an append file: the running machine's, the disk's.
    pub(super) fn appended(&mut self) -> (&mut Vec<u8>, &mut Vec<u8>) {
        if let Content::Whole(bytes) = self {
            *self = Content::Appended {
                live: bytes.to_vec(),
                durable: bytes.to_vec(),
            };
        }
        match self {
            Content::Appended { live, durable } => (live, durable),
            Content::Whole(_) => unreachable!("a whole object was converted above"),
        }
    }

    /// `bytes` at `offset`, on the disk too.
    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) {
        let (live, durable) = self.appended();
        let end = offset + bytes.len();
        assert!(
            end <= live.len(),
            "a write to {end} in a file of {}",
            live.len()
        );
        live[offset..end].copy_from_slice(bytes);
        if durable.len() < end {
            durable.resize(end, 0);
        }
        durable[offset..end].copy_from_slice(bytes);
    }

    /// A write that did not return: the machine has the sectors up to some point, the disk may have
    /// any of those.
    pub(super) fn write_torn(&mut self, offset: usize, bytes: &[u8], entropy: &SeededEntropy) {
        let (live, _) = self.appended();
        let end = offset + bytes.len();
        let mut cut = end;
        if coin(entropy) {
            cut = offset + below(entropy, bytes.len() + 1);
            cut = (cut - cut % SECTOR_LEN).max(offset);
        }
        assert!(
            (offset..=end).contains(&cut),
            "a write from {offset} to {end} is torn at {cut}"
        );
        live[offset..cut].copy_from_slice(&bytes[..cut - offset]);
    }

    /// Bytes that the machine has and the disk does not yet, cut where the file ends.
    pub(super) fn write_unsynced(&mut self, offset: usize, bytes: &[u8]) {
        let (live, _) = self.appended();
        let from = offset.min(live.len());
        let to = (offset + bytes.len()).min(live.len());
        live[from..to].copy_from_slice(&bytes[..to - from]);
    }

    /// Cuts the file, or extends it with zeros, as the machine sees it.
    pub(super) fn resize_unsynced(&mut self, len: usize) {
        self.appended().0.resize(len, 0);
    }

    /// Zeros up to `len`, on the disk too.
    pub(super) fn allocate(&mut self, len: usize) {
        let (live, durable) = self.appended();
        live.resize(len.max(live.len()), 0);
        durable.resize(len.max(durable.len()), 0);
        assert!(
            live.len() >= len && durable.len() >= len,
            "{} bytes live and {} durable of {len} allocated",
            live.len(),
            durable.len()
        );
    }

    /// An allocation that did not return.
    pub(super) fn allocate_torn(&mut self, len: usize, entropy: &SeededEntropy) {
        let (live, _) = self.appended();
        let more = len.saturating_sub(live.len());
        live.resize(live.len() + below(entropy, more + 1), 0);
    }

    pub(super) fn sync(&mut self) {
        let (live, durable) = self.appended();
        durable.clone_from(live);
    }

    /// Cuts what the machine sees; the disk follows with a sync.
    pub(super) fn truncate(&mut self, len: usize) {
        self.appended().0.truncate(len);
    }

    /// What a disk holds after a power loss, in place.
    pub(super) fn lose_power(&mut self, entropy: &SeededEntropy) {
        if let Content::Appended { live, durable } = self
            && live != durable
        {
            let settled = settle(live, durable, entropy);
            live.clone_from(&settled);
            *durable = settled;
            assert_eq!(
                live.len(),
                durable.len(),
                "a machine sees what its disk holds"
            );
        }
    }

    /// What a disk holds after a power loss.
    pub(super) fn after_power_loss(&self, entropy: &SeededEntropy) -> Content {
        let Content::Appended { live, durable } = self else {
            return self.clone();
        };
        let settled = settle(live, durable, entropy);
        Content::Appended {
            live: settled.clone(),
            durable: settled,
        }
    }
}

/// Each sector that differs old or new; the length too, or between.
fn settle(live: &[u8], durable: &[u8], entropy: &SeededEntropy) -> Vec<u8> {
    let len = if live.len() > durable.len() {
        match below(entropy, 3) {
            0 => durable.len(),
            1 => live.len(),
            _ => durable.len() + below(entropy, live.len() - durable.len()),
        }
    } else if coin(entropy) {
        live.len()
    } else {
        durable.len()
    };
    assert!(
        len <= live.len().max(durable.len()),
        "{len} bytes of {} live and {} durable",
        live.len(),
        durable.len()
    );
    let mut settled = durable.to_vec();
    settled.resize(len, 0);
    for start in (0..len.min(live.len())).step_by(SECTOR_LEN) {
        let sector = start..(start + SECTOR_LEN).min(len).min(live.len());
        if settled[sector.clone()] != live[sector.clone()] && coin(entropy) {
            settled[sector.clone()].copy_from_slice(&live[sector]);
        }
    }
    settled
}

/// A number below `bound`, which is at least 1.
pub(super) fn below(entropy: &SeededEntropy, bound: usize) -> usize {
    assert!(bound > 0, "there is no number below {bound}");
    let drawn = entropy.next_u64() % (bound as u64);
    usize::try_from(drawn).unwrap_or(0)
}

pub(super) fn coin(entropy: &SeededEntropy) -> bool {
    entropy.next_u64().is_multiple_of(2)
}
