//! The log: a gap-free, hash-chained sequence of write-once slots. What is in it is committed.
//!
//! - [`record`]: what one transaction does; [`slot`]: the records that were committed together.
//! - [`mod@file`]: the head of a log file, which holds consecutive slots from its first.
//! - [`append`]: writes the next slot, durably, in one write, where one process writes.
//! - [`slots`]: creates the next slot as a file of its own, where many processes do.
//! - [`once`]: write-once objects among several writers; [`floor`]: what collection has passed.
//! - [`Tail`]: the end of the log in either form.
//! - [`replay`]: reads slots back, tells a torn end from damage.
//!
//! Invariants, asserted where they can be seen: slot `n+1` is written only after slot `n` is durable
//! (no gaps), a slot's `prev` is the hash of the slot before it, and a name is never used twice.

pub mod append;
pub mod file;
pub mod floor;
pub mod once;
pub mod record;
pub mod replay;
pub mod slot;
pub mod slots;
mod tail;

pub use append::{AppendError, LogWriter};
pub use floor::{Floor, Floors};
pub use record::{Body, LogRecord};
pub use replay::{LogEnd, LogStart, Replay, Strictness};
pub use slot::{Slot, SlotHeader};
pub use slots::{Attempt, Followed, SlotLog};
pub use tail::Tail;
