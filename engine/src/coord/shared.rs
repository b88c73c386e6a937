//! The coordinator of many processes: what they hand each other goes over a [`Bus`], which may lose
//! it, so every process keeps its own intents until it knows what became of them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::bus::{Answered, Mailbox};
use super::wire::{Heard, decode_answer, decode_intent, encode_answer, encode_intent};
use super::{Answer, Bus, Coordinator, Intent, Lease, Origin, Token, Turn};
use crate::base::clock::Clock;
use crate::base::entropy::Entropy;
use crate::base::limits::{PATIENCE_MS_MAX, PATIENCE_MS_MIN};
use crate::base::{InstanceId, Position, TxId};

/// The claim of whoever combines now.
const COMBINER: &str = "combine";
/// How many average slots a submitter waits for its answer before it combines itself (S4).
const PATIENCE_SLOTS: u64 = 3;
/// How often a combiner lets the tasks of its process go first, as long as more of them publish.
const GATHER_TURNS_MAX: u32 = 32;
const NS_A_MS: u64 = 1_000_000;

/// Hands intents from process to process.
///
/// Within the process one task at a time deals with the bus: it waits for the answers of all its tasks, or
/// combines for all of them. Between processes nothing is excluded: two may combine at once, and the log
/// decides.
pub struct SharedCoordinator {
    bus: Arc<dyn Bus>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    /// Names this process where it claims something, and is the mailbox for its answers.
    owner: u128,
    of: Mutex<InstanceId>,
    state: Arc<Mutex<State>>,
    /// The moving average of what a slot takes, in microseconds.
    slot_us: AtomicU64,
    /// When this process last took intents, on the monotonic clock.
    taken_ns: AtomicU64,
}

#[derive(Default)]
struct State {
    /// What this process has published and not seen settled, in order.
    mine: BTreeMap<u64, Arc<Intent>>,
    places: HashMap<TxId, u64>,
    place_next: u64,
    /// Submitters that wait for their turn, in the order of their intents.
    waiting: BTreeMap<u64, (TxId, oneshot::Sender<Turn>)>,
    /// Answers that came before their submitter asked.
    settled: HashMap<TxId, Answer>,
    /// Its own that another process says it refused, which is no more than a reason to look oneself.
    refused: HashSet<TxId>,
    /// Who published what was taken last from the bus.
    senders: HashMap<TxId, Mailbox>,
    /// A task of this process has the turn.
    combining: bool,
}

impl State {
    fn forget(&mut self, txid: TxId) {
        if let Some(place) = self.places.remove(&txid) {
            self.mine.remove(&place);
            self.waiting.remove(&place);
        }
        self.settled.remove(&txid);
        self.refused.remove(&txid);
    }

    /// Tells whoever published `txid` what became of it, or keeps it until it asks. Nothing for what is
    /// settled already or was never its own.
    fn settle(&mut self, txid: TxId, answer: Answer) {
        let Some(place) = self.places.get(&txid).copied() else {
            return;
        };
        if self.mine.remove(&place).is_none() {
            return;
        }
        self.refused.remove(&txid);
        match self.waiting.remove(&place) {
            // A submitter that has gone away does not want to know.
            Some((_, waiting)) => drop(waiting.send(Turn::Settled(answer))),
            None => drop(self.settled.insert(txid, answer)),
        }
    }

    fn is_open(&self, txid: TxId) -> bool {
        let place = self.places.get(&txid);
        place.is_some_and(|place| self.mine.contains_key(place))
    }
}

