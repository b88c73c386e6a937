//! `db compact|backup|restore|publish`: space, and copies of a database.

use std::path::Path;
use std::sync::Arc;

use eciton_engine::storage::{Access, LocalStorage};
use eciton_engine::{Db, Environment, Options, Position};
use serde_json::{Value, json};

use crate::cli::{Compressed, Global};
use crate::database::{self, Absent};
use crate::failure::Failure;
use crate::output::Output;
use crate::progress::Meter;
use crate::settings;
use crate::words::counted;

/// Compacts the database.
///
/// # Errors
/// As [`Db::compact`].
pub(super) async fn compact(global: &Global, compressed: Compressed) -> Result<(), Failure> {
    let work = async |db: Db| Ok(db.compact().await?);
    let compacting = database::writing_as(global, Absent::Refuse, compressed, work);
    let outcome = Meter::spinner("compacting")
        .during(|| {}, compacting)
        .await?;
    let (fold, collected) = (outcome.fold, outcome.collected);
    let json = json!({
        "runs": fold.runs, "bytes": fold.len, "bytes_replaced": fold.replaced,
        "segments_deleted": collected.segments, "log_files_deleted": collected.log_files,
        "manifests_deleted": collected.manifests, "lost": fold.lost,
    });
    let text = format!(
        "{} in {}; deleted {}, {}, {}",
        counted(fold.len, "byte"),
        counted(fold.runs, "run"),
        counted(collected.segments, "segment"),
        counted(collected.log_files, "log file"),
        counted(collected.manifests, "manifest")
    );
    print(global, &json, &text)
}

/// What lies in a storage path belongs to its database.
fn refuse_within(path: &Path, folder: &Path) -> Result<(), Failure> {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    if real(folder).starts_with(real(path)) {
        return Err(Failure::Usage(format!(
            "{} lies within the storage path {}; choose a folder outside of it",
            folder.display(),
            path.display()
        )));
    }
    Ok(())
}

/// Adds a backup to `folder`.
///
/// # Errors
/// As [`eciton_engine::backup`]; [`Failure::Work`] where a full look found damage that could not be copied again.
pub(super) async fn backup(global: &Global, folder: &Path, full: bool) -> Result<(), Failure> {
    let path = settings::folder(global)?;
    let meter = Meter::new("backing up");
    let taken = match settings::standby(global)? {
        None => eciton_engine::backup_folder(&path, folder, full, &meter.progress()).await,
        Some(standby) => {
            for own in [&path, &standby] {
                refuse_within(own, folder)?;
            }
            let source = database::storage(global).await?;
            let to = LocalStorage::open(folder, Access::ReadWrite);
            let to = Arc::new(to.map_err(|error| database::not_opened(folder, error))?);
            let environment = Environment::default();
            eciton_engine::backup(source, to, full, &environment, &meter.progress()).await
        }
    };
    meter.finish();
    let taken = taken.map_err(database::with_hint)?;
    let damaged = taken.damaged.iter();
    let damaged: Vec<Value> = damaged
        .map(|damage| json!({"object": damage.object, "detail": damage.detail}))
        .collect();
    for damage in &taken.damaged {
        tracing::warn!("{}/{}: {}", folder.display(), damage.object, damage.detail);
    }
    let json = json!({
        "backup": taken.number, "instance": taken.instance.to_string(),
        "taken_ms": taken.taken_ms, "position": taken.position.0,
        "files": taken.files, "bytes": taken.bytes,
        "files_copied": taken.files_copied, "bytes_copied": taken.bytes_copied,
        "damaged": damaged,
    });
    let text = format!(
        "backup {} of position {}: copied {} in {}, {} in all",
        taken.number,
        taken.position,
        counted(taken.bytes_copied, "byte"),
        counted(taken.files_copied as u64, "file"),
        counted(taken.bytes, "byte")
    );
    print(global, &json, &text)?;
    // Who asks for a look at everything is told by the exit code, too.
    match taken.damaged.len() {
        0 => Ok(()),
        _ if !full => Ok(()),
        count => Err(Failure::Work(format!(
            "{}: backup {} is taken and can be restored, but {} of earlier ones {} damaged or \
             missing, and no more in the database; keep a copy of what is left and begin a new folder of backups",
            folder.display(),
            taken.number,
            counted(count as u64, "object"),
            if count == 1 { "is" } else { "are" }
        ))),
    }
}

/// Restores the newest backup in `folder`, or a position.
///
/// # Errors
/// As [`eciton_engine::restore`].
pub(super) async fn restore(
    global: &Global,
    folder: &Path,
    position: Option<u64>,
) -> Result<(), Failure> {
    let path = settings::folder(global)?;
    let meter = Meter::new("restoring");
    let position = position.map(Position);
    let restored = eciton_engine::restore_folder(folder, &path, position, &meter.progress()).await;
    meter.finish();
    let restored = restored?;
    let json = json!({
        "location": path.display().to_string(), "instance": restored.instance.to_string(),
        "position": restored.position.0, "backup": restored.backup,
        "files": restored.files, "bytes": restored.bytes,
    });
    let text = format!(
        "restored position {} into {}: {}",
        restored.position,
        path.display(),
        counted(restored.bytes, "byte")
    );
    print(global, &json, &text)
}

/// Publishes the database into `folder`.
///
/// # Errors
/// As [`eciton_engine::publish`].
pub(super) async fn publish(
    global: &Global,
    folder: &Path,
    compressed: Compressed,
) -> Result<(), Failure> {
    let path = settings::folder(global)?;
    let meter = Meter::new("publishing");
    let options = Options {
        compression: settings::compression(compressed)?,
        ..Options::default()
    };
    let published = eciton_engine::publish_folder(&path, folder, &options, &meter.progress()).await;
    meter.finish();
    let published = published.map_err(database::with_hint)?;
    let json = json!({
        "location": folder.display().to_string(), "instance": published.instance.to_string(),
        "position": published.position.0, "records": published.records, "bytes": published.bytes,
    });
    let text = format!(
        "published position {} in {}: {}",
        published.position,
        folder.display(),
        counted(published.bytes, "byte")
    );
    print(global, &json, &text)
}

fn print(global: &Global, json: &serde_json::Value, text: &str) -> Result<(), Failure> {
    let mut output = Output::new(global);
    output.either(json, text)?;
    Ok(output.finish()?)
}
