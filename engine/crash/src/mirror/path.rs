//! The file system of a storage path.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::kind::Kind;
use crate::dice::Dice;
use crate::medium::Medium;

/// Bytes of the tmpfs that fails, and of the one that does not: a run fills neither.
const LEN: u64 = 16 * 1024 * 1024;
const LEN_PASSIVE: u64 = 256 * 1024 * 1024;
/// The database's folder below the root of a file system.
const FOLDER: &str = "db";

/// A file system that fails on order. Dropping it unmounts.
pub(super) enum ActivePath {
    /// Served by this process.
    Own(Medium),
    /// A tmpfs.
    Tmpfs(Tmpfs),
    /// An ext4 on a loop device.
    Ext4(Ext4),
}

impl ActivePath {
    pub(super) fn new(kind: Kind, dice: Dice) -> io::Result<ActivePath> {
        match kind {
            Kind::Full => Tmpfs::mount(LEN).map(ActivePath::Tmpfs),
            Kind::ReadOnly => Ext4::mount().map(ActivePath::Ext4),
            _ => Medium::mount(dice).map(ActivePath::Own),
        }
    }

    pub(super) fn folder(&self) -> PathBuf {
        match self {
            ActivePath::Own(medium) => medium.database(),
            ActivePath::Tmpfs(tmpfs) => tmpfs.folder(),
            ActivePath::Ext4(ext4) => ext4.at.path().join(FOLDER),
        }
    }

    pub(super) fn fail(&self, kind: Kind) -> io::Result<()> {
        match self {
            ActivePath::Own(medium) => {
                if let Some(gate) = medium.gate() {
                    gate.set_trouble(kind.trouble());
                }
                Ok(())
            }
            ActivePath::Tmpfs(tmpfs) => tmpfs.fill(),
            ActivePath::Ext4(ext4) => ext4.break_down(),
        }
    }

    /// Lets requests that hang go on, so that processes that were killed can end.
    pub(super) fn let_go(&self) {
        if let ActivePath::Own(medium) = self
            && let Some(gate) = medium.gate()
        {
            gate.set_trouble(None);
        }
    }
}

/// A file system in memory.
pub(super) struct Tmpfs(TempDir);

impl Tmpfs {
    /// One for the standby path.
    pub(super) fn passive() -> io::Result<Tmpfs> {
        Tmpfs::mount(LEN_PASSIVE)
    }

    fn mount(len: u64) -> io::Result<Tmpfs> {
        let at = tempfile::Builder::new().prefix("eciton-crash-").tempdir()?;
        let options = format!("size={len}");
        call(
            "mount",
            &["-t", "tmpfs", "-o", &options, "tmpfs"],
            at.path(),
        )?;
        Ok(Tmpfs(at))
    }

    pub(super) fn folder(&self) -> PathBuf {
        self.0.path().join(FOLDER)
    }

    fn fill(&self) -> io::Result<()> {
        let mut file = File::create(self.0.path().join("filler"))?;
        let piece = vec![1; 4096];
        loop {
            match file.write_all(&piece) {
                Ok(()) => {}
                Err(cause) if cause.kind() == ErrorKind::StorageFull => return Ok(()),
                Err(cause) => return Err(cause),
            }
        }
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        if let Err(cause) = call("umount", &["--lazy"], self.0.path()) {
            eprintln!("{}: not unmounted: {cause}", self.0.path().display());
        }
    }
}

/// An ext4 that a failure of its own makes read-only, as it does on a disk that fails, although files are open.
pub(super) struct Ext4 {
    at: TempDir,
    _image: TempDir,
}

impl Ext4 {
    fn mount() -> io::Result<Ext4> {
        let folder = || tempfile::Builder::new().prefix("eciton-crash-").tempdir();
        let (at, image) = (folder()?, folder()?);
        let file = image.path().join("image");
        File::create(&file)?.set_len(LEN)?;
        call("mkfs.ext4", &["-q", "-F"], &file)?;
        let file = file.display().to_string();
        call("mount", &["-o", "loop,errors=remount-ro", &file], at.path())?;
        Ok(Ext4 { at, _image: image })
    }

    fn break_down(&self) -> io::Result<()> {
        let mounts = std::fs::read_to_string("/proc/self/mounts")?;
        let at = self.at.path().display().to_string();
        let device = mounts.lines().find_map(|line| {
            let (device, rest) = line.split_once(' ')?;
            let mounted = rest.split_once(' ')?.0;
            (mounted == at).then(|| device.trim_start_matches("/dev/").to_owned())
        });
        let device = device.ok_or_else(|| io::Error::other(format!("{at} is not mounted")))?;
        std::fs::write(format!("/sys/fs/ext4/{device}/trigger_fs_error"), "1")
    }
}

impl Drop for Ext4 {
    fn drop(&mut self) {
        if let Err(cause) = call("umount", &["--lazy"], self.at.path()) {
            eprintln!("{}: not unmounted: {cause}", self.at.path().display());
        }
    }
}

fn call(program: &str, args: &[&str], at: &Path) -> io::Result<()> {
    let mut command = Command::new(program);
    let done = command.args(args).arg(at).stdin(Stdio::null()).output()?;
    if done.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&done.stderr).trim().to_owned();
    Err(io::Error::other(format!("{program}: {why}")))
}
