//! Creating an object if its name is free, so that it is known who did.

use std::time::Duration;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStore, PutMode, PutOptions};

use super::failure::is_in_doubt;
use super::mark::{Mark, look};
use crate::storage::Created;

/// How often a put is sent again that did not land for all that is known. A store that is at odds with itself
/// (409) needs a moment; one that does not answer at all has been asked often enough by the client below.
const TRIES_MAX: u32 = 5;
/// What is waited before the second try; twice as long before each further one.
const PAUSE: Duration = Duration::from_millis(20);

/// How long after its first put a create is tried no more: a store that takes connections and answers nothing uses up the
/// client's own patience in each request.
const TRIES_WITHIN: Duration = Duration::from_mins(1);
/// How long a look for the mark may take once that time is over. Whoever asks later finds what there is.
const LAST_LOOK: Duration = Duration::from_secs(10);

/// Creates `path` with `bytes` unless something stands there.
///
/// An answer other than success may mean that somebody else was first, that this very put landed and its
/// answer was lost, or that nothing landed (409); the mark of what stands there tells.
#[expect(
    clippy::disallowed_methods,
    reason = "real requests to a real store wait in real time; no decision depends on it"
)]
pub(super) async fn create(
    store: &dyn ObjectStore,
    path: &Path,
    bytes: Bytes,
    mark: Mark,
) -> object_store::Result<Created> {
    let mut pause = PAUSE;
    let mut tries = 0;
    let began = tokio::time::Instant::now();
    loop {
        let options = PutOptions {
            mode: PutMode::Create,
            attributes: mark.attributes(),
            ..PutOptions::default()
        };
        let Err(failure) = store.put_opts(path, bytes.clone().into(), options).await else {
            return Ok(Created::New);
        };
        if !is_in_doubt(&failure) {
            return Err(failure);
        }
        let patience = LAST_LOOK.max(TRIES_WITHIN.saturating_sub(began.elapsed()));
        let looked = tokio::time::timeout(patience, look(store, path)).await;
        if let Ok(Ok(Some(found))) = looked {
            return Ok(match found.mark == Some(mark) {
                true => Created::New,
                false => Created::Exists,
            });
        }
        tries += 1;
        // Whether it landed is not known then, as after too many tries.
        if tries == TRIES_MAX || began.elapsed() >= TRIES_WITHIN {
            return Err(failure);
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
}
