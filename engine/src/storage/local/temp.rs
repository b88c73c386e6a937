//! Temporary files: where bytes wait until they are durable and get their name.
//!
//! A process holds a lock of its own on each temporary file that it is writing. It ends with the process, so
//! whoever gets it knows that nobody needs the file any more: no clock and no process number is asked.

use std::fs::File;
use std::io;
use std::time::SystemTime;

use super::folder::LocalFolder;
use super::platform::{is_nameless, try_lock};
use super::root::{FileKind, How, Root};
use crate::storage::{Created, LockMode, Name};

/// How often another name is tried because somebody took the new file for one that was left behind.
const CREATE_TRIES_MAX: u32 = 100;

/// A file below `tmp/`, removed when dropped.
#[derive(Debug)]
pub(super) struct Temp {
    /// `tmp/` itself.
    dir: Root,
    name: String,
    pub(super) file: File,
}

impl Temp {
    /// A temporary file that is written and named at once. Where other machines have the folder, asking for its
    /// lock would cost as much as writing it; there it is spared by its age, like a file of another machine whose
    /// locks do not reach.
    pub(super) fn create(folder: &LocalFolder) -> io::Result<Temp> {
        Temp::create_with(folder, !folder.is_remote())
    }

    /// A temporary file that may be written for long.
    pub(super) fn create_for_long(folder: &LocalFolder) -> io::Result<Temp> {
        Temp::create_with(folder, true)
    }

    fn create_with(folder: &LocalFolder, is_locked: bool) -> io::Result<Temp> {
        let root = folder.to_write()?;
        for _ in 0..CREATE_TRIES_MAX {
            let dir = match root.dir(Name::TMP) {
                // Only the first one pays for making the directory.
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                    root.make_dir(Name::TMP)?;
                    root.dir(Name::TMP)?
                }
                dir => dir?,
            };
            let name = folder.temp_name();
            assert!(is_temp_name(&name), "`{name}` would never be collected");
            let file = dir.file(&name, How::CreateNew)?;
            let temp = Temp { dir, name, file };
            if !is_locked || temp.lock()? {
                return Ok(temp);
            }
        }
        let why = "others remove each temporary file as soon as it is created";
        Err(io::Error::other(why))
    }

    /// Takes the file's lock; `false` where somebody was quicker, who takes it for one that was left behind.
    fn lock(&self) -> io::Result<bool> {
        if cfg!(not(unix)) {
            // There a lock would keep others from reading the file under the name that it gets.
            return Ok(true);
        }
        match try_lock(&self.file, LockMode::Exclusive) {
            Ok(true) => Ok(!is_nameless(&self.file.metadata()?)),
            Ok(false) => Ok(false),
            // Where files have no locks nobody gets one, and so nobody removes the file either.
            Err(cause) if cause.kind() == io::ErrorKind::Unsupported => Ok(true),
            Err(cause) => Err(cause),
        }
    }

    /// Gives the file the name `name` in `root` if that is free.
    pub(super) fn link(&self, root: &Root, name: &str) -> io::Result<Created> {
        match root.link((&self.dir, &self.name), name) {
            Ok(()) => Ok(Created::New),
            Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => Ok(Created::Exists),
            Err(cause) => Err(cause),
        }
    }

    /// Gives the file the name `name` in `root`, whoever has it.
    pub(super) fn rename(self, root: &Root, name: &str) -> io::Result<()> {
        root.rename((&self.dir, &self.name), name)
    }

    /// Gives the file a second name in `tmp/`; the first time it is free, and the second it must not be.
    pub(super) fn link_beside(&self, name: &str) -> io::Result<Created> {
        self.link(&self.dir, name)
    }

    /// Removes a name in `tmp/`.
    pub(super) fn unlink_beside(&self, name: &str) -> io::Result<()> {
        self.dir.remove_file(name)
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        match self.dir.remove_file(&self.name) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                // It holds space but harms nothing; whoever takes the lock next removes it.
                tracing::debug!(name = %self.name, %cause, "temporary file left behind");
            }
            _ => {}
        }
    }
}

/// Whether a name is one that [`LocalFolder::temp_name`] gives: process, random bits, number.
fn is_temp_name(name: &str) -> bool {
    let mut parts = name.split('-');
    let is_number = |part: Option<&str>| {
        part.is_some_and(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
    };
    let is_random = |part: Option<&str>| {
        part.is_some_and(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    is_number(parts.next())
        && is_random(parts.next())
        && is_number(parts.next())
        && parts.next().is_none()
}

/// Removes what processes that died left below `tmp/`: the files whose lock is free, and of a folder that other
/// machines have, too, only those that are older than `before`, since locks may not reach there. The one who calls
/// holds the lock of the database, in either mode.
///
/// # Errors
/// The first failure; the rest is removed all the same.
pub(super) fn clear(folder: &LocalFolder, before: Option<SystemTime>) -> io::Result<()> {
    let Some(root) = folder.root()? else {
        return Ok(());
    };
    let dir = match root.dir(Name::TMP) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(()),
        dir => dir?,
    };
    let mut done = Ok(());
    for (name, kind) in dir.list("")? {
        let is_own = name.starts_with(&folder.temp_prefix);
        if kind != FileKind::File || is_own || !is_temp_name(&name) {
            continue;
        }
        match clear_one(&dir, &name, before) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => done = done.and(Err(cause)),
            _ => {}
        }
    }
    done
}

fn clear_one(dir: &Root, name: &str, before: Option<SystemTime>) -> io::Result<()> {
    assert!(is_temp_name(name), "`{name}` is not ours to remove");
    let file = dir.file(name, How::Read)?;
    if let Some(before) = before
        && file.metadata()?.modified()? > before
    {
        return Ok(());
    }
    // Its owner takes the lock in the moment after creating it, and looks then whether it still has a name; as long
    // as the lock is held here it does not get it.
    match try_lock(&file, LockMode::Exclusive)? {
        true => dir.remove_file(name),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_pattern_is_a_temporary_name() {
        let folder = LocalFolder::new("x".into(), crate::storage::Access::ReadWrite);
        assert!(is_temp_name(&folder.temp_name()));
        assert!(is_temp_name("4711-00-0"));
        for name in [
            "", "a", "1-2", "1-2-3-4", "1--3", "1-g-3", "a-2-3", "1-2-x", ".1-2-3", "1-2-3~",
        ] {
            assert!(!is_temp_name(name), "{name}");
        }
    }
}
