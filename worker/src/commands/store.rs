//! `store ls|create|drop|stats`.

use eciton_engine::{Db, Encoding, Store as StoreHandle, StoreSchema};
use eciton_jobs::run as jobs;
use serde_json::{Value, json};

use super::record::refuse_system;
use crate::cli::{Global, Store, ValueEncoding};
use crate::database::{self, Absent};
use crate::failure::Failure;
use crate::output::Output;
use crate::progress::Meter;
use crate::table::{Cell, Table};
use crate::values;

/// Does a `store` command.
///
/// # Errors
/// As the engine's operation of the same name.
pub(super) async fn store(global: &Global, args: Store) -> Result<(), Failure> {
    match args {
        Store::Ls { all } => list(global, all).await,
        Store::Create {
            store,
            key,
            encoding,
        } => create(global, &store, key, encoding).await,
        Store::Drop { store, force } => drop_store(global, &store, force).await,
        Store::Stats { store } => stats(global, store.as_deref()).await,
    }
}

async fn list(global: &Global, all: bool) -> Result<(), Failure> {
    let db = database::read(global).await?;
    let stores = visible(&db, all).await?;
    let mut output = Output::new(global);
    if output.is_json() {
        for store in &stores {
            output.line(&describe(store).to_string())?;
        }
    } else {
        let names = ["store", "kind", "key", "columns"].map(str::to_owned);
        let mut table = Table::new(&mut output, names.into());
        for store in &stores {
            let schema = store.schema();
            let columns: Vec<String> = schema
                .columns
                .iter()
                .map(|column| format!("{}={}", column.name, column.operator))
                .collect();
            table.row(vec![
                Cell::text(store.name()),
                Cell::text(kind(store)),
                Cell::text(&schema.key_fields.join(",")),
                Cell::text(&columns.join(",")),
            ])?;
        }
        table.finish()?;
    }
    Ok(output.finish()?)
}

async fn create(
    global: &Global,
    name: &str,
    key: Vec<String>,
    encoding: ValueEncoding,
) -> Result<(), Failure> {
    refuse_system(name)?;
    let encoding = match encoding {
        ValueEncoding::Json => Encoding::Json,
        ValueEncoding::Raw => Encoding::Raw,
    };
    let schema = StoreSchema {
        encoding,
        key_fields: key,
        ..StoreSchema::default()
    };
    let store = database::writing(global, Absent::Create, async |db: Db| {
        Ok(db.create_store(name, schema).await?)
    })
    .await?;
    let mut output = Output::new(global);
    output.either(&describe(&store), &format!("store `{name}` is there"))?;
    Ok(output.finish()?)
}

async fn drop_store(global: &Global, name: &str, force: bool) -> Result<(), Failure> {
    refuse_system(name)?;
    database::writing(global, Absent::Refuse, async |db: Db| {
        // Found first, so that a slip in the name gets the names that exist.
        database::store(&db, name).await?;
        Ok(jobs::drop_store(&db, name, force).await?)
    })
    .await?;
    let mut output = Output::new(global);
    let json = json!({"name": name, "dropped": true});
    output.either(&json, &format!("store `{name}` is dropped"))?;
    Ok(output.finish()?)
}

async fn stats(global: &Global, name: Option<&str>) -> Result<(), Failure> {
    let db = database::read(global).await?;
    let stores = match name {
        Some(name) => vec![database::store(&db, name).await?],
        None => visible(&db, false).await?,
    };
    let mut output = Output::new(global);
    if output.is_json() {
        for store in &stores {
            let counting = db.store_stats(store);
            let stats = Meter::spinner("counting").during(|| {}, counting).await?;
            let (key_bytes, value_bytes) = (stats.keys_len, stats.values_len);
            let json = json!({"name": store.name(), "records": stats.records,
                              "key_bytes": key_bytes, "value_bytes": value_bytes});
            output.line(&json.to_string())?;
        }
    } else {
        let names = ["store", "records", "key bytes", "value bytes"].map(str::to_owned);
        let mut table = Table::new(&mut output, names.into());
        for store in &stores {
            let counting = db.store_stats(store);
            let stats = Meter::spinner("counting").during(|| {}, counting).await?;
            let counts = [stats.records, stats.keys_len, stats.values_len].map(Cell::number);
            table.row(
                [Cell::text(store.name())]
                    .into_iter()
                    .chain(counts)
                    .collect(),
            )?;
        }
        table.finish()?;
    }
    Ok(output.finish()?)
}

/// The stores by name, those of the system only if asked for.
async fn visible(db: &Db, all: bool) -> Result<Vec<StoreHandle>, Failure> {
    let mut stores = db.stores().await?;
    stores.retain(|store| all || !database::is_system(store.name()));
    Ok(stores)
}

fn kind(store: &StoreHandle) -> &'static str {
    match store.schema().encoding {
        _ if values::has_columns(store) => "merged",
        _ if store.is_merged() => "upserted",
        Encoding::Json => "json",
        Encoding::MessagePack => "messagepack",
        Encoding::Raw => "raw",
    }
}

fn describe(store: &StoreHandle) -> Value {
    let schema = store.schema();
    let columns: Vec<Value> = schema
        .columns
        .iter()
        .map(|column| json!({"name": column.name, "operator": column.operator.name()}))
        .collect();
    json!({"name": store.name(), "kind": kind(store), "key": schema.key_fields, "columns": columns})
}
