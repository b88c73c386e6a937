use arrow::array::RecordBatch;
use proptest::prelude::*;

use super::super::limits::{BATCH_ROWS_MAX, BLOCK_LEN};
use super::super::open_shard;
use super::Folder;

const CSV: &str = "format = \"csv\"\npaths = [\"*.csv\"]";

#[test]
fn separators_and_quotes_are_those_of_the_job_file() {
    let folder = Folder::new(&format!("{CSV}\ndelimiter = \";\"\nquote = \"'\""))
        .with("x.csv", "a;b\n'x;''y';\"z\"\n");
    assert_eq!(folder.read().rows, [["x;'y", "\"z\""]]);
    let folder =
        Folder::new("format = \"tsv\"\npaths = [\"*\"]").with("x.tsv", "a\tb\nx,y\t\"\t\"\n");
    assert_eq!(folder.read().rows, [["x,y", "\t"]]);
}

#[test]
fn null_values_are_what_the_job_file_says() {
    let text = "a,b\n,NA\nNA,\nx.y,xzy\n\"\",x\n";
    let null_values = |list: &str| {
        let folder = Folder::new(&format!("{CSV}\nnull_values = {list}\n")).with("x.csv", text);
        folder
            .read()
            .rows
            .iter()
            .map(|row| row.join("|"))
            .collect::<Vec<_>>()
    };
    assert_eq!(null_values("[\"\"]"), ["∅|NA", "NA|∅", "x.y|xzy", "∅|x"]);
    assert_eq!(
        null_values("[\"\", \"NA\"]"),
        ["∅|∅", "∅|∅", "x.y|xzy", "∅|x"]
    );
    assert_eq!(null_values("[\"x.y\"]"), ["|NA", "NA|", "∅|xzy", "|x"]);
    assert_eq!(null_values("[]"), ["|NA", "NA|", "x.y|xzy", "|x"]);
}

#[test]
fn byte_order_marks_crlf_and_blank_lines_are_passed_over() {
    let folder = Folder::new(CSV).with("x.csv", "\u{feff}\r\na,b\r\n\r\n1,2\r\n\n\r\n3,4");
    assert_eq!(folder.read().rows, [["1", "2"], ["3", "4"]]);
    // Only the first bytes of a file are a mark; elsewhere they are part of a value.
    let folder = Folder::new(&format!("{CSV}\nshard_size = 1024")).with(
        "x.csv",
        format!("a\n{}", "\u{feff}0123456789\n".repeat(200)),
    );
    assert!(
        folder
            .read()
            .rows
            .iter()
            .all(|row| row[0] == "\u{feff}0123456789")
    );
}

#[test]
fn only_the_columns_asked_for_are_read() {
    let folder = Folder::new(CSV).with("x.csv", "a,b,c\n1,2,3\n4,5,6\n");
    let (source, shards) = folder.open();
    let read = |columns: &[usize]| {
        let reader = open_shard(&source, shards[0], columns).unwrap();
        reader.collect::<Result<Vec<RecordBatch>, _>>().unwrap()
    };
    assert_eq!(super::shown(&read(&[2, 0])[0]), [["3", "1"], ["6", "4"]]);
    let none = read(&[]);
    assert_eq!((none[0].num_columns(), none[0].num_rows()), (0, 2));
    assert!(open_shard(&source, shards[0], &[3]).is_err());
}

#[test]
fn batches_are_bounded_however_short_the_rows_are() {
    let rows = BLOCK_LEN / 2;
    let folder = Folder::new(CSV).with("x.csv", format!("a\n{}", "7\n".repeat(rows)));
    let (source, shards) = folder.open();
    let reader = open_shard(&source, shards[0], &[0]).unwrap();
    let sizes: Vec<usize> = reader.map(|batch| batch.unwrap().num_rows()).collect();
    assert!(
        sizes.iter().all(|size| *size <= BATCH_ROWS_MAX),
        "{sizes:?}"
    );
    assert_eq!(sizes.iter().sum::<usize>(), rows);
}

#[test]
fn a_shard_hashes_its_own_bytes() {
    let folder = Folder::new(&format!("{CSV}\nshard_size = 1024"))
        .with("x.csv", format!("a\n{}", "0123456789\n".repeat(200)));
    let (source, shards) = folder.open();
    let text = std::fs::read(folder.path("x.csv")).unwrap();
    for (shard, hash) in shards
        .iter()
        .zip(super::read(&source, &shards).unwrap().hashes)
    {
        let start = usize::try_from(shard.start).unwrap();
        let end = usize::try_from(shard.start + shard.len).unwrap();
        assert_eq!(hash, xxhash_rust::xxh3::xxh3_128(&text[start..end]));
    }
    let mut reader = open_shard(&source, shards[0], &[0]).unwrap();
    assert_eq!(reader.bytes_hash(), None, "not all of it was read");
    reader.next();
    assert_eq!(reader.next().map(|batch| batch.is_ok()), None);
    assert_eq!(reader.bytes_read(), shards[0].len);
}

