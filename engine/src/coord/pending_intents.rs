//! What a process has published and not seen settled, who waits for it, and what of it lies on the bus.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use tokio::sync::oneshot;

use super::bus::{Answered, Mailbox, OfferId};
use super::wire::{Heard, encode_answer};
use super::{Answer, Intent, NextStep};
use crate::base::{InstanceId, Mutant, Position, Rare, TxId};

/// Intents in one offer at most.
const OFFER_INTENTS_MAX: usize = 1024;
/// Bytes of writes in one offer at most, unless one intent has more.
const OFFER_WRITES_LEN_MAX: usize = 256 * 1024;

/// The books of one process, kept under one lock.
#[derive(Default)]
pub(super) struct PendingIntents {
    /// What this process has published and not seen settled, in order.
    mine: BTreeMap<u64, Arc<Intent>>,
    places: HashMap<TxId, u64>,
    place_next: u64,
    /// Submitters that wait for their turn, in the order of their intents.
    waiting: BTreeMap<u64, (TxId, oneshot::Sender<NextStep>)>,
    /// Answers that came before their submitter asked.
    settled: HashMap<TxId, Answer>,
    /// Its own that another process says it refused, which is no more than a reason to look oneself.
    refused: HashSet<TxId>,
    /// In which offer each of its own lies on the bus.
    offered: HashMap<TxId, OfferId>,
    /// Its own that were ever offered: another process may have them.
    shown: HashSet<TxId>,
    /// How many of each offer are open.
    offers: HashMap<OfferId, usize>,
    /// Its own offers of which nothing is open any more, still on the bus as far as is known.
    spent: Vec<OfferId>,
    /// What was taken last from the bus: who published it, in which offer.
    taken: Vec<(Mailbox, OfferId, Vec<TxId>)>,
    /// Another process combines, and a task of this one waits for its answers: what is published is offered.
    pub(super) is_led: bool,
    /// A task is about to offer whatever is open.
    pub(super) is_offering: bool,
    /// A task of this process has the turn.
    pub(super) combining: bool,
}

impl PendingIntents {
    /// Intents that are open.
    pub(super) fn open_len(&self) -> usize {
        self.mine.len()
    }

    /// Whether anything of this process is said to be refused.
    pub(super) fn has_refused(&self) -> bool {
        !self.refused.is_empty()
    }

    /// Keeps an intent until it is settled, in place of an earlier form of it; whether others should see it.
    pub(super) fn publish(&mut self, intent: &Arc<Intent>) -> bool {
        let txid = intent.txid;
        let place = match self.places.get(&txid) {
            Some(place) => *place,
            None => {
                let place = self.place_next;
                self.place_next += 1;
                self.places.insert(txid, place);
                place
            }
        };
        self.mine.insert(place, Arc::clone(intent));
        assert!(
            self.mine.len() <= self.places.len(),
            "{} intents are open at {} places",
            self.mine.len(),
            self.places.len()
        );
        // What was offered is offered again: others go by what they see.
        let was_offered = self.close(txid, true);
        assert!(
            !was_offered || self.shown.contains(&txid),
            "{txid} was on the bus and was never shown"
        );
        if was_offered {
            Rare::OfferedAgain.seen();
        }
        self.is_led || was_offered
    }

    /// Forgets `txid` unless it was ever offered; `false` if it was.
    pub(super) fn withdraw(&mut self, txid: TxId) -> bool {
        if self.shown.contains(&txid) {
            Rare::WithdrawnTooLate.seen();
            return false;
        }
        assert!(
            !self.offered.contains_key(&txid),
            "{txid} is on the bus and was never shown"
        );
        Rare::Withdrawn.seen();
        self.forget(txid);
        true
    }

