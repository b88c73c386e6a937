//! The columns that make the keys of a store.

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use eciton_engine::KeyBuilder;

use super::{Column, Kind, ValueError};
use crate::names;

/// Which columns make the key, in key order.
#[derive(Clone, Debug)]
pub(crate) struct KeyPlan {
    columns: Vec<(String, usize)>,
}

/// The key columns of one batch.
pub(crate) struct KeyColumns(Vec<Column>);

/// Why columns cannot make a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No such column.
    #[error("no column `{name}`: {}", names::candidates(name, columns))]
    Missing {
        /// The name that was not found.
        name: String,
        /// The columns that are there.
        columns: Vec<String>,
    },
    /// Its type has no order that a key could keep.
    #[error(
        "column `{name}` of type {data_type} cannot be part of a key: expected bool, integer, float, decimal, string, bytes, date or timestamp"
    )]
    Type {
        /// The column.
        name: String,
        /// Its type.
        data_type: String,
    },
}

impl KeyPlan {
    /// Finds the columns by name.
    ///
    /// # Errors
    /// A column that is missing, or whose type cannot be part of a key.
    pub(crate) fn new(names: &[String], schema: &Schema) -> Result<KeyPlan, KeyError> {
        let find = |name: &String| {
            let index = find(name, schema)?;
            let data_type = schema.field(index).data_type();
            match Kind::of(data_type) {
                Some(_) => Ok((name.clone(), index)),
                None => Err(KeyError::Type {
                    name: name.clone(),
                    data_type: data_type.to_string(),
                }),
            }
        };
        let columns = names.iter().map(find).collect::<Result<_, _>>()?;
        Ok(KeyPlan { columns })
    }

    /// Positions of the key's columns in the schema.
    pub(crate) fn positions(&self) -> impl Iterator<Item = usize> {
        self.columns.iter().map(|(_, index)| *index)
    }

    /// The key columns of a batch.
    pub(crate) fn read(&self, batch: &RecordBatch) -> Result<KeyColumns, ValueError> {
        let read = |(name, index): &(String, usize)| Column::read(name, batch.column(*index));
        self.columns
            .iter()
            .map(read)
            .collect::<Result<_, _>>()
            .map(KeyColumns)
    }
}

/// A column's position by its name.
fn find(name: &str, schema: &Schema) -> Result<usize, KeyError> {
    schema
        .fields()
        .iter()
        .position(|field| field.name() == name)
        .ok_or_else(|| {
            let columns = schema
                .fields()
                .iter()
                .map(|field| field.name().clone())
                .collect();
            KeyError::Missing {
                name: name.to_owned(),
                columns,
            }
        })
}

impl KeyColumns {
    /// Encodes a row's key into `builder`, which is cleared first.
    #[inline]
    pub(crate) fn encode(&self, row: usize, builder: &mut KeyBuilder) {
        builder.clear();
        self.append(row, builder);
    }

    /// Encodes a row's key behind what `builder` has.
    #[inline]
    pub(crate) fn append(&self, row: usize, builder: &mut KeyBuilder) {
        for column in &self.0 {
            column.push_key(row, builder);
        }
    }
}
