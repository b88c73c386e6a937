//! Transactions: a snapshot to read from, what was read, what is to be written.

mod check;
mod context;
mod outgoing;
mod own;
mod pending;
mod place;
mod reads;
mod scan;
mod snapshot;
mod sorted;
mod store;
mod transaction;

pub(crate) use place::{StreamPart, StreamPlace};
pub(crate) use transaction::Tracked;

pub use crate::fold::Pinned;
pub use check::{Check, TxOptions};
pub use context::Context;
pub use scan::{Record, Scan, ScanRange};
pub use snapshot::Snapshot;
pub use store::{Encoding, Store, StoreSchema};
pub use transaction::{Committed, Transaction, Turned};
