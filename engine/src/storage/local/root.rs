//! The root directory of a folder, open: whatever is done to the folder starts from this descriptor.
//!
//! A path finds whatever stands under it *now*: after the folder was moved away and another one put in its place, a
//! path leads into that one. The descriptor goes on meaning the folder that was opened. Below it no symbolic link is
//! followed, neither at the end of a name nor on the way to it: a folder from a stranger must not lead elsewhere.

use std::fs::{File, Metadata};
use std::io;
use std::path::Path;

#[cfg(unix)]
pub(super) use by_descriptor::Root;
#[cfg(not(unix))]
pub(super) use by_path::Root;

/// What a directory holds under one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileKind {
    File,
    Dir,
    Link,
    /// A device, a pipe, a socket: never an object.
    Other,
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// For reading; it exists.
    Read,
    /// For reading and writing; created if it is absent.
    Write,
    /// For writing; it must not exist.
    CreateNew,
}

/// The failure that a symbolic link inside a database is.
pub(super) fn is_a_link(name: &str, kind: io::ErrorKind) -> io::Error {
    let why = format!(
        "`{name}` is a symbolic link, and none is followed inside a database; put the file or folder itself there"
    );
    io::Error::new(kind, why)
}

/// The directory of a relative name, `""` for the root, and its last part.
fn split(name: &str) -> (&str, &str) {
    name.rsplit_once('/').unwrap_or(("", name))
}

#[cfg(unix)]
mod by_descriptor {
    use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

