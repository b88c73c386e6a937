//! Values as they stand in text, to arrays.
//!
//! A column is made at once, of the cells that its rows have: fields of CSV or values of JSON. There is no array if one
//! of them is not exactly of the column's type.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, ArrowPrimitiveType, BooleanBuilder, ListArray, PrimitiveBuilder, StringBuilder,
    StructArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimestampMicrosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use serde_json::value::RawValue;

use super::infer::Shape;
use super::jsonl::{NestedMember, nested_members};
use super::moment::{date, is_day, is_moment, timestamp};
use super::number::{Literal, Spelling, decimal, float32, float64, int64, integer};
use super::reading::{ParsedKind, Reading, TextRule, Writing};

/// A value that is not NULL, as it stands in the text.
pub(super) trait SourceValue<'t>: Copy {
    /// The text of a number, and how it may be written.
    fn number(self, reading: &Reading) -> Option<(&'t str, Spelling)>;
    /// The text of a date or a timestamp.
    fn moment(self) -> Option<Cow<'t, str>>;
    /// A boolean.
    fn boolean(self, reading: &Reading) -> Option<bool>;
    /// What a column of strings has of it.
    fn text(self, text: TextRule) -> Option<Cow<'t, str>>;
    /// Its text in JSON, for types that only JSON has.
    fn json(self) -> Option<&'t str>;
}

/// A field of a CSV record, its quotes taken off.
#[derive(Clone, Copy)]
pub(super) struct CsvCell<'t>(pub(super) &'t str);

impl<'t> SourceValue<'t> for CsvCell<'t> {
    #[inline]
    fn number(self, reading: &Reading) -> Option<(&'t str, Spelling)> {
        Some((self.0, reading.spelling()))
    }

    fn moment(self) -> Option<Cow<'t, str>> {
        Some(Cow::Borrowed(self.0))
    }

    fn boolean(self, _: &Reading) -> Option<bool> {
        let is = |word: &str| self.0.eq_ignore_ascii_case(word);
        is("true").then_some(true).or(is("false").then_some(false))
    }

    #[inline]
    fn text(self, text: TextRule) -> Option<Cow<'t, str>> {
        let is_held = text != TextRule::Unseen || Shape::of_text(self.0) == Shape::Text;
        is_held.then_some(Cow::Borrowed(self.0))
    }

    fn json(self) -> Option<&'t str> {
        None
    }
}

/// A value of JSON, as it stands in a line that was checked to be JSON.
#[derive(Clone, Copy)]
pub(super) struct JsonCell<'t>(pub(super) &'t str);

impl<'t> JsonCell<'t> {
    /// What is between the quotes of a string without escapes.
    fn plain_string(self) -> Option<&'t str> {
        let inner = self.0.strip_prefix('"')?.strip_suffix('"')?;
        (memchr::memchr(b'\\', inner.as_bytes()).is_none()).then_some(inner)
    }

    /// A string. One with half a surrogate is none.
    fn string(self) -> Option<Cow<'t, str>> {
        if !self.0.starts_with('"') {
            return None;
        }
        match self.plain_string() {
            Some(text) => Some(Cow::Borrowed(text)),
            None => serde_json::from_str::<String>(self.0).ok().map(Cow::Owned),
        }
    }

    fn is_nested(self) -> bool {
        self.0.starts_with(['{', '['])
    }
}

impl<'t> SourceValue<'t> for JsonCell<'t> {
    fn number(self, reading: &Reading) -> Option<(&'t str, Spelling)> {
        match self.0.as_bytes().first()? {
            b'-' | b'0'..=b'9' => Some((self.0, reading.spelling())),
            // Programs that fear for long numbers write them as strings; `"007"` is none of those.
            b'"' if reading.declared => Some((self.plain_string()?, Spelling::Canonical)),
            _ => None,
        }
    }

    fn moment(self) -> Option<Cow<'t, str>> {
        self.string()
    }

    fn boolean(self, reading: &Reading) -> Option<bool> {
        match self.0 {
            "true" => Some(true),
            "false" => Some(false),
            "\"true\"" if reading.declared => Some(true),
            "\"false\"" if reading.declared => Some(false),
            _ => None,
        }
    }

    fn text(self, text: TextRule) -> Option<Cow<'t, str>> {
        match text {
            TextRule::Json => Some(Cow::Borrowed(self.0)),
            _ if self.is_nested() => None,
            TextRule::Unseen => (Shape::of_json(self.0) == Shape::Text)
                .then(|| self.string())
                .flatten(),
            TextRule::Strings => self.string(),
            TextRule::Scalars if self.0.starts_with('"') => self.string(),
            TextRule::Mixed if self.0.starts_with('"') => {
                let string = self.string()?;
                serde_json::from_str::<&RawValue>(&string)
                    .is_err()
                    .then_some(string)
            }
            TextRule::Scalars | TextRule::Mixed => Some(Cow::Borrowed(self.0)),
        }
    }

    fn json(self) -> Option<&'t str> {
        Some(self.0)
    }
}

