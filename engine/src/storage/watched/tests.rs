use std::sync::Arc;

use super::{WatchOptions, WatchedStorage};
use crate::storage::conformance::{Subject, suite};
use crate::storage::{Access, LocalStorage, MemoryStorage, Name, Storage};

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

/// One that ended between two looks was told as a time-out, at once.
#[test]
fn an_operation_that_ends_is_never_late() {
    let options = WatchOptions {
        limit: std::time::Duration::from_mins(1),
        ..WatchOptions::default()
    };
    let watched = WatchedStorage::new(Arc::new(MemoryStorage::new()), options);
    let name = Name::parse("log/a").unwrap();
    for turn in 0..20_000 {
        let found = futures::executor::block_on(watched.stat(&name));
        assert!(matches!(found, Ok(None)), "turn {turn}: {found:?}");
    }
}