    use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};
    use rustix::io::Errno;

    use super::{File, FileKind, How, Metadata, Path, io, is_a_link, split};
    use crate::storage::local::platform::uninterrupted;

    /// Opens a directory to find names in it, which needs no right to read it.
    #[cfg(target_os = "linux")]
    const SEARCH: OFlags = OFlags::PATH.union(OFlags::DIRECTORY);
    #[cfg(not(target_os = "linux"))]
    const SEARCH: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);
    /// Opens whatever has a name, to look at it.
    #[cfg(target_os = "linux")]
    const LOOK: OFlags = OFlags::PATH;
    #[cfg(not(target_os = "linux"))]
    const LOOK: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK);

    /// The root, by its descriptor.
    #[derive(Debug)]
    pub(in crate::storage::local) struct Root {
        dir: File,
    }

    impl Root {
        /// Opens the folder at `path`, where a link may lead to the folder itself.
        pub(in crate::storage::local) fn open(path: &Path) -> io::Result<Root> {
            let flags = SEARCH | OFlags::CLOEXEC;
            let dir = system(|| rustix::fs::openat(CWD, path, flags, Mode::empty()))?;
            Ok(Root { dir: dir.into() })
        }

        /// What the root is.
        pub(in crate::storage::local) fn metadata(&self) -> io::Result<Metadata> {
            self.dir.metadata()
        }

        /// Opens a file. Whether it is one, and no pipe, the caller asks; opening waits for nobody.
        pub(in crate::storage::local) fn file(&self, name: &str, how: How) -> io::Result<File> {
            let flags = match how {
                How::Read => OFlags::RDONLY | OFlags::NONBLOCK,
                How::Write => OFlags::RDWR | OFlags::CREATE,
                How::CreateNew => OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL,
            };
            match self.open_at(name, flags) {
                // Somebody has a lease on it, as a server of files may: then it is a file, and worth waiting for.
                Err(cause) if how == How::Read && cause.kind() == io::ErrorKind::WouldBlock => {
                    self.open_at(name, OFlags::RDONLY).map(File::from)
                }
                opened => opened.map(File::from),
            }
        }

        /// What stands under a name.
        pub(in crate::storage::local) fn stat(&self, name: &str) -> io::Result<Metadata> {
            let metadata = File::from(self.open_at(name, LOOK)?).metadata()?;
            match metadata.is_symlink() {
                true => Err(is_a_link(name, io::Error::from(Errno::LOOP).kind())),
                false => Ok(metadata),
            }
        }

        /// Whether a symbolic link stands directly in the root under `name`.
        pub(in crate::storage::local) fn is_link(&self, name: &str) -> io::Result<bool> {
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            let stat = system(|| rustix::fs::statat(&self.dir, name, flags))?;
            Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
        }

        /// Another descriptor of one of the directories.
        pub(in crate::storage::local) fn dir(&self, name: &str) -> io::Result<Root> {
            let dir = self.open_at(name, SEARCH)?.into();
            Ok(Root { dir })
        }

        /// The names in a directory, in no order; those that are no text are left out.
        pub(in crate::storage::local) fn list(
            &self,
            dir: &str,
        ) -> io::Result<Vec<(String, FileKind)>> {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            let opened = self.open_at(dir, flags)?;
            let mut found = Vec::new();
            let mut entries = Dir::read_from(&opened)?;
            while let Some(entry) = entries.read() {
                let entry = entry?;
                let Ok(name) = entry.file_name().to_str() else {
                    continue;
                };
                if matches!(name, "." | "..") {
                    continue;
                }
                let mut kind = entry.file_type();
                if kind == FileType::Unknown {
                    let look = || rustix::fs::statat(&opened, name, AtFlags::SYMLINK_NOFOLLOW);
                    match system(look) {
                        Ok(stat) => kind = FileType::from_raw_mode(stat.st_mode),
                        Err(cause) if cause.kind() == io::ErrorKind::NotFound => continue,
                        Err(cause) => return Err(cause),
                    }
                }
                let kind = match kind {
                    FileType::RegularFile => FileKind::File,
                    FileType::Directory => FileKind::Dir,
                    FileType::Symlink => FileKind::Link,
                    _ => FileKind::Other,
                };
                found.push((name.to_owned(), kind));
            }
            Ok(found)
        }

        /// Makes durable the names in a directory.
        ///
        /// A file system that cannot (`EINVAL`) is an error: it could not keep the promise. The outer error is one
        /// of opening the directory: nothing was tried.
        pub(in crate::storage::local) fn sync_dir(&self, dir: &str) -> io::Result<io::Result<()>> {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            Ok(File::from(self.open_at(dir, flags)?).sync_all())
        }

        /// Makes a directory; it may exist.
        pub(in crate::storage::local) fn make_dir(&self, name: &str) -> io::Result<()> {
            let (above, last) = self.above(name)?;
            let mode = Mode::from_raw_mode(0o777);
            match system(|| rustix::fs::mkdirat(above.of(self), last, mode)) {
                Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                made => made,
            }
        }

        /// Gives the file `from` of `source` the second name `to` here, if that is free.
        pub(in crate::storage::local) fn link(
            &self,
            (source, from): (&Root, &str),
            to: &str,
        ) -> io::Result<()> {
            let (above, last) = self.above(to)?;
            let flags = AtFlags::empty();
            system(|| rustix::fs::linkat(&source.dir, from, above.of(self), last, flags))
        }

        /// Gives the file `from` of `source` the name `to` here, whoever has it.
        pub(in crate::storage::local) fn rename(
            &self,
            (source, from): (&Root, &str),
            to: &str,
        ) -> io::Result<()> {
            let (above, last) = self.above(to)?;
            system(|| rustix::fs::renameat(&source.dir, from, above.of(self), last))
        }

        /// Removes a file; of a link, the link.
        pub(in crate::storage::local) fn remove_file(&self, name: &str) -> io::Result<()> {
            let (above, last) = self.above(name)?;
            system(|| rustix::fs::unlinkat(above.of(self), last, AtFlags::empty()))
        }

        /// Removes an empty directory.
        pub(in crate::storage::local) fn remove_dir(&self, name: &str) -> io::Result<()> {
            let (above, last) = self.above(name)?;
            system(|| rustix::fs::unlinkat(above.of(self), last, AtFlags::REMOVEDIR))
        }

        /// Tries to link to `name` what lies on another file system. That is refused always, but only after the
        /// system has asked for the name; returns the refusal.
        pub(in crate::storage::local) fn link_from_afar(
            &self,
            afar: &str,
            name: &str,
        ) -> io::Result<()> {
            system(|| rustix::fs::linkat(CWD, afar, &self.dir, name, AtFlags::empty()))
        }

        /// The directory of `name`, and its last part.
        fn above<'a>(&self, name: &'a str) -> io::Result<(Above, &'a str)> {
            let (dir, last) = split(name);
            let above = match dir {
                "" => Above(None),
                dir => Above(Some(self.open_at(dir, SEARCH)?)),
            };
            Ok((above, last))
        }

        /// Opens `name`, `""` for the root itself, through no link.
        fn open_at(&self, name: &str, flags: OFlags) -> io::Result<OwnedFd> {
            let name = if name.is_empty() { "." } else { name };
            let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let mode = if flags.contains(OFlags::CREATE) {
                Mode::from_raw_mode(0o666)
            } else {
                Mode::empty()
            };
            let opened = match self.open_at_once(name, flags, mode) {
                Some(opened) => opened,
                None => self.open_by_parts(name, flags, mode),
            };
            opened.map_err(|cause| self.explained(name, cause))
        }

        /// Lets the system follow the name, and no link on the way; `None` where it cannot.
        #[cfg(target_os = "linux")]
        fn open_at_once(
            &self,
            name: &str,
            flags: OFlags,
            mode: Mode,
        ) -> Option<io::Result<OwnedFd>> {
            use rustix::fs::ResolveFlags;
            let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
            let opened = system(|| rustix::fs::openat2(&self.dir, name, flags, mode, resolve));
            let refusals = [Errno::NOSYS, Errno::PERM, Errno::INVAL].map(Errno::raw_os_error);
            match &opened {
                // Before Linux 5.6 there is no such call, and some sandboxes refuse it.
                Err(cause)
                    if cause
                        .raw_os_error()
                        .is_some_and(|no| refusals.contains(&no)) =>
                {
                    None
                }
                _ => Some(opened),
            }
        }

        #[cfg(not(target_os = "linux"))]
        fn open_at_once(&self, _: &str, _: OFlags, _: Mode) -> Option<io::Result<OwnedFd>> {
            None
        }

        fn open_by_parts(&self, name: &str, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
            let (dir, last) = split(name);
            let mut above = Above(None);
            for part in dir.split('/').filter(|part| !part.is_empty()) {
                let flags = SEARCH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
                let open = || rustix::fs::openat(above.of(self), part, flags, Mode::empty());
                above = Above(Some(system(open)?));
            }
            system(|| rustix::fs::openat(above.of(self), last, flags, mode))
        }

        /// The same failure, or the link that it comes from, by its name.
        fn explained(&self, name: &str, cause: io::Error) -> io::Error {
            let of_links = [Errno::LOOP, Errno::NOTDIR, Errno::MLINK].map(Errno::raw_os_error);
            if !cause
                .raw_os_error()
                .is_some_and(|no| of_links.contains(&no))
            {
                return cause;
            }
            let ends = name.match_indices('/').map(|(at, _)| at);
            for end in ends.chain([name.len()]) {
                let part = &name[..end];
                let Ok((above, last)) = self.above_by_parts(part) else {
                    return cause;
                };
                let flags = AtFlags::SYMLINK_NOFOLLOW;
                match system(|| rustix::fs::statat(above.of(self), last, flags)) {
                    Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink => {
                        return is_a_link(part, io::Error::from(Errno::LOOP).kind());
                    }
                    Ok(_) => {}
                    Err(_) => return cause,
                }
            }
            cause
        }

        fn above_by_parts<'a>(&self, name: &'a str) -> io::Result<(Above, &'a str)> {
            let (dir, last) = split(name);
            let above = match dir {
                "" => Above(None),
                dir => {
                    let flags = SEARCH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
                    Above(Some(self.open_by_parts(dir, flags, Mode::empty())?))
                }
            };
            Ok((above, last))
        }
    }

    /// The descriptor of a directory, or none for the root.
    struct Above(Option<OwnedFd>);

    impl Above {
        fn of<'a>(&'a self, root: &'a Root) -> BorrowedFd<'a> {
            self.0.as_ref().map_or(root.dir.as_fd(), AsFd::as_fd)
        }
    }

    fn system<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> io::Result<T> {
        uninterrupted(|| call().map_err(io::Error::from))
    }
}

