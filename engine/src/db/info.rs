//! What a database says of itself.

use crate::base::{Generation, InstanceId, ManifestId, Position};

/// The state of an open database, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// Where it is.
    pub location: String,
    /// Its name.
    pub instance: InstanceId,
    /// The version of its format.
    pub format: u32,
    /// Its generation.
    pub generation: Generation,
    /// The newest slot.
    pub position: Position,
    /// The newest manifest.
    pub manifest: ManifestId,
    /// The slot up to which that manifest has folded the log.
    pub folded: Position,
    /// Runs, those of bulk records that are not folded yet included.
    pub runs: u64,
    /// Bytes of these runs.
    pub runs_len: u64,
    /// Entries of these runs: records, deletes and operands.
    pub runs_entries: u64,
    /// Bytes of the unfolded tail in memory, about.
    pub tail_len: u64,
    /// Slots that opening had to replay.
    pub replayed_slots: u64,
    /// What stood at the end of the log beyond the last whole slot, as a crash leaves it.
    pub torn_tail: Option<String>,
    /// The folder is a copy that nobody has written to yet.
    pub copied: bool,
}
