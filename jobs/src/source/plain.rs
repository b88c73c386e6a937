//! CSV without a quote, straight to arrays.
//!
//! In most text nothing is quoted. A field is then what lies between two delimiters, and goes from where it
//! stands into its array: no field is copied on the way, and those of columns that nobody wants are passed over.
//! Values are parsed by the parsers that the CSV decoder has, too. Whatever is out of the ordinary (a quote,
//! a `\r` in a line, a record with more or fewer fields, a value that does not parse, bytes that are no UTF-8,
//! a type that is not among those here) is left to that decoder, which also says what is wrong.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, PrimitiveBuilder, RecordBatch, RecordBatchOptions, StringBuilder,
};
use arrow::compute::kernels::cast_utils::Parser;
use arrow::datatypes::{
    DataType, Date32Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    SchemaRef, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use memchr::{memchr, memchr_iter, memchr2_iter};

use super::csv::CsvFormat;
use super::limits::BATCH_ROWS_MAX;

/// Decodes blocks of whole records in which nothing is quoted.
#[derive(Debug)]
pub(super) struct PlainDecoder {
    /// Of the columns wanted.
    schema: SchemaRef,
}

/// Where a field stands in its text.
type Span = (u32, u32);

impl PlainDecoder {
    /// `None` where a column wanted has a type that is not parsed here, or they are not in order.
    pub(super) fn new(format: &CsvFormat) -> Option<PlainDecoder> {
        let schema = format.schema.project(&format.columns).ok()?;
        let known = schema
            .fields()
            .iter()
            .all(|field| column(field.data_type(), &Values::none(format)).is_some());
        let ascends = format.columns.is_sorted_by(|a, b| a < b);
        (known && ascends).then(|| PlainDecoder {
            schema: Arc::new(schema),
        })
    }

    /// The batches of `text`, which ends with a newline: what the CSV decoder would give. `None` where that
    /// has to be asked.
    pub(super) fn decode(&self, text: &[u8], format: &CsvFormat) -> Option<Vec<RecordBatch>> {
        let dialect = format.dialect;
        let ends_no_line = |at: usize| text.get(at + 1) != Some(&b'\n');
        if memchr(dialect.quote, text).is_some() || memchr_iter(b'\r', text).any(ends_no_line) {
            return None;
        }
        let len = u32::try_from(text.len()).ok()?;
        debug_assert!(len == 0 || text.ends_with(b"\n"), "whole records");
        let text = std::str::from_utf8(text).ok()?;
        let bytes = text.as_bytes();
        let (width, wanted) = (format.schema.fields().len(), format.columns.as_slice());
        let mut values = Values::none(format);
        values.text = text;
        let mut batches = Vec::new();
        let (mut start, mut field, mut next) = (0, 0, 0);
        for at in memchr2_iter(dialect.delimiter, b'\n', bytes) {
            let ends = bytes[at] == b'\n';
            let end = at - usize::from(ends && at > start && bytes[at - 1] == b'\r');
            if ends && field == 0 && end == start {
                // An empty line is no record.
                start = at + 1;
                continue;
            }
            if wanted.get(next) == Some(&field) {
                // Within `len`, which fits.
                #[allow(
                    clippy::cast_possible_truncation,
                    reason = "checked for the whole text"
                )]
                values.spans.push((start as u32, end as u32));
                next += 1;
            }
            (start, field) = (at + 1, field + 1);
            if ends {
                if field != width {
                    return None;
                }
                (field, next) = (0, 0);
                values.rows += 1;
                if values.rows == BATCH_ROWS_MAX {
                    batches.push(self.batch(&mut values)?);
                }
            }
        }
        if values.rows > 0 {
            batches.push(self.batch(&mut values)?);
        }
        Some(batches)
    }

    fn batch(&self, values: &mut Values<'_>) -> Option<RecordBatch> {
        let mut arrays = Vec::with_capacity(values.width);
        for (index, field) in self.schema.fields().iter().enumerate() {
            values.column = index;
            arrays.push(column(field.data_type(), values)?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(values.rows));
        values.spans.clear();
        values.rows = 0;
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options).ok()
    }
}

/// The values of one column in the rows of a batch.
struct Values<'t> {
    text: &'t str,
    /// Row by row, of each the columns wanted.
    spans: Vec<Span>,
    rows: usize,
    /// Columns wanted.
    width: usize,
    /// Which of them this is about.
    column: usize,
    /// What stands for NULL.
    nulls: &'t [String],
}

impl<'t> Values<'t> {
    fn none(format: &'t CsvFormat) -> Values<'t> {
        Values {
            text: "",
            spans: Vec::new(),
            rows: 0,
            width: format.columns.len(),
            column: 0,
            nulls: format.nulls.values(),
        }
    }

    /// Each row's value, `None` for NULL.
    fn iter(&self) -> impl Iterator<Item = Option<&'t str>> {
        let spans = self.spans.iter().skip(self.column).step_by(self.width);
        spans.map(|(start, end)| {
            let value = &self.text[*start as usize..*end as usize];
            let is_null = self.nulls.iter().any(|null| null == value);
            (!is_null).then_some(value)
        })
    }
}

/// An array of the values; `None` where one does not parse, or the type is not parsed here.
fn column(data_type: &DataType, values: &Values<'_>) -> Option<ArrayRef> {
    match data_type {
        DataType::Int8 => numbers::<Int8Type>(values),
        DataType::Int16 => numbers::<Int16Type>(values),
        DataType::Int32 => numbers::<Int32Type>(values),
        DataType::Int64 => numbers::<Int64Type>(values),
        DataType::UInt8 => numbers::<UInt8Type>(values),
        DataType::UInt16 => numbers::<UInt16Type>(values),
        DataType::UInt32 => numbers::<UInt32Type>(values),
        DataType::UInt64 => numbers::<UInt64Type>(values),
        DataType::Float32 => numbers::<Float32Type>(values),
        DataType::Float64 => numbers::<Float64Type>(values),
        DataType::Date32 => numbers::<Date32Type>(values),
        DataType::Boolean => booleans(values),
        DataType::Utf8 => Some(strings(values)),
        _ => None,
    }
}

