//! A reference to a sorted run.

use bytes::Bytes;

use super::ids::SegmentId;

/// A sorted run in a segment, as slots and manifests refer to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunRef {
    /// The segment.
    pub id: SegmentId,
    /// Its bytes.
    pub len: u64,
    /// Its entries.
    pub entries: u64,
    /// The hash of its content.
    pub hash: u128,
    /// Its smallest key.
    pub first_key: Bytes,
    /// Its largest key.
    pub last_key: Bytes,
}
