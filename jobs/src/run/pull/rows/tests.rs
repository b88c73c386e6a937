use std::io::Write as _;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow::ipc::writer::StreamWriter;
use eciton_proto::limits::ROW_LEN_MAX;
use eciton_proto::v1::RowsFormat;

use super::{Decoder, RowsError, Wanted};
use crate::columns::Column;

fn wanted(fields: Vec<Field>) -> Wanted {
    Wanted::new(&Arc::new(Schema::new(fields)))
}

/// Decodes bytes that come in pieces of some length; the batches, or why not.
fn decoded(
    wanted: &Wanted,
    format: RowsFormat,
    bytes: &[u8],
    piece: usize,
) -> Result<Vec<RecordBatch>, String> {
    let mut decoder = Decoder::new(format);
    let mut batches = Vec::new();
    let mut push = |batch| {
        batches.push(batch);
        Ok(())
    };
    let told = |error| match error {
        RowsError::Invalid(what) => format!("invalid: {what}"),
        RowsError::TooLarge(what) => format!("too large: {what}"),
        RowsError::Other(error) => error.to_string(),
    };
    for piece in bytes.chunks(piece.max(1)) {
        decoder.take(wanted, piece, &mut push).map_err(told)?;
    }
    decoder.end(wanted, &mut push).map_err(told)?;
    Ok(batches)
}

fn lines(wanted: &Wanted, text: &str, piece: usize) -> Result<Vec<RecordBatch>, String> {
    decoded(wanted, RowsFormat::JsonLines, text.as_bytes(), piece)
}

/// The values of a column as JSON.
fn shown(batches: &[RecordBatch], column: usize) -> Vec<String> {
    let mut all = Vec::new();
    for batch in batches {
        let values = Column::read("column", batch.column(column)).unwrap();
        let rows = 0..batch.num_rows();
        all.extend(rows.map(|row| values.datum(row).to_json().to_string()));
    }
    all
}

/// What a column of a type makes of values.
fn of_type(data_type: DataType, values: &[&str]) -> Result<Vec<String>, String> {
    let wanted = wanted(vec![Field::new("x", data_type, true)]);
    let text = values
        .iter()
        .map(|value| format!("{{\"x\":{value}}}\n"))
        .collect::<Vec<_>>()
        .concat();
    lines(&wanted, &text, usize::MAX).map(|batches| shown(&batches, 0))
}

