//! What a database must hold, from what its clients were told.
//!
//! Every transaction appends its own number to the lists under some keys, adds to a sum, and may put
//! a blob of its own. So the lists themselves show in which order transactions took place, a lost or
//! repeated one shows, and so does one of which only a part is there.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::context::Shared;

/// A list's key: small, so that a set of them is a few bits.
pub(super) type ListKey = u8;

/// Lists there are at the most.
pub(super) const LISTS_MAX: u64 = 16;

/// What a transaction did.
#[derive(Clone, Debug, Default)]
pub(super) struct Entry {
    /// Lists that it appended to, a bit each.
    pub(super) appended: u16,
    /// Lists that it only read, as it saw them.
    pub(super) read: BTreeMap<ListKey, Vec<u64>>,
    /// What it added to the sum.
    pub(super) amount: i64,
    /// Length of its blob, if it has one.
    pub(super) blob_len: Option<usize>,
}

/// What is known of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// On its way, or nobody was told.
    Open,
    /// Committed at this position, as its client was told.
    Acked(u64),
    /// Committed, as somebody saw after its process had ended.
    Present,
    /// On its way when its process ended, and gone: only a copy taken meanwhile may have it.
    Lost,
    /// Not committed, as its client was told, or never submitted.
    Never,
}

/// What a database holds, as somebody read it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Contents {
    pub(super) lists: BTreeMap<ListKey, Vec<u64>>,
    pub(super) rows: u64,
    pub(super) sum: i64,
    /// Lengths of blobs whose bytes are what they should be, by transaction.
    pub(super) blobs: BTreeMap<u64, usize>,
}

/// How much of the history contents must show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// So many that are certain; and whoever is still open may be there.
    Since(usize),
    /// The same, and whoever is open and is not there never will be: their process has ended.
    Ended,
    /// Any prefix: a copy, or what is left of a damaged database.
    Prefix,
}

/// The history of a database.
pub(super) struct Ledger {
    shared: Arc<Shared>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    entries: Vec<(Entry, Fate)>,
    /// Transactions that are certainly committed, in the order in which that became known.
    certain: Vec<u64>,
}

impl Ledger {
    pub(super) fn new(shared: Arc<Shared>) -> Ledger {
        Ledger {
            shared,
            state: Mutex::new(State::default()),
        }
    }

    /// A transaction begins; its number.
    pub(super) fn begin(&self) -> u64 {
        let mut state = self.state.lock();
        // Until it says more nobody may see it.
        state.entries.push((Entry::default(), Fate::Never));
        state.entries.len() as u64 - 1
    }

    /// It is about to commit.
    pub(super) fn submit(&self, number: u64, entry: Entry) {
        assert!(
            entry.appended != 0,
            "t{number}: every transaction shows in a list"
        );
        self.state.lock().entries[at(number)] = (entry, Fate::Open);
    }

    /// Its client was told that it is committed.
    pub(super) fn ack(&self, number: u64, position: u64) {
        let mut state = self.state.lock();
        state.entries[at(number)].1 = Fate::Acked(position);
        state.certain.push(number);
    }

    /// Its client was told that nothing was written.
    pub(super) fn reject(&self, number: u64) {
        self.state.lock().entries[at(number)].1 = Fate::Never;
    }

    /// How many are certainly committed by now: for [`Extent::Since`].
    pub(super) fn certain(&self) -> usize {
        self.state.lock().certain.len()
    }

    /// Judges what somebody read.
    pub(super) fn check(&self, seen: &Contents, extent: Extent) {
        let mut state = self.state.lock();
        if let Err((what, details)) = judge(&state, seen, extent) {
            self.shared.violate(what, details);
            return;
        }
        if extent == Extent::Ended {
            state.settle(&standing(seen));
        }
    }

    /// Judges what transactions read of lists that they did not append to, once the lists are final.
    pub(super) fn check_reads(&self, last: &Contents) {
        let state = self.state.lock();
        for (number, (entry, fate)) in state.entries.iter().enumerate() {
            let Fate::Acked(position) = fate else {
                continue;
            };
            for (key, read) in &entry.read {
                let list = last.lists.get(key).map_or(&[][..], Vec::as_slice);
                // Of two in one slot either may have read the other.
                let place = |other: &u64| match state.entries[at(*other)].1 {
                    Fate::Acked(at) => Some(at.cmp(position)),
                    _ => None,
                };
                let (before, after) = list.split_at(read.len().min(list.len()));
                let is_right = before == &read[..]
                    && before
                        .iter()
                        .all(|other| place(other) != Some(Ordering::Greater))
                    && after
                        .iter()
                        .all(|other| place(other) != Some(Ordering::Less));
                if !is_right {
                    let details =
                        format!("t{number} at {position} read {read:?} of list {key}: {list:?}");
                    self.shared.violate("not serializable: a read", details);
                }
            }
        }
    }
}

