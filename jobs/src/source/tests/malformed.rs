use std::fmt::Write;

use proptest::prelude::*;

use super::super::limits::{BLOCK_LEN, RECORD_LEN_MAX};
use super::super::{SourceError, open_shard};
use super::{Folder, gzip, read};

const CSV: &str = "format = \"csv\"\npaths = [\"*.csv\"]";

#[test]
fn messages_name_file_line_column_byte_and_what_was_expected() {
    let schema = "[source.schema]\na = \"int64\"\nb = \"string\"\nc = \"float64\"";
    let cases: &[(&str, &[u8], &str)] = &[
        (
            "",
            b"a,b,c\n1,x,1.5\nabc,y,2\n",
            "`x.csv`: line 3, column 1 (`a`), byte 14: expected int64, found `abc`",
        ),
        (
            "",
            b"a,b,c\n1,x,1.5\n2,\"y\",1.2.3\n",
            "`x.csv`: line 3, column 3 (`c`), byte 20: expected float64, found `1.2.3` (the record begins \
             at byte 14)",
        ),
        (
            "",
            b"a,b,c\n1,x\n",
            "`x.csv`: line 2, column 3 (`c`), byte 9: expected 3 fields, found 2 (the record begins at byte \
             6)",
        ),
        (
            "",
            b"a,b,c\r\n\r\n1,x,2,3,4\r\n",
            "`x.csv`: line 3, column 4, byte 15: expected 3 fields, found 5 (the record begins at byte 9)",
        ),
        (
            "",
            b"a,b,c\n1,x\xffy,2\n",
            "`x.csv`: line 2, column 2 (`b`), byte 9: expected UTF-8, found byte 0xff (the record begins at \
             byte 6)",
        ),
        (
            "",
            b"a,b,c\n1,\"x\ny\",2\n3,z,4\n",
            "`x.csv`: line 2, column 2 (`b`), byte 8: expected the quote that begins this value to be \
             closed; values with newlines need `newlines_in_values = true` (the record begins at byte 6)",
        ),
        (
            "",
            b"a,b,c\n1,x,\"2",
            "`x.csv`: line 2, column 3 (`c`), byte 10: expected the quote that begins this value to be \
             closed; values with newlines need `newlines_in_values = true` (the record begins at byte 6)",
        ),
        (
            "newlines_in_values = true",
            b"a,b,c\n1,\"x\n\",2\n3,\"y\n,4\n5,z,6\n",
            "`x.csv`: line 4, column 2 (`b`), byte 17: expected the quote that begins this value to be \
             closed (the record begins at byte 15)",
        ),
        (
            "newlines_in_values = true",
            b"a,b,c\n1,\"x\n\",two\n",
            "`x.csv`: line 3, column 3 (`c`), byte 13: expected float64, found `two` (the record begins at \
             byte 6)",
        ),
        (
            "",
            b"a,b,c\n1,x,\"a\tb\"\n",
            "`x.csv`: line 2, column 3 (`c`), byte 10: expected float64, found `a\\tb` (the record begins \
             at byte 6)",
        ),
    ];
    for (settings, text, message) in cases {
        let folder = Folder::new(&format!("{CSV}\n{settings}\n{schema}")).with("x.csv", text);
        assert_eq!(
            folder.failure(),
            *message,
            "{}",
            String::from_utf8_lossy(text)
        );
        let zipped = Folder::new(&format!(
            "format = \"csv\"\npaths = [\"*.gz\"]\n{settings}\n{schema}"
        ))
        .with("x.csv.gz", gzip(text));
        assert_eq!(zipped.failure(), message.replace("x.csv", "x.csv.gz"));
    }
}

#[test]
fn long_values_are_shown_in_part() {
    let folder = Folder::new(&format!("{CSV}\n[source.schema]\na = \"date\""))
        .with("x.csv", format!("a\n{}\n", "é".repeat(1000)));
    let shown = "é".repeat(64);
    assert_eq!(
        folder.failure(),
        format!("`x.csv`: line 2, column 1 (`a`), byte 2: expected date, found `{shown}...`")
    );
}

