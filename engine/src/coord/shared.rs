//! The coordinator of many processes: what they hand each other goes over a [`Bus`], which may lose
//! it, so every process keeps its own intents until it knows what became of them.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::bus::{COMBINING, Claimed, Mailbox, OfferId};
use super::pending_intents::PendingIntents;
use super::wire::{decode_answer, decode_intents, encode_intents};
use super::{Answer, Bus, Coordinator, Intent, Lease, NextStep, Origin, Token};
use crate::base::clock::Clock;
use crate::base::entropy::Entropy;
use crate::base::limits::{PATIENCE_MS_MAX, PATIENCE_MS_MIN};
use crate::base::{InstanceId, Position, Rare, TxId};

/// How many average slots a submitter waits for its answer before it combines itself (S4).
const PATIENCE_SLOTS: u64 = 3;
/// How often a combiner lets the tasks of its process go first, as long as more of them publish.
const GATHER_TURNS_MAX: u32 = 32;
const NS_A_MS: u64 = 1_000_000;

/// Hands intents from process to process.
///
/// Within the process one task at a time deals with the bus: it waits for the answers of all its tasks, or
/// combines for all of them. Only what it waits for is offered to others, as much as there is in one go; what
/// it combines itself never is, which costs nobody anything. Processes that want to combine stand in line, so
/// that each has its turn. Between them nothing is excluded: two may combine at once, and the log decides.
pub struct SharedCoordinator {
    bus: Arc<dyn Bus>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    /// Names this process where it claims something, and is the mailbox for its answers.
    owner: u128,
    of: Mutex<InstanceId>,
    pending: Arc<Mutex<PendingIntents>>,
    /// The moving average of what a slot takes, in microseconds.
    slot_us: AtomicU64,
    /// When this process last took intents, on the monotonic clock.
    taken_ns: AtomicU64,
    /// Transactions that read a later slot than this one may be offered.
    shared_after: AtomicU64,
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
            pending: Arc::default(),
            slot_us: AtomicU64::new(PATIENCE_MS_MIN * 1000),
            taken_ns: AtomicU64::new(0),
            shared_after: AtomicU64::new(u64::MAX),
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
        assert!(jitter <= base, "{jitter} ms on top of {base} ms");
        assert!(
            (PATIENCE_MS_MIN..=PATIENCE_MS_MAX).contains(&base),
            "a patience of {base} ms"
        );
        base + jitter
    }

    fn token(&self) -> Token {
        let pending = Arc::clone(&self.pending);
        Token::new(move || pass_on(&pending))
    }

    /// The token if nobody of this process has it, else what to wait for.
    fn elect(&self, txid: TxId) -> Elected {
        let mut pending = self.pending.lock();
        if let Some(answer) = pending.take_settled(txid) {
            return Elected::Settled(answer);
        }
        if !pending.combining {
            pending.combining = true;
            drop(pending);
            return Elected::Turn(self.token());
        }
        Elected::Wait(pending.wait(txid))
    }

    /// With this process's turn: combine now, or be answered by another process that does. Whatever answers
    /// come meanwhile go to all who wait for them here.
    async fn alone(&self, txid: TxId, token: Token) -> NextStep {
        let of = self.of();
        if self.pending.lock().has_refused() {
            return NextStep::Combine(token);
        }
        let patience_ms = self.patience_ms();
        let deadline_ns = self.clock.monotonic_ns() + patience_ms * NS_A_MS;
        let mut led = None;
        // Whenever something was heard, it may be one's turn.
        while let Claimed::Behind(_) = self.bus.stand(of, COMBINING, self.owner, patience_ms).await
        {
            led.get_or_insert_with(|| Led::new(&self.pending));
            self.offer().await;
            let left_ns = deadline_ns.saturating_sub(self.clock.monotonic_ns());
            if left_ns == 0 {
                Rare::PatienceLost.seen();
                break;
            }
            let (mailbox, left_ms) = (Mailbox(self.owner), left_ns.div_ceil(NS_A_MS));
            let heard = self.bus.answers(of, mailbox, left_ms).await;
            let (own, is_refused) = self.hear(of, txid, heard);
            if let Some(answer) = own {
                return NextStep::Settled(answer);
            }
            // A refusal is a hint: combining oneself reads the log and finds out.
            if is_refused {
                break;
            }
        }
        NextStep::Combine(token)
    }

    /// Shows others whatever is open here and not on the bus, together with what is about to come: several tasks
    /// that publish at once leave it to the first.
    async fn offer(&self) {
        if std::mem::replace(&mut self.pending.lock().is_offering, true) {
            return;
        }
        let offering = Offering {
            pending: &self.pending,
        };
        self.gather().await;
        assert!(
            self.pending.lock().is_offering,
            "somebody else has offered meanwhile"
        );
        drop(offering);
        let name = || OfferId(self.entropy.next_u128());
        let after = Position(self.shared_after.load(Ordering::Relaxed));
        let offers = self.pending.lock().offer(after, name);
        let (of, by) = (self.of(), Mailbox(self.owner));
        for (id, intents) in offers {
            let bytes = encode_intents(of, intents.iter().map(|intent| &**intent));
            self.bus.publish(of, by, id, bytes).await;
        }
    }

    /// Tells everybody here what was heard, first the others; what became of `txid`, and whether anything of
    /// this process is said to be refused.
    fn hear(
        &self,
        of: InstanceId,
        txid: TxId,
        heard: Vec<(TxId, Bytes)>,
    ) -> (Option<Answer>, bool) {
        let mut pending = self.pending.lock();
        for (txid, bytes) in heard {
            if let Some(heard) = decode_answer(of, txid, &bytes) {
                pending.hear(txid, heard);
            }
        }
        (pending.take_settled(txid), pending.has_refused())
    }

    /// Lets those publish who are about to: whoever was just answered comes back with the next at once, and the
    /// first of them would have a slot to itself.
    async fn gather(&self) {
        let mut before = 0;
        for _ in 0..GATHER_TURNS_MAX {
            let now = self.pending.lock().open_len();
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
        let learnt = before - before / 8 + us / 8;
        // The divisions round down, each by less than one.
        assert!(
            learnt <= before.max(us) + 1,
            "{learnt} us a slot, from {before} us and {us} us"
        );
        self.slot_us.store(learnt, Ordering::Relaxed);
    }
}

