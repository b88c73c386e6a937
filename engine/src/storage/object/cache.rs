//! Pieces of segments on a local disk, so that they are asked of the bucket once.
//!
//! One file of a fixed length, which any number of processes read and write with nothing between them:
//!
//! ```text
//! piece 0 | piece 1 | ... | entry 0 | entry 1 | ...
//! ```
//!
//! A piece has places in one set of [`WAYS`] only, which the hash of its name decides; the entries of a set lie
//! side by side and are read at once. An entry says what its piece is, and has a checksum over that and over the
//! bytes. Whatever does not agree is a miss: a write that a crash cut short, two processes at one place, a file
//! that was damaged or was made by another version or for another length. So nothing is synced or locked.
//!
//! Which piece gives way: of its set, one that nobody has asked for since the last look (a clock).
//!
//! *Considered:* foyer, whose devices belong to one process each; cacache, which keeps everything for ever.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;

use crate::base::checksum::Hasher128;
use crate::storage::local::platform::{read_exact_at, write_all_at};

/// Bytes of a piece: some pages of a run, and little enough to be checked for one of them.
pub(super) const PIECE_LEN: usize = 64 * 1024;
/// Places that a piece may have.
pub(super) const WAYS: usize = 16;

/// The file in the cache's folder. Nothing else there is touched.
const FILE: &str = "eciton-segments";
/// Goes into every checksum; another layout gets another number.
const VERSION: u64 = 1;

const PIECE_LEN_64: u64 = PIECE_LEN as u64;
const ENTRY_LEN: usize = 64;
const ENTRY_LEN_64: u64 = ENTRY_LEN as u64;
/// In an entry: whether the piece was asked for. Not under the checksum.
const USED_AT: usize = 44;

/// Where pieces of segments are kept on a local disk (see
/// [`ObjectOptions::cache`](super::ObjectOptions::cache)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheOptions {
    /// Created if it is absent. Databases and processes may share it.
    pub folder: PathBuf,
    /// Bytes that the cache takes at most; for less than a piece of 64 KiB nothing is kept. Processes that share a
    /// folder should agree on it: else they find little of what the others keep, and the greatest counts.
    pub len_max: u64,
}

impl CacheOptions {
    /// [`CacheOptions::len_max`] where nothing is said: 4 GiB.
    pub const LEN_MAX: u64 = 4 * 1024 * 1024 * 1024;

    /// At this folder, of the usual length.
    pub fn at(folder: impl Into<PathBuf>) -> CacheOptions {
        CacheOptions {
            folder: folder.into(),
            len_max: CacheOptions::LEN_MAX,
        }
    }
}

/// How many pieces there are, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    sets: u64,
    ways: u64,
}

impl Shape {
    /// `None` where not even one piece fits.
    fn of(len_max: u64) -> Option<Shape> {
        let pieces = len_max / (PIECE_LEN_64 + ENTRY_LEN_64);
        let ways = pieces.min(WAYS as u64);
        let sets = pieces.checked_div(ways)?;
        let shape = Shape { sets, ways };
        assert!(
            shape.len() <= len_max,
            "{sets} sets of {ways} take {} bytes of {len_max}",
            shape.len()
        );
        Some(shape)
    }

    fn len(&self) -> u64 {
        self.entry_at(self.sets * self.ways)
    }

    fn piece_at(place: u64) -> u64 {
        place * PIECE_LEN_64
    }

    fn entry_at(&self, place: u64) -> u64 {
        self.sets * self.ways * PIECE_LEN_64 + place * ENTRY_LEN_64
    }
}

/// What an entry says of its piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct CacheEntry {
    key: u128,
    object_len: u64,
    checksum: u128,
    len: u32,
}

impl CacheEntry {
    fn new(key: u128, object_len: u64, bytes: &[u8]) -> Option<CacheEntry> {
        let len = u32::try_from(bytes.len()).ok();
        Some(CacheEntry {
            key,
            object_len,
            checksum: checksum(key, object_len, bytes),
            len: len.filter(|len| *len as usize <= PIECE_LEN)?,
        })
    }

    fn encode(&self) -> [u8; ENTRY_LEN] {
        let mut out = [0; ENTRY_LEN];
        out[..16].copy_from_slice(&self.key.to_le_bytes());
        out[16..24].copy_from_slice(&self.object_len.to_le_bytes());
        out[24..40].copy_from_slice(&self.checksum.to_le_bytes());
        out[40..44].copy_from_slice(&self.len.to_le_bytes());
        assert_eq!(out[USED_AT], 0, "nobody has asked for it yet");
        debug_assert_eq!(CacheEntry::decode(&out), *self, "an entry reads back");
        out
    }

    fn decode(bytes: &[u8]) -> CacheEntry {
        CacheEntry {
            key: u128::from_le_bytes(part(bytes, 0)),
            object_len: u64::from_le_bytes(part(bytes, 16)),
            checksum: u128::from_le_bytes(part(bytes, 24)),
            len: u32::from_le_bytes(part(bytes, 40)),
        }
    }
}

fn part<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

fn checksum(key: u128, object_len: u64, bytes: &[u8]) -> u128 {
    let mut hash = Hasher128::default();
    hash.update(&VERSION.to_le_bytes());
    hash.update(&key.to_le_bytes());
    hash.update(&object_len.to_le_bytes());
    hash.update(bytes);
    hash.digest()
}

/// A piece, as it was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CachePiece {
    /// Bytes of the whole object.
    pub(super) object_len: u64,
    pub(super) bytes: Bytes,
}

