//! Parquet files: what is read of them exactly, what is refused, and how each is told.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Decimal256Array, DictionaryArray, FixedSizeBinaryArray, Float64Array, Int32Array,
    Int64Array, IntervalDayTimeArray, LargeBinaryArray, LargeStringArray, ListArray, RecordBatch,
    StringArray, StringViewArray, TimestampMicrosecondArray, TimestampMillisecondArray,
    TimestampNanosecondArray, UInt8Array,
};
use arrow::datatypes::{Int8Type, Int32Type, i256};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::{WriterProperties, WriterVersion};

use super::super::{SourceError, open_shard};
use super::{Folder, columns, read};

const PARQUET: &str = "format = \"parquet\"\npaths = [\"*.parquet\"]";

fn file(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    written(columns, WriterProperties::builder().build())
}

fn written(columns: Vec<(&str, ArrayRef)>, properties: WriterProperties) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut bytes = vec![];
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

fn array<A: arrow::array::Array + 'static>(array: A) -> ArrayRef {
    Arc::new(array)
}

/// A folder with a file of each of these columns `x`, besides a column `a` that numbers the rows.
fn folder_of(schema: &str, arrays: &[ArrayRef]) -> Folder {
    let folder = Folder::new(&format!("{PARQUET}\n{schema}"));
    arrays.iter().enumerate().fold(folder, |folder, (n, x)| {
        let a = array(Int64Array::from_iter_values(
            0..i64::try_from(x.len()).unwrap(),
        ));
        folder.with(
            &format!("{n}.parquet"),
            file(vec![("a", a), ("x", x.clone())]),
        )
    })
}

fn values(folder: &Folder) -> Vec<String> {
    let rows = folder.read().rows;
    rows.into_iter().map(|mut row| row.remove(1)).collect()
}

#[test]
fn every_bit_of_a_page_with_a_checksum_counts() {
    for (version, good) in [
        (1, &include_bytes!("data/checksums-v1.parquet")[..]),
        (2, include_bytes!("data/checksums-v2.parquet")),
    ] {
        let folder = Folder::new(PARQUET).with("1.parquet", good);
        let (source, shards) = folder.open();
        let whole = read(&source, &shards).unwrap();
        assert_eq!(whole.rows.len(), 100);
        assert_eq!(whole.rows[99], ["c", "99", "∅"]);
        let footer = u32::from_le_bytes(good[good.len() - 8..][..4].try_into().unwrap()) as usize;
        let (mut mismatches, mut headers) = (0, 0);
        for at in 4..good.len() - 8 - footer {
            let mut bad = good.to_vec();
            bad[at] ^= 0x10;
            folder.damage("1.parquet", &bad);
            match read(&source, &shards) {
                Err(SourceError::Damaged { file, message, .. }) => {
                    assert_eq!(file, "1.parquet");
                    mismatches += usize::from(message.contains("checksum (CRC) does not match"));
                }
                Err(SourceError::Unsupported { .. }) => headers += 1,
                // A flag of the header that changes nothing, such as that a dictionary is sorted.
                Ok(found) => {
                    assert_eq!(found.rows, whole.rows, "v{version}, byte {at}");
                    headers += 1;
                }
                Err(other) => panic!("v{version}, byte {at}: {other}"),
            }
        }
        assert!(mismatches > 400, "{mismatches} in v{version}");
        assert!(headers < 80, "{headers} in v{version}");
    }
}

#[test]
fn moments_of_96_bits_are_exact_from_year_1_to_9999() {
    let bytes = include_bytes!("data/int96.parquet");
    let folder = Folder::new(PARQUET).with("1.parquet", bytes);
    assert_eq!(
        columns(&folder.plan()),
        [("t".to_owned(), "Timestamp(µs)".to_owned())]
    );
    let found: Vec<String> = folder.read().rows.concat();
    assert_eq!(
        found,
        [
            "0001-01-01T00:00:00",
            "1970-01-01T00:00:00",
            "9999-12-31T23:59:59.999999",
            "∅",
            "1969-12-31T23:59:59.999999"
        ]
    );
    // Two nanoseconds more in the last value: nanoseconds of the day, then the day.
    let mut fine = bytes.to_vec();
    let nanos = 86_399_999_999_000_u64.to_le_bytes();
    let at = fine.windows(8).rposition(|bytes| bytes == nanos).unwrap();
    fine[at..at + 8].copy_from_slice(&86_399_999_999_002_u64.to_le_bytes());
    let failure = Folder::new(PARQUET).with("1.parquet", fine).failure();
    assert!(
        failure.starts_with(
            "`1.parquet`: row 5, column `t`: expected Timestamp(µs), found 1969-12-31T23:59:59"
        ),
        "{failure}"
    );
    let declared = Folder::new(&format!("{PARQUET}\nschema.t = \"date\"")).with("1.parquet", bytes);
    let failure = declared.failure();
    assert!(
        failure.contains("row 3, column `t`: expected date"),
        "{failure}"
    );
}

