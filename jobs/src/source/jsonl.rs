//! JSON lines to Arrow.
//!
//! Every line is exactly one JSON object, read as it stands: the parser checks all of it, also what nobody wants, and
//! hands over the text of the values that are wanted. What such a text means is for the column to say.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::array::{JsonCells, column};
use super::error::Refusal;
use super::limits::batch_rows;
use super::reading::Reading;
use super::scan::lines;

/// How the lines of a JSON source become batches.
#[derive(Debug, Clone)]
pub(super) struct JsonFormat {
    /// The columns wanted.
    pub(super) schema: SchemaRef,
    /// How their values are read.
    pub(super) readings: Vec<Reading>,
    /// The names of all columns; of those that are wanted the place among them.
    pub(super) names: Arc<MemberNames>,
    /// Whether a member that is no column is malformed.
    pub(super) refuses_new: bool,
}

/// The names of the columns of a source.
#[derive(Debug)]
pub(super) struct MemberNames {
    /// In the order in which members mostly come.
    order: Vec<(String, Option<usize>)>,
    index: HashMap<String, usize>,
}

impl MemberNames {
    /// `all` names, of which `wanted` are wanted, in that order.
    pub(super) fn new<'n>(all: impl Iterator<Item = &'n str>, wanted: &[usize]) -> MemberNames {
        let places: HashMap<usize, usize> = wanted
            .iter()
            .enumerate()
            .map(|(place, at)| (*at, place))
            .collect();
        let name = |(at, name): (usize, &str)| (name.to_owned(), places.get(&at).copied());
        let order: Vec<_> = all.enumerate().map(name).collect();
        let indexed = order.iter().enumerate();
        let index = indexed.map(|(at, (name, _))| (name.clone(), at)).collect();
        MemberNames { order, index }
    }

    /// What a name is, guessed to be the one at `next`.
    fn find(&self, name: &str, next: &mut usize) -> Member {
        let guessed = self.order.get(*next).filter(|(known, _)| known == name);
        let at = match guessed {
            Some(_) => *next,
            None => match self.index.get(name) {
                Some(at) => *at,
                None => return Member::New,
            },
        };
        *next = at + 1;
        self.order[at].1.map_or(Member::Known, Member::Wanted)
    }

    /// Whether there is such a column.
    pub(super) fn has(&self, name: &str) -> bool {
        self.index.contains_key(name)
    }
}

/// What a member of an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Member {
    /// A column that is wanted, and its place.
    Wanted(usize),
    /// Another column.
    Known,
    /// No column.
    New,
}

/// Decodes blocks of whole lines.
#[derive(Debug)]
pub(super) struct JsonDecoder {
    format: JsonFormat,
}

/// What came of a block.
pub(super) struct Decoded {
    pub(super) batches: Vec<RecordBatch>,
    /// Values of members that are no columns.
    pub(super) values_ignored: u64,
}

impl JsonDecoder {
    pub(super) fn new(format: JsonFormat) -> Self {
        Self { format }
    }

    pub(super) fn format(&self) -> &JsonFormat {
        &self.format
    }

    /// Decodes all of `text`, or says why it is malformed. `text` ends with the end of a line.
    pub(super) fn decode(&self, text: &[u8]) -> Result<Decoded, Refusal> {
        let text = std::str::from_utf8(text).map_err(|_| Refusal::new("not UTF-8"))?;
        let width = self.format.readings.len();
        let rows_max = batch_rows(width);
        let mut values: Vec<Option<&str>> = Vec::new();
        let mut rows = 0;
        let mut decoded = Decoded {
            batches: Vec::new(),
            values_ignored: 0,
        };
        for line in lines(text) {
            if is_blank(line) {
                continue;
            }
            values.resize(values.len() + width, None);
            let row = values.len() - width;
            let line = Line {
                format: &self.format,
                values: &mut values[row..],
                ignored: &mut decoded.values_ignored,
            }
            .read(line);
            line.map_err(|e| Refusal::new(e.to_string()))?;
            rows += 1;
            if rows == rows_max {
                decoded.batches.push(self.batch(&values, rows)?);
                values.clear();
                rows = 0;
            }
        }
        if rows > 0 {
            decoded.batches.push(self.batch(&values, rows)?);
        }
        Ok(decoded)
    }

