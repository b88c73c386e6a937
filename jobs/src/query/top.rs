//! The first rows in an order.
//!
//! Each shard gives as many rows as the query keeps; the first of all shards' rows are the first of all rows. The key of
//! a row is its place in the order: the values that it is ordered by, then the numbers of its shard and of the row, so
//! that of rows that tie the earlier one in the source comes first.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::logical_plan::Sort;
use datafusion::logical_expr::{
    Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, SortExpr, lit,
};
use eciton_engine::limits::KEY_LEN_MAX;
use eciton_engine::merge::{self, Operand, Operator, State};
use eciton_engine::{Datum, Encoding, Error, Key, KeyBuilder, StoreSchema};

use super::answer::Operands;
use super::groups::{check_type, encoded};
use super::merged::{Merged, Origin};
use super::split::{Cut, OperandPlan};
use crate::columns::{Column, Kind, ValueError};
use crate::transform::TransformError;
use crate::transform::scope::shown;

/// Rows that a query may keep of each shard: its LIMIT and its OFFSET together.
pub(super) const TOP_ROWS_MAX: usize = 100_000;

/// Bytes of rows that a shard keeps before it asks to be emptied.
const TOP_LEN_MAX: usize = 64 << 20;

/// The first rows as operands, by the positions of the columns of all rows: first what they are ordered by, then what
/// they are.
pub(super) struct TopOperands {
    limit: usize,
    order: Vec<Direction>,
}

#[derive(Clone, Copy, Debug)]
struct Direction {
    is_ascending: bool,
    is_null_first: bool,
}

impl TopOperands {
    /// Cuts at a sort of which so many rows are kept.
    pub(super) fn of_sort(sort: &Sort, limit: usize) -> Result<Cut, TransformError> {
        TopOperands::of_input(&sort.input, &sort.expr, limit)
    }

    /// Cuts above rows of which so many are kept, in this order, and then in that of the source.
    pub(super) fn of_input(
        input: &LogicalPlan,
        order: &[SortExpr],
        limit: usize,
    ) -> Result<Cut, TransformError> {
        let failed = |error: DataFusionError| TransformError::from_plan(&error);
        let mut columns = Vec::new();
        for (index, by) in order.iter().enumerate() {
            let data_type = by.expr.get_type(input.schema()).map_err(failed)?;
            check_type(&format!("ORDER BY `{}`", shown(&by.expr)), &data_type)?;
            columns.push(encoded(by.expr.clone(), &data_type).alias(format!("s{index}")));
        }
        let mut merged: Vec<(DataType, Origin)> = Vec::new();
        for (index, (table, field)) in input.schema().iter().enumerate() {
            let data_type = field.data_type();
            check_type(&format!("a column `{}`", field.name()), data_type)?;
            let column = Expr::Column((table, field).into());
            columns.push(encoded(column, data_type).alias(format!("c{index}")));
            // The value before the first one has the store's tag.
            merged.push((data_type.clone(), Origin::Value(index + 1)));
        }
        assert_eq!(columns.len(), order.len() + merged.len());
        if columns.is_empty() {
            columns.push(lit(true).alias("row"));
        }
        let rows = LogicalPlanBuilder::from(input.clone())
            .project(columns)
            .and_then(LogicalPlanBuilder::build)
            .map_err(failed)?;
        let order = order.iter().map(|by| Direction {
            is_ascending: by.asc,
            is_null_first: by.nulls_first,
        });
        Ok(Cut {
            rows,
            operands: OperandPlan::Top(TopOperands {
                limit,
                order: order.collect(),
            }),
            merged: Merged::rows(merged, limit),
        })
    }

    pub(super) fn plan(
        self,
        tag: &str,
        rows: &Schema,
    ) -> Result<(Operands, StoreSchema), TransformError> {
        let failed = |error: Error| TransformError::Plan {
            message: error.to_string(),
        };
        let tagged = merge::Column::new(tag, Operator::Count, merge::Kind::Any).map_err(failed)?;
        let mut columns = vec![tagged];
        let fields = rows.fields().iter().enumerate().skip(self.order.len());
        for (index, field) in fields {
            let kind = Kind::of(field.data_type()).map_or(merge::Kind::Any, merge::Kind::from);
            let name = format!("v{index}");
            columns.push(merge::Column::new(name, Operator::Min, kind).map_err(failed)?);
        }
        let names = rows.fields().iter().map(|field| field.name().clone());
        let top = Top(Arc::new(Plan {
            limit: self.limit,
            order: self.order,
            names: names.collect(),
        }));
        let schema = StoreSchema {
            encoding: Encoding::Json,
            columns,
            ..StoreSchema::default()
        };
        Ok((Operands::Top(top), schema))
    }
}

/// A planned order and limit. Cheap to clone; shared by all shards of a job.
#[derive(Clone)]
pub(crate) struct Top(Arc<Plan>);

