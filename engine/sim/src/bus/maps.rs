//! What stands in the bus, by instance.

use std::collections::BTreeMap;
use std::task::Waker;

use bytes::Bytes;
use eciton_engine::base::{InstanceId, Position, TxId};
use eciton_engine::coord::{Mailbox, OfferId, Offered};

/// Answers and slots that are kept an instance; the oldest go first.
const KEPT_MAX: usize = 256;

/// Everything but those who wait.
#[derive(Clone, Debug, Default)]
pub(super) struct Snapshot {
    instances: BTreeMap<InstanceId, Instance>,
}

#[derive(Clone, Debug, Default)]
struct Instance {
    /// By age, then by name.
    offers: BTreeMap<(u64, OfferId), Offered>,
    answers: Vec<(Mailbox, TxId, Bytes)>,
    slots: BTreeMap<Position, Bytes>,
    /// Owner and end of each claim.
    claims: BTreeMap<String, (u128, u64)>,
}

#[derive(Debug, Default)]
pub(super) struct Maps {
    all: Snapshot,
    waiting: Vec<(InstanceId, Mailbox, Waker)>,
}

impl Maps {
    pub(super) fn snapshot(&self) -> Snapshot {
        self.all.clone()
    }

    pub(super) fn restore(&mut self, snapshot: Snapshot) {
        self.all = snapshot;
    }

    fn of(&mut self, of: InstanceId) -> &mut Instance {
        self.all.instances.entry(of).or_default()
    }

    pub(super) fn add_offer(&mut self, of: InstanceId, offered: Offered, age: u64) {
        self.remove_offer(of, offered.id);
        self.of(of).offers.insert((age, offered.id), offered);
    }

    pub(super) fn remove_offer(&mut self, of: InstanceId, id: OfferId) {
        self.of(of).offers.retain(|(_, other), _| *other != id);
    }

    pub(super) fn offers(
        &mut self,
        of: InstanceId,
        but: Mailbox,
        count_max: usize,
        len_max: usize,
    ) -> Vec<Offered> {
        let mut len = 0;
        let fits = |offered: &&Offered| {
            len += offered.intents.len();
            len <= len_max
        };
        let all = self.of(of).offers.values();
        let others = all.filter(|offered| offered.by != but).take(count_max);
        others.take_while(fits).cloned().collect()
    }

    pub(super) fn add_answer(&mut self, of: InstanceId, to: Mailbox, txid: TxId, bytes: Bytes) {
        let answers = &mut self.of(of).answers;
        if answers.len() >= KEPT_MAX {
            answers.remove(0);
        }
        answers.push((to, txid, bytes));
    }

    /// Takes what is in a mailbox.
    pub(super) fn take_answers(&mut self, of: InstanceId, mailbox: Mailbox) -> Vec<(TxId, Bytes)> {
        let answers = &mut self.of(of).answers;
        let taken = answers.extract_if(.., |(to, _, _)| *to == mailbox);
        taken.map(|(_, txid, bytes)| (txid, bytes)).collect()
    }

    /// Wakes the waker once there is anything in the mailbox.
    pub(super) fn wait(&mut self, of: InstanceId, mailbox: Mailbox, waker: &Waker) {
        let is_same = |(other, name, old): &(InstanceId, Mailbox, Waker)| {
            *other == of && *name == mailbox && old.will_wake(waker)
        };
        if !self.waiting.iter().any(is_same) {
            self.waiting.push((of, mailbox, waker.clone()));
        }
    }

    /// Those whose answers have come.
    pub(super) fn take_waiting(&mut self) -> Vec<Waker> {
        if self.waiting.is_empty() {
            return Vec::new();
        }
        let all = &self.all;
        let has_come = |(of, mailbox, _): &mut (InstanceId, Mailbox, Waker)| {
            let answers = all.instances.get(of).map(|instance| &instance.answers);
            answers.is_some_and(|answers| answers.iter().any(|(to, _, _)| to == mailbox))
        };
        let woken = self.waiting.extract_if(.., has_come);
        woken.map(|(_, _, waker)| waker).collect()
    }

    pub(super) fn add_slot(&mut self, of: InstanceId, n: Position, bytes: Bytes) {
        let slots = &mut self.of(of).slots;
        if slots.len() >= KEPT_MAX {
            slots.pop_first();
        }
        slots.insert(n, bytes);
    }

    pub(super) fn slot(&mut self, of: InstanceId, n: Position) -> Option<Bytes> {
        self.of(of).slots.get(&n).cloned()
    }

    /// Takes or prolongs a claim.
    pub(super) fn claim(
        &mut self,
        of: InstanceId,
        name: &str,
        owner: u128,
        now: u64,
        until: u64,
    ) -> bool {
        let claims = &mut self.of(of).claims;
        let is_free = claims
            .get(name)
            .is_none_or(|(holder, end)| *holder == owner || *end <= now);
        if is_free {
            claims.insert(name.to_owned(), (owner, until));
        }
        is_free
    }

    pub(super) fn release(&mut self, of: InstanceId, name: &str, owner: u128) {
        let claims = &mut self.of(of).claims;
        if claims.get(name).is_some_and(|(holder, _)| *holder == owner) {
            claims.remove(name);
        }
    }
}