/// The cache, open.
#[derive(Debug)]
pub(super) struct DiskCache {
    file: File,
    shape: Shape,
    /// Where the clock stands; each process has its own.
    hand: AtomicU64,
    is_full: AtomicBool,
}

impl DiskCache {
    /// `None` where it cannot be used: that is logged, and what is read is read from the bucket.
    pub(super) fn open(options: &CacheOptions) -> Option<DiskCache> {
        let shape = Shape::of(options.len_max)?;
        match open(&options.folder, shape.len()) {
            Ok(file) => Some(DiskCache {
                file,
                shape,
                hand: AtomicU64::new(0),
                is_full: AtomicBool::new(false),
            }),
            Err(cause) => {
                let folder = options.folder.display();
                tracing::warn!(%folder, %cause, "there is no cache: its folder cannot be used");
                None
            }
        }
    }

    /// Whether the last piece found no room on the disk.
    pub(super) fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }

    /// The piece of that key, if it is here and whole.
    pub(super) fn get(&self, key: u128) -> Option<CachePiece> {
        let (first, entries) = self.set(key)?;
        for (way, stored) in (first..).zip(entries.chunks_exact(ENTRY_LEN)) {
            let entry = CacheEntry::decode(stored);
            if entry.key != key || entry.len as usize > PIECE_LEN {
                continue;
            }
            let mut bytes = vec![0; entry.len as usize];
            let read = read_exact_at(&self.file, &mut bytes, Shape::piece_at(way));
            if read.is_err() || checksum(key, entry.object_len, &bytes) != entry.checksum {
                continue;
            }
            if stored[USED_AT] == 0 {
                self.set_used(way, true);
            }
            return Some(CachePiece {
                object_len: entry.object_len,
                bytes: bytes.into(),
            });
        }
        None
    }

    /// Keeps a piece, as far as that can be done.
    pub(super) fn put(&self, key: u128, piece: &CachePiece) {
        let Some(entry) = CacheEntry::new(key, piece.object_len, &piece.bytes) else {
            return;
        };
        let place = self.place_for(key);
        assert!(
            place < self.shape.sets * self.shape.ways,
            "place {place} of {} sets of {}",
            self.shape.sets,
            self.shape.ways
        );
        let first = self.first_place(key);
        assert!(
            (first..first + self.shape.ways).contains(&place),
            "place {place} outside of the set from {first} on"
        );
        // In this order: cut short in between, the old entry's checksum tells.
        let written = write_all_at(&self.file, &piece.bytes, Shape::piece_at(place))
            .and_then(|()| write_all_at(&self.file, &entry.encode(), self.shape.entry_at(place)));
        let was_full = self.is_full.swap(written.is_err(), Ordering::Relaxed);
        if let Err(cause) = written
            && !was_full
        {
            tracing::warn!(%cause, "the cache takes nothing more for now");
        }
    }

    /// The entries of the key's set, and the first place of it.
    fn set(&self, key: u128) -> Option<(u64, Vec<u8>)> {
        let first = self.first_place(key);
        assert!(
            first.is_multiple_of(self.shape.ways),
            "a set of {} from place {first} on",
            self.shape.ways
        );
        let len = usize::try_from(self.shape.ways * ENTRY_LEN_64).ok()?;
        let mut entries = vec![0; len];
        let read = read_exact_at(&self.file, &mut entries, self.shape.entry_at(first));
        read.is_ok().then_some((first, entries))
    }

    fn first_place(&self, key: u128) -> u64 {
        u64::from_le_bytes(part(&key.to_le_bytes(), 8)) % self.shape.sets * self.shape.ways
    }

    /// Where a piece goes: over itself, else where nothing is, else where the clock says.
    fn place_for(&self, key: u128) -> u64 {
        let ways = self.shape.ways;
        let hand = self.hand.fetch_add(1, Ordering::Relaxed);
        let Some((first, entries)) = self.set(key) else {
            return self.first_place(key) + hand % ways;
        };
        let places = || (first..).zip(entries.chunks_exact(ENTRY_LEN));
        let of = |key| places().find(|(_, stored)| CacheEntry::decode(stored).key == key);
        if let Some((place, _)) = of(key).or_else(|| of(0)) {
            return place;
        }
        let from = usize::try_from(hand % ways).unwrap_or_default();
        for (place, stored) in places().cycle().skip(from).take(places().count()) {
            if stored[USED_AT] == 0 {
                return place;
            }
            self.set_used(place, false);
        }
        first + hand % ways
    }

    fn set_used(&self, place: u64, is_used: bool) {
        let at = self.shape.entry_at(place) + USED_AT as u64;
        assert!(at < self.shape.len(), "byte {at} of {}", self.shape.len());
        if let Err(cause) = write_all_at(&self.file, &[u8::from(is_used)], at) {
            tracing::debug!(%cause, "a piece in the cache is not marked");
        }
    }
}

/// Opens the file, at most `len` long. A piece of a database's, it is for nobody else to read.
fn open(folder: &Path, len: u64) -> io::Result<File> {
    let (mut dir, mut file) = (DirBuilder::new(), OpenOptions::new());
    #[cfg(unix)]
    {
        use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
        dir.mode(0o700);
        file.mode(0o600);
    }
    dir.recursive(true).create(folder)?;
    file.read(true).write(true).create(true).truncate(false);
    let file = file.open(folder.join(FILE))?;
    // Longer without taking anything, where the disk can; where it cannot, what lies past the end is a miss.
    match file.set_len(len) {
        Err(cause) if file.metadata()?.len() > len => Err(cause),
        Ok(()) | Err(_) => Ok(file),
    }
}

#[cfg(test)]
mod tests;
