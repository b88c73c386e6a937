//! The files that the shards of a job have written: what is stored about them, and the folder that they lie in.
//!
//! | name in the folder | is |
//! |---|---|
//! | `_eciton-TOKEN/` | the staging folder of a job, from when it is recorded until it is done |
//! | `JOB-SHARD.parquet`, `year=2013/JOB-SHARD.parquet` | a file of a shard that is committed, whole |
//! | `_manifest.json` | exactly the committed files; there once the job is done |
//!
//! A file is renamed from its staging folder after the transaction that recorded it. Whoever was killed in between leaves
//! a file that is committed and not visible: ending the job makes all of them visible, then writes the manifest, and only
//! then is the job done. Each step may be done again, by any process.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use eciton_engine::entropy::{Entropy as _, SystemEntropy};
use eciton_engine::{Datum, Key, ScanRange, Transaction};
use eciton_proto::prost::Message;
use eciton_proto::v1::job_spec::Sink;
use eciton_proto::v1::{ExportFormat, ExportPlan, ExportedFile, ExportedFiles, JobSpec};

use super::error::JobError;
use super::job::Job;
use super::keys::{EXPORT, decode, key};
use super::ledger::Ledger;
use crate::spec::{JobFile, SpecError};

/// The file that lists the others.
pub(crate) const MANIFEST: &str = "_manifest.json";
/// How the names of staging folders begin.
const STAGING: &str = "_eciton-";
/// The key of the job file that names the folder.
const KEY: &str = "export.to";

/// Whether a job writes files.
pub(crate) fn is_export(spec: &JobSpec) -> bool {
    matches!(spec.sink, Some(Sink::Export(_)))
}

/// Where the files of a job go that is about to be recorded: the folder that its job file names, and a staging folder that
/// no other job has. `None` of a job that writes none.
///
/// # Errors
/// [`SpecError`] for a path that cannot be.
pub(crate) fn place(file: &JobFile) -> Result<Option<ExportPlan>, SpecError> {
    let Some(Sink::Export(export)) = &file.spec().sink else {
        return Ok(None);
    };
    let folder = std::path::absolute(file.dir().join(&export.to));
    let folder = folder.map_err(|error| file.error(KEY, error))?;
    let Some(folder) = folder.to_str() else {
        return Err(file.error(KEY, "expected a path in UTF-8"));
    };
    Ok(Some(ExportPlan {
        folder: folder.to_owned(),
        staging: format!("{STAGING}{:016x}", SystemEntropy.next_u128() >> 64),
    }))
}

/// Checks that the folder of a job that is about to be recorded has no files of others: whoever reads it would take them
/// for this job's.
///
/// # Errors
/// [`SpecError`] at the key that names it.
pub(crate) fn check_folder(file: &JobFile, plan: &ExportPlan) -> Result<(), SpecError> {
    let entries = match fs::read_dir(&plan.folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(file.error(KEY, format!("`{}`: {error}", plan.folder))),
        Ok(entries) => entries,
    };
    for entry in entries {
        let entry = entry.map_err(|error| file.error(KEY, error))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_of_jobs = name == MANIFEST || name.starts_with(STAGING);
        let is_hidden = name.starts_with(['.', '_']) && !is_of_jobs;
        if !is_hidden && name != plan.staging {
            let message = format!(
                "folder `{}` has `{name}` in it; expected an empty or absent folder: `eciton job rm JOB --with-results` \
                 removes the files of a job",
                plan.folder
            );
            return Err(file.error(KEY, message));
        }
    }
    Ok(())
}

/// Creates the folders of a job, durably. Workers know by the staging folder that they see the same folder.
///
/// # Errors
/// [`SpecError`] at the key that names it.
pub(crate) fn create(file: &JobFile, plan: &ExportPlan) -> Result<(), SpecError> {
    let folder = Path::new(&plan.folder);
    let created = fs::create_dir_all(folder.join(&plan.staging)).and_then(|()| sync(folder));
    created.map_err(|error| file.error(KEY, format!("`{}`: {error}", plan.folder)))
}

