//! Planning and running a query.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::common::TableReference;
use datafusion::error::DataFusionError;
use eciton_engine::{Db, Error as EngineError, ScanRange, Store};
use futures::StreamExt;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::columns::{INFERRED_MAX, columns_of};
use super::error::QueryError;
use super::rows::Reader;
use super::table::StoreTable;
use crate::transform::{Over, STACK_LEN, TransformError, plan_over, tables_of};

/// Bytes that a query may hold where nothing is said.
pub const MEMORY_LEN: usize = 512 << 20;

/// Batches that are computed before they are asked for.
const BATCHES_AHEAD: usize = 2;

/// How a query is run.
#[derive(Clone, Copy, Debug)]
pub struct QueryOptions {
    /// Bytes that it may hold: sorts beyond that go to temporary files, anything else fails.
    pub memory_len_max: usize,
    /// Records that columns are inferred from at either end of a store; `None`: all.
    pub inferred: Option<u64>,
}

impl Default for QueryOptions {
    fn default() -> QueryOptions {
        QueryOptions {
            memory_len_max: MEMORY_LEN,
            inferred: Some(INFERRED_MAX),
        }
    }
}

/// Records that were read of a store for an answer, those that columns were inferred from aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadCount {
    /// The store.
    pub store: String,
    /// How many.
    pub records: u64,
}

/// Rows, batch by batch, as they are computed.
pub struct Rows {
    schema: SchemaRef,
    plan: Option<String>,
    counts: Vec<(String, Arc<AtomicU64>)>,
    batches: mpsc::Receiver<Result<RecordBatch, QueryError>>,
}

impl Rows {
    /// Their columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The operators of the query, a line each, from the last to the first, with the ranges of keys that are read; `None`
    /// without a query.
    pub fn plan(&self) -> Option<&str> {
        self.plan.as_deref()
    }

    /// The next rows; `None` at the end. After an error there are no more.
    ///
    /// # Errors
    /// [`QueryError`].
    pub async fn next(&mut self) -> Result<Option<RecordBatch>, QueryError> {
        self.batches.recv().await.transpose()
    }

    /// What was read so far.
    pub fn read(&self) -> Vec<ReadCount> {
        self.counter().read()
    }

    /// What tells how much was read, also while rows are waited for.
    pub fn counter(&self) -> Counter {
        Counter(self.counts.clone())
    }
}

/// How much was read for an answer so far. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Counter(Vec<(String, Arc<AtomicU64>)>);

impl Counter {
    /// Records by store.
    pub fn read(&self) -> Vec<ReadCount> {
        let count = |(store, records): &(String, Arc<AtomicU64>)| ReadCount {
            store: store.clone(),
            records: records.load(Ordering::Relaxed),
        };
        self.0.iter().map(count).collect()
    }
}

/// Asks the stores of a database, which are the tables of the query, in one state: that of this moment. Only reads.
/// The answer is computed while it is asked for. Call it within a runtime of tokio.
///
/// # Errors
/// [`QueryError`] for a query that cannot be planned; what is only found while it is computed comes with its rows.
pub async fn query(db: &Db, sql: &str, options: QueryOptions) -> Result<Rows, QueryError> {
    let snapshot = db.snapshot();
    let present = stores(db).await?;
    let named = named(sql, &present)?;
    let mut tables = Vec::with_capacity(named.len());
    for store in named {
        let columns = columns_of(&snapshot, &store, options.inferred).await?;
        tables.push(StoreTable {
            snapshot: snapshot.clone(),
            store,
            columns,
            read: Arc::default(),
        });
    }
    let counts = tables
        .iter()
        .map(|table| (table.store.name().to_owned(), Arc::clone(&table.read)));
    let counts = counts.collect();
    let (asked, memory_len_max) = (sql.to_owned(), options.memory_len_max);
    let (planned, receiver) = start(
        move || {
            let named = tables.into_iter().map(|table| {
                let name = table.store.name().to_owned();
                (name, Arc::new(table) as Arc<dyn TableProvider>)
            });
            plan_over(&asked, named.collect(), memory_len_max)
        },
        memory_len_max,
    )?;
    let (schema, plan) = planned.await.map_err(|_| ended())??;
    if schema.fields().is_empty() {
        let what =
            "the query selects no columns: expected some behind SELECT, as `SELECT * FROM ...`";
        return Err(QueryError::Format(what.to_owned()));
    }
    Ok(Rows {
        schema,
        plan: Some(plan),
        counts,
        batches: receiver,
    })
}

/// The records of a store within a range, as rows of its columns.
///
/// # Errors
/// What the database refuses while columns are inferred.
pub async fn records(
    db: &Db,
    store: &Store,
    range: &ScanRange,
    inferred: Option<u64>,
) -> Result<Rows, QueryError> {
    let snapshot = db.snapshot();
    let columns = columns_of(&snapshot, store, inferred).await?;
    let is_wanted = |at: &usize| {
        !range.keys_only
            || matches!(
                columns.all[*at].origin,
                super::columns::ColumnOrigin::Key(_)
            )
    };
    let wanted: Vec<usize> = (0..columns.all.len()).filter(is_wanted).collect();
    let reader = Reader::new(store, &columns, &wanted)?;
    let schema = Arc::clone(reader.schema());
    let count = Arc::new(AtomicU64::new(0));
    let (sender, batches) = mpsc::channel(BATCHES_AHEAD);
    let (mut scan, counted) = (snapshot.scan(store, range), Arc::clone(&count));
    tokio::spawn(async move {
        while let Some(next) = reader.next(&mut scan).await.transpose() {
            let is_last = next.is_err();
            if let Ok(batch) = &next {
                counted.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
            }
            if sender.send(next).await.is_err() || is_last {
                break;
            }
        }
    });
    Ok(Rows {
        schema,
        plan: None,
        counts: vec![(store.name().to_owned(), count)],
        batches,
    })
}

