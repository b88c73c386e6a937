//! CSV without a quote, straight to arrays.
//!
//! In most text nothing is quoted. A field is then what lies between two delimiters, and goes from where it
//! stands into its array: no field is copied on the way, and those of columns that nobody wants are passed over.
//! Whatever is out of the ordinary (a quote, a line that ends with `\r` alone, a record with more or fewer fields, a
//! value that does not parse, bytes that are no UTF-8) is left to the decoder of any text, which also says what is
//! wrong.

use arrow::array::RecordBatch;
use memchr::{memchr, memchr_iter, memchr2_iter};

use super::csv::{CsvFormat, CsvRows};

/// The batches of `text`, which ends with the end of a line: what the decoder of any text would give. `None` where that
/// has to be asked.
pub(super) fn decode_plain(text: &[u8], format: &CsvFormat) -> Option<Vec<RecordBatch>> {
    let dialect = format.dialect;
    let wanted = format.columns.as_slice();
    let ends_no_line = |at: usize| text.get(at + 1) != Some(&b'\n');
    if memchr(dialect.quote, text).is_some()
        || memchr_iter(b'\r', text).any(ends_no_line)
        || !wanted.is_sorted_by(|a, b| a < b)
    {
        return None;
    }
    debug_assert!(text.is_empty() || text.ends_with(b"\n"), "whole records");
    let text = std::str::from_utf8(text).ok()?;
    let bytes = text.as_bytes();
    let width = format.readings.len();
    let has_empty_records = format.has_empty_records();
    let mut rows = CsvRows::new(text, format).ok()?;
    let (mut start, mut field, mut next) = (0, 0, 0);
    for at in memchr2_iter(dialect.delimiter, b'\n', bytes) {
        let ends = bytes[at] == b'\n';
        let end = at - usize::from(ends && at > start && bytes[at - 1] == b'\r');
        if ends && field == 0 && end == start && !has_empty_records {
            // An empty line is no record.
            start = at + 1;
            continue;
        }
        if wanted.get(next) == Some(&field) {
            rows.push_span(start, end);
            next += 1;
        }
        (start, field) = (at + 1, field + 1);
        if ends {
            if field != width {
                return None;
            }
            (field, next) = (0, 0);
            rows.end_row();
            rows.flush_full().ok()?;
        }
    }
    rows.finish().ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::source::csv::decode_any;
    use crate::source::dialect::Dialect;
    use crate::source::limits::BATCH_ROWS_MAX;
    use crate::source::reading::Reading;
    use arrow::datatypes::{Field, Schema};
    use eciton_proto::v1::SchemaField;
    use proptest::prelude::*;

    fn format(types: &[&str], columns: &[usize], nulls: &[&str], declared: bool) -> CsvFormat {
        let reading = |(at, r#type): (usize, &&str)| {
            let field = SchemaField {
                name: format!("c{at}"),
                r#type: (*r#type).to_owned(),
                nullable: true,
                ..SchemaField::default()
            };
            Reading::of(&field, declared).unwrap()
        };
        let readings: Vec<Reading> = types.iter().enumerate().map(reading).collect();
        let fields: Vec<Field> = columns.iter().map(|at| readings[*at].field()).collect();
        CsvFormat {
            dialect: Dialect {
                delimiter: b',',
                quote: b'"',
                newlines: false,
                header: false,
            },
            readings: readings.into(),
            schema: Arc::new(Schema::new(fields)),
            columns: columns.to_vec(),
            nulls: nulls.iter().map(ToString::to_string).collect(),
        }
    }

    /// What the two decoders make of a text; nothing of the plain one where it leaves it to the other.
    fn both(
        text: &[u8],
        format: &CsvFormat,
    ) -> (Option<Vec<RecordBatch>>, Option<Vec<RecordBatch>>) {
        (decode_plain(text, format), decode_any(text, format).ok())
    }

    #[test]
    fn batches_are_those_of_the_decoder() {
        let types = ["int64", "string", "float64"];
        for columns in [&[0, 1, 2][..], &[1], &[0, 2], &[]] {
            let format = format(&types, columns, &["", "NA"], false);
            let line = |row: usize| {
                let end = if row.is_multiple_of(3) {
                    "\r\n\n"
                } else {
                    "\n"
                };
                let float = if row.is_multiple_of(5) {
                    "NA"
                } else {
                    "-1.5e3"
                };
                format!("{row},caf\u{e9} {},{float}{end}", row % 7)
            };
            let text: String = (0..2 * BATCH_ROWS_MAX + 7).map(line).collect();
            let (plain, slow) = both(text.as_bytes(), &format);
            let rows: Vec<usize> = plain.iter().flatten().map(RecordBatch::num_rows).collect();
            assert_eq!(rows, [BATCH_ROWS_MAX, BATCH_ROWS_MAX, 7]);
            assert_eq!(plain, slow, "{columns:?}");
        }
    }

    #[test]
    fn what_is_out_of_the_ordinary_is_left_to_the_decoder() {
        let format = format(&["int64", "bool"], &[0, 1], &[""], false);
        assert!(decode_plain(b"1,TRUE\n", &format).is_some());
        for text in [
            &b"1,\"true\"\n"[..],
            b"1,true\r2,true\n",
            b"1\n",
            b"1,true,\n",
            b"x,true\n",
            b"1,yes\n",
            b"1,\xff\n",
            b"007,true\n",
        ] {
            assert_eq!(decode_plain(text, &format), None, "{text:?}");
        }
    }

    fn any_type() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec![
            "int8",
            "int64",
            "uint16",
            "uint64",
            "float32",
            "float64",
            "date",
            "timestamp",
            "decimal(6,2)",
            "bool",
            "string",
        ])
    }

    fn any_field() -> impl Strategy<Value = String> {
        let known = prop::sample::select(vec![
            "",
            "NA",
            "0",
            "-0",
            "+7",
            "007",
            "127",
            "128",
            "1e3",
            "1.5",
            ".5",
            "5.",
            "inf",
            "nan",
            "NaN",
            "-inf",
            "true",
            "False",
            "t",
            "2013-02-14",
            "2013-02-14T10:00:00Z",
            "1969-12-31",
            " 1",
            "1 ",
            "18446744073709551615",
            "9223372036854775808",
            "caf\u{e9}",
            "_",
            "\"",
            "\"a\"\"b\"",
            "\"7\"",
            "1_0",
            "0x10",
        ]);
        prop_oneof![4 => known.prop_map(ToOwned::to_owned), 1 => "[-+.e0-9a\r]{0,6}"]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn whatever_is_decoded_is_what_the_decoder_makes_of_it(
            types in prop::collection::vec(any_type(), 1..4),
            wanted in prop::collection::vec(any::<bool>(), 3),
            records in prop::collection::vec(prop::collection::vec(any_field(), 1..4), 0..4),
            end in prop::sample::select(vec!["\n", "\r\n", "\n\n", "\r"]),
            nulls in prop::sample::select(vec![vec![""], vec!["NA"], vec![], vec!["", "NA", "0"]]),
            declared in any::<bool>(),
        ) {
            let columns: Vec<usize> = (0..types.len()).filter(|at| wanted[*at]).collect();
            let format = format(&types, &columns, &nulls, declared);
            let text: String = records.iter().map(|fields| fields.join(",") + end).collect();
            let (plain, slow) = both(text.as_bytes(), &format);
            if let Some(plain) = plain {
                // NaN is not equal to itself, so values are compared as they are shown.
                prop_assert_eq!(format!("{plain:?}"), format!("{:?}", slow.unwrap_or_default()));
            }
        }

        #[test]
        fn fields_that_fit_their_types_are_not_left_to_the_decoder(
            rows in prop::collection::vec((any::<i64>(), any::<f64>(), "[a-z \u{e9}]{0,9}"), 1..20),
        ) {
            let types = ["int64", "float64", "string"];
            let format = format(&types, &[0, 1, 2], &[""], false);
            let line = |(a, b, c): &(i64, f64, String)| format!("{a},{b:e},{c}\n");
            let text: String = rows.iter().map(line).collect();
            let (plain, slow) = both(text.as_bytes(), &format);
            prop_assert!(plain.is_some());
            prop_assert_eq!(format!("{plain:?}"), format!("{slow:?}"));
        }
    }
}
