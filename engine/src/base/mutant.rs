//! Deliberate breaks of the protocol, for showing that the simulator would notice them.
//!
//! Without the feature `mutants` (ordinary builds) none can be switched on and every test for one is
//! the constant `false`.
//!
//! Two comparisons have no mutant here, because on one path nothing goes wrong without them: a successor's
//! `prev`, and the identity after a sync. Both matter as soon as a second process completes a slot on a second
//! path; the model of failover (`engine/models`) breaks both and shows what follows. That a manifest carries
//! the largest collected number is a second lock on one door: an intent that refers to what was collected read a
//! state before the collect record, and nobody validates it who begins after that.
//!
//! [`Mutant::PredecessorUnread`] would break no promise by itself, since bytes from the bus count only from those who
//! have the same storage (S14), and these offer them once they are durable. It is caught by the assert that holds I1
//! in `log/slots.rs`. The rules of [`Mutant::APART`] are second locks, too, each with a reason of its own.

/// A rule of the protocol that can be broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mutant {
    /// S5: a combiner does not look for the transaction in its window.
    NoDedup,
    /// S5: a combiner validates what is older than its window.
    NoWindow,
    /// S5: a combiner ignores how far a transaction may lag.
    NoWmax,
    /// S5: writes of one member of a batch do not conflict with the reads of a later one.
    SameBatch,
    /// S5: a merge does not conflict with a read of its key.
    MergeNoConflict,
    /// S5: ranges are not validated.
    RangeIgnored,
    /// S5: an exhausted scan is remembered only up to the last key returned.
    ShortRange,
    /// S5: a reverse scan that a limit cut is remembered without the last key returned.
    ReverseShort,
    /// S4: a transaction is sent with a later position without looking at the slots between.
    ResendBlind,
    /// S4: a transaction is sent with a later position although it or its cancel stands in a slot between.
    RaiseSettled,
    /// S8: "aborted" is claimed although the slots were not read without a gap.
    GapDead,
    /// S5: a cancel is accepted without looking at the window.
    CancelNoWindow,
    /// S5: a cancelled transaction may still commit.
    CancelIgnored,
    /// S8: a cancelled transaction is answered as committed.
    CancelAnsweredCommitted,
    /// S6: the answer and the slot's bytes are sent before the directory is synced.
    EarlyAnswer,
    /// S6: a commit is acknowledged without syncing its directory at all.
    NoDirectorySync,
    /// S6: "exists" counts as a commit that failed, although only its reply may have been lost.
    ExistsIsFailure,
    /// I1: a slot that was only read is exposed, and followed by the next, without a sync.
    ReadNoSync,
    /// I1: a sync is not followed by another look at the name.
    SyncNoConfirm,
    /// I1: the slot before, which came over the bus, is not looked for on storage.
    PredecessorUnread,
    /// S11: floors are not probed.
    NoFloorProbe,
    /// S11: a process that begins again from a manifest keeps the window of before.
    ReloadKeepsWindow,
    /// S11: a manifest that lies below the floor counts.
    ManifestBelowFloor,
    /// S12: slots and manifests are deleted before the floor exists.
    FloorLate,
    /// S12: deleting begins before the floor is durable.
    FloorNotDurable,
    /// S12: the floor ignores the oldest retained manifest.
    FloorHigh,
    /// S12: the floor ignores how far transactions may lag.
    FloorNoWindow,
    /// S12: a folder that lost puts its work on the winner unconditionally.
    FoldTwice,
    /// S12: a folder that lost keeps its segments under their old tag.
    NoRetag,
    /// S12: a manifest is created although the one before it was only read, not made durable.
    ManifestGap,
    /// S12: a manifest counts although it is not durable: for the next one, for a floor, for collection.
    FoldVolatile,
    /// S12: a segment's name is not synced before a manifest refers to it.
    SegmentVolatile,
    /// S12: unused segments are deleted without a collect record.
    CollectNoRecord,
    /// S12: unused segments are deleted once they are old enough by the clock.
    CollectByClock,
    /// S5: the last collect record counts instead of the largest.
    CollectLast,
    /// S12: the collector believes a listing of manifests, which may be stale.
    CollectByListing,
    /// S12: the collector ignores what the retained log refers to.
    CollectNoLog,
    /// S5: records that refer to collected segments are accepted.
    CollectUnchecked,
    /// Where one process alone writes, what it has claimed is collected.
    CollectClaimed,
    /// S6: a run is written after the record that refers to it was published.
    RunLate,
    /// S9: a linearizable read does not probe the next slot.
    LinearNoProbe,
    /// S9, S11: an absent slot is believed without a floor probe.
    LinearNoFloor,
    /// S10: a copy accepts slots whose runs are missing.
    CopyNoRefs,
    /// S10: a copy goes on under the name of its original.
    CopyKeepsName,
    /// S2: a torn last slot is taken as it is.
    AcceptTorn,
    /// S2: what was read at the end of an append file is exposed without a sync.
    ReopenNoSync,
    /// S2: a torn end is written over where it stands, and not left behind.
    TornOverwritten,
    /// S2: a log file that an earlier process began, and did not write to, is passed over.
    TakeUpLeftOut,
    /// S7: a slot from the bus is not held against the hash of the one before it.
    HintUnchained,
    /// S4: an intent of another history is validated.
    HistoryUnchecked,
    /// S14: what the bus brings counts although it hangs on nothing written since the database was opened.
    TakeUnproved,
    /// S14: others are offered what hangs on nothing written since the database was opened.
    OfferUnproved,
    /// S5: a transaction in turn does not see what those before it write.
    TurnBlind,
    /// S5: transactions in turn go into the next slot as they are after theirs was lost.
    TurnKept,
    /// S5: what was read in turn is told as committed before the slot is.
    TurnTold,
    /// S13: an object is created on the active path only.
    AckOnePath,
    /// S13: what stands on the active path alone is exposed without being completed.
    NoComplete,
    /// S13: an object is completed on the passive path before it is durable on the active one.
    CompleteVolatile,
    /// S13: a segment is written to the active path only.
    SegmentOnePath,
    /// S13: a seal stands under the name of the generation that it begins.
    SealNewName,
    /// S13: a process goes on after a seal that adds a path without completing that path.
    JoinIncomplete,
    /// S13: a path that joins has the seal, and not the slots before it.
    JoinUncopied,
    /// S13: a process does not look whether a path was emptied since it was opened.
    MarkUnlooked,
    /// S13: what is copied to a path that joins is not made durable there.
    JoinVolatile,
    /// S13: a manifest is completed on the passive path without the segments that it refers to.
    BringNothing,
}

