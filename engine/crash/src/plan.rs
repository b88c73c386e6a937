//! What a transaction does: a function of the seed and the transaction's number, so that the worker
//! that runs it and the judge that looks for it afterwards need not tell each other.

use std::fmt;

use crate::dice::Dice;

/// Tasks that write at the same time, at most.
pub const TASKS_MAX: u64 = 8;
/// Accounts between which transfers move money.
pub const ACCOUNTS: u64 = 12;
/// What each account has in the beginning.
pub const OPENING_BALANCE: i64 = 1000;
/// Lists to which transactions append their numbers.
pub const LISTS: u64 = 6;
/// Counters into which transactions merge.
pub const COUNTERS: u64 = 5;
/// Registers that each task has for itself.
pub const REGISTERS: u64 = 10;
/// Records of a bulk transaction, and bytes of each: together more than fits in a slot.
pub const BULK_RECORDS: u64 = 560;
/// See [`BULK_RECORDS`].
pub const BULK_VALUE_LEN: usize = 8 * 1024;

/// The number of a transaction; those of one task ascend, from round to round too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(pub u64);

impl Id {
    /// The transaction that fills the accounts, before all others.
    pub const SETUP: Id = Id(0);

    /// The number of a transaction.
    pub fn new(round: u64, task: u64, count: u64) -> Id {
        assert!(task < TASKS_MAX, "task {task} of at most {TASKS_MAX}");
        Id((round + 1) << 32 | task << 24 | count)
    }

    /// The task that runs it.
    pub fn task(self) -> u64 {
        self.0 >> 24 & (TASKS_MAX - 1)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a transaction does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Moves money: reads and writes two accounts.
    Transfer {
        /// The account that pays.
        from: u64,
        /// Another one.
        to: u64,
        /// How much.
        amount: i64,
    },
    /// Appends its number to a list.
    Append {
        /// The list.
        list: u64,
    },
    /// Merges into counters.
    Add {
        /// Counter and summand.
        parts: Vec<(u64, i64)>,
    },
    /// Sets or deletes registers of its task, and leaves its number in the task's extra store.
    Set {
        /// Register, and the length of its new value; `None` deletes it.
        parts: Vec<(u64, Option<usize>)>,
        /// Without validation.
        blind: bool,
    },
    /// Replaces all bulk records of its task: too much for a slot, so it becomes a run.
    Bulk,
    /// Creates the task's extra store, or drops it if it is there.
    Extra,
    /// Looks at all accounts and compares their total; writes nothing.
    Audit,
}

impl Action {
    /// What the transaction `id` does in the run of `seed`.
    pub fn of(seed: u64, id: Id) -> Action {
        let dice = Dice::of(seed, &[id.0]);
        match dice.below(100) {
            0..30 => {
                let from = dice.below(ACCOUNTS);
                Action::Transfer {
                    from,
                    to: (from + 1 + dice.below(ACCOUNTS - 1)) % ACCOUNTS,
                    amount: signed(dice.below(200)),
                }
            }
            30..50 => Action::Append {
                list: dice.below(LISTS),
            },
            50..67 => {
                let part = |_| (dice.below(COUNTERS), signed(dice.below(1000)) - 500);
                let parts = (0..=dice.below(3)).map(part).collect();
                Action::Add { parts }
            }
            67..92 => Action::Set {
                parts: (0..=dice.below(4)).map(|_| register(&dice)).collect(),
                blind: dice.once_in(2),
            },
            92 => Action::Bulk,
            93..96 => Action::Extra,
            _ => Action::Audit,
        }
    }

    /// Whether its number stands in `marks` once it has committed.
    pub fn is_marked(&self) -> bool {
        !matches!(self, Action::Extra | Action::Audit)
    }
}

fn register(dice: &Dice) -> (u64, Option<usize>) {
    let len = match dice.below(10) {
        0 | 1 => None,
        2 => Some(3000), // lies apart from its leaf
        _ => Some(16 + usize::try_from(dice.below(200)).unwrap_or(0)),
    };
    (dice.below(REGISTERS), len)
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(0)
}

/// A value that only the transaction `id` writes, and only as its part `part`.
pub fn value(id: Id, part: u64, len: usize) -> Vec<u8> {
    let dice = Dice::of(id.0, &[part]);
    let mut bytes = id.0.to_le_bytes().to_vec();
    // Half of it random, half repeated, so that compression has something to do.
    while bytes.len() < len {
        let word = dice.next().to_le_bytes();
        bytes.extend_from_slice(&word);
        bytes.extend_from_slice(&[word[0]; 8]);
    }
    bytes.truncate(len.max(8));
    bytes
}

/// The transaction that wrote a [`value`], if the bytes are exactly that.
pub fn writer_of(bytes: &[u8], part: u64) -> Option<Id> {
    let id = Id(u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?));
    (value(id, part, bytes.len()) == bytes).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_ascend_and_lead_back() {
        let ids = [
            Id::SETUP,
            Id::new(0, 0, 0),
            Id::new(0, 0, 9),
            Id::new(0, 7, 0),
            Id::new(1, 3, 0),
        ];
        assert!(ids.is_sorted());
        assert_eq!(ids[3].task(), 7);
        assert_eq!(ids[4].task(), 3);
    }

    #[test]
    fn a_value_tells_its_writer() {
        let bytes = value(Id(77), 3, 100);
        assert_eq!(bytes.len(), 100);
        assert_eq!(writer_of(&bytes, 3), Some(Id(77)));
        assert_eq!(writer_of(&bytes, 4), None);
        let mut torn = bytes;
        torn[64..].fill(0);
        assert_eq!(writer_of(&torn, 3), None);
    }

    #[test]
    fn every_action_occurs() {
        let all: Vec<Action> = (0..400)
            .map(|count| Action::of(1, Id::new(0, 1, count)))
            .collect();
        for action in [Action::Bulk, Action::Extra, Action::Audit] {
            assert!(all.contains(&action), "{action:?}");
        }
        let moves = all.iter().filter_map(|action| match action {
            Action::Transfer { from, to, .. } => Some((from, to)),
            _ => None,
        });
        assert!(moves.into_iter().all(|(from, to)| from != to));
    }
}
