//! Names, objects and faults of one database in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::fault::{Fate, Faults};
use super::inode::{Content, Inode, below, coin};
use crate::base::Result;
use crate::base::entropy::SeededEntropy;
use crate::storage::{Created, LockMode, Name, Operation};

/// What a name stood for since its last sync, oldest first: the first is what the disk holds, the
/// last what the machine sees. Never empty.
type Versions = Vec<Option<Arc<Inode>>>;

#[derive(Debug)]
pub(super) struct MemoryState {
    names: BTreeMap<Name, Versions>,
    /// The names with more than one version, so that a sync need not look at the others.
    unsettled: BTreeSet<Name>,
    inode_next: u64,
    /// The mode of the lock and how many hold it; `None` where nobody does.
    pub(super) locked: Option<(LockMode, usize)>,
    pub(super) ops: u64,
    pub(super) bytes_read: u64,
    pub(super) faults: Faults,
}

impl MemoryState {
    pub(super) fn new() -> MemoryState {
        MemoryState {
            names: BTreeMap::new(),
            unsettled: BTreeSet::new(),
            inode_next: 1,
            locked: None,
            ops: 0,
            bytes_read: 0,
            faults: Faults::none(),
        }
    }

    /// Counts a change and says how it ends.
    pub(super) fn begin_change(&mut self, operation: Operation, object: &str) -> Result<Fate> {
        let fate = self.faults.before_change(operation, object)?;
        self.ops += 1;
        assert!(
            !self.faults.is_crashed() || matches!(fate, Fate::Crashed(_)),
            "{operation} of {object} after the crash: {fate:?}"
        );
        Ok(fate)
    }

    /// What stands under `name`.
    pub(super) fn get(&self, name: &Name) -> Option<Arc<Inode>> {
        self.names.get(name)?.last()?.clone()
    }

