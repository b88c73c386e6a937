//! Two storage paths that hold one database (S13 of the protocol).
//!
//! An object that several processes contend for (a slot, a manifest, a floor) is created on the active path first, which
//! decides who wins, made durable there, and then created on the passive path. It exists once it stands on both;
//! whoever finds it on the active path alone completes it. So everything that anybody has relied on stands on the
//! passive path, and the database goes on there when the active path is lost. Segments have random names, and are written
//! to both paths at the same time.
//!
//! - [`MirrorStorage`]: the paths as one medium; [`member`]: one of them, and what is known of its health.
//! - [`join`]: a path that comes (back) into force, by a seal that names it; [`MirrorGuide`]: who knows where it is, and what
//!   objects refer to.
//! - [`Unreachable`]: stands for a path that is not there.
//!
//! Which paths are in force is told by the log: a *seal* begins a generation on other paths. The mirror only follows what it
//! is told ([`MirrorStorage::adopt`]), and answers whether a path is lost ([`MirrorStorage::lost`]); the log decides.

mod contended;
mod guide;
mod join;
mod member;
mod object;
mod probe;
mod slow;
mod storage;
mod unreachable;
mod writer;

pub use guide::{KnownPath, MirrorGuide};
pub use join::Sealed;
pub(crate) use probe::{probe, write_probe};
pub use storage::{MirrorParts, MirrorStorage};
pub use unreachable::Unreachable;
