//! Whether what is in a database is what was said of it.
//!
//! The rule: every acknowledged transaction is there, a refused one is not, any other is there whole
//! or not at all, what was once seen after an opening stays, and nothing else is there. Since a
//! transaction's work follows from its number, the marks that are there decide all the rest.

use std::collections::{BTreeMap, BTreeSet};

use crate::line::Line;
use crate::plan::{ACCOUNTS, Action, Id, OPENING_BALANCE};
use crate::state::State;

/// What is known of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Its commit was begun: it may be there.
    Open,
    /// Acknowledged, or seen after an opening: it must be there.
    There,
    /// Refused, or missed after an opening: it must not be there.
    Absent,
}

/// Everything that was said in a run.
#[derive(Clone, Debug)]
pub struct History {
    seed: u64,
    fates: BTreeMap<Id, Fate>,
    /// Where acknowledged transactions stand in the log.
    positions: BTreeMap<Id, u64>,
    /// Creations (`true`) and drops of extra stores.
    extras: BTreeMap<Id, bool>,
    /// A worker holds the database open.
    held: bool,
}

impl History {
    /// The history of a run before it begins.
    pub fn new(seed: u64) -> History {
        History {
            seed,
            fates: BTreeMap::new(),
            positions: BTreeMap::new(),
            extras: BTreeMap::new(),
            held: false,
        }
    }

    /// Notes what a worker said; what must not be said at all is returned.
    pub fn hear(&mut self, line: &Line) -> Option<String> {
        match line {
            Line::Begin(id) => {
                // Setting up is tried by each worker until one succeeds.
                let before = self.fates.insert(*id, Fate::Open);
                let again = before.is_some() && *id != Id::SETUP;
                return again.then(|| format!("transaction {id} begins twice"));
            }
            Line::Ok(id, position) => {
                self.fates.insert(*id, Fate::There);
                self.positions.insert(*id, *position);
            }
            Line::No(id, _) => drop(self.fates.insert(*id, Fate::Absent)),
            Line::Extra(id, creates) => drop(self.extras.insert(*id, *creates)),
            Line::Bad(what) => return Some(what.clone()),
            Line::Open => self.held = true,
            Line::End => self.held = false,
            Line::Unknown(..) | Line::Note(_) => {}
        }
        None
    }

    /// How many transactions were acknowledged.
    pub fn acknowledged(&self) -> usize {
        self.positions.len()
    }

    /// Whatever may be there of `written` must be there from now on.
    pub fn must_keep(&mut self, written: &BTreeSet<Id>) {
        for (id, fate) in &mut self.fates {
            if *fate == Fate::Open && written.contains(id) {
                *fate = Fate::There;
            }
        }
    }

    /// This history as far as it binds someone who looked when only `earlier` had been said: what was
    /// acknowledged later may or may not have been there.
    #[must_use]
    pub fn as_of(&self, earlier: &History) -> History {
        let mut then = self.clone();
        then.held &= earlier.held;
        for (id, fate) in &mut then.fates {
            if *fate == Fate::There && earlier.fates.get(id) != Some(&Fate::There) {
                *fate = Fate::Open;
            }
        }
        then
    }

    /// What does not hold in a state that was read beside a worker that stands still.
    pub fn judge_beside(&self, state: &State) -> Vec<String> {
        let mut wrong = state.broken.clone();
        self.marks(state, &mut wrong);
        self.derived(state, &mut wrong);
        if self.held && state.unguarded {
            wrong.push("it could be opened for writing as well".to_owned());
        }
        wrong
    }

    /// What does not hold in a state that was read after an opening; from now on it is what must stay.
    pub fn judge(&mut self, state: &State) -> Vec<String> {
        self.held = false;
        let wrong = self.judge_beside(state);
        let extras = &self.extras;
        let derived = self
            .fates
            .iter_mut()
            .filter(|(id, _)| !extras.contains_key(id));
        for (id, fate) in derived {
            let there = state.marks.contains(id);
            *fate = if there { Fate::There } else { Fate::Absent };
        }
        self.settle_extras(state);
        wrong
    }

    /// The transactions that commit, and whether each is there.
    fn marks(&self, state: &State, wrong: &mut Vec<String>) {
        for (id, fate) in &self.fates {
            let there = state.marks.contains(id);
            match fate {
                _ if self.extras.contains_key(id) => {}
                Fate::There if !there => {
                    let what = Action::of(self.seed, *id);
                    wrong.push(format!("transaction {id} is lost: {what:?}"));
                }
                Fate::Absent if there => wrong.push(format!(
                    "transaction {id} is there, it was refused or missing"
                )),
                _ => {}
            }
        }
        for id in &state.marks {
            let marked = *id == Id::SETUP || Action::of(self.seed, *id).is_marked();
            if !marked || !self.fates.contains_key(id) {
                wrong.push(format!("transaction {id} is there, nobody began it"));
            }
        }
    }

