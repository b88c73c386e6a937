//! Reads everything and says what does not hold: every checksum, reference, order and count.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use super::instance::Instance;
use super::options::Environment;
use super::progress::{Meter, OnProgress};
use super::reached::Reached;
use super::{Options, create, open};
use crate::base::limits::{MANIFEST_LEN_MAX, RELOADS_MAX, SECTOR_LEN};
use crate::base::{Error, FloorId, Generation, ManifestId, Position, Result, RunRef, SegmentId};
use crate::fold::Manifest;
use crate::log::file::{FIRST_SLOT_OFFSET, FileHead};
use crate::log::{Body, Floor, Floors, LogStart, Replay, Slot, Strictness, slot};
use crate::merge;
use crate::storage::{Access, LocalStorage, Name, Object, Storage};
use crate::stream;
use crate::tree::{PageCache, Run};
use crate::txn::{ScanRange, Snapshot, Store};

/// Bytes of cache while verifying: every page is read once.
const CACHE_LEN: usize = 8 * 1024 * 1024;

/// A broken object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Its name, relative to the database.
    pub object: String,
    /// What does not hold.
    pub detail: String,
}

/// The part of a copy's log that its original had folded. The copy may have been made in the middle of a
/// write there, and nothing reads it: only manifests that are newer came along.
#[derive(Clone, Copy)]
struct Passed {
    /// Folded into every manifest that is there.
    through: Option<Position>,
    /// The generation in which the database goes on.
    generation: Option<Generation>,
}

impl Passed {
    fn has(self, generation: Generation, slot: Position) -> bool {
        // A generation ends where a copy becomes a database of its own.
        let is_of_original = self.generation.is_some_and(|now| generation < now);
        is_of_original && self.through.is_some_and(|through| slot <= through)
    }
}

/// What verifying found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Objects read.
    pub objects: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Slots of the log.
    pub slots: u64,
    /// Records of all stores, read through the view as a user would.
    pub records: u64,
    /// Streams of all stores.
    pub streams: u64,
    /// Bytes of these streams.
    pub streams_len: u64,
    /// Backups, where those were verified.
    pub backups: u64,
    /// Segments that nothing refers to: left by a crash, harmless.
    pub unused_segments: u64,
    /// What a crash leaves and opening copes with.
    pub warnings: Vec<String>,
    /// What is damaged.
    pub broken: Vec<Broken>,
}

/// Verifies the database in a folder, without lock or writes, beside a running writer too: what is collected
/// meanwhile is looked at again from the newest manifest.
///
/// # Errors
/// [`Error::NotADatabase`]; what the storage refuses. Damage is in the report, not an error.
pub async fn verify_folder(folder: &Path, progress: OnProgress<'_>) -> Result<VerifyReport> {
    if !folder.is_dir() {
        let why = "there is no such folder".to_owned();
        return Err(Error::NotADatabase {
            path: folder.display().to_string(),
            why,
        });
    }
    verify(
        Arc::new(LocalStorage::open(folder, Access::ReadOnly)?),
        progress,
    )
    .await
}

/// Verifies the database on any medium.
///
/// # Errors
/// As [`verify_folder`].
pub async fn verify(storage: Arc<dyn Storage>, progress: OnProgress<'_>) -> Result<VerifyReport> {
    let mut verifier = Verifier {
        storage,
        cache: Arc::new(PageCache::new(CACHE_LEN)),
        meter: Meter::new(progress),
        report: VerifyReport::default(),
        pass: Vec::new(),
        checked: BTreeSet::new(),
        folded: Position::ZERO,
        collected: None,
        generation: Generation(0),
    };
    verifier.run().await?;
    Ok(verifier.report)
}

pub(super) struct Verifier<'a> {
    pub(super) storage: Arc<dyn Storage>,
    cache: Arc<PageCache>,
    meter: Meter<'a>,
    report: VerifyReport,
    /// What this pass has found: it may be that collection went by.
    pass: Vec<Broken>,
    checked: BTreeSet<SegmentId>,
    /// What every manifest has folded.
    folded: Position,
    /// The newest manifest that a `collect` record names, and the record's slot.
    pub(super) collected: Option<(ManifestId, Position)>,
    /// The newest generation that the log comes to.
    pub(super) generation: Generation,
}

