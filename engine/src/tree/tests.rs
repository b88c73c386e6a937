//! Runs as a whole: written, opened, read, damaged, proofread.

#![allow(
    clippy::cast_possible_truncation,
    reason = "values are made of numbers cut to bytes"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures::executor::block_on;
use proptest::prelude::*;

use super::testing::{
    TestObject, TestWriter, numbered, open, try_open, try_open_past_cache, write,
};
use super::*;
use crate::base::checksum::hash128;
use crate::base::entropy::SeededEntropy;
use crate::base::limits::{VALUE_INLINE_LEN_DEFAULT, VALUE_LEN_MAX};
use crate::base::{Error, Op};

type Model = BTreeMap<Vec<u8>, Op>;

fn get(run: &Run, key: &[u8]) -> Result<Option<Op>, Error> {
    block_on(run.get(key, key_hash(key)))
}

/// An error where a page would have to be read.
fn get_cached(run: &Run, key: &[u8]) -> Result<Option<Op>, &'static str> {
    match run.entry_cached(key, key_hash(key)).unwrap() {
        Lookup::Found(entry) => Ok(Some(entry.into_op())),
        Lookup::Absent => Ok(None),
        Lookup::NotCached(_) => Err("not cached"),
    }
}

/// The entry a cursor stands on, if `here`.
fn entry(cursor: &Cursor, here: bool) -> Option<(Vec<u8>, Op)> {
    assert_eq!(cursor.is_valid(), here);
    here.then(|| (cursor.key().to_vec(), block_on(cursor.op()).unwrap()))
}

fn first_of<'a>(mut entries: impl Iterator<Item = (&'a Vec<u8>, &'a Op)>) -> Option<(Vec<u8>, Op)> {
    entries.next().map(|(key, op)| (key.clone(), op.clone()))
}

fn check(run: &Run) -> RunCheck {
    let mut done = 0;
    let found = block_on(run.check(&mut |len| done += len));
    assert_eq!(
        done,
        run.check_len(),
        "progress ends where it said it would"
    );
    found
}

/// Everything that a run can be asked agrees with the model.
fn assert_holds(run: &Arc<Run>, model: &Model) {
    for (key, op) in model {
        assert_eq!(
            get(run, key).unwrap().as_ref(),
            Some(op),
            "get {}",
            key.escape_ascii()
        );
    }
    let mut cursor = Cursor::new(run.clone());
    let mut here = block_on(cursor.first()).unwrap();
    for (key, op) in model {
        assert_eq!(entry(&cursor, here), Some((key.clone(), op.clone())));
        here = block_on(cursor.next()).unwrap();
    }
    assert!(!here && !cursor.is_valid(), "behind the last");
    let mut here = block_on(cursor.last()).unwrap();
    for (key, op) in model.iter().rev() {
        assert_eq!(entry(&cursor, here), Some((key.clone(), op.clone())));
        here = block_on(cursor.prev()).unwrap();
    }
    assert!(!here && !cursor.is_valid(), "before the first");
    let found = check(run);
    assert_eq!(found.problems, []);
    assert_eq!(found.entries(), model.len() as u64);
}

fn assert_seeks(run: &Arc<Run>, model: &Model, key: &[u8]) {
    assert_eq!(get(run, key).unwrap().as_ref(), model.get(key));
    let mut cursor = Cursor::new(run.clone());
    let here = block_on(cursor.seek(key)).unwrap();
    assert_eq!(
        entry(&cursor, here),
        first_of(model.range(key.to_vec()..)),
        "seek {key:?}"
    );
    if here {
        let here = block_on(cursor.prev()).unwrap();
        assert_eq!(
            entry(&cursor, here),
            first_of(model.range(..key.to_vec()).rev())
        );
    }
    let here = block_on(cursor.seek_back(key, true)).unwrap();
    assert_eq!(
        entry(&cursor, here),
        first_of(model.range(..=key.to_vec()).rev()),
        "to {key:?}"
    );
    let here = block_on(cursor.seek_back(key, false)).unwrap();
    assert_eq!(
        entry(&cursor, here),
        first_of(model.range(..key.to_vec()).rev()),
        "below {key:?}"
    );
    if here {
        let here = block_on(cursor.next()).unwrap();
        assert_eq!(entry(&cursor, here), first_of(model.range(key.to_vec()..)));
    }
}

fn small_pages(compression: Compression) -> RunOptions {
    RunOptions {
        page_len: 1024,
        compression,
        filter: true,
    }
}

