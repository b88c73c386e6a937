//! [`MemoryStorage`]: the trait over memory.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;

use super::fault::Fate;
use super::handle::{MemoryAppendFile, MemoryLock, MemoryObject, MemoryWriter, in_memory};
use super::inode::Content;
use super::state::MemoryState;
use crate::base::entropy::SeededEntropy;
use crate::base::{Error, Result};
use crate::storage::{
    Access, AppendFile, Capabilities, ContentOf, Created, LockGuard, LockMode, Name, Object,
    ObjectWriter, Operation, Stat, Storage,
};

/// A database in memory, for tests and simulations. A clone is another handle on the same; it lives
/// as long as any handle.
///
/// It keeps two states: what a running machine sees, and what its disk holds. They
/// differ exactly where [`Storage`] leaves durability open, so a protocol that
/// forgets a sync works here until [`MemoryStorage::power_loss`], and then fails as it would on a
/// disk, only sooner and by a seed:
///
/// | open | after a power loss |
/// |---|---|
/// | a name or removal without `sync_names` | any state that the name had since its last sync, each name by itself |
/// | bytes that a crash kept from being synced | each sector of 512 bytes old or new, by itself |
/// | a length that a crash kept from being synced | old, new, or between |
///
/// Where a contract says less than a disk does, the disk of this model does no more: `sync_names`
/// settles one directory, `write_durable` the bytes given.
///
/// # Crash at every operation
/// Run once and ask [`MemoryStorage::ops`] for the number N of changes. Then, for each n below N: run
/// on a fresh storage after [`MemoryStorage::crash_after`]`(n, seed)` until everything fails, take
/// [`MemoryStorage::power_loss`] or [`MemoryStorage::restart`], open that, and compare.
///
/// ```
/// use eciton_engine::entropy::SeededEntropy;
/// use eciton_engine::storage::{MemoryStorage, Name, Storage};
///
/// # futures::executor::block_on(async {
/// let storage = MemoryStorage::new();
/// let name = Name::instance();
/// storage.create(&name, b"mine").await?;
/// storage.sync_names(&name).await?;
/// let after = storage.power_loss(&SeededEntropy::new(7));
/// assert_eq!(after.read(&name).await?.as_deref(), Some(&b"mine"[..]));
/// # Ok::<(), eciton_engine::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct MemoryStorage {
    state: Arc<Mutex<MemoryState>>,
    access: Access,
}

impl Default for MemoryStorage {
    fn default() -> MemoryStorage {
        MemoryStorage::new()
    }
}

impl MemoryStorage {
    /// An empty database.
    pub fn new() -> MemoryStorage {
        MemoryStorage::over(MemoryState::new())
    }

    /// An empty database whose objects get identities from `first` on, so that nothing in it can be
    /// taken for an object of another one: for a copy.
    #[must_use]
    pub fn with_identities_from(first: u64) -> MemoryStorage {
        let mut state = MemoryState::new();
        state.number_from(first);
        MemoryStorage::over(state)
    }

    fn over(state: MemoryState) -> MemoryStorage {
        MemoryStorage {
            state: Arc::new(Mutex::new(state)),
            access: Access::ReadWrite,
        }
    }

    /// Another handle on the same database that only reads.
    #[must_use]
    pub fn read_only(&self) -> MemoryStorage {
        MemoryStorage {
            state: self.state.clone(),
            access: Access::ReadOnly,
        }
    }

    /// What a new process finds after this one was killed: everything that was visible, synced or
    /// not, and no lock. A copy: handles of the old database no longer reach it.
    #[must_use]
    pub fn restart(&self) -> MemoryStorage {
        MemoryStorage::over(self.state.lock().restart())
    }

    /// What is found when the machine is switched on again: all that is durable, and of the rest
    /// what `entropy` decides (see the table [above](MemoryStorage)). A copy, unlocked, all of it durable.
    #[must_use]
    pub fn power_loss(&self, entropy: &SeededEntropy) -> MemoryStorage {
        MemoryStorage::over(self.state.lock().power_loss(entropy))
    }

    /// The same, in place: the storage restarts under processes that live on. What they have open
    /// stays open, append files too if their names survive; locks are kept.
    pub fn lose_power(&self, entropy: &SeededEntropy) {
        self.state.lock().lose_power(entropy);
    }

    /// Loses what is not synced of one directory, that of `name`: what a `sync_names` that fails may
    /// leave behind, and seen at once.
    pub fn lose_names(&self, name: &Name, entropy: &SeededEntropy) {
        self.state.lock().lose_names(name.dir(), entropy);
    }

