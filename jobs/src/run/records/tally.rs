//! What is added up over the shards of a job, as they end.
//!
//! A transaction that ends shards merges what they add into one record a job. Merging never conflicts, so however
//! many workers end shards at the same time, the record is not one that they fight for; and since it is part of the
//! transaction that marks the shards, it always agrees with the marks. Looking at a job of a million shards thus reads
//! one record.

use eciton_engine::merge::{Column, Kind, Operand, Operator, State, States, read};
use eciton_engine::{Datum, Db, Encoding, Error, Key, Snapshot, Store, StoreSchema, Transaction};

use super::error::{JobError, damaged};

/// The system store of the sums.
const STORE: &str = "_tallies";

/// Sums over the shards of a job, or what a transaction adds to them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Shards that are done.
    pub(crate) done: i64,
    /// Shards that failed for good.
    pub(crate) failed: i64,
    /// Rows that shards that are done have read.
    pub(crate) rows_read: i64,
    /// Malformed records that they left out.
    pub(crate) rows_skipped: i64,
    /// Operands and records that they committed.
    pub(crate) records_merged: i64,
    /// Attempts that ended, well or not.
    pub(crate) attempts: i64,
    /// Times a commit lost against another transaction and was tried again.
    pub(crate) conflicts: i64,
    /// Values of members of JSON objects that are no columns, which they left out. In a record of its own, which few jobs
    /// have, so that the columns are those of every version.
    pub(crate) values_ignored: i64,
    /// Some of these sums are larger than can be told, and so are told as the largest number.
    pub(crate) is_beyond: bool,
}

/// The columns, in the order of [`Tally::fields`].
const NAMES: [&str; 7] = [
    "done",
    "failed",
    "rows_read",
    "rows_skipped",
    "records_merged",
    "attempts",
    "conflicts",
];

impl Tally {
    fn fields(&self) -> [i64; 7] {
        let Tally {
            done,
            failed,
            rows_read,
            rows_skipped,
            records_merged,
            attempts,
            conflicts,
            values_ignored: _,
            is_beyond: _,
        } = *self;
        [
            done,
            failed,
            rows_read,
            rows_skipped,
            records_merged,
            attempts,
            conflicts,
        ]
    }

    fn of(fields: [i64; 7]) -> Tally {
        let [
            done,
            failed,
            rows_read,
            rows_skipped,
            records_merged,
            attempts,
            conflicts,
        ] = fields;
        Tally {
            done,
            failed,
            rows_read,
            rows_skipped,
            records_merged,
            attempts,
            conflicts,
            values_ignored: 0,
            is_beyond: false,
        }
    }

    /// What is odd about these sums, for people; usually nothing.
    pub(crate) fn note(&self) -> &'static str {
        match self.is_beyond {
            true => {
                "some of its counts are too large to be told: a program that computed its shards sent wrong numbers"
            }
            false => "",
        }
    }

    /// Shards that have ended.
    pub(crate) fn ended(&self) -> u64 {
        count(self.done).saturating_add(count(self.failed))
    }
}

/// A sum of what never falls below nought.
pub(crate) fn count(sum: i64) -> u64 {
    u64::try_from(sum).unwrap_or(0)
}

