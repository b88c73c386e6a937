//! Follows the log, writes what was accepted as its next slot, and applies both.

use std::sync::Arc;

use bytes::Bytes;

use super::chain::Chain;
use super::draft::Draft;
use super::validate::{NextSlot, Refusal, Verdict, validate};
use super::window::{TxOutcome, Window};
use crate::base::clock::Clock;
use crate::base::entropy::Entropy;
use crate::base::limits::{RACES_MAX, RELOADS_MAX};
use crate::base::{
    Error, Generation, InstanceId, ManifestId, Mutant, Position, Rare, Result, TxId, metric,
};
use crate::coord::{Answer, Coordinator, Intent, Origin, Writes};
use crate::fold::{Base, FoldPoint, Folder, LogPlace, RunLayer, View, ViewCell};
use crate::log::{
    AppendError, Attempt, Body, Floors, Followed, LogRecord, SlotLog, Strictness, Tail,
};
use crate::storage::Name;

/// The one writer of this process: the end of the log, the window, and the view that follows them.
pub struct Combiner {
    tail: Tail,
    window: Window,
    chain: Arc<Chain>,
    view: Arc<ViewCell>,
    folder: Folder,
    coordinator: Arc<dyn Coordinator>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    witness: Option<Arc<dyn Witness>>,
    /// A slot was being written to an append file when its combiner was dropped: what the file says is
    /// not known here.
    in_flight: bool,
    /// A slot whose creation has failed, was lost or was left in the middle, and may take place yet, or has.
    may_appear: Option<Position>,
    hints: Hints,
    /// Where the log ended when this process opened the database, as storage had it. What the bus brings counts
    /// where it hangs on a later slot (S14). `None` while it opens, and where nobody shares.
    opened: Option<Position>,
}

/// Whether what others write comes over the bus: as long as it does, storage is not asked whether there is more.
#[derive(Default)]
struct Hints {
    /// All that there was came over the bus when that was last found out.
    suffice: bool,
    /// When the log was last known to its end, or went on, on the monotonic clock.
    fresh_ns: u64,
}

/// How far the log is followed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FollowTo {
    /// To its end, which only storage knows.
    End,
    /// To this slot, which is there.
    Slot(Position),
    /// As far as the bus has it.
    Hints,
}

/// Told of every slot that this process applies, before anybody can read it. For simulations and audits.
pub trait Witness: Send + Sync + 'static {
    /// Slot `n` of `generation` with this hash and these records is about to be applied.
    fn applies(&self, n: Position, generation: Generation, hash: u128, records: &[LogRecord]);

    /// The process goes on from a manifest that stands for slot `n` with this hash.
    fn restarts(&self, n: Position, hash: u128);
}

/// What a combiner is given to work with.
pub struct Parts {
    /// The end of the log.
    pub tail: Tail,
    /// The view, which stands where the log ends.
    pub view: Arc<ViewCell>,
    /// Opens and writes runs.
    pub folder: Folder,
    /// Carries hints.
    pub coordinator: Arc<dyn Coordinator>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Who watches, if anybody.
    pub witness: Option<Arc<dyn Witness>>,
}

type Answers = Vec<(TxId, Answer)>;

/// What is offered in place of a slot's bytes: that there is such a slot.
const LOOK: &[u8] = b"look";

const NS_A_MS: u64 = 1_000_000;

/// What came of a batch.
#[derive(Debug, Default)]
pub struct Combined {
    /// The outcomes that are certain, and hints for other processes' intents.
    pub answers: Answers,
    /// Why the rest of the batch is still open, if it is.
    pub failure: Option<Error>,
    /// Whether storage refused whatever this process tried to write, so that certainly nothing of it stands.
    pub unwritten: bool,
}

/// How a try at the next slot ended.
enum Tried {
    Committed(Position),
    /// Another process was first: read on and validate again.
    Again,
    Failed(AppendError),
}

