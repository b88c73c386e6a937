//! The coordinator: hands intents to whoever combines, and answers back. **A hint, never the truth**:
//! it may lose, repeat, delay or forget anything at any moment; the log alone decides. The worst that
//! follows is delay.
//!
//! A database that one process writes alone needs none: [`LocalCoordinator`] is the default. Many processes have a
//! [`SharedCoordinator`] each, over a [`Bus`]: Redis (`coord::redis`), a [`Board`] within one program, or [`Silence`], which
//! leaves everything to the storage.

mod board;
mod bus;
mod coordinator;
mod inbox;
mod intent;
mod local;
mod notes;
mod pending_intents;
#[cfg(feature = "redis")]
pub mod redis;
mod shared;
mod silence;
#[cfg(feature = "internals")]
pub mod wire;
#[cfg(not(feature = "internals"))]
pub(crate) mod wire;

pub use board::Board;
pub use bus::{Answered, Bus, COMBINING, Claimed, Mailbox, OfferId, Offered};
pub use coordinator::Coordinator;
pub use local::LocalCoordinator;
pub use shared::SharedCoordinator;
pub use silence::Silence;

// What passes between the engine and its coordinators.
#[cfg(feature = "internals")]
pub use coordinator::{Answer, Lease, NextStep, Token};
#[cfg(not(feature = "internals"))]
pub(crate) use coordinator::{Answer, Lease, NextStep, Token};
#[cfg(feature = "internals")]
pub use intent::{Intent, KeyRange, Origin, ReadSet, Writes};
#[cfg(not(feature = "internals"))]
pub(crate) use intent::{Intent, KeyRange, Origin, ReadSet, Writes};
pub use notes::Notes;
