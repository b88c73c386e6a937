//! Making sure that a name is durable and still the same (I1 of the protocol).

use bytes::Bytes;

use super::{Name, Storage};
use crate::base::{Mutant, Rare, Result};

/// Bytes from the front of an object that tell it from any other under its name: they hold a nonce or a
/// checksum of the rest.
const HEAD_LEN: usize = 128;

/// What [`Storage::confirm`] does on a medium with one path.
pub(super) async fn confirm(
    storage: &(impl Storage + ?Sized),
    name: &Name,
    bytes: &[u8],
) -> Result<bool> {
    assert!(
        !bytes.is_empty(),
        "{name}: an object without bytes is told from no other"
    );
    if storage.capabilities().durable_at_once {
        // What stands there is durable, and never loses its name but by a removal.
        storage.sync_names(name).await?;
        let head = head(storage, name).await?;
        return Ok(head.is_some_and(|head| is_head_of(&head, bytes)));
    }
    let before = storage.stat(name).await?;
    let Some(before) = before else {
        return Ok(false);
    };
    storage.sync_names(name).await?;
    if Mutant::SyncNoConfirm.on() {
        return Ok(true);
    }
    let Some(after) = storage.stat(name).await? else {
        Rare::NameLostInSync.seen();
        return Ok(false);
    };
    if after.identity != before.identity {
        Rare::ObjectChangedInSync.seen();
        return Ok(false);
    }
    let head = head(storage, name).await?;
    Ok(head.is_some_and(|head| is_head_of(&head, bytes)))
}

/// The first bytes under `name`, `None` where nothing stands.
pub(crate) async fn head(storage: &(impl Storage + ?Sized), name: &Name) -> Result<Option<Bytes>> {
    let Some(object) = storage.open(name).await? else {
        return Ok(None);
    };
    let len = usize::try_from(object.len()).unwrap_or(usize::MAX);
    object.read_at(0, len.min(HEAD_LEN)).await.map(Some)
}

/// Whether an object that begins with `head` is the one of these bytes.
pub(crate) fn is_head_of(head: &[u8], bytes: &[u8]) -> bool {
    head == &bytes[..bytes.len().min(HEAD_LEN)]
}
