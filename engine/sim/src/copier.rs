//! A copy of a folder that is taken while the database is in use, as `cp -r` takes it.

use std::collections::BTreeMap;
use std::sync::Arc;

use eciton_engine::storage::{MemoryStorage, Name, Storage};
use futures::FutureExt;
use parking_lot::Mutex;

use crate::clock::yield_now;
use crate::context::Shared;
use crate::disk::Disk;
use crate::executor::ProcessId;
use crate::random::Random;

/// Names that are copied without a pause, on average.
const NAMES_PER_POINT: u64 = 3;

/// Parts after the first in which a file is copied at the most.
const PARTS_MAX: u64 = 6;

/// A copy on its way.
pub struct Copier {
    shared: Arc<Shared>,
    from: Arc<Disk>,
    to: Arc<Disk>,
    process: ProcessId,
    random: Mutex<Random>,
}

impl Copier {
    /// A copy of `from` into the empty `to`, made by a task of `process`.
    pub fn new(
        shared: Arc<Shared>,
        from: Arc<Disk>,
        to: Arc<Disk>,
        process: ProcessId,
        seed: u64,
    ) -> Copier {
        Copier {
            shared,
            from,
            to,
            process,
            random: Mutex::new(Random::new(seed, 9)),
        }
    }

    /// Copies every file: directories in any order, the files of each in any order as listed when its
    /// turn comes, others going first in between. Ends with everything on the copy durable.
    pub async fn run(self) {
        self.shared.log(
            Some(self.process),
            format_args!("copies disk{} to disk{}", self.from.number, self.to.number),
        );
        let begun = self.by_dir();
        let mut dirs: Vec<String> = begun.keys().cloned().collect();
        self.random.lock().shuffle(&mut dirs);
        for dir in dirs {
            yield_now().await;
            let mut names = self.by_dir().remove(&dir).unwrap_or_default();
            self.random.lock().shuffle(&mut names);
            for name in names {
                if self.random.lock().below(NAMES_PER_POINT) == 0 {
                    yield_now().await;
                }
                self.copy(&name).await;
            }
        }
        let copied = now(&self.to.memory, |memory| memory.list("")).unwrap_or_default();
        let stayed = |name| copied.contains(name);
        // A floor of meanwhile passes what was there, also where that was copied in time, and what it leaves may have come
        // too late.
        let is_old = |name: &Name| {
            name.as_floor().is_none() || begun.values().flatten().any(|old| old == name)
        };
        if !begun.values().flatten().all(stayed) || !copied.iter().all(is_old) {
            self.to.set_overtaken();
            self.shared
                .log(Some(self.process), format_args!("collection was faster"));
        }
    }

    fn by_dir(&self) -> BTreeMap<String, Vec<Name>> {
        let mut dirs = BTreeMap::<String, Vec<Name>>::new();
        for name in now(&self.from.memory, |memory| memory.list("")).unwrap_or_default() {
            dirs.entry(name.dir().to_owned()).or_default().push(name);
        }
        dirs
    }

    /// Copies a file; one that is appended to, at times in parts, as it is when each part is read.
    async fn copy(&self, name: &Name) {
        let Some(mut bytes) = read(&self.from.memory, name) else {
            return;
        };
        if name.as_log().is_some() && self.random.lock().percent(40) {
            let parts = self.random.lock().between(1, PARTS_MAX);
            for _ in 0..parts {
                let end = bytes.len();
                let at = self.random.lock().index(end + 1);
                yield_now().await;
                let Some(now) = read(&self.from.memory, name) else {
                    return;
                };
                bytes.truncate(at);
                bytes.extend_from_slice(now.get(at..).unwrap_or_default());
            }
        }
        let len = bytes.len();
        let created = now(&self.to.memory, |memory| memory.create(name, &bytes));
        let synced = now(&self.to.memory, |memory| memory.sync_names(name));
        assert!(
            created.is_some() && synced.is_some(),
            "{name}: the copy's disk has no faults"
        );
        self.shared.log(
            Some(self.process),
            format_args!("copied {name}: {len} bytes"),
        );
    }
}

fn read(memory: &MemoryStorage, name: &Name) -> Option<Vec<u8>> {
    now(memory, |memory| memory.read(name))
        .flatten()
        .map(|bytes| bytes.to_vec())
}

/// What memory answers: it never waits.
fn now<'a, T, F>(memory: &'a MemoryStorage, ask: impl FnOnce(&'a MemoryStorage) -> F) -> Option<T>
where
    F: Future<Output = eciton_engine::base::Result<T>>,
{
    ask(memory).now_or_never().and_then(Result::ok)
}
