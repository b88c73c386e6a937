//! The medium as a file system of this machine, through FUSE.
//!
//! Files are opened with `direct_io`, so that every read, write and sync of a process arrives here as
//! it was called: the kernel keeps no page and delays no write.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem,
    FopenFlags, Generation, INodeNo, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr,
    ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs,
    ReplyWrite, Request, Session, TimeOrNow, WriteFlags,
};
use rustix::fs::OFlags;
use rustix::mount::{UnmountFlags, unmount};

use super::gate::Gate;
use super::{Disk, Ino, SECTOR_LEN};

/// How long the kernel may remember names and attributes: nothing changes them but through it.
const REMEMBERED: Duration = Duration::from_hours(1);
/// How often unmounting is tried while a process that was killed still lets go of its files.
const UNMOUNTS_MAX: usize = 400;

/// The medium, mounted. Dropping it unmounts.
pub struct Mounted {
    session: Option<BackgroundSession>,
    at: PathBuf,
}

impl Mounted {
    /// Mounts the medium on the folder `at`.
    ///
    /// # Errors
    /// What the machine refuses: no `/dev/fuse`, or no right to mount.
    pub fn new(gate: Arc<Gate>, at: &Path) -> io::Result<Mounted> {
        let mut config = Config::default();
        config.mount_options = vec![
            MountOption::FSName("eciton-crash".to_owned()),
            MountOption::NoAtime,
        ];
        let session = Session::new(Served { gate }, at, &config)?.spawn()?;
        Ok(Mounted {
            session: Some(session),
            at: at.to_owned(),
        })
    }

    /// Unmounts, and waits until no request is under way.
    ///
    /// # Errors
    /// A process still uses it.
    pub fn unmount(mut self) -> io::Result<()> {
        self.end()
    }

    fn end(&mut self) -> io::Result<()> {
        let Some(session) = self.session.take() else {
            return Ok(());
        };
        for _ in 1..UNMOUNTS_MAX {
            match unmount(&self.at, UnmountFlags::empty()) {
                Err(rustix::io::Errno::BUSY) => std::thread::sleep(Duration::from_millis(5)),
                Ok(()) => return join(session),
                // Who may not unmount mounted with the help of `fusermount3`: so does this.
                Err(_) => return session.umount_and_join(),
            }
        }
        // Nobody may hang on it, whatever else went wrong.
        unmount(&self.at, UnmountFlags::DETACH | UnmountFlags::FORCE)?;
        let why = format!("{}: still in use", self.at.display());
        Err(io::Error::other(why))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(cause) = self.end() {
            eprintln!("{}: not unmounted: {cause}", self.at.display());
        }
    }
}

/// Waits for the thread that serves; it ends with the mount.
fn join(session: BackgroundSession) -> io::Result<()> {
    let ended = session.guard.join();
    ended.unwrap_or_else(|_| Err(io::Error::other("the file system panicked")))
}

/// Serves the kernel's requests.
struct Served {
    gate: Arc<Gate>,
}

fn attributes(disk: &Disk, ino: Ino) -> Result<FileAttr, Errno> {
    let (len, nlink) = disk.stat(ino)?;
    let size = len.unwrap_or(0);
    Ok(FileAttr {
        ino: INodeNo(ino),
        size,
        blocks: size.div_ceil(SECTOR_LEN as u64),
        atime: SystemTime::UNIX_EPOCH,
        mtime: SystemTime::UNIX_EPOCH,
        ctime: SystemTime::UNIX_EPOCH,
        crtime: SystemTime::UNIX_EPOCH,
        kind: len.map_or(FileType::Directory, |_| FileType::RegularFile),
        perm: if len.is_some() { 0o644 } else { 0o755 },
        nlink,
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        rdev: 0,
        blksize: 4096,
        flags: 0,
    })
}

fn offset(offset: u64) -> Result<usize, Errno> {
    usize::try_from(offset).map_err(|_| Errno::EFBIG)
}

fn is_durable(flags: OpenFlags) -> bool {
    let flags = OFlags::from_bits_retain(flags.0.cast_unsigned());
    flags.contains(OFlags::SYNC) || flags.contains(OFlags::DSYNC)
}

impl Served {
    fn entry(&self, done: Result<Ino, Errno>, reply: ReplyEntry) {
        let found = done.and_then(|ino| attributes(&self.gate.look(), ino));
        match found {
            Ok(attr) => reply.entry(&REMEMBERED, &attr, Generation(0)),
            Err(errno) => reply.error(errno),
        }
    }

    fn resize(&self, ino: Ino, size: Option<u64>) -> Result<FileAttr, Errno> {
        match size {
            Some(size) => {
                let mut disk = self.gate.change()?;
                disk.set_len(ino, offset(size)?)?;
                attributes(&disk, ino)
            }
            None => attributes(&self.gate.look(), ino),
        }
    }
}

fn answer(done: Result<(), Errno>, reply: ReplyEmpty) {
    match done {
        Ok(()) => reply.ok(),
        Err(errno) => reply.error(errno),
    }
}