struct Plan {
    limit: usize,
    order: Vec<Direction>,
    names: Vec<String>,
}

impl Top {
    /// Begins a shard.
    pub(crate) fn start(&self, shard: u64) -> TopRows {
        TopRows {
            plan: Arc::clone(&self.0),
            shard,
            row: 0,
            kept: BTreeMap::new(),
            kept_len: 0,
            builder: KeyBuilder::new(),
        }
    }
}

/// What is wrong with a row of a shard. The same shard fails again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TopError {
    /// A value has no counterpart in the engine.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// What a row is ordered by is too long.
    #[error("what output row {row} is ordered by takes {len} bytes, the limit is {max}")]
    KeyTooLong {
        /// The row's number within the shard's output, from 0.
        row: u64,
        /// The length in bytes.
        len: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// The engine refused an operand.
    #[error(transparent)]
    Operand(#[from] Error),
}

/// The first rows of one shard so far. Push batches; whenever it [is full](TopRows::is_full), and at the end, take what
/// it has.
pub(crate) struct TopRows {
    plan: Arc<Plan>,
    shard: u64,
    row: u64,
    kept: BTreeMap<Vec<u8>, Operand>,
    kept_len: usize,
    builder: KeyBuilder,
}

impl TopRows {
    /// Adds a batch.
    ///
    /// # Errors
    /// [`TopError`]: a row of this batch cannot be kept. The shard is of no use then.
    pub(crate) fn push(&mut self, batch: &RecordBatch) -> Result<(), TopError> {
        let columns = self.plan.names.iter().zip(batch.columns());
        let columns = columns
            .map(|(name, array)| Column::read(name, array))
            .collect::<Result<Vec<_>, _>>()?;
        let (by, values) = columns.split_at(self.plan.order.len());
        for row in 0..batch.num_rows() {
            self.place(by, row)?;
            self.row += 1;
            let last = self.kept.last_key_value();
            let is_late = last.is_none_or(|(last, _)| self.builder.as_bytes() > last.as_slice());
            if self.kept.len() >= self.plan.limit && is_late {
                continue;
            }
            self.keep(values, row)?;
        }
        let (kept, limit) = (self.kept.len(), self.plan.limit);
        assert!(kept <= limit, "{kept} rows are kept of {limit}");
        Ok(())
    }

    /// Puts a row's place into the builder.
    fn place(&mut self, by: &[Column], row: usize) -> Result<(), TopError> {
        let key = &mut self.builder;
        key.clear();
        for (column, direction) in by.iter().zip(&self.plan.order) {
            let is_null = column.is_null(row);
            key.push_bool(is_null != direction.is_null_first);
            if is_null {
                continue;
            }
            if direction.is_ascending {
                column.push_key(row, key);
            } else {
                key.descending(|key| column.push_key(row, key));
            }
        }
        key.push_u64(self.shard);
        key.push_u64(self.row);
        let len = key.as_bytes().len();
        match len <= KEY_LEN_MAX {
            true => Ok(()),
            false => Err(TopError::KeyTooLong {
                row: self.row,
                len,
                max: KEY_LEN_MAX,
            }),
        }
    }

    fn keep(&mut self, values: &[Column], row: usize) -> Result<(), TopError> {
        let mut states = vec![State::new(Operator::Count)];
        for column in values {
            let mut state = State::new(Operator::Min);
            match column.datum(row) {
                Datum::Null => {}
                datum => state.add(&datum)?,
            }
            states.push(state);
        }
        let operand = Operand::new(&states)?;
        let key = self.builder.as_bytes().to_vec();
        self.kept_len += len(&key, &operand);
        self.kept.insert(key, operand);
        if self.kept.len() > self.plan.limit
            && let Some((key, operand)) = self.kept.pop_last()
        {
            let left = len(&key, &operand);
            debug_assert!(left <= self.kept_len, "{left} of {} bytes", self.kept_len);
            self.kept_len -= left;
        }
        Ok(())
    }

    /// Bytes of rows that it keeps, about.
    pub(crate) fn len_bytes(&self) -> usize {
        self.kept_len
    }

    /// Whether it keeps so many bytes that it is time for [`take`](TopRows::take).
    pub(crate) fn is_full(&self) -> bool {
        self.kept_len > TOP_LEN_MAX
    }

    /// The rows so far, in order; of those that come it gives the first ones anew, which are more than are wanted
    /// together.
    pub(crate) fn take(&mut self) -> Vec<(Key, Operand)> {
        self.kept_len = 0;
        let kept = std::mem::take(&mut self.kept);
        kept.into_iter()
            .map(|(key, operand)| (Key::from_encoded(key), operand))
            .collect()
    }
}

/// Bytes that a kept row takes, about.
fn len(key: &[u8], operand: &Operand) -> usize {
    size_of::<(Vec<u8>, Operand)>() + key.len() + operand.as_bytes().len()
}
