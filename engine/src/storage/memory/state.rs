//! Names, objects and faults of one database in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::fault::{Fate, Faults};
use super::inode::{Content, Inode, below, coin};
use crate::base::Result;
use crate::base::entropy::SeededEntropy;
use crate::storage::{Created, Name, Operation};

/// What a name stood for since its last sync, oldest first: the first is what the disk holds, the
/// last what the machine sees. Never empty.
type Versions = Vec<Option<Arc<Inode>>>;

#[derive(Debug)]
pub(super) struct State {
    names: BTreeMap<Name, Versions>,
    inode_next: u64,
    pub(super) locked: bool,
    pub(super) ops: u64,
    pub(super) bytes_read: u64,
    pub(super) faults: Faults,
}

impl State {
    pub(super) fn new() -> State {
        State {
            names: BTreeMap::new(),
            inode_next: 1,
            locked: false,
            ops: 0,
            bytes_read: 0,
            faults: Faults::none(),
        }
    }

    /// Counts a change and says how it ends.
    pub(super) fn begin_change(&mut self, operation: Operation, object: &str) -> Result<Fate> {
        let fate = self.faults.before_change(operation, object)?;
        self.ops += 1;
        Ok(fate)
    }

    /// What stands under `name`.
    pub(super) fn get(&self, name: &Name) -> Option<Arc<Inode>> {
        self.names.get(name)?.last()?.clone()
    }

    /// The names below a directory, `""` for all.
    pub(super) fn list(&self, dir: &str) -> Vec<Name> {
        let below = |name: &Name| {
            dir.is_empty()
                || name
                    .as_str()
                    .strip_prefix(dir)
                    .is_some_and(|rest| rest.starts_with('/'))
        };
        let live = self
            .names
            .iter()
            .filter(|(_, versions)| matches!(versions.last(), Some(Some(_))));
        live.map(|(name, _)| name)
            .filter(|name| below(name))
            .cloned()
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
        self.set(name, Some(inode.clone()));
        inode
    }

    /// Changes what a name stands for, for the machine.
    pub(super) fn set(&mut self, name: &Name, inode: Option<Arc<Inode>>) {
        self.names
            .entry(name.clone())
            .or_insert_with(|| vec![None])
            .push(inode);
    }

    /// What the machine sees under `name` is what the disk holds.
    pub(super) fn sync_name(&mut self, name: &Name) {
        if let Some(versions) = self.names.get_mut(name) {
            versions.drain(..versions.len() - 1);
        }
        self.names
            .retain(|_, versions| !matches!(versions[..], [None]));
    }

    /// The same for every name of a directory.
    pub(super) fn sync_dir(&mut self, dir: &str) {
        for (name, versions) in &mut self.names {
            if name.dir() == dir {
                versions.drain(..versions.len() - 1);
            }
        }
        self.names
            .retain(|_, versions| !matches!(versions[..], [None]));
    }

    /// What a new process finds: all that the machine saw, as unsynced as it is.
    pub(super) fn restart(&self) -> State {
        let copy = |inode: &Arc<Inode>| duplicate(inode, inode.content.lock().clone());
        let names = self.names.iter().map(|(name, versions)| {
            let versions = versions
                .iter()
                .map(|version| version.as_ref().map(copy))
                .collect();
            (name.clone(), versions)
        });
        State {
            names: names.collect(),
            inode_next: self.inode_next,
            ..State::new()
        }
    }

    /// What a new machine finds on the disk.
    pub(super) fn power_loss(&self, entropy: &SeededEntropy) -> State {
        let mut names = BTreeMap::new();
        for (name, versions) in &self.names {
            if let Some(inode) = &versions[below(entropy, versions.len())] {
                let content = inode.content.lock().after_power_loss(entropy);
                names.insert(name.clone(), vec![Some(duplicate(inode, content))]);
            }
        }
        State {
            names,
            inode_next: self.inode_next,
            ..State::new()
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