    /// Puts bytes into an append file as the machine sees it, not yet on its disk: a write in the
    /// middle, which a killed process leaves visible and a power loss tears. Cut where the file ends;
    /// `false` where there is no such file.
    pub fn write_unsynced(&self, name: &Name, offset: u64, bytes: &[u8]) -> bool {
        self.change_unsynced(name, |content| {
            content.write_unsynced(in_memory(offset), bytes);
        })
    }

    /// Cuts an append file, or extends it with zeros, as the machine sees it, not yet on its disk;
    /// `false` where there is no such file.
    pub fn resize_unsynced(&self, name: &Name, len: u64) -> bool {
        self.change_unsynced(name, |content| content.resize_unsynced(in_memory(len)))
    }

    fn change_unsynced(&self, name: &Name, change: impl FnOnce(&mut Content)) -> bool {
        let state = self.state.lock();
        let inode = state.get(name);
        if let Some(inode) = &inode {
            change(&mut inode.content.lock());
        }
        inode.is_some()
    }

    /// What a power loss at this moment is certain to leave under `name`: the bytes, `None` where
    /// the name is absent, or not settled yet.
    pub fn durable(&self, name: &Name) -> Option<Bytes> {
        self.state.lock().durable(name)
    }

    /// Lets `changes` more changing operations succeed. The one after them is carried out in part,
    /// as `seed` decides, and fails; so does every operation then, reads included, with
    /// [`Error::Storage`] of kind `Other`, "crashed".
    ///
    /// A write is torn at sectors of 512 bytes; a create, replace or removal takes place or not.
    pub fn crash_after(&self, changes: u64, seed: u64) {
        self.state.lock().faults.crash_after(changes, seed);
    }

    /// Whether the crash has taken place.
    pub fn is_crashed(&self) -> bool {
        self.state.lock().faults.is_crashed()
    }

    /// Makes the next operation of this kind fail with the operating system's `errno`. Nothing of it
    /// takes place, but for a [`Operation::WriteDurable`], which leaves a torn write. Several wait
    /// for their operations in order.
    pub fn inject(&self, operation: Operation, errno: i32) {
        self.state.lock().faults.inject(operation, errno);
    }

    /// Changes the bytes under `name` behind everybody's back, as a failing medium does; `false`
    /// where there is nothing.
    pub fn tamper(&self, name: &Name, change: impl FnOnce(&mut Vec<u8>)) -> bool {
        let state = self.state.lock();
        let Some(inode) = state.get(name) else {
            return false;
        };
        let mut content = inode.content.lock();
        let mut bytes = content.read().to_vec();
        change(&mut bytes);
        *content = match *content {
            Content::Whole(_) => Content::Whole(bytes.into()),
            Content::Appended { .. } => Content::Appended {
                live: bytes.clone(),
                durable: bytes,
            },
        };
        true
    }

    /// Changing operations begun so far, those that failed included: `create`, `sync_names`,
    /// `remove`, `replace`, the creation of an append file, and every call that writes, syncs, allocates,
    /// truncates or finishes.
    pub fn ops(&self) -> u64 {
        self.state.lock().ops
    }

    /// Bytes of objects that reads returned so far.
    pub fn bytes_read(&self) -> u64 {
        self.state.lock().bytes_read
    }

    fn writable(&self) -> Result<()> {
        match self.access {
            Access::ReadWrite => Ok(()),
            Access::ReadOnly => Err(Error::ReadOnly),
        }
    }
}

#[async_trait]
impl Storage for MemoryStorage {
    fn capabilities(&self) -> Capabilities {
        Capabilities::FOLDER
    }

    async fn create(&self, name: &Name, bytes: &[u8]) -> Result<Created> {
        self.writable()?;
        let mut state = self.state.lock();
        let fate = state.begin_change(Operation::Create, name.as_str())?;
        state.create(name, Bytes::copy_from_slice(bytes), fate)
    }

    async fn sync_names(&self, name: &Name) -> Result<()> {
        self.writable()?;
        let mut state = self.state.lock();
        state
            .begin_change(Operation::SyncNames, name.as_str())?
            .result(())?;
        state.sync_dir(name.dir());
        let is_there = state.get(name).is_some();
        debug_assert!(
            !is_there || state.durable(name).is_some(),
            "{name} is there and not durable after a sync"
        );
        Ok(())
    }