#[cfg(not(unix))]
mod by_path {
    use std::fs::{self, OpenOptions};
    use std::path::PathBuf;

    use super::{File, FileKind, How, Metadata, Path, io, is_a_link, split};
    use crate::storage::local::platform::uninterrupted;

    /// The root, by its path: there are no portable descriptors of directories.
    #[derive(Debug)]
    pub(in crate::storage::local) struct Root {
        path: PathBuf,
    }

    impl Root {
        pub(in crate::storage::local) fn open(path: &Path) -> io::Result<Root> {
            let root = Root {
                path: path.to_owned(),
            };
            match root.metadata()?.is_dir() {
                true => Ok(root),
                false => Err(io::ErrorKind::NotADirectory.into()),
            }
        }

        pub(in crate::storage::local) fn metadata(&self) -> io::Result<Metadata> {
            uninterrupted(|| fs::metadata(&self.path))
        }

        pub(in crate::storage::local) fn file(&self, name: &str, how: How) -> io::Result<File> {
            match self.stat(name) {
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
                looked => drop(looked?),
            }
            let mut options = OpenOptions::new();
            match how {
                How::Read => options.read(true),
                How::Write => options.read(true).write(true).create(true).truncate(false),
                How::CreateNew => options.write(true).create_new(true),
            };
            uninterrupted(|| options.open(self.at(name)))
        }

