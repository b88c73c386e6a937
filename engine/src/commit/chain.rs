//! The hashes of recent slots: an intent says which history it read, and whoever knows another one drops
//! it.

use std::collections::VecDeque;

use parking_lot::Mutex;

use crate::base::Position;

/// The hashes of the newest slots, without a gap.
pub(super) struct Chain(Mutex<Links>);

struct Links {
    /// The position of the first hash.
    first: Position,
    hashes: VecDeque<u128>,
}

impl Chain {
    /// A chain that begins with the slot at `at`.
    pub(super) fn new(at: Position, hash: u128) -> Chain {
        Chain(Mutex::new(Links {
            first: at,
            hashes: VecDeque::from([hash]),
        }))
    }

    /// Begins anew: what comes next does not follow what was here.
    pub(super) fn reset(&self, at: Position, hash: u128) {
        let mut links = self.0.lock();
        links.first = at;
        links.hashes = VecDeque::from([hash]);
    }

    /// Adds the hash of slot `n`, which follows, and forgets what lies before `oldest`.
    pub(super) fn push(&self, n: Position, hash: u128, oldest: Position) {
        let mut links = self.0.lock();
        let next = links.first.0 + links.hashes.len() as u64;
        assert_eq!(next, n.0, "the chain has no gaps");
        links.hashes.push_back(hash);
        while links.first < oldest && links.hashes.len() > 1 {
            links.hashes.pop_front();
            links.first = links.first.next();
        }
    }

    /// The hash of slot `at`, if it is remembered.
    pub(super) fn hash(&self, at: Position) -> Option<u128> {
        let links = self.0.lock();
        let index = at.0.checked_sub(links.first.0)?;
        links.hashes.get(usize::try_from(index).ok()?).copied()
    }
}
