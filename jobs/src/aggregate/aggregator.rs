//! One shard's aggregation.

use std::sync::Arc;

use arrow::array::RecordBatch;
use eciton_engine::limits::KEY_LEN_MAX;
use eciton_engine::merge::{Operand, Ordinal};
use eciton_engine::{Key, KeyBuilder};

use super::error::AggregateError;

use super::plan::AggregationPlan;
use super::states::States;
use crate::columns::{Column, KeyColumns, ValueError};
use crate::groups::Groups;

/// Bytes of keys and states that an aggregator keeps before it asks to be emptied.
pub const AGGREGATE_LEN_MAX: usize = 64 << 20;

/// The groups of one shard so far. Push batches; whenever it [is full](Aggregator::is_full), and at
/// the end, take what it has.
pub struct Aggregator {
    plan: Arc<AggregationPlan>,
    groups: Groups,
    states: Vec<States>,
    /// The group of each row of the batch at hand.
    rows: Vec<u32>,
    /// The keys of that batch's rows one after the other.
    builder: KeyBuilder,
    /// Where each of them ends.
    ends: Vec<usize>,
    /// Rows of earlier batches, for messages and places.
    rows_before: u64,
    /// The numbers of the job and of the shard, for the places of rows.
    job: u64,
    shard: u64,
}

impl Aggregator {
    pub(super) fn new(plan: Arc<AggregationPlan>) -> Aggregator {
        let states = plan.values.iter().map(super::plan::Value::states).collect();
        Aggregator {
            plan,
            groups: Groups::default(),
            states,
            rows: Vec::new(),
            builder: KeyBuilder::new(),
            ends: Vec::new(),
            rows_before: 0,
            job: 0,
            shard: 0,
        }
    }

    /// Says whose rows come next: the numbers of the job and of the shard in it, which `first` and `last` go by.
    pub fn begin(&mut self, job: u64, shard: u64) {
        debug_assert_eq!(self.rows_before, 0, "rows of another shard came before");
        (self.job, self.shard) = (job, shard);
    }

    /// Adds a batch with the columns that the aggregation was planned for.
    ///
    /// # Errors
    /// [`AggregateError`]: a value or a key of this batch cannot be stored. The shard is of no use
    /// then.
    pub fn push(&mut self, batch: &RecordBatch) -> Result<(), AggregateError> {
        let rows_before = self.rows_before;
        let placed = |error: ValueError| error.after(rows_before);
        let keys = self.plan.key.read(batch).map_err(placed)?;
        self.assign_groups(&keys, batch.num_rows())?;
        let columns = self
            .plan
            .columns
            .iter()
            .map(|(name, index)| Column::read(name, batch.column(*index)))
            .collect::<Result<Vec<_>, _>>()
            .map_err(placed)?;
        let first = Ordinal {
            job: self.job,
            shard: self.shard,
            row: rows_before,
        };
        for (value, states) in self.plan.values.iter().zip(&mut self.states) {
            states.resize(self.groups.len());
            let column = value.column().map(|column| &columns[column]);
            states.update(&self.rows, column, first);
        }
        self.rows_before += batch.num_rows() as u64;
        Ok(())
    }

    fn assign_groups(&mut self, keys: &KeyColumns, rows: usize) -> Result<(), AggregateError> {
        self.rows.clear();
        self.rows.reserve(rows);
        self.builder.clear();
        self.ends.clear();
        let mut start = 0;
        for row in 0..rows {
            keys.append(row, &mut self.builder);
            let end = self.builder.as_bytes().len();
            if end - start > KEY_LEN_MAX {
                return Err(AggregateError::KeyTooLong {
                    row: self.rows_before + row as u64,
                    len: (end - start) as u64,
                    max: KEY_LEN_MAX as u64,
                });
            }
            self.ends.push(end);
            start = end;
        }
        self.groups
            .groups_of(self.builder.as_bytes(), &self.ends, &mut self.rows);
        Ok(())
    }

    /// Adds the groups of another aggregator of the same plan, as if its rows had been pushed here; how
    /// many of them were new.
    pub fn absorb(&mut self, other: &Aggregator) -> usize {
        debug_assert!(Arc::ptr_eq(&self.plan, &other.plan), "of one plan");
        let before = self.groups.len();
        let groups = self.groups.absorb(&other.groups);
        for (ours, theirs) in self.states.iter_mut().zip(&other.states) {
            ours.resize(self.groups.len());
            ours.absorb(&groups, theirs);
        }
        self.groups.len() - before
    }

    /// Forgets everything but the memory it has, for another shard.
    pub fn clear(&mut self) {
        self.groups.clear();
        self.states.iter_mut().for_each(States::clear);
        self.rows_before = 0;
    }

    /// How many groups there are now.
    pub fn groups(&self) -> usize {
        self.groups.len()
    }

    /// Bytes of keys and states that it keeps, about.
    pub fn len_bytes(&self) -> usize {
        let states: usize = self.states.iter().map(States::len_bytes).sum();
        self.groups.len_bytes() + states
    }

    /// Whether more than [`AGGREGATE_LEN_MAX`] bytes are kept: time for
    /// [`take`](Aggregator::take).
    pub fn is_full(&self) -> bool {
        self.len_bytes() > AGGREGATE_LEN_MAX
    }

    /// One operand for each key so far, in key order; the aggregator begins anew. Operands of a key
    /// that was taken more than once merge like those of different shards.
    ///
    /// # Errors
    /// None in practice: [`AggregateError::Operand`] would say that the engine refused what it
    /// planned.
    pub fn take(&mut self) -> Result<Vec<(Key, Operand)>, AggregateError> {
        let sorted = self.groups.take_sorted();
        let mut operands = Vec::with_capacity(sorted.len());
        let mut states = Vec::with_capacity(self.states.len());
        for (key, group) in sorted {
            states.clear();
            for (value, accumulated) in self.plan.values.iter().zip(&self.states) {
                states.push(accumulated.state(value.operator(), group)?);
            }
            operands.push((Key::from_encoded(key), Operand::new(&states)?));
        }
        self.states.iter_mut().for_each(States::clear);
        Ok(operands)
    }
}
