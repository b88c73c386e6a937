//! An object that is written and durable, and has no name yet.

use std::any::Any;

/// What [`Storage::prepare`](super::Storage::prepare) hands to [`Storage::publish`](super::Storage::publish); only the
/// medium that made it knows what it is.
pub struct Prepared(Box<dyn Any + Send>);

impl Prepared {
    /// Wraps what a medium has prepared.
    pub fn new<T: Send + 'static>(prepared: T) -> Prepared {
        Prepared(Box::new(prepared))
    }

    /// What was prepared, if it is of this kind.
    pub fn into_inner<T: 'static>(self) -> Option<T> {
        self.0.downcast().ok().map(|prepared| *prepared)
    }
}
