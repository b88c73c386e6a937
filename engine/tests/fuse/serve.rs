//! Serves what the kernel of one machine asks, out of the server's folder.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{DirEntryExt, FileExt, MetadataExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, InitFlags, KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate,
    ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request, TimeOrNow,
    WriteFlags,
};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};

use super::netfs::{Ask, Faults, Held, Machine, Server};

const ROOT: u64 = 1;
/// `F_WRLCK`, `F_UNLCK`.
const EXCLUSIVE: i32 = 1;
const RELEASED: i32 = 2;

type Node = (Arc<OwnedFd>, u64);

/// One machine's way to the server.
pub(crate) struct Served {
    server: Arc<Server>,
    machine: Machine,
    number: u64,
    faults: Arc<Faults>,
    /// What the kernel knows, and how often it was told.
    nodes: Mutex<HashMap<u64, Node>>,
    files: Mutex<HashMap<u64, Arc<File>>>,
    /// What directories that are open held when they were.
    listed: Mutex<HashMap<u64, Vec<Listed>>>,
    next: AtomicU64,
}

type Listed = (u64, FileType, OsString);

fn own(errno: rustix::io::Errno) -> Errno {
    Errno::from_i32(errno.raw_os_error())
}

fn of_io(cause: io::Error) -> Errno {
    Errno::from_i32(cause.raw_os_error().unwrap_or(5))
}

/// The file behind a handle on its name, to be opened anew.
fn place(node: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", node.as_raw_fd()))
}

fn attributes(file: &File, is_root: bool) -> Result<FileAttr, Errno> {
    let metadata = file.metadata().map_err(of_io)?;
    let time = |at: io::Result<SystemTime>| at.unwrap_or(SystemTime::UNIX_EPOCH);
    Ok(FileAttr {
        ino: INodeNo(if is_root { ROOT } else { metadata.ino() }),
        size: metadata.len(),
        blocks: metadata.blocks(),
        atime: time(metadata.accessed()),
        mtime: time(metadata.modified()),
        ctime: time(metadata.modified()),
        crtime: SystemTime::UNIX_EPOCH,
        kind: FileType::from_std(metadata.file_type()).unwrap_or(FileType::RegularFile),
        perm: (metadata.mode() & 0o7777) as u16,
        nlink: metadata.nlink() as u32,
        uid: metadata.uid(),
        gid: metadata.gid(),
        rdev: 0,
        blksize: 4096,
        flags: 0,
    })
}

impl Served {
    pub(crate) fn new(
        server: &Arc<Server>,
        machine: Machine,
        number: u64,
        faults: &Arc<Faults>,
    ) -> Served {
        let root = rustix::fs::open(server.folder(), OFlags::PATH, Mode::empty()).unwrap();
        Served {
            server: Arc::clone(server),
            machine,
            number,
            faults: Arc::clone(faults),
            nodes: Mutex::new(HashMap::from([(ROOT, (Arc::new(root), 1))])),
            files: Mutex::default(),
            listed: Mutex::default(),
            next: AtomicU64::new(1),
        }
    }

    fn node(&self, ino: INodeNo) -> Result<Arc<OwnedFd>, Errno> {
        let nodes = self.nodes.lock().unwrap();
        let node = nodes.get(&ino.0).ok_or(Errno::ESTALE)?;
        Ok(Arc::clone(&node.0))
    }

    fn attr(&self, ino: INodeNo) -> Result<FileAttr, Errno> {
        let node = self.node(ino)?;
        attributes(&File::from(node.try_clone().map_err(of_io)?), ino.0 == ROOT)
    }

    /// Asks the server for a name, and remembers that the kernel knows it.
    fn find(&self, parent: INodeNo, name: &OsStr) -> Result<FileAttr, Errno> {
        let parent = self.node(parent)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let found = rustix::fs::openat(&*parent, name, flags, Mode::empty()).map_err(own)?;
        let attr = attributes(&File::from(found.try_clone().map_err(of_io)?), false)?;
        let mut nodes = self.nodes.lock().unwrap();
        nodes
            .entry(attr.ino.0)
            .or_insert_with(|| (Arc::new(found), 0))
            .1 += 1;
        Ok(attr)
    }

