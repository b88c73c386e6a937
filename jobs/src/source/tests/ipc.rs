//! Arrow files and streams: what is read of them exactly, what is refused, and how each is told.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, DictionaryArray, Int64Array, ListArray, RecordBatch, RecordBatchOptions, StringArray,
    StringViewArray, TimestampNanosecondArray, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Int8Type, Int32Type, Int64Type, Schema};
use arrow::ipc::CompressionType;
use arrow::ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};

use super::super::{KeptHash, SourceError, content_hash, mend, open_shard};
use super::{Folder, columns, read};

const ARROW: &str = "format = \"arrow\"\npaths = [\"*.arrow\"]\nshard_size = \"64KiB\"";

fn array<A: arrow::array::Array + 'static>(array: A) -> ArrayRef {
    Arc::new(array)
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter(columns).unwrap()
}

fn file(batches: &[RecordBatch]) -> Vec<u8> {
    packed(batches, None)
}

fn packed(batches: &[RecordBatch], compression: Option<CompressionType>) -> Vec<u8> {
    let options = IpcWriteOptions::default().try_with_compression(compression);
    let mut bytes = vec![];
    let schema = batches[0].schema();
    let mut writer =
        FileWriter::try_new_with_options(&mut bytes, &schema, options.unwrap()).unwrap();
    for batch in batches {
        writer.write(batch).unwrap();
    }
    writer.finish().unwrap();
    drop(writer);
    bytes
}

fn stream(batches: &[RecordBatch]) -> Vec<u8> {
    let mut writer = StreamWriter::try_new(vec![], &batches[0].schema()).unwrap();
    for batch in batches {
        writer.write(batch).unwrap();
    }
    writer.into_inner().unwrap()
}

/// Batches of a number `a` and a word `b`, of so many rows each.
fn numbered(lens: &[i64]) -> Vec<RecordBatch> {
    let mut from = 0;
    let mut batches = vec![];
    for len in lens {
        let numbers = from..from + len;
        let words = numbers
            .clone()
            .map(|n| (n % 3 != 0).then(|| format!("w{n}")));
        batches.push(batch(vec![
            ("a", array(Int64Array::from_iter_values(numbers))),
            ("b", array(words.collect::<StringArray>())),
        ]));
        from += len;
    }
    batches
}

fn expected(rows: i64) -> Vec<Vec<String>> {
    let word = |n: i64| match n % 3 {
        0 => "∅".to_owned(),
        _ => format!("w{n}"),
    };
    (0..rows).map(|n| vec![n.to_string(), word(n)]).collect()
}

#[test]
fn batches_are_shards_and_every_row_comes_once() {
    let batches = numbered(&[10_000, 0, 9_000, 1, 20_000]);
    for bytes in [file(&batches), stream(&batches)] {
        let folder = Folder::new(ARROW).with("1.arrow", bytes);
        let (source, shards) = folder.open();
        assert!(
            shards.len() > 2,
            "of batches of 64 KiB and more: {shards:?}"
        );
        let whole = read(&source, &shards).unwrap();
        assert_eq!(whole.rows, expected(39_001));
        let types = [("a", "int64"), ("b", "string")];
        let types = types.map(|(name, data_type)| (name.to_owned(), data_type.to_owned()));
        assert_eq!(columns(&folder.plan()), types);
        // Whatever the order and the columns, a shard covers the same bytes.
        for (shard, hash) in shards.iter().zip(&whole.hashes).rev() {
            let mut reader = open_shard(&source, *shard, &[1]).unwrap();
            let rows: usize = reader.by_ref().map(|batch| batch.unwrap().num_rows()).sum();
            assert_eq!(rows as u64, reader.rows_read());
            assert!(reader.bytes_read() > 0);
            assert_eq!(reader.bytes_hash(), Some(*hash));
        }
        let mut none = open_shard(&source, shards[0], &[]).unwrap();
        let rows: usize = none.by_ref().map(|batch| batch.unwrap().num_rows()).sum();
        assert_eq!(rows as u64, none.rows_read());
    }
}

#[test]
fn compressed_bodies_are_read() {
    let batches = numbered(&[5_000, 5_000]);
    for compression in [CompressionType::LZ4_FRAME, CompressionType::ZSTD] {
        let bytes = packed(&batches, Some(compression));
        assert!(bytes.len() < file(&batches).len());
        let folder = Folder::new(ARROW).with("1.arrow", bytes);
        assert_eq!(folder.read().rows, expected(10_000), "{compression:?}");
    }
}