impl Combiner {
    /// A combiner at the end of the log, where the view stands.
    pub fn new(parts: Parts) -> Combiner {
        let view = parts.view.load();
        let active = Arc::clone(view.active());
        let (last, hash) = parts.tail.last();
        assert_eq!(active.applied(), last, "the view stands where the log ends");
        let bounds = parts.folder.bounds;
        let mut window = Window::new(active.applied(), active, bounds);
        window.collect(view.manifest.collected);
        Combiner {
            tail: parts.tail,
            window,
            chain: Arc::new(Chain::new(last, hash)),
            view: parts.view,
            folder: parts.folder,
            coordinator: parts.coordinator,
            clock: parts.clock,
            entropy: parts.entropy,
            witness: parts.witness,
            in_flight: false,
            may_appear: None,
            hints: Hints::default(),
            opened: None,
        }
    }

    /// From here on this process and others go by each other's messages, where these prove that both have this
    /// storage: by the hash of a slot that was written after both had opened it. A clone of the volume, and
    /// storage that was set back, share the hashes of what came before, and no other (S14).
    pub fn share(&mut self) {
        let (last, _) = self.tail.last();
        assert!(
            self.opened.is_none(),
            "shares after {:?} already",
            self.opened
        );
        assert!(
            self.tail.is_shared(),
            "slot {last} stands in an append file of this process alone"
        );
        self.opened = Some(last);
        self.coordinator.share_after(last);
    }

    /// Whether the hash of this slot is known to nobody who has not this very storage.
    fn is_proof(&self, at: Position) -> bool {
        self.opened.is_some_and(|opened| at > opened)
    }

    /// The hashes of recent slots, for whoever submits.
    pub(super) fn chain(&self) -> Arc<Chain> {
        Arc::clone(&self.chain)
    }

    /// Settles a batch: validates it, makes what is accepted durable, applies it, and only then answers.
    pub async fn combine(&mut self, mut intents: Vec<Arc<Intent>>) -> Combined {
        intents.sort_by_key(order);
        let mut combined = Combined::default();
        // A bulk record is alone in its slot, so that a run has one place among the layers.
        let is_bulk = |intent: &Arc<Intent>| matches!(intent.writes, Writes::Bulk { .. });
        for batch in intents.chunk_by(|a, b| !is_bulk(a) && !is_bulk(b)) {
            self.settle(batch, &mut combined).await;
        }
        combined
    }

    /// Whether another process's intent proves that its process has this storage: it read a slot that was written
    /// after both had opened it, with the hash that it has here. One that read what is not known here yet is validated
    /// later.
    fn shares_history(&self, intent: &Intent) -> bool {
        let read_at = intent.read_at;
        if intent.origin != Origin::Foreign || Mutant::HistoryUnchecked.on() {
            return true;
        }
        let is_proof = self.is_proof(read_at) || Mutant::TakeUnproved.on();
        let known = self.chain.hash(read_at);
        read_at > self.tail.last().0 || (is_proof && known == Some(intent.read_hash))
    }

    async fn settle(&mut self, batch: &[Arc<Intent>], combined: &mut Combined) {
        let mut open = batch.to_vec();
        for _ in 0..RACES_MAX {
            if let Err(error) = self.follow_to(self.reach_of_writers()).await {
                self.fail(&open, &AppendError::NotWritten(error), combined);
                return;
            }
            open.retain(|intent| self.shares_history(intent));
            let validated = self.validate(&open, combined);
            if validated.accepted.is_empty() && validated.withdrawn.is_empty() {
                return;
            }
            match self.commit(&validated.accepted, &validated.withdrawn).await {
                Tried::Committed(n) => {
                    validated.answer_committed(n, combined);
                    if let Err(error) = self.tail.settle_late().await {
                        combined.failure = Some(error);
                    }
                    return;
                }
                Tried::Again if Mutant::ExistsIsFailure.on() => {
                    validated.answer_failed(combined);
                    return;
                }
                Tried::Again => {
                    self.hints.suffice = false;
                    open = validated.open();
                }
                Tried::Failed(error) => {
                    self.fail(&validated.open(), &error, combined);
                    return;
                }
            }
        }
        Rare::RacesLost.seen();
        let lost = Error::Invalid("every slot was another process's".to_owned());
        self.fail(&open, &AppendError::NotWritten(lost), combined);
    }