    pub(super) fn forget(&mut self, txid: TxId) {
        self.shown.remove(&txid);
        if let Some(place) = self.places.remove(&txid) {
            self.mine.remove(&place);
            self.waiting.remove(&place);
        }
        self.settled.remove(&txid);
        self.refused.remove(&txid);
        self.close(txid, true);
        assert!(
            self.offered.len() <= self.mine.len(),
            "{} intents are on the bus, {} are open",
            self.offered.len(),
            self.mine.len()
        );
        assert!(
            self.settled.len() + self.mine.len() <= self.places.len(),
            "{} intents are settled and {} open at {} places",
            self.settled.len(),
            self.mine.len(),
            self.places.len()
        );
    }

    /// Tells whoever published `txid` what became of it, or keeps it until it asks. Nothing for what is
    /// settled already or was never its own.
    fn settle(&mut self, txid: TxId, answer: Answer, by_itself: bool) {
        let Some(place) = self.places.get(&txid).copied() else {
            return;
        };
        if self.mine.remove(&place).is_none() {
            return;
        }
        self.refused.remove(&txid);
        self.close(txid, by_itself);
        assert!(
            !self.settled.contains_key(&txid),
            "{txid} was open and has an answer"
        );
        match self.waiting.remove(&place) {
            // A submitter that has gone away does not want to know.
            Some((_, waiting)) => drop(waiting.send(NextStep::Settled(answer))),
            None => drop(self.settled.insert(txid, answer)),
        }
    }

    /// One intent of an offer is open no more; whether it was in any. Another process takes away what it has
    /// settled, if that is a whole offer.
    fn close(&mut self, txid: TxId, by_itself: bool) -> bool {
        let Some(offer) = self.offered.remove(&txid) else {
            return false;
        };
        assert!(
            self.offers.contains_key(&offer),
            "{txid} is in offer {:032x}, of which nothing is open",
            offer.0
        );
        if let Some(open) = self.offers.get_mut(&offer) {
            assert!(*open > 0, "offer {:032x}: {txid} is one of none", offer.0);
            *open -= 1;
            if *open == 0 {
                self.offers.remove(&offer);
                self.spent.extend(by_itself.then_some(offer));
            }
        }
        true
    }

    /// The answer for who asks for it, if there is one.
    pub(super) fn take_settled(&mut self, txid: TxId) -> Option<Answer> {
        self.settled.remove(&txid)
    }

    /// What to wait for until it is this transaction's turn.
    pub(super) fn wait(&mut self, txid: TxId) -> oneshot::Receiver<NextStep> {
        let (sender, receiver) = oneshot::channel();
        let place = self.places.get(&txid).copied().unwrap_or(u64::MAX);
        self.waiting.insert(place, (txid, sender));
        receiver
    }

    /// Whoever has waited longest, who has the turn from now on.
    pub(super) fn next(&mut self) -> Option<oneshot::Sender<NextStep>> {
        assert!(self.combining, "nobody of this process has the turn");
        let next = self.waiting.pop_first();
        self.combining = next.is_some();
        next.map(|(_, (_, next))| next)
    }

    /// What another process says.
    pub(super) fn hear(&mut self, txid: TxId, heard: Heard) {
        let place = self.places.get(&txid);
        let is_open = place.is_some_and(|place| self.mine.contains_key(place));
        match heard {
            Heard::Committed(n) => self.settle(txid, Answer::Committed(n), false),
            Heard::Rejected if is_open => {
                Rare::RefusalHeard.seen();
                self.refused.insert(txid);
            }
            Heard::Rejected => {}
        }
    }

