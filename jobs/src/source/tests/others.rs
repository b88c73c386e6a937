//! Parquet and ranges.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;

use super::super::open_shard;
use super::{Folder, columns, read, shown};

const PARQUET: &str = "format = \"parquet\"\npaths = [\"*.parquet\"]";

fn batch(from: i64, to: i64) -> RecordBatch {
    let a: ArrayRef = Arc::new(Int64Array::from_iter_values(from..to));
    let b: ArrayRef = Arc::new(
        (from..to)
            .map(|i| (i % 3 != 0).then(|| format!("row {i}")))
            .collect::<StringArray>(),
    );
    RecordBatch::try_from_iter([("a", a), ("b", b)]).unwrap()
}

fn parquet(batch: &RecordBatch, group_rows: usize) -> Vec<u8> {
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(group_rows))
        .build();
    let mut bytes = vec![];
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
    bytes
}

#[test]
fn row_groups_are_shards() {
    let folder = Folder::new(&format!("{PARQUET}\nshard_size = 1024"))
        .with("1.parquet", parquet(&batch(0, 1000), 100))
        .with("2.parquet", parquet(&batch(1000, 1001), 100))
        .with("3.parquet", parquet(&batch(0, 0), 100));
    assert_eq!(
        columns(&folder.plan()),
        [("a".into(), "int64".into()), ("b".into(), "string".into())]
    );
    let (source, shards) = folder.open();
    assert!(shards.len() > 5, "{shards:?}");
    assert_eq!(
        shards
            .iter()
            .filter(|s| s.file == 0)
            .map(|s| s.len)
            .sum::<u64>(),
        10
    );
    let found = read(&source, &shards).unwrap();
    assert_eq!(found.rows, shown(&batch(0, 1001)));
    let whole = Folder::new(PARQUET).with("1.parquet", parquet(&batch(0, 1000), 100));
    assert_eq!(whole.open().1.len(), 1);
}

#[test]
fn columns_come_in_the_order_asked_for_and_the_hash_covers_all() {
    let folder = Folder::new(PARQUET).with("1.parquet", parquet(&batch(1, 3), 100));
    let (source, shards) = folder.open();
    let mut hashes = vec![];
    for (columns, expected) in [
        (vec![1, 0], "row 1|1,row 2|2"),
        (vec![0], "1,2"),
        (vec![], ","),
    ] {
        let mut reader = open_shard(&source, shards[0], &columns).unwrap();
        let batch = reader.next().unwrap().unwrap();
        assert_eq!(batch.num_rows(), 2);
        let rows: Vec<_> = shown(&batch).iter().map(|row| row.join("|")).collect();
        assert_eq!(rows.join(","), expected);
        assert!(reader.next().is_none());
        hashes.push(reader.bytes_hash());
    }
    assert!(hashes[0].is_some() && hashes.iter().all(|hash| *hash == hashes[0]));
}

#[test]
fn columns_without_a_common_type_can_only_be_left_out() {
    let text: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
    let other = RecordBatch::try_from_iter([("a", text.clone()), ("b", text)]).unwrap();
    let folder = Folder::new(PARQUET)
        .with("1.parquet", parquet(&batch(0, 1), 9))
        .with("2.parquet", parquet(&other, 9));
    let planned = folder.plan();
    assert_eq!(planned.check_alike(&[1]), Ok(()));
    assert_eq!(
        planned.check_alike(&[0, 1]).unwrap_err(),
        "`1.parquet` and `2.parquet` have different columns: column `a` is int64 in one and string in the other, and no \
         type holds both exactly; expected the same in every file, or one type in [source.schema]"
    );
}

#[test]
fn damaged_files_are_errors_that_name_the_file() {
    let good = parquet(&batch(0, 1000), 100);
    for (bytes, expected) in [
        (
            &good[..good.len() / 2],
            "damaged Parquet file: it has no footer",
        ),
        (b"PAR1", "damaged Parquet file: it has no footer"),
        (b"", "expected a Parquet file, found an empty file"),
        (
            &[b'x'; 100],
            "expected a Parquet file, found something else",
        ),
        (
            b"PAR1\xff\xff\xff\x7fPAR1",
            "damaged Parquet file: its footer is said to have",
        ),
    ] {
        let refusal = Folder::new(PARQUET).with("1.parquet", bytes).refusal();
        let expected = format!("`1.parquet`: {expected}");
        assert!(refusal.contains(&expected), "{refusal}");
    }
    // Every byte of the file in turn is wrong: an error or other values, never a panic.
    let folder = Folder::new(PARQUET).with("1.parquet", &good);
    let (source, shards) = folder.open();
    let mut failed = 0;
    for at in (0..good.len()).step_by(41) {
        let mut bad = good.clone();
        bad[at] ^= 0xff;
        folder.damage("1.parquet", &bad);
        failed += usize::from(read(&source, &shards).is_err());
    }
    assert!(failed > 0, "no damage was found");
}

#[test]
fn ranges_reach_their_edges() {
    let (min, max) = (i64::MIN, i64::MAX);
    let folder = Folder::new(&format!(
        "format = \"range\"\nfrom = {}\nto = {max}\nshard_len = 2",
        max - 3
    ));
    let found = folder.read().rows;
    assert_eq!(
        found,
        [
            [(max - 3).to_string()],
            [(max - 2).to_string()],
            [(max - 1).to_string()]
        ]
    );
    let folder = Folder::new(&format!(
        "format = \"range\"\nfrom = {min}\nto = {min}\nshard_len = 2"
    ));
    assert_eq!(folder.plan().plan.shards, 0);
    let folder = Folder::new(&format!(
        "format = \"range\"\nfrom = {min}\nto = {max}\nshard_len = 2"
    ));
    assert!(folder.refusal().starts_with(
        "job.toml:6: key `source.shard_len`: a job has at most 4194304 shards, found 9223372036854775808"
    ));
}
