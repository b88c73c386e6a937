use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::open_shard;
use super::{Folder, columns};

const JSONL: &str = "format = \"jsonl\"\npaths = [\"*.jsonl\"]";

#[test]
fn types_are_those_of_the_first_rows() {
    let folder = Folder::new(JSONL).with(
        "x.jsonl",
        "{\"z\":1,\"f\":1,\"b\":true,\"s\":\"x\",\"t\":\"2013-01-01T10:00:00+01:00\",\"d\":\"2013-01-01\",\
         \"big\":18446744073709551615,\"l\":[1,2],\"o\":{\"k\":1},\"m\":1}\n\
         {\"z\":-2,\"f\":1.5,\"m\":\"x\",\"late\":null,\"big\":7}\n",
    );
    let found = columns(&folder.plan());
    let found: Vec<_> = found
        .iter()
        .map(|(n, t)| (n.as_str(), t.as_str()))
        .collect();
    assert_eq!(
        found,
        [
            ("z", "int64"),
            ("f", "float64"),
            ("b", "bool"),
            ("s", "string"),
            ("t", "timestamp"),
            ("d", "date"),
            ("big", "uint64"),
            ("l", "List(Int64)"),
            ("o", "Struct(\"k\": Int64)"),
            ("m", "string"),
            ("late", "string"),
        ]
    );
    let rows = folder.read().rows;
    assert_eq!(
        rows[0],
        [
            "1",
            "1.0",
            "true",
            "x",
            "2013-01-01T09:00:00Z",
            "2013-01-01",
            "18446744073709551615",
            "[1, 2]",
            "{k: 1}",
            "1",
            "∅"
        ]
    );
    assert_eq!(
        rows[1],
        ["-2", "1.5", "∅", "∅", "∅", "∅", "7", "∅", "∅", "x", "∅"]
    );
}

#[test]
fn declared_columns_need_not_be_in_the_first_rows() {
    let folder = Folder::new(&format!(
        "{JSONL}\n[source.schema]\nrare = \"decimal(6,2)\"\na = \"float64\""
    ))
    .with("x.jsonl", "{\"a\":1}\n\n{\"a\":2,\"rare\":1.25}");
    assert_eq!(folder.read().rows, [["1.0", "∅"], ["2.0", "1.25"]]);
}

#[test]
fn columns_can_be_left_out() {
    let folder = Folder::new(JSONL).with("x.jsonl", "{\"a\":1,\"b\":\"x\"}\n{\"a\":2}\n");
    let (source, shards) = folder.open();
    let batches = |columns: &[usize]| {
        open_shard(&source, shards[0], columns)
            .unwrap()
            .collect::<Result<Vec<_>, _>>()
            .unwrap()
    };
    assert_eq!(super::shown(&batches(&[1, 0])[0]), [["x", "1"], ["∅", "2"]]);
    assert_eq!(batches(&[])[0].num_rows(), 2);
}