/// As long as a task waits for another process.
struct Led<'a> {
    pending: &'a Mutex<PendingIntents>,
}

impl<'a> Led<'a> {
    fn new(pending: &'a Mutex<PendingIntents>) -> Led<'a> {
        let was_led = std::mem::replace(&mut pending.lock().is_led, true);
        assert!(!was_led, "two tasks of one process wait for others");
        Led { pending }
    }
}

impl Drop for Led<'_> {
    fn drop(&mut self) {
        let was_led = std::mem::replace(&mut self.pending.lock().is_led, false);
        debug_assert!(was_led, "nobody waited for others");
    }
}

/// Whoever was about to offer and went away leaves it to others.
struct Offering<'a> {
    pending: &'a Mutex<PendingIntents>,
}

impl Drop for Offering<'_> {
    fn drop(&mut self) {
        self.pending.lock().is_offering = false;
    }
}

enum Elected {
    Settled(Answer),
    Turn(Token),
    Wait(oneshot::Receiver<NextStep>),
}

/// Gives the token to whoever of this process has waited longest.
fn pass_on(pending: &Arc<Mutex<PendingIntents>>) {
    let heir = pending.lock().next();
    if let Some(heir) = heir {
        let again = Arc::clone(pending);
        // If the heir has gone away, the token dropped with the message passes itself on.
        let unsent = heir.send(NextStep::Combine(Token::new(move || pass_on(&again))));
        if unsent.is_err() {
            Rare::HeirGone.seen();
        }
        drop(unsent);
    }
}

#[async_trait]
impl Coordinator for SharedCoordinator {
    fn attach(&self, of: InstanceId) {
        *self.of.lock() = of;
        self.shared_after.store(u64::MAX, Ordering::Relaxed);
    }

    fn share_after(&self, opened: Position) {
        assert!(
            opened.0 < u64::MAX,
            "slot {opened}, after which nothing can be read"
        );
        self.shared_after.store(opened.0, Ordering::Relaxed);
    }

    fn origin(&self) -> Origin {
        Origin::Own
    }

    async fn publish(&self, intent: &Arc<Intent>) {
        let is_wanted = self.pending.lock().publish(intent);
        if is_wanted {
            self.offer().await;
        }
    }

