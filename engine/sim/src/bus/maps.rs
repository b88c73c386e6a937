//! What stands in the bus, by instance.

use std::collections::BTreeMap;
use std::task::Waker;

use bytes::Bytes;
use eciton_engine::base::{InstanceId, Position, TxId};

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
    intents: BTreeMap<(u64, TxId), Bytes>,
    answers: Vec<(TxId, Bytes)>,
    slots: BTreeMap<Position, Bytes>,
    /// Owner and end of each claim.
    claims: BTreeMap<String, (u128, u64)>,
}

#[derive(Debug, Default)]
pub(super) struct Maps {
    all: Snapshot,
    waiting: Vec<(InstanceId, TxId, Waker)>,
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

    pub(super) fn add_intent(&mut self, of: InstanceId, txid: TxId, bytes: Bytes, age: u64) {
        self.remove_intent(of, txid);
        self.of(of).intents.insert((age, txid), bytes);
    }

    pub(super) fn remove_intent(&mut self, of: InstanceId, txid: TxId) {
        self.of(of).intents.retain(|(_, other), _| *other != txid);
    }

    pub(super) fn intents(
        &mut self,
        of: InstanceId,
        count_max: usize,
        len_max: usize,
    ) -> Vec<Bytes> {
        let mut len = 0;
        let fits = |bytes: &&Bytes| {
            len += bytes.len();
            len <= len_max
        };
        let intents = self.of(of).intents.values().take(count_max);
        intents.take_while(fits).cloned().collect()
    }

    pub(super) fn add_answer(&mut self, of: InstanceId, txid: TxId, bytes: Bytes) {
        let answers = &mut self.of(of).answers;
        answers.retain(|(other, _)| *other != txid);
        if answers.len() >= KEPT_MAX {
            answers.remove(0);
        }
        answers.push((txid, bytes));
    }

    pub(super) fn answer(&mut self, of: InstanceId, txid: TxId) -> Option<Bytes> {
        let answers = &self.of(of).answers;
        let found = answers.iter().find(|(other, _)| *other == txid);
        found.map(|(_, bytes)| bytes.clone())
    }

    /// Wakes the waker once there is an answer.
    pub(super) fn wait(&mut self, of: InstanceId, txid: TxId, waker: &Waker) {
        let is_same = |(other, name, old): &(InstanceId, TxId, Waker)| {
            *other == of && *name == txid && old.will_wake(waker)
        };
        if !self.waiting.iter().any(is_same) {
            self.waiting.push((of, txid, waker.clone()));
        }
    }

    /// Those whose answers have come.
    pub(super) fn take_waiting(&mut self) -> Vec<Waker> {
        if self.waiting.is_empty() {
            return Vec::new();
        }
        let all = &self.all;
        let has_come = |(of, txid, _): &mut (InstanceId, TxId, Waker)| {
            let answers = all.instances.get(of).map(|instance| &instance.answers);
            answers.is_some_and(|answers| answers.iter().any(|(other, _)| other == txid))
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
