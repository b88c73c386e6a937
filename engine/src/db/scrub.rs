//! Reads everything on both storage paths of a mirrored database, and heals what is damaged or missing on one of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use xxhash_rust::xxh3::Xxh3;

use super::create::no_database;
use super::instance::Instance;
use super::mirrored::paths_of;
use super::options::Environment;
use super::path::{PathMark, within};
use super::progress::{Meter, OnProgress};
use super::verify::Broken;
use crate::base::limits::{MANIFEST_LEN_MAX, RELOADS_MAX, SLOT_FILE_LEN_MAX};
use crate::base::{Error, FloorId, PathId, Result, RunRef, SegmentId, metric};
use crate::fold::Manifest;
use crate::log::{Body, Floor, slot};
use crate::storage::{Created, Name, Object, Storage};
use crate::tree::{PageCache, Run};

/// Bytes of cache while checking a segment: every page is read once.
const CACHE_LEN: usize = 8 * 1024 * 1024;
/// Bytes of a segment that are read and copied at once.
const PIECE_LEN: usize = 4 * 1024 * 1024;

/// How to scrub.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScrubOptions {
    /// Bytes to read a second, of both paths together; `None`: as many as there come.
    pub bandwidth: Option<u64>,
}

/// What was wrong with an object that was healed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HealKind {
    /// It did not match its checksum.
    Damaged,
    /// It was not there.
    Missing,
}

impl HealKind {
    /// The word in metrics and lines of JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            HealKind::Damaged => "damaged",
            HealKind::Missing => "missing",
        }
    }
}

/// An object that was restored from the other path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Healed {
    /// The storage path on which it was wrong.
    pub path: String,
    /// Its name.
    pub object: String,
    /// What was wrong.
    pub kind: HealKind,
}

/// What scrubbing found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScrubReport {
    /// Objects, each counted once for both paths.
    pub objects: u64,
    /// Bytes read on both paths.
    pub bytes: u64,
    /// What was restored.
    pub healed: Vec<Healed>,
    /// What is damaged or missing on both paths, or could not be restored.
    pub unhealed: Vec<Broken>,
}

/// Reads every object on both storage paths at `places`, and restores what is damaged or missing on one of them from the
/// other. Works beside running writers: what is collected meanwhile is left alone.
///
/// # Errors
/// [`Error::Invalid`] where this is no database with two storage paths in force; what a path refuses. An object that cannot
/// be restored is in the report.
pub async fn scrub(
    places: &[Arc<dyn Storage>],
    options: &ScrubOptions,
    environment: &Environment,
    progress: OnProgress<'_>,
) -> Result<ScrubReport> {
    let [first, second] = places else {
        let message = format!(
            "only a database with two storage paths can be scrubbed, and {} were named; see --standby",
            places.len()
        );
        return Err(Error::Invalid(message));
    };
    let mut scrub = Scrub {
        active: newest_path(first).await?,
        passive: newest_path(second).await?,
        environment,
        options,
        meter: Meter::new(progress),
        begun_ns: environment.clock.monotonic_ns(),
        floor: Floor::default(),
        report: ScrubReport::default(),
    };
    scrub.identities().await?;
    scrub.run().await?;
    Ok(scrub.report)
}

/// The path at a place that joined the database last: one that came back lies in a directory of its own (S13).
async fn newest_path(place: &Arc<dyn Storage>) -> Result<Arc<dyn Storage>> {
    let mut newest: Option<(PathId, Arc<dyn Storage>)> = None;
    for mark in PathMark::list_joining(&**place).await? {
        let path = within(place, mark.path);
        let is_newer = newest.as_ref().is_none_or(|(id, _)| *id < mark.path);
        if is_newer && PathMark::load(&*path).await? == Some(mark) {
            newest = Some((mark.path, path));
        }
    }
    Ok(newest.map_or_else(|| Arc::clone(place), |(_, path)| path))
}

struct Scrub<'a> {
    active: Arc<dyn Storage>,
    passive: Arc<dyn Storage>,
    environment: &'a Environment,
    options: &'a ScrubOptions,
    meter: Meter<'a>,
    begun_ns: u64,
    /// What lies below it means nothing.
    floor: Floor,
    report: ScrubReport,
}

