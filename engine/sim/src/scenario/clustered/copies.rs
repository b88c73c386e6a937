//! Copies that were taken while the database was in use: each holds a prefix of the history, becomes a
//! database of its own, and can be written to.

use eciton_engine::base::{Error, Position, Result};
use eciton_engine::db::{Db, Options};
use eciton_engine::log::slot;
use eciton_engine::storage::{Name, Storage};

use super::life::{Scene, Seat};
use super::stores::{REGISTERS, Stores, key};
use super::truth::{State, Value};

/// Opens a copy, compares, writes to it, and opens it again.
pub(super) async fn open(scene: Scene, seats: [Seat; 2]) {
    if let Err(error) = try_open(&scene, seats).await {
        scene.shared.violate("a copy cannot be opened", error);
    }
}

async fn try_open(scene: &Scene, [first, second]: [Seat; 2]) -> Result<()> {
    let options = || Options {
        create: false,
        ..scene.options()
    };
    let storage = first.paths[0].clone();
    let opened =
        Db::open_storage_read_only(first.paths[0].clone(), options(), first.environment.clone());
    let reader = match opened.await {
        // Copied before there was a database; or it was overtaken by collection, which is said.
        Err(Error::NotADatabase { .. } | Error::Corrupt { .. }) => return Ok(()),
        opened => opened?,
    };
    let at = reader.info().position;
    let Some(stores) = Stores::find(&reader).await? else {
        return Ok(());
    };
    let seen = stores.contents(&reader.snapshot()).await?;
    if is_of_history(scene, &*storage, at).await? {
        scene.truth.compare("a copy", at.0, &seen);
    }
    drop(reader);
    let db = Db::open_storage(first.paths[0].clone(), options(), first.environment).await?;
    let stores = Stores::create(&db).await?;
    expect(
        scene,
        "a copy that became its own",
        &stores.contents(&db.snapshot()).await?,
        &seen,
    );
    let cell = (REGISTERS, 1);
    let mut transaction = db.begin();
    transaction.put(stores.of(REGISTERS), &key(cell)?, vec![7; 8])?;
    transaction.commit().await?;
    db.fold().await?;
    db.collect().await?;
    db.close().await?;
    let mut expected = seen;
    expected.insert(cell, Value::Plain(std::sync::Arc::new(vec![7; 8])));
    let again = Db::open_storage(second.paths[0].clone(), options(), second.environment).await?;
    if again.info().copied {
        scene.shared.violate("a copy is still taken for one", "");
    }
    let stores = Stores::create(&again).await?;
    expect(
        scene,
        "a copy, opened again",
        &stores.contents(&again.snapshot()).await?,
        &expected,
    );
    Ok(())
}

/// Whether the copy's last slot is one that was shown. A slot that nobody had shown yet may be in a copy,
/// and be lost or replaced on the original afterwards.
async fn is_of_history(scene: &Scene, storage: &dyn Storage, at: Position) -> Result<bool> {
    let Some(hash) = scene.truth.hash(at.0) else {
        return Ok(false);
    };
    for name in storage.list(Name::LOG).await? {
        if name.as_log().is_some_and(|(_, first)| first == at)
            && let Some(bytes) = storage.read(&name).await?
        {
            return Ok(slot::decode(&bytes).is_ok_and(|slot| slot.hash == hash));
        }
    }
    // Folded: a manifest is of slots that were shown.
    Ok(true)
}

fn expect(scene: &Scene, who: &str, seen: &State, expected: &State) {
    if seen != expected {
        scene.shared.violate("a copy shows something else", who);
    }
}
