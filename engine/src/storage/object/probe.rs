//! Whether a store refuses to create what is there: without that, two writers could both win a slot.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions};

use super::failure;
use super::mark::{Mark, look};
use super::place::BucketPlace;
use crate::base::Result;
use crate::base::entropy::{Entropy, SystemEntropy};
use crate::storage::{Name, Operation};

/// Probes are this much older than one that has just been created, by the store's own clock, before they count as left
/// by a process that was killed: no probe takes as long.
const DEAD_AFTER_NS: i64 = 3_600_000_000_000;
/// How many of those are removed at one opening.
const REMOVED_MAX: usize = 100;
/// How the names of probes begin.
const PROBE: &str = "probe-";

/// What the probe found.
enum ProbeVerdict {
    Honoured,
    /// The second create succeeded, too.
    Ignored,
    /// The object has lost its mark.
    Unmarked,
}

/// Creates a name twice.
///
/// # Errors
/// [`Error::Storage`](crate::base::Error::Storage) of kind `Unsupported` where the store does not do what writing needs; what the store
/// refuses.
pub(super) async fn probe(store: &Arc<dyn ObjectStore>, place: &BucketPlace) -> Result<()> {
    // Of its own use, so that no listing shows it; each probe has its own name.
    let name = format!("{}/{PROBE}{:032x}", Name::TMP, SystemEntropy.next_u128());
    let path = place.path(&name)?;
    let dir = place.path(Name::TMP)?;
    let (client, at) = (Arc::clone(store), path.clone());
    let verdict = failure::request(Operation::Create, &name, async move {
        let verdict = judge(&*client, &at, &dir).await;
        remove(&*client, &at, verdict.is_ok()).await;
        verdict
    })
    .await?;
    let why = match verdict {
        ProbeVerdict::Honoured => return Ok(()),
        ProbeVerdict::Ignored => {
            "the store creates what is there already (it ignores If-None-Match: *), so two writers could \
             both win; it can be opened for reading only"
        }
        ProbeVerdict::Unmarked => {
            "the store does not keep an object's metadata, so a lost reply could not be told from a lost \
             race; it can be opened for reading only"
        }
    };
    let cause = io::Error::new(io::ErrorKind::Unsupported, why);
    Err(Operation::Create.error(place, &cause))
}

/// How long removing a probe may take where the store did not even answer the probe.
const REMOVE_WITHIN: Duration = Duration::from_secs(5);

async fn remove(client: &dyn ObjectStore, at: &Path, has_answered: bool) {
    let removing = client.delete(at);
    let removed = match has_answered {
        true => removing.await.map_err(|failure| failure.to_string()),
        false => match tokio::time::timeout(REMOVE_WITHIN, removing).await {
            Ok(removed) => removed.map_err(|failure| failure.to_string()),
            Err(_) => Err("no answer".to_owned()),
        },
    };
    if let Err(failure) = removed {
        tracing::warn!(%failure, "the probe of a bucket was not removed");
    }
}

async fn judge(
    store: &dyn ObjectStore,
    path: &Path,
    dir: &Path,
) -> object_store::Result<ProbeVerdict> {
    let mark = Mark::new();
    super::create::create(store, path, "first".into(), mark).await?;
    let found = look(store, path).await?;
    let Some(found) = found.filter(|found| found.mark == Some(mark)) else {
        return Ok(ProbeVerdict::Unmarked);
    };
    let options = PutOptions {
        mode: PutMode::Create,
        attributes: Mark::new().attributes(),
        ..PutOptions::default()
    };
    // Both at once: opening does not wait for what others have left.
    let second = store.put_opts(path, "second".into(), options);
    let (second, swept) = futures::join!(second, sweep(store, dir, found.modified_ns));
    if let Err(failure) = swept {
        tracing::debug!(%failure, "probes of killed processes were not looked for");
    }
    match second {
        Ok(_) => Ok(ProbeVerdict::Ignored),
        Err(object_store::Error::AlreadyExists { .. }) => Ok(ProbeVerdict::Honoured),
        Err(failure) => Err(failure),
    }
}

/// Removes probes that killed processes have left below `dir`; `now_ns` is the store's time.
async fn sweep(store: &dyn ObjectStore, dir: &Path, now_ns: i64) -> object_store::Result<()> {
    let is_dead = |object: &ObjectMeta| {
        let is_probe = object
            .location
            .filename()
            .is_some_and(|name| name.starts_with(PROBE));
        let created_ns = object.last_modified.timestamp_nanos_opt();
        is_probe && created_ns.is_some_and(|ns| now_ns.saturating_sub(ns) > DEAD_AFTER_NS)
    };
    let dead = store
        .list(Some(dir))
        .try_filter(|object| std::future::ready(is_dead(object)))
        .take(REMOVED_MAX);
    let dead: Vec<ObjectMeta> = dead.try_collect().await?;
    for object in dead {
        // Another process may have been first.
        failure::present(store.delete(&object.location).await)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;

    #[tokio::test]
    async fn probes_of_killed_processes_are_removed_and_others_are_not() {
        let store = InMemory::new();
        let dir = Path::from("db/tmp");
        let all = [
            "db/tmp/probe-1",
            "db/tmp/other",
            "db/log/probe-2",
            "tmp/probe-3",
        ];
        for name in all {
            store.put(&Path::from(name), "x".into()).await.unwrap();
        }
        let created = store.head(&Path::from(all[0])).await.unwrap().last_modified;
        let created_ns = created.timestamp_nanos_opt().unwrap();
        let left = async || {
            let listed: Vec<ObjectMeta> = store.list(None).try_collect().await.unwrap();
            listed.len()
        };
        sweep(&store, &dir, created_ns + DEAD_AFTER_NS)
            .await
            .unwrap();
        assert_eq!(left().await, all.len(), "it may still be at work");
        sweep(&store, &dir, created_ns + DEAD_AFTER_NS + 1)
            .await
            .unwrap();
        assert_eq!(left().await, all.len() - 1);
        assert!(store.head(&Path::from(all[0])).await.is_err());
    }
}