#[test]
fn a_compressed_buffer_beyond_the_bound_is_refused_before_it_is_allocated() {
    let good = packed(&numbered(&[5_000]), Some(CompressionType::LZ4_FRAME));
    // The length of what comes out stands before each compressed buffer, here that of 5,000 numbers.
    let len = 40_000_i64.to_le_bytes();
    let at = good.windows(8).position(|bytes| bytes == len).unwrap();
    for (claimed, told) in [(i64::MAX, "9223372036854775807"), (1 << 31, "2147483648")] {
        let mut bad = good.clone();
        bad[at..at + 8].copy_from_slice(&claimed.to_le_bytes());
        let failure = Folder::new(ARROW).with("1.arrow", bad).failure();
        let expected = format!("`1.arrow`: not supported: a compressed buffer of {told} bytes");
        assert!(failure.starts_with(&expected), "{failure}");
    }
}

fn dictionary(keys: &[i8], values: &[&str]) -> RecordBatch {
    let values = Arc::new(StringArray::from(values.to_vec()));
    let keys = arrow::array::Int8Array::from(keys.to_vec());
    let words = DictionaryArray::<Int8Type>::try_new(keys, values).unwrap();
    batch(vec![("a", array(words))])
}

#[test]
fn dictionaries_have_the_type_of_their_values() {
    let one = dictionary(&[0, 1, 0], &["x", "y"]);
    let words = ["x", "y", "x"].map(|word| vec![word.to_owned()]);
    let folder = Folder::new(ARROW).with("1.arrow", file(&[one.clone(), one]));
    assert_eq!(columns(&folder.plan())[0].1, "string");
    assert_eq!(folder.read().rows, [words.clone(), words].concat());
    // A stream may give another dictionary on its way: later batches have that one, earlier ones do not.
    let source = ARROW.replace("64KiB", "1KiB");
    let many: Vec<i8> = std::iter::repeat_n([0, 1], 1000).flatten().collect();
    let (one, other) = (
        dictionary(&many, &["x", "y"]),
        dictionary(&many, &["p", "q"]),
    );
    let folder = Folder::new(&source).with("1.arrow", stream(&[one, other]));
    let (source, shards) = folder.open();
    assert_eq!(shards.len(), 2);
    for (shard, word) in [(1, "p"), (0, "x")] {
        let rows = read(&source, &shards[shard..=shard]).unwrap().rows;
        assert_eq!((rows.len(), rows[0][0].as_str()), (2000, word));
    }
}

#[test]
fn types_are_those_of_the_file_and_unified_as_those_of_parquet() {
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some([Some(1), None])]);
    let folder = Folder::new(ARROW)
        .with(
            "1.arrow",
            file(&[batch(vec![
                ("a", array(Int64Array::from(vec![1]))),
                ("s", array(StringArray::from(vec!["x"]))),
                ("t", array(TimestampNanosecondArray::from(vec![1_500]))),
                ("l", array(list.clone())),
            ])]),
        )
        .with(
            "2.arrow",
            file(&[batch(vec![
                ("l", array(list)),
                ("s", array(StringViewArray::from(vec!["y"]))),
                ("t", array(TimestampNanosecondArray::from(vec![2_500]))),
                ("a", array(arrow::array::Int8Array::from(vec![2]))),
            ])]),
        );
    let found = folder.read().rows;
    let row = |a: &str, s: &str, nanos: &str| {
        let moment = format!("1970-01-01T00:00:00.00000{nanos}");
        vec![a.to_owned(), s.to_owned(), moment, "[1, ∅]".to_owned()]
    };
    assert_eq!(found, [row("1", "x", "1500"), row("2", "y", "2500")]);
    let unsigned = batch(vec![("a", array(UInt64Array::from(vec![u64::MAX])))]);
    let folder = Folder::new(&format!("{ARROW}\n[source.schema]\na = \"int64\""))
        .with("1.arrow", file(&[unsigned]));
    assert_eq!(
        folder.failure(),
        "`1.arrow`: row 1, column `a`: expected int64, found 18446744073709551615, which it does not hold exactly; give \
         the column another type in [source.schema], or none"
    );
    let declared = "a = \"timestamp(unit=ms)\"";
    let folder = Folder::new(&format!("{ARROW}\n[source.schema]\n{declared}"))
        .with("1.arrow", file(&numbered(&[1])));
    let refusal = folder.refusal();
    assert!(
        refusal.contains("the columns of Arrow files have no `format`"),
        "{refusal}"
    );
}

