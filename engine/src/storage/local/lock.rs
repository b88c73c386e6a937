//! The lock: `flock` on `LOCK`, in which a holder says who it is. Those who share it leave the line of
//! whoever came last.
//!
//! `LOCK` is never removed: whoever opened it before would hold the lock of a file that nobody finds
//! any more, and two processes would hold "the" lock.

use std::fs::File;
use std::io::{self, Read};
use std::time::{Duration, UNIX_EPOCH};

use super::folder::LocalFolder;
use super::platform::{self, host, identity, is_alive, ownership, try_lock, unlock, write_all_at};
use super::root::How;
use super::temp;
use crate::base::{Error, Result};
use crate::storage::{LockGuard, LockMode, Name, Operation};

/// How often a line that cannot be the holder's is read again, 1 ms apart: a holder needs microseconds
/// between taking the lock and writing its line.
const HOLDER_READS_MAX: usize = 20;

/// Bytes of such a line that are read at most.
const HOLDER_LEN_MAX: u64 = 4096;

/// How long a temporary file of another machine is left alone.
const TEMP_SPARED: Duration = Duration::from_hours(24);

/// The lock, held.
#[derive(Debug)]
pub(super) struct HeldLock {
    file: File,
    mode: LockMode,
}

impl LockGuard for HeldLock {}

impl Drop for HeldLock {
    fn drop(&mut self) {
        // The line goes first: the next holder must not be taken for this one. A shared line may be
        // another's.
        let cleared = match self.mode {
            LockMode::Exclusive => self.file.set_len(0),
            LockMode::Shared => Ok(()),
        };
        let released = cleared.and_then(|()| unlock(&self.file));
        if let Err(cause) = released {
            // Closing the file lets go as well.
            tracing::warn!(%cause, "the lock was not released cleanly");
        }
    }
}

/// Who holds the lock.
#[derive(Debug, PartialEq, Eq)]
struct Holder {
    pid: u32,
    host: String,
}

impl Holder {
    fn this() -> Holder {
        Holder {
            pid: std::process::id(),
            host: host(),
        }
    }

    fn to_line(&self) -> String {
        format!(
            "{}\n",
            serde_json::json!({ "pid": self.pid, "host": self.host })
        )
    }

    fn parse(line: &str) -> Option<Holder> {
        let value: serde_json::Value = serde_json::from_str(line).ok()?;
        let pid = u32::try_from(value.get("pid")?.as_u64()?).ok()?;
        Some(Holder {
            pid,
            host: value.get("host")?.as_str()?.to_owned(),
        })
    }

    /// Whether this may be the holder. A line of a dead process is one that its successor has not
    /// replaced yet.
    fn is_plausible(&self) -> bool {
        self.host != host() || is_alive(self.pid)
    }
}

/// Takes the lock of the folder.
pub(super) fn acquire(folder: &LocalFolder, mode: LockMode) -> Result<HeldLock> {
    let mut holder = None;
    for _ in 0..HOLDER_READS_MAX {
        let held = try_acquire(folder, mode).map_err(|cause| refused(folder, &cause))?;
        if let Some(held) = held {
            return Ok(held);
        }
        holder = holder_of(folder);
        if holder.as_ref().is_some_and(Holder::is_plausible) {
            break;
        }
        platform::pause();
    }
    // A line of a "dead" process after all: it may live where its number is not visible.
    let holder = holder.unwrap_or_else(|| Holder {
        pid: 0,
        host: "unknown".to_owned(),
    });
    let path = folder.path.display().to_string();
    Err(Error::Locked {
        path,
        pid: holder.pid,
        host: holder.host,
    })
}

/// Who says in `LOCK` that it holds the lock.
fn holder_of(folder: &LocalFolder) -> Option<Holder> {
    // Another machine may just have written it.
    folder.look_anew(Name::LOCK);
    let file = folder.root().ok()??.file(Name::LOCK, How::Read).ok()?;
    let mut line = String::new();
    let mut file = file.take(HOLDER_LEN_MAX);
    file.read_to_string(&mut line).ok()?;
    Holder::parse(&line)
}

