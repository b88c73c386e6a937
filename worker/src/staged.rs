//! Files and folders that appear whole or not at all.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use tempfile::{NamedTempFile, TempDir};

/// What something is called until it is whole. A process that is killed (`kill -9`) may leave one behind.
const PREFIX: &str = ".eciton-";

/// What has been begun and not published; `None` once the process ends: then nothing is begun or renamed any more.
static BEGUN: Mutex<Option<BTreeSet<PathBuf>>> = Mutex::new(Some(BTreeSet::new()));

/// Removes everything that has been begun and not published: for a process that ends without unwinding.
pub(crate) fn remove_all() {
    // With the lock, so that no other thread creates a file in a folder that is being removed.
    let mut begun = BEGUN.lock();
    for path in begun.take().unwrap_or_default() {
        // It is the end: there is nobody to tell that something is left.
        match path.is_dir() {
            true => fs::remove_dir_all(&path).ok(),
            false => fs::remove_file(&path).ok(),
        };
    }
}

/// Changes names, unless the process is about to end.
fn unless_over<T>(change: impl FnOnce(&mut BTreeSet<PathBuf>) -> io::Result<T>) -> io::Result<T> {
    match &mut *BEGUN.lock() {
        Some(begun) => change(begun),
        None => Err(io::ErrorKind::Interrupted.into()),
    }
}

/// Something under a name that [`remove_all`] knows.
struct Begun(PathBuf);

impl Drop for Begun {
    fn drop(&mut self) {
        if let Some(begun) = &mut *BEGUN.lock() {
            begun.remove(&self.0);
        }
    }
}

/// A file that is being written beside its target and replaces it in one step. Dropped without
/// [`Staged::publish`], it leaves the target as it was.
pub(crate) struct Staged(Kind);

enum Kind {
    Beside {
        file: NamedTempFile,
        target: PathBuf,
        begun: Begun,
    },
    /// A pipe or a device, which takes what is written at once.
    Through(File),
}

impl Staged {
    /// Begins to write what `target` shall become. A symbolic link is followed; a pipe or a device is written to as it is.
    ///
    /// # Errors
    /// Where the folder cannot be written to, or `target` is a folder.
    pub(crate) fn begin(target: &Path) -> io::Result<Staged> {
        let target = match fs::metadata(target) {
            Ok(is) if is.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
            Ok(is) if is.is_file() => fs::canonicalize(target)?,
            Ok(_) => {
                let file = File::options().write(true).open(target)?;
                return Ok(Staged(Kind::Through(file)));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => target.to_owned(),
            Err(error) => return Err(error),
        };
        let file = unless_over(|begun| {
            let file = tempfile::Builder::new()
                .prefix(PREFIX)
                .permissions(permissions(0o666))
                .tempfile_in(folder(&target))
                .map_err(without_path)?;
            begun.insert(file.path().to_owned());
            Ok(file)
        })?;
        let begun = Begun(file.path().to_owned());
        Ok(Staged(Kind::Beside {
            file,
            target,
            begun,
        }))
    }

    /// Lets the target be what was written. It is durable when this returns.
    ///
    /// # Errors
    /// Where the last bytes cannot be written; then the target is as it was before.
    pub(crate) fn publish(self) -> io::Result<()> {
        match self.0 {
            Kind::Through(mut file) => file.flush(),
            Kind::Beside {
                file,
                target,
                begun,
            } => {
                file.as_file().sync_all()?;
                unless_over(|_| file.persist(&target).map_err(|error| error.error))?;
                drop(begun);
                File::open(folder(&target))?.sync_all()
            }
        }
    }
}

/// A folder that is being filled beside its target, and becomes it in one step. Dropped without
/// [`StagedFolder::publish`], it leaves nothing.
pub(crate) struct StagedFolder {
    filled: TempDir,
    target: PathBuf,
    begun: Begun,
}

impl StagedFolder {
    /// Begins to fill what `target` shall become, which is absent or an empty folder.
    ///
    /// # Errors
    /// [`io::ErrorKind::DirectoryNotEmpty`] for a folder with files; where its parent cannot be written to.
    pub(crate) fn begin(target: &Path) -> io::Result<StagedFolder> {
        match fs::read_dir(target).map(|mut entries| entries.next().is_some()) {
            Ok(true) => return Err(io::ErrorKind::DirectoryNotEmpty.into()),
            Ok(false) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        // Of a path like `.` or `..`, the parent is no part.
        let target = match target.exists() {
            true => fs::canonicalize(target)?,
            false => target.to_owned(),
        };
        let filled = unless_over(|begun| {
            let filled = tempfile::Builder::new()
                .prefix(PREFIX)
                .permissions(permissions(0o777))
                .tempdir_in(folder(&target))
                .map_err(without_path)?;
            begun.insert(filled.path().to_owned());
            Ok(filled)
        })?;
        let begun = Begun(filled.path().to_owned());
        Ok(StagedFolder {
            filled,
            target,
            begun,
        })
    }

    /// Where its files go until it is published.
    pub(crate) fn path(&self) -> &Path {
        self.filled.path()
    }

    /// Lets the target be what was filled. It is durable when this returns.
    ///
    /// # Errors
    /// Where something is in the target's place by now; then the target is as it was.
    pub(crate) fn publish(self) -> io::Result<()> {
        let StagedFolder {
            filled,
            target,
            begun,
        } = self;
        File::open(filled.path())?.sync_all()?;
        // Replaces an empty folder, and nothing else.
        unless_over(|_| fs::rename(filled.path(), &target))?;
        drop(begun);
        // There is nothing under that name any more that could be removed.
        let gone = filled.keep();
        debug_assert!(!gone.exists(), "{} was renamed", gone.display());
        File::open(folder(&target))?.sync_all()
    }
}

impl Write for Staged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Kind::Beside { file, .. } => file.write(bytes),
            Kind::Through(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Kind::Beside { file, .. } => file.flush(),
            Kind::Through(file) => file.flush(),
        }
    }
}