        pub(in crate::storage::local) fn stat(&self, name: &str) -> io::Result<Metadata> {
            let ends = name.match_indices('/').map(|(at, _)| at);
            for end in ends.chain([name.len()]) {
                let metadata = uninterrupted(|| fs::symlink_metadata(self.at(&name[..end])))?;
                if metadata.is_symlink() {
                    return Err(is_a_link(&name[..end], io::ErrorKind::InvalidInput));
                }
                if end == name.len() {
                    return Ok(metadata);
                }
            }
            self.metadata()
        }

        pub(in crate::storage::local) fn is_link(&self, name: &str) -> io::Result<bool> {
            Ok(uninterrupted(|| fs::symlink_metadata(self.at(name)))?.is_symlink())
        }

        pub(in crate::storage::local) fn dir(&self, name: &str) -> io::Result<Root> {
            self.stat(name)?;
            Root::open(&self.at(name))
        }

        pub(in crate::storage::local) fn list(
            &self,
            dir: &str,
        ) -> io::Result<Vec<(String, FileKind)>> {
            if !dir.is_empty() {
                self.stat(dir)?;
            }
            let mut found = Vec::new();
            for entry in uninterrupted(|| fs::read_dir(self.at(dir)))? {
                let entry = entry?;
                let Ok(name) = entry.file_name().into_string() else {
                    continue;
                };
                let kind = entry.file_type()?;
                let kind = match (kind.is_file(), kind.is_dir(), kind.is_symlink()) {
                    (true, _, _) => FileKind::File,
                    (_, true, _) => FileKind::Dir,
                    (_, _, true) => FileKind::Link,
                    _ => FileKind::Other,
                };
                found.push((name, kind));
            }
            Ok(found)
        }

        /// Directories cannot be opened for a sync here; the file system orders names by itself.
        pub(in crate::storage::local) fn sync_dir(&self, _dir: &str) -> io::Result<io::Result<()>> {
            Ok(Ok(()))
        }

        pub(in crate::storage::local) fn make_dir(&self, name: &str) -> io::Result<()> {
            match uninterrupted(|| fs::create_dir(self.at(name))) {
                Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                made => made,
            }
        }

        pub(in crate::storage::local) fn link(
            &self,
            (source, from): (&Root, &str),
            to: &str,
        ) -> io::Result<()> {
            self.refuse_links_to(to)?;
            uninterrupted(|| fs::hard_link(source.at(from), self.at(to)))
        }

        pub(in crate::storage::local) fn rename(
            &self,
            (source, from): (&Root, &str),
            to: &str,
        ) -> io::Result<()> {
            self.refuse_links_to(to)?;
            uninterrupted(|| fs::rename(source.at(from), self.at(to)))
        }

        pub(in crate::storage::local) fn remove_file(&self, name: &str) -> io::Result<()> {
            self.refuse_links_to(name)?;
            uninterrupted(|| fs::remove_file(self.at(name)))
        }

        pub(in crate::storage::local) fn remove_dir(&self, name: &str) -> io::Result<()> {
            self.refuse_links_to(name)?;
            uninterrupted(|| fs::remove_dir(self.at(name)))
        }

        pub(in crate::storage::local) fn link_from_afar(
            &self,
            afar: &str,
            name: &str,
        ) -> io::Result<()> {
            uninterrupted(|| fs::hard_link(afar, self.at(name)))
        }

        fn refuse_links_to(&self, name: &str) -> io::Result<()> {
            match split(name).0 {
                "" => Ok(()),
                dir => self.stat(dir).map(drop),
            }
        }

        fn at(&self, name: &str) -> PathBuf {
            if name.is_empty() {
                self.path.clone()
            } else {
                self.path.join(name)
            }
        }
    }
}
