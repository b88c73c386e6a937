use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::DataType;
use parquet::arrow::ArrowWriter;

use super::{Folder, gzip, plan, read};
use crate::source::{KeptHash, content_hash, open_shard};

const CSV: &str =
    "format = \"csv\"\npaths = [\"t/**/*.csv*\"]\nhive_partitions = true\nshard_size = 1024";

fn folder(source: &str) -> Folder {
    Folder::new(source)
        .with("t/year=2013/month=1/a.csv", "x,y\n1,a\n2,b\n")
        .with("t/year=2013/month=2/a.csv.gz", gzip(b"x,y\n3,c\n"))
        .with(
            "t/year=__HIVE_DEFAULT_PARTITION__/month=12/b.csv",
            "x,y\n4,d\n",
        )
}

#[test]
fn folders_are_the_last_columns() {
    let folder = folder(CSV);
    let (source, shards) = folder.open();
    let names: Vec<&str> = source.fields().iter().map(|f| f.name.as_str()).collect();
    assert_eq!(names, ["x", "y", "year", "month"]);
    let types: Vec<&DataType> = source
        .schema()
        .fields()
        .iter()
        .map(|f| f.data_type())
        .collect();
    assert_eq!(types[2..], [&DataType::Int64, &DataType::Int64]);
    let expected = [
        ["1", "a", "2013", "1"],
        ["2", "b", "2013", "1"],
        ["3", "c", "2013", "2"],
        ["4", "d", "∅", "12"],
    ];
    assert_eq!(read(&source, &shards).unwrap().rows, expected);
    // Any of the columns, in any order, and none of the file's.
    for columns in [vec![3, 0], vec![2], vec![1, 3, 2, 0], vec![]] {
        let mut rows = 0;
        for shard in &shards {
            for batch in open_shard(&source, *shard, &columns).unwrap() {
                let batch = batch.unwrap();
                rows += batch.num_rows();
                let names: Vec<&str> = columns.iter().map(|at| names[*at]).collect();
                let schema = batch.schema();
                let found: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
                assert_eq!(found, names);
            }
        }
        assert_eq!(rows, 4, "{columns:?}");
    }
}

#[test]
fn a_malformed_row_is_named_as_without_folders() {
    let declared = format!("{CSV}\nschema = {{ x = \"int64\" }}");
    let folder = Folder::new(&declared)
        .with("t/k=a/a.csv", "x\n1\n2\n")
        .with("t/k=b/b.csv", "x\n1\nz\n");
    let failure = folder.failure();
    assert!(failure.contains("`t/k=b/b.csv`"), "{failure}");
    assert!(failure.contains("line 3"), "{failure}");
    let skipping = Folder::new(&format!("{declared}\non_error = \"skip\""))
        .with("t/k=a/a.csv", "x\n1\n2\n")
        .with("t/k=b/b.csv", "x\n1\nz\n");
    let found = skipping.read();
    assert_eq!(found.rows, [["1", "a"], ["2", "a"], ["1", "b"]]);
    assert_eq!(found.skipped, 1);
}

#[test]
fn types_are_declared_or_inferred_from_all_files() {
    let declared = |schema: &str| folder(&format!("{CSV}\nschema = {{ {schema} }}"));
    let text = declared("month = \"string\", x = \"float64\"").read();
    assert_eq!(text.rows[0], ["1.0", "a", "2013", "1"]);
    let (source, _) = declared("month = \"int8\"").open();
    assert_eq!(source.schema().field(3).data_type(), &DataType::Int8);
    for (schema, told) in [
        (
            "month = \"bool\"",
            "column `month`: expected bool, found `2`",
        ),
        ("month = \"decimal(3,1)\"", "expected a type of folders"),
        ("week = \"int64\"", "no such column"),
    ] {
        let refusal = declared(schema).refusal();
        assert!(refusal.contains(told), "{schema}: {refusal}");
    }
    let days = Folder::new(CSV)
        .with("t/day=2013-01-01/a.csv", "x\n1\n")
        .with("t/day=2013-12-31/a.csv", "x\n1\n");
    assert_eq!(
        days.open().0.schema().field(1).data_type(),
        &DataType::Date32
    );
    let padded = Folder::new(CSV).with("t/m=01/a.csv", "x\n1\n").read();
    assert_eq!(padded.rows, [["1", "01"]]);
}