#[test]
fn messages_name_file_line_column_byte_and_what_was_expected() {
    let schema = "[source.schema]\na = \"int64\"\nb = \"bool\"\nc = \"string\"";
    let cases: &[(&str, &str)] = &[
        (
            "{\"a\":1}\n{\"a\":1.5}\n",
            "`x.jsonl`: line 2, column 6 (`a`), byte 13: expected int64, found `1.5` (the record begins at \
             byte 8)",
        ),
        (
            "{\"a\":1}\n{\"a\": 1e3}\n",
            "`x.jsonl`: line 2, column 7 (`a`), byte 14: expected int64, found `1e3` (the record begins at \
             byte 8)",
        ),
        (
            "{\"a\":9223372036854775808}\n",
            "`x.jsonl`: line 1, column 6 (`a`), byte 5: expected int64, found `9223372036854775808` (the \
             record begins at byte 0)",
        ),
        (
            "{\"a\":\"x\"}\n",
            "`x.jsonl`: line 1, column 6 (`a`), byte 5: expected int64, found `\\\"x\\\"` (the record begins \
             at byte 0)",
        ),
        (
            "{\"a\":1,\"b\":2}\n",
            "`x.jsonl`: line 1, column 12 (`b`), byte 11: expected bool, found `2` (the record begins at \
             byte 0)",
        ),
        (
            "{\"c\":{\"k\":1}}\n",
            "`x.jsonl`: line 1, column 6 (`c`), byte 5: expected string, found `{\\\"k\\\":1}`; `c = \"json\"` takes \
             any value (the record begins at byte 0)",
        ),
        (
            "{\"a\":1}\n{\"a\":}\n",
            "`x.jsonl`: line 2, column 6, byte 13: expected one JSON object a line: expected value (the \
             record begins at byte 8)",
        ),
        (
            "{\"a\":1}\n[1]\n",
            "`x.jsonl`: line 2, column 1, byte 8: expected one JSON object a line: invalid type: sequence, \
             expected a JSON object",
        ),
        (
            "{\"a\":1} {\"a\":2}\n",
            "`x.jsonl`: line 1, column 9, byte 8: expected one JSON object a line: trailing characters (the \
             record begins at byte 0)",
        ),
        (
            "{\"a\":\n1}\n",
            "`x.jsonl`: line 1, column 5, byte 4: expected one JSON object a line: EOF while parsing a \
             value (the record begins at byte 0)",
        ),
    ];
    for (text, message) in cases {
        let folder = Folder::new(&format!("{JSONL}\n{schema}")).with("x.jsonl", text);
        assert_eq!(folder.failure(), *message, "{text}");
    }
    let folder = Folder::new(&format!("{JSONL}\n{schema}"))
        .with("x.jsonl", b"{\"a\":1}\n{\"c\":\"\xff\"}\n");
    assert_eq!(
        folder.failure(),
        "`x.jsonl`: line 2, column 7, byte 14: expected UTF-8, found byte 0xff (the record begins at byte 8)"
    );
}

#[test]
fn skipping_keeps_every_good_row() {
    let text = b"{\"a\":1}\nnull\n{\"a\":2}\n{\"a\":2.5}\n{\"a\"\n:3}\n{\"a\":4}{\"a\":5}\n{\"a\":\"\xff\"}\n{}\n{\"a\":6}";
    let folder = Folder::new(&format!(
        "{JSONL}\non_error = \"skip\"\n[source.schema]\na = \"int64\""
    ))
    .with("x.jsonl", text);
    let found = folder.read();
    assert_eq!(found.rows, [["1"], ["2"], ["∅"], ["6"]]);
    assert_eq!(found.skipped, 6);
}

fn object() -> impl Strategy<Value = Value> {
    let text = "[a-z\"\\\\\n\r€\u{0}]{0,10}";
    (
        any::<Option<i64>>(),
        proptest::option::of(text),
        any::<Option<bool>>(),
        any::<bool>(),
    )
        .prop_map(|(a, b, c, whole)| {
            if whole {
                json!({ "a": a, "b": b, "c": c, "other": [1, { "a": "x" }] })
            } else {
                json!({ "b": b })
            }
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_cut_gives_the_rows_of_the_whole(
        objects in proptest::collection::vec(object(), 1..100),
        end in proptest::sample::select(vec!["\n", "\r\n", "\n \n"]),
        shard_size in 1024_u64..2048,
    ) {
        let text = objects.iter().fold(String::new(), |text, object| text + &object.to_string() + end);
        let schema = "[source.schema]\na = \"int64\"\nb = \"string\"\nc = \"bool\"";
        let folder = Folder::new(&format!("{JSONL}\nshard_size = {shard_size}\n{schema}"))
            .with("x.jsonl", text);
        let names: Vec<String> = columns(&folder.plan()).into_iter().map(|(name, _)| name).collect();
        let wanted = ["a", "b", "c"].map(|name| names.iter().position(|n| n == name).unwrap());
        let (source, shards) = folder.open();
        let mut found = vec![];
        for shard in shards {
            for batch in open_shard(&source, shard, &wanted).unwrap() {
                found.extend(super::shown(&batch.unwrap()));
            }
        }
        let shown = |value: Option<&Value>| match value {
            None | Some(Value::Null) => "∅".to_owned(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
        let row = |object: &Value| ["a", "b", "c"].map(|name| shown(object.get(name))).to_vec();
        let expected: Vec<Vec<String>> = objects.iter().map(row).collect();
        prop_assert_eq!(found, expected);
    }
}