impl SharedCoordinator {
    /// A coordinator over `bus`, for one process at one database.
    pub fn new(
        bus: Arc<dyn Bus>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> SharedCoordinator {
        let owner = entropy.next_u128();
        SharedCoordinator {
            bus,
            clock,
            entropy,
            owner,
            of: Mutex::new(InstanceId(0)),
            state: Arc::default(),
            slot_us: AtomicU64::new(PATIENCE_MS_MIN * 1000),
            taken_ns: AtomicU64::new(0),
        }
    }

    fn of(&self) -> InstanceId {
        *self.of.lock()
    }

    /// How long to wait for others: three average slots, and up to as much again, so that those who
    /// wait do not all lose patience at once.
    fn patience_ms(&self) -> u64 {
        let slots_ms = self.slot_us.load(Ordering::Relaxed) * PATIENCE_SLOTS / 1000;
        let base = slots_ms.clamp(PATIENCE_MS_MIN, PATIENCE_MS_MAX);
        let jitter = u64::try_from(self.entropy.next_u128() % u128::from(base + 1)).unwrap_or(0);
        base + jitter
    }

    fn token(&self) -> Token {
        let state = Arc::clone(&self.state);
        Token::new(move || pass_on(&state))
    }

    /// The token if nobody of this process has it, else what to wait for.
    fn elect(&self, txid: TxId) -> Elected {
        let mut state = self.state.lock();
        if let Some(answer) = state.settled.remove(&txid) {
            return Elected::Settled(answer);
        }
        if !state.combining {
            state.combining = true;
            drop(state);
            return Elected::Turn(self.token());
        }
        let (sender, receiver) = oneshot::channel();
        let place = state.places.get(&txid).copied().unwrap_or(u64::MAX);
        state.waiting.insert(place, (txid, sender));
        Elected::Wait(receiver)
    }

    /// With this process's turn: combine now, or be answered by another process that does. Whatever answers
    /// come meanwhile go to all who wait for them here.
    async fn alone(&self, txid: TxId, token: Token) -> Turn {
        let of = self.of();
        if !self.state.lock().refused.is_empty() {
            return Turn::Combine(token);
        }
        let patience_ms = self.patience_ms();
        let deadline_ns = self.clock.monotonic_ns() + patience_ms * NS_A_MS;
        // Whenever something was heard, whoever combined may be done.
        while !self.bus.claim(of, COMBINER, self.owner, patience_ms).await {
            let left_ns = deadline_ns.saturating_sub(self.clock.monotonic_ns());
            if left_ns == 0 {
                break;
            }
            let (mailbox, left_ms) = (Mailbox(self.owner), left_ns.div_ceil(NS_A_MS));
            let heard = self.bus.answers(of, mailbox, left_ms).await;
            let (own, is_refused) = self.hear(of, txid, heard);
            if let Some(answer) = own {
                return Turn::Settled(answer);
            }
            // A refusal is a hint: combining oneself reads the log and finds out.
            if is_refused {
                break;
            }
        }
        Turn::Combine(token)
    }

    /// Tells everybody here what was heard, first the others; what became of `txid`, and whether anything of
    /// this process is said to be refused.
    fn hear(
        &self,
        of: InstanceId,
        txid: TxId,
        heard: Vec<(TxId, Bytes)>,
    ) -> (Option<Answer>, bool) {
        let mut state = self.state.lock();
        for (txid, bytes) in heard {
            match decode_answer(of, txid, &bytes) {
                Some(Heard::Committed(n)) => state.settle(txid, Answer::Committed(n)),
                Some(Heard::Rejected) if state.is_open(txid) => drop(state.refused.insert(txid)),
                Some(Heard::Rejected) | None => {}
            }
        }
        (state.settled.remove(&txid), !state.refused.is_empty())
    }

    /// Lets those publish who are about to: whoever was just answered comes back with the next at once, and the
    /// first of them would have a slot to itself.
    async fn gather(&self) {
        let mut before = 0;
        for _ in 0..GATHER_TURNS_MAX {
            let now = self.state.lock().mine.len();
            if now == before {
                return;
            }
            before = now;
            let mut is_back = false;
            poll_fn(|context| {
                if std::mem::replace(&mut is_back, true) {
                    return Poll::Ready(());
                }
                context.waker().wake_by_ref();
                Poll::Pending
            })
            .await;
        }
    }

    /// Learns from the time between taking intents and answering them.
    fn learn(&self) {
        let taken = self.taken_ns.swap(0, Ordering::Relaxed);
        if taken == 0 {
            return;
        }
        let us = self.clock.monotonic_ns().saturating_sub(taken) / 1000;
        let before = self.slot_us.load(Ordering::Relaxed);
        self.slot_us
            .store(before - before / 8 + us / 8, Ordering::Relaxed);
    }
}

enum Elected {
    Settled(Answer),
    Turn(Token),
    Wait(oneshot::Receiver<Turn>),
}

/// Gives the token to whoever of this process has waited longest.
fn pass_on(state: &Arc<Mutex<State>>) {
    let heir = {
        let mut guard = state.lock();
        let heir = guard.waiting.pop_first();
        guard.combining = heir.is_some();
        heir
    };
    if let Some((_, (_, heir))) = heir {
        let again = Arc::clone(state);
        // If the heir has gone away, the token dropped with the message passes itself on.
        drop(heir.send(Turn::Combine(Token::new(move || pass_on(&again)))));
    }
}

#[async_trait]
impl Coordinator for SharedCoordinator {
    fn attach(&self, of: InstanceId) {
        *self.of.lock() = of;
    }

