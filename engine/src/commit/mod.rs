//! From an intent to a slot: combining, validation, outcome.
//!
//! - `chain`: the hashes of recent slots, so that two histories are never mixed.
//! - `window`: what was written lately, to validate reads against.
//! - `validate`: decides which intents of a batch commit. No I/O.
//! - `combiner`: follows the log, writes what was accepted as its next slot, and applies both.
//! - `draft`: a transaction that is to be committed.
//! - `submit`: hands an intent over and waits, or combines for everyone who waits.
//! - `turns`: who waits to run after others that write the same.
//! - `lead`: lets those run, and commits them in one slot.
//! - `upkeep`: folds what has been committed, in the background.
//! - `background`: waits for what runs there.
//! - `space`: collects what nothing refers to, and compacts; `spent` says when that is due.

mod background;
mod chain;
mod combiner;
mod draft;
mod lead;
mod space;
mod spent;
mod submit;
mod turns;
mod upkeep;
mod validate;
mod window;

pub use combiner::{Combined, Combiner, Parts, Witness, apply};
pub use draft::Draft;
pub use space::CompactOutcome;
pub use submit::{Committer, Settled};
pub use turns::{Ticket, Turn, TurnOutcome};
pub use upkeep::Upkeep;