    /// Judges what is open; certain outcomes and hints become answers.
    fn validate(&self, open: &[Arc<Intent>], combined: &mut Combined) -> Validated {
        let applied = self.tail.last().0;
        let place = NextSlot {
            applied,
            generation: self.tail.generation(),
        };
        let mut validated = Validated::default();
        for (intent, verdict) in open.iter().zip(validate(&self.window, place, open)) {
            let answer = match verdict {
                Verdict::Accept => {
                    validated.accepted.push(Arc::clone(intent));
                    continue;
                }
                Verdict::Withdraw => {
                    Rare::WithdrawWritten.seen();
                    validated.withdrawn.push(Arc::clone(intent));
                    continue;
                }
                Verdict::IfWritten(outcome) => {
                    validated.decided.push((Arc::clone(intent), outcome));
                    continue;
                }
                Verdict::Settled(n) => {
                    Rare::SettledBefore.seen();
                    Answer::Committed(n)
                }
                Verdict::Reject(refusal) => refused(refusal),
                Verdict::Later if intent.origin == Origin::Foreign => continue,
                Verdict::Later => {
                    let detail = format!("it read {}, the log ends at {applied}", intent.read_at);
                    Answer::Rejected(Error::Invalid(detail))
                }
            };
            combined.answers.push((intent.txid, answer));
        }
        validated
    }

    /// What a failure means for those it leaves open: whoever asks this process alone is told, others'
    /// outcomes are still to be found in the log.
    fn fail(&self, open: &[Arc<Intent>], error: &AppendError, combined: &mut Combined) {
        let (AppendError::NotWritten(cause) | AppendError::Unknown(cause)) = error;
        for intent in open.iter().filter(|intent| intent.origin == Origin::Alone) {
            let told = match error {
                AppendError::NotWritten(error) => error.clone(),
                AppendError::Unknown(error) => Error::CommitUnknown {
                    txid: intent.txid,
                    cause: error.to_string(),
                },
            };
            combined.answers.push((intent.txid, Answer::Rejected(told)));
        }
        let is_refused = matches!(error, AppendError::NotWritten(cause) if cause.is_refusal());
        // A create that failed before may take place yet, as long as its slot is not there.
        let is_refused = is_refused && self.may_appear.is_none_or(|n| n <= self.tail.last().0);
        combined.unwritten = is_refused && (combined.failure.is_none() || combined.unwritten);
        combined.failure = Some(cause.clone());
    }

    async fn commit(&mut self, accepted: &[Arc<Intent>], withdrawn: &[Arc<Intent>]) -> Tried {
        let not_written = |error| Tried::Failed(AppendError::NotWritten(error));
        if let Err(error) = self.check_whole() {
            return not_written(error);
        }
        let n = self.tail.last().0.next();
        let runs = match self.open_runs(accepted, n).await {
            Ok(runs) => runs,
            Err(error) => return not_written(error),
        };
        let applied = self.tail.last().0;
        let mut records: Vec<LogRecord> = accepted.iter().map(|intent| record(intent)).collect();
        records.extend(withdrawn.iter().map(|intent| LogRecord {
            txid: TxId(self.entropy.next_u128()),
            read_at: applied,
            body: Body::Cancel(intent.txid),
        }));
        self.write(&records, runs).await
    }