impl Mutant {
    /// All of them, in the order of the rules they break.
    pub const ALL: &[Mutant] = &[
        Mutant::NoDedup,
        Mutant::NoWindow,
        Mutant::NoWmax,
        Mutant::SameBatch,
        Mutant::MergeNoConflict,
        Mutant::RangeIgnored,
        Mutant::ShortRange,
        Mutant::ReverseShort,
        Mutant::ResendBlind,
        Mutant::RaiseSettled,
        Mutant::GapDead,
        Mutant::CancelNoWindow,
        Mutant::CancelIgnored,
        Mutant::CancelAnsweredCommitted,
        Mutant::EarlyAnswer,
        Mutant::NoDirectorySync,
        Mutant::ExistsIsFailure,
        Mutant::ReadNoSync,
        Mutant::SyncNoConfirm,
        Mutant::PredecessorUnread,
        Mutant::NoFloorProbe,
        Mutant::ReloadKeepsWindow,
        Mutant::FloorLate,
        Mutant::FloorNotDurable,
        Mutant::FloorHigh,
        Mutant::FoldTwice,
        Mutant::NoRetag,
        Mutant::ManifestGap,
        Mutant::FoldVolatile,
        Mutant::SegmentVolatile,
        Mutant::CollectNoRecord,
        Mutant::CollectByClock,
        Mutant::CollectLast,
        Mutant::CollectByListing,
        Mutant::CollectNoLog,
        Mutant::CollectUnchecked,
        Mutant::CollectClaimed,
        Mutant::RunLate,
        Mutant::LinearNoProbe,
        Mutant::LinearNoFloor,
        Mutant::CopyNoRefs,
        Mutant::CopyKeepsName,
        Mutant::AcceptTorn,
        Mutant::ReopenNoSync,
        Mutant::HintUnchained,
        Mutant::HistoryUnchecked,
        Mutant::TakeUnproved,
        Mutant::OfferUnproved,
        Mutant::TurnBlind,
        Mutant::TurnKept,
        Mutant::TurnTold,
        Mutant::AckOnePath,
        Mutant::NoComplete,
        Mutant::CompleteVolatile,
        Mutant::SegmentOnePath,
        Mutant::SealNewName,
        Mutant::JoinIncomplete,
        Mutant::JoinUncopied,
        Mutant::MarkUnlooked,
        Mutant::JoinVolatile,
        Mutant::BringNothing,
    ];

    /// Those that break no promise by themselves, so that no seed catches them: `sim/tests/apart.rs` shows each where
    /// it stands.
    ///
    /// - [`Mutant::ManifestBelowFloor`]: a manifest that a process creates after it slept through two collections
    ///   stands on storage in any case. Nobody else begins with it, since who looks for manifests begins at the
    ///   floor's; whether it counts decides only what its own process rests on until it reads the next slot, finds
    ///   that below the floor, and begins again. No floor and no collection follows from it: both begin at the floor,
    ///   and delete nothing unless all manifests from there on are there.
    /// - [`Mutant::FloorNoWindow`]: the slots that it gives up are folded into a durable manifest. Who still needs
    ///   them begins again from that; what it has submitted is then too old or unknown, which is what it would be
    ///   told. It costs transactions that could have committed.
    /// - [`Mutant::TornOverwritten`]: no sector within a slot begins like a slot, so what a longer torn slot leaves
    ///   behind a shorter one that is written over it is a torn end again. A slot of a program from before that rule
    ///   could hold one, which is why torn ends are left.
    /// - [`Mutant::TakeUpLeftOut`]: nothing of a file without a head counts, readers come to it only where the file
    ///   before ends, and collection passes it over.
    pub const APART: &[Mutant] = &[
        Mutant::ManifestBelowFloor,
        Mutant::FloorNoWindow,
        Mutant::TornOverwritten,
        Mutant::TakeUpLeftOut,
    ];

    /// Whether this rule is broken on this thread.
    #[cfg(feature = "mutants")]
    pub fn on(self) -> bool {
        BROKEN.get() == Some(self)
    }

    /// Whether this rule is broken: never.
    #[cfg(not(feature = "mutants"))]
    #[inline]
    pub const fn on(self) -> bool {
        false
    }

    /// Breaks one rule, or none, on this thread from now on.
    #[cfg(feature = "mutants")]
    pub fn set(broken: Option<Mutant>) {
        BROKEN.set(broken);
    }
}

#[cfg(feature = "mutants")]
thread_local! {
    static BROKEN: std::cell::Cell<Option<Mutant>> = const { std::cell::Cell::new(None) };
}
