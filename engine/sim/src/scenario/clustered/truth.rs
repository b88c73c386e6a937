//! The one true history: what any process has shown is written down once, and everything shown later must
//! be the same (the white-box oracle).
//!
//! A slot is *shown* when a process applies it, a moment before anybody can read it there. On first
//! sight it is replayed: no gap, durable now, no transaction twice, every read of every transaction what
//! the state before it holds, every run that it refers to durable.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use eciton_engine::base::{FloorId, Generation, PathId, Position, TxId};
use eciton_engine::db::Witness;
use eciton_engine::fold::Manifest;
use eciton_engine::log::{Body, Floor, LogRecord, slot};
use eciton_engine::storage::Name;
use eciton_engine::storage::Storage;
use futures::FutureExt;
use parking_lot::Mutex;

use crate::context::Shared;
use crate::disk::Disk;
use crate::executor::ProcessId;

/// A key of the workload: which store, and which key in it.
pub(super) type Cell = (u8, u64);

/// What a cell holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// The bytes of a plain record.
    Plain(Arc<Vec<u8>>),
    /// Rows and sum of a merged one.
    Merged(u64, i64),
}

/// Everything that the workload's stores hold.
pub(super) type State = BTreeMap<Cell, Value>;

/// What a transaction writes, as its client means it.
#[derive(Clone, Debug)]
pub(super) enum Write {
    Put(Cell, Arc<Vec<u8>>),
    Delete(Cell),
    Add(Cell, i64),
}

/// A stretch of cells that a scan has read wholly.
#[derive(Clone, Debug)]
pub(super) struct Scanned {
    pub(super) from: Cell,
    /// Excluded.
    pub(super) to: Cell,
    pub(super) found: Vec<(Cell, Value)>,
}

/// A transaction as its client knows it.
#[derive(Clone, Debug, Default)]
pub(super) struct Tx {
    pub(super) read_at: u64,
    /// It read what those before it in the same slot wrote.
    pub(super) is_in_turn: bool,
    pub(super) reads: Vec<(Cell, Option<Value>)>,
    pub(super) scans: Vec<Scanned>,
    pub(super) writes: Vec<Write>,
    /// The newest slot that anybody had been told about when it began.
    pub(super) after: u64,
}

/// What every process and the runner share.
pub(super) struct Truth {
    shared: Arc<Shared>,
    /// The disks that the database lies on, the active path first.
    disks: Vec<Arc<Disk>>,
    inner: Mutex<Inner>,
    /// A bit has been flipped: then what is on the disk proves nothing.
    rotten: std::sync::atomic::AtomicBool,
}

#[derive(Default)]
struct Inner {
    /// Hash and generation of each slot, from slot 0 (none) on.
    chain: Vec<(u128, Generation)>,
    /// The state after each slot.
    states: Vec<State>,
    known: BTreeMap<TxId, Tx>,
    standing: BTreeMap<TxId, u64>,
    cancelled: BTreeSet<TxId>,
    acked: BTreeMap<TxId, u64>,
    aborted: BTreeSet<TxId>,
    /// Sent, and nobody knows what became of them.
    open: BTreeMap<TxId, u64>,
    newest_told: u64,
    /// The paths that generations after the first stand on.
    paths: BTreeMap<Generation, Vec<PathId>>,
}

/// A storage path of the database, as the world has it.
#[derive(Clone)]
struct TruePath {
    disk: Arc<Disk>,
    /// The directory in which it lies; empty for one that was there from the beginning.
    dir: String,
}

impl TruePath {
    fn name(&self, name: &Name) -> Name {
        let path = format!("{}{name}", self.dir);
        Name::parse(&path).unwrap_or_else(|| unreachable!("`{path}` is a name"))
    }

    /// The durable bytes of an object.
    fn durable(&self, name: &Name) -> Option<bytes::Bytes> {
        self.disk.memory.durable(&self.name(name))
    }