/// A field as it may stand in a file, and its value.
fn field(newlines: bool) -> impl Strategy<Value = String> {
    let plain = proptest::string::string_regex("[a-zß€ ]{0,12}").unwrap();
    let inside = if newlines {
        "[a-c,\"\r\n€]{0,12}"
    } else {
        "[a-c,\"€]{0,12}"
    };
    let quoted = proptest::string::string_regex(inside).unwrap();
    prop_oneof![
        plain,
        quoted.prop_map(|value| format!("\"{}\"", value.replace('"', "\"\""))),
    ]
}

fn table(newlines: bool) -> impl Strategy<Value = String> {
    let record = proptest::collection::vec(field(newlines), 3);
    let end = proptest::sample::select(vec!["\n", "\r\n", "\n\n"]);
    proptest::collection::vec((record, end), 0..120).prop_map(|records| {
        let lines = records.iter().map(|(fields, end)| fields.join(",") + end);
        lines.fold("a,b,c\n".to_owned(), |text, line| text + &line)
    })
}

/// What an independent parser reads.
fn expected(text: &str) -> Vec<Vec<String>> {
    let mut reader = ::csv::Reader::from_reader(text.as_bytes());
    let value = |value: &str| {
        if value.is_empty() {
            "∅".to_owned()
        } else {
            value.to_owned()
        }
    };
    reader
        .records()
        .map(|record| record.unwrap().iter().map(value).collect())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_cut_gives_the_rows_of_the_whole(
        newlines in any::<bool>(),
        (text, last) in any::<bool>().prop_flat_map(|n| (table(n), any::<bool>())),
        shard_size in 1024_u64..4096,
    ) {
        // A table without newlines in values is legal under both settings.
        let newlines = newlines || expected(&text).iter().flatten().any(|v| v.contains(['\n', '\r']));
        let text = if last { text.trim_end_matches(['\n', '\r']) } else { text.as_str() };
        let schema = "[source.schema]\na = \"string\"\nb = \"string\"\nc = \"string\"";
        let settings = format!("shard_size = {shard_size}\nnewlines_in_values = {newlines}\n{schema}");
        let folder = Folder::new(&format!("{CSV}\n{settings}")).with("x.csv", text);
        prop_assert_eq!(folder.read().rows, expected(text));
    }
}

/// Milliseconds taken for seconds would be moments of the year 55969.
#[test]
fn a_number_beyond_the_years_names_the_unit() {
    let ms = 1_704_067_200_000_i64;
    for format in ["csv", "jsonl"] {
        let text = |value: i64| match format {
            "csv" => format!("a,b\n1,{value}\n"),
            _ => format!("{{\"a\":1,\"b\":{value}}}\n"),
        };
        let of = |declared: &str, value: i64| {
            let settings = format!(
                "format = \"{format}\"\npaths = [\"*\"]\n[source.schema]\nb = \"{declared}\"\n"
            );
            Folder::new(&settings).with("x", text(value))
        };
        for (unit, value) in [
            ("s", ms / 1000),
            ("ms", ms),
            ("us", ms * 1000),
            ("ns", ms * 1_000_000),
        ] {
            let read = of(&format!("timestamp(unit={unit})"), value).read();
            assert_eq!(read.rows[0][1], "2024-01-01T00:00:00Z", "{unit}");
        }
        for (unit, value) in [
            ("s", ms),
            ("s", 253_402_300_800),
            ("s", -62_135_596_801),
            ("ms", ms * 1000),
            ("us", i64::MAX),
            ("ns", ms * 1_000_000 + 1),
        ] {
            let failure = of(&format!("timestamp(unit={unit})"), value).failure();
            let named =
                format!("the unit of the column is `{unit}` since 1970, of the years 1 to 9999");
            assert!(
                failure.contains(&named) && failure.contains(&value.to_string()),
                "{failure}"
            );
        }
        assert_eq!(
            of("timestamp(unit=s)", 253_402_300_799).read().rows[0][1],
            "9999-12-31T23:59:59Z"
        );
        assert_eq!(
            of("timestamp(unit=s)", -62_135_596_800).read().rows[0][1],
            "0001-01-01T00:00:00Z"
        );
        assert_eq!(
            of("date(unit=days)", 19_723).read().rows[0][1],
            "2024-01-01"
        );
        let failure = of("date(unit=days)", ms / 1000).failure();
        assert!(
            failure.contains("the unit of the column is days since 1970"),
            "{failure}"
        );
    }
}
