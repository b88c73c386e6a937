//! [`SimStorage`]: production code's storage, where every operation is a point at which others may
//! go first, or everything may end.

mod append;
mod names;
mod object;
mod writer;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use eciton_engine::base::{Error, Result};
use eciton_engine::storage::{MemoryStorage, Name, Operation};

use crate::clock::yield_now;
use crate::context::Shared;
use crate::disk::{Disk, EIO, ENOSPC, failure};
use crate::executor::{Pace, ProcessId};
use crate::fault::{FaultKind, Rates};
use crate::kernel::Kernel;
use crate::plan::Drawn;
use crate::random::scaled;
use crate::trace::TraceMode;

/// How many of a hundred operations let others go first once more in a world [without faults](SimStorage::without_faults).
const GAP_PERCENT: u64 = 50;
/// Steps that a slow operation takes, at the most.
const SLOW_STEPS_MAX: u64 = 40;

/// A disk as one process sees it.
#[derive(Clone)]
pub struct SimStorage {
    shared: Arc<Shared>,
    disk: Arc<Disk>,
    process: ProcessId,
}

/// What stands in the way of an operation.
enum Trouble {
    /// Nothing.
    None,
    /// It fails with this error of the operating system. The bits choose what is left half-done.
    Errno(i32),
    /// A fault of the operation's own kind, to be injected if it makes sense.
    Own(Drawn),
}

impl SimStorage {
    /// The disk as `process` sees it.
    pub fn new(shared: Arc<Shared>, disk: Arc<Disk>, process: ProcessId) -> SimStorage {
        SimStorage {
            shared,
            disk,
            process,
        }
    }

    /// An empty disk in a world of its own in which nothing fails. Operations still let others go first, as the seed has it.
    pub fn without_faults(seed: u64) -> SimStorage {
        let mut rates = Rates::none();
        rates.gap_percent = GAP_PERCENT;
        let kernel = Arc::new(Kernel::new(1, Pace::Millisecond));
        let shared = Shared::new(kernel, seed, rates, BTreeSet::new(), TraceMode::Off);
        let disk = Disk::new(0, MemoryStorage::new(), None);
        SimStorage::new(Arc::new(shared), Arc::new(disk), ProcessId(0))
    }

    /// The same disk as another process sees it.
    #[must_use]
    pub fn of(&self, process: ProcessId) -> SimStorage {
        SimStorage {
            process,
            ..self.clone()
        }
    }

    /// The disk itself.
    pub fn disk(&self) -> &Arc<Disk> {
        &self.disk
    }

    /// Lets others go first, then says what stands in the way.
    async fn begin(&self, operation: Operation, object: &str, kinds: &[FaultKind]) -> Trouble {
        yield_now().await;
        self.trouble(operation, object, kinds).await
    }

    async fn trouble(&self, operation: Operation, object: &str, kinds: &[FaultKind]) -> Trouble {
        let now = self.shared.kernel.now_ms();
        if let Some(errno) = self.disk.outage(now, self.process, operation, object) {
            self.log(operation, object, format_args!("fails with {errno}"));
            return Trouble::Errno(errno);
        }
        let Some(drawn) = self.shared.draw(kinds) else {
            return Trouble::None;
        };
        match drawn.kind {
            FaultKind::IoError if self.inject(drawn, operation, object) => Trouble::Errno(EIO),
            FaultKind::NoSpace if self.inject(drawn, operation, object) => Trouble::Errno(ENOSPC),
            FaultKind::Slow if self.inject(drawn, operation, object) => {
                for _ in 0..=scaled(drawn.bits, SLOW_STEPS_MAX) {
                    yield_now().await;
                }
                Trouble::None
            }
            FaultKind::IoError | FaultKind::NoSpace | FaultKind::Slow => Trouble::None,
            _ => Trouble::Own(drawn),
        }
    }

    fn inject(&self, drawn: Drawn, operation: Operation, object: &str) -> bool {
        let object = format_args!("{operation} {object}");
        self.shared.inject(Some(self.process), drawn.kind, object)
    }

    fn log(&self, operation: Operation, object: &str, outcome: fmt::Arguments<'_>) {
        let disk = self.disk.number;
        let what = format_args!("disk{disk} {operation} {object}: {outcome}");
        self.shared.log(Some(self.process), what);
    }

    /// Traces a result and hands it on.
    fn traced<T>(
        &self,
        operation: Operation,
        object: &str,
        result: Result<T>,
        show: impl FnOnce(&T) -> String,
    ) -> Result<T> {
        if self.shared.trace.is_on() {
            match &result {
                Ok(value) => self.log(operation, object, format_args!("{}", show(value))),
                Err(error) => self.log(operation, object, format_args!("ERROR {error}")),
            }
        }
        result
    }

    fn note(&self, name: &Name, is_removal: bool) {
        let now = self.shared.kernel.now_ms();
        self.disk.note(now, self.process, name, is_removal);
    }
}

/// An answer of an object store that says nothing about the operation.
fn server_error(operation: Operation, object: impl fmt::Display) -> Error {
    let cause = std::io::Error::other("500 internal server error");
    Error::storage(operation.as_str(), object, &cause)
}

/// The error of an operation whose reply was lost.
fn lost_reply(operation: Operation, object: impl fmt::Display, bits: u64) -> Error {
    let errno = if bits.is_multiple_of(2) {
        crate::disk::ETIMEDOUT
    } else {
        EIO
    };
    failure(operation, object, errno)
}