/// Removes the staging folder of a job, with what dead attempts have left there.
pub(crate) fn sweep(plan: &ExportPlan) {
    let staging = Path::new(&plan.folder).join(&plan.staging);
    match fs::remove_dir_all(&staging) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(folder = %staging.display(), %error, "a staging folder could not be removed");
        }
        _ => {}
    }
}

/// Gives committed files the names that readers see. Files that have them are left alone.
///
/// # Errors
/// The path to blame, where a file is neither here nor there.
pub(crate) fn publish(plan: &ExportPlan, files: &[ExportedFile]) -> Result<(), String> {
    for file in files {
        let path = Path::new(&plan.folder).join(&file.path);
        let staged = Path::new(&plan.folder)
            .join(&plan.staging)
            .join(&file.staged);
        let renamed = match fs::rename(&staged, &path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Either it is there, or its folder is not.
                match (fs::metadata(&path), path.parent()) {
                    (Err(_), Some(parent)) => {
                        fs::create_dir_all(parent).and_then(|()| fs::rename(&staged, &path))
                    }
                    _ => Ok(()),
                }
            }
            renamed => renamed,
        };
        let len = renamed
            .and_then(|()| fs::metadata(&path))
            .map(|found| found.len());
        match len {
            Ok(len) if len == file.len => {}
            Ok(len) => {
                return Err(format!(
                    "`{}` has {len} bytes, expected {}",
                    path.display(),
                    file.len
                ));
            }
            Err(error) => return Err(format!("`{}`: {error}", path.display())),
        }
    }
    Ok(())
}