#[test]
fn a_value_that_does_not_fit_is_told_with_its_row_in_the_file() {
    let wide = |values: Vec<i64>| batch(vec![("a", array(Int64Array::from(values)))]);
    let bytes = file(&[wide(vec![1; 20_000]), wide((0..20_000).collect())]);
    let source = format!("{ARROW}\n[source.schema]\na = \"int16\"");
    let folder = Folder::new(&source).with("1.arrow", bytes);
    let (source, shards) = folder.open();
    assert_eq!(shards.len(), 2);
    let mut reader = open_shard(&source, shards[1], &[0]).unwrap();
    assert!(
        reader.all(|batch| batch.is_ok()),
        "20,000 numbers fit 16 bits"
    );
    let folder = Folder::new(&format!("{ARROW}\n[source.schema]\na = \"int8\"")).with(
        "1.arrow",
        file(&[
            wide(vec![1; 20_000]),
            wide((0..20_000).map(|n| n / 100).collect()),
        ]),
    );
    // 128 is first in row 12,800 of the second batch, counted from 0.
    let failure = folder.failure();
    assert!(
        failure.starts_with("`1.arrow`: row 32801, column `a`: expected int8, found 128"),
        "{failure}"
    );
}

#[test]
fn columns_are_found_by_name() {
    let one = batch(vec![
        ("a", array(Int64Array::from(vec![1]))),
        ("b", array(Int64Array::from(vec![2]))),
    ]);
    let other = batch(vec![("b", array(Int64Array::from(vec![3])))]);
    let folder = Folder::new(ARROW)
        .with("1.arrow", file(std::slice::from_ref(&one)))
        .with("2.arrow", file(std::slice::from_ref(&other)));
    assert!(
        folder
            .refusal()
            .contains("`a` is in the first and not in the second")
    );
    let folder = Folder::new(&format!("{ARROW}\n[source.schema]\na = \"int64\""))
        .with("1.arrow", file(&[one]))
        .with("2.arrow", file(&[other]));
    assert_eq!(folder.read().rows, [["1", "2"], ["∅", "3"]]);
}

/// Rows that take no bytes: columns of NULLs, or no column at all.
#[test]
fn rows_without_values_count() {
    let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Null, true)]));
    let nulls = RecordBatch::try_new(schema, vec![array(arrow::array::NullArray::new(9))]).unwrap();
    let folder = Folder::new(ARROW).with("1.arrow", file(&[nulls]));
    assert_eq!(folder.read().rows.len(), 9);
    let options = RecordBatchOptions::new().with_row_count(Some(7));
    let none = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options);
    let folder = Folder::new(ARROW).with("1.arrow", file(&[none.unwrap()]));
    let (source, shards) = folder.open();
    let mut reader = open_shard(&source, shards[0], &[]).unwrap();
    assert_eq!(
        reader
            .by_ref()
            .map(|batch| batch.unwrap().num_rows())
            .sum::<usize>(),
        7
    );
}

#[test]
fn what_is_no_arrow_file_is_told_as_what_it_is() {
    let good = file(&numbered(&[1000]));
    let streamed = stream(&numbered(&[1000]));
    let whole = streamed.len();
    let cut_between_messages = &streamed[..whole - 8];
    let with_more = [&streamed[..], b"more"].concat();
    let twice = batch(vec![("x", array(Int64Array::from(vec![1])))]);
    let fields = vec![twice.schema().field(0).clone(); 2];
    let columns = vec![twice.column(0).clone(); 2];
    let twice = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
    let twice = file(&[twice]);
    for (bytes, expected) in [
        (
            &good[..good.len() / 2],
            "damaged Arrow file: it has no footer: it was cut off",
        ),
        (
            &good[..good.len() - 1],
            "damaged Arrow file: it has no footer",
        ),
        (b"ARROW1\0\0", "damaged Arrow file: it has no footer"),
        (b"", "expected an Arrow file, found an empty file"),
        (
            b"a,b\n1,2\n",
            "expected an Arrow file, found something else",
        ),
        (
            b"PAR1\x15\x04",
            "expected an Arrow file, found a Parquet file",
        ),
        (b"FEA1\0\0\0\0FEA1", "not supported: Feather of version 1"),
        (
            b"ARROW1\0\0\xff\xff\xff\x7fARROW1",
            "damaged Arrow file: its footer is said to have 2147483647 bytes, of which",
        ),
        (
            b"ARROW1\0\0\xff\xff\xff\xffARROW1",
            "damaged Arrow file: its footer is said to have -1 bytes, of which",
        ),
        (&streamed[..whole / 2], "damaged Arrow file: byte "),
        (cut_between_messages, "damaged Arrow file: byte "),
        (&with_more, "damaged Arrow file: byte "),
        (
            b"\xff\xff\xff\xff\0\0\0\0",
            "damaged Arrow file: it has no columns",
        ),
        (
            b"\xff\xff\xff\xff\xff\xff\xff\x7f",
            "damaged Arrow file: byte 0: its metadata is said to have 2147483647 bytes",
        ),
        (&twice, "not supported: two columns of the name `x`"),
    ] {
        let refusal = Folder::new(ARROW).with("1.arrow", bytes).refusal();
        let expected = format!("`1.arrow`: {expected}");
        assert!(refusal.contains(&expected), "{refusal}\nand not {expected}");
    }
    // And the other way round.
    let folder = Folder::new("format = \"csv\"\npaths = [\"*.csv\"]").with("1.csv", &good);
    let refusal = folder.refusal();
    let told = "expected text, found an Arrow file; it is read with `format = \"arrow\"`";
    assert!(refusal.contains(told), "{refusal}");
}

