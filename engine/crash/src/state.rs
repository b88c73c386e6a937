//! What a database holds, as the checker reads it and the judge compares it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use eciton_engine::{Db, Record, Result, ScanRange, Snapshot, Store};

use crate::plan::{BULK_RECORDS, Id, writer_of};
use crate::stores::{self, numbers};

/// Everything in the database of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Every transaction that has committed.
    pub marks: BTreeSet<Id>,
    /// Account to balance.
    pub accounts: BTreeMap<u64, i64>,
    /// List to the numbers in it, in their order.
    pub lists: BTreeMap<u64, Vec<Id>>,
    /// Counter to rows and sum.
    pub counters: BTreeMap<u64, (i64, i64)>,
    /// Task and register to who wrote its value.
    pub registers: BTreeMap<(u64, u64), Id>,
    /// Task to who wrote its bulk records.
    pub bulk: BTreeMap<u64, Id>,
    /// The extra stores, by who created them, with the numbers in them.
    pub extras: BTreeMap<Id, BTreeSet<Id>>,
    /// What is wrong in itself: torn values, broken objects.
    pub broken: Vec<String>,
    /// It could be opened for writing although someone else was thought to write.
    pub unguarded: bool,
}

impl State {
    /// Reads all of a database.
    ///
    /// # Errors
    /// What the engine says of damage or of the storage.
    pub async fn read(db: &Db) -> Result<State> {
        let mut state = State::default();
        let snapshot = db.snapshot();
        for store in db.stores().await? {
            state.read_store(&snapshot, &store).await?;
        }
        Ok(state)
    }

    async fn read_store(&mut self, snapshot: &Snapshot, store: &Store) -> Result<()> {
        let mut bulk: BTreeMap<u64, BTreeMap<Option<Id>, u64>> = BTreeMap::new();
        if let Some(id) = stores::extra_id(store.name()) {
            self.extras.entry(id).or_default();
        }
        let mut scan = snapshot.scan(store, &ScanRange::all());
        while let Some(record) = scan.next().await? {
            if store.name() == "bulk" {
                let numbers = numbers(&record.key)?;
                let (task, index) = (numbers[0], numbers[1]);
                let writer = writer_of(&record.value, index);
                *bulk.entry(task).or_default().entry(writer).or_default() += 1;
            } else {
                self.read_record(store.name(), &record)?;
            }
        }
        for (task, writers) in bulk {
            match writers.into_iter().collect::<Vec<_>>().as_slice() {
                [(Some(id), BULK_RECORDS)] => drop(self.bulk.insert(task, *id)),
                mixed => self.broken.push(format!(
                    "the bulk records of task {task} are of {mixed:?}, expected {BULK_RECORDS} of one"
                )),
            }
        }
        Ok(())
    }

    fn read_record(&mut self, store: &str, record: &Record) -> Result<()> {
        let numbers = numbers(&record.key)?;
        let first = numbers.first().copied().unwrap_or_default();
        match store {
            "marks" => drop(self.marks.insert(Id(first))),
            "accounts" => {
                let balance = stores::balance(&record.value)?;
                self.accounts.insert(first, balance);
            }
            "lists" => drop(self.lists.insert(first, stores::list(&record.value)?)),
            "counters" => {
                let counted = stores::counted(&record.key, &record.value)?;
                self.counters.insert(first, counted);
            }
            "registers" => {
                let register = numbers.get(1).copied().unwrap_or_default();
                match writer_of(&record.value, register) {
                    Some(id) => drop(self.registers.insert((first, register), id)),
                    None => self.broken.push(format!(
                        "register {first}/{register} holds no value of any transaction"
                    )),
                }
            }
            extra => match stores::extra_id(extra) {
                Some(id) => drop(self.extras.entry(id).or_default().insert(Id(first))),
                None => self
                    .broken
                    .push(format!("a store `{extra}` that nobody creates")),
            },
        }
        Ok(())
    }

