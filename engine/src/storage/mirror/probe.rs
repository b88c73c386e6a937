//! A write probe: whether a path can be written to and read back, asked of the path itself.

use std::io;

use crate::base::entropy::Entropy;
use crate::base::{Error, Result};
use crate::storage::{Name, Operation, Storage};

/// Bytes of a probe: enough that a path without room for a slot of ordinary size is found out.
const PROBE_LEN: usize = 64 * 1024;

/// Writes an object, makes it durable, reads it back and removes it; within the limit, where the path has a watchdog.
///
/// # Errors
/// What the path refused, which is why it is lost.
pub(crate) async fn probe(storage: &dyn Storage, entropy: &dyn Entropy) -> Result<()> {
    match storage.watched() {
        Some(watched) => watched.probe().await,
        None => write_probe(storage, entropy).await,
    }
}

/// As [`probe`], however long it takes.
///
/// # Errors
/// As [`probe`].
pub(crate) async fn write_probe(storage: &dyn Storage, entropy: &dyn Entropy) -> Result<()> {
    let path = format!("probe/{:032x}", entropy.next_u128());
    let name = Name::parse(&path).ok_or_else(|| Error::Invalid(format!("`{path}` is no name")))?;
    let mut bytes = Vec::with_capacity(PROBE_LEN);
    // Nothing that a medium could compress or share; one call for randomness, because this time is measured.
    let mut word = entropy.next_u128() | 1;
    while bytes.len() < PROBE_LEN {
        bytes.extend_from_slice(&word.to_le_bytes());
        word = word.wrapping_mul(0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645);
    }
    storage.create(&name, &bytes).await?;
    storage.sync_names(&name).await?;
    let found = storage.read(&name).await?;
    if found.as_deref() != Some(&bytes[..]) {
        let cause = io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error());
        return Err(Operation::Read.error(&name, &cause));
    }
    storage.remove(&name).await?;
    Ok(())
}
