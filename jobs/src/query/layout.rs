//! The rows of an answer as records.
//!
//! Where the query says what tells its rows apart, the columns of its GROUP BY or of its DISTINCT, these make the key.
//! Where it says an order, or leaves a column of the GROUP BY out, the rows are numbered from 1 instead, and all columns
//! make the value.

use arrow::array::cast::AsArray;
use arrow::array::{Array, RecordBatch};
use arrow::datatypes::{DataType, TimeUnit, TimestampNanosecondType};
use bytes::Bytes;
use datafusion::common::DFSchema;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Distinct, Expr, LogicalPlan};
use eciton_engine::limits::{KEY_LEN_MAX, VALUE_LEN_MAX};
use eciton_engine::{Encoding, Key, KeyBuilder, StoreSchema};

use crate::columns::{Column, Kind, ValueError};
use crate::transform::TransformError;
use crate::transform::scope::unqualified;
use crate::upsert::{JsonColumn, Members, is_writable};

/// The name of the key's field where rows are numbered.
const ROW: &str = "row";

/// How rows become records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Names of all columns, in the order of the query.
    names: Vec<String>,
    /// Positions of the columns that make the key; `None`: rows are numbered.
    key: Option<Vec<usize>>,
}

/// Why a row cannot be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LayoutError {
    /// A value has no counterpart in the engine.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// Something is too long.
    #[error("the {what} of row {row} of the result takes {len} bytes, the limit is {max}")]
    TooLong {
        /// `key` or `value`.
        what: &'static str,
        /// The row's number, from 1.
        row: u64,
        /// The length in bytes.
        len: usize,
        /// The limit in bytes.
        max: usize,
    },
}

impl Layout {
    /// How the rows of a query are written, given it as it was planned and as it was analyzed.
    pub(super) fn of(plan: &LogicalPlan, analyzed: &LogicalPlan) -> Result<Layout, TransformError> {
        let names = names(plan);
        for (index, name) in names.iter().enumerate() {
            if names[..index].contains(name) {
                return Err(TransformError::Plan {
                    message: format!(
                        "two columns of the result are named `{name}`: expected names that differ, such as `... AS {name}_2`"
                    ),
                });
            }
        }
        let key = key(analyzed).map_err(|error| TransformError::from_plan(&error))?;
        let is_key = |index: &usize| key.as_ref().is_some_and(|key| key.contains(index));
        for (index, field) in analyzed.schema().fields().iter().enumerate() {
            let data_type = field.data_type();
            let is_legal = match is_key(&index) {
                true => Kind::of(data_type).is_some(),
                false => is_writable(data_type),
            };
            if !is_legal {
                return Err(TransformError::Plan {
                    message: format!(
                        "column `{}` of type {data_type} has no form in a store: cast it or leave it out",
                        names[index]
                    ),
                });
            }
        }
        Ok(Layout { names, key })
    }

    /// How many columns the answer has.
    pub(super) fn columns(&self) -> usize {
        self.names.len()
    }

    /// The schema of the store that takes the answer.
    pub(crate) fn store_schema(&self) -> StoreSchema {
        let key_fields = match &self.key {
            Some(key) => key.iter().map(|index| self.names[*index].clone()).collect(),
            None => vec![ROW.to_owned()],
        };
        StoreSchema {
            encoding: Encoding::Json,
            key_fields,
            ..StoreSchema::default()
        }
    }

    /// The columns that make the values of the records.
    pub(crate) fn values(&self) -> Vec<String> {
        let key = self.key.iter().flatten();
        let is_value = |index: &usize| !key.clone().any(|of_key| of_key == index);
        let values = (0..self.names.len()).filter(is_value);
        values.map(|index| self.names[index].clone()).collect()
    }

    /// The records of a batch, before which so many rows came.
    ///
    /// # Errors
    /// [`LayoutError`].
    pub(crate) fn records(
        &self,
        batch: &RecordBatch,
        before: u64,
    ) -> Result<Vec<(Key, Bytes)>, LayoutError> {
        assert_eq!(
            batch.num_columns(),
            self.names.len(),
            "columns of the answer"
        );
        let mut key_columns = Vec::new();
        for index in self.key.iter().flatten() {
            exact(&self.names[*index], batch.column(*index))?;
            key_columns.push(Column::read(&self.names[*index], batch.column(*index))?);
        }
        let mut members = Vec::new();
        for (index, name) in self.names.iter().enumerate() {
            if self.key.as_ref().is_some_and(|key| key.contains(&index)) {
                continue;
            }
            exact(name, batch.column(index))?;
            members.push((name.clone(), JsonColumn::read(name, batch.column(index))?));
        }
        let members = Members::new(members.into_iter());
        let mut builder = KeyBuilder::new();
        let mut records = Vec::with_capacity(batch.num_rows());
        for row in 0..batch.num_rows() {
            let number = before + row as u64 + 1;
            builder.clear();
            match &self.key {
                Some(_) => key_columns
                    .iter()
                    .for_each(|column| column.push_key(row, &mut builder)),
                None => builder.push_u64(number),
            }
            let mut value = Vec::new();
            members.write(row, &mut value);
            let key = Bytes::copy_from_slice(builder.as_bytes());
            check_len("key", number, key.len(), KEY_LEN_MAX)?;
            check_len("value", number, value.len(), VALUE_LEN_MAX)?;
            records.push((Key::from_encoded(key), value.into()));
        }
        debug_assert_eq!(records.len(), batch.num_rows(), "a record for each row");
        Ok(records)
    }
}