/// Who seals a leaf changes nothing.
#[test]
fn a_run_written_with_help_is_the_same() {
    let mut ops = numbered(b"k", 40_000, |i| {
        let len = if i % 5_000 == 7 { 2_000 } else { 90 };
        vec![i.to_le_bytes()[0]; len]
    });
    ops[77].1 = Op::Delete;
    for compression in Compression::ALL {
        let (alone, summary) = write(small_pages(compression), &ops);
        let writer = TestWriter::default();
        let builder = RunBuilder::new(Box::new(writer.clone()), small_pages(compression));
        let helped = block_on(async {
            let mut builder = builder.with_help();
            for (key, op) in &ops {
                builder.add(key, op).await.unwrap();
            }
            builder.finish().await.unwrap()
        });
        assert_eq!(helped, summary);
        assert!(writer.file().unwrap() == alone, "{compression:?}");
    }
}

/// Nor does it who writes what is sealed, and when.
#[test]
fn what_is_added_without_io_is_the_same() {
    const INLINE: usize = VALUE_INLINE_LEN_DEFAULT;
    let ops = numbered(b"k", 40_000, |i| {
        let len = if i % 5_000 == 7 { 2_000 } else { 90 };
        vec![i.to_le_bytes()[0]; len]
    });
    let options = small_pages(Compression::Lz4);
    let (at_once, summary) = write(options, &ops);
    for writes_when_due in [true, false] {
        let writer = TestWriter::default();
        let mut builder = RunBuilder::new(Box::new(writer.clone()), options).with_help();
        let (mut refused, mut due) = (0, 0);
        let late = block_on(async {
            for (key, op) in &ops {
                if builder.is_due() && writes_when_due {
                    builder.write_due().await.unwrap();
                    assert!(!builder.is_due());
                    due += 1;
                }
                assert_eq!(builder.is_empty(), key == &ops[0].0);
                if !builder.try_add(key, op.into(), op.payload(), INLINE) {
                    refused += 1;
                    builder.add(key, op).await.unwrap();
                }
                assert_eq!(builder.last_key(), key);
                assert!(!builder.try_add(key, OpKind::Delete, b"", INLINE));
                assert!(!builder.try_add(b"a", OpKind::Delete, b"", INLINE));
            }
            let long = vec![0xff; RUN_KEY_LEN_MAX + 1];
            assert!(!builder.try_add(&long, OpKind::Delete, b"", INLINE));
            builder.finish().await.unwrap()
        });
        // Long values, and with nobody who writes what is full as often as there is no more room.
        match writes_when_due {
            true => assert_eq!((refused, due > 10), (8, true)),
            false => assert!(refused > 8 && refused < 100, "{refused}"),
        }
        assert_eq!(late, summary);
        assert!(writer.file().unwrap() == at_once);
    }
}

#[test]
fn keys_and_values_at_the_edges() {
    let long = vec![b'k'; RUN_KEY_LEN_MAX];
    let value =
        |len: usize| Bytes::from((0..len).map(|i| ((i * i) >> 7) as u8).collect::<Vec<_>>());
    let mut model = Model::new();
    model.insert(vec![], Op::Put(value(0)));
    model.insert(b"a".to_vec(), Op::Merge(value(VALUE_INLINE_LEN_DEFAULT)));
    model.insert(
        b"a\0".to_vec(),
        Op::Put(value(VALUE_INLINE_LEN_DEFAULT + 1)),
    );
    model.insert(b"a\0\0\0\0\0\0".to_vec(), Op::Delete);
    model.insert(
        b"b".to_vec(),
        Op::Merge(value(VALUE_INLINE_LEN_DEFAULT + 1)),
    );
    model.insert(b"c".to_vec(), Op::Put(value(100_000)));
    model.insert(
        long[..RUN_KEY_LEN_MAX - 1].to_vec(),
        Op::Put(value(VALUE_INLINE_LEN_DEFAULT)),
    );
    model.insert(long.clone(), Op::Put(value(VALUE_INLINE_LEN_DEFAULT)));
    for last in [b'l', b'm', 0xff] {
        let mut key = long.clone();
        key[RUN_KEY_LEN_MAX - 1] = last;
        model.insert(key, Op::Put(value(VALUE_INLINE_LEN_DEFAULT)));
    }
    model.insert(vec![0xff; RUN_KEY_LEN_MAX], Op::Merge(value(0)));
    let ops: Vec<_> = model.clone().into_iter().collect();
    for compression in Compression::ALL {
        for page_len in [0, 1024, 8192, usize::MAX] {
            let (file, summary) = write(
                RunOptions {
                    page_len,
                    compression,
                    filter: true,
                },
                &ops,
            );
            assert_eq!(summary.content_hash, hash128(&file));
            assert_eq!(summary.len, file.len() as u64);
            assert_eq!(
                (
                    summary.entries,
                    summary.puts,
                    summary.deletes,
                    summary.merges
                ),
                (12, 8, 1, 3)
            );
            assert_eq!(
                (summary.first_key, summary.last_key.len()),
                (vec![], RUN_KEY_LEN_MAX)
            );
            let run = open(file);
            assert_holds(&run, &model);
            for key in model.keys() {
                assert_seeks(&run, &model, key);
                assert_seeks(&run, &model, &[key, &b"\0"[..]].concat());
            }
            assert_eq!(check(&run).content_hash, Some(summary.content_hash));
        }
    }
}

