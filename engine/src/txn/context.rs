//! What transactions of one open database share.

use std::sync::Arc;

use crate::base::budget::Budget;
use crate::base::entropy::Entropy;
use crate::commit::Upkeep;
use crate::fold::{Folder, ViewCell};

/// The parts of an open database that its transactions and snapshots keep alive.
pub struct Context {
    /// The state of the database.
    pub view: Arc<ViewCell>,
    /// Writes and opens runs.
    pub folder: Folder,
    /// Names transactions.
    pub entropy: Arc<dyn Entropy>,
    /// The way to the log; `None` where the database was opened for reading.
    pub upkeep: Option<Arc<Upkeep>>,
    /// What all transactions hold in memory.
    pub pending: Arc<Budget>,
}