    fn batch(&self, values: &[Option<&str>], rows: usize) -> Result<RecordBatch, Refusal> {
        let readings = self.format.readings.as_slice();
        let mut arrays = Vec::with_capacity(readings.len());
        let mut cells = Vec::with_capacity(rows);
        for (place, reading) in readings.iter().enumerate() {
            cells.clear();
            cells.extend(values.iter().skip(place).step_by(readings.len()));
            let array = column(reading, &JsonCells(&cells));
            arrays.push(array.ok_or_else(|| Refusal::new("a value of another type"))?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(self.format.schema.clone(), arrays, &options);
        batch.map_err(|e| Refusal::new(e.to_string()))
    }
}

/// Whether a line has nothing but what JSON takes for white space.
pub(super) fn is_blank(line: &str) -> bool {
    line.bytes()
        .all(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'))
}

/// One line on its way into the values of its row.
struct Line<'l, 't> {
    format: &'l JsonFormat,
    values: &'l mut [Option<&'t str>],
    ignored: &'l mut u64,
}

impl<'t> Line<'_, 't> {
    fn read(self, line: &'t str) -> Result<(), serde_json::Error> {
        let mut deserializer = serde_json::Deserializer::from_str(line);
        deserializer.deserialize_map(self)?;
        deserializer.end()
    }
}

impl<'t> Visitor<'t> for Line<'_, 't> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'t>>(self, mut map: A) -> Result<(), A::Error> {
        let names = &self.format.names;
        let mut next = 0;
        while let Some(member) = map.next_key_seed(Find {
            names,
            next: &mut next,
        })? {
            match member {
                Member::Wanted(place) => {
                    let value = map.next_value::<&'t RawValue>()?;
                    if self.values[place].replace(value.get()).is_some() {
                        return Err(A::Error::custom("a member that occurs twice"));
                    }
                }
                Member::New if self.format.refuses_new => {
                    return Err(A::Error::custom("a member that is no column"));
                }
                Member::New | Member::Known => {
                    map.next_value::<IgnoredAny>()?;
                    *self.ignored += u64::from(member == Member::New);
                }
            }
        }
        Ok(())
    }
}

/// Finds out what a name is, without a copy of it.
struct Find<'n> {
    names: &'n MemberNames,
    next: &'n mut usize,
}

impl<'t> DeserializeSeed<'t> for Find<'_> {
    type Value = Member;

    fn deserialize<D: Deserializer<'t>>(self, deserializer: D) -> Result<Member, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Find<'_> {
    type Value = Member;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Member, E> {
        Ok(self.names.find(name, self.next))
    }
}

/// A member of an object inside of a line.
pub(super) struct NestedMember<'t> {
    pub(super) name: Cow<'t, str>,
    pub(super) value: &'t RawValue,
}

/// The members of an object that is a value.
pub(super) fn nested_members(value: &str) -> Result<Vec<NestedMember<'_>>, serde_json::Error> {
    let members = members(value.as_bytes())?;
    let member = |(name, value)| NestedMember { name, value };
    Ok(members.into_iter().map(member).collect())
}

/// A member of an object: its name, and its value as it stands in the text.
pub(crate) type NamedValue<'t> = (Cow<'t, str>, &'t RawValue);

/// The members of the object that `line` is, in their order.
pub(crate) fn members(line: &[u8]) -> Result<Vec<NamedValue<'_>>, serde_json::Error> {
    struct LineVisitor;

    impl<'t> Visitor<'t> for LineVisitor {
        type Value = Vec<NamedValue<'t>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a JSON object")
        }

        fn visit_map<A: MapAccess<'t>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut members = Vec::new();
            while let Some((name, value)) = map.next_entry::<Name<'t>, &'t RawValue>()? {
                members.push((name.0, value));
            }
            Ok(members)
        }
    }

    // Without the newline: an error at the end of the line is counted from its start.
    let mut deserializer = serde_json::Deserializer::from_slice(line.trim_ascii_end());
    let members = deserializer.deserialize_map(LineVisitor)?;
    deserializer.end()?;
    Ok(members)
}

/// A name, borrowed where it has no escapes.
#[derive(serde::Deserialize)]
struct Name<'t>(#[serde(borrow)] Cow<'t, str>);
