//! Immutable B+tree runs: sorted writes in one write-once file, searched by pages.
//!
//! A run is what a stretch of the log has been folded into. It is written once, front to back, by a
//! [`RunBuilder`], and never changed; [`Run`] finds single keys, [`Cursor`] walks in both directions,
//! [`Run::check`] reads everything and says what does not hold. `docs/FORMAT.md` has every byte.
//!
//! | file | is |
//! |---|---|
//! | `frame`, `page`, `slab` | what stands before a page's body in the file; pages in memory, and the memory that bodies take |
//! | `decoded` | what taking bytes apart gives |
//! | `compress`, `lz4` | as they are, LZ4, Zstandard; decompressing LZ4 |
//! | `leaf`, `branch` | the bodies of pages, searched in place |
//! | `search` | order by 32-bit heads, shared by both |
//! | `value` | values too long for a leaf, in blocks of their own |
//! | `filter` | which keys a run cannot have |
//! | `trailer` | the end of the file, where reading begins |
//! | `builder`, `seal`, `sink` | writing |
//! | `cache`, `admission`, `lent` | which pages stay in memory |
//! | `run`, `front`, `entry`, `cursor`, `key_buf` | reading |
//! | `check` | proofreading |
//!
//! What reading relies on:
//! - A byte counts only after its checksum held: of the page, the value block, the filter or the
//!   trailer it belongs to. A page's checksum is tied to its offset, so a page in a wrong place fails.
//! - A page in memory has passed `Leaf::parse` or `Branch::parse`: every offset inside it is in
//!   bounds. Damage that a checksum happens to allow can therefore give an error or a wrong order of
//!   keys, which [`Run::check`] finds, and never a panic. A leaf that a lookup reads past the cache is
//!   checked as far as the lookup goes: its header, its arrays, and each cell before it counts.
//! - A page's level is one less than that of the page that refers to it, so every descent ends.

mod admission;
mod branch;
mod builder;
mod cache;
mod check;
mod compress;
mod cursor;
mod decoded;
mod entry;
mod filter;
mod frame;
mod front;
mod key_buf;
mod leaf;
mod lent;
mod lz4;
mod page;
mod run;
mod seal;
mod search;
mod sink;
mod slab;
mod trailer;
mod value;

#[cfg(test)]
mod forgery;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use builder::{RunBuilder, RunOptions, RunSummary};
pub use cache::PageCache;
pub use check::{Problem, RunCheck};
pub use compress::Compression;
pub use cursor::Cursor;
pub use entry::FoundEntry;
pub use leaf::OpKind;
pub use run::{Lookup, Missing, Run};

use crate::base::checksum::checksum64;
use crate::base::limits::KEY_LEN_MAX;

/// Bytes of a key in a run: an encoded key behind the number of its store.
pub const RUN_KEY_LEN_MAX: usize = KEY_LEN_MAX + 4;

/// The newest format of runs that this program writes and reads.
pub const RUN_FORMAT: u32 = 1;

/// The hash of a key by which filters and leaves know it. Computed once a lookup and shared by all
/// runs that are asked.
pub fn key_hash(key: &[u8]) -> u64 {
    checksum64(key)
}
