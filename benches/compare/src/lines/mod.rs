//! What is measured: lines of the report, in groups that share a process.
//!
//! A group opens a database in a process of its own, so that memory is told apart, and measures its lines
//! there. Groups of one run follow each other on one database, but no group reads what an earlier one
//! has changed, so that each says by itself what must be found: commits write to the first half of the
//! numbers ([`commits`]), the mix reads and writes the second half ([`mix`]), and deleting looks at keys alone.

mod commits;
mod delete;
mod gets;
mod keys_only;
mod load;
mod mix;
mod scans;
mod threads;

use std::path::Path;

use crate::engine::{Engine, Result, Setup};
use crate::records::{Found, LARGE_VALUE_LEN, Records, VALUE_LEN};
use crate::usage::{self, Spent};

/// Bytes of cache that every engine gets: more than a million records take.
const CACHE_LEN: usize = 512 * 1024 * 1024;
/// The small cache holds one of so many parts of the data.
const SMALL_CACHE_PART: usize = 10;
/// Bytes of the smallest cache: what the smallest of the engines' own limits need.
const SMALL_CACHE_LEN_MIN: usize = 1024 * 1024;
/// One record with large values stands for so many others: it has so many times the bytes.
const LARGE_PART: u64 = 100;

/// A line of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// Its name.
    pub(crate) name: &'static str,
    /// Its unit.
    pub(crate) unit: &'static str,
    /// Which way is better.
    pub(crate) higher_is_better: bool,
    /// Where it is measured; `None`: in all groups, and the largest counts.
    pub(crate) group: Option<Group>,
}

const fn rate(name: &'static str, unit: &'static str, group: Group) -> Line {
    Line {
        name,
        unit,
        higher_is_better: true,
        group: Some(group),
    }
}

const fn amount(name: &'static str, group: Option<Group>) -> Line {
    Line {
        name,
        unit: "MB",
        higher_is_better: false,
        group,
    }
}

/// Durable commits of one thread.
pub(crate) const COMMIT_ONE: &str = commits::ONE;
/// Megabytes on disc after loading in random order and closing.
pub(crate) const SIZE_LOADED: &str = "size_loaded";
/// Megabytes on disc after everything.
pub(crate) const SIZE_END: &str = "size_end";
/// The largest resident size while loading in random order.
pub(crate) const MEMORY_LOAD: &str = "peak_memory_load";
/// The largest resident size in any group.
pub(crate) const MEMORY: &str = "peak_memory";

/// Every line, in the order of the report.
pub(crate) const LINES: [Line; 17] = [
    rate(load::RANDOM, "records/s", Group::Load),
    rate(load::SORTED, "records/s", Group::LoadSorted),
    rate(commits::ONE, "commits/s", Group::Commits),
    rate(commits::EIGHT, "commits/s", Group::Commits),
    rate(gets::ONE, "gets/s", Group::Reads),
    rate(gets::ALONE, "gets/s", Group::Reads),
    rate(gets::TWO, "gets/s", Group::Reads),
    rate(gets::SMALL_CACHE, "gets/s", Group::SmallCache),
    rate(scans::HUNDRED, "scans/s", Group::Reads),
    rate(scans::FULL, "records/s", Group::Reads),
    rate(keys_only::NAME, "keys/s", Group::KeysOnly),
    rate(delete::NAME, "records/s", Group::Delete),
    rate(mix::NAME, "ops/s", Group::Mix),
    amount(SIZE_LOADED, Some(Group::Load)),
    amount(SIZE_END, Some(Group::Delete)),
    amount(MEMORY_LOAD, Some(Group::Load)),
    amount(MEMORY, None),
];

/// Lines that share a process and a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    /// Loading in random order, into a new database that the others then work on.
    Load,
    /// Loading in the order of keys, into a database of its own.
    LoadSorted,
    /// Reads of every kind.
    Reads,
    /// Reads with a small cache.
    SmallCache,
    /// Keys of large values, in a database of its own.
    KeysOnly,
    /// Commits of one record.
    Commits,
    /// Reads and writes in turn.
    Mix,
    /// Deleting.
    Delete,
}