#[test]
fn a_value_of_the_greatest_length() {
    let value: Bytes = (0..VALUE_LEN_MAX)
        .map(|i| (i >> 12) as u8)
        .collect::<Vec<_>>()
        .into();
    for compression in Compression::ALL {
        let ops = [(b"key".to_vec(), Op::Merge(value.clone()))];
        let (file, summary) = write(
            RunOptions {
                compression,
                ..RunOptions::default()
            },
            &ops,
        );
        assert_eq!(
            summary.len > VALUE_LEN_MAX as u64,
            compression == Compression::None
        );
        assert_eq!(get(&open(file), b"key").unwrap(), Some(ops[0].1.clone()));
    }
}

#[test]
fn a_run_of_nothing_and_a_run_of_one() {
    let (file, summary) = write(RunOptions::default(), &[]);
    assert_eq!((summary.entries, summary.len), (0, file.len() as u64));
    let run = open(file);
    assert!(run.is_empty());
    assert_holds(&run, &Model::new());
    assert_seeks(&run, &Model::new(), b"");
    let model = Model::from([(b"one".to_vec(), Op::Delete)]);
    let (file, _) = write(
        RunOptions::default(),
        &model.clone().into_iter().collect::<Vec<_>>(),
    );
    let run = open(file);
    assert_holds(&run, &model);
    for key in [&b""[..], b"on", b"one", b"one\0", b"z"] {
        assert_seeks(&run, &model, key);
    }
}

#[test]
fn what_cannot_be_added_is_refused_and_left_out() {
    let writer = TestWriter::default();
    let mut builder = RunBuilder::new(Box::new(writer.clone()), RunOptions::default());
    let put = Op::Put(Bytes::new());
    block_on(async {
        let error = builder
            .add(&[0; RUN_KEY_LEN_MAX + 1], &put)
            .await
            .unwrap_err();
        assert!(
            matches!(
                error,
                Error::Limit {
                    got: 4101,
                    max: 4100,
                    ..
                }
            ),
            "{error}"
        );
        let long = Op::Merge(vec![0; VALUE_LEN_MAX + 1].into());
        let error = builder.add(b"b", &long).await.unwrap_err();
        assert!(
            matches!(error, Error::Limit { got: 8_388_609, .. }),
            "{error}"
        );
        builder.add(b"b", &put).await.unwrap();
        for key in [b"b", b"a"] {
            let error = builder.add(key, &put).await.unwrap_err();
            assert!(matches!(error, Error::Invalid(_)), "{error}");
        }
        builder.add(b"c", &put).await.unwrap();
        assert_eq!(builder.finish().await.unwrap().entries, 2);
    });
    let model = [b"b", b"c"].map(|key| (key.to_vec(), put.clone())).into();
    assert_holds(&open(writer.file().unwrap()), &model);
}

#[test]
fn a_failed_write_ends_the_run() {
    let writer = TestWriter::failing_after(600_000);
    let mut builder = RunBuilder::new(Box::new(writer.clone()), RunOptions::default());
    let value = Op::Put(vec![7; 1000].into());
    let failed = (0u32..).find_map(|i| block_on(builder.add(&i.to_be_bytes(), &value)).err());
    assert!(matches!(failed, Some(Error::Storage { .. })), "{failed:?}");
    let mut again =
        (1u32 << 31..).find_map(|i| block_on(builder.add(&i.to_be_bytes(), &value)).err());
    assert!(matches!(again.take(), Some(Error::Invalid(_))));
    assert!(matches!(block_on(builder.finish()), Err(Error::Invalid(_))));
    assert_eq!(writer.file(), None);
}