#[test]
fn files_with_types_that_have_a_common_one_are_one_source() {
    let text = |values: &[&str]| array(StringArray::from(values.to_vec()));
    let categories = DictionaryArray::<Int8Type>::from_iter(["c", "d"]);
    let folder = folder_of(
        "",
        &[
            text(&["a"]),
            array(LargeStringArray::from(vec!["b"])),
            array(categories),
            array(StringViewArray::from(vec!["a string too long for a view"])),
        ],
    );
    assert_eq!(columns(&folder.plan())[1].1, "LargeUtf8");
    assert_eq!(
        values(&folder),
        ["a", "b", "c", "d", "a string too long for a view"]
    );

    let folder = folder_of(
        "",
        &[
            array(UInt8Array::from(vec![255])),
            array(Int32Array::from(vec![-1])),
            array(Int64Array::from(vec![i64::MIN])),
        ],
    );
    assert_eq!(columns(&folder.plan())[1].1, "int64");
    assert_eq!(values(&folder), ["255", "-1", "-9223372036854775808"]);

    let bytes = FixedSizeBinaryArray::try_from_iter([b"ab"].into_iter()).unwrap();
    let folder = folder_of(
        "",
        &[array(bytes), array(LargeBinaryArray::from(vec![&b"c"[..]]))],
    );
    assert_eq!(values(&folder), ["6162", "63"]);

    let folder = folder_of(
        "",
        &[
            array(TimestampMillisecondArray::from(vec![-1])),
            array(TimestampNanosecondArray::from(vec![1_000])),
            array(TimestampMicrosecondArray::from(vec![7])),
        ],
    );
    assert_eq!(
        values(&folder),
        [
            "1969-12-31T23:59:59.999",
            "1970-01-01T00:00:00.000001",
            "1970-01-01T00:00:00.000007"
        ]
    );

    let short = ListArray::from_iter_primitive::<Int32Type, _, _>([Some([Some(1), None])]);
    let long =
        arrow::array::LargeListArray::from_iter_primitive::<arrow::datatypes::Int64Type, _, _>([
            Some([Some(2)]),
            None,
        ]);
    let folder = folder_of("", &[array(short), array(long)]);
    assert_eq!(values(&folder), ["[1, ∅]", "[2]", "∅"]);
}

#[test]
fn values_beyond_the_common_type_are_named() {
    let folder = folder_of(
        "",
        &[
            array(TimestampMicrosecondArray::from(vec![0, 0])),
            array(TimestampMillisecondArray::from(vec![0, i64::MAX])),
        ],
    );
    let failure = folder.failure();
    assert!(
        failure.starts_with("`1.parquet`: row 2, column `x`: "),
        "{failure}"
    );
    let folder = folder_of(
        "",
        &[
            array(TimestampMicrosecondArray::from(vec![0])),
            array(TimestampNanosecondArray::from(vec![1_001])),
        ],
    );
    let failure = folder.failure();
    assert!(
        failure.starts_with("`1.parquet`: row 1, column `x`: "),
        "{failure}"
    );
    assert!(
        failure.contains("1970-01-01T00:00:00.000001001"),
        "{failure}"
    );
}

#[test]
fn types_without_a_common_one_are_refused_unless_one_is_declared() {
    let numbers = array(Int64Array::from(vec![7, -8]));
    let text = array(StringArray::from(vec!["9", "-10"]));
    let floats = array(Float64Array::from(vec![0.5, 3.0]));
    let refusal = folder_of("", &[numbers.clone(), text.clone()]).refusal();
    assert!(
        refusal.contains(
            "column `x` is int64 in one and string in the other, and no type holds both exactly"
        ),
        "{refusal}"
    );
    let arrays = [numbers.clone(), text];
    let folder = folder_of("schema.x = \"string\"", &arrays);
    assert_eq!(values(&folder), ["7", "-8", "9", "-10"]);
    let folder = folder_of("schema.x = \"int32\"", &arrays);
    assert_eq!(values(&folder), ["7", "-8", "9", "-10"]);

    let refusal = folder_of("", &[numbers.clone(), floats.clone()]).refusal();
    assert!(refusal.contains("int64 in one and float64"), "{refusal}");
    let arrays = [numbers, floats];
    let folder = folder_of("schema.x = \"float64\"", &arrays);
    assert_eq!(values(&folder), ["7.0", "-8.0", "0.5", "3.0"]);
    let folder = folder_of("schema.x = \"decimal(5,1)\"", &arrays);
    assert_eq!(values(&folder), ["7.0", "-8.0", "0.5", "3.0"]);
    let failure = folder_of("schema.x = \"int64\"", &arrays).failure();
    assert!(
        failure.starts_with(
            "`1.parquet`: row 1, column `x`: expected int64, found 0.5, which it does not hold exactly"
        ),
        "{failure}"
    );
    let refusal = folder_of("schema.x = \"date\"", &arrays).refusal();
    assert!(
        refusal.contains(
            "key `source.schema.x`: `0.parquet` has the column as int64, which is not read as date"
        ),
        "{refusal}"
    );
}