impl Verifier<'_> {
    async fn run(&mut self) -> Result<()> {
        self.expect().await?;
        let instance = Name::instance();
        let mut copied = false;
        match Instance::load(&*self.storage).await {
            Ok(Some((_, is_copy))) => {
                copied = is_copy;
                self.read(&instance, 0);
            }
            Ok(None) => return Err(create::no_database(&*self.storage).await),
            Err(error) => {
                self.found(&instance, error)?;
                self.report.broken.append(&mut self.pass);
            }
        }
        let mut manifests = Vec::new();
        for _ in 0..RELOADS_MAX {
            let before = self.floor().await?;
            manifests = self.all(before).await?;
            // Whatever is missing below a floor that has risen meanwhile was collected: look again.
            if self.pass.is_empty() || self.floor().await? == before {
                break;
            }
            self.pass.clear();
        }
        self.unused(&manifests).await?;
        let found = std::mem::take(&mut self.pass);
        if copied {
            // A copy may lack anything; what it opens to is read below.
            let text = |broken: &Broken| format!("{}: {}", broken.object, broken.detail);
            self.report.warnings.extend(found.iter().map(text));
        } else {
            self.report.broken.extend(found);
        }
        if create::is_unfinished(&*self.storage).await? {
            let warning = "UNFINISHED: restoring or publishing into this place was interrupted when the copy was whole, \
                           or a database was created over it; remove the file once you have looked at what is here";
            self.report.warnings.push(warning.to_owned());
        }
        if self.report.broken.is_empty() {
            self.records().await?;
            self.report.broken.append(&mut self.pass);
        }
        self.meter.finish();
        Ok(())
    }

    /// What there is to read: every object, and the records once more, the way a user would.
    async fn expect(&mut self) -> Result<()> {
        for name in self.storage.list("").await? {
            let len = self.storage.stat(&name).await?.map_or(0, |stat| stat.len);
            self.meter.expect(1, len);
            if name.as_segment().is_some() {
                self.meter.expect(0, len);
            }
        }
        Ok(())
    }

    async fn floor(&mut self) -> Result<(FloorId, Floor)> {
        match Floors::find(Arc::clone(&self.storage)).await {
            Ok(floors) => Ok(floors.newest()),
            Err(error) => {
                self.found(&Name::floor(FloorId(0)), error)?;
                Ok((FloorId(0), Floor::default()))
            }
        }
    }

    /// Everything above the floor; the manifests.
    async fn all(&mut self, (id, floor): (FloorId, Floor)) -> Result<Vec<Manifest>> {
        self.report.slots = 0;
        self.report.warnings.clear();
        self.collected = None;
        let manifests = self.manifests(floor).await?;
        let oldest = manifests.first();
        self.folded = oldest.map_or(Position::ZERO, |manifest| manifest.folded);
        let hashes = self.log(&manifests, floor).await?;
        self.gone(&manifests, (id, floor)).await?;
        for manifest in &manifests {
            let on_chain = hashes.get(&manifest.folded);
            if on_chain.is_some_and(|hash| *hash != manifest.hash) {
                let detail = format!("it is not a checkpoint of slot {}", manifest.folded);
                self.broken(&Name::manifest(manifest.id), detail);
            }
            self.order(manifest);
        }
        // The newest first: whoever opens needs that one.
        for manifest in manifests.iter().rev() {
            for entry in &manifest.runs {
                self.run_of(&entry.run).await?;
            }
        }
        Ok(manifests)
    }

    /// Runs are listed from the newest to the oldest, and none is newer than the manifest.
    fn order(&mut self, manifest: &Manifest) {
        let mut newest = manifest.folded;
        for entry in &manifest.runs {
            if entry.at > newest {
                let name = Name::segment(entry.run.id);
                let detail = format!("{name} is of slot {}, after slot {newest}", entry.at);
                self.broken(&Name::manifest(manifest.id), detail);
            }
            newest = newest.min(entry.at);
        }
    }

    fn read(&mut self, name: &Name, len: u64) {
        self.report.objects += 1;
        self.report.bytes += len;
        self.meter.add(name.as_str(), 1, len);
    }

    /// Something that would be found again by looking again.
    pub(super) fn broken(&mut self, object: &Name, detail: String) {
        self.pass.push(Broken {
            object: object.to_string(),
            detail,
        });
    }

    /// Damage goes into the report; what the medium refuses ends verifying.
    fn found(&mut self, object: &Name, error: Error) -> Result<()> {
        match error {
            Error::Corrupt { object, detail } => self.pass.push(Broken { object, detail }),
            Error::FormatTooNew { .. } | Error::Invalid(_) | Error::Overflow { .. } => {
                self.broken(object, error.to_string());
            }
            other => return Err(other),
        }
        Ok(())
    }

    /// All manifests above the floor that can be read, oldest first.
    async fn manifests(&mut self, floor: Floor) -> Result<Vec<Manifest>> {
        let mut manifests: Vec<Manifest> = Vec::new();
        let mut before: Option<ManifestId> = None;
        for name in self.storage.list(Name::MANIFEST).await? {
            let Some(id) = name.as_manifest() else {
                self.report
                    .warnings
                    .push(format!("{name}: not a name that this program gives"));
                continue;
            };
            if id < floor.manifest {
                continue;
            }
            if let Some(before) = before.filter(|before| before.0 + 1 < id.0) {
                let detail = format!("it is missing, and {name} comes after it");
                self.missing(
                    before.0 + 1..id.0,
                    |id| Name::manifest(ManifestId(id)),
                    &detail,
                );
            }
            before = Some(id);
            let bytes = match self.storage.read_at_most(&name, MANIFEST_LEN_MAX).await {
                Ok(Some(bytes)) => bytes,
                Ok(None) => continue,
                Err(error) => {
                    self.found(&name, error)?;
                    continue;
                }
            };
            self.read(&name, bytes.len() as u64);
            match Manifest::decode(name.as_str(), id, &bytes) {
                Ok(manifest) => manifests.push(manifest),
                Err(error) => self.found(&name, error)?,
            }
        }
        if before.is_none() {
            let detail = "there is no manifest".to_owned();
            let object = Name::MANIFEST.to_owned();
            self.pass.push(Broken { object, detail });
        }
        Ok(manifests)
    }

    /// Reads every slot of every log file above the floor; the hashes at the manifests' positions.
    async fn log(
        &mut self,
        manifests: &[Manifest],
        floor: Floor,
    ) -> Result<BTreeMap<Position, u128>> {
        let wanted: BTreeSet<Position> = manifests.iter().map(|manifest| manifest.folded).collect();
        let mut hashes = BTreeMap::new();
        let mut files = Vec::new();
        for name in self.storage.list(Name::LOG).await? {
            match name.as_log() {
                Some((generation, first)) => files.push((first, generation, name)),
                None => {
                    let text = format!("{name}: not a name that this program gives");
                    self.report.warnings.push(text);
                }
            }
        }
        files.sort();
        // What lies below the floor means nothing, whether it has been deleted or not; a file holds the
        // slots up to the first of the next one.
        let above = files.partition_point(|(first, ..)| *first <= floor.slot);
        files.drain(..above.saturating_sub(1));
        let passed = Passed {
            through: manifests.iter().map(|manifest| manifest.folded).min(),
            generation: manifests.last().map(|manifest| manifest.generation),
        };
        // What the oldest manifest has not folded must be there.
        let mut end = manifests.first().map(|oldest| Reached {
            last: oldest.folded,
            generation: oldest.generation,
            is_single: true,
        });
        let mut read: Option<Position> = None;
        for (first, _, name) in files {
            // A reading goes on from file to file; only what it did not reach is begun anew.
            if read.is_some_and(|read| first <= read) {
                continue;
            }
            if let Some(end) = end.filter(|end| first > end.last.next()) {
                let last = Position(first.0 - 1);
                if passed.has(end.generation, last) {
                    let text = format!(
                        "slots {} to {last} are missing; folded before this copy was made",
                        end.last.next()
                    );
                    self.report.warnings.push(text);
                } else {
                    self.slots_missing(end, first, &name).await?;
                }
            }
            match self.log_from(&name, &wanted, &mut hashes, passed).await {
                Ok(Some(reached)) => {
                    self.generation = self.generation.max(reached.generation);
                    (read, end) = (Some(reached.last), Some(reached));
                }
                // Nothing, or what a copy need not have: how far it reached is not known.
                Ok(None) if read.is_none() => end = None,
                Ok(None) => {}
                Err(error) => {
                    self.found(&name, error)?;
                    (read, end) = (None, None);
                }
            }
        }
        let newest = manifests
            .last()
            .map(|manifest| manifest.folded)
            .unwrap_or_default();
        let is_short = end.is_some_and(|end| end.last < newest);
        if let Some(end) = end.filter(|end| is_short && end.is_single && manifests.len() > 1) {
            // Slots that an older manifest needs.
            let by = manifests.last().map_or(ManifestId(0), |newest| newest.id);
            self.slots_missing(end, newest.next(), &Name::manifest(by))
                .await?;
        } else if is_short && read.is_some() {
            let text = format!("the log ends before slot {newest}, which has been folded");
            self.report.warnings.push(text);
        }
        Ok(hashes)
    }

    async fn log_from(
        &mut self,
        name: &Name,
        wanted: &BTreeSet<Position>,
        hashes: &mut BTreeMap<Position, u128>,
        passed: Passed,
    ) -> Result<Option<Reached>> {
        let Some(start) = self.log_start(name).await? else {
            return Ok(None);
        };
        let storage = Arc::clone(&self.storage);
        let mut replay = Replay::begin(storage, &start, Strictness::Whole).await?;
        self.read(name, 0);
        loop {
            let slot = match replay.next().await {
                Ok(Some(slot)) => slot,
                Ok(None) => break,
                Err(Error::Corrupt { object, detail })
                    if passed.has(start.generation, replay.end().last.next()) =>
                {
                    let text = format!("{object}: {detail}; folded before this copy was made");
                    self.report.warnings.push(text);
                    return Ok(None);
                }
                Err(error) => return Err(error),
            };
            self.slot(&slot).await?;
            if !slot.whole_padding {
                let detail = format!("slot {}: its padding is not zeros", slot.header.n);
                self.broken(name, detail);
            }
            if wanted.contains(&slot.header.n) {
                hashes.insert(slot.header.n, slot.hash);
            }
            self.meter.add(name.as_str(), 0, slot.len as u64);
        }
        let end = replay.end();
        let reached = Reached {
            last: end.last,
            generation: end.generation,
            is_single: replay.last_appended() != Some(end.last),
        };
        if let Some(file) = end.file.filter(|file| file.torn.is_some()) {
            let name = Name::log(file.generation, file.first);
            let detail = file.torn.unwrap_or_default();
            let text = format!(
                "{name}: a torn slot at byte {} ({detail}), ignored",
                file.offset
            );
            self.report.warnings.push(text);
        }
        Ok(Some(reached))
    }

    /// Where a log file begins, by its own word; `None` where a process ended before it wrote anything:
    /// opening passes over that too.
    pub(super) async fn log_start(&self, name: &Name) -> Result<Option<LogStart>> {
        let Some(object) = self.storage.open(name).await? else {
            return Ok(None);
        };
        let len = usize::try_from(object.len()).unwrap_or(usize::MAX);
        let head = object.read_at(0, len.min(SECTOR_LEN)).await?;
        if let Ok(header) = slot::decode_head(&head) {
            return Ok(Some(LogStart {
                generation: header.generation,
                last: Position(header.n.0.saturating_sub(1)),
                hash: header.prev,
                place: None,
            }));
        }
        if head.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let Ok(head) = FileHead::decode(&head) else {
            return Err(Error::corrupt(name, "its head cannot be read"));
        };
        Ok(Some(LogStart {
            generation: head.generation,
            last: Position(head.first.0.saturating_sub(1)),
            hash: head.prev_hash,
            place: Some((head.generation, head.first, FIRST_SLOT_OFFSET)),
        }))
    }

    /// What is folded into every manifest that is there may have been collected from the log's side.
    async fn slot(&mut self, slot: &Slot) -> Result<()> {
        self.report.slots += 1;
        self.report.bytes += slot.len as u64;
        for record in &slot.records {
            if let Body::Collect(id) = record.body {
                self.collected = self.collected.max(Some((id, slot.header.n)));
            }
            if let Body::Bulk(runs) = &record.body
                && slot.header.n > self.folded
            {
                for run in runs {
                    self.run_of(run).await?;
                }
            }
        }
        Ok(())
    }

    /// Checks a run that is referred to, once.
    async fn run_of(&mut self, reference: &RunRef) -> Result<()> {
        if self.checked.contains(&reference.id) {
            return Ok(());
        }
        let name = Name::segment(reference.id);
        let Some(object) = self.storage.open(&name).await? else {
            self.broken(&name, "it is referred to and it is missing".to_owned());
            return Ok(());
        };
        self.checked.insert(reference.id);
        // Damage is not looked for twice, so it counts whatever comes after.
        let before = std::mem::take(&mut self.pass);
        let checked = self.check(&name, object, reference).await;
        let found = std::mem::replace(&mut self.pass, before);
        self.report.broken.extend(found);
        checked
    }

    async fn check(
        &mut self,
        name: &Name,
        object: Arc<dyn Object>,
        reference: &RunRef,
    ) -> Result<()> {
        let len = object.len();
        self.read(name, len);
        let opened = Run::open(object, Arc::clone(&self.cache), name.to_string()).await;
        let run = match opened {
            Ok(run) => run,
            Err(error) => return self.found(name, error),
        };
        let check = run.check(&mut |_| {}).await;
        for problem in &check.problems {
            self.broken(name, problem.to_string());
        }
        let here = (len, check.entries(), check.content_hash);
        let wanted = (reference.len, reference.entries, Some(reference.hash));
        if check.problems.is_empty() && here != wanted {
            self.broken(name, "it is not the run that is referred to".to_owned());
        }
        Ok(())
    }

    async fn unused(&mut self, manifests: &[Manifest]) -> Result<()> {
        let of_manifests = manifests.iter().flat_map(|manifest| &manifest.runs);
        let mut used: BTreeSet<SegmentId> = of_manifests.map(|entry| entry.run.id).collect();
        used.extend(&self.checked);
        for name in self.storage.list(Name::SEGMENT).await? {
            match name.as_segment() {
                Some(id) => self.report.unused_segments += u64::from(!used.contains(&id)),
                None => {
                    let text = format!("{name}: not a name that this program gives");
                    self.report.warnings.push(text);
                }
            }
        }
        Ok(())
    }

    /// Reads every record of every store the way a user would.
    async fn records(&mut self) -> Result<()> {
        let options = Options {
            cache_len_max: CACHE_LEN,
            ..Options::default()
        };
        let environment = Environment::default();
        let opened = open::read_only(Arc::clone(&self.storage), &options, &environment).await;
        let opened = match opened {
            Ok(opened) => opened,
            Err(error) => return self.found(&Name::instance(), error),
        };
        let snapshot = Snapshot::new(&opened.context);
        for store in super::catalog::list(&snapshot).await? {
            if let Err(error) = self.store(&snapshot, &store).await {
                let object = format!("store `{}`", store.name());
                let detail = error.to_string();
                self.pass.push(Broken { object, detail });
            }
        }
        Ok(())
    }

    async fn store(&mut self, snapshot: &Snapshot, store: &Store) -> Result<()> {
        let mut scan = snapshot.scan(store, &ScanRange::all());
        while let Some(record) = scan.next().await? {
            record.key.datums()?;
            if store.is_merged() {
                match merge::read(&store.schema().columns, &record.key, &record.value) {
                    // A sum beyond 64 bits is whole; it just cannot be shown.
                    Ok(_) | Err(Error::Overflow { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            self.report.records += 1;
            let len = record.key.len() + record.value.len();
            self.meter.add(store.name(), 0, len as u64);
        }
        let streams = stream::check(snapshot, store).await?;
        self.report.streams += streams.streams;
        self.report.streams_len += streams.len;
        for (key, detail) in streams.broken {
            let object = format!("stream {key} of store `{}`", store.name());
            self.report.broken.push(Broken { object, detail });
        }
        Ok(())
    }
}