#[test]
fn keys_are_walked_without_reading_a_value() {
    let ops = numbered(b"", 2000, |i| vec![i as u8; 10_000]);
    let (file, _) = write(RunOptions::default(), &ops);
    let object = TestObject::new(file.clone());
    let cache = Arc::new(PageCache::new(0));
    let run = block_on(Run::open(object.clone(), cache, "seg/test".to_owned())).unwrap();
    assert!(
        object.reads.load(Ordering::Relaxed) <= 3,
        "opening is a few reads"
    );
    let mut cursor = Cursor::new(Arc::new(run));
    let mut here = block_on(cursor.first()).unwrap();
    let mut keys = 0;
    while here {
        assert_eq!(cursor.kind(), Some(OpKind::Put));
        assert_eq!(cursor.inline_op(), None);
        keys += 1;
        here = block_on(cursor.next()).unwrap();
    }
    assert_eq!(keys, 2000);
    let read_len = object.read_len.load(Ordering::Relaxed);
    assert!(
        read_len < 64 * 1024 + 2000 * 60,
        "{read_len} bytes read of {}",
        file.len()
    );
    block_on(cursor.last()).unwrap();
    assert_eq!(block_on(cursor.op()).unwrap(), ops[1999].1);
    assert!(object.read_len.load(Ordering::Relaxed) > read_len + 10_000);
}

#[test]
fn opening_reads_the_end_only_and_lookups_one_leaf() {
    let ops = numbered(b"store", 100_000, |i| i.to_le_bytes().to_vec());
    let (file, _) = write(RunOptions::default(), &ops);
    let object = TestObject::new(file);
    let cache = Arc::new(PageCache::new(64 << 20));
    let run = Run::open(object.clone(), cache, "seg/test".to_owned());
    let run = block_on(run).unwrap();
    assert!(object.reads.load(Ordering::Relaxed) <= 3);
    let (key, op) = &ops[77_777];
    assert_eq!(get_cached(&run, key), Err("not cached"));
    assert_eq!(get(&run, key).unwrap().as_ref(), Some(op));
    assert_eq!(get_cached(&run, key), Ok(Some(op.clone())));
    let before = object.reads.load(Ordering::Relaxed);
    for i in 0..1000u64 {
        let absent = [b"store", &(i << 32).to_be_bytes()[..], b"x"].concat();
        assert_eq!(get(&run, &absent).unwrap(), None);
    }
    let reads = object.reads.load(Ordering::Relaxed) - before;
    assert!(
        reads < 30,
        "{reads} reads for 1000 absent keys: the filter answers most"
    );
}

#[test]
fn works_without_filter_cache_and_room_for_branches() {
    let model: Model = numbered(b"", 5000, |i| vec![i as u8; 40])
        .into_iter()
        .collect();
    let ops: Vec<_> = model.clone().into_iter().collect();
    let options = RunOptions {
        filter: false,
        ..small_pages(Compression::Lz4)
    };
    let (file, _) = write(options, &ops);
    for object in [TestObject::new(file.clone()), TestObject::at_once(file)] {
        let cache = Arc::new(PageCache::new(0));
        let run = Run::open(object, cache, "seg/test".to_owned());
        let mut run = block_on(run).unwrap();
        run.pinned_len_max = 0;
        let run = Arc::new(run);
        assert!(run.may_contain(0), "no filter knows nothing");
        assert_holds(&run, &model);
        for i in (0..5000u64).step_by(97) {
            assert_seeks(&run, &model, &i.to_be_bytes());
        }
        assert_eq!(get(&run, b"absent").unwrap(), None);
    }
}

/// Where some leaves are read far more often than others, a cache that is full misses no more than one that takes in
/// each leaf that it misses.
#[test]
fn skewed_reads_miss_no_more_than_if_each_miss_came_in() {
    let ops = numbered(b"", 18_000, |i| i.to_le_bytes().repeat(12));
    let (file, _) = write(RunOptions::default(), &ops);
    let misses = |object: Arc<TestObject>, seed| {
        let cache = Arc::new(PageCache::new(40 * 8192));
        let run = Run::open(object, cache.clone(), "seg/test".to_owned());
        let run = block_on(run).unwrap();
        let random = SeededEntropy::new(seed);
        for _ in 0..40_000 {
            // Zipf's law: the leaf of rank r is read with a probability of about 1/r.
            let rank = random.next_u64() % (1 << (random.next_u64() % 9));
            let record = rank * 101 % 256 * 70 + random.next_u64() % 70;
            let (key, op) = &ops[record as usize];
            assert_eq!(get(&run, key).unwrap().as_ref(), Some(op));
        }
        cache.asked().1
    };
    for seed in 0..4 {
        let each = misses(TestObject::new(file.clone()), seed);
        let twice = misses(TestObject::at_once(file.clone()), seed);
        println!("seed {seed}: {twice} misses, {each} where each comes in");
        assert!(
            twice * 100 < each * 103,
            "{twice} misses, {each} where each comes in"
        );
    }
}