#[test]
fn values_are_those_that_scan_writes() {
    let micros = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let nanos = DataType::Timestamp(TimeUnit::Nanosecond, None);
    for (data_type, values) in [
        (DataType::Boolean, vec!["true", "null", "false"]),
        (DataType::Int8, vec!["-128", "127"]),
        (
            DataType::Int64,
            vec!["-9223372036854775808", "9223372036854775807"],
        ),
        (DataType::UInt64, vec!["0", "18446744073709551615"]),
        (
            DataType::Float64,
            vec!["1.5", r#"{"$f64":"NaN"}"#, r#"{"$f64":"-Inf"}"#],
        ),
        (DataType::Decimal128(5, 2), vec![r#"{"$dec":"-999.99"}"#]),
        (DataType::Utf8View, vec![r#""a\"b\u00e9""#]),
        (DataType::Binary, vec![r#"{"$bytes":"AP8="}"#]),
        (DataType::Date32, vec![r#"{"$date":"1969-12-31"}"#]),
        (micros, vec![r#"{"$ts":"2013-01-01T10:00:00.000001Z"}"#]),
        (nanos, vec![r#"{"$ts":"2013-01-01T10:00:00Z"}"#]),
        (DataType::Null, vec!["null"]),
    ] {
        let expected = values.iter().map(|value| value.replace("\\u00e9", "é"));
        let expected: Vec<String> = expected.collect();
        assert_eq!(
            of_type(data_type.clone(), &values),
            Ok(expected),
            "{data_type}"
        );
    }
    assert_eq!(of_type(DataType::Float64, &["3"]).unwrap(), ["3.0"]);
    assert_eq!(
        of_type(DataType::Decimal128(5, 2), &["7"]).unwrap().len(),
        1
    );
}

#[test]
fn values_of_another_type_are_refused_with_their_row() {
    for (data_type, value) in [
        (DataType::Int64, "1.0"),
        (DataType::Int64, "9223372036854775808"),
        (DataType::Int8, "128"),
        (DataType::UInt64, "-1"),
        (DataType::Boolean, "1"),
        (DataType::Utf8, "1"),
        (DataType::Float64, r#""1""#),
        (DataType::Float64, "9007199254740993"),
        (DataType::Decimal128(5, 2), r#"{"$dec":"1.001"}"#),
        (DataType::Decimal128(5, 2), r#"{"$dec":"1000.00"}"#),
        (DataType::Date32, r#"{"$ts":"1970-01-01T01:00:00Z"}"#),
        (DataType::Binary, r#"{"$bytes":"!"}"#),
        (DataType::Utf8, r#"{"$what":"1"}"#),
        (DataType::Null, "1"),
    ] {
        let refused = of_type(data_type.clone(), &["null", value]).unwrap_err();
        let place = "invalid: row 1: column `x`: ";
        assert!(refused.starts_with(place), "{data_type} {value}: {refused}");
    }
}

#[test]
fn nested_values_are_taken_as_they_are_written() {
    let item = Arc::new(Field::new("item", DataType::Int64, true));
    let list = DataType::List(Arc::clone(&item));
    let fixed = DataType::FixedSizeList(item, 2);
    let inner = Field::new("l", list.clone(), true);
    let object = DataType::Struct(vec![inner, Field::new("s", DataType::Utf8, true)].into());
    let columns = wanted(vec![
        Field::new("a", list, true),
        Field::new("b", fixed, true),
        Field::new("c", object, true),
    ]);
    let text = concat!(
        r#"{"a":[1,null],"b":[1,2],"c":{"s":"x","l":[]}}"#,
        "\n",
        r#"{"c":null,"b":null,"a":null}"#,
        "\n"
    );
    let batches = lines(&columns, text, 7).unwrap();
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    assert_eq!(rows, 2);
    for bad in [
        r#"{"a":1,"b":null,"c":null}"#,
        r#"{"a":null,"b":[1],"c":null}"#,
        r#"{"a":null,"b":null,"c":{"s":"x"}}"#,
        r#"{"a":[0.5],"b":null,"c":null}"#,
    ] {
        let text = format!("{bad}\n");
        let refused = lines(&columns, &text, usize::MAX).unwrap_err();
        assert!(refused.starts_with("invalid: row 0: "), "{bad}: {refused}");
    }
}

#[test]
fn lines_are_cut_anywhere_and_have_to_end() {
    let columns = wanted(vec![
        Field::new("i", DataType::Int64, true),
        Field::new("s", DataType::Utf8, true),
    ]);
    let text = (0..20_000)
        .map(|i| format!("{{\"s\":\"row {i}\",\"more\":[],\"i\":{i}}}\n"))
        .collect::<Vec<_>>()
        .concat();
    let expected: Vec<String> = (0..20_000).map(|i| i.to_string()).collect();
    for piece in [1 << 20, 100_000, 4097, 13] {
        let batches = lines(&columns, &text, piece).unwrap();
        assert_eq!(shown(&batches, 0), expected, "pieces of {piece}");
    }
    assert!(lines(&columns, "", 1).unwrap().is_empty());
    for (bad, why) in [
        (r#"{"i":1,"s":"x"}"#, "does not end"),
        ("\n", "JSON object"),
        ("[]\n", "JSON object"),
        ("{\"i\":1}\n", "column `s`"),
        ("{\"i\":1,\"s\":\"x\"} {}\n", "JSON object"),
        ("{\"i\":1,\"s\":\"\u{1}\"}\n", "JSON object"),
    ] {
        let refused = lines(&columns, bad, usize::MAX).unwrap_err();
        assert!(refused.contains(why), "{bad}: {refused}");
    }
    let whole = wanted(vec![Field::new("i", DataType::Int64, false)]);
    let refused = lines(&whole, "{\"i\":null}\n", 99).unwrap_err();
    assert_eq!(refused, "invalid: row 0: column `i`: it holds no NULL");
}

#[test]
fn a_line_has_a_longest_length() {
    let columns = wanted(vec![Field::new("s", DataType::Utf8, true)]);
    let line = |len: usize| format!("{{\"s\":\"{}\"}}\n", "x".repeat(len - 9));
    for piece in [usize::MAX, 1 << 20] {
        assert!(lines(&columns, &line(ROW_LEN_MAX), piece).is_ok());
        let refused = lines(&columns, &line(ROW_LEN_MAX + 1), piece).unwrap_err();
        assert!(refused.starts_with("too large"), "{refused}");
    }
}

fn stream(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    for start in (0..batch.num_rows()).step_by(10_000) {
        let len = 10_000.min(batch.num_rows() - start);
        writer.write(&batch.slice(start, len)).unwrap();
    }
    writer.finish().unwrap();
    writer.into_inner().unwrap()
}

fn messages(wanted: &Wanted, bytes: &[u8], piece: usize) -> Result<Vec<RecordBatch>, String> {
    decoded(wanted, RowsFormat::ArrowStream, bytes, piece)
}

#[test]
fn an_arrow_stream_is_cut_anywhere_and_has_to_end() {
    let columns = wanted(vec![
        Field::new("i", DataType::Int32, true),
        Field::new("s", DataType::Utf8, true),
    ]);
    let strings: ArrayRef = Arc::new(StringArray::from_iter_values(
        (0..25_000).map(|i| i.to_string()),
    ));
    let numbers: ArrayRef = Arc::new(UInt64Array::from_iter_values(0..25_000));
    let bytes = stream(vec![
        ("s", strings),
        ("more", Arc::clone(&numbers)),
        ("i", numbers),
    ]);
    let expected: Vec<String> = (0..25_000).map(|i| i.to_string()).collect();
    for piece in [usize::MAX, 65_536, 1000, 7] {
        let batches = messages(&columns, &bytes, piece).unwrap();
        assert_eq!(shown(&batches, 0), expected, "pieces of {piece}");
    }
    assert!(messages(&columns, &[], 1).unwrap().is_empty());
    for len in [1, 8, 100, bytes.len() - 8, bytes.len() - 1] {
        let refused = messages(&columns, &bytes[..len], 999).unwrap_err();
        assert!(refused.contains("breaks off"), "{len}: {refused}");
    }
    let mut more = bytes.clone();
    more.write_all(&bytes).unwrap();
    let refused = messages(&columns, &more, usize::MAX).unwrap_err();
    assert!(refused.contains("after its end"), "{refused}");
    let refused = messages(&columns, &more, 5).unwrap_err();
    assert!(refused.contains("after its end"), "{refused}");
}

#[test]
fn columns_of_a_stream_are_of_the_kind_that_is_wanted() {
    let signed: ArrayRef = Arc::new(Int64Array::from(vec![Some(-1), None]));
    let fits = |field: Field| {
        let bytes = stream(vec![("x", Arc::clone(&signed))]);
        messages(&wanted(vec![field]), &bytes, usize::MAX).map(|batches| shown(&batches, 0))
    };
    let field = |data_type| Field::new("x", data_type, true);
    assert_eq!(fits(field(DataType::Int64)).unwrap(), ["-1", "null"]);
    for (field, why) in [
        (field(DataType::UInt64), "column `x`"),
        (field(DataType::Utf8), "expected Utf8, found Int64"),
        (field(DataType::Float64), "expected Float64"),
        (Field::new("x", DataType::Int64, false), "holds no NULL"),
        (
            Field::new("y", DataType::Int64, true),
            "expected a column `y`",
        ),
    ] {
        let refused = fits(field).unwrap_err();
        assert!(refused.contains(why), "{why}: {refused}");
    }
}

/// Whatever comes, it ends in an error or in batches, and takes no more room than came.
#[test]
fn a_damaged_stream_is_refused_and_nothing_breaks() {
    let columns = wanted(vec![
        Field::new("s", DataType::Utf8, true),
        Field::new("i", DataType::Int64, true),
    ]);
    let strings: ArrayRef = Arc::new(StringArray::from(vec![Some("one"), None, Some("three")]));
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
    let bytes = stream(vec![("s", strings), ("i", numbers)]);
    let mut refused = 0;
    for at in 0..bytes.len() {
        for bit in [0, 3, 7] {
            let mut other = bytes.clone();
            other[at] ^= 1 << bit;
            refused += usize::from(messages(&columns, &other, usize::MAX).is_err());
        }
    }
    assert!(
        refused > bytes.len() / 4,
        "{refused} of {}",
        3 * bytes.len()
    );
}
