//! Publishing: a fully compacted copy of one state, to be handed out and read anywhere.

use std::path::Path;
use std::sync::Arc;

use super::create::{Target, no_database};
use super::instance::Instance;
use super::open::{self, Loaded};
use super::options::{Environment, Options};
use super::progress::{Meter, OnProgress};
use crate::base::limits::RELOADS_MAX;
use crate::base::{Error, InstanceId, Position, Result};
use crate::fold::Layer;
use crate::log::LogEnd;
use crate::storage::{Access, LocalStorage, Storage};

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
/// As [`publish`].
pub async fn publish_folder(
    folder: &Path,
    to: &Path,
    options: &Options,
    progress: OnProgress<'_>,
) -> Result<Published> {
    let source = Arc::new(LocalStorage::open(folder, Access::ReadOnly)?);
    let target = Arc::new(LocalStorage::open(to, Access::ReadWrite)?);
    publish(source, target, options, &Environment::default(), progress).await
}

/// Writes everything that has been committed as a database of its own into `to`, which is new, empty, or left
/// by a publishing that was interrupted: one run, no log, nothing that was deleted or replaced. It opens for
/// reading from any medium, without lock file and without write permission. It is durable when this returns;
/// before, nothing in `to` can be taken for a database.
///
/// # Errors
/// [`Error::NotADatabase`]; [`Error::Invalid`] where `to` is not empty; [`Error::Corrupt`] naming what is
/// damaged; what either medium refuses.
pub async fn publish(
    source: Arc<dyn Storage>,
    to: Arc<dyn Storage>,
    options: &Options,
    environment: &Environment,
    progress: OnProgress<'_>,
) -> Result<Published> {
    let mut before = None;
    for _ in 0..RELOADS_MAX {
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
                return Ok(published);
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
            Layer::Table(_) => 0,
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
