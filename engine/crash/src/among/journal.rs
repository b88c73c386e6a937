//! What a process says of its transactions: a file of its own, a line at once, so that it survives the
//! process. A line that its writer was killed within has no end and counts as not said.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use parking_lot::Mutex;
use rustix::time::{ClockId, clock_gettime};

/// The machine's monotonic clock in nanoseconds: the same for all of its processes.
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

/// One step inside a transaction. What it writes is always its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Appends to a list.
    Append(u64),
    /// Read a list, so.
    List(u64, Vec<u64>),
    /// Sets a register.
    Set(u64),
    /// Read a register: who had set it.
    Get(u64, Option<u64>),
    /// Changes the balance of an account by so much; its register is set by a step of its own.
    Pay(u64, i64),
    /// Merges into a counter.
    Add(u64, i64),
    /// Read a counter: rows and sum.
    Count(u64, i64, i64),
}

impl Step {
    /// Whether it changes something.
    pub fn writes(&self) -> bool {
        matches!(
            self,
            Step::Append(_) | Step::Set(_) | Step::Pay(..) | Step::Add(..)
        )
    }

    fn parse(word: &str) -> Option<Step> {
        let (kind, rest) = word.split_at_checked(1)?;
        let (cell, what) = rest.split_once('=').unwrap_or((rest, ""));
        let cell = cell.parse().ok()?;
        Some(match kind {
            "a" => Step::Append(cell),
            "l" => {
                let all = what.split(',').filter(|number| !number.is_empty());
                Step::List(cell, all.map(str::parse).collect::<Result<_, _>>().ok()?)
            }
            "s" => Step::Set(cell),
            "g" if what == "-" => Step::Get(cell, None),
            "g" => Step::Get(cell, Some(what.parse().ok()?)),
            "p" => Step::Pay(cell, what.parse().ok()?),
            "m" => Step::Add(cell, what.parse().ok()?),
            "c" => {
                let (rows, sum) = what.split_once(',')?;
                Step::Count(cell, rows.parse().ok()?, sum.parse().ok()?)
            }
            _ => return None,
        })
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Append(list) => write!(f, "a{list}"),
            Step::List(list, all) => {
                let all: Vec<String> = all.iter().map(u64::to_string).collect();
                write!(f, "l{list}={}", all.join(","))
            }
            Step::Set(register) => write!(f, "s{register}"),
            Step::Get(register, None) => write!(f, "g{register}=-"),
            Step::Get(register, Some(value)) => write!(f, "g{register}={value}"),
            Step::Pay(account, amount) => write!(f, "p{account}={amount}"),
            Step::Add(counter, amount) => write!(f, "m{counter}={amount}"),
            Step::Count(counter, rows, sum) => write!(f, "c{counter}={rows},{sum}"),
        }
    }
}

/// A line of a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A transaction is about to be committed; of one that only reads, what it has read.
    Begin {
        /// Its number.
        id: u64,
        /// It must see whatever was acknowledged before `from_ns`.
        fresh: bool,
        /// Before it did anything.
        from_ns: u64,
        /// All that it did.
        steps: Vec<Step>,
    },
    /// It has committed, in this slot; of one that only reads, the slot that it saw.
    Done {
        /// Its number.
        id: u64,
        /// When its client knew.
        at_ns: u64,
        /// The slot.
        position: u64,
    },
    /// It has not committed, and never will.
    Refused {
        /// Its number.
        id: u64,
        /// When its client knew.
        at_ns: u64,
        /// Others were in its way, as they may.
        conflict: bool,
        /// Why.
        why: String,
    },
    /// Nobody knows yet.
    Unknown(u64, String),
    /// Something that must not be.
    Bad(String),
    /// For people.
    Note(String),
    /// The database was closed in good order.
    End,
}

