//! From an intent to a slot: combining, validation, outcome.
//!
//! - `window`: what was written lately, to judge reads against.
//! - `judge`: decides which intents of a batch commit. No I/O.
//! - `combiner`: writes what was accepted as one slot and applies it.
//! - `submit`: hands an intent over and waits, or combines for everyone who waits.
//! - `upkeep`: folds what has been committed, in the background.

mod combiner;
mod judge;
mod submit;
mod upkeep;
mod window;

pub use combiner::{Combiner, apply};
pub use submit::Committer;
pub use upkeep::Upkeep;
