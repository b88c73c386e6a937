//! What differs between platforms: directory syncs, positional I/O, file identity, locks, processes.
//!
//! `flock` and not `fcntl` locks on Unix: the latter belong to the process, not to the open file, and
//! closing *any* descriptor of the file drops them.

use std::fs::{File, Metadata};
use std::io;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use crate::storage::LockMode;

/// Repeats a call that a signal interrupted.
pub(super) fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// Makes durable the names in a directory that is found by its path.
#[cfg(unix)]
pub(super) fn sync_path(dir: &Path) -> io::Result<()> {
    uninterrupted(|| File::open(dir))?.sync_all()
}

/// Directories cannot be opened for a sync here; the file system orders names by itself.
#[cfg(not(unix))]
pub(super) fn sync_path(_dir: &Path) -> io::Result<()> {
    Ok(())
}

/// Tells a file from one created later under its name: inode number, and moment of birth where the
/// file system keeps one, since a freed inode number is often the next to be used.
///
/// The device number is left out: it differs between the machines that mount a network file system,
/// and from boot to boot. Two files born within one tick of the file system's clock (1 to 10 ms) may
/// share an identity if one was removed before the other was created.
#[cfg(unix)]
pub(super) fn identity(metadata: &Metadata) -> u128 {
    use std::os::unix::fs::MetadataExt;
    (birth_ns(metadata) << 64) | u128::from(metadata.ino())
}

/// The moment of birth alone: there is no portable inode number.
#[cfg(not(unix))]
pub(super) fn identity(metadata: &Metadata) -> u128 {
    birth_ns(metadata) << 64
}

/// What [`place`] gives.
pub(super) type FolderPlace = (u64, u64);

/// Tells a folder from another that is found under its path later: file system and number. As long as it is in
/// use neither changes.
#[cfg(unix)]
pub(super) fn place(metadata: &Metadata) -> FolderPlace {
    use std::os::unix::fs::MetadataExt;
    (metadata.dev(), metadata.ino())
}

/// All are one: nothing is portable.
#[cfg(not(unix))]
pub(super) fn place(_metadata: &Metadata) -> FolderPlace {
    (0, 0)
}

/// Whether an open file has no name any more.
#[cfg(unix)]
pub(super) fn is_nameless(metadata: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    metadata.nlink() == 0
}

/// Nobody removes a file here that another one has open.
#[cfg(not(unix))]
pub(super) fn is_nameless(_metadata: &Metadata) -> bool {
    false
}

/// Whose file it is and what its owner lets others do, for people.
#[cfg(unix)]
#[allow(
    clippy::unnecessary_wraps,
    reason = "elsewhere there is nothing to say"
)]
pub(super) fn ownership(metadata: &Metadata) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let mode = metadata.mode() & 0o7777;
    Some(format!(
        "it belongs to user {}, mode {mode:04o}",
        metadata.uid()
    ))
}

#[cfg(not(unix))]
pub(super) fn ownership(_metadata: &Metadata) -> Option<String> {
    None
}

/// Nanoseconds since the epoch, cut to 64 bits; 0 where the file system does not say.
fn birth_ns(metadata: &Metadata) -> u128 {
    let since = metadata
        .created()
        .ok()
        .and_then(|birth| birth.duration_since(UNIX_EPOCH).ok());
    since.map_or(0, |since| since.as_nanos() & u128::from(u64::MAX))
}

/// Asks the system not to note when the file was read last, which costs a part of each read and sometimes a write.
/// Only its owner may ask; to everybody else it makes no difference but the time.
#[cfg(target_os = "linux")]
pub(in crate::storage) fn forgo_access_time(file: &File) {
    use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
    let asked = fcntl_getfl(file).and_then(|flags| fcntl_setfl(file, flags | OFlags::NOATIME));
    if let Err(error) = asked {
        tracing::trace!(%error, "reads of a run change when it was read last");
    }
}

/// There is no such wish here.
#[cfg(not(target_os = "linux"))]
pub(in crate::storage) fn forgo_access_time(_file: &File) {}

#[cfg(unix)]
pub(in crate::storage) fn read_exact_at(
    file: &File,
    bytes: &mut [u8],
    offset: u64,
) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
}

#[cfg(windows)]
pub(in crate::storage) fn read_exact_at(
    file: &File,
    mut bytes: &mut [u8],
    mut offset: u64,
) -> io::Result<()> {
    while !bytes.is_empty() {
        let read = std::os::windows::fs::FileExt::seek_read(file, bytes, offset)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes = &mut bytes[read..];
        offset += read as u64;
    }
    Ok(())
}

/// Writes all of `bytes`, however often the system takes only a part.
#[cfg(unix)]
pub(in crate::storage) fn write_all_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

#[cfg(windows)]
pub(in crate::storage) fn write_all_at(
    file: &File,
    mut bytes: &[u8],
    mut offset: u64,
) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = std::os::windows::fs::FileExt::seek_write(file, bytes, offset)?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = &bytes[written..];
        offset += written as u64;
    }
    Ok(())
}

/// Takes the exclusive lock of an open file if nobody has it.
#[cfg(unix)]
pub(super) fn try_lock(file: &File, mode: LockMode) -> io::Result<bool> {
    use rustix::fs::{FlockOperation, flock};
    let operation = match mode {
        LockMode::Exclusive => FlockOperation::NonBlockingLockExclusive,
        LockMode::Shared => FlockOperation::NonBlockingLockShared,
    };
    let locked = uninterrupted(|| flock(file, operation).map_err(io::Error::from));
    match locked {
        Ok(()) => Ok(true),
        Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(cause) => Err(cause),
    }
}

#[cfg(not(unix))]
pub(super) fn try_lock(file: &File, mode: LockMode) -> io::Result<bool> {
    let locked = match mode {
        LockMode::Exclusive => file.try_lock(),
        LockMode::Shared => file.try_lock_shared(),
    };
    match locked {
        Ok(()) => Ok(true),
        Err(std::fs::TryLockError::WouldBlock) => Ok(false),
        Err(std::fs::TryLockError::Error(cause)) => Err(cause),
    }
}

/// Lets go of the lock, also where a child that is just being started shares the open file.
#[cfg(unix)]
pub(super) fn unlock(file: &File) -> io::Result<()> {
    use rustix::fs::{FlockOperation, flock};
    uninterrupted(|| flock(file, FlockOperation::Unlock).map_err(io::Error::from))
}

#[cfg(not(unix))]
pub(super) fn unlock(file: &File) -> io::Result<()> {
    file.unlock()
}

/// The name of this machine.
#[cfg(unix)]
pub(super) fn host() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

#[cfg(not(unix))]
pub(super) fn host() -> String {
    std::env::var("COMPUTERNAME").unwrap_or_else(|_| "unknown".to_owned())
}

/// Whether a process of this machine is alive, as far as can be told.
#[cfg(unix)]
pub(super) fn is_alive(pid: u32) -> bool {
    use rustix::process::{Pid, test_kill_process};
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return false;
    };
    test_kill_process(pid) != Err(rustix::io::Errno::SRCH)
}

#[cfg(not(unix))]
pub(super) fn is_alive(_pid: u32) -> bool {
    true
}

/// Lets another process go on for a moment.
#[allow(
    clippy::disallowed_methods,
    reason = "waits for a process, not for a point in time"
)]
pub(super) fn pause() {
    std::thread::sleep(Duration::from_millis(1));
}
