//! `scan`: records in key order.

use std::io::{self, Write};

use eciton_engine::{Db, Error, Key, Record, Result as EngineResult, ScanRange, Store};
use eciton_jobs::stores;
use serde_json::json;

use super::query::Printing;
use crate::cli::{Global, Scan};
use crate::database;
use crate::failure::Failure;
use crate::output::Output;
use crate::table::{Cell, Table};
use crate::{keys, values};

/// Records that cannot be read and are told one by one on stderr.
const TOLD_MAX: u64 = 100;

/// Prints the records between two keys.
///
/// # Errors
/// [`Failure::NoStore`], broken keys, what the engine refuses.
pub(super) async fn scan(global: &Global, args: &Scan) -> Result<(), Failure> {
    for argument in [&args.from, &args.to, &args.prefix].into_iter().flatten() {
        keys::check(argument)?;
    }
    let db = database::read(global).await?;
    let store = database::store(&db, &args.store).await?;
    let key = |argument: &Option<String>| {
        let argument = argument.as_deref();
        argument.map(|text| keys::parse(&store, text)).transpose()
    };
    let range = ScanRange {
        from: key(&args.from)?,
        to: key(&args.to)?,
        prefix: key(&args.prefix)?,
        reverse: args.reverse,
        limit: args.limit,
        keys_only: args.keys_only,
    };
    if let Some(format) = args.format {
        let rows = stores::records(&db, &store, &range, args.inferring.records()).await?;
        return Printing::new(global, Some(format), None)?.print(rows).await;
    }
    let mut output = Output::new(global);
    let printed = print(&mut output, &db, &store, &range).await;
    output.finish()?;
    printed
}

/// Prints the records of a store within `range`: JSON lines, a table or lines with tabs. A record that cannot be read
/// does not hide the others: it is told on stderr, with `--json` also as a line `{"key":...,"error":...}`, and is the
/// failure at the end.
///
/// # Errors
/// The record that could not be read, or how many; damage, and where standard output fails.
pub(super) async fn print(
    output: &mut Output,
    db: &Db,
    store: &Store,
    range: &ScanRange,
) -> Result<(), Failure> {
    let mut scan = db.snapshot().scan(store, range);
    let mut unread = Unread::default();
    if output.is_json() {
        while let Some(record) = scan.next().await? {
            match values::record_json(store, &record, range.keys_only) {
                Ok(line) => output.line(&line)?,
                Err(error) => output.line(&unread.add(store, &record.key, error))?,
            }
        }
        return unread.end();
    }
    let rows = Rows {
        store,
        keys_only: range.keys_only,
    };
    let mut table = Table::new(output, rows.names());
    while let Some(record) = scan.next().await? {
        match rows.cells(&record) {
            Ok(cells) => table.row(cells)?,
            Err(error) => drop(unread.add(store, &record.key, error)),
        }
    }
    table.finish()?;
    unread.end()
}

/// Records that could not be read.
#[derive(Default)]
struct Unread {
    count: u64,
    /// The last of them, which is told at the end.
    last: Option<Failure>,
}

impl Unread {
    /// Takes one into account, and gives it as a line of JSON.
    fn add(&mut self, store: &Store, key: &Key, error: Error) -> String {
        let failure = Failure::Engine(error);
        let key = store.key_to_json(key);
        let key = key.unwrap_or_else(|_| serde_json::Value::Null);
        let error = json!({"kind": failure.kind(), "message": failure.to_string()});
        self.count += 1;
        match self.last.replace(failure) {
            Some(before) if self.count <= TOLD_MAX => tell(&before),
            _ => {}
        }
        json!({"key": key, "error": error}).to_string()
    }

    fn end(self) -> Result<(), Failure> {
        match self.last {
            None => Ok(()),
            Some(failure) if self.count == 1 => Err(failure),
            Some(last) => {
                let count = self.count;
                Err(Failure::Work(format!(
                    "{count} records could not be read, the last of them: {last}"
                )))
            }
        }
    }
}

/// A line on stderr. Nobody may be reading there: that must not end the work.
fn tell(failure: &Failure) {
    writeln!(io::stderr(), "error: {failure}").ok();
}

/// Records as rows of cells.
struct Rows<'s> {
    store: &'s Store,
    keys_only: bool,
}

impl Rows<'_> {
    /// The fields of the key by name where the store knows them, then the columns of a merged store, or
    /// the value as a whole.
    fn names(&self) -> Vec<String> {
        let schema = self.store.schema();
        let mut names = schema.key_fields.clone();
        if names.is_empty() {
            names.push("key".to_owned());
        }
        if self.keys_only {
            return names;
        }
        if values::has_columns(self.store) {
            names.extend(schema.columns.iter().map(|column| column.name.clone()));
        } else {
            names.push("value".to_owned());
        }
        names
    }

    fn cells(&self, record: &Record) -> EngineResult<Vec<Cell>> {
        let mut cells = self.key_cells(&record.key)?;
        if self.keys_only {
            return Ok(cells);
        }
        if values::has_columns(self.store) {
            let columns = values::merged(self.store, &record.key, &record.value)?;
            cells.extend(columns.iter().map(Cell::datum));
        } else {
            cells.push(Cell::text(&values::json(
                self.store,
                &record.key,
                &record.value,
            )?));
        }
        Ok(cells)
    }

    /// One cell a field; a key that has not the store's number of fields stands in the first cell whole.
    fn key_cells(&self, key: &Key) -> EngineResult<Vec<Cell>> {
        let fields = self.store.schema().key_fields.len().max(1);
        let data = key.datums()?;
        if data.len() == fields {
            return Ok(data.iter().map(Cell::datum).collect());
        }
        let mut cells = vec![Cell::text(&self.store.key_to_json(key)?.to_string())];
        cells.resize(fields, Cell::text(""));
        Ok(cells)
    }
}