/// What stands under a name on one path.
enum Copy {
    Whole(Bytes),
    Damaged,
    Missing,
}

impl Copy {
    fn kind(&self) -> Option<HealKind> {
        match self {
            Copy::Whole(_) => None,
            Copy::Damaged => Some(HealKind::Damaged),
            Copy::Missing => Some(HealKind::Missing),
        }
    }
}

impl Scrub<'_> {
    async fn run(&mut self) -> Result<()> {
        let names = self.names().await?;
        for name in &names {
            let stat = self.passive.stat(name).await?;
            self.meter.expect(1, 2 * stat.map_or(0, |stat| stat.len));
        }
        // The floors first: they tell what counts.
        for name in names.iter().filter(|name| name.as_floor().is_some()) {
            self.small(name).await?;
        }
        self.floor = self.newest_floor().await?;
        for name in names.iter().filter(|name| is_small(name)) {
            self.small(name).await?;
        }
        let segments = names.iter().filter_map(Name::as_segment);
        let mut segments: BTreeSet<SegmentId> = segments.collect();
        segments.extend(self.references().await?.iter().map(|run| run.id));
        for id in segments {
            self.segment(id).await?;
        }
        self.meter.finish();
        Ok(())
    }

    /// Every name on either path.
    async fn names(&self) -> Result<BTreeSet<Name>> {
        let mut names = BTreeSet::new();
        for dir in [Name::FLOOR, Name::MANIFEST, Name::LOG, Name::SEGMENT] {
            for path in [&self.active, &self.passive] {
                names.extend(path.list(dir).await?);
            }
        }
        Ok(names)
    }

    async fn newest_floor(&self) -> Result<Floor> {
        let mut newest = (FloorId(0), Floor::default());
        for path in [&self.active, &self.passive] {
            for name in path.list(Name::FLOOR).await? {
                let Some(id) = name.as_floor().filter(|id| *id > newest.0) else {
                    continue;
                };
                if let Copy::Whole(bytes) = load(&**path, &name).await? {
                    newest = (id, Floor::decode(id, &bytes)?);
                }
            }
        }
        Ok(newest.1)
    }

    fn is_below_floor(&self, name: &Name) -> bool {
        let slot = name.as_log().is_some_and(|(_, n)| n < self.floor.slot);
        let manifest = name
            .as_manifest()
            .is_some_and(|id| id < self.floor.manifest);
        slot || manifest
    }

    /// A slot, a manifest or a floor.
    async fn small(&mut self, name: &Name) -> Result<()> {
        let mut detail = String::new();
        for _ in 0..RELOADS_MAX {
            if self.is_below_floor(name) {
                return Ok(());
            }
            // What is on the passive path was on the active one before, and is removed there last.
            let on_passive = load(&*self.passive, name).await?;
            let on_active = load(&*self.active, name).await?;
            detail = match (&on_active, &on_passive) {
                (Copy::Whole(a), Copy::Whole(b)) if a == b => {
                    self.count(name, 2 * a.len() as u64).await;
                    return Ok(());
                }
                (Copy::Whole(bytes), wrong) | (wrong, Copy::Whole(bytes))
                    if wrong.kind().is_some() =>
                {
                    let is_active = on_active.kind().is_some();
                    let kind = wrong.kind().unwrap_or(HealKind::Missing);
                    self.count(name, bytes.len() as u64).await;
                    return self.restore(name, bytes.clone(), is_active, kind).await;
                }
                (Copy::Missing, Copy::Missing) => return Ok(()),
                (Copy::Whole(_), Copy::Whole(_)) => "it differs from path to path".to_owned(),
                _ => "it is whole on neither path".to_owned(),
            };
            // A collection may have gone by.
            self.floor = self.newest_floor().await?;
        }
        self.unhealed(name, detail);
        Ok(())
    }

    /// Restores a small object on one path from its bytes on the other.
    async fn restore(
        &mut self,
        name: &Name,
        bytes: Bytes,
        is_active: bool,
        kind: HealKind,
    ) -> Result<()> {
        let (wrong, right) = match is_active {
            true => (Arc::clone(&self.active), Arc::clone(&self.passive)),
            false => (Arc::clone(&self.passive), Arc::clone(&self.active)),
        };
        assert!(
            is_whole(name, &bytes),
            "{name} is restored from a whole one"
        );
        if right.stat(name).await?.is_none() {
            // Collected meanwhile.
            return Ok(());
        }
        // What the passive path has must be durable on the active one (S13).
        if !is_active && !right.confirm(name, &bytes).await? {
            return Ok(());
        }
        match kind {
            HealKind::Missing => {
                wrong.create(name, &bytes).await?;
            }
            HealKind::Damaged => {
                let content = bytes.clone();
                wrong.replace(name, &move |_| content.to_vec()).await?;
            }
        }
        if !wrong.confirm(name, &bytes).await? {
            self.unhealed(name, format!("{} does not keep it", wrong.location()));
            return Ok(());
        }
        self.floor = self.newest_floor().await?;
        if right.stat(name).await?.is_none() {
            // Collected meanwhile, so it must not come back.
            wrong.remove(name).await?;
            return Ok(());
        }
        self.healed(&*wrong, name, kind);
        Ok(())
    }

    /// The runs that whole manifests and slots above the floor refer to.
    async fn references(&self) -> Result<Vec<RunRef>> {
        let mut references = Vec::new();
        for name in self.passive.list(Name::MANIFEST).await? {
            if let Some(id) = name.as_manifest()
                && id >= self.floor.manifest
                && let Copy::Whole(bytes) = load(&*self.passive, &name).await?
            {
                let manifest = Manifest::decode(name.as_str(), id, &bytes)?;
                references.extend(manifest.runs.into_iter().map(|entry| entry.run));
            }
        }
        for name in self.passive.list(Name::LOG).await? {
            if !self.is_below_floor(&name)
                && let Copy::Whole(bytes) = load(&*self.passive, &name).await?
                && let Ok(slot) = slot::decode(&bytes)
            {
                for record in slot.records {
                    if let Body::Bulk(runs) = record.body {
                        references.extend(runs);
                    }
                }
            }
        }
        Ok(references)
    }

    async fn is_referred_to(&mut self, id: SegmentId) -> Result<bool> {
        self.floor = self.newest_floor().await?;
        Ok(self.references().await?.iter().any(|run| run.id == id))
    }

    async fn segment(&mut self, id: SegmentId) -> Result<()> {
        let name = Name::segment(id);
        let (on_active, on_passive) = (
            digest(&*self.active, &name).await?,
            digest(&*self.passive, &name).await?,
        );
        let len = |digest: Option<(u128, u64)>| digest.map_or(0, |(_, len)| len);
        let bytes = len(on_active) + len(on_passive);
        self.count(&name, bytes).await;
        if on_active == on_passive && on_active.is_some() {
            return Ok(());
        }
        // A segment that nothing refers to is being written, or collected.
        if !self.is_referred_to(id).await? {
            return Ok(());
        }
        let active = check(&self.active, &name).await?;
        let passive = check(&self.passive, &name).await?;
        let (is_active, kind) = match (active, passive) {
            (Some(kind), None) => (true, kind),
            (None, Some(kind)) => (false, kind),
            // It stands on both by now.
            (None, None)
                if digest(&*self.active, &name).await? == digest(&*self.passive, &name).await? =>
            {
                return Ok(());
            }
            (None, None) => {
                self.unhealed(&name, "it differs from path to path".to_owned());
                return Ok(());
            }
            (Some(_), Some(_)) => {
                self.unhealed(&name, "it is whole on neither path".to_owned());
                return Ok(());
            }
        };
        let (wrong, right) = match is_active {
            true => (Arc::clone(&self.active), Arc::clone(&self.passive)),
            false => (Arc::clone(&self.passive), Arc::clone(&self.active)),
        };
        // Readers use the other path meanwhile.
        if kind == HealKind::Damaged {
            wrong.remove(&name).await?;
        }
        copy(&*right, &*wrong, &name).await?;
        if check(&wrong, &name).await?.is_some() {
            self.unhealed(&name, format!("{} does not keep it", wrong.location()));
            return Ok(());
        }
        if !self.is_referred_to(id).await? && right.stat(&name).await?.is_none() {
            wrong.remove(&name).await?;
            return Ok(());
        }
        self.healed(&*wrong, &name, kind);
        Ok(())
    }

    /// Restores who the database is, and which path each place is.
    async fn identities(&mut self) -> Result<()> {
        let places = [Arc::clone(&self.active), Arc::clone(&self.passive)];
        let (mut marks, mut instances) = (Vec::new(), Vec::new());
        for place in &places {
            marks.push(kept(PathMark::load(&**place).await)?);
            instances.push(kept(Instance::load_path(&**place).await)?.map(|(own, ..)| own));
        }
        let paths = paths_of(&places).await?;
        if paths.len() < 2 {
            let message = "one storage path is in force, so there is none to restore from";
            return Err(Error::Invalid(message.to_owned()));
        }
        for (at, other) in [(0, 1), (1, 0)] {
            if marks[at] == Err(HealKind::Missing) && instances[at] == Err(HealKind::Missing) {
                // An empty place is a wrong name, or a volume that is not mounted.
                return Err(no_database(&*places[at]).await);
            }
            if let (Err(kind), Ok(instance)) = (instances[at], instances[other]) {
                instance.store_on_path(&*places[at]).await?;
                self.healed(&*places[at], &Name::instance(), kind);
                instances[at] = Ok(instance);
            }
            if let (Err(kind), Ok(mark)) = (marks[at], marks[other]) {
                let ids = (
                    instances[at].map(|own| own.id),
                    instances[other].map(|own| own.id),
                );
                let path = paths.iter().copied().find(|id| *id != mark.path);
                let (true, Some(path)) = (ids.0 == ids.1, path) else {
                    let message = format!("{} belongs to another database", places[at].location());
                    return Err(Error::Invalid(message));
                };
                let mark = PathMark { path, ..mark };
                mark.store_again(&*places[at]).await?;
                self.healed(&*places[at], &Name::path(), kind);
                marks[at] = Ok(mark);
            }
        }
        let (Ok(first), Ok(second)) = (marks[0], marks[1]) else {
            let detail = "it is whole on neither path";
            return Err(Error::corrupt(Name::path(), detail));
        };
        if instances.iter().any(Result::is_err) {
            let detail = "it is whole on neither path";
            return Err(Error::corrupt(Name::instance(), detail));
        }
        if first.set != second.set || first.path == second.path {
            let message = format!("{} belongs to another database", places[1].location());
            return Err(Error::Invalid(message));
        }
        for (mark, place) in [(first, &places[0]), (second, &places[1])] {
            if !paths.contains(&mark.path) {
                let message = format!("{} is no storage path in force", place.location());
                return Err(Error::Invalid(message));
            }
        }
        if paths[0] == second.path {
            std::mem::swap(&mut self.active, &mut self.passive);
        }
        self.report.objects += 4;
        Ok(())
    }

    fn healed(&mut self, path: &dyn Storage, name: &Name, kind: HealKind) {
        metric::count_storage_heal(&path.location(), kind.as_str());
        tracing::warn!(
            path = path.location(),
            object = name.as_str(),
            kind = kind.as_str(),
            "[Scrub] restored from the other storage path"
        );
        self.report.healed.push(Healed {
            path: path.location(),
            object: name.to_string(),
            kind,
        });
    }

    fn unhealed(&mut self, name: &Name, detail: String) {
        tracing::error!(object = name.as_str(), detail, "[Scrub] cannot be restored");
        let object = name.to_string();
        self.report.unhealed.push(Broken { object, detail });
    }

    /// Counts what was read, and waits until the bandwidth allows more.
    async fn count(&mut self, name: &Name, len: u64) {
        self.report.objects += 1;
        self.report.bytes += len;
        self.meter.add(name.as_str(), 1, len);
        let Some(bandwidth) = self.options.bandwidth else {
            return;
        };
        let clock = &self.environment.clock;
        let took_ms = clock.monotonic_ns().saturating_sub(self.begun_ns) / 1_000_000;
        let due_ms = self.report.bytes.saturating_mul(1000) / bandwidth.max(1);
        if due_ms > took_ms {
            clock.sleep_ms(due_ms - took_ms).await;
        }
    }
}

