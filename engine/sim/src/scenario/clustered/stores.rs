//! The stores of the workload, and their cells as the engine's keys.

use std::sync::Arc;

use eciton_engine::base::{Datum, Error, Key, Result};
use eciton_engine::db::{Db, Encoding, ScanRange, Snapshot, Store, StoreSchema};
use eciton_engine::merge::{Column, Kind, Operand, Operator, States, read_json};

use super::truth::{Cell, State, Value};

/// Lists that transactions append to.
pub(super) const LISTS: u8 = 0;
/// Registers, which are put, deleted and scanned.
pub(super) const REGISTERS: u8 = 1;
/// Counters, which are merged into.
pub(super) const COUNTERS: u8 = 2;

/// The stores, in the order of their numbers above.
#[derive(Clone)]
pub(super) struct Stores([Store; 3]);

fn columns() -> Result<Vec<Column>> {
    Ok(vec![
        Column::new("rows", Operator::Count, Kind::Any)?,
        Column::new("sum", Operator::Sum, Kind::Int)?,
    ])
}

/// An operand that counts a row and adds to the sum.
pub(super) fn operand(amount: i64) -> Result<Operand> {
    let mut states = States::new(&columns()?);
    states[0].add_rows(1);
    states[1].add_i64(amount);
    states.to_operand()
}

/// The key of a cell within its store.
pub(super) fn key(cell: Cell) -> Result<Key> {
    Key::from_datums(&[Datum::Int(i128::from(cell.1))])
}

fn cell(store: u8, key: &Key) -> Result<Cell> {
    match key.datums()?[..] {
        [Datum::Int(number)] => {
            let number = u64::try_from(number).map_err(|_| foreign(key))?;
            Ok((store, number))
        }
        _ => Err(foreign(key)),
    }
}

fn foreign(what: impl std::fmt::Debug) -> Error {
    Error::corrupt("workload", format!("nobody wrote {what:?}"))
}

impl Stores {
    /// Creates the stores, or finds them.
    pub(super) async fn create(db: &Db) -> Result<Stores> {
        let raw = || StoreSchema {
            encoding: Encoding::Raw,
            ..StoreSchema::default()
        };
        let merged = StoreSchema {
            columns: columns()?,
            ..StoreSchema::default()
        };
        Ok(Stores([
            db.create_store("lists", raw()).await?,
            db.create_store("registers", raw()).await?,
            db.create_store("counters", merged).await?,
        ]))
    }

    /// Finds the stores; `None` where not all of them have been created.
    pub(super) async fn find(db: &Db) -> Result<Option<Stores>> {
        let found = [
            db.store("lists").await?,
            db.store("registers").await?,
            db.store("counters").await?,
        ];
        Ok(match found {
            [Some(lists), Some(registers), Some(counters)] => {
                Some(Stores([lists, registers, counters]))
            }
            _ => None,
        })
    }

    pub(super) fn of(&self, store: u8) -> &Store {
        &self.0[usize::from(store)]
    }

    /// A record's value as the truth has it.
    pub(super) fn value(cell: Cell, bytes: &[u8]) -> Result<Value> {
        if cell.0 != COUNTERS {
            return Ok(Value::Plain(Arc::new(bytes.to_vec())));
        }
        let value = read_json(&columns()?, &key(cell)?, bytes)?;
        let parts = value["rows"].as_u64().zip(value["sum"].as_i64());
        let (rows, sum) = parts.ok_or_else(|| foreign(&value))?;
        Ok(Value::Merged(rows, sum))
    }

    /// Everything that a snapshot shows.
    pub(super) async fn contents(&self, snapshot: &Snapshot) -> Result<State> {
        let mut state = State::new();
        for store in [LISTS, REGISTERS, COUNTERS] {
            let mut scan = snapshot.scan(self.of(store), &ScanRange::all());
            while let Some(record) = scan.next().await? {
                let cell = cell(store, &record.key)?;
                state.insert(cell, Stores::value(cell, &record.value)?);
            }
        }
        Ok(state)
    }

    /// The cells of a scan's records.
    pub(super) fn cells(
        store: u8,
        records: &[eciton_engine::db::Record],
    ) -> Result<Vec<(Cell, Value)>> {
        let mut cells = Vec::with_capacity(records.len());
        for record in records {
            let cell = cell(store, &record.key)?;
            cells.push((cell, Stores::value(cell, &record.value)?));
        }
        Ok(cells)
    }
}