type PlanReceiver = tokio::sync::oneshot::Receiver<Result<(SchemaRef, String), QueryError>>;
type BatchReceiver = mpsc::Receiver<Result<RecordBatch, QueryError>>;

/// Plans and computes a query on a thread of its own, which has the stack for any query that is taken.
fn start(
    plan: impl FnOnce() -> Result<Over, TransformError> + Send + 'static,
    memory_len_max: usize,
) -> Result<(PlanReceiver, BatchReceiver), QueryError> {
    let (planned, receive_planned) = tokio::sync::oneshot::channel();
    let (sender, receiver) = mpsc::channel(BATCHES_AHEAD);
    let runtime = Handle::current();
    let work = move || {
        let over = match plan() {
            Ok(over) => over,
            Err(error) => {
                planned.send(Err(in_words(error))).ok();
                return;
            }
        };
        if planned.send(Ok((over.schema(), over.describe()))).is_err() {
            return;
        }
        runtime.block_on(async {
            let mut batches = match over.start() {
                Ok(batches) => batches,
                Err(error) => {
                    sender.send(Err(met(error, memory_len_max))).await.ok();
                    return;
                }
            };
            while let Some(batch) = batches.next().await {
                let batch = batch.map_err(|error| met(error, memory_len_max));
                let is_last = batch.is_err();
                if sender.send(batch).await.is_err() || is_last {
                    break;
                }
            }
        });
    };
    thread::Builder::new()
        .name("query".to_owned())
        .stack_size(STACK_LEN)
        .spawn(work)
        .map_err(QueryError::Io)?;
    Ok((receive_planned, receiver))
}

fn ended() -> QueryError {
    QueryError::Format("the query ended before it was planned".to_owned())
}

/// The stores that people may read.
async fn stores(db: &Db) -> Result<Vec<Store>, EngineError> {
    let mut stores = db.stores().await?;
    stores.retain(|store| !store.name().starts_with('_'));
    Ok(stores)
}

/// The stores that a query names.
fn named(sql: &str, present: &[Store]) -> Result<Vec<Store>, QueryError> {
    let tables = tables_of(sql).map_err(|error| parsed(error, present))?;
    let mut found: Vec<Store> = Vec::new();
    for table in tables {
        let name = match &table {
            TableReference::Bare { table } => table.to_string(),
            other => other.to_string(),
        };
        let store = present.iter().find(|store| store.name() == name);
        match store.filter(|_| matches!(table, TableReference::Bare { .. })) {
            Some(store) if found.iter().any(|other| other.name() == store.name()) => {}
            Some(store) => found.push(store.clone()),
            None => return Err(absent(&name, present)),
        }
    }
    Ok(found)
}

fn absent(name: &str, present: &[Store]) -> QueryError {
    let names: Vec<String> = present
        .iter()
        .map(|store| store.name().to_owned())
        .collect();
    let looks_like_file =
        name.contains('/') || crate::draft::looks_like_data(std::path::Path::new(name));
    let has_dot = names.iter().any(|known| known == name);
    let hint = match (looks_like_file, has_dot) {
        (true, _) => format!(
            "; a query reads stores and no files: `eciton init {name}` makes a job of a file"
        ),
        (_, true) => format!("; write \"{name}\" in double quotes"),
        _ => String::new(),
    };
    QueryError::NoStore {
        name: name.to_owned(),
        present: names,
        hint,
    }
}

/// Where names were not quoted that have to be, says so.
fn parsed(error: TransformError, present: &[Store]) -> QueryError {
    let error = in_words(error);
    let is_word = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let odd = present.iter().map(Store::name).find(|name| !is_word(name));
    match (error, odd) {
        (
            QueryError::Query(TransformError::Parse {
                message,
                line,
                column,
            }),
            Some(odd),
        ) => QueryError::Query(TransformError::Parse {
            message: format!("{message}; names that are no words have double quotes, as \"{odd}\""),
            line,
            column,
        }),
        (error, _) => error,
    }
}

/// What queries of jobs say of their only table, in words that are true of stores.
fn in_words(error: TransformError) -> QueryError {
    match error {
        TransformError::NotOneSelect { found } => QueryError::NotOneSelect { found },
        TransformError::Plan { message } => {
            let message = message.replace(
                ": the rows of a shard are the table `source`, constants are VALUES",
                "",
            );
            let message = message.replace(
                "`[result] store`",
                "a SELECT without it: a query only reads",
            );
            TransformError::Plan { message }.into()
        }
        other => other.into(),
    }
}

/// An error that was met while the answer was computed.
fn met(error: DataFusionError, memory_len_max: usize) -> QueryError {
    if let DataFusionError::External(inner) = error.find_root()
        && let Some(own) = inner.downcast_ref::<QueryError>()
    {
        return copied(own);
    }
    match TransformError::from_run(&error, memory_len_max) {
        TransformError::Memory { max_mib, message } => QueryError::Memory {
            max_mib,
            what: message,
        },
        other => in_words(other),
    }
}

/// An error of ours that DataFusion has wrapped, and may share.
fn copied(error: &QueryError) -> QueryError {
    match error {
        QueryError::Misfit { store, key, found } => QueryError::Misfit {
            store: store.clone(),
            key: key.clone(),
            found: found.clone(),
        },
        QueryError::Engine(error) => QueryError::Engine(error.clone()),
        other => QueryError::Format(other.to_string()),
    }
}