impl Entry {
    /// Reads a line; `None` where it is none.
    pub fn parse(text: &str) -> Option<Entry> {
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        let mut words = rest.split(' ');
        let mut number = || words.next()?.parse::<u64>().ok();
        Some(match word {
            "fresh" | "old" => Entry::Begin {
                id: number()?,
                fresh: word == "fresh",
                from_ns: number()?,
                steps: words.map(Step::parse).collect::<Option<_>>()?,
            },
            "done" => Entry::Done {
                id: number()?,
                at_ns: number()?,
                position: number()?,
            },
            "conflict" | "refused" => Entry::Refused {
                id: number()?,
                at_ns: number()?,
                conflict: word == "conflict",
                why: words.collect::<Vec<_>>().join(" "),
            },
            "unknown" => Entry::Unknown(number()?, words.collect::<Vec<_>>().join(" ")),
            "bad" => Entry::Bad(rest.to_owned()),
            "note" => Entry::Note(rest.to_owned()),
            "end" => Entry::End,
            _ => return None,
        })
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flat = |text: &str| text.replace('\n', " ");
        match self {
            Entry::Begin {
                id,
                fresh,
                from_ns,
                steps,
            } => {
                let word = if *fresh { "fresh" } else { "old" };
                write!(f, "{word} {id} {from_ns}")?;
                steps.iter().try_for_each(|step| write!(f, " {step}"))
            }
            Entry::Done {
                id,
                at_ns,
                position,
            } => write!(f, "done {id} {at_ns} {position}"),
            Entry::Refused {
                id,
                at_ns,
                conflict,
                why,
            } => {
                let word = if *conflict { "conflict" } else { "refused" };
                write!(f, "{word} {id} {at_ns} {}", flat(why))
            }
            Entry::Unknown(id, why) => write!(f, "unknown {id} {}", flat(why)),
            Entry::Bad(what) => write!(f, "bad {}", flat(what)),
            Entry::Note(what) => write!(f, "note {}", flat(what)),
            Entry::End => f.write_str("end"),
        }
    }
}

/// The journal of one process.
#[derive(Debug)]
pub struct Journal(Mutex<File>);

impl Journal {
    /// Begins one; nobody else has this name.
    ///
    /// # Errors
    /// The file cannot be created.
    pub fn create(path: &Path) -> io::Result<Journal> {
        Ok(Journal(Mutex::new(File::create_new(path)?)))
    }

    /// Says something. A process that cannot be heard ends: what it did would not be judged.
    pub fn say(&self, entry: &Entry) {
        let line = format!("{entry}\n");
        if let Err(cause) = self.0.lock().write_all(line.as_bytes()) {
            eprintln!("the journal cannot be written: {cause}");
            std::process::exit(1);
        }
    }

    /// All lines of a journal; a line that cannot be read is returned as it is.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(path: &Path) -> io::Result<Vec<Result<Entry, String>>> {
        let text = std::fs::read_to_string(path)?;
        // What comes after the last end of a line was not said.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let lines = whole.lines();
        let parse = |line: &str| Entry::parse(line).ok_or_else(|| line.to_owned());
        Ok(lines.map(parse).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_lead_back() {
        let steps = vec![
            Step::Append(1),
            Step::List(2, vec![]),
            Step::List(2, vec![3, 4]),
            Step::Set(5),
            Step::Get(6, None),
            Step::Get(6, Some(7)),
            Step::Pay(8, -9),
            Step::Add(10, -11),
            Step::Count(12, 13, -14),
        ];
        let begin = |fresh, steps| Entry::Begin {
            id: 1,
            fresh,
            from_ns: 2,
            steps,
        };
        let refused = |conflict| Entry::Refused {
            id: 1,
            at_ns: 2,
            conflict,
            why: "in the way".to_owned(),
        };
        let done = Entry::Done {
            id: u64::MAX,
            at_ns: 1,
            position: 2,
        };
        let entries = [
            begin(true, steps),
            begin(false, Vec::new()),
            done,
            refused(true),
            refused(false),
            Entry::Unknown(3, "a b".to_owned()),
            Entry::Bad("c d".to_owned()),
            Entry::Note("e".to_owned()),
            Entry::End,
        ];
        for entry in entries {
            assert_eq!(Entry::parse(&entry.to_string()), Some(entry));
        }
        assert_eq!(Entry::parse("done 1 2"), None);
        assert_eq!(Entry::parse("fresh 1 2 x3"), None);
    }

    #[test]
    fn a_line_without_an_end_was_not_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        std::fs::write(&path, "end\nwhat\nend\ndone 1 2 3").unwrap();
        let said = Journal::read(&path).unwrap();
        assert_eq!(
            said,
            [Ok(Entry::End), Err("what".to_owned()), Ok(Entry::End)]
        );
        std::fs::write(&path, "en").unwrap();
        assert_eq!(Journal::read(&path).unwrap(), []);
    }
}