    fn entry(&self, found: Result<FileAttr, Errno>, reply: ReplyEntry) {
        match found {
            Ok(attr) => {
                let (attr_ttl, entry_ttl) = (&self.machine.attr, &self.machine.entry);
                reply.entry_with_ttls(attr_ttl, entry_ttl, &attr, Generation(0));
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn file(&self, handle: FileHandle) -> Result<Arc<File>, Errno> {
        let files = self.files.lock().unwrap();
        files.get(&handle.0).cloned().ok_or(Errno::EBADF)
    }

    fn keep(&self, file: File) -> (FileHandle, FopenFlags) {
        let handle = self.next.fetch_add(1, Ordering::Relaxed);
        self.files.lock().unwrap().insert(handle, Arc::new(file));
        let flags = match self.machine.keeps_pages {
            true => FopenFlags::FOPEN_KEEP_CACHE,
            false => FopenFlags::empty(),
        };
        (FileHandle(handle), flags)
    }

    fn opened(&self, ino: INodeNo, flags: OpenFlags) -> Result<File, Errno> {
        self.faults.check(Some(Ask::Open))?;
        let node = self.node(ino)?;
        let attr = attributes(&File::from(node.try_clone().map_err(of_io)?), false)?;
        if attr.nlink == 0 {
            return Err(Errno::ESTALE);
        }
        let asked = OFlags::from_bits_retain(flags.0.cast_unsigned());
        let flags = asked & (OFlags::RWMODE | OFlags::TRUNC | OFlags::APPEND) | OFlags::CLOEXEC;
        let opened = rustix::fs::open(place(&node), flags, Mode::empty());
        opened.map(File::from).map_err(own)
    }

    fn resized(
        &self,
        ino: INodeNo,
        handle: Option<FileHandle>,
        size: Option<u64>,
    ) -> Result<FileAttr, Errno> {
        self.faults.check(None)?;
        if let Some(size) = size {
            let file = match handle {
                Some(handle) => self.file(handle)?,
                None => {
                    let node = self.node(ino)?;
                    let file = File::options().write(true).open(place(&node));
                    Arc::new(file.map_err(of_io)?)
                }
            };
            file.set_len(size).map_err(of_io)?;
        }
        self.attr(ino)
    }

    fn linked(&self, ino: INodeNo, parent: INodeNo, name: &OsStr) -> Result<FileAttr, Errno> {
        self.faults.check(Some(Ask::Link))?;
        if let Some(errno) = self.machine.no_links {
            return Err(errno);
        }
        let (node, dir) = (self.node(ino)?, self.node(parent)?);
        let flags = AtFlags::SYMLINK_FOLLOW;
        rustix::fs::linkat(CWD, place(&node), dir.as_fd(), name, flags).map_err(own)?;
        self.find(parent, name)
    }

    fn list(&self, ino: INodeNo) -> Result<Vec<Listed>, Errno> {
        let node = self.node(ino)?;
        let mut listed = Vec::new();
        for entry in std::fs::read_dir(place(&node)).map_err(of_io)? {
            let entry = entry.map_err(of_io)?;
            let kind = entry.file_type().ok().and_then(FileType::from_std);
            let kind = kind.unwrap_or(FileType::RegularFile);
            listed.push((entry.ino(), kind, entry.file_name()));
        }
        Ok(listed)
    }

    fn lock(&self, ino: u64, owner: u64, kind: i32) -> Result<(), Errno> {
        self.faults.check(None)?;
        let mut locks = self.server.locks.lock().unwrap();
        let is_own = |held: &Held| held.machine == self.number && held.owner == owner;
        let exclusive = kind == EXCLUSIVE;
        let clashes =
            |held: &&Held| held.ino == ino && !is_own(held) && (exclusive || held.exclusive);
        if kind != RELEASED && locks.iter().find(clashes).is_some() {
            return Err(Errno::EAGAIN);
        }
        locks.retain(|held| !(held.ino == ino && is_own(held)));
        if kind != RELEASED {
            locks.push(Held {
                ino,
                machine: self.number,
                owner,
                exclusive,
            });
        }
        Ok(())
    }
}

fn answer(done: Result<(), Errno>, reply: ReplyEmpty) {
    match done {
        Ok(()) => reply.ok(),
        Err(errno) => reply.error(errno),
    }
}

impl Filesystem for Served {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        if self.machine.shares_locks {
            let wanted = InitFlags::FUSE_FLOCK_LOCKS;
            config
                .add_capabilities(wanted)
                .map_err(|_| io::Error::other("no flock over FUSE"))?;
        }
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self.faults.check(Some(Ask::Lookup));
        let found = found.and_then(|()| self.find(parent, name));
        match (found, self.machine.absent) {
            (Err(errno), Some(remembered)) if errno.code() == Errno::ENOENT.code() => {
                // A name that is remembered as absent is one of no file.
                let Ok(mut attr) = self.attr(INodeNo(ROOT)) else {
                    return reply.error(errno);
                };
                attr.ino = INodeNo(0);
                reply.entry(&remembered, &attr, Generation(0));
            }
            (found, _) => self.entry(found, reply),
        }
    }

    fn forget(&self, _: &Request, ino: INodeNo, count: u64) {
        let mut nodes = self.nodes.lock().unwrap();
        if ino.0 == ROOT {
            return;
        }
        if let Some(node) = nodes.get_mut(&ino.0) {
            node.1 = node.1.saturating_sub(count);
            if node.1 == 0 {
                nodes.remove(&ino.0);
            }
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.faults.check(None).and_then(|()| self.attr(ino)) {
            Ok(attr) => reply.attr(&self.machine.attr, &attr),
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
        handle: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        match self.resized(ino, handle, size) {
            Ok(attr) => reply.attr(&self.machine.attr, &attr),
            Err(errno) => reply.error(errno),
        }
    }

    fn mkdir(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        let made = self.faults.check(None).and_then(|()| {
            let dir = self.node(parent)?;
            rustix::fs::mkdirat(&*dir, name, Mode::from_raw_mode(mode)).map_err(own)?;
            self.find(parent, name)
        });
        self.entry(made, reply);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let done = self.faults.check(None).and_then(|()| {
            let dir = self.node(parent)?;
            rustix::fs::unlinkat(&*dir, name, AtFlags::empty()).map_err(own)
        });
        answer(done, reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let done = self.faults.check(None).and_then(|()| {
            let dir = self.node(parent)?;
            rustix::fs::unlinkat(&*dir, name, AtFlags::REMOVEDIR).map_err(own)
        });
        answer(done, reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        _: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let done = self.faults.check(None).and_then(|()| {
            let (from, to) = (self.node(parent)?, self.node(new_parent)?);
            rustix::fs::renameat(&*from, name, &*to, new_name).map_err(own)
        });
        answer(done, reply);
    }

    fn link(&self, _: &Request, ino: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.entry(self.linked(ino, parent, name), reply);
    }

    fn open(&self, _: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        match self.opened(ino, flags) {
            Ok(file) => {
                let (handle, flags) = self.keep(file);
                reply.opened(handle, flags);
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let created = self.faults.check(Some(Ask::Create)).and_then(|()| {
            let dir = self.node(parent)?;
            let asked = OFlags::from_bits_retain(flags.cast_unsigned());
            let flags = asked & (OFlags::RWMODE | OFlags::EXCL) | OFlags::CREATE | OFlags::CLOEXEC;
            let mode = Mode::from_raw_mode(mode);
            let file = rustix::fs::openat(&*dir, name, flags, mode).map_err(own)?;
            Ok((self.find(parent, name)?, File::from(file)))
        });
        match created {
            Ok((attr, file)) => {
                let (handle, flags) = self.keep(file);
                reply.created(&self.machine.entry, &attr, Generation(0), handle, flags);
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn release(
        &self,
        _: &Request,
        ino: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.files.lock().unwrap().remove(&handle.0);
        if let Some(owner) = owner {
            self.lock(ino.0, owner.0, RELEASED).ok();
        }
        reply.ok();
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        at: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let read = self.faults.check(Some(Ask::Read)).and_then(|()| {
            let file = self.file(handle)?;
            let mut bytes = vec![0; size as usize];
            let mut len = 0;
            while len < bytes.len() {
                match file.read_at(&mut bytes[len..], at + len as u64) {
                    Ok(0) => break,
                    Ok(read) => len += read,
                    Err(cause) => return Err(of_io(cause)),
                }
            }
            bytes.truncate(len);
            Ok(bytes)
        });
        match read {
            Ok(bytes) => reply.data(&bytes),
            Err(errno) => reply.error(errno),
        }
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        at: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let written = self.faults.check(Some(Ask::Write)).and_then(|()| {
            let file = self.file(handle)?;
            file.write_all_at(data, at).map_err(of_io)
        });
        match written {
            Ok(()) => reply.written(u32::try_from(data.len()).unwrap()),
            Err(errno) => reply.error(errno),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, handle: FileHandle, _: bool, reply: ReplyEmpty) {
        let done = self.faults.check(Some(Ask::Sync)).and_then(|()| {
            let file = self.file(handle)?;
            file.sync_all().map_err(of_io)
        });
        answer(done, reply);
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let done = self.faults.check(Some(Ask::SyncDir)).and_then(|()| {
            let dir = File::open(place(&*self.node(ino)?)).map_err(of_io)?;
            dir.sync_all().map_err(of_io)
        });
        answer(done, reply);
    }

    fn opendir(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.faults.check(None).and_then(|()| self.list(ino)) {
            Ok(listed) => {
                let handle = self.next.fetch_add(1, Ordering::Relaxed);
                self.listed.lock().unwrap().insert(handle, listed);
                reply.opened(FileHandle(handle), FopenFlags::empty());
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn readdir(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        from: u64,
        mut reply: ReplyDirectory,
    ) {
        let listed = self.listed.lock().unwrap();
        let Some(listed) = listed.get(&handle.0) else {
            return reply.error(Errno::EBADF);
        };
        for (index, (ino, kind, name)) in (0..).zip(listed) {
            if index >= from && reply.add(INodeNo(*ino), index + 1, *kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn releasedir(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.listed.lock().unwrap().remove(&handle.0);
        reply.ok();
    }

    fn setlk(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        owner: LockOwner,
        _start: u64,
        _end: u64,
        kind: i32,
        _pid: u32,
        _sleep: bool,
        reply: ReplyEmpty,
    ) {
        answer(self.lock(ino.0, owner.0, kind), reply);
    }
}