/// Why the lock cannot be asked for: somebody else's database, for instance, which can be read all the same.
pub(super) fn refused(folder: &LocalFolder, cause: &io::Error) -> Error {
    let path = folder.path.join(Name::LOCK);
    let mut error = Operation::Lock.error(path.display(), cause);
    if cause.kind() == io::ErrorKind::PermissionDenied
        && let Error::Storage { message, .. } = &mut error
    {
        let root = folder.root().ok().flatten();
        let of_lock = root.and_then(|root| ownership(&root.stat(Name::LOCK).ok()?));
        let of_folder = || root.and_then(|root| ownership(&root.metadata().ok()?));
        let whose = match of_lock {
            Some(whose) => whose,
            None => match of_folder() {
                Some(whose) => format!("the folder has no LOCK yet, and of the folder: {whose}"),
                None => "its owner is not known".to_owned(),
            },
        };
        *message = format!(
            "{message}: {whose}; writing to a database needs the right to write to LOCK and to the folder, \
             reading it needs neither"
        );
    }
    error
}

fn try_acquire(folder: &LocalFolder, mode: LockMode) -> io::Result<Option<HeldLock>> {
    let root = folder.to_write()?;
    let file = root.file(Name::LOCK, How::Write)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    if !try_lock(&file, mode)? {
        return Ok(None);
    }
    let held = HeldLock { file, mode };
    // Somebody may have removed or replaced the file between opening and locking it.
    let named = root.stat(Name::LOCK).map(|metadata| identity(&metadata));
    if named.ok() != Some(identity(&held.file.metadata()?)) {
        return Ok(None);
    }
    // Or the folder.
    folder.still_there()?;
    let line = Holder::this().to_line();
    let written = held
        .file
        .set_len(0)
        .and_then(|()| write_all_at(&held.file, line.as_bytes(), 0));
    // Another client of a shared file system reads what this one has sent.
    let written = match folder.is_remote() {
        true => written.and_then(|()| held.file.sync_data()),
        false => written,
    };
    if let Err(cause) = written {
        // The line is for people. Without it a full disk can still be opened, and emptied.
        tracing::warn!(%cause, "the holder's line was not written");
    }
    if cfg!(not(unix)) && mode == LockMode::Shared {
        // Temporary files have no locks there: some may be somebody's who is at work.
        return Ok(Some(held));
    }
    // Other machines may know nothing of locks here. The file that was just written says what time it is there.
    let spared = folder.is_remote().then_some(TEMP_SPARED);
    let now = held
        .file
        .metadata()
        .and_then(|metadata| metadata.modified());
    let cleared = now.and_then(|now| {
        let before = spared.map(|spared| now.checked_sub(spared).unwrap_or(UNIX_EPOCH));
        temp::clear(folder, before)
    });
    if let Err(cause) = cleared {
        tracing::warn!(%cause, "temporary files of earlier processes were not removed");
    }
    Ok(Some(held))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_holder_or_nothing() {
        let this = Holder::this();
        assert_eq!(Holder::parse(&this.to_line()), Some(this));
        for line in [
            "",
            "{",
            "12",
            r#"{"pid":-1,"host":"a"}"#,
            r#"{"pid":1}"#,
            r#"{"pid":1,"host":2}"#,
        ] {
            assert_eq!(Holder::parse(line), None, "{line}");
        }
    }

    #[test]
    fn the_living_and_the_remote_are_plausible() {
        assert!(Holder::this().is_plausible());
        assert!(
            Holder {
                pid: u32::MAX,
                host: "elsewhere".to_owned()
            }
            .is_plausible()
        );
        assert!(
            !Holder {
                pid: u32::MAX,
                host: host()
            }
            .is_plausible()
        );
        assert!(
            !Holder {
                pid: 0,
                host: host()
            }
            .is_plausible()
        );
    }
}