    fn origin(&self) -> Origin {
        Origin::Own
    }

    async fn publish(&self, intent: &Arc<Intent>) {
        {
            let mut state = self.state.lock();
            let place = match state.places.get(&intent.txid) {
                Some(place) => *place,
                None => {
                    let place = state.place_next;
                    state.place_next += 1;
                    state.places.insert(intent.txid, place);
                    place
                }
            };
            state.mine.insert(place, Arc::clone(intent));
        }
        let of = self.of();
        let bytes = encode_intent(of, intent);
        let by = Mailbox(self.owner);
        self.bus.publish(of, by, intent.txid, bytes).await;
    }

    async fn turn(&self, txid: TxId) -> Turn {
        let token = match self.elect(txid) {
            Elected::Settled(answer) => return Turn::Settled(answer),
            Elected::Turn(token) => token,
            Elected::Wait(receiver) => match receiver.await {
                Ok(Turn::Combine(token)) => token,
                Ok(settled) => return settled,
                // Forgotten: to combine oneself is always allowed.
                Err(_) => return Turn::Combine(Token::new(|| {})),
            },
        };
        self.alone(txid, token).await
    }

    async fn take(&self, records_max: usize, len_max: usize) -> Vec<Arc<Intent>> {
        self.taken_ns
            .store(self.clock.monotonic_ns().max(1), Ordering::Relaxed);
        let of = self.of();
        let but = Mailbox(self.owner);
        let offered = self.bus.intents(of, but, records_max, len_max).await;
        self.gather().await;
        let mut taken: Vec<Arc<Intent>> = Vec::new();
        let mut len = 0;
        let mut fits = |taken: &Vec<_>, intent: &Intent| {
            len += intent.len;
            taken.is_empty() || (taken.len() < records_max && len <= len_max)
        };
        let mut guard = self.state.lock();
        let state = &mut *guard;
        state.senders.clear();
        // Its own first, whatever was published until now.
        for intent in state.mine.values() {
            if !fits(&taken, intent) {
                return taken;
            }
            state.refused.remove(&intent.txid);
            taken.push(Arc::clone(intent));
        }
        let mut seen: HashSet<TxId> = taken.iter().map(|intent| intent.txid).collect();
        for offered in offered {
            let Some(intent) = decode_intent(of, &offered.intent) else {
                continue;
            };
            // Published by this process, on a bus that does not know: as a foreign one it might be refused
            // for good although others can still commit it.
            if state.places.contains_key(&intent.txid) {
                continue;
            }
            if seen.insert(intent.txid) && fits(&taken, &intent) {
                state.senders.insert(intent.txid, offered.by);
                taken.push(Arc::new(intent));
            }
        }
        taken
    }

    async fn answer(&self, answers: Vec<(TxId, Answer)>) {
        self.learn();
        let of = self.of();
        let mut answered = Vec::with_capacity(answers.len());
        {
            let mut state = self.state.lock();
            for (txid, answer) in answers {
                let heard = match &answer {
                    Answer::Committed(n) => Heard::Committed(*n),
                    Answer::Rejected(_) => Heard::Rejected,
                };
                let sender = state.senders.remove(&txid);
                let answer_to = sender.map(|to| (to, encode_answer(of, txid, heard)));
                answered.push(Answered {
                    txid,
                    answer: answer_to,
                });
                state.settle(txid, answer);
            }
        }
        self.bus.settle(of, answered).await;
        self.bus.release(of, COMBINER, self.owner).await;
    }

    fn forget(&self, txid: TxId) {
        self.state.lock().forget(txid);
    }

    async fn offer_slot(&self, n: Position, slot: Bytes) {
        self.bus.offer_slot(self.of(), n, slot).await;
    }

    async fn slot(&self, n: Position) -> Option<Bytes> {
        self.bus.slot(self.of(), n).await
    }

    async fn lease(&self, name: &str, ms: u64) -> Option<Box<dyn Lease>> {
        let name = format!("lease/{name}");
        let claimed = self.bus.claim(self.of(), &name, self.owner, ms).await;
        claimed.then(|| -> Box<dyn Lease> { Box::new(SharedLease) })
    }
}

/// Ends by itself when its time is over.
struct SharedLease;

impl Lease for SharedLease {}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use futures::executor::block_on;

    use super::super::{Board, Offered, ReadSet, Writes};
    use super::*;
    use crate::base::Error;
    use crate::base::clock::SystemClock;
    use crate::base::entropy::SeededEntropy;