impl Filesystem for Served {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let asked = self.gate.ask();
        let found = asked.and_then(|disk| disk.lookup(parent.0, name));
        self.entry(found, reply);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.gate.ask().and_then(|disk| attributes(&disk, ino.0)) {
            Ok(attr) => reply.attr(&REMEMBERED, &attr),
            Err(errno) => reply.error(errno),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        match self.resize(ino.0, size) {
            Ok(attr) => reply.attr(&REMEMBERED, &attr),
            Err(errno) => reply.error(errno),
        }
    }

    fn mkdir(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        let made = self.gate.change();
        let made = made.and_then(|mut disk| disk.mkdir(parent.0, name));
        self.entry(made, reply);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let gate = self.gate.change();
        answer(gate.and_then(|mut disk| disk.unlink(parent.0, name)), reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let gate = self.gate.change();
        answer(gate.and_then(|mut disk| disk.rmdir(parent.0, name)), reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if flags.contains(RenameFlags::RENAME_EXCHANGE) {
            return reply.error(Errno::EINVAL);
        }
        let replace = !flags.contains(RenameFlags::RENAME_NOREPLACE);
        let gate = self.gate.change();
        let (from, to) = ((parent.0, name), (newparent.0, newname));
        answer(
            gate.and_then(|mut disk| disk.rename(from, to, replace)),
            reply,
        );
    }

    fn link(
        &self,
        _: &Request,
        ino: INodeNo,
        newparent: INodeNo,
        newname: &OsStr,
        reply: ReplyEntry,
    ) {
        let gate = self.gate.change();
        let linked = gate.and_then(|mut disk| disk.link(ino.0, newparent.0, newname));
        self.entry(linked.map(|()| ino.0), reply);
    }

    fn open(&self, _: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let wants = OFlags::from_bits_retain(flags.0.cast_unsigned());
        let truncated = if wants.contains(OFlags::TRUNC) {
            self.resize(ino.0, Some(0)).map(drop)
        } else {
            Ok(())
        };
        match truncated {
            Ok(()) => {
                self.gate.look().opened(ino.0);
                reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        let created = self.gate.change().and_then(|mut disk| {
            let ino = disk.create(parent.0, name)?;
            disk.opened(ino);
            attributes(&disk, ino)
        });
        match created {
            Ok(attr) => {
                let (handle, flags) = (FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
                reply.created(&REMEMBERED, &attr, Generation(0), handle, flags);
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn release(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.gate.look().closed(ino.0);
        reply.ok();
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        at: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let disk = match self.gate.ask() {
            Ok(disk) => disk,
            Err(errno) => return reply.error(errno),
        };
        let bytes = offset(at).and_then(|at| disk.read(ino.0, at, size as usize));
        match bytes {
            Ok(bytes) => reply.data(bytes),
            Err(errno) => reply.error(errno),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        at: u64,
        data: &[u8],
        _: WriteFlags,
        flags: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let written = self.gate.change().and_then(|mut disk| {
            let len = disk.write(ino.0, offset(at)?, data, is_durable(flags))?;
            u32::try_from(len).map_err(|_| Errno::EFBIG)
        });
        match written {
            Ok(len) => reply.written(len),
            Err(errno) => reply.error(errno),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, data_only: bool, reply: ReplyEmpty) {
        let gate = self.gate.change();
        answer(
            gate.and_then(|mut disk| disk.sync_file(ino.0, data_only)),
            reply,
        );
    }

    fn fsyncdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        _data_only: bool,
        reply: ReplyEmpty,
    ) {
        let gate = self.gate.change();
        answer(gate.and_then(|mut disk| disk.sync_dir(ino.0)), reply);
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        from: u64,
        mut reply: ReplyDirectory,
    ) {
        let own = [(".", ino.0), ("..", ino.0)].map(|(name, ino)| (name.into(), ino, true));
        let all = own.into_iter().chain(self.gate.look().list(ino.0));
        for (index, (name, ino, is_dir)) in (0..).zip(all) {
            let kind = if is_dir {
                FileType::Directory
            } else {
                FileType::RegularFile
            };
            if index >= from && reply.add(INodeNo(ino), index + 1, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let (used, free) = self.gate.look().space();
        let (used, free) = (used / SECTOR_LEN as u64, free / SECTOR_LEN as u64);
        let len = u32::try_from(SECTOR_LEN).unwrap_or(512);
        reply.statfs(used + free, free, free, 1 << 20, 1 << 20, len, 255, len);
    }

    fn fallocate(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        at: u64,
        len: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        if mode != 0 {
            return reply.error(Errno::EOPNOTSUPP);
        }
        let done = self.gate.change().and_then(|mut disk| {
            let end = offset(at.saturating_add(len))?;
            let there = disk.stat(ino.0)?.0.unwrap_or(0);
            if end as u64 > there {
                disk.set_len(ino.0, end)?;
            }
            Ok(())
        });
        answer(done, reply);
    }
}
