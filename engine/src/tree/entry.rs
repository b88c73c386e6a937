//! One write of a run, looked at where it lies.

use bytes::Bytes;

use super::leaf::{Cell, CellKind, OpKind};
use super::lent::LentPage;
use crate::base::Op;

/// One write: of what kind, and with which bytes. Bytes that lie in a page are not copied: the page
/// stays in memory, beyond the budget of the cache if need be, as long as this does.
#[derive(Clone, Debug)]
pub struct FoundEntry(EntryBytes);

#[derive(Clone, Debug)]
enum EntryBytes {
    InPage(LentPage, Cell),
    Owned(OpKind, Bytes),
}

impl FoundEntry {
    /// The entry at `cell` of `page`, unless its value lies apart.
    #[inline]
    pub(super) fn in_page(page: LentPage, cell: Cell) -> Option<FoundEntry> {
        (!cell.kind.is_apart()).then_some(FoundEntry(EntryBytes::InPage(page, cell)))
    }

    /// An entry with a value of its own: read from where it lay apart, or copied.
    pub(super) fn owned(kind: CellKind, value: Bytes) -> FoundEntry {
        FoundEntry(EntryBytes::Owned(kind.op_kind(), value))
    }

    /// What it does to its key.
    #[inline]
    pub fn kind(&self) -> OpKind {
        match &self.0 {
            EntryBytes::InPage(_, cell) => cell.kind.op_kind(),
            EntryBytes::Owned(kind, _) => *kind,
        }
    }

    /// The value or operand; empty for a delete.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        match &self.0 {
            EntryBytes::InPage(page, cell) => cell.payload(page.body()),
            EntryBytes::Owned(_, value) => value,
        }
    }

    /// The value or operand as bytes of their own: copied if they lie in a page, so that holding them
    /// holds no page.
    #[inline]
    pub fn into_payload(self) -> Bytes {
        match self.0 {
            EntryBytes::InPage(page, cell) => Bytes::copy_from_slice(cell.payload(page.body())),
            EntryBytes::Owned(_, value) => value,
        }
    }

    /// As a write of its own: bytes that lie in a page, a few KiB at most, are copied, so that holding
    /// the write holds no page.
    #[inline]
    pub fn into_op(self) -> Op {
        match self.0 {
            EntryBytes::InPage(page, cell) => cell
                .kind
                .op_kind()
                .op(|| Bytes::copy_from_slice(cell.payload(page.body()))),
            EntryBytes::Owned(kind, value) => kind.op(|| value),
        }
    }
}
