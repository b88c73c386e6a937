//! Segments that this process is writing and that nothing on the medium refers to yet.
//!
//! Where one process alone writes, collection asks here instead of recording in the log what is about to
//! go: a transaction that took long enough to see many folds keeps its runs, and commits.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::base::{ManifestId, Mutant, Rare, SegmentId};

/// The claims of one process. Cheap to clone; a clone is another handle on the same.
#[derive(Clone, Default)]
pub struct Claims(Arc<Mutex<ClaimedSegments>>);

#[derive(Default)]
struct ClaimedSegments {
    /// The newest manifest that a collection has begun with.
    passed: ManifestId,
    ids: BTreeSet<SegmentId>,
}

/// The claim to one segment; it ends when this is dropped.
pub struct Claim {
    claims: Claims,
    id: SegmentId,
}

impl Claims {
    /// Claims the name of a segment that is about to be written. Its tag is `tag`, or a later one that
    /// no collection which has begun already can be about.
    pub fn claim(&self, tag: ManifestId, unique: u128) -> Claim {
        let mut claimed = self.0.lock();
        if tag <= claimed.passed {
            Rare::ClaimTaggedLater.seen();
        }
        let tag = tag.0.max(claimed.passed.0 + 1);
        let id = SegmentId { tag, unique };
        let is_fresh = claimed.ids.insert(id);
        assert!(is_fresh, "segment {id} is claimed twice");
        assert!(
            id.tag > claimed.passed.0,
            "segment {id} is claimed, collection has passed {}",
            claimed.passed
        );
        Claim {
            claims: self.clone(),
            id,
        }
    }

    /// Begins a collection of segments tagged up to `manifest`; what is claimed stays. Whoever reads the
    /// log after this finds in it what was committed and let go of before.
    pub(super) fn pass(&self, manifest: ManifestId) -> BTreeSet<SegmentId> {
        let mut claimed = self.0.lock();
        if Mutant::CollectClaimed.on() {
            return BTreeSet::new();
        }
        claimed.passed = claimed.passed.max(manifest);
        claimed.ids.clone()
    }
}

impl Claim {
    /// The segment.
    pub fn id(&self) -> SegmentId {
        self.id
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let was_claimed = self.claims.0.lock().ids.remove(&self.id);
        debug_assert!(was_claimed, "segment {} was let go of before", self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collection_spares_what_is_claimed_and_is_never_about_what_comes_later() {
        let claims = Claims::default();
        let early = claims.claim(ManifestId(3), 1);
        assert_eq!(early.id().tag, 3);
        assert_eq!(claims.pass(ManifestId(5)), BTreeSet::from([early.id()]));
        let late = claims.claim(ManifestId(3), 2);
        assert_eq!(late.id().tag, 6);
        drop(early);
        assert_eq!(claims.pass(ManifestId(4)), BTreeSet::from([late.id()]));
        assert_eq!(claims.claim(ManifestId(3), 3).id().tag, 6);
    }
}