    /// Writes the next slot with these records, and applies it.
    async fn write(&mut self, records: &[LogRecord], runs: Vec<Arc<RunLayer>>) -> Tried {
        let before = self.tail.last().0;
        let n = before.next();
        match self.append(records).await {
            Ok(Attempt::Won(bytes)) => {
                assert_eq!(self.tail.last().0, n, "slots have no gaps");
                let (generation, hash) = (self.tail.generation(), self.tail.last().1);
                self.apply(n, generation, hash, records, runs);
                // Who goes by its bytes knows the slot before it; to others it is a reason to look at storage.
                let is_proof = self.is_proof(before) || Mutant::OfferUnproved.on();
                let offered = match is_proof {
                    true => bytes,
                    false => Bytes::from_static(LOOK),
                };
                self.coordinator.offer_slot(n, offered).await;
                Tried::Committed(n)
            }
            Ok(Attempt::Lost) => Tried::Again,
            Err(
                AppendError::NotWritten(Error::SnapshotTooOld { .. })
                | AppendError::Unknown(Error::SnapshotTooOld { .. }),
            ) => match self.reload().await {
                Ok(()) => Tried::Again,
                Err(error) => Tried::Failed(AppendError::NotWritten(error)),
            },
            Err(error) => Tried::Failed(error),
        }
    }

    /// Brings this process to the end of the log, as far as it is known without asking storage where that suffices:
    /// what stands for the slot that comes next, and that slot.
    ///
    /// # Errors
    /// As [`Combiner::follow`]; [`Error::Halted`] after a slot that was left in the middle.
    pub(super) async fn ready(&mut self) -> Result<(Arc<View>, Position)> {
        self.check_whole()?;
        self.follow_to(self.reach_of_writers()).await?;
        let (view, applied) = self.view.snapshot();
        assert_eq!(
            applied,
            self.tail.last().0,
            "the view stands where the log ends"
        );
        Ok((view, applied.next()))
    }

    /// As [`Combiner::combine`] for transactions that have run in turn on the state before `slot`, each on what
    /// those before it have written: they commit in this order, all or none. `None` where the slot is another
    /// process's.
    ///
    /// # Errors
    /// Whether nothing was written, or it is not known.
    pub(super) async fn combine_in_turn(
        &mut self,
        slot: Position,
        drafts: &[Draft],
    ) -> Result<Option<Position>, AppendError> {
        let applied = self.tail.last().0;
        assert_eq!(applied.next(), slot, "nobody else has written meanwhile");
        let records: Vec<LogRecord> = drafts.iter().map(record_of).collect();
        let settled = drafts
            .iter()
            .find(|draft| self.window.settled(draft.txid).is_some());
        assert!(
            settled.is_none(),
            "a transaction that ran on slot {applied} was settled before it began: {settled:?}"
        );
        let mut tried = self.write(&records, Vec::new()).await;
        if matches!(tried, Tried::Again) && Mutant::TurnKept.on() && self.follow().await.is_ok() {
            tried = self.write(&records, Vec::new()).await;
        }
        let late = self.tail.settle_late().await;
        match tried {
            Tried::Committed(n) => {
                if let Err(error) = late {
                    tracing::warn!(%error, "slot {n} is committed, and what follows it was not");
                }
                Ok(Some(n))
            }
            Tried::Again => {
                self.hints.suffice = false;
                self.outcome_in_turn(slot, drafts).await
            }
            Tried::Failed(error) => Err(error),
        }
    }

    /// What became of transactions that ran in turn, after their slot was lost: it may have been theirs all the same, and
    /// others may have read, folded and collected it before this process looked again.
    async fn outcome_in_turn(
        &mut self,
        slot: Position,
        drafts: &[Draft],
    ) -> Result<Option<Position>, AppendError> {
        self.follow().await.map_err(AppendError::Unknown)?;
        let first = drafts
            .first()
            .and_then(|draft| self.window.settled(draft.txid));
        if let Some(TxOutcome::Committed(n)) = first {
            return Ok(Some(n));
        }
        // Until the slot has been read, it may still be the one that was written here.
        let is_read = self.tail.last().0 >= slot && self.window.seen_base() < slot;
        match is_read {
            true => Ok(None),
            false => {
                Rare::TurnUnread.seen();
                let cause = format!("slot {slot} was lost, and could not be read since");
                Err(AppendError::Unknown(Error::Invalid(cause)))
            }
        }
    }

