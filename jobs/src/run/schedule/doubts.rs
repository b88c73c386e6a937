//! What a process doubts of the files of one job: see [`inquiry`](super::inquiry).

use std::collections::HashMap;
use std::time::{Duration, Instant};

use eciton_engine::entropy::{Entropy as _, SystemEntropy};
use parking_lot::Mutex;

/// What a process doubts of the files of one job.
pub(crate) struct Doubts {
    /// Tells its questions from those of others.
    pub(crate) id: u64,
    pub(crate) state: Mutex<DoubtState>,
    /// Held by the worker that asks, for all of the process.
    pub(crate) asking: Mutex<()>,
}

/// What is doubted now, and what is known of earlier doubts.
#[derive(Default)]
pub(crate) struct DoubtState {
    pub(crate) now: DoubtPhase,
    /// The last question.
    pub(crate) question: u64,
    /// How long it is quarantined next.
    pub(crate) pause: Duration,
    /// Files that nobody else sees, and since when that is known.
    pub(crate) nobody_sees: HashMap<u32, Instant>,
    /// The files could be opened again, and no shard has been computed since.
    pub(crate) is_back: bool,
}

/// What is doubted now.
#[derive(Clone, Default)]
pub(crate) enum DoubtPhase {
    /// Nothing.
    #[default]
    Fine,
    /// Files that are not fine, the first of them with the reason.
    Asking {
        files: Vec<u32>,
        why: String,
        /// `None` before the question is written.
        since: Option<Instant>,
    },
    /// This process takes no shard of the job.
    Quarantined { files: Vec<u32>, until: Instant },
}

/// What becomes of a shard whose file is not fine here.
pub(crate) enum Doubted {
    /// Others may do it: it is given back.
    GivenBack,
    /// The attempt counts; it may be repeated, or not.
    Counts { transient: bool },
}

impl Default for Doubts {
    fn default() -> Doubts {
        let wide = SystemEntropy.next_u128().to_le_bytes();
        Doubts {
            id: wide
                .first_chunk()
                .map_or(0, |low| u64::from_le_bytes(*low) >> 1),
            state: Mutex::default(),
            asking: Mutex::default(),
        }
    }
}

impl Doubts {
    /// A shard was computed here.
    pub(crate) fn computed(&self) {
        let mut state = self.state.lock();
        if state.is_back {
            state.is_back = false;
            state.pause = Duration::ZERO;
        }
    }

    /// Whether nothing is doubted.
    pub(crate) fn is_fine(&self) -> bool {
        matches!(self.state.lock().now, DoubtPhase::Fine)
    }
}
