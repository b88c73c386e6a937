//! Metrics of the file system that a database in a folder lies on.

use std::path::PathBuf;
use std::time::Duration;

use metrics::gauge;
use tokio::task::JoinHandle;

/// Bytes that are free for this user.
pub(crate) const STORAGE_FREE: &str = "eciton_storage_free_bytes";
/// Bytes of the whole file system.
pub(crate) const STORAGE_SIZE: &str = "eciton_storage_size_bytes";
/// Time between two looks.
const LOOKS_APART: Duration = Duration::from_secs(5);

/// Tells from now on how much space there is. A file system that does not respond holds up nothing else.
pub(crate) fn watch(folder: PathBuf) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            let folder = folder.clone();
            if let Ok(Some((free, size))) =
                tokio::task::spawn_blocking(move || space(&folder)).await
            {
                gauge!(STORAGE_FREE).set(free);
                gauge!(STORAGE_SIZE).set(size);
            }
            tokio::time::sleep(LOOKS_APART).await;
        }
    })
}

/// Free bytes and all bytes, as far as the system tells.
#[cfg(unix)]
#[allow(clippy::cast_precision_loss, reason = "a metric")]
fn space(folder: &std::path::Path) -> Option<(f64, f64)> {
    let found = rustix::fs::statvfs(folder).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize) as f64;
    Some((bytes(found.f_bavail), bytes(found.f_blocks)))
}

#[cfg(not(unix))]
fn space(_folder: &std::path::Path) -> Option<(f64, f64)> {
    None
}