    /// How far this process reads on before it writes: who is behind loses the race for the slot, and reads on then.
    fn reach_of_writers(&self) -> FollowTo {
        match self.hints.suffice {
            true => FollowTo::Hints,
            false => FollowTo::End,
        }
    }

    /// Whether every slot that this process began to write came to its end.
    fn check_whole(&self) -> Result<()> {
        if self.in_flight {
            let cause = "a slot was left in the middle of its write".to_owned();
            return Err(Error::Halted { cause });
        }
        Ok(())
    }

    async fn append(&mut self, records: &[LogRecord]) -> Result<Attempt, AppendError> {
        let start = self.clock.monotonic_ns();
        let time_ms = self.clock.wall_ms();
        let nonce = self.entropy.next_u128();
        // A slot in a file of its own is found by reading on, whoever wrote it.
        self.in_flight = !self.tail.is_shared();
        let may_appear = self.may_appear.filter(|n| *n > self.tail.last().0);
        self.may_appear = may_appear.or(Some(self.tail.last().0.next()));
        let appended = self.tail.append(records, nonce, time_ms).await;
        self.in_flight = false;
        // One that was lost may have been created all the same, and collected before it was looked at again.
        if matches!(
            appended,
            Ok(Attempt::Won(_)) | Err(AppendError::NotWritten(_))
        ) {
            self.may_appear = may_appear;
        }
        let ns = self.clock.monotonic_ns().saturating_sub(start);
        if let Ok(Attempt::Won(_)) = &appended {
            let mode = if self.tail.is_shared() {
                "clustered"
            } else {
                "standalone"
            };
            let merges = records.iter().map(|record| record.body.merges()).sum();
            metric::count_slot(self.tail.last().0, (records.len(), merges), ns, mode);
        }
        appended
    }

    /// Opens the runs of a bulk record before its slot is written: a record that cannot be applied
    /// must not be committed.
    async fn open_runs(&self, accepted: &[Arc<Intent>], n: Position) -> Result<Vec<Arc<RunLayer>>> {
        let mut layers = Vec::new();
        for intent in accepted {
            if let Writes::Bulk { runs, .. } = &intent.writes {
                for run in runs {
                    layers.push(self.folder.open_run(run.clone(), n).await?);
                }
            }
        }
        Ok(layers)
    }

    fn apply(
        &mut self,
        n: Position,
        generation: Generation,
        hash: u128,
        records: &[LogRecord],
        runs: Vec<Arc<RunLayer>>,
    ) {
        if let Some(witness) = &self.witness {
            witness.applies(n, generation, hash, records);
        }
        for record in records {
            self.window.record(n, record);
        }
        apply(&self.view, n, records, runs);
        self.hints.fresh_ns = self.clock.monotonic_ns();
        self.window.push(self.view.load().active());
        self.window.advance(n);
        self.chain.push(n, hash, self.window.seen_base());
    }

    /// Reads and applies what other processes have written, to the end of the log: whatever had committed
    /// when this was called is visible when it returns (S9). Where this process alone writes there is
    /// nothing to do.
    ///
    /// # Errors
    /// [`Error::Corrupt`] naming the object; [`Error::Halted`] after a sync that failed; what the storage
    /// refuses. What was applied until then is consistent.
    pub async fn follow(&mut self) -> Result<()> {
        self.follow_to(FollowTo::End).await
    }

    /// As [`Combiner::follow`], only as far as slot `n`, which somebody has told of. Where the bus has what comes before
    /// it, storage is not asked.
    ///
    /// # Errors
    /// As [`Combiner::follow`].
    pub async fn reach(&mut self, n: Position) -> Result<()> {
        self.follow_to(FollowTo::Slot(n)).await
    }