    /// What follows from the marks.
    fn derived(&self, state: &State, wrong: &mut Vec<String>) {
        let mut expected = State {
            marks: state.marks.clone(),
            ..State::default()
        };
        if state.marks.contains(&Id::SETUP) {
            expected.accounts = (0..ACCOUNTS).map(|n| (n, OPENING_BALANCE)).collect();
        }
        for id in &state.marks {
            if *id != Id::SETUP {
                self.apply(*id, &mut expected);
            }
        }
        let mut compare = |what: &str, found: String, expected: String| {
            if found != expected {
                wrong.push(format!("{what} are {found}, expected {expected}"));
            }
        };
        compare("accounts", show(&state.accounts), show(&expected.accounts));
        compare("counters", show(&state.counters), show(&expected.counters));
        compare(
            "registers",
            show(&state.registers),
            show(&expected.registers),
        );
        compare("bulk records", show(&state.bulk), show(&expected.bulk));
        let within = |state: &State| -> BTreeMap<u64, BTreeSet<Id>> {
            let sorted = state.lists.iter();
            sorted
                .map(|(list, all)| (*list, all.iter().copied().collect()))
                .collect()
        };
        compare("lists", show(&within(state)), show(&within(&expected)));
        for (list, all) in &state.lists {
            self.order(*list, all, wrong);
        }
        self.extra_stores(state, wrong);
    }

    fn apply(&self, id: Id, state: &mut State) {
        match Action::of(self.seed, id) {
            Action::Transfer { from, to, amount } => {
                *state.accounts.entry(from).or_default() -= amount;
                *state.accounts.entry(to).or_default() += amount;
            }
            Action::Append { list } => state.lists.entry(list).or_default().push(id),
            Action::Add { parts } => {
                for (counter, amount) in parts {
                    let entry = state.counters.entry(counter).or_default();
                    *entry = (entry.0 + 1, entry.1 + amount);
                }
            }
            Action::Set { parts, .. } => {
                for (register, len) in parts {
                    let place = (id.task(), register);
                    match len {
                        Some(_) => drop(state.registers.insert(place, id)),
                        None => drop(state.registers.remove(&place)),
                    }
                }
            }
            Action::Bulk => drop(state.bulk.insert(id.task(), id)),
            Action::Extra | Action::Audit => {}
        }
    }

    /// A list stands in the order of the log, and so in the order of each task, with nothing twice.
    fn order(&self, list: u64, all: &[Id], wrong: &mut Vec<String>) {
        let distinct: BTreeSet<&Id> = all.iter().collect();
        if distinct.len() != all.len() {
            wrong.push(format!("list {list} has a number twice: {all:?}"));
        }
        let mut newest = 0;
        let mut newest_of: BTreeMap<u64, Id> = BTreeMap::new();
        for id in all {
            if newest_of
                .insert(id.task(), *id)
                .is_some_and(|before| before > *id)
            {
                wrong.push(format!(
                    "list {list} has {id} out of its task's order: {all:?}"
                ));
            }
            let position = self
                .positions
                .get(id)
                .copied()
                .filter(|position| *position > 0);
            if position.is_some_and(|position| position < newest) {
                wrong.push(format!(
                    "list {list} has {id} out of the log's order: {all:?}"
                ));
            }
            newest = newest.max(position.unwrap_or(0));
        }
    }

    /// The extra stores: each task has at most one, and in it is every setting of its time.
    fn extra_stores(&self, state: &State, wrong: &mut Vec<String>) {
        for (created, within) in &state.extras {
            let task = created.task();
            if self.extras.get(created) != Some(&true) {
                wrong.push(format!("extra store {created} is there, nobody created it"));
            }
            if self.fates.get(created) == Some(&Fate::Absent) {
                wrong.push(format!(
                    "extra store {created} is there, it was refused or missing"
                ));
            }
            let dropped = self.ended(*created);
            if dropped.is_some_and(|(_, fate)| fate == Fate::There) {
                wrong.push(format!("extra store {created} is there, it was dropped"));
            }
            let is_setting = |id: &&Id| matches!(Action::of(self.seed, **id), Action::Set { .. });
            let marks = state
                .marks
                .iter()
                .filter(|id| id.task() == task && *id > created);
            let expected: BTreeSet<Id> = marks.filter(is_setting).copied().collect();
            if *within != expected {
                wrong.push(format!(
                    "extra store {created} holds {within:?}, expected {expected:?}"
                ));
            }
        }
        for (id, creates) in &self.extras {
            let gone = !state.extras.contains_key(id);
            let is_there = self.fates.get(id) == Some(&Fate::There);
            if *creates && is_there && gone && self.ended(*id).is_none() {
                wrong.push(format!("extra store {id} is lost"));
            }
        }
    }

