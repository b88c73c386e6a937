//! A shared storage as it is, and what makes processes see it differently.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use eciton_engine::storage::{MemoryStorage, Name, Operation};
use parking_lot::Mutex;

use crate::executor::ProcessId;

/// Changes of names that are remembered at the most; older ones are seen by everybody.
const RECENT_MAX: usize = 512;

pub(crate) const EIO: i32 = 5;
pub(crate) const ENOSPC: i32 = 28;
pub(crate) const EROFS: i32 = 30;
pub(crate) const ETIMEDOUT: i32 = 110;

/// One storage, which any number of processes use.
pub struct Disk {
    /// Its number, for people.
    pub number: u8,
    /// What is on it.
    pub memory: MemoryStorage,
    /// How long a change may go unnoticed, in virtual milliseconds; `None` where nobody is ever late.
    stale_ms: Option<u64>,
    recent: Mutex<VecDeque<Change>>,
    outages: Mutex<Vec<Outage>>,
    /// Of a copy: something that was there when copying began went before its turn came.
    overtaken: AtomicBool,
}

/// A name that came or went.
struct Change {
    at_ms: u64,
    by: ProcessId,
    name: Name,
    is_removal: bool,
    /// The processes that know, a bit each.
    known_by: u32,
}

/// Operations below a directory fail for a while.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outage {
    /// Whose operations; `None` for everybody's.
    pub(crate) process: Option<ProcessId>,
    /// Where names begin that are hit.
    pub(crate) prefix: &'static str,
    pub(crate) errno: i32,
    pub(crate) until_ms: u64,
}

impl fmt::Display for Outage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outage {
            prefix,
            errno,
            until_ms,
            ..
        } = self;
        write!(f, "error {errno} below `{prefix}` until {until_ms}")
    }
}

impl Disk {
    pub(crate) fn new(number: u8, memory: MemoryStorage, stale_ms: Option<u64>) -> Disk {
        Disk {
            number,
            memory,
            stale_ms,
            recent: Mutex::new(VecDeque::new()),
            outages: Mutex::new(Vec::new()),
            overtaken: AtomicBool::new(false),
        }
    }

    /// Says that collection overtook the copying that filled this disk.
    pub(crate) fn set_overtaken(&self) {
        self.overtaken.store(true, Ordering::Relaxed);
    }

    /// Whether collection overtook the copying that filled this disk: only then may a copy be refused.
    pub fn is_overtaken(&self) -> bool {
        self.overtaken.load(Ordering::Relaxed)
    }

    /// Remembers who changed what a name stands for.
    pub(crate) fn note(&self, at_ms: u64, by: ProcessId, name: &Name, is_removal: bool) {
        let Some(stale_ms) = self.stale_ms else {
            return;
        };
        let mut recent = self.recent.lock();
        let is_old = |change: &Change| change.at_ms + stale_ms < at_ms;
        while recent.len() >= RECENT_MAX || recent.front().is_some_and(is_old) {
            recent.pop_front();
        }
        recent.push_back(Change {
            at_ms,
            by,
            name: name.clone(),
            is_removal,
            known_by: bit(by),
        });
    }

    /// Whether a process may not know yet that `name` has been created.
    pub(crate) fn may_miss(&self, now_ms: u64, process: ProcessId, name: &Name) -> bool {
        let Some(stale_ms) = self.stale_ms else {
            return false;
        };
        let recent = self.recent.lock();
        let last = recent.iter().rev().find(|change| change.name == *name);
        last.is_some_and(|change| {
            !change.is_removal
                && change.at_ms + stale_ms >= now_ms
                && change.known_by & bit(process) == 0
        })
    }

    /// From here on the process knows what the name stands for.
    pub(crate) fn know(&self, process: ProcessId, name: &Name) {
        if self.stale_ms.is_some() {
            for change in self.recent.lock().iter_mut() {
                if change.name == *name {
                    change.known_by |= bit(process);
                }
            }
        }
    }

    /// A listing as a process may see it that has missed some changes by others; `bits` decide which.
    pub(crate) fn stale_list(
        &self,
        now_ms: u64,
        process: ProcessId,
        dir: &str,
        names: &[Name],
        bits: u64,
    ) -> Vec<Name> {
        let mut seen = names.to_vec();
        let stale_ms = self.stale_ms.unwrap_or(0);
        let recent = self.recent.lock();
        let missed = recent.iter().enumerate().rev().filter(|(at, change)| {
            let is_missed = bits.rotate_right(u32::try_from(*at % 64).unwrap_or(0)) & 1 == 1;
            is_missed
                && change.by != process
                && change.at_ms + stale_ms >= now_ms
                && (dir.is_empty()
                    || change
                        .name
                        .as_str()
                        .strip_prefix(dir)
                        .is_some_and(|rest| rest.starts_with('/')))
        });
        for (_, change) in missed {
            let place = seen.binary_search(&change.name);
            match (change.is_removal, place) {
                (true, Err(at)) => seen.insert(at, change.name.clone()),
                (false, Ok(at)) => drop(seen.remove(at)),
                _ => {}
            }
        }
        seen
    }

    pub(crate) fn begin_outage(&self, outage: Outage) {
        self.outages.lock().push(outage);
    }

    pub(crate) fn end_outages(&self) {
        self.outages.lock().clear();
    }

    /// The error that an outage gives this operation.
    pub(crate) fn outage(
        &self,
        now_ms: u64,
        process: ProcessId,
        operation: Operation,
        object: &str,
    ) -> Option<i32> {
        let mut outages = self.outages.lock();
        if outages.is_empty() {
            return None;
        }
        outages.retain(|outage| outage.until_ms > now_ms);
        let hit = outages.iter().find(|outage| {
            outage.process.is_none_or(|of| of == process)
                && object.starts_with(outage.prefix)
                && (outage.errno == EIO || changes(operation))
                && (outage.errno != ENOSPC || takes_room(operation))
        });
        hit.map(|outage| outage.errno)
    }
}

/// Whether a read-only medium refuses it.
fn changes(operation: Operation) -> bool {
    !matches!(
        operation,
        Operation::Stat
            | Operation::Read
            | Operation::Open
            | Operation::ReadAt
            | Operation::List
            | Operation::Lock
    )
}

/// Whether a full medium refuses it.
fn takes_room(operation: Operation) -> bool {
    matches!(
        operation,
        Operation::Create
            | Operation::Replace
            | Operation::Write
            | Operation::Finish
            | Operation::AppendFile
            | Operation::Allocate
    )
}

fn bit(process: ProcessId) -> u32 {
    1 << (process.0 % 32)
}

/// An error as the operating system gives it.
pub(crate) fn failure(
    operation: Operation,
    object: impl std::fmt::Display,
    errno: i32,
) -> eciton_engine::base::Error {
    let cause = io::Error::from_raw_os_error(errno);
    eciton_engine::base::Error::storage(operation.as_str(), object, &cause)
}
