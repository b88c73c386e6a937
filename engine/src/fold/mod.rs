//! The state of the database and how it is folded: a [`View`] is the immutable trees plus the
//! unfolded tail of the log; folding turns the tail into trees and a [`Manifest`] makes them the new
//! base.

mod cursor;
mod dropped;
mod folder;
mod manifest;
mod ops;
mod plan;
mod table;
mod view;

pub use cursor::{Direction, ViewCursor};
pub use dropped::{CATALOG, CATALOG_DROPPED, full_key, store_of};
pub use folder::{FoldOutcome, FoldPoint, Folder, RunSink};
pub use manifest::{LogPlace, Manifest, RunEntry};
pub use ops::{combine, resolve};
pub use table::Table;
pub use view::{Layer, RunLayer, View, ViewCell};