/// An object that belongs to each path by itself, or what is wrong with it.
type Kept<T> = std::result::Result<T, HealKind>;

fn kept<T>(loaded: Result<Option<T>>) -> Result<Kept<T>> {
    match loaded {
        Ok(Some(own)) => Ok(Ok(own)),
        Ok(None) => Ok(Err(HealKind::Missing)),
        Err(Error::Corrupt { .. }) => Ok(Err(HealKind::Damaged)),
        Err(error) => Err(error),
    }
}

fn is_small(name: &Name) -> bool {
    name.as_log().is_some() || name.as_manifest().is_some()
}

/// A small object on one path, verified.
async fn load(path: &dyn Storage, name: &Name) -> Result<Copy> {
    let len_max = match name.as_log() {
        Some(_) => SLOT_FILE_LEN_MAX,
        None => MANIFEST_LEN_MAX,
    };
    Ok(match path.read_at_most(name, len_max).await {
        Ok(Some(bytes)) if is_whole(name, &bytes) => Copy::Whole(bytes),
        Ok(Some(_)) | Err(Error::Corrupt { .. }) => Copy::Damaged,
        Ok(None) => Copy::Missing,
        Err(error) => return Err(error),
    })
}

/// Whether a small object is, byte for byte, what was written under its name.
fn is_whole(name: &Name, bytes: &Bytes) -> bool {
    if let Some(id) = name.as_floor() {
        return Floor::decode(id, bytes).is_ok_and(|floor| floor.encode(id)[..] == bytes[..]);
    }
    if let Some(id) = name.as_manifest() {
        return Manifest::decode(name.as_str(), id, bytes).is_ok();
    }
    let Some((generation, n)) = name.as_log() else {
        return false;
    };
    slot::decode(bytes).is_ok_and(|slot| {
        let place = (slot.header.generation, slot.header.n);
        let (again, _) = slot::encode_again(&slot);
        place == (generation, n) && again[..] == bytes[..]
    })
}