#[test]
fn declared_types_hold_their_values_exactly_or_fail() {
    let decimals = Decimal256Array::from(vec![i256::from_i128(1230), i256::from_i128(i128::MAX)])
        .with_precision_and_scale(76, 2)
        .unwrap();
    let nulls = Int64Array::from(vec![None, Some(1 << 53), Some((1 << 53) + 1)]);
    let cases: Vec<(&str, ArrayRef, &str)> = vec![
        (
            "decimal(38,2)",
            array(decimals),
            "row 2, column `x`: expected decimal(38,2)",
        ),
        (
            "float64",
            array(nulls),
            "row 3, column `x`: expected float64, found 9007199254740993",
        ),
        (
            "int64",
            array(StringArray::from(vec!["5", "007"])),
            "row 2, column `x`: expected int64, found 007",
        ),
        (
            "uint8",
            array(Int32Array::from(vec![255, 256])),
            "row 2, column `x`: expected uint8, found 256",
        ),
        (
            "string",
            array(LargeBinaryArray::from(vec![&b"ok"[..], b"\xff"])),
            "row 2, column `x`: expected string",
        ),
        (
            "timestamp",
            array(TimestampNanosecondArray::from(vec![5_000, 5_001])),
            "row 2, column `x`: expected timestamp",
        ),
    ];
    for (data_type, x, expected) in cases {
        let folder = folder_of(&format!("schema.x = \"{data_type}\""), &[x]);
        let failure = folder.failure();
        assert!(failure.contains(expected), "{failure}");
    }
    // Rows are counted from the start of the file, over row groups and batches.
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(10_000))
        .build();
    let x = array(Int64Array::from_iter_values(
        (0..30_000).map(|n| n / 29_999 * 300),
    ));
    let bytes = written(vec![("x", x)], properties);
    let schema = "shard_size = 1024\nschema.x = \"int8\"";
    let folder = Folder::new(&format!("{PARQUET}\n{schema}")).with("1.parquet", bytes);
    let failure = folder.failure();
    assert!(failure.contains("row 30000, column `x`"), "{failure}");
}