    /// The newest floor, durable or not.
    fn floor(&self) -> Floor {
        let memory = &self.disk.memory;
        let dir = format!("{}{}", self.dir, Name::FLOOR);
        let names = memory.list(&dir).now_or_never().and_then(Result::ok);
        let inner = |name: &Name| Name::parse(name.as_str().strip_prefix(&self.dir)?)?.as_floor();
        let newest: Option<FloorId> = names.iter().flatten().filter_map(inner).max();
        let bytes = newest.and_then(|id| {
            let name = self.name(&Name::floor(id));
            let read = memory.read(&name).now_or_never()?.ok()??;
            Floor::decode(id, &read).ok()
        });
        bytes.unwrap_or_default()
    }
}

impl Inner {
    /// Hash and generation of slot `n`, if it was shown.
    fn at(&self, n: Position) -> (u128, Generation) {
        let index = usize::try_from(n.0).unwrap_or(usize::MAX);
        self.chain.get(index).copied().unwrap_or_default()
    }
}

impl Truth {
    pub(super) fn new(shared: Arc<Shared>, disks: Vec<Arc<Disk>>) -> Truth {
        let inner = Inner {
            chain: vec![(0, Generation(0))],
            states: vec![State::new()],
            ..Inner::default()
        };
        Truth {
            shared,
            disks,
            inner: Mutex::new(inner),
            rotten: std::sync::atomic::AtomicBool::new(false),
        }
    }

    pub(super) fn rot(&self) {
        self.rotten
            .store(true, std::sync::atomic::Ordering::Relaxed);
    }