#[test]
fn a_value_is_malformed_only_where_it_is_wanted() {
    let folder = Folder::new(CSV).with("x.csv", format!("a,b\n{}1,x\n", "1,2\n".repeat(1000)));
    let (source, shards) = folder.open();
    let count = |columns: &[usize]| {
        open_shard(&source, shards[0], columns)
            .unwrap()
            .map(|b| b.map_or(0, |b| b.num_rows()))
            .sum::<usize>()
    };
    assert_eq!(count(&[0]), 1001);
    assert_eq!(count(&[1]), 0);
}

#[test]
fn the_place_is_exact_far_into_a_file_and_in_later_shards() {
    let mut text = "a,b\n".to_owned();
    while text.len() < 3 * BLOCK_LEN {
        let line = text.len();
        writeln!(text, "{line},some words to fill the line").unwrap();
    }
    let lines = text.lines().count();
    let byte = text.len();
    text.push_str("oops,x\n");
    for shard_size in ["64KiB", "1GiB"] {
        let folder =
            Folder::new(&format!("{CSV}\nshard_size = \"{shard_size}\"")).with("x.csv", &text);
        let (source, shards) = folder.open();
        let (last, before) = shards.split_last().unwrap();
        read(&source, before).unwrap();
        let Err(SourceError::Malformed(found)) = read(&source, &[*last]) else {
            panic!("it was read")
        };
        assert_eq!((found.offset, found.line), (byte as u64, lines as u64 + 1));
        assert_eq!(
            found.message,
            "expected int64, found `oops`; int64 is what the first rows have: add `a = \"string\"` to \
             [source.schema]"
        );
    }
}

#[test]
fn after_an_error_there_is_nothing_more() {
    let folder = Folder::new(CSV)
        .with("x.csv", "a\n1\n")
        .with("y.csv", "a\n1\n2,3\n");
    let (source, shards) = folder.open();
    let mut reader = open_shard(&source, shards[1], &[0]).unwrap();
    assert!(reader.next().unwrap().is_err());
    assert!(reader.next().is_none());
    assert_eq!(reader.bytes_hash(), None);
    // The other shard is as good as ever.
    assert_eq!(read(&source, &shards[..1]).unwrap().rows, [["1"]]);
}

#[test]
fn skipping_keeps_every_good_row() {
    let text = b"a,b\n1,x\nbad,x\n2,x\n3\n4,x,y\n5,\xff\n6,\"x\n7,x\n\n8,\"x\"\"\"\n9,\"open";
    let folder = Folder::new(&format!(
        "{CSV}\non_error = \"skip\"\n[source.schema]\na = \"int64\""
    ))
    .with("x.csv", text);
    let found = folder.read();
    let kept: Vec<_> = found.rows.iter().map(|row| row.join("|")).collect();
    assert_eq!(kept, ["1|x", "2|x", "7|x", "8|x\""]);
    assert_eq!(found.skipped, 6);
}

#[test]
fn skipping_an_open_quote_takes_its_line_only() {
    let text = "a,b\n1,\"x\ny\"\n2,\"open\n3,z\n4,z\n";
    let folder = Folder::new(&format!(
        "{CSV}\non_error = \"skip\"\nnewlines_in_values = true"
    ))
    .with("x.csv", text);
    let found = folder.read();
    let kept: Vec<_> = found.rows.iter().map(|row| row.join("|")).collect();
    assert_eq!(kept, ["1|x\ny", "3|z", "4|z"]);
    assert_eq!(found.skipped, 1);
}

