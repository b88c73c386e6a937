//! Finding the newest manifest and opening what it refers to (S10 of the protocol).

use std::sync::Arc;

use super::folder::{Folder, missing};
use super::manifest::Manifest;
use super::view::RunLayer;
use crate::base::limits::{MANIFEST_LEN_MAX, NUMBER_MAX, RELOADS_MAX};
use crate::base::{Error, ManifestId, Rare, Result};
use crate::log::{Floors, Strictness};
use crate::storage::{Name, Storage};

/// A manifest, with its runs open.
pub struct Base {
    /// The manifest.
    pub manifest: Manifest,
    /// Its runs, newest first.
    pub runs: Vec<Arc<RunLayer>>,
}

impl Base {
    /// Tells a mirrored storage on which paths the generation after this manifest stands. Whoever wrote the manifest
    /// had gone on after the seal, so those paths are complete.
    ///
    /// # Errors
    /// [`Error::PathLost`] where a path is not found.
    pub async fn follow_paths(&self, storage: &dyn Storage) -> Result<()> {
        let manifest = &self.manifest;
        match storage.mirror() {
            Some(mirror) if !manifest.paths.is_empty() => {
                mirror.settle(manifest.generation, &manifest.paths).await
            }
            _ => Ok(()),
        }
    }
}

impl Folder {
    /// The newest manifest with its runs; of a copy, the newest one that is complete. `at_least` is one
    /// that must exist, perhaps with newer ones: a listing may be stale.
    ///
    /// # Errors
    /// [`Error::Corrupt`] naming what is missing or damaged; what the storage refuses.
    pub async fn load(&self, strictness: Strictness, at_least: ManifestId) -> Result<Base> {
        let mut failure = None;
        let tries = if self.shared { RELOADS_MAX } else { 1 };
        for _ in 0..tries {
            match self.load_once(strictness, at_least).await {
                // Collected between the listing and the reading: look again.
                Err(Error::SnapshotTooOld { object }) if self.shared => {
                    Rare::LoadedAgain.seen();
                    failure = Some(missing(object));
                }
                Err(error @ Error::Corrupt { .. }) if self.shared => {
                    let is_same = |before: &Error| before.to_string() == error.to_string();
                    let is_still_so = failure.as_ref().is_some_and(is_same);
                    // What is there is there whole, and never changes.
                    if is_still_so && self.is_there(&error).await {
                        return Err(error);
                    }
                    failure = Some(error);
                }
                other => return other,
            }
        }
        Err(failure.unwrap_or_else(no_manifest))
    }

    /// Whether the object that an error is about is there.
    async fn is_there(&self, error: &Error) -> bool {
        let Error::Corrupt { object, .. } = error else {
            return false;
        };
        match Name::parse(object) {
            Some(name) => matches!(self.storage.stat(&name).await, Ok(Some(_))),
            None => false,
        }
    }

    async fn load_once(&self, strictness: Strictness, at_least: ManifestId) -> Result<Base> {
        let listed = self.storage.list(Name::MANIFEST).await?;
        let mut ids: Vec<ManifestId> = listed.iter().filter_map(Name::as_manifest).collect();
        if at_least > ManifestId(0) || ids.is_empty() {
            ids.push(at_least);
        }
        ids.sort_unstable();
        ids.dedup();
        // A listing may be stale; names that are asked for are not.
        let newest = ids.last().copied().unwrap_or(at_least);
        if newest.0 > NUMBER_MAX {
            return Err(Error::corrupt(
                Name::manifest(newest),
                "no manifest has such a number",
            ));
        }
        ids.extend(self.newer_than(newest).await?);
        let mut failure = None;
        for id in ids.into_iter().rev() {
            match self.with_runs(id).await {
                Ok((manifest, runs)) => {
                    return Ok(Base { manifest, runs });
                }
                Err(error @ (Error::Corrupt { .. } | Error::SnapshotTooOld { .. }))
                    if strictness == Strictness::Prefix =>
                {
                    failure.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        Err(failure.unwrap_or_else(no_manifest))
    }

    /// Manifests after `id`, as far as there is no gap.
    async fn newer_than(&self, id: ManifestId) -> Result<Vec<ManifestId>> {
        let mut newer = Vec::new();
        let mut next = ManifestId(id.0 + 1);
        while self.storage.stat(&Name::manifest(next)).await?.is_some() {
            newer.push(next);
            next = ManifestId(next.0 + 1);
        }
        Ok(newer)
    }

    async fn with_runs(&self, id: ManifestId) -> Result<(Manifest, Vec<Arc<RunLayer>>)> {
        let gone = || Error::corrupt(Name::manifest(id), "it was listed and is gone");
        let manifest = self.manifest(id).await?.ok_or_else(gone)?;
        let mut runs = Vec::with_capacity(manifest.runs.len());
        for entry in &manifest.runs {
            runs.push(self.open_run(entry.run.clone(), entry.at).await?);
        }
        Ok((manifest, runs))
    }

    /// Reads manifest `id`; `None` where there is none.
    ///
    /// # Errors
    /// [`Error::Corrupt`] and [`Error::FormatTooNew`] naming it; what the storage refuses.
    pub async fn manifest(&self, id: ManifestId) -> Result<Option<Manifest>> {
        let name = Name::manifest(id);
        let bytes = self.storage.read_at_most(&name, MANIFEST_LEN_MAX).await?;
        bytes
            .map(|bytes| Manifest::decode(name.as_str(), id, &bytes))
            .transpose()
    }

    /// The newest manifest after `id`, if others have published any. What lies below the floor does not
    /// count: there may be gaps, and what a process that slept has put into them.
    ///
    /// # Errors
    /// As [`Folder::manifest`].
    pub async fn newest_after(&self, id: ManifestId) -> Result<Option<Manifest>> {
        let mut known = id;
        if self.shared {
            let floors = Floors::find(Arc::clone(&self.storage)).await?;
            known = known.max(floors.newest().1.manifest);
        }
        let newer = self.newer_than(known).await?;
        match newer.last() {
            Some(newest) => {
                assert!(*newest > known, "manifest {newest} after {known}");
                self.manifest(*newest).await
            }
            None if known > id => self.manifest(known).await,
            None => Ok(None),
        }
    }
}

fn no_manifest() -> Error {
    Error::corrupt(Name::MANIFEST, "there is no manifest")
}