    pub(super) fn is_rotten(&self) -> bool {
        self.rotten.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn violate(&self, what: &str, details: impl std::fmt::Display) {
        self.shared.violate(what, details);
    }

    /// The newest slot that was shown.
    pub(super) fn shown(&self) -> u64 {
        self.inner.lock().chain.len() as u64 - 1
    }

    /// The newest slot that a client was told about.
    pub(super) fn newest_told(&self) -> u64 {
        self.inner.lock().newest_told
    }

    /// The hash of a slot that was shown.
    pub(super) fn hash(&self, n: u64) -> Option<u128> {
        let inner = self.inner.lock();
        let index = usize::try_from(n).ok()?;
        inner.chain.get(index).map(|(hash, _)| *hash)
    }

    /// The state after slot `n`, if that was shown.
    pub(super) fn state(&self, n: u64) -> Option<State> {
        let inner = self.inner.lock();
        inner.states.get(usize::try_from(n).ok()?).cloned()
    }

    /// One cell of the state after slot `n`.
    pub(super) fn cell(&self, n: u64, cell: Cell) -> Option<Value> {
        let inner = self.inner.lock();
        let state = inner.states.get(usize::try_from(n).ok()?)?;
        state.get(&cell).cloned()
    }

    /// A transaction is about to be sent.
    pub(super) fn send(&self, txid: TxId, tx: Tx) {
        let mut inner = self.inner.lock();
        inner.open.insert(txid, tx.read_at);
        inner.known.insert(txid, tx);
    }

    /// Its client was told that it stands in slot `n`.
    pub(super) fn ack(&self, txid: TxId, n: u64) {
        let mut inner = self.inner.lock();
        inner.open.remove(&txid);
        let standing = inner.standing.get(&txid).copied();
        if standing != Some(n) {
            let details = format!("{txid} told in slot {n}, stands in {standing:?}");
            drop(inner);
            self.violate("acknowledged where it does not stand", details);
            return;
        }
        inner.acked.insert(txid, n);
        inner.newest_told = inner.newest_told.max(n);
    }

    /// Its client was told that nothing was written, and never will be.
    pub(super) fn abort(&self, txid: TxId) {
        let mut inner = self.inner.lock();
        inner.open.remove(&txid);
        inner.aborted.insert(txid);
        let standing = inner.standing.get(&txid).copied();
        drop(inner);
        if let Some(n) = standing {
            self.violate(
                "reported aborted, yet committed",
                format!("{txid} in slot {n}"),
            );
        }
    }

    /// One that is on its way or of unknown outcome, with the position that it read.
    pub(super) fn any_open(&self, bits: u64) -> Option<(TxId, u64)> {
        let inner = self.inner.lock();
        let index = crate::random::place(bits, inner.open.len().max(1));
        inner.open.iter().nth(index).map(|(txid, at)| (*txid, *at))
    }

    /// A linearizable read has seen slot `at`; when it began, slot `floor` had been told.
    pub(super) fn linear(&self, at: u64, floor: u64) {
        if at < floor {
            self.violate("a stale linearizable read", format!("{at}, told {floor}"));
        }
        let mut inner = self.inner.lock();
        inner.newest_told = inner.newest_told.max(at);
    }

    /// What somebody read of the whole state after slot `n`.
    pub(super) fn compare(&self, who: &str, n: u64, seen: &State) {
        let Some(state) = self.state(n) else {
            self.violate("a state that nobody wrote", format!("{who}: slot {n}"));
            return;
        };
        if state != *seen {
            let details = format!("{who}, slot {n}: {}", difference(&state, seen));
            self.violate("a state differs from the log", details);
        }
    }

    /// In the end: everything that was told holds.
    pub(super) fn settle(&self) {
        let inner = self.inner.lock();
        for (txid, n) in &inner.acked {
            if inner.standing.get(txid) != Some(n) {
                self.shared
                    .violate("an acknowledged commit is lost", format!("{txid} in {n}"));
            }
        }
        for txid in &inner.aborted {
            if let Some(n) = inner.standing.get(txid) {
                let details = format!("{txid} in slot {n}");
                self.shared
                    .violate("reported aborted, yet committed", details);
            }
        }
    }

    fn shows(
        &self,
        process: ProcessId,
        n: Position,
        generation: Generation,
        hash: u128,
        records: &[LogRecord],
    ) {
        let mut inner = self.inner.lock();
        let known = inner.chain.len() as u64;
        if n.0 < known {
            let before = inner.at(n);
            if before != (hash, generation) {
                let details = format!("{process} slot {n} of {generation}: {hash:x}, {before:?}");
                drop(inner);
                self.violate("two contents of one slot", details);
            }
            return;
        }
        if n.0 > known {
            drop(inner);
            self.violate(
                "a gap",
                format!("{process} shows slot {n} after {}", known - 1),
            );
            return;
        }
        if let Err((what, details)) = self.replay(&mut inner, n, generation, hash, records) {
            drop(inner);
            self.violate(what, format!("{process} slot {n}: {details}"));
        }
    }

    fn replay(
        &self,
        inner: &mut Inner,
        n: Position,
        generation: Generation,
        hash: u128,
        records: &[LogRecord],
    ) -> Result<(), (&'static str, String)> {
        self.durable(inner, n, generation, hash)?;
        let mut state = inner.states.last().cloned().unwrap_or_default();
        for record in records {
            let txid = record.txid;
            if let Some(before) = inner.standing.insert(txid, n.0) {
                return Err((
                    "a transaction committed twice",
                    format!("{txid}, in {before}"),
                ));
            }
            if inner.cancelled.contains(&txid) {
                return Err(("cancelled, and committed", txid.to_string()));
            }
            if inner.aborted.contains(&txid) {
                return Err(("reported aborted, yet committed", txid.to_string()));
            }
            match &record.body {
                Body::Cancel(target) => {
                    if let Some(before) = inner.standing.get(target) {
                        return Err(("committed, and cancelled", format!("{target} in {before}")));
                    }
                    inner.cancelled.insert(*target);
                }
                Body::Bulk(runs) => {
                    for run in runs {
                        let name = Name::segment(run.id);
                        let paths = self.in_force(inner, generation);
                        let is_missing = paths.iter().any(|path| path.durable(&name).is_none());
                        if is_missing && !self.is_rotten() {
                            let details = format!("{txid} refers to {name}");
                            return Err(("a record refers to what is not durable", details));
                        }
                    }
                }
                Body::Seal {
                    generation: begun,
                    paths,
                } => {
                    inner.paths.insert(*begun, paths.clone());
                    inner.chain.push((hash, generation));
                    let joined = self.joined(inner, *begun, n);
                    inner.chain.pop();
                    joined?;
                }
                Body::Writes(_) | Body::Generation { .. } | Body::Collect(_) => {}
            }
            if let Some(tx) = inner.known.get(&txid) {
                valid(&state, tx)
                    .map_err(|details| ("not serializable", format!("{txid}: {details}")))?;
                if n.0 <= tx.after {
                    return Err(("not in real time", format!("{txid}, after {}", tx.after)));
                }
                apply(&mut state, &tx.writes);
            }
        }
        inner.chain.push((hash, generation));
        inner.states.push(state);
        Ok(())
    }

    /// I4: what is shown is durable; unless it has been collected.
    fn durable(
        &self,
        inner: &Inner,
        n: Position,
        generation: Generation,
        hash: u128,
    ) -> Result<(), (&'static str, String)> {
        if self.is_rotten() || n < self.floor(inner).slot {
            return Ok(());
        }
        let name = Name::log(generation, n);
        let mut is_seal = false;
        for path in self.in_force(inner, generation).iter().rev() {
            let bytes = path.durable(&name);
            let on_disk = bytes.and_then(|bytes| slot::decode(&bytes).ok());
            match on_disk {
                Some(slot) if slot.hash == hash => {
                    let mut bodies = slot.records.iter().map(|record| &record.body);
                    is_seal |= bodies.any(|body| matches!(body, Body::Seal { .. }));
                }
                // What stands where the path that was left has another slot was never shown, or this is.
                _ if is_seal => {}
                Some(slot) => {
                    return Err(("shown, and another is durable", format!("{:x}", slot.hash)));
                }
                None => {
                    return Err((
                        "shown, and not durable",
                        format!("{} on disk{}", path.name(&name), path.disk.number),
                    ));
                }
            }
        }
        Ok(())
    }

    /// A path that has joined a generation has all that came before, durable, from its own floor on.
    fn joined(
        &self,
        inner: &Inner,
        generation: Generation,
        seal: Position,
    ) -> Result<(), (&'static str, String)> {
        let paths = self.in_force(inner, generation);
        let [_, path] = &paths[..] else {
            return Ok(());
        };
        let floor = path.floor();
        for n in floor.slot.0.max(1)..=seal.0 {
            let (hash, under) = inner.at(Position(n));
            let name = Name::log(under, Position(n));
            let found = path.durable(&name);
            let found = found.and_then(|bytes| slot::decode(&bytes).ok());
            if found.is_none_or(|slot| slot.hash != hash) {
                let details = format!("{} of generation {generation}", path.name(&name));
                return Err(("a path has joined without a slot", details));
            }
        }
        let name = Name::manifest(floor.manifest);
        let manifest = path.durable(&name);
        let manifest =
            manifest.and_then(|bytes| Manifest::decode(name.as_str(), floor.manifest, &bytes).ok());
        let is_whole = manifest.is_some_and(|manifest| {
            let mut runs = manifest.runs.iter();
            runs.all(|entry| path.durable(&Name::segment(entry.run.id)).is_some())
        });
        if !is_whole {
            let details = format!("{} of generation {generation}", path.name(&name));
            return Err(("a path has joined without a whole manifest", details));
        }
        Ok(())
    }

    /// The paths that a generation stands on, the active one first.
    fn in_force(&self, inner: &Inner, generation: Generation) -> Vec<TruePath> {
        match inner.paths.get(&generation) {
            Some(paths) => paths.iter().map(|id| self.path(*id)).collect(),
            None => {
                let disks = self.disks.iter().cloned();
                let dir = String::new();
                disks
                    .map(|disk| TruePath {
                        disk,
                        dir: dir.clone(),
                    })
                    .collect()
            }
        }
    }

    /// A path: one that was brought back lies where its mark is.
    fn path(&self, id: PathId) -> TruePath {
        if let Some(disk) = usize::try_from(id.0).ok().and_then(|at| self.disks.get(at)) {
            return TruePath {
                disk: Arc::clone(disk),
                dir: String::new(),
            };
        }
        let mark = Name::parse(&format!("PATHS/{:016x}", id.0));
        let is_at = |disk: &&Arc<Disk>| {
            let mark = mark.as_ref();
            mark.is_some_and(|mark| disk.memory.durable(mark).is_some())
        };
        let disk = self.disks.iter().find(is_at).unwrap_or(&self.disks[0]);
        TruePath {
            disk: Arc::clone(disk),
            dir: format!("path-{:016x}/", id.0),
        }
    }

    /// The newest floor on any path that was in force.
    fn floor(&self, inner: &Inner) -> Floor {
        let generations = inner.paths.keys().copied().chain([Generation(0)]);
        let paths = generations.flat_map(|generation| self.in_force(inner, generation));
        let floors = paths.map(|path| path.floor());
        floors.max_by_key(|floor| floor.slot).unwrap_or_default()
    }

    fn restarts(&self, process: ProcessId, n: Position, hash: u128) {
        let inner = self.inner.lock();
        let known = inner.chain.len() as u64;
        let before = inner.at(n).0;
        drop(inner);
        if n.0 >= known {
            self.violate(
                "a manifest of a slot that nobody showed",
                format!("{process} {n}"),
            );
        } else if before != hash {
            self.violate("a manifest of another history", format!("{process} {n}"));
        }
    }
}

/// Whether what a transaction read is what the state holds.
fn valid(state: &State, tx: &Tx) -> Result<(), String> {
    for (cell, seen) in &tx.reads {
        if state.get(cell) != seen.as_ref() {
            return Err(format!(
                "read {cell:?} {seen:?}, there is {:?}",
                state.get(cell)
            ));
        }
    }
    for scan in &tx.scans {
        let range = state.range(scan.from..scan.to);
        let now: Vec<(Cell, Value)> = range.map(|(cell, value)| (*cell, value.clone())).collect();
        if now != scan.found {
            let (from, to) = (scan.from, scan.to);
            return Err(format!(
                "scanned {from:?}..{to:?}: {:?}, there is {now:?}",
                scan.found
            ));
        }
    }
    Ok(())
}

/// What the writes make of a state.
pub(super) fn apply(state: &mut State, writes: &[Write]) {
    for write in writes {
        match write {
            Write::Put(cell, bytes) => drop(state.insert(*cell, Value::Plain(Arc::clone(bytes)))),
            Write::Delete(cell) => drop(state.remove(cell)),
            Write::Add(cell, amount) => {
                let (rows, sum) = match state.get(cell) {
                    Some(Value::Merged(rows, sum)) => (*rows, *sum),
                    _ => (0, 0),
                };
                state.insert(*cell, Value::Merged(rows + 1, sum + amount));
            }
        }
    }
}

fn difference(expected: &State, seen: &State) -> String {
    let cells: BTreeSet<&Cell> = expected.keys().chain(seen.keys()).collect();
    let differs = cells
        .into_iter()
        .find(|cell| expected.get(cell) != seen.get(cell));
    differs.map_or_else(String::new, |cell| {
        format!(
            "{cell:?} is {:?}, seen {:?}",
            expected.get(cell),
            seen.get(cell)
        )
    })
}

/// One process's eye on the truth.
pub(super) struct Eye {
    pub(super) truth: Arc<Truth>,
    pub(super) process: ProcessId,
}

impl Witness for Eye {
    fn applies(&self, n: Position, generation: Generation, hash: u128, records: &[LogRecord]) {
        self.truth.shared.log(
            Some(self.process),
            format_args!("shows slot {n}: {} records", records.len()),
        );
        self.truth.shows(self.process, n, generation, hash, records);
    }

    fn restarts(&self, n: Position, hash: u128) {
        self.truth
            .shared
            .log(Some(self.process), format_args!("goes on from slot {n}"));
        self.truth.restarts(self.process, n, hash);
    }
}