/// A number for adding up; what is beyond 63 bits stays there.
pub(crate) fn addend(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The store of the sums. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Tallies {
    store: Store,
    columns: Vec<Column>,
}

impl Tallies {
    /// The store, if a job was ever submitted.
    pub(crate) async fn find(db: &Db) -> Result<Option<Tallies>, JobError> {
        let columns = columns()?;
        let store = db.store(STORE).await?;
        Ok(store.map(|store| Tallies { store, columns }))
    }

    /// The store, created if there is none.
    pub(crate) async fn create(db: &Db) -> Result<Tallies, JobError> {
        let columns = columns()?;
        let schema = StoreSchema {
            encoding: Encoding::Json,
            key_fields: vec!["job".to_owned()],
            columns: columns.clone(),
            ..StoreSchema::default()
        };
        let store = db.create_store(STORE, schema).await?;
        Ok(Tallies { store, columns })
    }

    /// Adds to the sums of the job of this number.
    pub(crate) fn add(
        &self,
        tx: &mut Transaction,
        number: u64,
        tally: &Tally,
    ) -> Result<(), JobError> {
        let own = Tally {
            values_ignored: tally.values_ignored,
            is_beyond: tally.is_beyond,
            ..Tally::of(tally.fields())
        };
        assert_eq!(own, *tally, "the sums of job {number} are all written");
        if tally.values_ignored != 0 {
            let ignored = [0, 0, 0, tally.values_ignored, 0, 0, 0];
            tx.merge(&self.store, &ignored_key(number)?, &operand(ignored)?)?;
        }
        Ok(tx.merge(&self.store, &key(number)?, &operand(tally.fields())?)?)
    }

    /// Deletes the sums of the job of this number.
    pub(crate) fn delete(&self, tx: &mut Transaction, number: u64) -> Result<(), JobError> {
        tx.delete(&self.store, &key(number)?)?;
        Ok(tx.delete(&self.store, &ignored_key(number)?)?)
    }

    /// The sums as a snapshot has them.
    pub(crate) async fn seen(
        &self,
        snapshot: &Snapshot,
        name: &str,
        number: u64,
    ) -> Result<Tally, JobError> {
        let mut tally = Tally::default();
        let key = key(number)?;
        if let Some(record) = snapshot.get(&self.store, &key).await? {
            tally = self.decode(name, &key, &record)?;
        }
        let key = ignored_key(number)?;
        if let Some(record) = snapshot.get(&self.store, &key).await? {
            tally.values_ignored = self.decode(name, &key, &record)?.rows_skipped;
        }
        Ok(tally)
    }

    /// The sums as a transaction finds them, which then relies on them.
    pub(crate) async fn read(
        &self,
        tx: &mut Transaction,
        name: &str,
        number: u64,
    ) -> Result<Tally, JobError> {
        let key = key(number)?;
        let found = tx.get(&self.store, &key).await?;
        found.map_or(Ok(Tally::default()), |record| {
            self.decode(name, &key, &record)
        })
    }

    fn decode(&self, name: &str, key: &Key, record: &[u8]) -> Result<Tally, JobError> {
        let values = match read(&self.columns, key, record) {
            Err(Error::Overflow { .. }) => self.decode_each(key, record)?,
            values => values?.into_iter().map(|(_, value)| Some(value)).collect(),
        };
        let mut is_beyond = false;
        let mut fields = [0; 7];
        for ((field, column), value) in fields.iter_mut().zip(NAMES).zip(values) {
            let sum = match value {
                Some(Datum::Int(sum)) => i64::try_from(sum).ok(),
                Some(Datum::Null) => Some(0),
                None => None,
                Some(other) => {
                    let detail = format!("`{column}` is {other:?}, expected an integer");
                    return Err(damaged(name, "its sums", &detail));
                }
            };
            is_beyond |= sum.is_none();
            *field = sum.unwrap_or(i64::MAX);
        }
        Ok(Tally {
            is_beyond,
            ..Tally::of(fields)
        })
    }

    /// Column by column: `None` is one whose sum is beyond what any number is told as. It must not hide the others, by
    /// which the job comes to its end.
    fn decode_each(&self, key: &Key, record: &[u8]) -> Result<Vec<Option<Datum>>, JobError> {
        assert_eq!(self.columns.len(), NAMES.len(), "a column a sum");
        let states = States::decode(record)?;
        let mut values = Vec::with_capacity(states.len());
        for (column, state) in self.columns.iter().zip(states.iter()) {
            let alone = Operand::new(std::slice::from_ref(state))?;
            let value = read(std::slice::from_ref(column), key, alone.as_bytes());
            values.push(match value {
                Err(Error::Overflow { .. }) => None,
                value => value?.pop().map(|(_, value)| value),
            });
        }
        Ok(values)
    }
}

fn columns() -> Result<Vec<Column>, JobError> {
    let column = |name| Column::new(name, Operator::Sum, Kind::Int);
    Ok(NAMES.into_iter().map(column).collect::<Result<_, _>>()?)
}

fn key(number: u64) -> Result<Key, JobError> {
    Ok(Key::from_datums(&[Datum::from(number)])?)
}

/// The key of the record of values that were ignored, whose only sum is in the place of `rows_skipped`.
fn ignored_key(number: u64) -> Result<Key, JobError> {
    Ok(Key::from_datums(&[
        Datum::from(number),
        Datum::from("ignored"),
    ])?)
}

fn operand(fields: [i64; 7]) -> Result<Operand, JobError> {
    let states = fields.map(|field| {
        let mut state = State::new(Operator::Sum);
        state.add_i64(field);
        state
    });
    Ok(Operand::new(&states)?)
}
