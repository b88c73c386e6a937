//! Objects that are missing, by the word of those that are there: numbers without holes, and whatever refers to them.
//!
//! What nothing on storage tells of cannot be missed: the newest slot as long as no manifest has folded it, the first
//! slots once every manifest has, and the newest manifest as long as no `collect` record and no floor names it. (A folder that one process closed in good order
//! says in `INSTANCE` where its log ended.) A copy that was cut to what counts, and a restored or published one, may
//! begin anywhere; so what lies before their oldest manifest is not missed either.

use super::reached::Reached;
use super::verify::Verifier;
use crate::base::{FloorId, Generation, ManifestId, Position, Result};
use crate::fold::Manifest;
use crate::log::Floor;
use crate::storage::Name;

/// Missing objects that follow each other and are told one by one.
const TOLD_MAX: u64 = 16;

impl Verifier<'_> {
    /// Names objects that are missing.
    pub(super) fn missing(
        &mut self,
        numbers: std::ops::Range<u64>,
        name: impl Fn(u64) -> Name,
        detail: &str,
    ) {
        assert!(!numbers.is_empty(), "nothing is missing in {numbers:?}");
        let told = numbers.end.min(numbers.start.saturating_add(TOLD_MAX));
        for number in numbers.start..told {
            self.broken(&name(number), detail.to_owned());
        }
        if told < numbers.end {
            let detail = format!(
                "it is missing, and {} more after it",
                numbers.end - told - 1
            );
            self.broken(&name(told), detail);
        }
    }

    /// Names the log files that should hold the slots after `end` up to `next`, which is the first of `by`, or a slot
    /// that `by` has folded.
    pub(super) async fn slots_missing(
        &mut self,
        end: Reached,
        next: Position,
        by: &Name,
    ) -> Result<()> {
        let first = end.last.next();
        let is_single = match by.as_log() {
            Some(_) => {
                let start = self.log_start(by).await.ok().flatten();
                end.is_single && start.is_none_or(|start| start.place.is_none())
            }
            None => end.is_single,
        };
        let name = |n| Name::log(end.generation, Position(n));
        if is_single {
            let detail = format!("it is missing, and {by} comes after it");
            self.missing(first.0..next.0, name, &detail);
        } else {
            // A file of many slots has the name of its first.
            let last = next.0 - 1;
            let detail = format!("it is missing, or ends too early: {by} comes after slot {last}");
            self.broken(&name(first.0), detail);
        }
        Ok(())
    }

    /// Names what the manifests, the floors and the log tell of beyond each other.
    pub(super) async fn gone(
        &mut self,
        manifests: &[Manifest],
        (id, floor): (FloorId, Floor),
    ) -> Result<()> {
        let mut before: Option<FloorId> = None;
        for name in self.storage.list(Name::FLOOR).await? {
            let Some(id) = name.as_floor() else { continue };
            // A process that is alone removes those before the newest, and a power loss may bring any of them back; where
            // there is no exclusive lock nobody is ever alone.
            let keeps_all = !self.storage.capabilities().has_exclusive_lock();
            if let Some(before) = before.filter(|before| keeps_all && before.0 + 1 < id.0) {
                let detail = format!("it is missing, and {name} comes after it");
                self.missing(before.0 + 1..id.0, |id| Name::floor(FloorId(id)), &detail);
            }
            before = Some(id);
        }
        let (Some(oldest), Some(newest)) = (manifests.first(), manifests.last()) else {
            return Ok(());
        };
        let (oldest, newest) = (oldest.clone(), newest.clone());
        assert!(oldest.id <= newest.id, "{} before {}", newest.id, oldest.id);
        let log = self.storage.list(Name::LOG).await?;
        let log: Vec<_> = log.iter().filter_map(Name::as_log).collect();
        // A copy that was cut goes on under another generation.
        let is_original = newest.generation.max(self.generation) == Generation(0)
            && log
                .iter()
                .all(|(generation, _)| *generation == Generation(0));
        if !is_original {
            return Ok(());
        }
        let manifest = |id| Name::manifest(ManifestId(id));
        let collected = self.collected.filter(|(id, _)| *id > newest.id);
        // A writer beside this may have made it since the others were listed.
        let is_new = match collected {
            Some((id, _)) => {
                let listed = self.storage.list(Name::MANIFEST).await?;
                let mut ids = listed.iter().filter_map(Name::as_manifest);
                ids.any(|listed| listed >= id)
            }
            None => false,
        };
        if let Some((id, slot)) = collected.filter(|_| !is_new) {
            let detail = format!("it is missing, and slot {slot} says that it was there");
            self.missing(newest.id.0 + 1..id.0 + 1, manifest, &detail);
        }
        if id > FloorId(0) {
            self.front_missing(floor.manifest, oldest.id, id);
            return Ok(());
        }
        // Nothing was ever collected. A published copy begins with manifest 1, and its log after that.
        let first = log.iter().map(|(_, first)| *first).min();
        let reaches_back = first.is_some_and(|first| first <= oldest.folded);
        if oldest.id > ManifestId(1) || (oldest.id == ManifestId(1) && reaches_back) {
            self.front_missing(ManifestId(0), oldest.id, id);
        }
        if let Some(first) = first.filter(|first| reaches_back && *first > Position(1)) {
            let by = Name::log(Generation(0), first);
            let start = Reached {
                last: Position::ZERO,
                generation: Generation(0),
                is_single: true,
            };
            self.slots_missing(start, first, &by).await?;
        }
        Ok(())
    }

    /// Names what is missing before the oldest manifest, if floor `id`, the newest there is, keeps those from `first`
    /// on: that manifest, or where there are several rather the floor below which they went.
    fn front_missing(&mut self, first: ManifestId, oldest: ManifestId, id: FloorId) {
        match oldest.0.saturating_sub(first.0) {
            0 => {}
            1 => {
                let detail = format!(
                    "it is missing, and {} comes after it",
                    Name::manifest(oldest)
                );
                self.broken(&Name::manifest(first), detail);
            }
            count => {
                let detail = format!(
                    "it is missing, or {count} manifests are, the first of them {}",
                    Name::manifest(first)
                );
                self.broken(&Name::floor(FloorId(id.0 + 1)), detail);
            }
        }
    }
}