    /// Applies what has come over the bus. Storage is asked only where that was not all there was the last time, or
    /// where nothing has been heard for as long as the medium [allows](crate::storage::Capabilities::stale_ms_max).
    ///
    /// # Errors
    /// As [`Combiner::follow`].
    pub async fn catch_up(&mut self) -> Result<()> {
        let stale_ms_max = self.folder.storage.capabilities().stale_ms_max;
        if self.hints.suffice {
            self.follow_to(FollowTo::Hints).await?;
            let age_ns = self
                .clock
                .monotonic_ns()
                .saturating_sub(self.hints.fresh_ns);
            if age_ns < stale_ms_max.saturating_mul(NS_A_MS) {
                return Ok(());
            }
        }
        self.follow().await
    }

    async fn follow_to(&mut self, reach: FollowTo) -> Result<()> {
        if !self.tail.is_shared() {
            return Ok(());
        }
        let mut result = Ok(());
        for _ in 0..RELOADS_MAX {
            result = self.follow_once(reach).await;
            // Whatever it was: storage is to be asked next.
            self.hints.suffice &= result.is_ok();
            if !matches!(result, Err(Error::SnapshotTooOld { .. })) {
                return result;
            }
            self.reload().await?;
        }
        result
    }

    async fn follow_once(&mut self, reach: FollowTo) -> Result<()> {
        let mut came_over_bus = true;
        loop {
            let next = self.tail.last().0.next();
            if matches!(reach, FollowTo::Slot(n) if next > n) {
                return Ok(());
            }
            let told = self.coordinator.slot(next).await;
            if told.is_none() && reach == FollowTo::Hints {
                return Ok(());
            }
            // Without proof it says no more than that storage may have the slot.
            let is_proof = self.is_proof(self.tail.last().0) || Mutant::TakeUnproved.on();
            let hint = told.filter(|_| is_proof);
            let Some(followed) = self.next_of_log(hint).await? else {
                self.hints.suffice = came_over_bus;
                self.hints.fresh_ns = self.clock.monotonic_ns();
                return Ok(());
            };
            came_over_bus &= !followed.stored;
            // A run that is gone was collected after it had been folded.
            let runs = self.folder.open_runs_of(&followed.slot).await?;
            self.tail.accept(&followed);
            let header = &followed.slot.header;
            let (hash, records) = (followed.slot.hash, &followed.slot.records);
            self.apply(header.n, header.generation, hash, records, runs);
        }
    }

    /// The next slot of the log. One that gives a transaction a second outcome is not taken from the bus, and in
    /// storage it is damage.
    async fn next_of_log(&mut self, hint: Option<Bytes>) -> Result<Option<Followed>> {
        let mut hint = hint;
        loop {
            let Some(followed) = self.tail.next(hint.take()).await? else {
                return Ok(None);
            };
            let header = &followed.slot.header;
            match self.window.contradiction(&followed.slot.records) {
                None => return Ok(Some(followed)),
                Some(_) if !followed.stored => Rare::HintContradicted.seen(),
                Some(txid) => {
                    let detail = format!("transaction {txid} has an outcome before it");
                    return Err(Error::corrupt(
                        Name::log(header.generation, header.n),
                        detail,
                    ));
                }
            }
        }
    }

    /// Begins again from the newest manifest: what this process stood on has been collected (S11).
    async fn reload(&mut self) -> Result<()> {
        let Tail::Slots(log) = &mut self.tail else {
            unreachable!("nobody else collects what one process alone writes")
        };
        log.writable()?;
        Rare::Reloaded.seen();
        let before = log.last().0;
        let storage = Arc::clone(&self.folder.storage);
        let mut floors = Floors::find(Arc::clone(&storage)).await?;
        let (_, floor) = floors.probe().await?;
        let base: Base = self.folder.load(Strictness::Whole, floor.manifest).await?;
        let manifest = &base.manifest;
        base.follow_paths(&*storage).await?;
        if manifest.folded <= before {
            // Nothing newer: what is missing is missing.
            let name = Name::log(manifest.generation, before.next());
            let detail =
                format!("it or what it refers to is gone, and no manifest is newer than {before}");
            return Err(Error::corrupt(name, detail));
        }
        let last = (manifest.folded, manifest.hash);
        if let Some(witness) = &self.witness {
            witness.restarts(last.0, last.1);
        }
        let log = SlotLog::new(storage, floors, manifest.generation, last);
        self.tail = Tail::Slots(Box::new(log));
        self.window.collect(manifest.collected);
        self.chain.reset(last.0, last.1);
        let view = View::of(base.manifest, base.runs);
        if !Mutant::ReloadKeepsWindow.on() {
            self.window.reset(last.0, Arc::clone(view.active()));
        }
        self.view.update(|_| view);
        Ok(())
    }