    async fn stat(&self, name: &Name) -> Result<Option<Stat>> {
        let mut state = self.state.lock();
        state.faults.before_look(Operation::Stat, name.as_str())?;
        Ok(state.get(name).map(|inode| Stat {
            len: inode.content.lock().len() as u64,
            identity: u128::from(inode.id),
        }))
    }

    async fn read(&self, name: &Name) -> Result<Option<Bytes>> {
        let mut state = self.state.lock();
        state.faults.before_look(Operation::Read, name.as_str())?;
        let Some(inode) = state.get(name) else {
            return Ok(None);
        };
        let bytes = inode.content.lock().read();
        state.bytes_read += bytes.len() as u64;
        Ok(Some(bytes))
    }

    async fn open(&self, name: &Name) -> Result<Option<Arc<dyn Object>>> {
        let mut state = self.state.lock();
        state.faults.before_look(Operation::Open, name.as_str())?;
        let Some(inode) = state.get(name) else {
            return Ok(None);
        };
        let len = inode.content.lock().len() as u64;
        Ok(Some(Arc::new(MemoryObject {
            state: self.state.clone(),
            name: name.clone(),
            inode,
            len,
        })))
    }

    async fn list(&self, dir: &str) -> Result<Vec<Name>> {
        if !dir.is_empty() && Name::parse(dir).is_none() {
            return Err(Error::Invalid(format!(
                "`{dir}` is no directory of a database"
            )));
        }
        let mut state = self.state.lock();
        state.faults.before_look(Operation::List, dir)?;
        Ok(state.list(dir))
    }

    async fn remove(&self, name: &Name) -> Result<bool> {
        self.writable()?;
        let mut state = self.state.lock();
        let fate = state.begin_change(Operation::Remove, name.as_str())?;
        let found = state.get(name).is_some();
        if found && fate.lands(&state.faults.entropy) {
            state.set(name, None);
        }
        fate.result(found)
    }

    async fn writer(&self, name: &Name) -> Result<Box<dyn ObjectWriter>> {
        self.writable()?;
        let state = self.state.clone();
        state
            .lock()
            .faults
            .before_look(Operation::Write, name.as_str())?;
        Ok(Box::new(MemoryWriter {
            state,
            name: name.clone(),
            bytes: Vec::new(),
            failed: None,
        }))
    }

    async fn append_file(&self, name: &Name) -> Result<Box<dyn AppendFile>> {
        self.writable()?;
        let mut state = self.state.lock();
        let inode = if let Some(inode) = state.get(name) {
            state
                .faults
                .before_look(Operation::AppendFile, name.as_str())?;
            inode
        } else {
            let fate = state.begin_change(Operation::AppendFile, name.as_str())?;
            state.create_appended(name, fate)?
        };
        let allocated = inode.content.lock().len() as u64;
        Ok(Box::new(MemoryAppendFile {
            state: self.state.clone(),
            name: name.clone(),
            inode,
            allocated,
            failed: None,
        }))
    }

    async fn replace(&self, name: &Name, content: &ContentOf) -> Result<u128> {
        self.writable()?;
        let mut state = self.state.lock();
        let fate = state.begin_change(Operation::Replace, name.as_str())?;
        let identity = u128::from(state.next_id());
        if fate.lands(&state.faults.entropy) {
            state.put(name, Content::Whole(content(identity).into()));
        }
        assert!(
            u128::from(state.next_id()) >= identity,
            "{name}: identity {identity} comes after {}",
            state.next_id()
        );
        if matches!(fate, Fate::Done) {
            state.sync_name(name);
            assert!(state.durable(name).is_some(), "{name} is durable");
        }
        fate.result(identity)
    }

    async fn lock(&self, mode: LockMode) -> Result<Box<dyn LockGuard>> {
        self.writable()?;
        let mut state = self.state.lock();
        state.faults.before_look(Operation::Lock, Name::LOCK)?;
        let free = match (state.locked, mode) {
            (None, _) | (Some((LockMode::Shared, _)), LockMode::Shared) => true,
            (Some(_), _) => false,
        };
        if !free {
            let host = "this machine".to_owned();
            return Err(Error::Locked {
                path: self.location(),
                pid: std::process::id(),
                host,
            });
        }
        let holders = state.locked.map_or(0, |(_, holders)| holders);
        assert!(
            holders == 0 || mode == LockMode::Shared,
            "{mode:?} beside {holders} holders"
        );
        state.locked = Some((mode, holders + 1));
        Ok(Box::new(MemoryLock {
            state: self.state.clone(),
        }))
    }

    fn location(&self) -> String {
        "memory".to_owned()
    }
}
