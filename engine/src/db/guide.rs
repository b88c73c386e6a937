//! [`Guide`]: finds the storage paths of a database, and what objects refer to (S13 of the protocol).

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;

use super::filling::Filling;
use super::path::{PathMark, location_of, mark_of, within};
use crate::base::{Error, ManifestId, PathId, Rare, Result};
use crate::fold::Manifest;
use crate::log::Floor;
use crate::storage::{Access, KnownPath, LocalStorage, MirrorGuide, Name, Storage};

/// Knows the places that the database was opened with.
pub(super) struct Guide {
    /// Where paths may be.
    pub(super) places: Vec<Arc<dyn Storage>>,
    /// The set that the paths belong to.
    pub(super) set: u128,
    /// What the database is opened for.
    pub(super) access: Access,
}

impl Guide {
    /// The path at a place, if it is there.
    async fn find(&self, place: &Arc<dyn Storage>, id: PathId) -> Result<Option<KnownPath>> {
        let place = match place.reopened().await? {
            Some(again) => again,
            None => Arc::clone(place),
        };
        let inside = within(&place, id);
        for storage in [inside, place] {
            let mark = mark_of(&*storage).await;
            if PathMark::load(&*storage).await? == Some(PathMark::new(self.set, id)) {
                return Ok(Some(KnownPath { id, storage, mark }));
            }
        }
        Ok(None)
    }
}

#[async_trait]
impl MirrorGuide for Guide {
    fn set(&self) -> u128 {
        self.set
    }

    async fn locate(&self, id: PathId, known: &Arc<dyn Storage>) -> Result<KnownPath> {
        let mut failures = Vec::new();
        for place in &self.places {
            match self.find(place, id).await {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => {}
                Err(error) => failures.push(format!("{}: {error}", place.location())),
            }
        }
        // Where it was when it joined: another machine may have it elsewhere.
        let told = location_of(&**known, id).await;
        if let Some(told) = &told
            && Path::new(told).is_absolute()
            && let Ok(folder) = LocalStorage::open(Path::new(told), self.access)
            && let Ok(Some(found)) = self.find(&(Arc::new(folder) as Arc<dyn Storage>), id).await
        {
            return Ok(found);
        }
        let at = told.map_or_else(String::new, |told| {
            format!(", which was reinstated at {told}")
        });
        let why = match failures.is_empty() {
            true => "it is in none of the places that this process was given".to_owned(),
            false => failures.join("; "),
        };
        Err(Error::PathLost {
            path: format!("path {id}{at}: {why}; start again with that place as --db or --standby"),
        })
    }

    async fn bring(
        &self,
        name: &Name,
        bytes: &[u8],
        from: &Arc<dyn Storage>,
        to: &Arc<dyn Storage>,
    ) -> Result<()> {
        if let Some(id) = name.as_manifest() {
            let mut filling = Filling::new(from, to);
            let manifest = Manifest::decode(name.as_str(), id, bytes)?;
            // Manifests have no gaps, here either.
            if id > ManifestId(0) {
                filling.manifests_to(ManifestId(id.0 - 1)).await?;
            }
            if filling.segments_of(&manifest).await? > 0 {
                Rare::SegmentBrought.seen();
            }
            filling.settle().await?;
        }
        if let Some(id) = name.as_floor() {
            let mut filling = Filling::new(from, to);
            filling
                .manifests_to(Floor::decode(id, bytes)?.manifest)
                .await?;
            filling.settle().await?;
        }
        Ok(())
    }

    async fn complete(&self, from: &Arc<dyn Storage>, to: &Arc<dyn Storage>) -> Result<()> {
        Filling::new(from, to).checkpoints().await
    }
}
