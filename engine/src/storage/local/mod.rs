//! A database in a folder of a local or POSIX network file system.
//!
//! An object is a file under its name. It is written and synced under a temporary name first and
//! then linked to its own, so a name never shows a part and never changes owner: `link` fails where
//! the name is taken, on every POSIX file system, NFS included, atomically.
//!
//! # Where durability comes from
//! | what | made durable by |
//! |---|---|
//! | an object's bytes | `fsync` of the temporary file, before `link` |
//! | a name, a removal | `fsync` of its directory in `sync_names` |
//! | a directory | `fsync` of its parent, once a process, before anything is created in it |
//! | bytes of an append file | `fdatasync` after the write; blocks and length are there already |
//!
//! # Where a name leads
//! Every name is found from the descriptor of the folder that was opened (`root`), through no symbolic link: neither
//! a folder that takes its place nor a link inside it leads a process elsewhere.
//!
//! Platform calls stand in `platform` and `root` and nowhere else.

mod append;
mod dirs;
mod folder;
mod links;
mod lock;
mod mount;
mod object;
pub(super) mod platform;
mod root;
mod storage;
mod temp;
#[cfg(test)]
mod tests;
mod writer;

pub use storage::LocalStorage;

/// Runs what may block for long, without holding up other tasks where the runtime has more threads.
fn block<T>(work: impl FnOnce() -> T) -> T {
    use tokio::runtime::{Handle, RuntimeFlavor};
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}