fn check_len(what: &'static str, row: u64, len: usize, max: usize) -> Result<(), LayoutError> {
    match len <= max {
        true => Ok(()),
        false => Err(LayoutError::TooLong {
            what,
            row,
            len,
            max,
        }),
    }
}

/// A store keeps microseconds: nanoseconds beyond them are not cut off.
fn exact(name: &str, array: &dyn Array) -> Result<(), ValueError> {
    if !matches!(
        array.data_type(),
        DataType::Timestamp(TimeUnit::Nanosecond, _)
    ) {
        return Ok(());
    }
    let nanos = array.as_primitive::<TimestampNanosecondType>();
    match nanos.iter().flatten().find(|nanos| nanos % 1000 != 0) {
        None => Ok(()),
        Some(nanos) => Err(ValueError {
            column: name.to_owned(),
            message: format!(
                "the timestamp of {nanos} nanoseconds has more digits than a store keeps: expected microseconds; round \
                 it with `date_trunc('microsecond', ...)`"
            ),
            row: None,
        }),
    }
}

/// The names of the columns: as the query gives them, or what it computes.
fn names(plan: &LogicalPlan) -> Vec<String> {
    let given = given_names(plan);
    let fields = plan.schema().fields().iter().enumerate();
    fields
        .map(|(index, field)| match given.get(index) {
            Some(true) => field.name().clone(),
            _ => unqualified(field.name()),
        })
        .collect()
}

/// Whether the query itself names each column: `... AS n`.
fn given_names(plan: &LogicalPlan) -> Vec<bool> {
    match plan {
        LogicalPlan::Projection(projection) => {
            let exprs = projection.expr.iter();
            // Of a column that has no table the planner has made the name.
            let is_given = |expr: &Expr| match expr {
                Expr::Alias(_) => true,
                Expr::Column(column) => column.relation.is_some(),
                _ => false,
            };
            exprs.map(is_given).collect()
        }
        LogicalPlan::Limit(limit) => given_names(&limit.input),
        LogicalPlan::Sort(sort) => given_names(&sort.input),
        LogicalPlan::Distinct(Distinct::All(input)) => given_names(input),
        _ => Vec::new(),
    }
}

/// The columns that tell the rows of a query apart, if it says so and says no order.
fn key(plan: &LogicalPlan) -> Result<Option<Vec<usize>>, DataFusionError> {
    let Some(groups) = groups(plan) else {
        return Ok(None);
    };
    let columns = plan.schema().fields().len();
    let mut key = Vec::new();
    let mut seen = vec![false; groups];
    for column in 0..columns {
        if let Some(group) = group_of(plan, column)?
            && let Some(seen) = seen.get_mut(group)
            && !*seen
        {
            *seen = true;
            key.push(column);
        }
    }
    Ok(seen.iter().all(|seen| *seen).then_some(key))
}

/// How many columns tell the rows apart.
fn groups(plan: &LogicalPlan) -> Option<usize> {
    match plan {
        LogicalPlan::Projection(projection) => groups(&projection.input),
        LogicalPlan::Filter(filter) => groups(&filter.input),
        LogicalPlan::SubqueryAlias(alias) => groups(&alias.input),
        LogicalPlan::Aggregate(aggregate) => match aggregate.group_expr.first() {
            Some(Expr::GroupingSet(_)) => None,
            _ => Some(aggregate.group_expr.len()),
        },
        LogicalPlan::Distinct(Distinct::All(input)) => Some(input.schema().fields().len()),
        _ => None,
    }
}

/// Which of the grouping's columns a column is.
fn group_of(plan: &LogicalPlan, column: usize) -> Result<Option<usize>, DataFusionError> {
    let below = |schema: &DFSchema, expr: &Expr| match expr.clone().unalias() {
        Expr::Column(column) => schema.maybe_index_of_column(&column),
        _ => None,
    };
    match plan {
        LogicalPlan::Projection(projection) => {
            let input = &projection.input;
            match below(input.schema(), &projection.expr[column]) {
                Some(index) => group_of(input, index),
                None => Ok(None),
            }
        }
        LogicalPlan::Filter(filter) => group_of(&filter.input, column),
        LogicalPlan::SubqueryAlias(alias) => group_of(&alias.input, column),
        LogicalPlan::Aggregate(aggregate) => {
            Ok((column < aggregate.group_expr.len()).then_some(column))
        }
        LogicalPlan::Distinct(_) => Ok(Some(column)),
        _ => Ok(None),
    }
}