/// Reads that are spread over far more pages than fit evict nothing for nothing; what is read again comes in.
#[test]
fn a_full_cache_takes_in_what_is_missed_twice() {
    let ops = numbered(b"", 40_000, |i| i.to_le_bytes().repeat(12));
    let (file, _) = write(RunOptions::default(), &ops);
    let read = |object: Arc<TestObject>| {
        let cache = Arc::new(PageCache::new(20 * 8192));
        let run = Run::open(object.clone(), cache, "seg/test".to_owned());
        let run = block_on(run).unwrap();
        let look = |i: usize| {
            let (key, op) = &ops[i];
            assert_eq!(get(&run, key).unwrap().as_ref(), Some(op));
            get_cached(&run, key).is_ok()
        };
        for i in (0..ops.len()).step_by(500) {
            look(i);
        }
        // Leaves of which none was read a while ago.
        let once = (250..20_000).step_by(500).filter(|i| look(*i)).count();
        let twice = look(30_250) | look(30_250);
        (once, twice)
    };
    assert_eq!(read(TestObject::at_once(file.clone())), (0, true));
    // What takes long to read is kept at once.
    assert_eq!(read(TestObject::new(file)), (40, true));
}

#[test]
fn compression_is_kept_where_it_saves() {
    let zeros = numbered(b"", 5000, |_| vec![0; 100]);
    let plain = write(RunOptions::default(), &zeros).1.len;
    let options = RunOptions {
        compression: Compression::Lz4,
        ..RunOptions::default()
    };
    let packed = write(options, &zeros).1.len;
    assert!(packed < plain / 4, "{plain} bytes to {packed}");
    let mut state = 1u64;
    let mut noise = |_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as u8
    };
    let random: Vec<_> = (0..3u8)
        .map(|i| {
            (
                vec![i],
                Op::Put((0..5000).map(&mut noise).collect::<Vec<_>>().into()),
            )
        })
        .collect();
    let (plain, packed) = (
        write(RunOptions::default(), &random).0,
        write(options, &random).0,
    );
    // The values stay as they are; the leaf that refers to them may shrink.
    assert!(packed.len() <= plain.len() && packed.len() > 15_000);
}

#[test]
fn the_same_writes_give_the_same_bytes() {
    let ops = numbered(b"p", 3000, |i| vec![(i % 7) as u8; (i % 1500) as usize]);
    let options = small_pages(Compression::Lz4);
    assert_eq!(write(options, &ops), write(options, &ops));
}

/// Short alphabets, so that prefixes of other keys and ties of heads come up.
fn keys() -> impl Strategy<Value = Vec<u8>> {
    let letter = prop_oneof![Just(0u8), Just(b'a'), Just(b'b'), Just(0xff)];
    prop_oneof![
        prop::collection::vec(letter, 0..9),
        (0u8..3, 0u16..300).prop_map(|(store, i)| {
            [&[0, 0, 0, store][..], b"common/prefix/", &i.to_be_bytes()].concat()
        }),
        (0usize..60).prop_map(|len| vec![b'z'; len * 20]),
    ]
}

fn ops() -> impl Strategy<Value = Op> {
    let lens = prop_oneof![8 => 0usize..60, 1 => 900usize..1100, 1 => 1025usize..5000];
    (0u8..8, lens, any::<u8>()).prop_map(|(kind, len, fill)| match kind {
        0 => Op::Delete,
        1 => Op::Merge(vec![fill; len].into()),
        _ => Op::Put(
            (0..len)
                .map(|i| fill ^ (i * 7) as u8)
                .collect::<Vec<_>>()
                .into(),
        ),
    })
}

fn options() -> impl Strategy<Value = RunOptions> {
    let page_len = prop_oneof![Just(1024), Just(8192)];
    let compression = prop::sample::select(Compression::ALL.to_vec());
    (page_len, compression, any::<bool>()).prop_map(|(page_len, compression, filter)| RunOptions {
        page_len,
        compression,
        filter,
    })
}