    /// The same intent, validated from the newest state that is known: `None` where it can no longer be
    /// sent so. Every slot in between has been read, and holds neither it nor its cancel (S4).
    pub fn raise(&self, intent: &Intent) -> Option<Intent> {
        let (applied, hash) = self.tail.last();
        let raised = Intent {
            read_at: applied,
            read_hash: hash,
            ..intent.clone()
        };
        if Mutant::ResendBlind.on() {
            return Some(raised);
        }
        let is_known = intent.read_at >= self.window.base() && intent.read_at < applied;
        // A cancel says through which position its target is absent.
        let is_settled = |txid| self.window.settled(txid).is_some() && !Mutant::RaiseSettled.on();
        let is_late = matches!(intent.writes, Writes::Cancel(target) if is_settled(target));
        let is_free = !is_late
            && !is_settled(intent.txid)
            && self
                .window
                .conflict(&intent.reads, intent.read_at)
                .is_none();
        (is_known && is_free).then_some(raised)
    }

    /// Commits that the database goes on under another generation and name: a copy becomes a
    /// database of its own before it writes anything else.
    ///
    /// # Errors
    /// What the storage refuses.
    pub async fn begin_generation(
        &mut self,
        generation: Generation,
        instance: InstanceId,
    ) -> Result<Option<Position>> {
        let txid = TxId(self.entropy.next_u128());
        let body = Body::Generation {
            generation,
            instance,
        };
        let (last, before) = (self.tail.last().0, self.tail.generation());
        let record = LogRecord {
            txid,
            read_at: last,
            body,
        };
        match self.append(std::slice::from_ref(&record)).await {
            Ok(Attempt::Won(_)) => {
                let (n, hash) = self.tail.last();
                self.apply(n, before, hash, &[record], Vec::new());
                Ok(Some(n))
            }
            Ok(Attempt::Lost) => Ok(None),
            Err(AppendError::NotWritten(error) | AppendError::Unknown(error)) => Err(error),
        }
    }

    /// As [`Combiner::freeze`], and whatever comes after stands in another file of the log, if the present one
    /// has `len_min` bytes.
    ///
    /// # Errors
    /// As [`Tail::begin_next_file`]; [`Error::Halted`] after a slot that was left in the middle.
    pub async fn freeze_in_next_file(&mut self, len_min: u64) -> Result<FoldPoint> {
        if self.in_flight {
            let cause = "the log was left in the middle of a write".to_owned();
            return Err(Error::Halted { cause });
        }
        self.in_flight = !self.tail.is_shared();
        let begun = self.tail.begin_next_file(len_min).await;
        self.in_flight = false;
        begun?;
        Ok(self.freeze())
    }

    /// Freezes the tail so that it can be folded, and says where it ends.
    pub fn freeze(&mut self) -> FoldPoint {
        self.view.freeze();
        let view = self.view.load();
        self.window.push(view.active());
        let (at, hash) = self.tail.last();
        let place = self.tail.place();
        let place = place.map(|(generation, first, offset)| LogPlace {
            generation,
            first,
            offset,
        });
        FoldPoint {
            at,
            hash,
            generation: self.tail.generation(),
            paths: self.tail.paths(),
            place,
            collected: self.collected(),
            view,
        }
    }

    /// The newest durable slot, with its hash.
    pub fn last(&self) -> (Position, u128) {
        self.tail.last()
    }

    /// The generation of the next slot.
    pub fn generation(&self) -> Generation {
        self.tail.generation()
    }