    async fn turn(&self, txid: TxId) -> NextStep {
        let token = match self.elect(txid) {
            Elected::Settled(answer) => return NextStep::Settled(answer),
            Elected::Turn(token) => token,
            Elected::Wait(receiver) => match receiver.await {
                Ok(NextStep::Combine(token)) => token,
                Ok(settled) => return settled,
                // Forgotten: to combine oneself is always allowed.
                Err(_) => return NextStep::Combine(Token::new(|| {})),
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
        let offered = offered.into_iter().map(|offered| {
            let intents = decode_intents(of, &offered.intents);
            (offered.by, offered.id, intents)
        });
        let mut len = 0;
        let fits = |taken: usize, intent: &Intent| {
            len += intent.len;
            taken == 0 || (taken < records_max && len <= len_max)
        };
        self.pending.lock().take(offered.collect(), fits)
    }

    async fn answer(&self, answers: Vec<(TxId, Answer)>) {
        self.learn();
        let of = self.of();
        let (settled, told) = self.pending.lock().answer(of, answers);
        if !(settled.is_empty() && told.is_empty()) {
            self.bus.settle(of, settled, told).await;
        }
        self.bus.release(of, COMBINING, self.owner).await;
    }

    fn forget(&self, txid: TxId) {
        self.pending.lock().forget(txid);
    }

    fn withdraw(&self, txid: TxId) -> bool {
        self.pending.lock().withdraw(txid)
    }

    async fn offer_slot(&self, n: Position, slot: Bytes) {
        self.bus.offer_slot(self.of(), n, slot).await;
    }

    async fn slot(&self, n: Position) -> Option<Bytes> {
        self.bus.slot(self.of(), n).await
    }

    async fn flush(&self) {
        self.bus.flush(self.of()).await;
    }

    async fn lease(&self, name: &str, ms: u64) -> Option<Box<dyn Lease>> {
        let name = format!("lease/{name}");
        let claimed = self.bus.claim(self.of(), &name, self.owner, ms).await;
        claimed.then(|| -> Box<dyn Lease> { Box::new(SharedLease) })
    }

    async fn release(&self, name: &str) {
        let name = format!("lease/{name}");
        self.bus.release(self.of(), &name, self.owner).await;
    }

    async fn announce(&self, id: &str, note: Bytes, ms: u64) {
        self.bus.announce(self.of(), id, note, ms).await;
    }

    async fn announced(&self) -> Vec<(String, Bytes)> {
        self.bus.announced(self.of()).await
    }
}

/// Ends by itself when its time is over.
struct SharedLease;

impl Lease for SharedLease {}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use futures::executor::block_on;

    use super::super::bus::{Answered, Offered};
    use super::super::{Board, ReadSet, Writes};
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
        async fn publish(&self, of: InstanceId, by: Mailbox, id: OfferId, intents: Bytes) {
            self.board.publish(of, by, id, intents).await;
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

        async fn settle(&self, of: InstanceId, settled: Vec<OfferId>, answers: Vec<Answered>) {
            self.board.settle(of, settled, answers).await;
        }

        async fn answers(&self, of: InstanceId, to: Mailbox, ms_max: u64) -> Vec<(TxId, Bytes)> {
            self.board.answers(of, to, ms_max).await
        }

        async fn claim(&self, of: InstanceId, name: &str, owner: u128, ms: u64) -> bool {
            self.board.claim(of, name, owner, ms).await
        }

        async fn stand(&self, of: InstanceId, name: &str, owner: u128, ms: u64) -> Claimed {
            self.board.stand(of, name, owner, ms).await
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
        coordinator.share_after(Position::ZERO);
        Arc::new(coordinator)
    }

    fn intent(id: u128) -> Arc<Intent> {
        let writes = Writes::Small(Vec::new());
        Arc::new(Intent {
            txid: TxId(id),
            read_at: Position(1),
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
        assert!(block_on(there.bus.claim(
            OF,
            COMBINING,
            there.owner,
            60_000
        )));
        taken(there);
        let answers = answers
            .iter()
            .map(|(id, answer)| (TxId(*id), answer.clone()));
        block_on(there.answer(answers.collect()));
        // It goes on with the next.
        assert!(block_on(there.bus.claim(
            OF,
            COMBINING,
            there.owner,
            60_000
        )));
    }

    /// Publishes while another process combines.
    fn offer(here: &SharedCoordinator, id: u128) {
        let led = Led::new(&here.pending);
        block_on(here.publish(&intent(id)));
        drop(led);
    }

    fn committed(n: u64) -> Answer {
        Answer::Committed(Position(n))
    }

    fn position(turn: NextStep) -> Option<u64> {
        match turn {
            NextStep::Settled(Answer::Committed(n)) => Some(n.0),
            NextStep::Settled(Answer::Rejected(error)) => panic!("{error}"),
            NextStep::Combine(_) => None,
        }
    }

    #[test]
    fn an_intent_is_own_here_and_foreign_there_until_it_is_settled() {
        let scene = Scene::new();
        let (here, there) = (process(&scene, 1), process(&scene, 2));
        offer(&here, 7);
        assert_eq!(taken(&here), [(7, Origin::Own)]);
        assert_eq!(taken(&there), [(7, Origin::Foreign)]);
        block_on(there.answer(vec![(TxId(7), committed(4))]));
        assert_eq!(taken(&there), []);
        // The bus may have lost it: who published it keeps it until it knows.
        assert_eq!(taken(&here), [(7, Origin::Own)]);
    }

    /// What storage has refused to write is certainly nowhere only if no other process can have it.
    #[test]
    fn only_what_was_never_offered_can_be_taken_back() {
        let scene = Scene::new();
        let (here, there) = (process(&scene, 1), process(&scene, 2));
        offer(&here, 7);
        block_on(here.publish(&intent(8)));
        assert!(!here.withdraw(TxId(7)), "another process may have it");
        // In another form it is the same.
        block_on(here.publish(&intent(7)));
        assert!(!here.withdraw(TxId(7)), "another process may have it");
        block_on(here.publish(&intent(9)));
        assert!(here.withdraw(TxId(9)));
        let own = taken(&here);
        assert!(
            own.contains(&(7, Origin::Own)) && !own.iter().any(|(id, _)| *id == 9),
            "{own:?}"
        );
        assert!(taken(&there).iter().all(|(id, _)| *id != 9));
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
        offer(&here, 9);
        combine(&there, &[(9, Answer::Rejected(Error::ReadOnly))]);
        assert_eq!(position(block_on(here.turn(TxId(9)))), None);
        assert_eq!(taken(&here), [(9, Origin::Own)]);
        offer(&here, 10);
        combine(&there, &[(10, committed(5))]);
        assert_eq!(position(block_on(here.turn(TxId(10)))), Some(5));
    }

    /// Each used to ask for its own: as many claims and answers in turn as clients.
    #[test]
    fn answers_settle_everybody_who_waits_here() {
        let scene = Scene::new();
        let (here, there) = (process(&scene, 1), process(&scene, 2));
        for id in 1..=4 {
            offer(&here, id);
        }
        assert!(block_on(scene.claim(OF, COMBINING, there.owner, 60_000)));
        let mut first = Box::pin(here.alone(TxId(1), here.token()));
        here.pending.lock().combining = true;
        let mut second = Box::pin(here.turn(TxId(2)));
        let mut third = Box::pin(here.turn(TxId(3)));
        assert!(second.as_mut().now_or_never().is_none());
        assert!(third.as_mut().now_or_never().is_none());
        combine(
            &there,
            &[(1, committed(7)), (2, committed(7)), (4, committed(7))],
        );
        assert_eq!(position(block_on(first.as_mut())), Some(7));
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
        offer(&here, 1);
        offer(&here, 2);
        let refused = Answer::Rejected(Error::ReadOnly);
        combine(&there, &[(2, refused.clone()), (1, committed(3))]);
        // The first is answered, so the next one who gets the turn combines, whoever it is.
        assert_eq!(position(block_on(here.turn(TxId(1)))), Some(3));
        assert_eq!(position(block_on(here.turn(TxId(2)))), None);
        assert_eq!(taken(&here), [(2, Origin::Own)]);
        assert!(!here.pending.lock().has_refused());
        offer(&here, 2);
        combine(&there, &[(2, refused)]);
        let heard = block_on(scene.answers(OF, Mailbox(here.owner), 1));
        assert!(here.hear(OF, TxId(9), heard).1);
        // Who has gone away does not keep others busy.
        here.forget(TxId(2));
        assert!(!here.pending.lock().has_refused());
    }

    #[tokio::test]
    async fn what_a_process_combines_itself_is_never_offered() {
        let scene = Scene::new();
        let (here, there) = (process(&scene, 1), process(&scene, 2));
        here.publish(&intent(1)).await;
        assert_eq!(taken(&there), []);
        // Another one combines: it is offered, and so is what comes as long as somebody waits.
        assert!(scene.claim(OF, COMBINING, there.owner, 60_000).await);
        let mut waits = Box::pin(here.turn(TxId(1)));
        // It lets others publish first.
        for _ in 0..GATHER_TURNS_MAX {
            assert!(waits.as_mut().now_or_never().is_none());
        }
        here.publish(&intent(2)).await;
        let foreign = [(1, Origin::Foreign), (2, Origin::Foreign)];
        assert_eq!(taken(&there), foreign);
        drop(waits);
        here.publish(&intent(3)).await;
        assert_eq!(taken(&there), foreign);
        let answers = vec![(TxId(1), committed(4)), (TxId(3), committed(4))];
        here.answer(answers).await;
        assert_eq!(taken(&there), [(2, Origin::Foreign)]);
    }

    #[test]
    fn one_task_of_a_process_deals_with_the_bus_and_passes_its_turn_on() {
        let scene = Scene::new();
        let here = process(&scene, 1);
        block_on(here.publish(&intent(1)));
        block_on(here.publish(&intent(2)));
        let NextStep::Combine(token) = block_on(here.turn(TxId(1))) else {
            panic!("nobody combines, so the first must")
        };
        let mut waits = Box::pin(here.turn(TxId(2)));
        assert!(waits.as_mut().now_or_never().is_none());
        drop(token);
        assert!(matches!(block_on(waits), NextStep::Combine(_)));
    }
}
