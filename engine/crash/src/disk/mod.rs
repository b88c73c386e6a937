//! A medium in memory that forgets what was not synced.
//!
//! It promises what POSIX does and nothing beyond: `fsync` of a file makes its bytes durable and not
//! its name; `fsync` of a directory makes its names durable and not the files' bytes. What the
//! strictest real file system may do on a power loss, this one does by a coin.

mod content;
mod gate;
mod mount;
mod names;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};

use fuser::Errno;

use crate::dice::Dice;
pub use content::{Content, SECTOR_LEN};
pub use gate::{Gate, Tripped, Trouble};
pub use mount::Mounted;
pub use names::{Ino, Names};

/// The directory that is always there.
pub const ROOT: Ino = 1;

/// What is to go wrong, counted from when it was set.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Bytes that all files together may have; `None`: any number.
    pub room: Option<u64>,
    /// The sync that fails, counted from 0.
    pub failing_sync: Option<u64>,
    /// Whether the system goes on showing what the failed sync did not write.
    pub failed_stays: bool,
    /// Syncs do nothing: the medium lies. For showing that the harness notices.
    pub lying: bool,
}

/// What the medium did, for the report.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Syncs of files and directories.
    pub syncs: u64,
    /// Operations that change something, syncs included.
    pub changes: u64,
    /// Syncs that failed.
    pub failed_syncs: u64,
    /// Writes refused for want of room.
    pub refused: u64,
}

/// The medium.
#[derive(Debug)]
pub struct Disk {
    names: Names,
    files: BTreeMap<Ino, Content>,
    open: BTreeMap<Ino, u64>,
    next: Ino,
    dice: Dice,
    faults: Faults,
    /// Syncs since the faults were set.
    syncs: u64,
    /// What it did.
    pub counts: Counts,
}

impl Disk {
    /// An empty medium.
    pub fn new(dice: Dice) -> Disk {
        let mut names = Names::default();
        names.add_dir(ROOT);
        Disk {
            names,
            files: BTreeMap::new(),
            open: BTreeMap::new(),
            next: ROOT + 1,
            dice,
            faults: Faults::default(),
            syncs: 0,
            counts: Counts::default(),
        }
    }

    /// Sets what is to go wrong from now on.
    pub fn set_faults(&mut self, faults: Faults) {
        self.faults = faults;
        self.syncs = 0;
    }

    /// Bytes of all files.
    pub fn used(&self) -> u64 {
        self.files.values().map(|file| file.len() as u64).sum()
    }

    /// Bytes of all files, and bytes that are free.
    pub fn space(&self) -> (u64, u64) {
        (self.used(), self.free() as u64)
    }

    /// Finds a name.
    ///
    /// # Errors
    /// `ENOENT`.
    pub fn lookup(&self, dir: Ino, name: &OsStr) -> Result<Ino, Errno> {
        self.names.find(dir, name).ok_or(Errno::ENOENT)
    }

    /// The length of a file, `None` of a directory; and how many names it has.
    ///
    /// # Errors
    /// `ENOENT`.
    pub fn stat(&self, ino: Ino) -> Result<(Option<u64>, u32), Errno> {
        if self.names.is_dir(ino) {
            return Ok((None, 2));
        }
        let file = self.files.get(&ino).ok_or(Errno::ENOENT)?;
        let links = u32::try_from(self.names.links(ino)).unwrap_or(u32::MAX);
        Ok((Some(file.len() as u64), links))
    }

    /// Creates an empty file.
    ///
    /// # Errors
    /// `EEXIST`, `ENOTDIR`.
    pub fn create(&mut self, dir: Ino, name: &OsStr) -> Result<Ino, Errno> {
        let ino = self.fresh(dir, name)?;
        self.files.insert(ino, Content::default());
        self.names.set(dir, name, Some(ino), &self.dice);
        Ok(ino)
    }

    /// Creates a directory.
    ///
    /// # Errors
    /// `EEXIST`, `ENOTDIR`.
    pub fn mkdir(&mut self, dir: Ino, name: &OsStr) -> Result<Ino, Errno> {
        let ino = self.fresh(dir, name)?;
        self.names.add_dir(ino);
        self.names.set(dir, name, Some(ino), &self.dice);
        Ok(ino)
    }

    fn fresh(&mut self, dir: Ino, name: &OsStr) -> Result<Ino, Errno> {
        self.free_name(dir, name)?;
        let ino = self.next;
        self.next += 1;
        Ok(ino)
    }

    fn free_name(&self, dir: Ino, name: &OsStr) -> Result<(), Errno> {
        if !self.names.is_dir(dir) {
            return Err(Errno::ENOTDIR);
        }
        match self.names.find(dir, name) {
            Some(_) => Err(Errno::EEXIST),
            None => Ok(()),
        }
    }

    /// Gives a file another name.
    ///
    /// # Errors
    /// `EEXIST`, `ENOTDIR`; `EPERM` for a directory.
    pub fn link(&mut self, ino: Ino, dir: Ino, name: &OsStr) -> Result<(), Errno> {
        if !self.files.contains_key(&ino) {
            return Err(Errno::EPERM);
        }
        self.free_name(dir, name)?;
        self.names.set(dir, name, Some(ino), &self.dice);
        Ok(())
    }

