//! Branches that few runs take, by name. The simulator counts which of them each seed reaches, says so, and steers
//! towards those that it has seldom seen: what no run reaches, no run has tried.
//!
//! Without the feature `mutants` (ordinary builds) nothing is counted, and [`Rare::seen`] is nothing at all.

macro_rules! points {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// A branch of the protocol's code that few runs take.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Rare {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Rare {
            /// All of them, in the order of the modules that they lie in.
            pub const ALL: &[Rare] = &[$(Rare::$name,)+];
        }
    };
}

points! {
    /// Log: a torn end is left behind, and the log goes on in another file.
    TornEndLeft,
    /// Log: a file that has nothing but a torn slot is begun again.
    TornFileBegunAgain,
    /// Log: the next file was begun by a process that ended before it wrote to it.
    FileTakenUp,
    /// Log: the writer of an append file halts.
    AppendHalted,
    /// Replay: the log ends with a torn slot.
    TornEndRead,
    /// Replay: a slot is completed while it is read.
    SlotCompletedMeanwhile,
    /// Replay: the next file has no head.
    HeadlessFileRead,
    /// Slots: what the bus offers as the next slot does not fit.
    HintRefused,
    /// Slots: a slot that was read is gone again before it is durable.
    ReadSlotVanished,
    /// Slots: a slot follows nothing that is known, and lies below the floor.
    SlotBelowFloorFollowsNothing,
    /// Slots: another process was first.
    SlotLost,
    /// Slots: one was created and is not there.
    SlotVanished,
    /// Slots: one was created and is gone before it is durable.
    SlotNotDurable,
    /// Slots: the one before, which came over the bus, is not on storage.
    PredecessorGone,
    /// Slots: a sync fails, and this process writes no more.
    SlotsHalted,
    /// Mirror: an object is gone from the active path before it is durable there.
    MirrorLostIt,
    /// Mirror: what was created on the active path finds a seal on the passive one.
    MirrorFenced,
    /// Mirror: the paths differ, and the passive one counts.
    MirrorSealRead,
    /// Mirror: an object is read from the passive path alone.
    MirrorReadPassive,
    /// Mirror: an object that stood on the active path alone is completed.
    MirrorCompleted,
    /// Mirror: a path was left and emptied while a process slept.
    PathEmptied,
    /// Mirror: a path that joins is completed.
    PathJoined,
    /// Mirror: a segment is copied to a path because a manifest refers to it.
    SegmentBrought,
    /// Slots: a path that joins cannot be completed, and a later seal has left it.
    JoinedAndLeft,
    /// Reinstating: a path is given up because somebody says so.
    SealedWithout,
    /// Slots: a generation is sealed on the path that is left.
    Sealed,
    /// Slots: another slot stands where the seal was to go.
    SealLost,
    /// Floors: several were raised since the last look.
    FloorsPassed,
    /// Floors: the newest is gone again before it is durable.
    FloorVanished,
    /// Floors: the newest that is listed is gone, and an earlier one counts.
    FloorListedAndGone,
    /// Floors: a slot lies below the newest.
    SlotBelowFloor,
    /// Storage: a create that failed took place.
    FailedCreateWon,
    /// Storage: a create was told that the name exists, and it is its own.
    ExistsWasOurs,
    /// Storage: a name is gone after its sync.
    NameLostInSync,
    /// Storage: a name stands for another object after its sync.
    ObjectChangedInSync,
    /// Folding: another process gave the number a manifest, and nothing of this fold can be kept.
    FoldLost,
    /// Folding: another process gave the number a manifest, and this fold is put on that.
    FoldRebased,
    /// Folding: a manifest lies below the floor.
    ManifestBelowFloor,
    /// Folding: a manifest was created and is not there.
    ManifestVanished,
    /// Folding: a segment is gone before a manifest refers to it.
    SegmentVanished,
    /// Folding: the sync of a manifest's name fails, and this process folds no more.
    FoldHalted,
    /// Folding: a manifest is not taken over, since the view is newer or has not come so far.
    ManifestNotAdopted,
    /// Folding: a segment is tagged later than its manifest, since a collection has begun meanwhile.
    ClaimTaggedLater,
    /// Folding: others left it to a process that did not do it in time.
    FoldOverdue,
    /// Collection: something moved while it looked for what is needed, and nothing is deleted.
    CollectionGivenUp,
    /// Collection: manifests begin with the one that a copy counted.
    CopyCollected,
    /// Collection: another process raised the floor first.
    FloorRaceLost,
    /// Opening: a manifest or a run went while it was read, and all is read again.
    LoadedAgain,
    /// Coordination: the one whose turn it is has gone away.
    HeirGone,
    /// Coordination: what was on the bus is published again with a later position.
    OfferedAgain,
    /// Coordination: another process says that it refused an intent of this one.
    RefusalHeard,
    /// Coordination: an intent of this process comes back over the bus.
    OwnIntentCameBack,
    /// Coordination: nobody answered in time, and this process combines by itself.
    PatienceLost,
    /// Coordination: an intent is withdrawn before anybody saw it.
    Withdrawn,
    /// Coordination: an intent cannot be withdrawn, since others may have seen it.
    WithdrawnTooLate,
    /// Commits: what this process stood on was collected, and it begins again from a manifest.
    Reloaded,
    /// Commits: what came over the bus gives a transaction a second outcome.
    HintContradicted,
    /// Commits: every slot that a batch was tried in was another process's.
    RacesLost,
    /// Commits: an intent is in the log already.
    SettledBefore,
    /// Commits: an intent that is still open here is in the log already, and is not sent on.
    OpenAndSettled,
    /// Commits: a slot of changes in turn was lost, and cannot be read any more.
    TurnUnread,
    /// Commits: an intent that lags too far is withdrawn by a record.
    WithdrawWritten,
}

impl Rare {
    /// Counts it on this thread.
    #[cfg(feature = "mutants")]
    pub fn seen(self) {
        SEEN.with(|seen| {
            let count = &seen[self as usize];
            count.set(count.get().saturating_add(1));
        });
    }

    /// Counts nothing.
    #[cfg(not(feature = "mutants"))]
    #[inline]
    pub const fn seen(self) {}

    /// How often each of [`Rare::ALL`] was reached on this thread since this was asked last.
    #[cfg(feature = "mutants")]
    pub fn take() -> [u32; Rare::ALL.len()] {
        SEEN.with(|seen| std::array::from_fn(|i| seen[i].take()))
    }
}

#[cfg(feature = "mutants")]
thread_local! {
    static SEEN: [std::cell::Cell<u32>; Rare::ALL.len()] =
        const { [const { std::cell::Cell::new(0) }; Rare::ALL.len()] };
}