    /// The state as lines, for a pipe.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let mut line = |words: &[&str], numbers: &mut dyn Iterator<Item = i128>| {
            text.push_str(&words.join(" "));
            for number in numbers {
                // Writing to a string never fails.
                write!(text, " {number}").unwrap_or_default();
            }
            text.push('\n');
        };
        let ids = |ids: &BTreeSet<Id>| -> Vec<i128> { ids.iter().map(|id| id.0.into()).collect() };
        line(&["marks"], &mut ids(&self.marks).into_iter());
        for (account, balance) in &self.accounts {
            line(
                &["account"],
                &mut [i128::from(*account), i128::from(*balance)].into_iter(),
            );
        }
        for (list, all) in &self.lists {
            let head = std::iter::once(i128::from(*list));
            line(
                &["list"],
                &mut head.chain(all.iter().map(|id| i128::from(id.0))),
            );
        }
        for (counter, (rows, sum)) in &self.counters {
            let numbers = [i128::from(*counter), i128::from(*rows), i128::from(*sum)];
            line(&["counter"], &mut numbers.into_iter());
        }
        for ((task, register), id) in &self.registers {
            let numbers = [*task, *register, id.0].map(i128::from);
            line(&["register"], &mut numbers.into_iter());
        }
        for (task, id) in &self.bulk {
            line(&["bulk"], &mut [*task, id.0].map(i128::from).into_iter());
        }
        for (id, within) in &self.extras {
            let head = std::iter::once(i128::from(id.0));
            line(&["extra"], &mut head.chain(ids(within)));
        }
        for what in &self.broken {
            line(
                &["broken", &what.replace('\n', " ")],
                &mut std::iter::empty(),
            );
        }
        if self.unguarded {
            line(&["unguarded"], &mut std::iter::empty());
        }
        line(&["end"], &mut std::iter::empty());
        text
    }

    /// Reads what [`State::to_text`] wrote; `None` where it is not whole.
    pub fn parse(text: &str) -> Option<State> {
        let mut state = State::default();
        for line in text.lines() {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            match word {
                "end" => return Some(state),
                "unguarded" => state.unguarded = true,
                "broken" => state.broken.push(rest.to_owned()),
                word => {
                    let numbers = rest.split_whitespace().map(|word| word.parse().ok());
                    state.parse_numbers(word, &numbers.collect::<Option<Vec<i128>>>()?)?;
                }
            }
        }
        None
    }

    fn parse_numbers(&mut self, word: &str, numbers: &[i128]) -> Option<()> {
        let number = |index: usize| u64::try_from(*numbers.get(index)?).ok();
        let signed = |index: usize| i64::try_from(*numbers.get(index)?).ok();
        let ids = |from: usize| {
            let ids = numbers.iter().skip(from);
            ids.map(|id| u64::try_from(*id).ok().map(Id))
                .collect::<Option<Vec<Id>>>()
        };
        match word {
            "marks" => self.marks = ids(0)?.into_iter().collect(),
            "account" => drop(self.accounts.insert(number(0)?, signed(1)?)),
            "list" => drop(self.lists.insert(number(0)?, ids(1)?)),
            "counter" => drop(self.counters.insert(number(0)?, (signed(1)?, signed(2)?))),
            "register" => {
                let place = (number(0)?, number(1)?);
                self.registers.insert(place, Id(number(2)?));
            }
            "bulk" => drop(self.bulk.insert(number(0)?, Id(number(1)?))),
            "extra" => {
                let within = ids(1)?.into_iter().collect();
                self.extras.insert(Id(number(0)?), within);
            }
            _ => return None,
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_leads_back() {
        let state = State {
            marks: [Id(0), Id(7)].into(),
            accounts: [(1, -5), (2, 9)].into(),
            lists: [(0, vec![Id(7), Id(3)]), (1, vec![])].into(),
            counters: [(4, (2, -1))].into(),
            registers: [((1, 2), Id(7))].into(),
            bulk: [(3, Id(8))].into(),
            extras: [(Id(5), [Id(6)].into()), (Id(9), BTreeSet::new())].into(),
            broken: vec!["x y".to_owned()],
            unguarded: true,
        };
        let text = state.to_text();
        assert_eq!(State::parse(&text), Some(state));
        assert_eq!(
            State::parse(&text[..text.len() - 4]),
            None,
            "its end is missing"
        );
    }
}
