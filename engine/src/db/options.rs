//! How a database is opened.

use std::sync::Arc;

use crate::base::Bounds;
use crate::base::clock::{Clock, SystemClock};
use crate::base::entropy::{Entropy, SystemEntropy};
use crate::base::spawn::{RayonSpawner, Spawner};
use crate::commit::Witness;
use crate::coord::{Coordinator, LocalCoordinator};
use crate::tree::Compression;

/// What users choose.
#[derive(Clone, Debug)]
pub struct Options {
    /// Create the database if there is none.
    pub create: bool,
    /// Bytes of the page cache.
    pub cache_len_max: usize,
    /// Bytes of unfolded tail in memory that start a fold. Commits wait once there are twice as
    /// many.
    pub fold_len_min: usize,
    /// How pages of runs are compressed that are written from now on; those that are there are read whatever
    /// they are. LZ4 by default.
    pub compression: Compression,
    /// Who else may write to the database meanwhile.
    pub mode: Mode,
    /// Bounds of the protocol; only tests have a reason to change them.
    pub bounds: Bounds,
}

/// Who writes to a database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// One process, which excludes all others that would write.
    #[default]
    Standalone,
    /// Any number of processes on any machines that see the folder. The folder is the same: a database
    /// may be opened standalone today and clustered tomorrow.
    Clustered,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            create: true,
            cache_len_max: 64 * 1024 * 1024,
            fold_len_min: 8 * 1024 * 1024,
            compression: Compression::Lz4,
            mode: Mode::Standalone,
            bounds: Bounds::default(),
        }
    }
}

/// What the engine takes from outside besides storage, so that a test can replay it.
#[derive(Clone)]
pub struct Environment {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Background work.
    pub spawner: Arc<dyn Spawner>,
    /// Hints between submitters.
    pub coordinator: Arc<dyn Coordinator>,
    /// Told of every slot before it is applied; for simulations and audits.
    pub witness: Option<Arc<dyn Witness>>,
}

impl Default for Environment {
    fn default() -> Environment {
        Environment {
            clock: Arc::new(SystemClock::new()),
            entropy: Arc::new(SystemEntropy),
            spawner: Arc::new(RayonSpawner),
            coordinator: Arc::new(LocalCoordinator::new()),
            witness: None,
        }
    }
}
