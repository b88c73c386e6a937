//! The coordinator of many processes: what they hand each other goes over a [`Bus`], which may lose
//! it, so every process keeps its own intents until it knows what became of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::oneshot;

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

/// Hands intents from process to process.
///
/// Within the process one task at a time deals with the bus: it waits for an answer, or combines for
/// all of them. Between processes nothing is excluded: two may combine at once, and the log decides.
pub struct SharedCoordinator {
    bus: Arc<dyn Bus>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    /// Names this process where it claims something.
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

    /// With this process's turn: combine now, or be answered by another process that does.
    async fn alone(&self, txid: TxId, token: Token) -> Turn {
        let of = self.of();
        let patience_ms = self.patience_ms();
        if self.bus.claim(of, COMBINER, self.owner, patience_ms).await {
            return Turn::Combine(token);
        }
        let heard = self.bus.answer(of, txid, patience_ms).await;
        match heard.and_then(|bytes| decode_answer(of, txid, &bytes)) {
            Some(Heard::Committed(n)) => Turn::Settled(Answer::Committed(n)),
            // A refusal is a hint: combining oneself reads the log and finds out.
            Some(Heard::Rejected) | None => Turn::Combine(token),
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
        self.bus.publish(of, intent.txid, bytes).await;
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
        let mut taken: Vec<Arc<Intent>> = Vec::new();
        let mut len = 0;
        let fits = |taken: &Vec<_>, len: &mut usize, intent: &Intent| {
            *len += intent.len;
            taken.is_empty() || (taken.len() < records_max && *len <= len_max)
        };
        for intent in self.state.lock().mine.values() {
            if !fits(&taken, &mut len, intent) {
                return taken;
            }
            taken.push(Arc::clone(intent));
        }
        let seen: BTreeSet<TxId> = taken.iter().map(|intent| intent.txid).collect();
        let room = records_max.saturating_sub(taken.len());
        for bytes in self
            .bus
            .intents(of, room, len_max.saturating_sub(len))
            .await
        {
            let Some(intent) = decode_intent(of, &bytes) else {
                continue;
            };
            // Published by this process since its own were looked at: as a foreign one it might be
            // refused for good although others can still commit it.
            if self.state.lock().places.contains_key(&intent.txid) {
                continue;
            }
            if !seen.contains(&intent.txid) && fits(&taken, &mut len, &intent) {
                taken.push(Arc::new(intent));
            }
        }
        taken
    }

    async fn answer(&self, answers: Vec<(TxId, Answer)>) {
        self.learn();
        let of = self.of();
        let mut others = Vec::with_capacity(answers.len());
        {
            let mut state = self.state.lock();
            for (txid, answer) in answers {
                let heard = match &answer {
                    Answer::Committed(n) => Heard::Committed(*n),
                    Answer::Rejected(_) => Heard::Rejected,
                };
                others.push((txid, encode_answer(of, txid, heard)));
                let Some(place) = state.places.get(&txid).copied() else {
                    continue;
                };
                state.mine.remove(&place);
                match state.waiting.remove(&place) {
                    // A submitter that has gone away does not want to know.
                    Some((_, waiting)) => drop(waiting.send(Turn::Settled(answer))),
                    None => drop(state.settled.insert(txid, answer)),
                }
            }
        }
        self.bus.settle(of, others).await;
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

    use super::super::{ReadSet, Writes};
    use super::*;
    use crate::base::Error;
    use crate::base::clock::SystemClock;
    use crate::base::entropy::SeededEntropy;

    const OF: InstanceId = InstanceId(3);

    /// A bus that loses nothing and answers at once.
    #[derive(Default)]
    struct Board {
        intents: Mutex<BTreeMap<TxId, Bytes>>,
        answers: Mutex<HashMap<TxId, Bytes>>,
        claimed: Mutex<Option<u128>>,
        slots: Mutex<HashMap<Position, Bytes>>,
        /// Published by somebody else while intents are listed.
        meanwhile: Mutex<Option<(Arc<SharedCoordinator>, Arc<Intent>)>>,
    }

    #[async_trait]
    impl Bus for Board {
        async fn publish(&self, _of: InstanceId, txid: TxId, intent: Bytes) {
            self.intents.lock().insert(txid, intent);
        }

        async fn intents(&self, _of: InstanceId, count_max: usize, _len_max: usize) -> Vec<Bytes> {
            let meanwhile = self.meanwhile.lock().take();
            if let Some((coordinator, intent)) = meanwhile {
                coordinator.publish(&intent).await;
            }
            self.intents
                .lock()
                .values()
                .take(count_max)
                .cloned()
                .collect()
        }

        async fn settle(&self, _of: InstanceId, answers: Vec<(TxId, Bytes)>) {
            for (txid, answer) in answers {
                self.intents.lock().remove(&txid);
                self.answers.lock().insert(txid, answer);
            }
        }

        async fn answer(&self, _of: InstanceId, txid: TxId, _ms_max: u64) -> Option<Bytes> {
            self.answers.lock().get(&txid).cloned()
        }

        async fn claim(&self, _of: InstanceId, _name: &str, owner: u128, _ms: u64) -> bool {
            *self.claimed.lock().get_or_insert(owner) == owner
        }

        async fn release(&self, _of: InstanceId, _name: &str, owner: u128) {
            let mut claimed = self.claimed.lock();
            if *claimed == Some(owner) {
                *claimed = None;
            }
        }

        async fn offer_slot(&self, _of: InstanceId, n: Position, slot: Bytes) {
            self.slots.lock().insert(n, slot);
        }

        async fn slot(&self, _of: InstanceId, n: Position) -> Option<Bytes> {
            self.slots.lock().get(&n).cloned()
        }
    }

    fn process(board: &Arc<Board>, seed: u64) -> Arc<SharedCoordinator> {
        let bus: Arc<dyn Bus> = Arc::clone(board) as _;
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

    #[test]
    fn an_intent_is_own_here_and_foreign_there_until_it_is_settled() {
        let board = Arc::new(Board::default());
        let (here, there) = (process(&board, 1), process(&board, 2));
        block_on(here.publish(&intent(7)));
        assert_eq!(taken(&here), [(7, Origin::Own)]);
        assert_eq!(taken(&there), [(7, Origin::Foreign)]);
        block_on(there.answer(vec![(TxId(7), Answer::Committed(Position(4)))]));
        assert_eq!(taken(&there), []);
        // The bus may have lost it: who published it keeps it until it knows.
        assert_eq!(taken(&here), [(7, Origin::Own)]);
    }

    /// An own intent that was published while the bus was asked came back as a foreign one, was refused as
    /// such, which is a hint, and its submitter took that for final. Another process committed it.
    #[test]
    fn an_own_intent_never_comes_back_as_a_foreign_one() {
        let board = Arc::new(Board::default());
        let here = process(&board, 1);
        *board.meanwhile.lock() = Some((Arc::clone(&here), intent(8)));
        assert_eq!(taken(&here), []);
        assert_eq!(taken(&here), [(8, Origin::Own)]);
    }

    #[test]
    fn a_refusal_by_another_process_is_only_a_reason_to_look() {
        let board = Arc::new(Board::default());
        let (here, there) = (process(&board, 1), process(&board, 2));
        block_on(here.publish(&intent(9)));
        assert!(block_on(there.bus.claim(OF, COMBINER, there.owner, 1)));
        let refused = Answer::Rejected(Error::ReadOnly);
        block_on(there.answer(vec![(TxId(9), refused)]));
        *board.claimed.lock() = Some(there.owner);
        assert!(matches!(block_on(here.turn(TxId(9))), Turn::Combine(_)));
        block_on(here.publish(&intent(10)));
        let heard = encode_answer(OF, TxId(10), Heard::Committed(Position(5)));
        board.answers.lock().insert(TxId(10), heard);
        assert!(matches!(
            block_on(here.turn(TxId(10))),
            Turn::Settled(Answer::Committed(Position(5)))
        ));
    }

    #[test]
    fn one_task_of_a_process_deals_with_the_bus_and_passes_its_turn_on() {
        let board = Arc::new(Board::default());
        let here = process(&board, 1);
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