    /// The largest manifest up to which unused segments may be gone.
    pub fn collected(&self) -> ManifestId {
        self.window.collected()
    }

    /// What is remembered of a transaction; see [`Window::settled`].
    pub(super) fn window(&self) -> &Window {
        &self.window
    }

    /// Ends writing in good order.
    ///
    /// # Errors
    /// What the storage refuses; every committed slot is durable all the same.
    pub async fn close(&mut self) -> Result<()> {
        self.tail.close().await
    }
}

/// A batch on its way into a slot.
#[derive(Default)]
struct Validated {
    accepted: Vec<Arc<Intent>>,
    /// Those for which a cancel is written.
    withdrawn: Vec<Arc<Intent>>,
    /// Those whose outcome follows once the slot is written. Told earlier it would be a lie if another
    /// process wins the slot: whoever it conflicts with may never commit.
    decided: Vec<(Arc<Intent>, Result<Position, Refusal>)>,
}

impl Validated {
    /// Everybody, if the slot was not written.
    fn open(self) -> Vec<Arc<Intent>> {
        let decided = self.decided.into_iter().map(|(intent, _)| intent);
        let mut open: Vec<_> = self.accepted.into_iter().chain(self.withdrawn).collect();
        open.extend(decided);
        open.sort_by_key(order);
        open
    }

    /// What the mutant that takes "exists" for a failure tells.
    fn answer_failed(self, combined: &mut Combined) {
        for intent in self.accepted {
            let error = Error::Cancelled { txid: intent.txid };
            combined
                .answers
                .push((intent.txid, Answer::Rejected(error)));
        }
    }

    fn answer_committed(self, n: Position, combined: &mut Combined) {
        let answers = &mut combined.answers;
        answers.extend(
            self.accepted
                .iter()
                .map(|intent| (intent.txid, Answer::Committed(n))),
        );
        for intent in self.withdrawn {
            let error = Error::TooOld {
                read_at: intent.read_at,
                oldest: n,
            };
            answers.push((intent.txid, Answer::Rejected(error)));
        }
        for (intent, outcome) in self.decided {
            let answer = outcome.map_or_else(refused, Answer::Committed);
            answers.push((intent.txid, answer));
        }
    }
}

/// Tells why an intent cannot commit, and counts it.
fn refused(Refusal { error, met }: Refusal) -> Answer {
    metric::count_abort(&error, met);
    Answer::Rejected(error)
}

/// The order in which a batch is validated: cancels first, then the oldest.
fn order(intent: &Arc<Intent>) -> (bool, Position, TxId) {
    let is_cancel = matches!(intent.writes, Writes::Cancel(_));
    (!is_cancel, intent.read_at, intent.txid)
}

fn record(intent: &Intent) -> LogRecord {
    LogRecord {
        txid: intent.txid,
        read_at: intent.read_at,
        body: body(&intent.writes),
    }
}

fn record_of(draft: &Draft) -> LogRecord {
    LogRecord {
        txid: draft.txid,
        read_at: draft.read_at,
        body: body(&draft.writes),
    }
}

fn body(writes: &Writes) -> Body {
    match writes {
        Writes::Small(writes) => Body::Writes(writes.clone()),
        Writes::Bulk { runs, .. } => Body::Bulk(runs.clone()),
        Writes::Cancel(target) => Body::Cancel(*target),
        Writes::Collect(manifest) => Body::Collect(*manifest),
    }
}

/// Applies slot `n` to a view. Readers that begin afterwards see all of it, others nothing of it.
pub fn apply(view: &ViewCell, n: Position, records: &[LogRecord], runs: Vec<Arc<RunLayer>>) {
    if !runs.is_empty() {
        assert_eq!(
            records.len(),
            1,
            "slot {n}: a bulk record is alone in its slot"
        );
        view.stack(n, runs);
        return;
    }
    let current = view.load();
    let table = current.active();
    for record in records {
        if let Body::Writes(writes) = &record.body {
            for (key, op) in writes {
                table.insert(n, key, op);
            }
        }
    }
    table.publish(n);
}
