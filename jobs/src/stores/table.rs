//! A store as a table of DataFusion.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::internal_err;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
};
use eciton_engine::{Scan, Snapshot, Store};
use futures::stream;

use super::columns::StoreColumns;
use super::error::QueryError;
use super::range::{KeyRange, ranges};
use super::rows::Reader;

/// Ranges that a plan shows.
const SHOWN_MAX: usize = 3;

/// A store at a moment.
#[derive(Clone)]
pub(super) struct StoreTable {
    pub(super) snapshot: Snapshot,
    pub(super) store: Store,
    pub(super) columns: StoreColumns,
    /// Records that were read of it.
    pub(super) read: Arc<AtomicU64>,
}

impl fmt::Debug for StoreTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreTable({})", self.store.name())
    }
}

#[async_trait]
impl TableProvider for StoreTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.columns.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let wanted = match projection {
            Some(wanted) => wanted.clone(),
            None => (0..self.columns.all.len()).collect(),
        };
        let reader = Reader::new(&self.store, &self.columns, &wanted).map_err(external)?;
        let filters: Vec<&Expr> = filters.iter().collect();
        let found = ranges(&self.store, &self.columns, &filters);
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(reader.schema())),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(Arc::new(StoreScan {
            table: self.clone(),
            reader: Arc::new(reader),
            ranges: found.all.into(),
            limit,
            properties: Arc::new(properties),
        }))
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        let found = ranges(&self.store, &self.columns, filters);
        let of = |(is_used, is_exact): (bool, bool)| match (is_used, is_exact) {
            (_, true) => TableProviderFilterPushDown::Exact,
            // It may narrow the range once others are known.
            (_, false) => TableProviderFilterPushDown::Inexact,
        };
        let each = found.is_used.into_iter().zip(found.is_exact);
        Ok(each.map(of).collect())
    }
}

/// An error of ours on its way through DataFusion.
fn external(error: QueryError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// Reads ranges of keys of a store.
struct StoreScan {
    table: StoreTable,
    reader: Arc<Reader>,
    ranges: Arc<[KeyRange]>,
    limit: Option<usize>,
    properties: Arc<PlanProperties>,
}

impl fmt::Debug for StoreScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreScan({})", self.table.store.name())
    }
}

impl DisplayAs for StoreScan {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: Vec<&str> = self
            .ranges
            .iter()
            .take(SHOWN_MAX)
            .map(|range| range.shown.as_str())
            .collect();
        let keys = match (
            self.ranges.len(),
            self.ranges.len().saturating_sub(SHOWN_MAX),
        ) {
            (0, _) => "none".to_owned(),
            (_, 0) => shown.join(", "),
            (_, rest) => format!("{} and {rest} more", shown.join(", ")),
        };
        let fields = self.reader.schema().fields().iter();
        let columns: Vec<&str> = fields.map(|field| field.name().as_str()).collect();
        write!(
            f,
            "StoreScan: store={}, keys={keys}, columns=[{}]",
            self.table.store.name(),
            columns.join(", ")
        )?;
        match self.limit {
            Some(limit) => write!(f, ", limit={limit}"),
            None => Ok(()),
        }
    }
}

impl ExecutionPlan for StoreScan {
    fn name(&self) -> &'static str {
        "StoreScan"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match children.len() {
            0 => Ok(self),
            count => internal_err!("a store with {count} inputs"),
        }
    }

    fn execute(
        &self,
        _partition: usize,
        _context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let reading = RangeScan {
            table: self.table.clone(),
            reader: Arc::clone(&self.reader),
            left: self.ranges.iter().cloned().collect(),
            scan: None,
            limit: self.limit.map(|limit| limit as u64),
        };
        let batches = stream::try_unfold(reading, |mut reading| async move {
            let next = reading.next().await.map_err(external)?;
            Ok(next.map(|batch| (batch, reading)))
        });
        let schema = Arc::clone(self.reader.schema());
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, batches)))
    }
}

/// Ranges that are being read, one after the other.
struct RangeScan {
    table: StoreTable,
    reader: Arc<Reader>,
    left: VecDeque<KeyRange>,
    scan: Option<Scan>,
    limit: Option<u64>,
}

impl RangeScan {
    async fn next(&mut self) -> std::result::Result<Option<RecordBatch>, QueryError> {
        loop {
            if self.limit == Some(0) {
                return Ok(None);
            }
            let mut scan = match self.scan.take() {
                Some(scan) => scan,
                None => {
                    let Some(range) = self.left.pop_front() else {
                        return Ok(None);
                    };
                    let mut range = range.scan();
                    range.limit = self.limit;
                    range.keys_only = self.reader.is_keys_only();
                    self.table.snapshot.scan(&self.table.store, &range)
                }
            };
            let Some(batch) = self.reader.next(&mut scan).await? else {
                continue;
            };
            let rows = batch.num_rows() as u64;
            self.table.read.fetch_add(rows, Ordering::Relaxed);
            self.limit = self.limit.map(|limit| limit.saturating_sub(rows));
            self.scan = Some(scan);
            return Ok(Some(batch));
        }
    }
}