    const OF: InstanceId = InstanceId(3);

    /// A board on which `meanwhile` is published by somebody else while intents are listed.
    struct Scene {
        board: Board,
        meanwhile: Mutex<Option<(Arc<SharedCoordinator>, Arc<Intent>)>>,
    }

    impl Scene {
        fn new() -> Arc<Scene> {
            Arc::new(Scene {
                board: Board::new(Arc::new(SystemClock::new())),
                meanwhile: Mutex::new(None),
            })
        }
    }

    #[async_trait]
    impl Bus for Scene {
        async fn publish(&self, of: InstanceId, by: Mailbox, txid: TxId, intent: Bytes) {
            self.board.publish(of, by, txid, intent).await;
        }

        async fn intents(
            &self,
            of: InstanceId,
            but: Mailbox,
            count_max: usize,
            len_max: usize,
        ) -> Vec<Offered> {
            let meanwhile = self.meanwhile.lock().take();
            if let Some((coordinator, intent)) = meanwhile {
                coordinator.publish(&intent).await;
            }
            // As a bus does that leaves nobody's out.
            let nobody = Mailbox(but.0 + 1);
            self.board.intents(of, nobody, count_max, len_max).await
        }

        async fn settle(&self, of: InstanceId, answered: Vec<Answered>) {
            self.board.settle(of, answered).await;
        }

        async fn answers(&self, of: InstanceId, to: Mailbox, ms_max: u64) -> Vec<(TxId, Bytes)> {
            self.board.answers(of, to, ms_max).await
        }

        async fn claim(&self, of: InstanceId, name: &str, owner: u128, ms: u64) -> bool {
            self.board.claim(of, name, owner, ms).await
        }

        async fn release(&self, of: InstanceId, name: &str, owner: u128) {
            self.board.release(of, name, owner).await;
        }

        async fn offer_slot(&self, of: InstanceId, n: Position, slot: Bytes) {
            self.board.offer_slot(of, n, slot).await;
        }

        async fn slot(&self, of: InstanceId, n: Position) -> Option<Bytes> {
            self.board.slot(of, n).await
        }
    }

    fn process(scene: &Arc<Scene>, seed: u64) -> Arc<SharedCoordinator> {
        let bus: Arc<dyn Bus> = Arc::clone(scene) as _;
        let entropy = Arc::new(SeededEntropy::new(seed));
        let coordinator = SharedCoordinator::new(bus, Arc::new(SystemClock::new()), entropy);
        coordinator.attach(OF);
        Arc::new(coordinator)
    }

    fn intent(id: u128) -> Arc<Intent> {
        let writes = Writes::Small(Vec::new());
        Arc::new(Intent {
            txid: TxId(id),
            read_at: Position::ZERO,
            read_hash: 0,
            reads: ReadSet::default(),
            len: writes.len(),
            writes,
            origin: Origin::Own,
        })
    }

    fn taken(coordinator: &SharedCoordinator) -> Vec<(u128, Origin)> {
        let taken = block_on(coordinator.take(10, 1_000_000));
        taken
            .iter()
            .map(|intent| (intent.txid.0, intent.origin))
            .collect()
    }

    /// `there` combines, and this becomes of what it took.
    fn combine(there: &SharedCoordinator, answers: &[(u128, Answer)]) {
        assert!(block_on(there.bus.claim(OF, COMBINER, there.owner, 60_000)));
        taken(there);
        let answers = answers
            .iter()
            .map(|(id, answer)| (TxId(*id), answer.clone()));
        block_on(there.answer(answers.collect()));
        // It goes on with the next.
        assert!(block_on(there.bus.claim(OF, COMBINER, there.owner, 60_000)));
    }

    fn committed(n: u64) -> Answer {
        Answer::Committed(Position(n))
    }

    fn position(turn: Turn) -> Option<u64> {
        match turn {
            Turn::Settled(Answer::Committed(n)) => Some(n.0),
            Turn::Settled(Answer::Rejected(error)) => panic!("{error}"),
            Turn::Combine(_) => None,
        }
    }

    #[test]
    fn an_intent_is_own_here_and_foreign_there_until_it_is_settled() {
        let scene = Scene::new();
        let (here, there) = (process(&scene, 1), process(&scene, 2));
        block_on(here.publish(&intent(7)));
        assert_eq!(taken(&here), [(7, Origin::Own)]);
        assert_eq!(taken(&there), [(7, Origin::Foreign)]);
        block_on(there.answer(vec![(TxId(7), committed(4))]));
        assert_eq!(taken(&there), []);
        // The bus may have lost it: who published it keeps it until it knows.
        assert_eq!(taken(&here), [(7, Origin::Own)]);
    }

