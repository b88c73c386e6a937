//! The state of the database and how it is folded: a [`View`] is the immutable trees plus the
//! unfolded tail of the log; folding turns the tail into trees and a [`Manifest`] makes them the new
//! base.

mod claims;
mod collect;
mod compact;
mod cursor;
mod dropped;
mod folder;
mod folding;
mod inline;
mod load;
mod manifest;
mod memtable;
mod memtable_filter;
mod ops;
mod pinned;
mod plan;
mod publish;
mod sink;
mod view;
mod walk_direction;
mod write_walk;

pub use claims::{Claim, Claims};
pub use collect::{CollectOutcome, Keep};
pub use compact::Compaction;
pub use cursor::{Presence, ViewCursor};
pub use dropped::{CATALOG, CATALOG_DROPPED, CATALOG_STORE, full_key, store_of};
pub use folder::{FoldPoint, Folder};
pub use folding::{FoldOutcome, Scope};
pub use inline::InlineLimits;
pub use load::Base;
pub use manifest::{LogPlace, Manifest, RunEntry};
pub use memtable::Memtable;
pub use ops::{combine, resolve};
pub use pinned::Pinned;
pub use sink::RunSink;
pub use view::{Layer, MemtablePart, RunLayer, View, ViewCell};
pub use walk_direction::WalkDirection;
