//! A planned query: its parts, ready to run.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use eciton_engine::{Scan, StoreSchema};
use xxhash_rust::xxh3::xxh3_64;

use super::layout::Layout;
use super::merged::{Merged, MergedError};
use super::split::{QueryParts, split};
use super::top::Top;
use crate::aggregate::Aggregation;
use crate::transform::{RunError, Session, Transform, TransformError, never, planning};

/// The rules by which queries are taken apart. Raise it when operands of the same columns come to mean something else.
const RULES: u32 = 1;

/// A query over a whole source, planned for a job.
pub(crate) struct PlannedAnswer {
    /// What is done to the rows of a shard.
    pub(crate) rows: Transform,
    /// What becomes of them.
    pub(crate) answer: Answer,
}

/// What becomes of the rows of all shards. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Answer(Arc<AnswerPlan>);

struct AnswerPlan {
    operands: Operands,
    operand_schema: StoreSchema,
    merged: Merged,
    rest: Transform,
    layout: Layout,
}

/// What a shard's rows become.
pub(crate) enum Operands {
    /// Partial aggregates by key.
    Groups(Aggregation),
    /// The first rows in an order.
    Top(Top),
}

impl Answer {
    /// Takes a query apart. Reads and writes nothing.
    ///
    /// # Errors
    /// As [`Transform::plan`]; [`TransformError::NotMergeable`] for a query that cannot be taken apart exactly.
    pub(crate) fn plan(
        sql: &str,
        source_schema: &SchemaRef,
        has_dates: bool,
    ) -> Result<PlannedAnswer, TransformError> {
        planning(sql, || Answer::plan_here(sql, source_schema, has_dates))
    }

    fn plan_here(
        sql: &str,
        source_schema: &SchemaRef,
        has_dates: bool,
    ) -> Result<PlannedAnswer, TransformError> {
        let session =
            Session::new(source_schema).map_err(|error| TransformError::from_plan(&error))?;
        let query = session.logical_plan(sql)?;
        let QueryParts {
            rows,
            operands,
            merged,
            rest,
            layout,
        } = split(&session.state, &query.plan)?;
        let parts = format!("{RULES} {}", rows.display_indent());
        let tag = format!("rows.{:016x}", xxh3_64(parts.as_bytes()));
        let rows = Transform::of(&session, &query.part(rows), Arc::clone(source_schema))?;
        let rows = rows.with_dates(has_dates);
        let (operands, operand_schema) = operands.plan(&tag, rows.output_schema())?;
        let merged = merged.over(operand_schema.columns.clone());
        let rest = Transform::of(&session, &query.part(rest), Arc::clone(merged.schema()))?;
        let rest = rest.with_dates(has_dates);
        let given = rest.output_schema().fields().len();
        assert_eq!(
            given,
            layout.columns(),
            "columns of the answer and their names"
        );
        let answer = Answer(Arc::new(AnswerPlan {
            operands,
            operand_schema,
            merged,
            rest,
            layout,
        }));
        Ok(PlannedAnswer { rows, answer })
    }

    /// Whether the answer has dates.
    pub(crate) fn has_dates(&self) -> bool {
        self.0.rest.has_dates()
    }

    /// What a shard's rows become.
    pub(crate) fn operands(&self) -> &Operands {
        &self.0.operands
    }

    /// The schema of the store of operands.
    pub(crate) fn operand_schema(&self) -> StoreSchema {
        self.0.operand_schema.clone()
    }

    /// How the answer is written.
    pub(crate) fn layout(&self) -> &Layout {
        &self.0.layout
    }

    /// Computes the answer from the merged operands of all shards, and gives it batch by batch until `take` has
    /// enough. Blocks.
    ///
    /// # Errors
    /// [`RunError`]: the operands cannot be read, or the query fails on them.
    pub(crate) fn conclude(
        &self,
        operands: Scan,
        mut take: impl FnMut(RecordBatch) -> bool,
    ) -> Result<(), RunError<MergedError>> {
        let batches = Box::new(self.0.merged.read(operands));
        for batch in self.0.rest.run(batches, &never())? {
            if !take(batch?) {
                break;
            }
        }
        Ok(())
    }
}
