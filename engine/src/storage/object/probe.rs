//! Whether a store refuses to create what is there: without that, two writers could both win a slot.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};

use super::failure;
use super::mark::{Mark, look};
use super::place::Place;
use crate::base::Result;
use crate::base::entropy::{Entropy, SystemEntropy};
use crate::storage::{Name, Operation};

/// What the probe found.
enum Verdict {
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
pub(super) async fn probe(store: &Arc<dyn ObjectStore>, place: &Place) -> Result<()> {
    // Of its own use, so that no listing shows it; each probe has its own name.
    let name = format!("{}/probe-{:032x}", Name::TMP, SystemEntropy.next_u128());
    let path = place.path(&name)?;
    let (client, at) = (Arc::clone(store), path.clone());
    let verdict = failure::request(Operation::Create, &name, async move {
        let verdict = judge(&*client, &at).await;
        remove(&*client, &at, verdict.is_ok()).await;
        verdict
    })
    .await?;
    let why = match verdict {
        Verdict::Honoured => return Ok(()),
        Verdict::Ignored => {
            "the store creates what is there already (it ignores If-None-Match: *), so two writers could \
             both win; it can be opened for reading only"
        }
        Verdict::Unmarked => {
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

async fn judge(store: &dyn ObjectStore, path: &Path) -> object_store::Result<Verdict> {
    let mark = Mark::new();
    super::create::create(store, path, "first".into(), mark).await?;
    let found = look(store, path).await?;
    if found.and_then(|found| found.mark) != Some(mark) {
        return Ok(Verdict::Unmarked);
    }
    let options = PutOptions {
        mode: PutMode::Create,
        attributes: Mark::new().attributes(),
        ..PutOptions::default()
    };
    match store.put_opts(path, "second".into(), options).await {
        Ok(_) => Ok(Verdict::Ignored),
        Err(object_store::Error::AlreadyExists { .. }) => Ok(Verdict::Honoured),
        Err(failure) => Err(failure),
    }
}