/// The hash of a segment's bytes on one path, and their number.
async fn digest(path: &dyn Storage, name: &Name) -> Result<Option<(u128, u64)>> {
    let Some(object) = path.open(name).await? else {
        return Ok(None);
    };
    let (mut hasher, mut at) = (Xxh3::new(), 0);
    while let Some(piece) = piece(&*object, at).await? {
        hasher.update(&piece);
        at += piece.len() as u64;
    }
    Ok(Some((hasher.digest128(), at)))
}

async fn piece(object: &dyn Object, at: u64) -> Result<Option<Bytes>> {
    let left = usize::try_from(object.len().saturating_sub(at)).unwrap_or(usize::MAX);
    if left == 0 {
        return Ok(None);
    }
    object.read_at(at, left.min(PIECE_LEN)).await.map(Some)
}

/// What is wrong with a segment on one path.
async fn check(path: &Arc<dyn Storage>, name: &Name) -> Result<Option<HealKind>> {
    let Some(object) = path.open(name).await? else {
        return Ok(Some(HealKind::Missing));
    };
    let cache = Arc::new(PageCache::new(CACHE_LEN));
    let run = match Run::open(object, cache, name.to_string()).await {
        Ok(run) => run,
        Err(error @ Error::Storage { .. }) => return Err(error),
        Err(_) => return Ok(Some(HealKind::Damaged)),
    };
    let found = run.check(&mut |_| {}).await;
    Ok((!found.problems.is_empty()).then_some(HealKind::Damaged))
}

/// Copies a segment, durably, name included.
async fn copy(from: &dyn Storage, to: &dyn Storage, name: &Name) -> Result<()> {
    let Some(object) = from.open(name).await? else {
        return Ok(());
    };
    let (mut writer, mut at) = (to.writer(name).await?, 0);
    while let Some(piece) = piece(&*object, at).await? {
        writer.write(&piece).await?;
        at += piece.len() as u64;
    }
    assert_eq!(at, object.len(), "{name}: all of it is copied");
    match writer.finish().await? {
        // Another process was quicker.
        Created::New | Created::Exists => {}
    }
    to.sync_names(name).await
}