#[test]
fn columns_are_found_by_name() {
    let (one, two) = (
        array(Int64Array::from(vec![1])),
        array(Int64Array::from(vec![2])),
    );
    let folder = Folder::new(PARQUET)
        .with(
            "0.parquet",
            file(vec![("a", one.clone()), ("b", two.clone())]),
        )
        .with(
            "1.parquet",
            file(vec![("b", one.clone()), ("a", two.clone())]),
        );
    assert_eq!(folder.read().rows, [["1", "2"], ["2", "1"]]);
    // A column that is not in all files is none that a job can read; it may leave it out.
    let more = folder
        .with("2.parquet", file(vec![("a", one.clone())]))
        .with(
            "3.parquet",
            file(vec![("c", two.clone()), ("a", one.clone())]),
        );
    let planned = more.plan();
    assert_eq!(planned.check_alike(&[0]), Ok(()));
    for (at, difference) in [
        (
            1,
            "`0.parquet` and `2.parquet` have different columns: `b` is in the first and not in the second",
        ),
        (
            2,
            "`3.parquet` and `0.parquet` have different columns: `c` is in the first and not in the second",
        ),
    ] {
        let refusal = planned.check_alike(&[0, at]).unwrap_err();
        assert!(refusal.starts_with(difference), "{refusal}");
    }
    let (source, shards) = more.open();
    for shard in shards {
        let mut reader = open_shard(&source, shard, &[0]).unwrap();
        assert_eq!(reader.next().unwrap().unwrap().num_rows(), 1);
        assert!(open_shard(&source, shard, &[1, 2]).is_err());
    }
    let declared = Folder::new(&format!("{PARQUET}\nschema.b = \"int64\""))
        .with("0.parquet", file(vec![("a", one.clone())]))
        .with(
            "1.parquet",
            file(vec![("b", two.clone()), ("a", two.clone())]),
        );
    assert_eq!(declared.read().rows, [["1", "∅"], ["2", "2"]]);
    let typo = Folder::new(&format!("{PARQUET}\nschema.bb = \"int64\"")).with(
        "0.parquet",
        file(vec![("a", one.clone()), ("b", two.clone())]),
    );
    assert!(
        typo.refusal().contains("has no such column"),
        "{}",
        typo.refusal()
    );
    let batch = RecordBatch::try_from_iter([("a", one), ("a", two)]).unwrap();
    let mut twice = vec![];
    let mut writer = ArrowWriter::try_new(&mut twice, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let refusal = Folder::new(PARQUET).with("1.parquet", twice).refusal();
    assert!(
        refusal.contains("not supported: two columns of the name `a`"),
        "{refusal}"
    );
}

#[test]
fn counts_that_lie_are_found() {
    let properties = WriterProperties::builder()
        .set_dictionary_enabled(false)
        .set_statistics_enabled(parquet::file::properties::EnabledStatistics::None)
        .set_writer_version(WriterVersion::PARQUET_2_0)
        .build();
    let good = written(
        vec![("x", array(Int64Array::from_iter_values(0..77)))],
        properties,
    );
    let folder = Folder::new(PARQUET).with("1.parquet", &good);
    let (source, shards) = folder.open();
    let footer = u32::from_le_bytes(good[good.len() - 8..][..4].try_into().unwrap()) as usize;
    let footer = good.len() - 8 - footer..good.len() - 8;
    // Every count of 77 (zigzag: 154) in the footer becomes 76, one at a time and all of them.
    let counts: Vec<usize> = footer
        .filter(|at| good[*at..*at + 2] == [0x9a, 0x01])
        .collect();
    assert!(counts.len() >= 3, "{counts:?}");
    let single = counts.iter().map(|at| vec![*at]);
    for places in single.chain([counts.clone()]) {
        let mut bad = good.clone();
        for at in &places {
            bad[*at] = 0x98;
        }
        folder.damage("1.parquet", &bad);
        for columns in [&[0][..], &[]] {
            let rows = |reader: super::super::ShardReader| {
                reader
                    .map(|batch| batch.map(|batch| batch.num_rows()))
                    .collect::<Result<Vec<_>, _>>()
            };
            let failed = open_shard(&source, shards[0], columns).and_then(rows);
            let message = failed
                .map(|rows| format!("{rows:?}"))
                .unwrap_err()
                .to_string();
            assert!(
                message.contains("`1.parquet`: damaged Parquet file: "),
                "{message}"
            );
        }
    }
}

#[test]
fn a_row_group_without_rows_has_none() {
    let bytes = include_bytes!("data/empty.parquet");
    let folder = Folder::new(PARQUET).with("1.parquet", bytes);
    let (source, shards) = folder.open();
    assert_eq!(shards.len(), 1);
    assert_eq!(
        read(&source, &shards).unwrap().rows,
        Vec::<Vec<String>>::new()
    );
}

#[test]
fn intervals_are_refused_by_name() {
    let days = arrow::datatypes::IntervalDayTime::new(1, 2);
    let folder = folder_of("", &[array(IntervalDayTimeArray::from(vec![days]))]);
    let planned = folder.plan();
    let source = planned
        .source(folder.job().into_spec().source.unwrap())
        .unwrap();
    assert_eq!(source.check_readable(&[0]), Ok(()));
    let refused = source.check_readable(&[0, 1]).unwrap_err();
    assert_eq!(refused, ("x".to_owned(), "intervals of Parquet"));
}

#[test]
fn every_compression_is_read() {
    use parquet::basic::Compression;
    let text = array(StringArray::from_iter_values(
        (0..500).map(|n| format!("row {}", n % 7)),
    ));
    for codec in [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(parquet::basic::GzipLevel::default()),
        Compression::LZ4,
        Compression::LZ4_RAW,
        Compression::ZSTD(parquet::basic::ZstdLevel::default()),
    ] {
        for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
            let properties = WriterProperties::builder()
                .set_compression(codec)
                .set_dictionary_enabled(false)
                .set_writer_version(version)
                .build();
            let bytes = written(vec![("x", text.clone())], properties);
            let found = Folder::new(PARQUET).with("1.parquet", bytes).read().rows;
            assert_eq!(found.len(), 500, "{codec}");
            assert_eq!(found[499], ["row 2"], "{codec}");
        }
    }
}
