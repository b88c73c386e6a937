//! One shard's upserts.

use std::sync::Arc;

use arrow::array::RecordBatch;
use eciton_engine::limits::{KEY_LEN_MAX, VALUE_LEN_MAX};
use eciton_engine::merge::{Latest, Operand, Ordinal};
use eciton_engine::{Key, KeyBuilder};

use super::json::{JsonColumn, Members};
use super::plan::UpsertPlan;
use super::version::versioned;
use crate::columns::ValueError;
use crate::groups::Groups;

/// Bytes of keys and values that an upserter keeps before it asks to be emptied.
pub const UPSERT_LEN_MAX: usize = 64 << 20;

/// Bytes of a record's encoding that are not its value: places, lengths, tags.
const RECORD_OVERHEAD_LEN_MAX: usize = 64;

/// What is wrong with a row of a shard. The same shard fails again.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpsertError {
    /// A value has no counterpart in the engine.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// A key or a value is longer than a store takes.
    #[error("the {what} of output row {row} is {len} bytes long, the limit is {max}")]
    TooLong {
        /// `key` or `value`.
        what: &'static str,
        /// The row's number within the shard's output, from 0.
        row: u64,
        /// The length in bytes.
        len: u64,
        /// The limit in bytes.
        max: u64,
    },
    /// A row has no version.
    #[error(
        "the version of output row {row} is NULL; expected a value, as `WHERE ... IS NOT NULL` in `transform.sql` leaves \
         them"
    )]
    NoVersion {
        /// The row's number within the shard's output, from 0.
        row: u64,
    },
    /// The engine refused a record.
    #[error(transparent)]
    Operand(#[from] eciton_engine::Error),
}

/// A row that stays.
struct LastRow {
    version: u64,
    row: u64,
    value: std::ops::Range<usize>,
}

/// The records of one shard so far, of each key the last. Push batches; whenever it
/// [is full](Upserter::is_full), and at the end, take what it has.
pub struct Upserter {
    plan: Arc<UpsertPlan>,
    job: u64,
    shard: u64,
    keys: Groups,
    /// Of each key the last row, or that of the largest version.
    last: Vec<LastRow>,
    /// The values one after the other, those of replaced rows too.
    values: Vec<u8>,
    builder: KeyBuilder,
    rows: u64,
}

impl Upserter {
    pub(super) fn new(plan: Arc<UpsertPlan>, job: u64, shard: u64) -> Upserter {
        Upserter {
            plan,
            job,
            shard,
            keys: Groups::default(),
            last: Vec::new(),
            values: Vec::new(),
            builder: KeyBuilder::new(),
            rows: 0,
        }
    }

    /// Adds a batch with the columns that the upsert was planned for.
    ///
    /// # Errors
    /// [`UpsertError`]: a row of this batch cannot be stored. The shard is of no use then.
    pub fn push(&mut self, batch: &RecordBatch) -> Result<(), UpsertError> {
        let rows_before = self.rows;
        let placed = |error: ValueError| error.after(rows_before);
        let keys = self.plan.key.read(batch).map_err(placed)?;
        let columns = self
            .plan
            .values
            .iter()
            .map(|(name, index)| Ok((name.clone(), JsonColumn::read(name, batch.column(*index))?)))
            .collect::<Result<Vec<_>, ValueError>>()
            .map_err(placed)?;
        let versions = self.plan.version.as_ref();
        let versions = versions.map(|version| version.read(batch)).transpose();
        let versions = versions.map_err(|row| UpsertError::NoVersion {
            row: rows_before + row,
        })?;
        let members = Members::new(columns.into_iter());
        for row in 0..batch.num_rows() {
            keys.encode(row, &mut self.builder);
            let start = self.values.len();
            members.write(row, &mut self.values);
            let version = versions.as_ref().map_or(0, |versions| versions[row]);
            self.add_row(version, start..self.values.len())?;
        }
        Ok(())
    }

    /// Adds the row whose key is in the builder.
    fn add_row(&mut self, version: u64, value: std::ops::Range<usize>) -> Result<(), UpsertError> {
        let row = self.rows;
        let too_long = |what, len: usize, max: usize| UpsertError::TooLong {
            what,
            row,
            len: len as u64,
            max: max as u64,
        };
        let value_len_max = VALUE_LEN_MAX - RECORD_OVERHEAD_LEN_MAX;
        if value.len() > value_len_max {
            return Err(too_long("value", value.len(), value_len_max));
        }
        let number = self
            .keys
            .group_of(self.builder.as_bytes())
            .map_err(|key| too_long("key", key.0, KEY_LEN_MAX))?;
        let number = number as usize;
        let new = LastRow {
            version,
            row,
            value,
        };
        match self.last.get_mut(number) {
            None => self.last.push(new),
            Some(last) if last.version <= version => *last = new,
            Some(_) => {}
        }
        self.rows += 1;
        Ok(())
    }

    /// How many keys there are now.
    pub fn records(&self) -> usize {
        self.keys.len()
    }

    /// Whether more than [`UPSERT_LEN_MAX`] bytes are kept: time for [`take`](Upserter::take).
    pub fn is_full(&self) -> bool {
        self.len_bytes() > UPSERT_LEN_MAX
    }

    /// Bytes of keys and values that it keeps, about.
    pub fn len_bytes(&self) -> usize {
        let last = size_of_val(self.last.as_slice());
        self.keys.len_bytes() + last + self.values.len()
    }

    /// One operand for each key so far, in key order; the upserter begins anew, and goes on counting
    /// rows.
    ///
    /// # Errors
    /// None in practice: [`UpsertError::Operand`] would say that the engine refused what it planned.
    pub fn take(&mut self) -> Result<Vec<(Key, Operand)>, UpsertError> {
        let last = std::mem::take(&mut self.last);
        let values = std::mem::take(&mut self.values);
        let mut operands = Vec::with_capacity(last.len());
        for (key, number) in self.keys.take_sorted() {
            let LastRow {
                version,
                row,
                value,
            } = &last[number];
            let ordinal = match self.plan.version {
                None => Ordinal {
                    job: self.job,
                    shard: self.shard,
                    row: *row,
                },
                Some(_) => versioned(*version, (self.job, self.shard), *row),
            };
            let latest = Latest::new(ordinal, &values[value.clone()]);
            operands.push((Key::from_encoded(key), latest.into_operand()?));
        }
        Ok(operands)
    }
}