/// Every fifth byte of a file in turn is wrong: an error or other values, never a panic.
#[test]
fn no_damage_takes_the_process_down() {
    let words = dictionary(&[0, 1, 0, 1], &["one", "two"]);
    let lists = ListArray::from_iter_primitive::<Int64Type, _, _>([Some([Some(7)])]);
    let plain = batch(vec![
        (
            "a",
            array(StringViewArray::from(vec![
                "a long text that is no part of a view",
            ])),
        ),
        ("b", array(lists)),
    ]);
    let files = [
        file(std::slice::from_ref(&words)),
        stream(&[words]),
        file(std::slice::from_ref(&plain)),
        packed(&[plain], Some(CompressionType::ZSTD)),
        packed(&numbered(&[300]), Some(CompressionType::LZ4_FRAME)),
    ];
    let (mut failed, mut other) = (0, 0);
    for good in files {
        let folder = Folder::new(ARROW).with("1.arrow", &good);
        let (source, shards) = folder.open();
        read(&source, &shards).unwrap();
        for at in (0..good.len()).step_by(5) {
            for flip in [0x01, 0xff] {
                let mut bad = good.clone();
                bad[at] ^= flip;
                folder.damage("1.arrow", &bad);
                match read(&source, &shards) {
                    Ok(_) => other += 1,
                    Err(SourceError::Io { source, .. }) => panic!("byte {at}: {source}"),
                    Err(_) => failed += 1,
                }
            }
        }
    }
    assert!(failed > 200, "{failed} failed, {other} gave other values");
}

#[test]
fn bytes_of_done_shards_and_their_dictionaries_must_stay() {
    let content = ARROW.replace("shard_size", "verify = \"content\"\nshard_size");
    for source in [ARROW, &content] {
        let batches = numbered(&[9_000, 9_000]);
        let good = file(&batches);
        let folder = Folder::new(source).with("1.arrow", &good);
        let (source, shards) = folder.open();
        assert_eq!(shards.len(), 2);
        let whole = read(&source, &shards).unwrap();
        let done = |number: u64| {
            let hash = content_hash(whole.hashes[0]);
            (number == 0).then(|| KeptHash::new(hash, 64))
        };
        // Only the second shard, which failed, has other values.
        let mut mended = numbered(&[9_000, 9_000]);
        let negative: Int64Array = mended[1]
            .column(0)
            .as_any()
            .downcast_ref::<Int64Array>()
            .unwrap()
            .unary(|n: i64| -n);
        mended[1] = batch(vec![
            ("a", array(negative)),
            ("b", mended[1].column(1).clone()),
        ]);
        std::fs::write(folder.path("1.arrow"), file(&mended)).unwrap();
        let planned = mend(&source, &shards, done).unwrap();
        let spec = folder.job().into_spec().source.unwrap();
        let again = planned.source(spec).unwrap();
        let rows = read(&again, &planned.shards().unwrap()).unwrap().rows;
        assert_eq!(
            (rows[0][0].as_str(), rows[9_000][0].as_str()),
            ("0", "-9000")
        );
        // The done one has others.
        mended[0] = mended[1].clone();
        std::fs::write(folder.path("1.arrow"), file(&mended)).unwrap();
        let lost = mend(&source, &shards, done).unwrap_err();
        assert!(matches!(lost, SourceError::Changed { .. }), "{lost}");
        std::fs::write(folder.path("1.arrow"), file(&mended[..1])).unwrap();
        let lost = mend(&source, &shards, done).unwrap_err().to_string();
        assert!(
            lost.contains("expected 2 record batches, found 1"),
            "{lost}"
        );
    }
    // A dictionary is a part of every shard that reads it.
    let other = |values: &[&str]| {
        let folder = Folder::new(ARROW).with("1.arrow", file(&[dictionary(&[0, 1], values)]));
        folder.read().hashes
    };
    assert_eq!(other(&["x", "y"]), other(&["x", "y"]));
    assert_ne!(other(&["x", "y"]), other(&["x", "z"]));
}
