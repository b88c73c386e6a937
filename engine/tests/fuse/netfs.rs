//! A file system that stands for a network file system: one folder, the server's, mounted as often as there are
//! machines. Each mount has the kernel's caches of its own (names, absent names, attributes, pages), which
//! nobody tells of what the others change, and can go wrong by itself.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fuser::{BackgroundSession, Config, Errno, MountOption, Session};
use rustix::mount::{UnmountFlags, unmount};

use super::serve::Served;

/// How the mounts of the tests begin the name of what is mounted; the process follows.
const NAME: &str = "eciton-netfs-";
/// How often unmounting is tried while somebody still lets go of files.
const UNMOUNTS_MAX: usize = 400;

/// What a machine remembers, and what its file system can do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Machine {
    /// How long a name that was found is remembered.
    pub(crate) entry: Duration,
    /// How long a name that was absent is.
    pub(crate) absent: Option<Duration>,
    /// How long length and the like are.
    pub(crate) attr: Duration,
    /// Pages stay when a file is opened again.
    pub(crate) keeps_pages: bool,
    /// `flock` reaches the server; else each machine has locks of its own.
    pub(crate) shares_locks: bool,
    /// What `link` says, if it does nothing.
    pub(crate) no_links: Option<Errno>,
}

impl Machine {
    /// Remembers for a second what it has seen, as FUSE file systems do.
    pub(crate) fn usual() -> Machine {
        let second = Duration::from_secs(1);
        Machine {
            entry: second,
            absent: None,
            attr: second,
            keeps_pages: false,
            shares_locks: true,
            no_links: None,
        }
    }

    /// Remembers everything, absent names too, for longer than any test takes.
    pub(crate) fn long() -> Machine {
        let hour = Duration::from_hours(1);
        Machine {
            entry: hour,
            absent: Some(hour),
            attr: hour,
            keeps_pages: true,
            shares_locks: false,
            ..Machine::usual()
        }
    }
}

/// What a file system is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Ask {
    Lookup,
    Open,
    Read,
    Write,
    Link,
    Create,
    Sync,
    SyncDir,
}

/// What goes wrong on one machine.
#[derive(Default)]
pub(crate) struct Faults {
    next: Mutex<HashMap<Ask, (u64, Errno)>>,
    gone: Mutex<Option<Errno>>,
}

impl Faults {
    /// The next so many of this kind fail.
    pub(crate) fn fail(&self, ask: Ask, times: u64, errno: Errno) {
        self.next.lock().unwrap().insert(ask, (times, errno));
    }

    /// From now on everything fails.
    pub(crate) fn disappear(&self, errno: Errno) {
        *self.gone.lock().unwrap() = Some(errno);
    }

    pub(crate) fn check(&self, ask: Option<Ask>) -> Result<(), Errno> {
        if let Some(errno) = *self.gone.lock().unwrap() {
            return Err(errno);
        }
        let Some(ask) = ask else { return Ok(()) };
        match self.next.lock().unwrap().get_mut(&ask) {
            Some((times, errno)) if *times > 0 => {
                *times -= 1;
                Err(*errno)
            }
            _ => Ok(()),
        }
    }
}

/// A lock that somebody has on a file of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) ino: u64,
    pub(crate) machine: u64,
    pub(crate) owner: u64,
    pub(crate) exclusive: bool,
}

/// The server: the folder, and the locks on its files.
pub(crate) struct Server {
    folder: tempfile::TempDir,
    pub(crate) locks: Mutex<Vec<Held>>,
    machines: AtomicU64,
}

impl Server {
    pub(crate) fn new() -> Arc<Server> {
        sweep();
        Arc::new(Server {
            folder: tempfile::tempdir().unwrap(),
            locks: Mutex::default(),
            machines: AtomicU64::new(1),
        })
    }

    /// The folder as the server sees it.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Mounts the folder once more.
    pub(crate) fn mount(self: &Arc<Server>, machine: Machine) -> Mount {
        let at = tempfile::tempdir().unwrap();
        let number = self.machines.fetch_add(1, Ordering::Relaxed);
        let faults = Arc::new(Faults::default());
        let served = Served::new(self, machine, number, &faults);
        let mut config = Config::default();
        config.mount_options = vec![
            MountOption::FSName(format!("{NAME}{}", std::process::id())),
            MountOption::NoAtime,
        ];
        config.n_threads = Some(2);
        let session = Session::new(served, at.path(), &config)
            .expect("these tests mount a file system: they need /dev/fuse and run as root, or with fusermount3: apt-get install -y --no-install-recommends fuse3");
        Mount {
            session: Some(session.spawn().unwrap()),
            server: Arc::clone(self),
            number,
            faults,
            at,
        }
    }
}

/// Takes away what tests that were killed have left mounted.
fn sweep() {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    for line in mounts.lines() {
        let Some((mount, system)) = line.split_once(" - ") else {
            continue;
        };
        let owner = system
            .split(' ')
            .nth(1)
            .and_then(|name| name.strip_prefix(NAME));
        let (Some(owner), Some(at)) = (owner, mount.split(' ').nth(4)) else {
            continue;
        };
        if !Path::new("/proc").join(owner).exists() {
            let gone = unmount(at, UnmountFlags::DETACH | UnmountFlags::FORCE);
            println!("{at}: left by tests that were killed, {gone:?}");
        }
    }
}

/// The folder of the server, as one machine sees it. Dropping it unmounts.
pub(crate) struct Mount {
    session: Option<BackgroundSession>,
    server: Arc<Server>,
    number: u64,
    pub(crate) faults: Arc<Faults>,
    at: tempfile::TempDir,
}

impl Mount {
    pub(crate) fn path(&self) -> PathBuf {
        self.at.path().to_owned()
    }

    /// The machine's administrator takes it away, although files are open.
    pub(crate) fn detach(&self) {
        unmount(self.at.path(), UnmountFlags::DETACH).unwrap();
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let locks = self.server.locks.lock();
        if let Ok(mut locks) = locks {
            locks.retain(|held| held.machine != self.number);
        }
        let Some(session) = self.session.take() else {
            return;
        };
        for _ in 1..UNMOUNTS_MAX {
            match unmount(self.at.path(), UnmountFlags::empty()) {
                Err(rustix::io::Errno::BUSY) => std::thread::sleep(Duration::from_millis(5)),
                // Detached before: nothing is mounted any more.
                Ok(()) | Err(rustix::io::Errno::INVAL) => {
                    drop(session.guard.join());
                    return;
                }
                // Who may not unmount mounted with the help of `fusermount3`.
                Err(_) => {
                    drop(session.umount_and_join());
                    return;
                }
            }
        }
        let gone = unmount(self.at.path(), UnmountFlags::DETACH | UnmountFlags::FORCE);
        eprintln!("{}: still in use: {gone:?}", self.at.path().display());
    }
}