    /// An own intent that was published while the bus was asked came back as a foreign one, was refused as
    /// such, which is a hint, and its submitter took that for final. Another process committed it.
    #[test]
    fn an_own_intent_never_comes_back_as_a_foreign_one() {
        let scene = Scene::new();
        let here = process(&scene, 1);
        *scene.meanwhile.lock() = Some((Arc::clone(&here), intent(8)));
        assert_eq!(taken(&here), [(8, Origin::Own)]);
    }

    #[test]
    fn a_refusal_by_another_process_is_only_a_reason_to_look() {
        let scene = Scene::new();
        let (here, there) = (process(&scene, 1), process(&scene, 2));
        block_on(here.publish(&intent(9)));
        combine(&there, &[(9, Answer::Rejected(Error::ReadOnly))]);
        assert_eq!(position(block_on(here.turn(TxId(9)))), None);
        assert_eq!(taken(&here), [(9, Origin::Own)]);
        block_on(here.publish(&intent(10)));
        combine(&there, &[(10, committed(5))]);
        assert_eq!(position(block_on(here.turn(TxId(10)))), Some(5));
    }

    /// Each used to ask for its own: as many claims and answers in turn as clients.
    #[test]
    fn answers_settle_everybody_who_waits_here() {
        let scene = Scene::new();
        let (here, there) = (process(&scene, 1), process(&scene, 2));
        for id in 1..=4 {
            block_on(here.publish(&intent(id)));
        }
        assert!(block_on(scene.claim(OF, COMBINER, there.owner, 60_000)));
        let mut first = Box::pin(here.alone(TxId(1), here.token()));
        here.state.lock().combining = true;
        let mut second = Box::pin(here.turn(TxId(2)));
        let mut third = Box::pin(here.turn(TxId(3)));
        assert!(second.as_mut().now_or_never().is_none());
        assert!(third.as_mut().now_or_never().is_none());
        combine(
            &there,
            &[(1, committed(7)), (2, committed(7)), (4, committed(7))],
        );
        assert_eq!(first.as_mut().now_or_never().and_then(position), Some(7));
        assert_eq!(second.now_or_never().and_then(position), Some(7));
        // It came before its submitter asked.
        assert_eq!(position(block_on(here.turn(TxId(4)))), Some(7));
        drop(first);
        combine(&there, &[(3, committed(8))]);
        assert_eq!(position(block_on(third)), Some(8));
        assert_eq!(taken(&here), []);
    }

    #[test]
    fn a_refusal_of_one_has_whoever_waits_look_for_it() {
        let scene = Scene::new();
        let (here, there) = (process(&scene, 1), process(&scene, 2));
        block_on(here.publish(&intent(1)));
        block_on(here.publish(&intent(2)));
        let refused = Answer::Rejected(Error::ReadOnly);
        combine(&there, &[(2, refused.clone()), (1, committed(3))]);
        // The first is answered, so the next one who gets the turn combines, whoever it is.
        assert_eq!(position(block_on(here.turn(TxId(1)))), Some(3));
        assert_eq!(position(block_on(here.turn(TxId(2)))), None);
        assert_eq!(taken(&here), [(2, Origin::Own)]);
        assert!(here.state.lock().refused.is_empty());
        block_on(here.publish(&intent(2)));
        combine(&there, &[(2, refused)]);
        let heard = block_on(scene.answers(OF, Mailbox(here.owner), 1));
        assert!(here.hear(OF, TxId(9), heard).1);
        // Who has gone away does not keep others busy.
        here.forget(TxId(2));
        assert!(here.state.lock().refused.is_empty());
    }

    #[test]
    fn one_task_of_a_process_deals_with_the_bus_and_passes_its_turn_on() {
        let scene = Scene::new();
        let here = process(&scene, 1);
        block_on(here.publish(&intent(1)));
        block_on(here.publish(&intent(2)));
        let Turn::Combine(token) = block_on(here.turn(TxId(1))) else {
            panic!("nobody combines, so the first must")
        };
        let mut waits = Box::pin(here.turn(TxId(2)));
        assert!(waits.as_mut().now_or_never().is_none());
        drop(token);
        assert!(matches!(block_on(waits), Turn::Combine(_)));
    }
}