#[test]
fn records_are_bounded() {
    let long = |len: usize| {
        let folder = Folder::new(&format!(
            "{CSV}\nshard_size = \"1GiB\"\n[source.schema]\na = \"string\""
        ));
        folder.with("x.csv", format!("a\ns\n{}\n", "x".repeat(len)))
    };
    assert_eq!(long(RECORD_LEN_MAX - 1).read().rows.len(), 2);
    assert_eq!(
        long(RECORD_LEN_MAX + 1).failure(),
        format!("`x.csv`: line 3, byte 4: no end of record within {RECORD_LEN_MAX} bytes")
    );
    let text = format!(
        "a,b\n1,2\n3,\"x\n{}",
        "4,5\n".repeat(RECORD_LEN_MAX / 4 + 1)
    );
    let folder = Folder::new(&format!("{CSV}\nnewlines_in_values = true")).with("x.csv", text);
    assert_eq!(
        folder.failure(),
        format!(
            "`x.csv`: line 3, byte 10: a quote that is not closed within {RECORD_LEN_MAX} bytes (the record \
             begins at byte 8)"
        )
    );
}

#[test]
fn records_that_are_too_long_are_skipped_like_any_other() {
    let settings = format!(
        "{CSV}\nshard_size = \"1GiB\"\non_error = \"skip\"\n[source.schema]\na = \"string\""
    );
    for (len, skipped) in [
        (RECORD_LEN_MAX - 1, 0),
        (RECORD_LEN_MAX + 1, 1),
        (2 * RECORD_LEN_MAX + 7, 1),
    ] {
        let long = "x".repeat(len);
        for (text, kept) in [
            (format!("a\nfirst\n{long}\nlast\n"), vec!["first", "last"]),
            (format!("a\nfirst\n{long}"), vec!["first"]),
            (format!("a\n{long}\n{long}\nlast"), vec!["last"]),
        ] {
            let count = text.matches(&long).count() as u64;
            let found = Folder::new(&settings).with("x.csv", text).read();
            assert_eq!(found.skipped, skipped * count, "{len}");
            let rows = found.rows.iter().map(|row| row[0].as_str());
            let short: Vec<&str> = rows.filter(|value| value.len() < 9).collect();
            assert_eq!(short, kept, "{len}");
        }
    }
}

#[test]
fn skipping_a_quote_that_is_open_for_too_long_takes_its_line_only() {
    let rows = RECORD_LEN_MAX / 4 + 1;
    let text = format!("a,b\n1,2\n3,\"x\n{}", "4,5\n".repeat(rows));
    let folder = Folder::new(&format!(
        "{CSV}\nshard_size = \"1GiB\"\nnewlines_in_values = true\non_error = \"skip\""
    ))
    .with("x.csv", text);
    let (source, shards) = folder.open();
    let mut reader = open_shard(&source, shards[0], &[0, 1]).unwrap();
    let read = reader.by_ref().map(|batch| batch.unwrap().num_rows());
    assert_eq!(read.sum::<usize>(), rows + 1);
    assert_eq!(reader.rows_skipped(), 1);
}

/// A line, and whether it is a record of an integer and a string.
fn line() -> impl Strategy<Value = (String, bool)> {
    prop_oneof![
        3 => (0..1000_i32, "[a-z]{0,5}").prop_map(|(n, s)| (format!("{n},{s}"), true)),
        1 => proptest::sample::select(vec!["x,y", "1", "1,2,3", "2,\"open", "\"1", "9x,"])
            .prop_map(|line| (line.to_owned(), false)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn skipping_is_the_same_wherever_the_cuts_are(
        lines in proptest::collection::vec(line(), 1..300),
        shard_size in 1024_u64..2048,
    ) {
        let text = lines.iter().fold("a,b\n".to_owned(), |text, (line, _)| text + line + "\n");
        let schema = "[source.schema]\na = \"int64\"\nb = \"string\"";
        let folder = Folder::new(&format!("{CSV}\non_error = \"skip\"\nshard_size = {shard_size}\n{schema}"))
            .with("x.csv", text);
        let found = folder.read();
        let good: Vec<String> = lines.iter().filter(|(_, good)| *good).map(|(line, _)| line.clone()).collect();
        let kept: Vec<String> = found.rows.iter().map(|row| row.join(",").replace('∅', "")).collect();
        prop_assert_eq!(&kept, &good);
        prop_assert_eq!(usize::try_from(found.skipped).unwrap(), lines.len() - good.len());
    }
}
