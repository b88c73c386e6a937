use std::sync::Arc;

use super::{WatchOptions, WatchedStorage};
use crate::storage::conformance::{Subject, suite};
use crate::storage::{Access, LocalStorage, Storage};

/// A folder with a watchdog.
fn subject() -> Subject {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("db");
    let open = move |access| -> Arc<dyn Storage> {
        std::fs::create_dir_all(&root).unwrap();
        let folder = Arc::new(LocalStorage::open(&root, access).unwrap());
        Arc::new(WatchedStorage::new(folder, WatchOptions::default()))
    };
    Subject::new(open(Access::ReadWrite), open).keeping(dir)
}

suite!(subject);