fn numbers<T: Parser>(values: &Values<'_>) -> Option<ArrayRef> {
    let mut builder = PrimitiveBuilder::<T>::with_capacity(values.rows);
    for value in values.iter() {
        match value {
            Some(text) => builder.append_value(T::parse(text)?),
            None => builder.append_null(),
        }
    }
    Some(Arc::new(builder.finish()))
}

fn booleans(values: &Values<'_>) -> Option<ArrayRef> {
    let mut builder = BooleanBuilder::with_capacity(values.rows);
    for value in values.iter() {
        match value {
            Some(text) if text.eq_ignore_ascii_case("true") => builder.append_value(true),
            Some(text) if text.eq_ignore_ascii_case("false") => builder.append_value(false),
            Some(_) => return None,
            None => builder.append_null(),
        }
    }
    Some(Arc::new(builder.finish()))
}

fn strings(values: &Values<'_>) -> ArrayRef {
    let len = values.iter().flatten().map(str::len).sum();
    let mut builder = StringBuilder::with_capacity(values.rows, len);
    values.iter().for_each(|value| builder.append_option(value));
    Arc::new(builder.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::csv::{CsvDecoder, Nulls};
    use crate::source::dialect::Dialect;
    use arrow::datatypes::{Field, Schema, TimeUnit};
    use proptest::prelude::*;

    fn format(types: &[DataType], columns: &[usize], nulls: &[&str]) -> CsvFormat {
        let field = |(at, data_type): (usize, &DataType)| {
            Field::new(format!("c{at}"), data_type.clone(), true)
        };
        let fields: Vec<Field> = types.iter().enumerate().map(field).collect();
        let nulls: Vec<String> = nulls.iter().map(ToString::to_string).collect();
        CsvFormat {
            dialect: Dialect {
                delimiter: b',',
                quote: b'"',
                newlines: false,
                header: false,
            },
            schema: Arc::new(Schema::new(fields)),
            columns: columns.to_vec(),
            nulls: Nulls::new(&nulls).unwrap(),
        }
    }

    /// What the two decoders make of a text; nothing of the plain one where it leaves it to the other.
    fn both(
        text: &[u8],
        format: &CsvFormat,
    ) -> (Option<Vec<RecordBatch>>, Option<Vec<RecordBatch>>) {
        let plain = PlainDecoder::new(format).unwrap().decode(text, format);
        let slow = CsvDecoder::without_plain(format.clone()).decode(text);
        (plain, slow.ok())
    }

    #[test]
    fn batches_are_those_of_the_decoder() {
        let types = [DataType::Int64, DataType::Utf8, DataType::Float64];
        for columns in [&[0, 1, 2][..], &[1], &[0, 2], &[]] {
            let format = format(&types, columns, &["", "NA"]);
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
        let format = format(&[DataType::Int64, DataType::Boolean], &[0, 1], &[""]);
        let plain = PlainDecoder::new(&format).unwrap();
        assert!(plain.decode(b"1,TRUE\n", &format).is_some());
        for text in [
            &b"1,\"true\"\n"[..],
            b"1,true\r2,true\n",
            b"1\n",
            b"1,true,\n",
            b"x,true\n",
            b"1,yes\n",
            b"1,\xff\n",
        ] {
            assert_eq!(plain.decode(text, &format), None, "{text:?}");
        }
    }

    #[test]
    fn types_that_are_not_parsed_here_are_left_to_the_decoder() {
        let timestamp = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        for data_type in [timestamp, DataType::Decimal128(12, 2)] {
            let types = [DataType::Int64, data_type];
            assert!(PlainDecoder::new(&format(&types, &[0, 1], &[""])).is_none());
            assert!(PlainDecoder::new(&format(&types, &[0], &[""])).is_some());
        }
        let types = [DataType::Int64, DataType::Int64];
        assert!(PlainDecoder::new(&format(&types, &[1, 0], &[""])).is_none());
    }

    fn any_type() -> impl Strategy<Value = DataType> {
        prop::sample::select(vec![
            DataType::Int8,
            DataType::Int64,
            DataType::UInt16,
            DataType::UInt64,
            DataType::Float32,
            DataType::Float64,
            DataType::Date32,
            DataType::Boolean,
            DataType::Utf8,
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
            "2013-2-14",
            "1969-12-31",
            " 1",
            "1 ",
            "18446744073709551615",
            "9223372036854775808",
            "caf\u{e9}",
            "_",
            "\"",
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
            end in prop::sample::select(vec!["\n", "\r\n", "\n\n"]),
            nulls in prop::sample::select(vec![vec![""], vec!["NA"], vec![], vec!["", "NA", "0"]]),
        ) {
            let columns: Vec<usize> = (0..types.len()).filter(|at| wanted[*at]).collect();
            let format = format(&types, &columns, &nulls);
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
            let types = [DataType::Int64, DataType::Float64, DataType::Utf8];
            let format = format(&types, &[0, 1, 2], &[""]);
            let line = |(a, b, c): &(i64, f64, String)| format!("{a},{b:e},{c}\n");
            let text: String = rows.iter().map(line).collect();
            let (plain, slow) = both(text.as_bytes(), &format);
            prop_assert!(plain.is_some());
            prop_assert_eq!(format!("{plain:?}"), format!("{slow:?}"));
        }
    }
}
