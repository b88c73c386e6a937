//! The names in all directories: those that processes see, those on the medium, and the changes
//! between them.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use crate::dice::Dice;

/// The number of a file or directory; never given twice.
pub type Ino = u64;

/// Names of one directory.
type Entries = BTreeMap<OsString, Ino>;

/// One name that a change sets or removes.
#[derive(Clone, Debug)]
struct Part {
    dir: Ino,
    name: OsString,
    ino: Option<Ino>,
}

/// A change that has not reached the medium. Its parts, the two of a rename, get there together.
#[derive(Clone, Debug)]
struct Change {
    number: u64,
    parts: Vec<Part>,
}

/// All names.
#[derive(Debug, Default)]
pub struct Names {
    live: BTreeMap<Ino, Entries>,
    durable: BTreeMap<Ino, Entries>,
    pending: Vec<Change>,
    changes: u64,
    /// The newest change of each name on the medium: an older one must not undo it.
    reached: BTreeMap<(Ino, OsString), u64>,
}

impl Names {
    /// Adds an empty directory; its own name is another change.
    pub fn add_dir(&mut self, dir: Ino) {
        self.live.insert(dir, Entries::new());
        self.durable.insert(dir, Entries::new());
    }

    /// Whether this is a directory.
    pub fn is_dir(&self, ino: Ino) -> bool {
        self.live.contains_key(&ino)
    }

    /// What stands under a name.
    pub fn find(&self, dir: Ino, name: &OsStr) -> Option<Ino> {
        self.live.get(&dir)?.get(name).copied()
    }

    /// The names in a directory.
    pub fn list(&self, dir: Ino) -> Vec<(OsString, Ino)> {
        let entries = self.live.get(&dir).into_iter().flatten();
        entries.map(|(name, ino)| (name.clone(), *ino)).collect()
    }

    /// Sets or removes one name.
    pub fn set(&mut self, dir: Ino, name: &OsStr, ino: Option<Ino>, dice: &Dice) {
        let name = name.to_owned();
        self.change(vec![Part { dir, name, ino }], dice);
    }

    /// Moves a name; whoever had the new one loses it.
    pub fn rename(&mut self, from: (Ino, &OsStr), to: (Ino, &OsStr), ino: Ino, dice: &Dice) {
        let part = |(dir, name): (Ino, &OsStr), ino| Part {
            dir,
            name: name.to_owned(),
            ino,
        };
        self.change(vec![part(from, None), part(to, Some(ino))], dice);
    }

    fn change(&mut self, parts: Vec<Part>, dice: &Dice) {
        self.changes += 1;
        let number = self.changes;
        for part in &parts {
            set(&mut self.live, part);
        }
        self.pending.push(Change { number, parts });
        // The system may write any time, in any order.
        if dice.once_in(16) {
            let chosen = dice.below(self.pending.len() as u64);
            let change = self.pending.remove(usize::try_from(chosen).unwrap_or(0));
            self.reach(change);
        }
    }

    /// Puts a change on the medium.
    fn reach(&mut self, change: Change) {
        for part in change.parts {
            let newest = self.reached.entry((part.dir, part.name.clone()));
            let newest = newest.or_default();
            if *newest < change.number {
                *newest = change.number;
                set(&mut self.durable, &part);
            }
        }
    }

    /// Makes the names of one directory durable.
    pub fn sync(&mut self, dir: Ino) {
        let touches = |change: &Change| change.parts.iter().any(|part| part.dir == dir);
        let (now, later) = std::mem::take(&mut self.pending)
            .into_iter()
            .partition(touches);
        self.pending = later;
        for change in Vec::from_iter::<Vec<Change>>(now) {
            self.reach(change);
        }
    }

    /// What a power loss leaves: each change by itself is kept or lost.
    pub fn power_loss(&mut self, dice: &Dice) {
        // Mostly coins; now and then everything or nothing got there in time.
        let kept_of_four = [0, 2, 2, 2, 4][usize::try_from(dice.below(5)).unwrap_or(0)];
        for change in std::mem::take(&mut self.pending) {
            if dice.below(4) < kept_of_four {
                self.reach(change);
            }
        }
        self.reached.clear();
        self.live = self.durable.clone();
    }

    /// Whether a file has a name or may get one by a power loss.
    pub fn is_named(&self, ino: Ino) -> bool {
        let dirs = self.live.values().chain(self.durable.values());
        let changes = self.pending.iter().flat_map(|change| &change.parts);
        dirs.flat_map(Entries::values).any(|found| *found == ino)
            || changes.into_iter().any(|part| part.ino == Some(ino))
    }

    /// How many names a file has.
    pub fn links(&self, ino: Ino) -> usize {
        let all = self.live.values().flat_map(Entries::values);
        all.filter(|found| **found == ino).count()
    }

    /// Forgets directories that nothing names.
    pub fn retain_dirs(&mut self, keep: impl Fn(Ino) -> bool) {
        self.live.retain(|dir, _| keep(*dir));
        self.durable.retain(|dir, _| keep(*dir));
    }
}

fn set(dirs: &mut BTreeMap<Ino, Entries>, part: &Part) {
    let Some(entries) = dirs.get_mut(&part.dir) else {
        return;
    };
    match part.ino {
        Some(ino) => drop(entries.insert(part.name.clone(), ino)),
        None => drop(entries.remove(&part.name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of the names of directory 1 and 2 remain, in each of many power losses.
    fn losses(make: impl Fn(&mut Names, &Dice)) -> Vec<String> {
        let after = |seed| {
            let dice = Dice::new(seed);
            let mut names = Names::default();
            names.add_dir(1);
            names.add_dir(2);
            make(&mut names, &dice);
            names.power_loss(&dice);
            let all = [1, 2].into_iter().flat_map(|dir| names.list(dir));
            let text = all.map(|(name, ino)| format!("{}{ino} ", name.to_string_lossy()));
            text.collect::<String>()
        };
        let mut all: Vec<String> = (0..400).map(after).collect();
        all.sort();
        all.dedup();
        all
    }

    #[test]
    fn names_are_kept_or_lost_each_by_itself() {
        let seen = losses(|names, dice| {
            names.set(1, OsStr::new("a"), Some(7), dice);
            names.set(1, OsStr::new("b"), Some(8), dice);
        });
        assert_eq!(seen, ["", "a7 ", "a7 b8 ", "b8 "]);
    }

    #[test]
    fn a_synced_directory_stays() {
        let seen = losses(|names, dice| {
            names.set(1, OsStr::new("a"), Some(7), dice);
            names.set(2, OsStr::new("b"), Some(8), dice);
            names.sync(1);
            names.set(1, OsStr::new("a"), None, dice);
        });
        assert_eq!(seen, ["", "a7 ", "a7 b8 ", "b8 "]);
    }

    #[test]
    fn a_rename_is_whole() {
        let seen = losses(|names, dice| {
            names.set(1, OsStr::new("tmp"), Some(8), dice);
            names.set(2, OsStr::new("it"), Some(7), dice);
            names.sync(1);
            names.sync(2);
            names.rename((1, OsStr::new("tmp")), (2, OsStr::new("it")), 8, dice);
        });
        assert_eq!(seen, ["it8 ", "tmp8 it7 "]);
    }

    #[test]
    fn an_older_change_does_not_come_after_a_newer_one() {
        let seen = losses(|names, dice| {
            names.set(1, OsStr::new("a"), Some(7), dice);
            names.rename((1, OsStr::new("a")), (2, OsStr::new("b")), 7, dice);
            names.sync(2);
        });
        assert_eq!(seen, ["b7 "]);
    }
}
