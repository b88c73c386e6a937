//! A database in memory, and what a crash or a power loss would make of it: see [`MemoryStorage`].

mod fault;
mod handle;
mod inode;
mod state;
mod storage;
#[cfg(test)]
mod tests;

pub use storage::MemoryStorage;