/// Each answer of a damaged run is the right one or says that it is damaged.
fn assert_right_or_corrupt(file: Vec<u8>, model: &Model) {
    assert_opened_right_or_corrupt(try_open_past_cache(file.clone()), model);
    assert_opened_right_or_corrupt(try_open(file), model);
}

fn assert_opened_right_or_corrupt(opened: Result<Arc<Run>, Error>, model: &Model) {
    let found = |error: Error| {
        let Error::Corrupt { object, .. } = &error else {
            panic!("unexpected: {error}")
        };
        assert_eq!(object, "seg/test");
    };
    let run = match opened {
        Ok(run) => run,
        Err(error) => return found(error),
    };
    for (key, op) in model {
        match get(&run, key) {
            Ok(got) => assert_eq!(got.as_ref(), Some(op)),
            Err(error) => found(error),
        }
    }
    let mut cursor = Cursor::new(run.clone());
    let walked: Result<(), Error> = block_on(async {
        let mut here = cursor.first().await?;
        for (key, op) in model {
            assert!(here, "the walk ends before {}", key.escape_ascii());
            assert_eq!(cursor.key(), key);
            assert_eq!(&cursor.op().await?, op);
            here = cursor.next().await?;
        }
        assert!(!here);
        Ok(())
    });
    walked.unwrap_or_else(found);
    assert_ne!(check(&run).problems, [], "proofreading finds any damage");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn agrees_with_a_map(
        model in prop::collection::btree_map(keys(), ops(), 0..400),
        probes in prop::collection::vec(keys(), 50),
        options in options(),
    ) {
        let entries: Vec<_> = model.clone().into_iter().collect();
        let (file, summary) = write(options, &entries);
        prop_assert_eq!(summary.content_hash, hash128(&file));
        let past_cache = try_open_past_cache(file.clone()).unwrap();
        assert_holds(&past_cache, &model);
        for key in &probes {
            let found = get(&past_cache, key).unwrap();
            prop_assert_eq!(found.as_ref(), model.get(key));
        }
        let run = open(file);
        assert_holds(&run, &model);
        for key in probes.iter().chain(model.keys().step_by(7)) {
            assert_seeks(&run, &model, key);
        }
    }

    #[test]
    fn damage_is_found_and_never_believed(
        model in prop::collection::btree_map(keys(), ops(), 0..200),
        options in options(),
        places in prop::collection::vec((any::<prop::sample::Index>(), 1u8..), 1..4),
        cut in prop::option::weighted(0.3, any::<prop::sample::Index>()),
    ) {
        let entries: Vec<_> = model.clone().into_iter().collect();
        let (file, _) = write(options, &entries);
        let mut broken = file.to_vec();
        for (place, flip) in places {
            let at = place.index(broken.len());
            broken[at] ^= flip;
        }
        if let Some(cut) = cut {
            broken.truncate(cut.index(broken.len()));
        }
        prop_assume!(broken != file);
        assert_right_or_corrupt(broken, &model);
    }
}

#[test]
fn every_single_byte_matters() {
    let mut ops = numbered(b"key", 60, |i| vec![i as u8; 30]);
    ops.push((b"z".to_vec(), Op::Put(vec![3; 1025].into())));
    let (file, _) = write(small_pages(Compression::None), &ops);
    let model: Model = ops.into_iter().collect();
    for at in 0..file.len() {
        let mut broken = file.to_vec();
        broken[at] ^= 0x10;
        assert_right_or_corrupt(broken, &model);
    }
    for len in 0..file.len() {
        let error = try_open(file.slice(..len)).unwrap_err();
        assert!(
            matches!(error, Error::Corrupt { .. }),
            "cut to {len}: {error}"
        );
    }
    assert!(
        try_open([&file[..], &[0]].concat()).is_err(),
        "a byte too many"
    );
}

#[test]
fn futures_can_be_sent() {
    fn assert_send<T: Send>(_: &T) {}
    let (file, _) = write(RunOptions::default(), &[]);
    let run = open(file);
    let mut cursor = Cursor::new(run.clone());
    assert_send(&run.get(b"", 0));
    assert_send(&cursor.seek(b""));
    assert_send(&run.check(&mut |_| {}));
    let mut builder = RunBuilder::new(Box::new(TestWriter::default()), RunOptions::default());
    assert_send(&builder.add(b"", &Op::Delete));
    assert_send(&builder.finish());
}
