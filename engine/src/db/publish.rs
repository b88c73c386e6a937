//! Publishing: a fully compacted copy of one state, to be handed out and read anywhere.

use std::path::Path;
use std::sync::Arc;

use super::create::{Target, no_database};
use super::instance::Instance;
use super::open::{self, Loaded};
use super::options::{Environment, Options};
use super::places::apart;
use super::progress::{Meter, OnProgress};
use crate::base::limits::RELOADS_MAX;
use crate::base::{Error, InstanceId, Position, Result};
use crate::fold::Layer;
use crate::log::LogEnd;
use crate::storage::{Access, LocalStorage, LockGuard, LockMode, Storage};

/// What was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// The copy's own name.
    pub instance: InstanceId,
    /// The slot whose state it is.
    pub position: Position,
    /// Records in it, those of the catalog included.
    pub records: u64,
    /// Bytes of its run.
    pub bytes: u64,
}

/// Publishes the database in a folder, without lock or writes there, beside a running writer too. As
/// [`publish`].
///
/// # Errors
/// As [`publish`]; [`Error::Invalid`] where one folder lies in the other.
pub async fn publish_folder(
    folder: &Path,
    to: &Path,
    options: &Options,
    progress: OnProgress<'_>,
) -> Result<Published> {
    apart(folder, to, "a published copy")?;
    let source = Arc::new(LocalStorage::open(folder, Access::ReadOnly)?);
    publish_into(source, to, options, &Environment::default(), progress).await
}

/// As [`publish`], into a folder, in which no file of the lock is left: a copy that is handed out has none.
pub(super) async fn publish_into(
    source: Arc<dyn Storage>,
    to: &Path,
    options: &Options,
    environment: &Environment,
    progress: OnProgress<'_>,
) -> Result<Published> {
    let target = Arc::new(LocalStorage::open(to, Access::ReadWrite)?);
    let (published, lock) = publish_locked(source, target, options, environment, progress).await?;
    // While it is held: whoever has opened the file and waits for it finds that it is no more, and looks again.
    let file = to.join("LOCK");
    if holds(&file) {
        let removed = std::fs::remove_file(&file);
        removed.map_err(|cause| Error::storage("remove", file.display(), &cause))?;
    }
    drop(lock);
    Ok(published)
}

/// Whether a file of a lock says that this process holds it: another folder may have been put in place of this one.
fn holds(file: &Path) -> bool {
    let line = std::fs::read_to_string(file).unwrap_or_default();
    let holder = serde_json::from_str::<serde_json::Value>(&line).unwrap_or_default();
    holder["pid"] == std::process::id()
}

/// Writes everything that has been committed as a database of its own into `to`, which is new, empty, or left
/// by a publishing that was interrupted: one run, no log, nothing that was deleted or replaced. It opens for
/// reading from any medium, without lock file and without write permission. It is durable when this returns;
/// before, nothing in `to` can be taken for a database.
///
/// # Errors
/// [`Error::NotADatabase`]; [`Error::Invalid`] where `to` is not empty; [`Error::Locked`] while another process
/// publishes or restores into `to`, or works there; [`Error::Corrupt`] naming what is damaged; what either medium
/// refuses.
pub async fn publish(
    source: Arc<dyn Storage>,
    to: Arc<dyn Storage>,
    options: &Options,
    environment: &Environment,
    progress: OnProgress<'_>,
) -> Result<Published> {
    let (published, lock) = publish_locked(source, to, options, environment, progress).await?;
    drop(lock);
    Ok(published)
}

/// What was published, and the lock of the place, where the medium has one.
type PublishedLocked = (Published, Option<Box<dyn LockGuard>>);

async fn publish_locked(
    source: Arc<dyn Storage>,
    to: Arc<dyn Storage>,
    options: &Options,
    environment: &Environment,
    progress: OnProgress<'_>,
) -> Result<PublishedLocked> {
    // A place that is refused, and one that nothing is to be published into, stay as they are.
    if Instance::load(&*source).await?.is_none() {
        return Err(no_database(&*source).await);
    }
    Target::look(&*to).await?;
    let lock = match to.capabilities().has_exclusive_lock() {
        true => Some(to.lock(LockMode::Exclusive).await?),
        false => None,
    };
    let mut before = None;
    for _ in 0..RELOADS_MAX {
        // Clears it of what an interrupted one left, so the lock comes first.
        let target = Target::begin(Arc::clone(&to)).await?;
        let once = Publisher {
            source: &source,
            to: &to,
            options,
            environment,
        };
        match once.run(progress).await {
            // Collected while it was read, on a medium that does not keep open files.
            Err(error @ Error::SnapshotTooOld { .. }) => {
                let now = error.to_string();
                if before.as_ref() == Some(&now) {
                    return Err(error);
                }
                before = Some(now);
            }
            Ok(published) => {
                target.finish().await?;
                to.prune().await?;
                return Ok((published, lock));
            }
            Err(error) => return Err(error),
        }
    }
    Err(Error::SnapshotTooOld {
        object: source.location(),
    })
}

struct Publisher<'a> {
    source: &'a Arc<dyn Storage>,
    to: &'a Arc<dyn Storage>,
    options: &'a Options,
    environment: &'a Environment,
}

impl Publisher<'_> {
    async fn run(&self, progress: OnProgress<'_>) -> Result<Published> {
        let found = Instance::load(&**self.source).await?;
        let Some((instance, copied)) = found else {
            return Err(no_database(&**self.source).await);
        };
        let folder = open::folder(self.source, self.options, self.environment, true);
        let Loaded { view, end, .. } = open::load_beside(&folder, &instance, copied).await?;
        let view = view.load();
        let mut meter = Meter::new(progress);
        let expected = view.layers.iter().map(|layer| match layer {
            Layer::Run(run) => run.reference.entries,
            Layer::Memtable(_) => 0,
        });
        meter.expect(expected.sum(), 0);
        let target = open::folder(self.to, self.options, self.environment, false);
        let LogEnd {
            generation,
            last,
            hash,
            ..
        } = end;
        let step = &mut |len| meter.add("", 1, len);
        let manifest = target
            .write_copy(&view, (last, hash, generation), step)
            .await?;
        let instance = Instance {
            id: InstanceId(self.environment.entropy.next_u128()),
            identity: 0,
            closed: Some((last, hash)),
        };
        let instance = instance.store(&**self.to).await?;
        meter.finish();
        let run = manifest.runs.first();
        Ok(Published {
            instance: instance.id,
            position: last,
            records: run.map_or(0, |entry| entry.run.entries),
            bytes: run.map_or(0, |entry| entry.run.len),
        })
    }
}
