//! `get`, `put` and `del`: one record.

use std::io::{self, Read};

use eciton_engine::{Db, Encoding, Error, Result as EngineResult, Store, StoreSchema};
use serde_json::{Value, json};

use crate::cli::{Get, Global, Put};
use crate::database::{self, Absent};
use crate::failure::Failure;
use crate::output::Output;
use crate::{keys, values};

/// Times a change of one record is tried when others change the same record.
const TRIES_MAX: usize = 100;

/// Prints the value of a key.
///
/// # Errors
/// [`Failure::Absent`] where there is none.
pub(super) async fn get(global: &Global, args: &Get) -> Result<(), Failure> {
    keys::check(&args.key)?;
    let db = database::read(global).await?;
    let store = database::store(&db, &args.store).await?;
    let key = keys::parse(&store, &args.key)?;
    let Some(value) = db.snapshot().get(&store, &key).await? else {
        return Err(Failure::Absent {
            key: store.key_to_json(&key)?.to_string(),
            store: args.store.clone(),
        });
    };
    let mut output = Output::new(global);
    if output.is_json() {
        let record = eciton_engine::Record { key, value };
        output.line(&values::record_json(&store, &record, false)?)?;
    } else if !store.is_merged() && store.schema().encoding != Encoding::Json {
        output.bytes(&value)?;
    } else {
        output.line(&values::json(&store, &key, &value)?)?;
    }
    Ok(output.finish()?)
}

/// Stores a value under a key, durably.
///
/// # Errors
/// [`Error::Invalid`] for a value that the store cannot hold; [`Failure::NoStore`] without `--create`.
pub(super) async fn put(global: &Global, args: Put) -> Result<(), Failure> {
    refuse_system(&args.at.store)?;
    keys::check(&args.at.key)?;
    let text = match args.value {
        Some(value) => value.into_bytes(),
        None => from_stdin()?,
    };
    let absent = if args.create {
        Absent::Create
    } else {
        Absent::Refuse
    };
    let name = &args.at.store;
    let (key, committed) = database::writing(global, absent, async |db: Db| {
        let store = writable(&db, name, args.create).await?;
        values::refuse_merged(&store, "put")?;
        let key = keys::parse(&store, &args.at.key)?;
        let value = values::encode(&store, text)?;
        let put = retried(async || {
            let mut transaction = db.begin();
            transaction.put(&store, &key, value.clone())?;
            transaction.commit().await
        });
        let committed = put.await?;
        Ok((store.key_to_json(&key)?, committed))
    })
    .await?;
    let mut output = Output::new(global);
    if output.is_json() {
        let json = json!({"key": key, "position": committed.position.0});
        output.line(&json.to_string())?;
    }
    Ok(output.finish()?)
}

/// Deletes a key, durably.
///
/// # Errors
/// [`Failure::NoStore`]; what the engine refuses.
pub(super) async fn delete(global: &Global, args: &Get) -> Result<(), Failure> {
    refuse_system(&args.store)?;
    keys::check(&args.key)?;
    let (key, found) = database::writing(global, Absent::Refuse, async |db: Db| {
        let store = database::store(&db, &args.store).await?;
        values::refuse_merged(&store, "del")?;
        let key = keys::parse(&store, &args.key)?;
        let delete = retried(async || {
            let mut transaction = db.begin();
            let found = transaction.get(&store, &key).await?.is_some();
            if found {
                transaction.delete(&store, &key)?;
                transaction.commit().await?;
            }
            Ok(found)
        });
        let found = delete.await?;
        Ok((store.key_to_json(&key)?, found))
    })
    .await?;
    tell_deleted(global, &key, found)
}

/// Tells, with `--json`, whether there was something to delete.
pub(super) fn tell_deleted(global: &Global, key: &Value, found: bool) -> Result<(), Failure> {
    let mut output = Output::new(global);
    if output.is_json() {
        output.line(&json!({"key": key, "deleted": found}).to_string())?;
    }
    Ok(output.finish()?)
}

/// The store to put into; created where it is absent and that was asked for.
pub(super) async fn writable(db: &Db, name: &str, create: bool) -> Result<Store, Failure> {
    match database::store(db, name).await {
        Err(Failure::NoStore { .. }) if create => {
            Ok(db.create_store(name, StoreSchema::default()).await?)
        }
        Err(Failure::NoStore { name, present }) => {
            let hint = format!("{present}; `eciton store create {name}` or --create makes it");
            Err(Failure::NoStore {
                name,
                present: hint,
            })
        }
        other => other,
    }
}

/// The system's stores say what jobs have done: a hand in them would break "exactly once".
pub(super) fn refuse_system(store: &str) -> Result<(), Failure> {
    if database::is_system(store) {
        return Err(Failure::Usage(format!(
            "store `{store}` belongs to the system, which alone changes it"
        )));
    }
    Ok(())
}

/// Runs a transaction until nobody else changed what it read.
async fn retried<T>(transaction: impl AsyncFn() -> EngineResult<T>) -> EngineResult<T> {
    for _ in 1..TRIES_MAX {
        match transaction().await {
            Err(Error::Conflict { .. } | Error::TooOld { .. }) => {}
            other => return other,
        }
    }
    transaction().await
}

fn from_stdin() -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io::stdin().lock().read_to_end(&mut bytes)?;
    Ok(bytes)
}