    /// Whatever is open, not on the bus, and read a later slot than `after`, in offers named by `name`: from now on
    /// they count as offered.
    pub(super) fn offer(
        &mut self,
        after: Position,
        mut name: impl FnMut() -> OfferId,
    ) -> Vec<(OfferId, Vec<Arc<Intent>>)> {
        let is_new = |intent: &&Arc<Intent>| {
            let is_proof = intent.read_at > after || Mutant::OfferUnproved.on();
            is_proof && !self.offered.contains_key(&intent.txid)
        };
        let mut offers: Vec<(OfferId, Vec<Arc<Intent>>)> = Vec::new();
        let mut len = usize::MAX;
        for intent in self.mine.values().filter(is_new) {
            len = len.saturating_add(intent.len);
            match offers.last_mut() {
                Some((_, offer))
                    if offer.len() < OFFER_INTENTS_MAX && len <= OFFER_WRITES_LEN_MAX =>
                {
                    offer.push(Arc::clone(intent));
                }
                _ => {
                    len = intent.len;
                    offers.push((name(), vec![Arc::clone(intent)]));
                }
            }
        }
        for (id, offer) in &offers {
            assert!(
                !offer.is_empty() && offer.len() <= OFFER_INTENTS_MAX,
                "offer {:032x} of {} intents",
                id.0,
                offer.len()
            );
            let before = self.offers.insert(*id, offer.len());
            assert_eq!(before, None, "two offers are called {:032x}", id.0);
            self.offered
                .extend(offer.iter().map(|intent| (intent.txid, *id)));
            self.shown.extend(offer.iter().map(|intent| intent.txid));
        }
        assert!(
            self.offered.len() <= self.mine.len(),
            "{} intents are on the bus, {} are open",
            self.offered.len(),
            self.mine.len()
        );
        offers
    }

    /// Its own intents and, after them, those that others offer, as many as `fits` says.
    pub(super) fn take(
        &mut self,
        offered: Vec<(Mailbox, OfferId, Vec<Intent>)>,
        mut fits: impl FnMut(usize, &Intent) -> bool,
    ) -> Vec<Arc<Intent>> {
        self.taken.clear();
        let mut taken: Vec<Arc<Intent>> = Vec::new();
        for intent in self.mine.values() {
            if !fits(taken.len(), intent) {
                return taken;
            }
            self.refused.remove(&intent.txid);
            taken.push(Arc::clone(intent));
        }
        assert_eq!(
            taken.len(),
            self.mine.len(),
            "its own come before those of others"
        );
        let mut seen: HashSet<TxId> = taken.iter().map(|intent| intent.txid).collect();
        assert_eq!(seen.len(), taken.len(), "each transaction is open once");
        for (by, id, intents) in offered {
            let txids = intents.iter().map(|intent| intent.txid).collect();
            self.taken.push((by, id, txids));
            for intent in intents {
                // Published by this process, on a bus that does not know: as a foreign one it might be refused
                // for good although others can still commit it.
                if self.places.contains_key(&intent.txid) || !seen.insert(intent.txid) {
                    Rare::OwnIntentCameBack.seen();
                    continue;
                }
                if !fits(taken.len(), &intent) {
                    return taken;
                }
                taken.push(Arc::new(intent));
            }
        }
        taken
    }

    /// What became of intents: tells who waits here. Returns the offers that are settled with that, and what is
    /// to be told elsewhere.
    pub(super) fn answer(
        &mut self,
        of: InstanceId,
        answers: Vec<(TxId, Answer)>,
    ) -> (Vec<OfferId>, Vec<Answered>) {
        let mut senders: HashMap<TxId, Mailbox> = HashMap::new();
        for (by, _, txids) in &self.taken {
            senders.extend(txids.iter().map(|txid| (*txid, *by)));
        }
        let mut told = Vec::with_capacity(senders.len());
        let mut answered = HashSet::with_capacity(senders.len());
        for (txid, answer) in answers {
            let heard = match &answer {
                Answer::Committed(n) => Heard::Committed(*n),
                Answer::Rejected(_) => Heard::Rejected,
            };
            if let Some(to) = senders.get(&txid).copied() {
                answered.insert(txid);
                let answer = encode_answer(of, txid, heard);
                told.push(Answered { to, txid, answer });
            }
            self.settle(txid, answer, true);
        }
        let mut settled = std::mem::take(&mut self.spent);
        for (_, id, txids) in std::mem::take(&mut self.taken) {
            if !txids.is_empty() && txids.iter().all(|txid| answered.contains(txid)) {
                settled.push(id);
            }
        }
        assert!(
            answered.len() <= told.len(),
            "{} intents of others are settled, {} answers are told",
            answered.len(),
            told.len()
        );
        assert!(
            self.spent.is_empty(),
            "{} offers are spent",
            self.spent.len()
        );
        (settled, told)
    }
}