/// The error without the temporary name, which says nothing to anybody.
fn without_path(error: io::Error) -> io::Error {
    let told = error.to_string();
    match told.split_once(" at path ") {
        Some((system, _)) => io::Error::new(error.kind(), system.to_owned()),
        None => error,
    }
}

fn folder(target: &Path) -> &Path {
    match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// What any program gives what it creates; the umask takes from it.
fn permissions(mode: u32) -> fs::Permissions {
    use std::os::unix::fs::PermissionsExt;
    fs::Permissions::from_mode(mode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_only_when_it_is_published() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("x.csv");
        fs::write(&target, "before").unwrap();
        let mut staged = Staged::begin(&target).unwrap();
        staged.write_all(b"after").unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"before");
        drop(staged);
        assert_eq!(fs::read(&target).unwrap(), b"before");
        let mut staged = Staged::begin(&target).unwrap();
        staged.write_all(b"after").unwrap();
        staged.publish().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"after");
        let left = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(left, 1, "temporary files are left");
    }

    #[test]
    fn a_link_stays_a_link_and_a_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (target, link) = (folder.path().join("x"), folder.path().join("link"));
        fs::write(&target, "before").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let mut staged = Staged::begin(&link).unwrap();
        staged.write_all(b"after").unwrap();
        staged.publish().unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&target).unwrap(), b"after");
        assert!(Staged::begin(folder.path()).is_err());
        let absent = Staged::begin(&folder.path().join("absent/x")).map(drop);
        let told = absent.unwrap_err().to_string();
        assert!(!told.contains(PREFIX), "{told}");
        let mut nowhere = Staged::begin(Path::new("/dev/null")).unwrap();
        nowhere.write_all(b"x").unwrap();
        nowhere.publish().unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }

    #[test]
    fn a_new_file_has_the_permissions_of_any_other() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (target, other) = (folder.path().join("x"), folder.path().join("other"));
        fs::write(&other, "").unwrap();
        Staged::begin(&target).unwrap().publish().unwrap();
        let mode = |path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&target), mode(&other));
    }

    #[test]
    fn a_folder_appears_with_all_its_files() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("out");
        for is_there in [false, true] {
            if is_there {
                fs::create_dir(&target).unwrap();
            }
            let staged = StagedFolder::begin(&target).unwrap();
            fs::write(staged.path().join("x"), "1").unwrap();
            assert!(!target.join("x").exists());
            drop(staged);
            let staged = StagedFolder::begin(&target).unwrap();
            fs::write(staged.path().join("x"), "1").unwrap();
            staged.publish().unwrap();
            assert_eq!(fs::read(target.join("x")).unwrap(), b"1");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
            let refused = StagedFolder::begin(&target).map(drop).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::DirectoryNotEmpty);
            fs::remove_dir_all(&target).unwrap();
        }
    }
}