    /// The names below a directory, `""` for all.
    pub(super) fn list(&self, dir: &str) -> Vec<Name> {
        let prefix = prefix(dir);
        let names = self.names.range::<str, _>(from(&prefix));
        names
            .take_while(|(name, _)| name.as_str().starts_with(&prefix))
            .filter(|(_, versions)| matches!(versions.last(), Some(Some(_))))
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// Gives `bytes` the name, if it is free and `fate` will have it so.
    pub(super) fn create(&mut self, name: &Name, bytes: Bytes, fate: Fate) -> Result<Created> {
        if self.get(name).is_some() {
            return fate.result(Created::Exists);
        }
        if fate.lands(&self.faults.entropy) {
            self.put(name, Content::Whole(bytes));
        }
        fate.result(Created::New)
    }

    /// A new, empty append file, if `fate` will have it so.
    pub(super) fn create_appended(&mut self, name: &Name, fate: Fate) -> Result<Arc<Inode>> {
        let empty = Content::Appended {
            live: Vec::new(),
            durable: Vec::new(),
        };
        match fate {
            Fate::Done => Ok(self.put(name, empty)),
            Fate::Refused(failure) => Err(failure),
            Fate::Crashed(failure) => {
                if coin(&self.faults.entropy) {
                    self.put(name, empty);
                }
                Err(failure)
            }
        }
    }

    /// The next object has this identity, those after it larger ones.
    pub(super) fn number_from(&mut self, first: u64) {
        self.inode_next = self.inode_next.max(first);
    }

    /// The identity that the next object will have.
    pub(super) fn next_id(&self) -> u64 {
        self.inode_next
    }

    /// A new object under `name`, whoever had it.
    pub(super) fn put(&mut self, name: &Name, content: Content) -> Arc<Inode> {
        let inode = Arc::new(Inode {
            id: self.inode_next,
            content: Mutex::new(content),
        });
        self.inode_next += 1;
        assert!(
            inode.id < self.inode_next,
            "identity {} is used once",
            inode.id
        );
        self.set(name, Some(inode.clone()));
        inode
    }

    /// Changes what a name stands for, for the machine.
    pub(super) fn set(&mut self, name: &Name, inode: Option<Arc<Inode>>) {
        self.names
            .entry(name.clone())
            .or_insert_with(|| vec![None])
            .push(inode);
        self.unsettled.insert(name.clone());
        let versions = self.names.get(name).map_or(0, Vec::len);
        assert!(versions > 1, "{name} is unsettled with {versions} versions");
    }

    /// What the machine sees under `name` is what the disk holds.
    pub(super) fn sync_name(&mut self, name: &Name) {
        let Some(versions) = self.names.get_mut(name) else {
            return;
        };
        assert!(!versions.is_empty(), "{name} stands for nothing at all");
        versions.drain(..versions.len() - 1);
        if matches!(versions[..], [None]) {
            self.names.remove(name);
        }
        self.unsettled.remove(name);
        assert!(
            self.names
                .get(name)
                .is_none_or(|versions| versions.len() == 1),
            "{name} is settled"
        );
    }

    /// The same for every name of a directory.
    pub(super) fn sync_dir(&mut self, dir: &str) {
        for name in self.unsettled_in(dir) {
            self.sync_name(&name);
        }
        debug_assert!(
            self.unsettled_in(dir).is_empty(),
            "every name in {dir} is settled"
        );
    }

    /// The names of one directory, not of those below it, whose durable state is open.
    fn unsettled_in(&self, dir: &str) -> Vec<Name> {
        let prefix = prefix(dir);
        let names = self.unsettled.range::<str, _>(from(&prefix));
        names
            .take_while(|name| name.as_str().starts_with(&prefix))
            .filter(|name| name.dir() == dir)
            .cloned()
            .collect()
    }

    /// Each of these names falls back to any state that it had since its last sync, which is durable then.
    fn settle(&mut self, names: Vec<Name>, entropy: &SeededEntropy) {
        for name in names {
            if let Some(versions) = self.names.get_mut(&name) {
                let kept = below(entropy, versions.len());
                assert!(
                    kept < versions.len(),
                    "{name}: version {kept} of {}",
                    versions.len()
                );
                versions.truncate(kept + 1);
                self.sync_name(&name);
            }
        }
    }

    /// Loses what a directory has not synced, and only that.
    pub(super) fn lose_names(&mut self, dir: &str, entropy: &SeededEntropy) {
        self.settle(self.unsettled_in(dir), entropy);
    }

    /// What [`MemoryState::power_loss`] would leave, in place: what is open stays open.
    pub(super) fn lose_power(&mut self, entropy: &SeededEntropy) {
        self.settle(self.unsettled.iter().cloned().collect(), entropy);
        assert!(
            self.unsettled.is_empty(),
            "{} names are unsettled after a power loss",
            self.unsettled.len()
        );
        for inode in self.names.values().flatten().flatten() {
            inode.content.lock().lose_power(entropy);
        }
    }

    /// What a new process finds: all that the machine saw, as unsynced as it is.
    pub(super) fn restart(&self) -> MemoryState {
        let copy = |inode: &Arc<Inode>| duplicate(inode, inode.content.lock().clone());
        let names = self.names.iter().map(|(name, versions)| {
            let versions = versions
                .iter()
                .map(|version| version.as_ref().map(copy))
                .collect();
            (name.clone(), versions)
        });
        MemoryState {
            names: names.collect(),
            unsettled: self.unsettled.clone(),
            inode_next: self.inode_next,
            ..MemoryState::new()
        }
    }

    /// The bytes that stand under `name` and are durable, name included.
    pub(super) fn durable(&self, name: &Name) -> Option<Bytes> {
        let [Some(inode)] = &self.names.get(name)?[..] else {
            return None;
        };
        match &*inode.content.lock() {
            Content::Whole(bytes) => Some(bytes.clone()),
            Content::Appended { durable, .. } => Some(Bytes::copy_from_slice(durable)),
        }
    }

    /// What a new machine finds on the disk.
    pub(super) fn power_loss(&self, entropy: &SeededEntropy) -> MemoryState {
        let mut names = BTreeMap::new();
        for (name, versions) in &self.names {
            if let Some(inode) = &versions[below(entropy, versions.len())] {
                let content = inode.content.lock().after_power_loss(entropy);
                names.insert(name.clone(), vec![Some(duplicate(inode, content))]);
            }
        }
        MemoryState {
            names,
            inode_next: self.inode_next,
            ..MemoryState::new()
        }
    }
}

/// The same object for another machine: what happens here no longer reaches there.
fn duplicate(inode: &Inode, content: Content) -> Arc<Inode> {
    Arc::new(Inode {
        id: inode.id,
        content: Mutex::new(content),
    })
}

/// What the names below a directory begin with, `""` for all.
fn prefix(dir: &str) -> String {
    if dir.is_empty() {
        String::new()
    } else {
        format!("{dir}/")
    }
}

/// Names from `prefix` on.
fn from(prefix: &str) -> (Bound<&str>, Bound<&str>) {
    (Bound::Included(prefix), Bound::Unbounded)
}
