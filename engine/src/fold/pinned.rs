//! A value, looked at where it was found.

use std::ops::Deref;

use bytes::Bytes;

use crate::tree::FoundEntry;

/// A value that is lent: one that lies in a page is not copied, and the page stays in memory, beyond the
/// budget of the cache if need be, as long as this does.
#[derive(Clone, Debug)]
pub struct Pinned(PinnedBytes);

#[derive(Clone, Debug)]
enum PinnedBytes {
    Entry(FoundEntry),
    Bytes(Bytes),
}

impl Pinned {
    /// The value as bytes that hold no page: copied if it lies in one.
    #[inline]
    pub fn into_bytes(self) -> Bytes {
        match self.0 {
            PinnedBytes::Entry(entry) => entry.into_payload(),
            PinnedBytes::Bytes(bytes) => bytes,
        }
    }
}

impl From<FoundEntry> for Pinned {
    #[inline]
    fn from(entry: FoundEntry) -> Pinned {
        Pinned(PinnedBytes::Entry(entry))
    }
}

impl From<Bytes> for Pinned {
    #[inline]
    fn from(bytes: Bytes) -> Pinned {
        Pinned(PinnedBytes::Bytes(bytes))
    }
}

impl Deref for Pinned {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            PinnedBytes::Entry(entry) => entry.payload(),
            PinnedBytes::Bytes(bytes) => bytes,
        }
    }
}

impl AsRef<[u8]> for Pinned {
    fn as_ref(&self) -> &[u8] {
        self
    }
}