/// Removes what an attempt has written that was not committed.
pub(crate) fn discard(plan: &ExportPlan, files: &[ExportedFile]) {
    for file in files {
        // What stays is swept with the staging folder.
        fs::remove_file(
            Path::new(&plan.folder)
                .join(&plan.staging)
                .join(&file.staged),
        )
        .ok();
    }
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

impl Ledger {
    /// Records the files of a shard, with its mark.
    pub(crate) fn put_export(
        &self,
        tx: &mut Transaction,
        name: &str,
        shard: u64,
        files: &[ExportedFile],
    ) -> Result<(), JobError> {
        assert!(!files.is_empty(), "shard {shard} has written nothing");
        let record = ExportedFiles {
            files: files.to_vec(),
        };
        let key = key(EXPORT, name, Some(shard))?;
        Ok(tx.put(&self.store, &key, record.encode_to_vec())?)
    }

    /// The committed files of a job, by shard.
    pub(crate) async fn exports(&self, name: &str) -> Result<Vec<ExportedFile>, JobError> {
        let range = ScanRange::prefix(Key::from_datums(&[Datum::from(EXPORT), name.into()])?);
        let mut scan = self.db.snapshot().scan(&self.store, &range);
        let mut files = Vec::new();
        while let Some(record) = scan.next().await? {
            files.extend(decode::<ExportedFiles>(name, EXPORT, &record.value)?.files);
        }
        Ok(files)
    }

    /// Makes all files of a job visible whose shards are done, and writes the manifest: what has to be before the job is
    /// done. Durable when it returns.
    ///
    /// # Errors
    /// [`JobError::Export`] where a file is gone, or the folder is not here.
    pub(crate) async fn complete_export(&self, name: &str, job: &Job) -> Result<(), JobError> {
        let Some(plan) = job.plan.export.clone().filter(|_| is_export(&job.spec)) else {
            return Ok(());
        };
        let files = self.exports(name).await?;
        let spec = job.spec.clone();
        let done = tokio::task::spawn_blocking(move || complete(&spec, &plan, files)).await;
        let done = done.map_err(|error| JobError::Worker(error.to_string()))?;
        done.map_err(|why| JobError::Export {
            name: name.to_owned(),
            why,
        })
    }

    /// Removes the staging folder of a job that is removed, and the files too where that is asked for.
    pub(crate) async fn remove_export(
        &self,
        name: &str,
        job: &Job,
        with_files: bool,
    ) -> Result<(), JobError> {
        let Some(plan) = job.plan.export.clone().filter(|_| is_export(&job.spec)) else {
            return Ok(());
        };
        let files = match with_files {
            true => self.exports(name).await?,
            false => Vec::new(),
        };
        let removing = tokio::task::spawn_blocking(move || {
            // First what others could still make visible.
            sweep(&plan);
            match with_files {
                true => remove(&plan, &files),
                false => Ok(()),
            }
        });
        let removed = removing
            .await
            .map_err(|error| JobError::Worker(error.to_string()))?;
        removed.map_err(|why| JobError::Export {
            name: name.to_owned(),
            why,
        })
    }
}

fn complete(spec: &JobSpec, plan: &ExportPlan, files: Vec<ExportedFile>) -> Result<(), String> {
    publish(plan, &files)?;
    let folder = Path::new(&plan.folder);
    let staging = folder.join(&plan.staging);
    let mut folders = BTreeSet::from([folder.to_owned()]);
    for file in &files {
        let parents = folder.join(&file.path);
        let parents = parents
            .ancestors()
            .skip(1)
            .take_while(|parent| *parent != folder);
        folders.extend(parents.map(Path::to_owned));
    }
    let told = |path: &Path, error: io::Error| format!("`{}`: {error}", path.display());
    for folder in &folders {
        sync(folder).map_err(|error| told(folder, error))?;
    }
    let path = folder.join(MANIFEST);
    // Without the staging folder this is another folder, or the job is done.
    let written = write_manifest(&staging, &path, &manifest(spec, files));
    match written {
        Err(error) if error.kind() == io::ErrorKind::NotFound && path.exists() => Ok(()),
        written => written.map_err(|error| told(&path, error)),
    }
}

fn write_manifest(staging: &Path, path: &Path, text: &str) -> io::Result<()> {
    let draft = staging.join(format!(
        "manifest-{:016x}.tmp",
        SystemEntropy.next_u128() >> 64
    ));
    let mut file = File::options().write(true).create_new(true).open(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    path.parent().map_or(Ok(()), sync)
}

/// The manifest of a job: the same for the same files, whoever writes it.
fn manifest(spec: &JobSpec, mut files: Vec<ExportedFile>) -> String {
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let (format, partition_by) = match &spec.sink {
        Some(Sink::Export(export)) => (export.format(), export.partition_by.clone()),
        _ => (ExportFormat::Unspecified, Vec::new()),
    };
    let listed: Vec<serde_json::Value> = files
        .iter()
        .map(|file| {
            serde_json::json!({
                "path": file.path,
                "rows": file.rows,
                "bytes": file.len,
                "xxh3": format!("{:016x}", file.hash),
            })
        })
        .collect();
    let rows: u64 = files.iter().map(|file| file.rows).sum();
    let manifest = serde_json::json!({
        "job": spec.name,
        "format": if format == ExportFormat::Csv { "csv" } else { "parquet" },
        "partition_by": partition_by,
        "rows": rows,
        "files": listed,
    });
    format!("{manifest:#}\n")
}

/// Removes files of a job, its manifest first, and folders that are empty then.
fn remove(plan: &ExportPlan, files: &[ExportedFile]) -> Result<(), String> {
    let folder = Path::new(&plan.folder);
    let paths = files.iter().map(|file| folder.join(&file.path));
    let mut folders: BTreeSet<PathBuf> = BTreeSet::new();
    for path in std::iter::once(folder.join(MANIFEST)).chain(paths) {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(format!("`{}`: {error}", path.display()));
            }
            _ => {}
        }
        let parents = path.ancestors().skip(1);
        folders.extend(
            parents
                .take_while(|parent| *parent != folder)
                .map(Path::to_owned),
        );
    }
    // The innermost first; one that has files of others stays.
    for folder in folders.iter().rev() {
        fs::remove_dir(folder).ok();
    }
    fs::remove_dir(folder).ok();
    Ok(())
}
