//! A row's values as JSON text.

use arrow::array::cast::AsArray;
use arrow::array::{Array, ArrayRef, FixedSizeListArray, LargeListArray, ListArray, StructArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::DataType;
use eciton_engine::Datum;

use crate::columns::{Column, Kind, ValueError};

/// One column of one batch, ready to be written row by row.
pub(crate) enum JsonColumn {
    Scalar(Column),
    /// Where each row's items begin and end, and the items of all rows.
    List {
        spans: Spans,
        nulls: Option<NullBuffer>,
        items: Box<JsonColumn>,
    },
    Struct {
        nulls: Option<NullBuffer>,
        members: Members,
    },
}

/// Where each row's items lie.
pub(crate) enum Spans {
    Short(ListArray),
    Long(LargeListArray),
    Fixed(usize),
}

/// Named columns: what an object is made of.
pub(crate) struct Members(Vec<(String, JsonColumn)>);

/// Whether values of a type can be written.
pub(crate) fn is_writable(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            is_writable(item.data_type())
        }
        DataType::Struct(fields) => fields.iter().all(|field| is_writable(field.data_type())),
        other => Kind::of(other).is_some(),
    }
}

impl JsonColumn {
    pub(crate) fn read(name: &str, array: &ArrayRef) -> Result<JsonColumn, ValueError> {
        let nulls = array.nulls().cloned();
        Ok(match array.data_type() {
            DataType::List(_) => {
                let list: &ListArray = array.as_list();
                let items = JsonColumn::items(name, list.values())?;
                JsonColumn::List {
                    spans: Spans::Short(list.clone()),
                    nulls,
                    items,
                }
            }
            DataType::LargeList(_) => {
                let list: &LargeListArray = array.as_list();
                let items = JsonColumn::items(name, list.values())?;
                JsonColumn::List {
                    spans: Spans::Long(list.clone()),
                    nulls,
                    items,
                }
            }
            DataType::FixedSizeList(_, _) => {
                let list: &FixedSizeListArray = array.as_fixed_size_list();
                let len = usize::try_from(list.value_length()).unwrap_or(0);
                let items = JsonColumn::items(name, list.values())?;
                JsonColumn::List {
                    spans: Spans::Fixed(len),
                    nulls,
                    items,
                }
            }
            DataType::Struct(_) => JsonColumn::Struct {
                nulls,
                members: Members::of_struct(name, array.as_struct())?,
            },
            _ => JsonColumn::Scalar(Column::read(name, array)?),
        })
    }

    /// What lists hold. An item's number is no row's.
    fn items(name: &str, values: &ArrayRef) -> Result<Box<JsonColumn>, ValueError> {
        let items = JsonColumn::read(&format!("{name}[]"), values);
        let items = items.map_err(|error| ValueError { row: None, ..error })?;
        Ok(Box::new(items))
    }

    /// Adds a row's value.
    pub(crate) fn write(&self, row: usize, out: &mut Vec<u8>) {
        match self {
            JsonColumn::Scalar(column) => write_scalar(column, row, out),
            JsonColumn::List { nulls, .. } | JsonColumn::Struct { nulls, .. }
                if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) =>
            {
                out.extend_from_slice(b"null");
            }
            JsonColumn::List { spans, items, .. } => {
                out.push(b'[');
                for (index, item) in spans.of(row).enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    items.write(item, out);
                }
                out.push(b']');
            }
            JsonColumn::Struct { members, .. } => members.write(row, out),
        }
    }
}

impl Spans {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "Arrow's offsets"
    )]
    fn of(&self, row: usize) -> std::ops::Range<usize> {
        match self {
            Spans::Short(list) => {
                let offsets = list.value_offsets();
                offsets[row] as usize..offsets[row + 1] as usize
            }
            Spans::Long(list) => {
                let offsets = list.value_offsets();
                offsets[row] as usize..offsets[row + 1] as usize
            }
            Spans::Fixed(len) => row * len..(row + 1) * len,
        }
    }
}

impl Members {
    pub(crate) fn new(columns: impl Iterator<Item = (String, JsonColumn)>) -> Members {
        // Names are written into every row: as JSON, with their colon, once.
        let quoted = |name: String| format!("{}:", serde_json::Value::String(name));
        Members(
            columns
                .map(|(name, column)| (quoted(name), column))
                .collect(),
        )
    }

    /// The members of the objects of a column, which is `name` in errors.
    fn of_struct(name: &str, array: &StructArray) -> Result<Members, ValueError> {
        let columns = array
            .fields()
            .iter()
            .zip(array.columns())
            .map(|(field, column)| {
                let place = format!("{name}.{}", field.name());
                Ok((field.name().clone(), JsonColumn::read(&place, column)?))
            })
            .collect::<Result<Vec<_>, ValueError>>()?;
        Ok(Members::new(columns.into_iter()))
    }

    /// Adds a row as an object.
    pub(crate) fn write(&self, row: usize, out: &mut Vec<u8>) {
        out.push(b'{');
        for (index, (name, column)) in self.0.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.extend_from_slice(name.as_bytes());
            column.write(row, out);
        }
        out.push(b'}');
    }
}

fn write_scalar(column: &Column, row: usize, out: &mut Vec<u8>) {
    if column.is_null(row) {
        return out.extend_from_slice(b"null");
    }
    // What JSON has itself is written straight into the buffer, the rest by the engine's forms.
    match column {
        Column::Bool(array) => write_json(&array.value(row), out),
        Column::Int(array) => write_json(&array.value(row), out),
        Column::Uint(array) => write_json(&array.value(row), out),
        Column::Float(array) if array.value(row).is_finite() => write_json(&array.value(row), out),
        Column::Str(array) => write_json(array.value(row), out),
        Column::StrView(array) => write_json(array.value(row), out),
        other => write_json(&Datum::to_json(&other.datum(row)), out),
    }
}

fn write_json<T: serde::Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) {
    let written = serde_json::to_writer(out, value);
    debug_assert!(written.is_ok(), "writing a scalar into memory cannot fail");
}