    /// The drop of the store that `created` created, if it may have happened.
    fn ended(&self, created: Id) -> Option<(Id, Fate)> {
        let later = self.extras.range(created..).skip(1);
        let mut drops = later
            .filter(|(id, creates)| id.task() == created.task() && !**creates)
            .filter_map(|(id, _)| Some((*id, *self.fates.get(id)?)));
        drops.find(|(_, fate)| *fate != Fate::Absent)
    }

    /// After an opening it is known of each creation and drop whether it happened.
    fn settle_extras(&mut self, state: &State) {
        let open: Vec<(Id, bool)> = self
            .extras
            .iter()
            .filter(|(id, _)| self.fates.get(id) == Some(&Fate::Open))
            .map(|(id, creates)| (*id, *creates))
            .collect();
        for (id, creates) in open {
            let there = state.extras.keys().any(|store| store.task() == id.task());
            // A task has one store at a time: the newest change of it decided.
            let fate = if there == creates {
                Fate::There
            } else {
                Fate::Absent
            };
            self.fates.insert(id, fate);
        }
    }
}

fn show<K: std::fmt::Debug, V: std::fmt::Debug>(map: &BTreeMap<K, V>) -> String {
    let parts = map.iter().map(|(key, value)| format!("{key:?}: {value:?}"));
    parts.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: u64 = 3;

    /// Transactions that append to list 0, of task 1 and of task 2.
    fn appends() -> Vec<Id> {
        let ids = (0..2000).map(|count| Id::new(0, 1 + count % 2, count));
        let list = Action::Append { list: 0 };
        ids.filter(|id| Action::of(SEED, *id) == list)
            .take(4)
            .collect()
    }

    /// All appends are acknowledged but the last, which was begun.
    fn history(ids: &[Id]) -> History {
        let mut history = History::new(SEED);
        for (id, position) in ids.iter().zip(1..) {
            assert_eq!(history.hear(&Line::Begin(*id)), None);
            if position < ids.len() as u64 {
                assert_eq!(history.hear(&Line::Ok(*id, position)), None);
            }
        }
        history
    }

    fn state(marks: &[Id], list: &[Id]) -> State {
        State {
            marks: marks.iter().copied().collect(),
            lists: [(0, list.to_vec())].into(),
            ..State::default()
        }
    }

    /// What is wrong, as words.
    fn judged(history: &mut History, state: &State) -> String {
        history.judge(state).join("; ")
    }

    #[test]
    fn an_open_transaction_may_be_there_once_and_then_must_stay_as_it_is() {
        let ids = appends();
        let (with, without) = (state(&ids, &ids), state(&ids[..3], &ids[..3]));
        for (first, then, word) in [(&with, &without, "is lost"), (&without, &with, "missing")] {
            let mut history = history(&ids);
            assert_eq!(judged(&mut history, first), "");
            assert_eq!(judged(&mut history, first), "");
            assert!(judged(&mut history, then).contains(word));
        }
    }

    #[test]
    fn what_is_lost_torn_doubled_or_disordered_is_noticed() {
        let ids = appends();
        let [a, b, c, _] = ids[..] else {
            panic!("four appends")
        };
        let judge = |marks: &[Id], list: &[Id]| judged(&mut history(&ids), &state(marks, list));
        assert_eq!(judge(&[a, b, c], &[a, b, c]), "");
        assert!(judge(&[a, c], &[a, c]).contains("is lost"));
        assert!(judge(&[a, b, c], &[a, c]).contains("lists are"));
        assert!(judge(&[a, b, c], &[a, b, c, b]).contains("twice"));
        assert!(judge(&[a, b, c], &[b, a, c]).contains("order"));
        let stranger = Id::new(7, 1, 1);
        assert!(judge(&[a, b, c, stranger], &[a, b, c]).contains("nobody began it"));
    }

    #[test]
    fn what_was_refused_must_not_be_there() {
        let ids = appends();
        let mut history = history(&ids);
        history.hear(&Line::No(ids[3], "full".to_owned()));
        let wrong = judged(&mut history, &state(&ids, &ids));
        assert!(wrong.contains("it was refused"), "{wrong}");
    }

    #[test]
    fn who_looks_beside_is_bound_by_what_had_been_said() {
        let ids = appends();
        let earlier = history(&ids[..2]);
        let mut later = history(&ids);
        let seen = state(&ids[..1], &ids[..1]);
        assert_eq!(
            later.as_of(&earlier).judge_beside(&seen),
            Vec::<String>::new()
        );
        assert!(!later.judge_beside(&seen).is_empty());
        later.must_keep(&ids.iter().copied().collect());
        assert!(judged(&mut later, &state(&ids[..3], &ids[..3])).contains("is lost"));
    }
}
