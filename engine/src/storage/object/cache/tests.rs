//! The file by itself: what is found is what was kept, whatever became of the file.

use std::fs;
use std::io::Write;

use super::*;
use crate::base::entropy::{Entropy, SeededEntropy, SystemEntropy};

fn options(folder: &Path, len_max: u64) -> CacheOptions {
    CacheOptions {
        folder: folder.to_path_buf(),
        len_max,
    }
}

fn opened(folder: &Path, len_max: u64) -> DiskCache {
    DiskCache::open(&options(folder, len_max)).unwrap()
}

fn key(number: u64) -> u128 {
    crate::base::checksum::hash128(&number.to_le_bytes())
}

/// What is kept under a number; its length and bytes follow from it.
fn piece(number: u64) -> CachePiece {
    let len = PIECE_LEN - usize::try_from(number % 3 * 1000).unwrap();
    CachePiece {
        object_len: number + 1_000_000,
        bytes: vec![u8::try_from(number % 251).unwrap(); len].into(),
    }
}

/// Bytes for so many pieces, exactly.
fn room(pieces: u64) -> u64 {
    pieces * (PIECE_LEN_64 + ENTRY_LEN_64)
}

fn file_len(folder: &Path) -> u64 {
    fs::metadata(folder.join(FILE)).unwrap().len()
}

#[test]
fn what_is_kept_is_found_again_by_others_and_later() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("a").join("b");
    let cache = opened(&folder, room(160));
    let beside = opened(&folder, room(160));
    assert_eq!(cache.get(key(1)), None);
    for number in 0..20 {
        cache.put(key(number), &piece(number));
        assert_eq!(beside.get(key(number)), Some(piece(number)));
    }
    drop((cache, beside));
    let later = opened(&folder, room(160));
    for number in 0..20 {
        assert_eq!(later.get(key(number)), Some(piece(number)));
    }
    // Kept anew under its key, it is the new one that is found.
    later.put(key(1), &piece(2));
    assert_eq!(later.get(key(1)), Some(piece(2)));
}

#[test]
fn the_budget_is_kept_to_the_byte() {
    for (len_max, pieces) in [
        (0, 0),
        (room(1) - 1, 0),
        (room(1), 1),
        (room(2) - 1, 1),
        (room(16), 16),
        (room(31), 16),
        (room(32), 32),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let cache = DiskCache::open(&options(dir.path(), len_max));
        let Some(cache) = cache else {
            assert_eq!(pieces, 0, "{len_max}");
            assert!(fs::read_dir(dir.path()).unwrap().next().is_none());
            continue;
        };
        for number in 0..200 {
            cache.put(key(number), &piece(number));
            // The newest is never the one that gives way.
            assert_eq!(cache.get(key(number)), Some(piece(number)));
        }
        assert!(file_len(dir.path()) <= len_max, "{len_max}");
        let kept = (0..200).filter(|number| cache.get(key(*number)).is_some());
        let kept = kept.count() as u64;
        assert_eq!(kept, pieces, "{len_max}");
    }
}

/// A piece that is asked for outlives any number of others that are not.
#[test]
fn what_is_asked_for_stays() {
    let dir = tempfile::tempdir().unwrap();
    let cache = opened(dir.path(), room(16));
    cache.put(key(0), &piece(0));
    for number in 1..500 {
        assert_eq!(cache.get(key(0)), Some(piece(0)), "after {number}");
        cache.put(key(number), &piece(number));
    }
}

#[test]
fn whatever_is_damaged_is_a_miss_and_can_be_kept_again() {
    let dir = tempfile::tempdir().unwrap();
    let cache = opened(dir.path(), room(1));
    let path = dir.path().join(FILE);
    let entry = PIECE_LEN;
    let in_entry = |at: usize| entry + at;
    let places = [0, 1, PIECE_LEN / 2, PIECE_LEN - 1].into_iter();
    for at in places.chain((0..USED_AT).map(in_entry)) {
        cache.put(key(0), &piece(0));
        let mut bytes = fs::read(&path).unwrap();
        bytes[at] ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert_eq!(cache.get(key(0)), None, "byte {at}");
        let again = opened(dir.path(), room(1));
        assert_eq!(again.get(key(0)), None, "byte {at}");
        again.put(key(0), &piece(0));
        assert_eq!(cache.get(key(0)), Some(piece(0)), "byte {at}");
    }
    // Cut, emptied, or somebody else's altogether.
    let strange = [
        Vec::new(),
        b"something".to_vec(),
        vec![0xff; PIECE_LEN + 10],
        vec![0xff; 200_000],
    ];
    for bytes in strange {
        fs::write(&path, bytes).unwrap();
        assert_eq!(cache.get(key(0)), None);
        let again = opened(dir.path(), room(1));
        assert_eq!(file_len(dir.path()), room(1));
        assert_eq!(again.get(key(0)), None);
        again.put(key(0), &piece(0));
        assert_eq!(cache.get(key(0)), Some(piece(0)));
    }
}

/// Piece and entry are two writes: after the first alone there is the old entry over new bytes.
#[test]
fn a_write_that_was_cut_short_is_a_miss() {
    let dir = tempfile::tempdir().unwrap();
    let cache = opened(dir.path(), room(1));
    for len in [1, 100, PIECE_LEN - 1, PIECE_LEN] {
        cache.put(key(0), &piece(0));
        let mut file = OpenOptions::new().write(true).open(dir.path().join(FILE));
        file.as_mut().unwrap().write_all(&vec![7; len]).unwrap();
        assert_eq!(cache.get(key(0)), None);
        assert_eq!(cache.get(key(7)), None);
    }
}

/// Handles of different lengths at one file, as processes with different settings have them.
#[test]
fn many_at_one_file_find_nothing_that_was_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let seed = u64::try_from(SystemEntropy.next_u128() >> 64).unwrap();
    println!("seed {seed}");
    let found = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let (folder, found) = (dir.path(), &found);
            scope.spawn(move || {
                let dice = SeededEntropy::new(seed ^ thread);
                let len_max = [room(16), room(16), room(20), room(40)];
                let mut cache = opened(folder, len_max[usize::try_from(thread).unwrap()]);
                for _ in 0..3_000 {
                    let number = dice.next_u64() % 24;
                    match dice.next_u64() % 64 {
                        0 => cache = opened(folder, len_max[usize::try_from(thread).unwrap()]),
                        1..32 => cache.put(key(number), &piece(number)),
                        _ => {
                            if let Some(got) = cache.get(key(number)) {
                                assert_eq!(got, piece(number));
                                found.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                    }
                }
            });
        }
    });
    assert!(found.into_inner() > 100);
}

#[test]
fn a_folder_that_cannot_be_is_no_cache() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "x").unwrap();
    assert!(DiskCache::open(&options(&file, room(16))).is_none());
    assert!(DiskCache::open(&options(&file.join("below"), room(16))).is_none());
    fs::create_dir(dir.path().join(FILE)).unwrap();
    assert!(DiskCache::open(&options(dir.path(), room(16))).is_none());
}
