//! Breaking off a query at work.
//!
//! A query is computed on one thread, which its shard has while a batch of its output is computed. So what may
//! end it early lies in that thread, and everything that runs through batches looks at it: operators of this
//! crate, functions, and the [guards](super::guard) between DataFusion's operators.

use std::cell::RefCell;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

use datafusion::error::{DataFusionError, Result};

/// Says whether a query is to end early.
pub type Interrupt = Arc<dyn Fn() -> bool + Send + Sync>;

thread_local! {
    static CURRENT: RefCell<Option<Interrupt>> = const { RefCell::new(None) };
}

/// What stands for the rows of a query that was broken off.
#[derive(Debug)]
struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the query was broken off")
    }
}

impl Error for Interrupted {}

/// Computes on this thread what `interrupt` may end early.
pub(super) fn within<T>(interrupt: &Interrupt, work: impl FnOnce() -> T) -> T {
    /// Puts back what was there before, also after a panic.
    struct EnclosingInterrupt(Option<Interrupt>);
    impl Drop for EnclosingInterrupt {
        fn drop(&mut self) {
            CURRENT.replace(self.0.take());
        }
    }
    let before = CURRENT.replace(Some(Arc::clone(interrupt)));
    let _before = EnclosingInterrupt(before);
    work()
}

/// Fails where the query of this thread is to end.
///
/// # Errors
/// [`Interrupted`].
pub(super) fn check() -> Result<()> {
    let ends = CURRENT.with_borrow(|current| current.as_ref().is_some_and(|ends| ends()));
    match ends {
        true => Err(interrupted()),
        false => Ok(()),
    }
}

/// The error of a query that was broken off.
pub(super) fn interrupted() -> DataFusionError {
    DataFusionError::External(Box::new(Interrupted))
}

/// Whether an error is that of a query that was broken off. Operators that share an error wrap it.
pub(super) fn is_interrupted(error: &DataFusionError) -> bool {
    matches!(error.find_root(), DataFusionError::External(inner) if inner.is::<Interrupted>())
}

/// Never ends a query early.
pub fn never() -> Interrupt {
    Arc::new(|| false)
}