#[test]
fn folders_that_are_no_columns_are_refused() {
    for (files, told) in [
        (
            &["t/a.csv"][..],
            "`t/a.csv`: expected a folder `name=value` in its path",
        ),
        (
            &["t/a=1/a.csv", "t/b=1/a.csv"],
            "`t/b=1/a.csv`: its folders are the columns b, those of `t/a=1/a.csv` are a",
        ),
        (&["t/a=1/a.csv", "t/a=1/b=1/a.csv"], "are the columns a, b"),
        (&["t/a=1/a=2/a.csv"], "two folders are the column `a`"),
        (&["t/x=1/a.csv"], "the column `x` is in the files, too"),
        (&["t/a=%ff/a.csv"], "no UTF-8"),
    ] {
        let folder = files
            .iter()
            .fold(Folder::new(CSV), |folder, name| folder.with(name, "x\n1\n"));
        let refusal = folder.refusal();
        assert!(refusal.contains(told), "{files:?}: {refusal}");
        assert!(refusal.contains("hive_partitions"), "{refusal}");
    }
    // Without the key a folder is a name as any other.
    let plain = CSV.replace("hive_partitions = true\n", "");
    let found = Folder::new(&plain).with("t/x=1/a.csv", "x\n1\n").read();
    assert_eq!(found.rows, [["1"]]);
    let range =
        Folder::new("format = \"range\"\nfrom = 0\nto = 1\nshard_len = 1\nhive_partitions = true");
    assert!(
        crate::spec::JobFile::parse(
            Path::new("j.toml"),
            &format!(
                "name = \"j\"\n[source]\n{}\n[upsert]\nstore = \"s\"\nkey = [\"i\"]",
                range.source
            )
        )
        .unwrap_err()
        .to_string()
        .contains("hive_partitions")
    );
}

#[test]
fn parquet_and_json_lines_have_folders_too() {
    let parquet = |values: &[i64]| {
        let column: ArrayRef = Arc::new(Int64Array::from(values.to_vec()));
        let batch = RecordBatch::try_from_iter([("x", column)]).unwrap();
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        bytes
    };
    let of = |format: &str| {
        format!("format = \"{format}\"\npaths = [\"t/**/*.{format}\"]\nhive_partitions = true")
    };
    let found = Folder::new(&of("parquet"))
        .with("t/k=1/a.parquet", parquet(&[1, 2]))
        .with("t/k=2/a.parquet", parquet(&[3]))
        .read();
    assert_eq!(found.rows, [["1", "1"], ["2", "1"], ["3", "2"]]);
    let found = Folder::new(&format!("{}\nverify = \"content\"", of("jsonl")))
        .with("t/k=S%C3%A3o/a.jsonl", "{\"x\":1}\n")
        .with("t/k=b/a.jsonl", "{\"x\":2}\n")
        .read();
    assert_eq!(found.rows, [["1", "São"], ["2", "b"]]);
}

/// A job that is retried finds the shards of a mended file, as without folders.
#[test]
fn a_mended_file_keeps_its_folders() {
    let folder = Folder::new(&format!("{CSV}\nschema = {{ x = \"int64\" }}"))
        .with("t/k=a/a.csv", "x\n1\n2\n")
        .with("t/k=b/b.csv", "x\n1\nz\n");
    let (source, shards) = folder.open();
    assert_eq!(shards.len(), 2);
    let first = read(&source, &shards[..1]).unwrap();
    let folder = folder.with("t/k=b/b.csv", "x\n1\n3\n");
    let hash = first.hashes[0];
    let mended = crate::source::mend(&source, &shards, |shard| {
        (shard == 0).then(|| KeptHash::new(content_hash(hash), 64))
    });
    let mended = mended.unwrap();
    let planned = plan(&folder.job()).unwrap();
    assert_eq!(mended.plan.schema, planned.plan.schema);
    let source = mended
        .source(folder.job().into_spec().source.unwrap())
        .unwrap();
    let rows = read(&source, &mended.shards().unwrap()).unwrap().rows;
    assert_eq!(rows, [["1", "a"], ["2", "a"], ["1", "b"], ["3", "b"]]);
}