/// The groups with their names, in the order in which they run.
pub(crate) const GROUPS: [(Group, &str); 8] = [
    (Group::Load, "load"),
    (Group::Reads, "reads"),
    (Group::SmallCache, "small-cache"),
    (Group::Commits, "commits"),
    (Group::Mix, "mix"),
    (Group::Delete, "delete"),
    (Group::LoadSorted, "load-sorted"),
    (Group::KeysOnly, "keys-only"),
];

impl Group {
    /// Whether it works on the database that [`Group::Load`] has made.
    pub(crate) fn needs_load(self) -> bool {
        !matches!(self, Group::Load | Group::LoadSorted | Group::KeysOnly)
    }

    /// The records that its database holds when `count` are asked for.
    pub(crate) fn records(self, count: u64) -> Records {
        match self {
            Group::KeysOnly => Records {
                count: (count / LARGE_PART).max(1),
                value_len: LARGE_VALUE_LEN,
            },
            _ => Records {
                count,
                value_len: VALUE_LEN,
            },
        }
    }

    fn setup(self, records: Records) -> Setup {
        let data_len = usize::try_from(records.count)
            .unwrap_or(usize::MAX)
            .saturating_mul(size_of::<crate::records::Key>() + records.value_len);
        let cache_len = match self {
            Group::SmallCache => (data_len / SMALL_CACHE_PART).max(SMALL_CACHE_LEN_MIN),
            _ => CACHE_LEN,
        };
        Setup {
            cache_len,
            large_values: self == Group::KeysOnly,
        }
    }

    /// Measures its lines with the database in `folder`.
    pub(crate) fn run<E: Engine>(self, records: Records, folder: &Path) -> Result<Vec<Sample>> {
        let place = Place {
            records,
            folder,
            setup: self.setup(records),
        };
        match self {
            Group::Load => load::random::<E>(place),
            Group::LoadSorted => load::sorted::<E>(place),
            Group::Reads => reads::<E>(place),
            Group::SmallCache => gets::small_cache::<E>(place),
            Group::KeysOnly => keys_only::run::<E>(place),
            Group::Commits => commits::run::<E>(place),
            Group::Mix => mix::run::<E>(place),
            Group::Delete => delete::run::<E>(place),
        }
    }
}

/// Where a group works, and on what.
#[derive(Clone, Copy)]
struct Place<'a> {
    records: Records,
    folder: &'a Path,
    setup: Setup,
}

impl Place<'_> {
    fn open<E: Engine>(self) -> Result<E> {
        E::open(self.folder, self.setup)
    }
}

/// A line that was measured, and how to tell whether it was right.
pub(crate) struct Sample {
    /// The line.
    pub(crate) line: &'static str,
    /// How many of its unit were done.
    pub(crate) count: u64,
    /// What that took.
    pub(crate) spent: Spent,
    /// What depends on everything that was found.
    pub(crate) found: Found,
    /// What must have been found. Worked out later, so that it takes no part in the peak of memory.
    pub(crate) expected: Box<dyn FnOnce() -> Found>,
}

/// Reads of every kind, in one process.
fn reads<E: Engine>(place: Place<'_>) -> Result<Vec<Sample>> {
    let engine: E = place.open()?;
    let mut session = engine.session()?;
    gets::warm_up(&mut session, place.records)?;
    let mut samples = gets::warm(&mut session, place.records)?;
    samples.extend(scans::warm(&mut session, place.records)?);
    drop(session);
    samples.push(gets::two(&engine, place.records)?);
    engine.close()?;
    Ok(samples)
}

/// Ends in good order. What that takes of memory belongs to the work before it, not to checking it.
fn close<E: Engine>(engine: E, spent: &mut Spent) -> Result<()> {
    engine.close()?;
    spent.peak_mb = usage::peak_mb();
    Ok(())
}

/// A number that follows `count` within bounds: enough to measure, and not for ever.
fn part(count: u64, part: u64, min: u64, max: u64) -> u64 {
    (count / part).clamp(min, max)
}

#[cfg(test)]
mod tests;
