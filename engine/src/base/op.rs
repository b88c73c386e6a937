//! What a write does to its key.

use bytes::Bytes;

/// One write. A key has at most one in a transaction: later ones are folded into it there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// The key now has this value, whatever was before.
    Put(Bytes),
    /// The key is gone, whatever was before.
    Delete,
    /// The operand is merged into whatever is there; onto nothing it becomes the value.
    Merge(Bytes),
}

impl Op {
    /// Whether nothing below this write can be seen through it.
    pub fn hides_older(&self) -> bool {
        !matches!(self, Op::Merge(_))
    }

    /// The bytes carried: a value or an operand, none for a delete.
    pub fn payload(&self) -> &[u8] {
        match self {
            Op::Put(bytes) | Op::Merge(bytes) => bytes,
            Op::Delete => &[],
        }
    }
}