impl State {
    /// Whoever is open is there now, or never.
    fn settle(&mut self, present: &Present) {
        for (number, (_, fate)) in (0..).zip(&mut self.entries) {
            if *fate == Fate::Open {
                *fate = Fate::Lost;
                if present.contains_key(&number) {
                    *fate = Fate::Present;
                    self.certain.push(number);
                }
            }
        }
    }
}

fn at(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// In which lists each transaction stands, a bit each.
fn standing(seen: &Contents) -> Present {
    let mut standing = BTreeMap::new();
    for (key, list) in &seen.lists {
        for number in list {
            *standing.entry(*number).or_default() |= 1 << key;
        }
    }
    standing
}

/// Transactions that somebody saw, with the lists that they stand in.
type Present = BTreeMap<u64, u16>;

type Judgement = Result<(), (&'static str, String)>;

fn judge(state: &State, seen: &Contents, extent: Extent) -> Judgement {
    let present = standing(seen);
    for (number, lists) in &present {
        may_be(state, *number, extent)?;
        whole(state, seen, *number, *lists)?;
    }
    if let Some(number) = seen
        .blobs
        .keys()
        .find(|number| !present.contains_key(number))
    {
        return Err((
            "a part of a transaction",
            format!("t{number}: only its blob"),
        ));
    }
    for (key, list) in &seen.lists {
        in_order(state, *key, list)?;
    }
    let required = match extent {
        Extent::Since(certain) => &state.certain[..certain],
        Extent::Ended => &state.certain[..],
        Extent::Prefix => &[],
    };
    for number in required {
        if !present.contains_key(number) {
            let fate = state.entries[at(*number)].1;
            return Err((
                "a committed transaction is lost",
                format!("t{number} {fate:?}"),
            ));
        }
    }
    if extent == Extent::Prefix {
        prefix(state, &present)?;
    }
    sums(state, seen, &present)
}

/// A transaction that is there could be.
fn may_be(state: &State, number: u64, extent: Extent) -> Judgement {
    let fate = state.entries.get(at(number)).map(|(_, fate)| *fate);
    match fate {
        None => Err(("a transaction that nobody began", format!("t{number}"))),
        Some(Fate::Lost) if extent == Extent::Prefix => Ok(()),
        Some(Fate::Never | Fate::Lost) => Err((
            "a transaction that was not committed is there",
            format!("t{number} {fate:?}"),
        )),
        Some(Fate::Open | Fate::Acked(_) | Fate::Present) => Ok(()),
    }
}

/// A transaction that is there is there with all its parts.
fn whole(state: &State, seen: &Contents, number: u64, lists: u16) -> Judgement {
    let entry = &state.entries[at(number)].0;
    if lists != entry.appended {
        let details = format!(
            "t{number} appended to {:b}, seen in {lists:b}",
            entry.appended
        );
        return Err(("a part of a transaction", details));
    }
    let blob_len = seen.blobs.get(&number).copied();
    if blob_len != entry.blob_len {
        let details = format!(
            "t{number} put {:?} bytes, seen {blob_len:?}",
            entry.blob_len
        );
        return Err(("a part of a transaction", details));
    }
    Ok(())
}

/// Each transaction once, in the order of positions.
fn in_order(state: &State, key: ListKey, list: &[u64]) -> Judgement {
    let unique: BTreeSet<u64> = list.iter().copied().collect();
    if unique.len() != list.len() {
        return Err((
            "a transaction took place twice",
            format!("list {key}: {list:?}"),
        ));
    }
    let positions = list
        .iter()
        .filter_map(|number| match state.entries[at(*number)].1 {
            Fate::Acked(position) => Some(position),
            _ => None,
        });
    let positions: Vec<u64> = positions.collect();
    // Those that ran in turn share a slot.
    if !positions.is_sorted() {
        let details = format!("list {key}: {list:?} at {positions:?}");
        return Err(("not in the order of positions", details));
    }
    Ok(())
}

/// Whoever is missing comes after everybody who is there.
fn prefix(state: &State, present: &Present) -> Judgement {
    let position = |number: u64| match state.entries[at(number)].1 {
        Fate::Acked(position) => Some(position),
        _ => None,
    };
    let last = present.keys().filter_map(|number| position(*number)).max();
    let is_before = |number: u64| position(number).is_some_and(|at| Some(at) < last);
    for number in &state.certain {
        if !present.contains_key(number) && is_before(*number) {
            let details = format!("t{number} is missing, and {last:?} is there");
            return Err(("not a prefix of the history", details));
        }
    }
    Ok(())
}

fn sums(state: &State, seen: &Contents, present: &Present) -> Judgement {
    let amounts = present
        .keys()
        .map(|number| state.entries[at(*number)].0.amount);
    let expected = (present.len() as u64, amounts.sum::<i64>());
    if expected != (seen.rows, seen.sum) {
        let details = format!("expected {expected:?}, found {:?}", (seen.rows, seen.sum));
        return Err(("a merged sum is wrong", details));
    }
    Ok(())
}