/// The cells of one column.
pub(super) trait Cells<'t> {
    /// How a value stands in the text.
    type Cell: SourceValue<'t>;

    /// Number of rows.
    fn len(&self) -> usize;

    /// Bytes that all values together have about.
    fn text_len(&self) -> usize;

    /// Each row's value, `None` for NULL.
    fn iter(&self) -> impl Iterator<Item = Option<Self::Cell>>;
}

/// The values of some rows of JSON lines.
pub(super) struct JsonCells<'c, 't>(pub(super) &'c [Option<&'t str>]);

impl<'t> Cells<'t> for JsonCells<'_, 't> {
    type Cell = JsonCell<'t>;

    fn len(&self) -> usize {
        self.0.len()
    }

    fn text_len(&self) -> usize {
        self.0.iter().flatten().map(|text| text.len()).sum()
    }

    fn iter(&self) -> impl Iterator<Item = Option<JsonCell<'t>>> {
        let value = |cell: Option<&'t str>| cell.filter(|text| *text != "null").map(JsonCell);
        self.0.iter().copied().map(value)
    }
}

/// One CSV field.
pub(super) struct OneField<'t>(pub(super) &'t str);

impl<'t> Cells<'t> for OneField<'t> {
    type Cell = CsvCell<'t>;

    fn len(&self) -> usize {
        1
    }

    fn text_len(&self) -> usize {
        self.0.len()
    }

    fn iter(&self) -> impl Iterator<Item = Option<CsvCell<'t>>> {
        std::iter::once(Some(CsvCell(self.0)))
    }
}

/// An array of the values; `None` where one is not exactly of the type.
pub(super) fn column<'t, C: Cells<'t>>(reading: &Reading, cells: &C) -> Option<ArrayRef> {
    match &reading.kind {
        ParsedKind::Bool => booleans(reading, cells),
        ParsedKind::Integer => integers(reading, cells),
        ParsedKind::Float32 => primitives::<Float32Type, _>(reading, cells, |cell: C::Cell| {
            float32(cell.number(reading)?.0)
        }),
        ParsedKind::Float64 => primitives::<Float64Type, _>(reading, cells, |cell: C::Cell| {
            let (text, spelling) = cell.number(reading)?;
            float64(text, spelling)
        }),
        ParsedKind::Decimal {
            precision,
            scale,
            round,
        } => primitives::<Decimal128Type, _>(reading, cells, |cell: C::Cell| {
            decimal(cell.number(reading)?.0, *precision, *scale, *round)
        }),
        ParsedKind::Date(writing) => {
            primitives::<Date32Type, _>(reading, cells, |cell: C::Cell| {
                days(reading, writing, cell)
            })
        }
        ParsedKind::Timestamp(writing) => {
            primitives::<TimestampMicrosecondType, _>(reading, cells, |cell: C::Cell| {
                micros(reading, writing, cell)
            })
        }
        ParsedKind::Text(text) => strings(*text, cells),
        ParsedKind::List(item) => list(reading, item, cells),
        ParsedKind::Struct(members) => objects(reading, members, cells),
        ParsedKind::Other => None,
    }
}

fn primitives<'t, T, C>(
    reading: &Reading,
    cells: &C,
    parse: impl Fn(C::Cell) -> Option<T::Native>,
) -> Option<ArrayRef>
where
    T: ArrowPrimitiveType,
    C: Cells<'t>,
{
    let mut builder = PrimitiveBuilder::<T>::with_capacity(cells.len());
    for cell in cells.iter() {
        match cell {
            Some(cell) => builder.append_value(parse(cell)?),
            None => builder.append_null(),
        }
    }
    let array = builder.finish();
    Some(Arc::new(array.with_data_type(reading.data_type.clone())))
}

fn integers<'t, C: Cells<'t>>(reading: &Reading, cells: &C) -> Option<ArrayRef> {
    fn narrow<'t, T: TryFrom<i64>, L: SourceValue<'t>>(reading: &Reading, cell: L) -> Option<T> {
        let (text, spelling) = cell.number(reading)?;
        T::try_from(int64(text.as_bytes(), spelling)?).ok()
    }
    match reading.data_type {
        DataType::Int8 => primitives::<Int8Type, _>(reading, cells, |c| narrow(reading, c)),
        DataType::Int16 => primitives::<Int16Type, _>(reading, cells, |c| narrow(reading, c)),
        DataType::Int32 => primitives::<Int32Type, _>(reading, cells, |c| narrow(reading, c)),
        DataType::Int64 => primitives::<Int64Type, _>(reading, cells, |c| narrow(reading, c)),
        DataType::UInt8 => primitives::<UInt8Type, _>(reading, cells, |c| narrow(reading, c)),
        DataType::UInt16 => primitives::<UInt16Type, _>(reading, cells, |c| narrow(reading, c)),
        DataType::UInt32 => primitives::<UInt32Type, _>(reading, cells, |c| narrow(reading, c)),
        DataType::UInt64 => primitives::<UInt64Type, _>(reading, cells, |cell: C::Cell| {
            let (text, spelling) = cell.number(reading)?;
            u64::try_from(integer(text.as_bytes(), spelling)?).ok()
        }),
        _ => None,
    }
}

