//! An engine that lies in one way: no line may be fast by being wrong, so each lie has to be noticed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

use super::*;
use crate::engine::{Op, Order, Reader, Session};
use crate::records::{Key, Stream};

/// What an engine gets wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    Nothing,
    DropsOneOfALoad,
    GivesAnotherValue,
    FindsNothingAlone,
    SkipsOneOfAScan,
    OneTooFewInAShortScan,
    KeysInReverse,
    ForgetsCommits,
    ForgetsWritesOfAMix,
    LeavesReadsOut,
    DeletesNothing,
}

type Table = BTreeMap<Key, Vec<u8>>;

/// A map in memory. Groups open it anew, so what is in it outlives it, by its folder's name.
struct Liar {
    lie: Lie,
    table: &'static Mutex<Table>,
}

static WORLD: Mutex<BTreeMap<String, &'static Mutex<Table>>> = Mutex::new(BTreeMap::new());

impl Liar {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap()
    }
}

impl Engine for Liar {
    const NAME: &'static str = "liar";
    type Session<'e> = &'e Liar;

    fn version() -> String {
        "1".to_owned()
    }

    fn open(folder: &Path, _setup: Setup) -> Result<Liar> {
        let name = folder.display().to_string();
        let lie = ALL
            .iter()
            .find(|lie| name.starts_with(&format!("{lie:?}/")));
        let mut world = WORLD.lock().unwrap();
        let table = world
            .entry(name)
            .or_insert_with(|| Box::leak(Box::default()));
        Ok(Liar {
            lie: *lie.unwrap(),
            table,
        })
    }

    fn load(&self, records: &mut Stream<impl Iterator<Item = u64>>, _order: Order) -> Result<()> {
        let mut table = self.table();
        while let Some((key, value)) = records.next() {
            table.insert(*key, value.to_vec());
        }
        if self.lie == Lie::DropsOneOfALoad {
            table.pop_last();
        }
        Ok(())
    }

    fn session(&self) -> Result<&Liar> {
        Ok(self)
    }

    fn close(self) -> Result<()> {
        Ok(())
    }
}

impl Session for &Liar {
    type Reader<'s>
        = &'s Liar
    where
        Self: 's;

    fn commit(&mut self, key: &Key, value: &[u8]) -> Result<()> {
        if self.lie != Lie::ForgetsCommits {
            self.table().insert(*key, value.to_vec());
        }
        Ok(())
    }

    fn read<T>(&mut self, work: impl FnOnce(&mut &Liar) -> Result<T>) -> Result<T> {
        work(&mut &**self)
    }

    fn get_alone(&mut self, key: &Key, found: impl FnOnce(&[u8])) -> Result<()> {
        match self.lie {
            Lie::FindsNothingAlone => Ok(()),
            _ => Reader::get(self, key, found),
        }
    }

    fn mix(&mut self, ops: &[Op], mut found: impl FnMut(&[u8])) -> Result<()> {
        for op in ops {
            match op {
                Op::Get(_) if self.lie == Lie::LeavesReadsOut => {}
                Op::Get(key) => Reader::get(self, key, &mut found)?,
                Op::Put(..) if self.lie == Lie::ForgetsWritesOfAMix => {}
                Op::Put(key, value) => drop(self.table().insert(*key, value.clone())),
            }
        }
        Ok(())
    }

    fn delete(&mut self, keys: &[Key]) -> Result<()> {
        if self.lie != Lie::DeletesNothing {
            self.table().retain(|key, _| !keys.contains(key));
        }
        Ok(())
    }
}

impl Reader for &Liar {
    fn get(&mut self, key: &Key, found: impl FnOnce(&[u8])) -> Result<()> {
        let table = self.table();
        match table.get(key) {
            Some(value) if self.lie == Lie::GivesAnotherValue && key[0] == 7 => found(&value[1..]),
            Some(value) => found(value),
            None => {}
        }
        Ok(())
    }

    fn scan(
        &mut self,
        from: &Key,
        limit: usize,
        mut found: impl FnMut(&[u8], &[u8]),
    ) -> Result<()> {
        let limit = match (self.lie, limit) {
            (Lie::OneTooFewInAShortScan, 100) => 99,
            _ => limit,
        };
        for (at, (key, value)) in self.table().range::<Key, _>(from..).take(limit).enumerate() {
            if self.lie != Lie::SkipsOneOfAScan || at != 50 {
                found(key, value);
            }
        }
        Ok(())
    }

    fn keys(&mut self, mut found: impl FnMut(&[u8])) -> Result<()> {
        let table = self.table();
        match self.lie {
            Lie::KeysInReverse => table.keys().rev().for_each(|key| found(key)),
            _ => table.keys().for_each(|key| found(key)),
        }
        Ok(())
    }
}

/// Every lie, with a line that must notice it.
const NOTICED: [(Lie, &str); 10] = [
    (Lie::DropsOneOfALoad, load::RANDOM),
    (Lie::GivesAnotherValue, gets::ONE),
    (Lie::FindsNothingAlone, gets::ALONE),
    (Lie::SkipsOneOfAScan, scans::FULL),
    (Lie::OneTooFewInAShortScan, scans::HUNDRED),
    (Lie::KeysInReverse, keys_only::NAME),
    (Lie::ForgetsCommits, commits::EIGHT),
    (Lie::ForgetsWritesOfAMix, mix::NAME),
    (Lie::LeavesReadsOut, mix::NAME),
    (Lie::DeletesNothing, delete::NAME),
];

const ALL: [Lie; 11] = {
    let mut all = [Lie::Nothing; 11];
    let mut at = 0;
    while at < NOTICED.len() {
        all[at] = NOTICED[at].0;
        at += 1;
    }
    all
};

/// The lines that are wrong with this lie; `Err` where a group ended by itself.
fn wrong(lie: Lie) -> Vec<Result<&'static str>> {
    let mut wrong = Vec::new();
    for (group, name) in crate::lines::GROUPS {
        let folder = match group.needs_load() || group == Group::Load {
            true => format!("{lie:?}/main"),
            false => format!("{lie:?}/{name}"),
        };
        match group.run::<Liar>(group.records(2000), Path::new(&folder)) {
            Err(message) => wrong.push(Err(message)),
            Ok(samples) => wrong.extend(samples.into_iter().filter_map(|sample| {
                ((sample.expected)() != sample.found).then_some(Ok(sample.line))
            })),
        }
    }
    wrong
}

#[test]
fn an_engine_that_tells_the_truth_is_right_in_every_line() {
    assert_eq!(wrong(Lie::Nothing), []);
}

#[test]
fn every_lie_is_noticed() {
    for (lie, line) in NOTICED {
        let wrong = wrong(lie);
        let ended = wrong.iter().any(Result::is_err) && [gets::ONE, load::RANDOM].contains(&line);
        assert!(ended || wrong.contains(&Ok(line)), "{lie:?}: {wrong:?}");
    }
}

#[test]
fn a_line_is_measured_in_the_group_that_it_names() {
    let mut seen = Vec::new();
    for (group, name) in crate::lines::GROUPS {
        let folder = match group.needs_load() || group == Group::Load {
            true => "Nothing/of-all".to_owned(),
            false => format!("Nothing/of-all-{name}"),
        };
        let samples = group
            .run::<Liar>(group.records(1000), Path::new(&folder))
            .unwrap();
        seen.extend(samples.iter().map(|sample| (sample.line, Some(group))));
    }
    let rates = LINES.iter().filter(|line| line.higher_is_better);
    for line in rates {
        assert!(seen.contains(&(line.name, line.group)), "{}", line.name);
    }
    assert_eq!(seen.len(), 13);
}