    /// Removes a file's name.
    ///
    /// # Errors
    /// `ENOENT`; `EISDIR` for a directory.
    pub fn unlink(&mut self, dir: Ino, name: &OsStr) -> Result<(), Errno> {
        let ino = self.lookup(dir, name)?;
        if self.names.is_dir(ino) {
            return Err(Errno::EISDIR);
        }
        self.names.set(dir, name, None, &self.dice);
        self.collect(ino);
        Ok(())
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// `ENOENT`, `ENOTDIR`, `ENOTEMPTY`.
    pub fn rmdir(&mut self, dir: Ino, name: &OsStr) -> Result<(), Errno> {
        let ino = self.lookup(dir, name)?;
        if !self.names.is_dir(ino) {
            return Err(Errno::ENOTDIR);
        }
        if !self.names.list(ino).is_empty() {
            return Err(Errno::ENOTEMPTY);
        }
        self.names.set(dir, name, None, &self.dice);
        Ok(())
    }

    /// Moves a name; with `replace` whoever has the new one loses it.
    ///
    /// # Errors
    /// `ENOENT`; `EEXIST`; `EISDIR` where a directory is in the way.
    pub fn rename(
        &mut self,
        from: (Ino, &OsStr),
        to: (Ino, &OsStr),
        replace: bool,
    ) -> Result<(), Errno> {
        let ino = self.lookup(from.0, from.1)?;
        let there = self.names.find(to.0, to.1);
        match there {
            Some(_) if !replace => return Err(Errno::EEXIST),
            Some(other) if self.names.is_dir(other) => return Err(Errno::EISDIR),
            _ => {}
        }
        if there == Some(ino) {
            return Ok(());
        }
        self.names.rename(from, to, ino, &self.dice);
        if let Some(other) = there {
            self.collect(other);
        }
        Ok(())
    }

    /// The names in a directory, each with its number and whether it is a directory.
    pub fn list(&self, dir: Ino) -> Vec<(OsString, Ino, bool)> {
        let all = self.names.list(dir).into_iter();
        all.map(|(name, ino)| (name, ino, self.names.is_dir(ino)))
            .collect()
    }

    /// Notes that a process has opened a file.
    pub fn opened(&mut self, ino: Ino) {
        *self.open.entry(ino).or_default() += 1;
    }

    /// Notes that a process has closed a file.
    pub fn closed(&mut self, ino: Ino) {
        if let Some(count) = self.open.get_mut(&ino) {
            *count -= 1;
            if *count == 0 {
                self.open.remove(&ino);
                self.collect(ino);
            }
        }
    }

    /// Forgets a file that nobody can reach any more, not even after a power loss.
    fn collect(&mut self, ino: Ino) {
        if !self.open.contains_key(&ino) && !self.names.is_named(ino) {
            self.files.remove(&ino);
        }
    }

    /// Up to `len` bytes of a file.
    ///
    /// # Errors
    /// `ENOENT`.
    pub fn read(&self, ino: Ino, offset: usize, len: usize) -> Result<&[u8], Errno> {
        let file = self.files.get(&ino).ok_or(Errno::ENOENT)?;
        Ok(file.read(offset, len))
    }

    /// Writes as many of `bytes` as there is room for; at once durably where the file was opened so.
    ///
    /// # Errors
    /// `ENOSPC` where there is no room at all; `EIO` where a durable write fails; `ENOENT`.
    pub fn write(
        &mut self,
        ino: Ino,
        offset: usize,
        bytes: &[u8],
        durably: bool,
    ) -> Result<usize, Errno> {
        let free = self.free();
        let file = self.files.get_mut(&ino).ok_or(Errno::ENOENT)?;
        let room = file.len().saturating_add(free).saturating_sub(offset);
        let len = bytes.len().min(room);
        if len == 0 && !bytes.is_empty() {
            self.counts.refused += 1;
            return Err(Errno::ENOSPC);
        }
        file.write(offset, &bytes[..len], &self.dice);
        if durably {
            self.sync_file(ino, true)?;
        }
        Ok(len)
    }

    /// Bytes that are free.
    fn free(&self) -> usize {
        let Some(room) = self.faults.room else {
            return usize::MAX / 4;
        };
        usize::try_from(room.saturating_sub(self.used())).unwrap_or(usize::MAX / 4)
    }

    /// Cuts or lengthens a file.
    ///
    /// # Errors
    /// `ENOENT`; `ENOSPC`.
    pub fn set_len(&mut self, ino: Ino, len: usize) -> Result<(), Errno> {
        let free = self.free();
        let file = self.files.get_mut(&ino).ok_or(Errno::ENOENT)?;
        if len > file.len().saturating_add(free) {
            self.counts.refused += 1;
            return Err(Errno::ENOSPC);
        }
        file.set_len(len, &self.dice);
        Ok(())
    }

    /// Makes a file's bytes durable, not its name.
    ///
    /// # Errors
    /// `EIO` where this sync is to fail; `ENOENT`.
    pub fn sync_file(&mut self, ino: Ino, data_only: bool) -> Result<(), Errno> {
        let fails = self.sync_fails();
        let stays = self.faults.failed_stays;
        let file = self.files.get_mut(&ino).ok_or(Errno::ENOENT)?;
        if fails {
            file.fail_sync(stays, &self.dice);
            return Err(Errno::EIO);
        }
        if !self.faults.lying {
            file.sync(data_only);
        }
        Ok(())
    }

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// `EIO` where this sync is to fail.
    pub fn sync_dir(&mut self, dir: Ino) -> Result<(), Errno> {
        if self.sync_fails() {
            return Err(Errno::EIO);
        }
        if !self.faults.lying {
            self.names.sync(dir);
        }
        Ok(())
    }

    fn sync_fails(&mut self) -> bool {
        let fails = self.faults.failing_sync == Some(self.syncs);
        self.syncs += 1;
        self.counts.syncs += 1;
        self.counts.failed_syncs += u64::from(fails);
        fails
    }

    /// Loses power: what was not synced is kept or lost, each part by a coin. Nobody has it open.
    pub fn power_loss(&mut self, dice: &Dice) {
        self.names.power_loss(dice);
        self.open.clear();
        let reached = self.reachable();
        self.files.retain(|ino, _| reached.contains(ino));
        self.names.retain_dirs(|dir| reached.contains(&dir));
        for file in self.files.values_mut() {
            file.power_loss(dice);
        }
    }

    fn reachable(&self) -> BTreeSet<Ino> {
        let mut reached = BTreeSet::from([ROOT]);
        let mut dirs = vec![ROOT];
        while let Some(dir) = dirs.pop() {
            for (_, ino, is_dir) in self.list(dir) {
                if reached.insert(ino) && is_dir {
                    dirs.push(ino);
                }
            }
        }
        reached
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(seed: u64) -> Disk {
        Disk::new(Dice::new(seed))
    }

    #[test]
    fn a_file_in_a_directory_without_a_durable_name_is_lost() {
        let mut lost = 0;
        for seed in 0..50 {
            let mut disk = disk(seed);
            let dir = disk.mkdir(ROOT, OsStr::new("d")).unwrap();
            let file = disk.create(dir, OsStr::new("f")).unwrap();
            disk.write(file, 0, b"abc", false).unwrap();
            disk.sync_file(file, false).unwrap();
            disk.sync_dir(dir).unwrap();
            disk.power_loss(&Dice::new(seed));
            match disk.lookup(ROOT, OsStr::new("d")) {
                Ok(dir) => {
                    let file = disk.lookup(dir, OsStr::new("f")).unwrap();
                    assert_eq!(disk.read(file, 0, 9).unwrap(), b"abc");
                }
                Err(_) => {
                    lost += 1;
                    assert_eq!(disk.used(), 0);
                }
            }
        }
        assert!((1..50).contains(&lost), "{lost} of 50");
    }

    #[test]
    fn a_full_medium_takes_what_fits() {
        let mut disk = disk(1);
        let room = Some(1000);
        disk.set_faults(Faults {
            room,
            ..Faults::default()
        });
        let file = disk.create(ROOT, OsStr::new("f")).unwrap();
        assert_eq!(disk.write(file, 0, &[1; 600], false), Ok(600));
        assert_eq!(disk.write(file, 600, &[1; 600], false), Ok(400));
        assert_eq!(disk.write(file, 1000, &[1; 600], false), Err(Errno::ENOSPC));
        assert_eq!(disk.write(file, 0, &[2; 600], false), Ok(600));
        disk.set_len(file, 100).unwrap();
        assert_eq!(disk.write(file, 100, &[1; 600], false), Ok(600));
    }

    #[test]
    fn an_open_file_without_a_name_can_be_read() {
        let mut disk = disk(1);
        let file = disk.create(ROOT, OsStr::new("f")).unwrap();
        disk.opened(file);
        disk.sync_dir(ROOT).unwrap();
        disk.write(file, 0, b"abc", false).unwrap();
        disk.unlink(ROOT, OsStr::new("f")).unwrap();
        disk.sync_dir(ROOT).unwrap();
        assert_eq!(disk.read(file, 0, 9).unwrap(), b"abc");
        disk.closed(file);
        assert!(disk.read(file, 0, 9).is_err());
    }

    #[test]
    fn a_lying_medium_keeps_nothing_for_certain() {
        let lost = (0..20).filter(|seed| {
            let mut disk = disk(*seed);
            let lying = true;
            disk.set_faults(Faults {
                lying,
                ..Faults::default()
            });
            disk.create(ROOT, OsStr::new("f")).unwrap();
            disk.sync_dir(ROOT).unwrap();
            disk.power_loss(&Dice::new(*seed));
            disk.lookup(ROOT, OsStr::new("f")).is_err()
        });
        assert!(lost.count() > 0);
    }
}