fn booleans<'t, C: Cells<'t>>(reading: &Reading, cells: &C) -> Option<ArrayRef> {
    let mut builder = BooleanBuilder::with_capacity(cells.len());
    for cell in cells.iter() {
        match cell {
            Some(cell) => builder.append_value(cell.boolean(reading)?),
            None => builder.append_null(),
        }
    }
    Some(Arc::new(builder.finish()))
}

fn days<'t>(reading: &Reading, writing: &Writing, cell: impl SourceValue<'t>) -> Option<i32> {
    let text = || {
        let text = cell.moment()?;
        match &writing.pattern {
            Some(pattern) => pattern.days(&text),
            // A unit alone says that there are numbers.
            None if writing.scale.is_some() => None,
            None => date(text.as_bytes()),
        }
    };
    let counted = || i32::try_from(counted(reading, writing, cell)?).ok();
    text().or_else(counted).filter(|days| is_day(*days))
}

fn micros<'t>(reading: &Reading, writing: &Writing, cell: impl SourceValue<'t>) -> Option<i64> {
    let text = || {
        let text = cell.moment()?;
        match &writing.pattern {
            Some(pattern) => pattern.micros(&text),
            None if writing.scale.is_some() => None,
            None => {
                let (micros, zone) = timestamp(text.as_bytes())?;
                (writing.zone.is_none_or(|only| only == zone)).then_some(micros)
            }
        }
    };
    let counted = || i64::try_from(counted(reading, writing, cell)?).ok();
    text().or_else(counted).filter(|micros| is_moment(*micros))
}

/// What a number counts, where it has a unit.
fn counted<'t>(reading: &Reading, writing: &Writing, cell: impl SourceValue<'t>) -> Option<i128> {
    let scale = writing.scale?;
    let (text, _) = cell.number(reading)?;
    Literal::parse(text.as_bytes())?.scaled(scale)
}

fn strings<'t, C: Cells<'t>>(text: TextRule, cells: &C) -> Option<ArrayRef> {
    let mut builder = StringBuilder::with_capacity(cells.len(), cells.text_len());
    for cell in cells.iter() {
        match cell {
            Some(cell) => builder.append_value(cell.text(text)?),
            None => builder.append_null(),
        }
    }
    Some(Arc::new(builder.finish()))
}

fn list<'t, C: Cells<'t>>(reading: &Reading, item: &Reading, cells: &C) -> Option<ArrayRef> {
    let DataType::List(field) = &reading.data_type else {
        return None;
    };
    let mut items: Vec<Option<&str>> = Vec::new();
    let mut lengths = Vec::with_capacity(cells.len());
    let mut valid = Vec::with_capacity(cells.len());
    for cell in cells.iter() {
        let before = items.len();
        if let Some(cell) = cell {
            let parts = serde_json::from_str::<Vec<&RawValue>>(cell.json()?).ok()?;
            items.extend(parts.into_iter().map(|part| Some(part.get())));
        }
        lengths.push(items.len() - before);
        valid.push(cell.is_some());
    }
    let values = column(item, &JsonCells(&items))?;
    let offsets = OffsetBuffer::from_lengths(lengths);
    let nulls = Some(NullBuffer::from(valid));
    let array = ListArray::try_new(Arc::clone(field), offsets, values, nulls).ok()?;
    Some(Arc::new(array))
}

fn objects<'t, C: Cells<'t>>(
    reading: &Reading,
    members: &[Reading],
    cells: &C,
) -> Option<ArrayRef> {
    let DataType::Struct(fields) = &reading.data_type else {
        return None;
    };
    let mut columns: Vec<Vec<Option<&str>>> = vec![Vec::with_capacity(cells.len()); members.len()];
    let mut valid = Vec::with_capacity(cells.len());
    for (row, cell) in cells.iter().enumerate() {
        if let Some(cell) = cell {
            for NestedMember { name, value } in nested_members(cell.json()?).ok()? {
                let at = members.iter().position(|member| member.name == name)?;
                if columns[at].len() > row {
                    // The same name twice.
                    return None;
                }
                columns[at].push(Some(value.get()));
            }
        }
        for values in &mut columns {
            values.resize(row + 1, None);
        }
        valid.push(cell.is_some());
    }
    let arrays = members
        .iter()
        .zip(&columns)
        .map(|(member, values)| column(member, &JsonCells(values)))
        .collect::<Option<Vec<_>>>()?;
    let nulls = Some(NullBuffer::from(valid));
    let array = StructArray::try_new(fields.clone(), arrays, nulls).ok()?;
    Some(Arc::new(array))
}
