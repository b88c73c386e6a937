//! Newtypes for everything that is counted or named.

use std::fmt;

/// A slot of the log; also a state of the database: everything in slots `..=n` is applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

impl Position {
    /// The state before the first slot.
    pub const ZERO: Position = Position(0);

    /// The position that follows.
    #[must_use]
    pub fn next(self) -> Position {
        Position(self.0.saturating_add(1))
    }
}

/// How often the set of storage paths (or the identity) of a database has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

/// The number of a storage path of a mirrored database; a path that is brought back gets a new one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathId(pub u64);

/// Random bits in the number of a path that joins a database.
const PATH_RANDOM_BITS: u32 = 40;

impl PathId {
    /// The number of a path that is to join the database in this generation. Two that are made for the same generation
    /// differ by their random part.
    pub fn joining(generation: Generation, random: u128) -> PathId {
        let low = u64::try_from(random & ((1 << PATH_RANDOM_BITS) - 1)).unwrap_or(0);
        let generations = (1 << (61 - PATH_RANDOM_BITS)) - 1;
        PathId((generation.0 & generations) << PATH_RANDOM_BITS | low)
    }

    /// Whether this path was made to join the database in this generation, and in no other.
    pub fn joins(self, generation: Generation) -> bool {
        PathId::joining(generation, 0).0 >> PATH_RANDOM_BITS == self.0 >> PATH_RANDOM_BITS
    }

    /// Whether this path may join the database after this generation.
    pub fn joins_after(self, generation: Generation) -> bool {
        self.0 >> PATH_RANDOM_BITS > PathId::joining(generation, 0).0 >> PATH_RANDOM_BITS
    }
}

/// The number of a manifest; manifests have no gaps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ManifestId(pub u64);

/// The number of a floor; floors have no gaps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FloorId(pub u64);

/// The number of a store (a B-tree) within its database; never used twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreId(pub u32);

/// The name of a transaction, random, chosen by its submitter.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TxId(pub u128);

/// The name of a database; a copy takes a new one before it writes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId(pub u128);

/// The name of an immutable segment: the tag that says when it may be collected, and a random part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId {
    /// The manifest for which the segment was written at the earliest.
    pub tag: u64,
    /// Random, so that two writers never meet.
    pub unique: u128,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
impl fmt::Display for PathId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
impl fmt::Display for ManifestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
impl fmt::Display for FloorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
impl fmt::Display for TxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}
impl fmt::Debug for TxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TxId({self})")
    }
}
impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}
impl fmt::Debug for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InstanceId({self})")
    }
}
impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:032x}", self.tag, self.unique)
    }
}
