//! [`LocalStorage`]: the trait over a folder.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::append::LocalAppendFile;
use super::block;
use super::folder::LocalFolder;
use super::links;
use super::lock;
use super::object::LocalObject;
use super::platform::{forgo_access_time, identity, uninterrupted};
use super::root::{FileKind, How, Root, is_a_link};
use super::temp::Temp;
use super::writer::LocalWriter;
use crate::base::{Error, Result};
use crate::storage::{
    Access, AppendFile, Capabilities, ContentOf, Created, Exclusion, LockGuard, LockMode, Name,
    Object, ObjectWriter, Operation, Prepared, Stat, Storage, too_long,
};

/// Bytes above which writing and syncing them is no longer done on the polling thread's time.
const INLINE_LEN_MAX: usize = 64 * 1024;

/// A folder on a local or POSIX network file system. A clone is another handle on the same.
/// `docs/format-folder.md` says what lies where in it.
///
/// # Blocking inside `async`
/// I/O is done inline, on the thread that polls. A commit is one write of some 100 µs; handing it to
/// a thread pool and back costs two wake-ups of 10 to 20 µs each, on every commit. What may take
/// long (the sync of a large object, zeros, listings) runs in
/// [`tokio::task::block_in_place`] where the runtime has several threads, so that other tasks go on.
/// The one place where tokio forbids that, and panics, is a `LocalSet` inside a runtime of several
/// threads; a `LocalSet` in a runtime of one thread is fine.
#[derive(Clone, Debug)]
pub struct LocalStorage {
    folder: Arc<LocalFolder>,
}

impl LocalStorage {
    /// Opens the folder at `root`. Nothing is touched: a folder that is to be written is made, durably,
    /// when something is first written into it.
    ///
    /// # Errors
    /// [`Error::NotADatabase`] where `root` is not a folder, or is absent and to be read only;
    /// [`Error::Invalid`] naming a symbolic link where a database has a file or folder of its own;
    /// [`Error::Storage`] where it cannot be looked at.
    pub fn open(root: &Path, access: Access) -> Result<LocalStorage> {
        let not_a_database = |why: &str| Error::NotADatabase {
            path: root.display().to_string(),
            why: why.to_owned(),
        };
        let found = match uninterrupted(|| fs::metadata(root)) {
            Ok(metadata) if !metadata.is_dir() => return Err(not_a_database("not a folder")),
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                return Err(Operation::Open.error(root.display(), &cause));
            }
            Err(_) if access == Access::ReadOnly => return Err(not_a_database("no such folder")),
            found => found.is_ok(),
        };
        let folder = LocalFolder::new(root.to_owned(), access);
        if found {
            let opened = folder.root();
            opened.map_err(|cause| Operation::Open.error(root.display(), &cause))?;
            folder.refuse_links()?;
        }
        Ok(LocalStorage {
            folder: Arc::new(folder),
        })
    }

    /// This folder, of which the one who opens it knows that no other machine writes to it, whatever it lies on. A
    /// standalone process then appends to one file there, too.
    #[must_use]
    pub fn assume_local(self) -> LocalStorage {
        self.folder.assume_local();
        self
    }

    /// What every handle on it shares.
    #[cfg(test)]
    pub(super) fn folder(&self) -> Arc<LocalFolder> {
        Arc::clone(&self.folder)
    }

    /// The bytes, durable, under a temporary name, and a directory for the name they will get.
    fn write_temp(&self, name: &Name, bytes: &[u8]) -> io::Result<Temp> {
        self.folder.dirs.make(name.dir())?;
        let mut temp = Temp::create(&self.folder)?;
        temp.file.write_all(bytes)?;
        temp.file.sync_all()?;
        Ok(temp)
    }

    fn replace_now(&self, name: &Name, content: &ContentOf) -> io::Result<u128> {
        let root = self.folder.to_write()?;
        let _kept = self.folder.dirs.keep();
        self.folder.dirs.make(name.dir())?;
        let mut temp = Temp::create(&self.folder)?;
        let identity = identity(&temp.file.metadata()?);
        temp.file.write_all(&content(identity))?;
        temp.file.sync_all()?;
        temp.rename(root, name.as_str())?;
        self.folder.dirs.sync(name.dir())?;
        Ok(identity)
    }

    /// The file under `name` and its length; a directory is nothing.
    fn open_file(&self, name: &Name) -> io::Result<Option<(File, u64)>> {
        let Some(file) = self.look(name, |root| root.file(name.as_str(), How::Read))? else {
            return Ok(None);
        };
        let metadata = file.metadata()?;
        Ok(metadata.is_file().then_some((file, metadata.len())))
    }

    fn metadata(&self, name: &Name) -> io::Result<Option<fs::Metadata>> {
        self.look(name, |root| root.stat(name.as_str()))
    }

    /// Looks at what stands under `name`; that it is absent counts only in a folder that is still there.
    fn look<T>(
        &self,
        name: &Name,
        look: impl FnOnce(&Root) -> io::Result<T>,
    ) -> io::Result<Option<T>> {
        let Some(root) = self.folder.root()? else {
            return Ok(None);
        };
        self.folder.look_anew(name.as_str());
        let found = present(look(root))?;
        if found.is_none() {
            self.folder.still_there()?;
        }
        Ok(found)
    }

    fn read_now(&self, name: &Name, len_max: u64) -> Result<Option<Bytes>> {
        let failed = |cause: io::Error| Operation::Read.error(name, &cause);
        let Some((mut file, len)) = self.open_file(name).map_err(failed)? else {
            return Ok(None);
        };
        if len > len_max {
            return Err(too_long(name, len, len_max));
        }
        let mut bytes = Vec::new();
        // A length that no memory could hold fails here, and does not abort the process.
        let reserved = bytes.try_reserve_exact(usize::try_from(len).unwrap_or(usize::MAX));
        reserved.map_err(|cause| failed(cause.into()))?;
        // It may have grown since.
        let read = (&mut file).take(len_max).read_to_end(&mut bytes);
        read.map_err(failed)?;
        assert!(
            bytes.len() as u64 <= len_max,
            "{name}: {} bytes of {len_max} at most",
            bytes.len()
        );
        Ok(Some(bytes.into()))
    }

    fn append_file_now(&self, name: &Name) -> io::Result<LocalAppendFile> {
        let root = self.folder.to_write()?;
        let _kept = self.folder.dirs.keep();
        self.folder.dirs.make(name.dir())?;
        let file = root.file(name.as_str(), How::Write)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is no file"));
        }
        LocalAppendFile::new(Arc::clone(&self.folder), name.clone(), file)
    }
}

#[async_trait]
impl Storage for LocalStorage {
    async fn create(&self, name: &Name, bytes: &[u8]) -> Result<Created> {
        self.folder.writable()?;
        let create = || {
            let root = self.folder.to_write()?;
            let _kept = self.folder.dirs.keep();
            self.write_temp(name, bytes)?.link(root, name.as_str())
        };
        let created = if bytes.len() > INLINE_LEN_MAX {
            block(create)
        } else {
            create()
        };
        created.map_err(|cause| Operation::Create.error(name, &cause))
    }

    async fn prepare(&self, name: &Name, bytes: &[u8]) -> Result<Option<Prepared>> {
        self.folder.writable()?;
        let prepare = || {
            self.folder.to_write()?;
            let _kept = self.folder.dirs.keep();
            self.write_temp(name, bytes)
        };
        let prepared = if bytes.len() > INLINE_LEN_MAX {
            block(prepare)
        } else {
            prepare()
        };
        match prepared {
            Ok(temp) => Ok(Some(Prepared::new(temp))),
            Err(cause) => Err(Operation::Create.error(name, &cause)),
        }
    }

    async fn publish(
        &self,
        name: &Name,
        bytes: &[u8],
        prepared: Option<Prepared>,
    ) -> Result<Created> {
        let Some(temp) = prepared.and_then(Prepared::into_inner::<Temp>) else {
            return self.create(name, bytes).await;
        };
        self.folder.writable()?;
        let publish = || {
            let root = self.folder.to_write()?;
            let _kept = self.folder.dirs.keep();
            // Empty folders may have been removed since.
            self.folder.dirs.make(name.dir())?;
            temp.link(root, name.as_str())
        };
        publish().map_err(|cause| Operation::Create.error(name, &cause))
    }

    async fn sync_names(&self, name: &Name) -> Result<()> {
        self.folder.writable()?;
        let synced = self.folder.dirs.sync(name.dir());
        synced.map_err(|cause| Operation::SyncNames.error(name, &cause))
    }

    async fn stat(&self, name: &Name) -> Result<Option<Stat>> {
        let metadata = self.metadata(name);
        let metadata = metadata.map_err(|cause| Operation::Stat.error(name, &cause))?;
        Ok(metadata.filter(fs::Metadata::is_file).map(|metadata| Stat {
            len: metadata.len(),
            identity: identity(&metadata),
        }))
    }

    async fn read(&self, name: &Name) -> Result<Option<Bytes>> {
        self.read_now(name, u64::MAX)
    }

    async fn read_at_most(&self, name: &Name, len_max: u64) -> Result<Option<Bytes>> {
        self.read_now(name, len_max)
    }

    async fn open(&self, name: &Name) -> Result<Option<Arc<dyn Object>>> {
        let opened = self
            .open_file(name)
            .map_err(|cause| Operation::Open.error(name, &cause))?;
        Ok(opened.map(|(file, len)| -> Arc<dyn Object> {
            forgo_access_time(&file);
            Arc::new(LocalObject {
                name: name.clone(),
                file,
                len,
            })
        }))
    }

    async fn list(&self, dir: &str) -> Result<Vec<Name>> {
        if !dir.is_empty() && Name::parse(dir).is_none() {
            return Err(Error::Invalid(format!(
                "`{dir}` is no directory of a database"
            )));
        }
        let mut names = Vec::new();
        let listed = block(|| {
            let Some(root) = self.folder.root()? else {
                return Ok(());
            };
            self.folder.look_anew(dir);
            list_into(root, dir, &mut names)?;
            self.folder.still_there()
        });
        listed.map_err(|cause| Operation::List.error(dir, &cause))?;
        names.sort_unstable();
        Ok(names)
    }

    async fn remove(&self, name: &Name) -> Result<bool> {
        self.folder.writable()?;
        let remove = || match self.folder.root()? {
            Some(root) => {
                self.folder.still_there()?;
                present(root.remove_file(name.as_str()))
            }
            None => Ok(None),
        };
        Ok(remove()
            .map_err(|cause| Operation::Remove.error(name, &cause))?
            .is_some())
    }

    async fn writer(&self, name: &Name) -> Result<Box<dyn ObjectWriter>> {
        self.folder.writable()?;
        match LocalWriter::new(self.folder.clone(), name.clone()) {
            Ok(writer) => Ok(Box::new(writer)),
            Err(cause) => Err(Operation::Write.error(name, &cause)),
        }
    }

    async fn append_file(&self, name: &Name) -> Result<Box<dyn AppendFile>> {
        self.folder.writable()?;
        match self.append_file_now(name) {
            Ok(file) => Ok(Box::new(file)),
            Err(cause) => Err(Operation::AppendFile.error(name, &cause)),
        }
    }

    async fn replace(&self, name: &Name, content: &ContentOf) -> Result<u128> {
        self.folder.writable()?;
        block(|| self.replace_now(name, content))
            .map_err(|cause| Operation::Replace.error(name, &cause))
    }

    async fn lock(&self, mode: LockMode) -> Result<Box<dyn LockGuard>> {
        self.folder.writable()?;
        if let Some(mount) = self.folder.mount() {
            match mode {
                LockMode::Shared => mount.check_shareable(&self.folder.path)?,
                LockMode::Exclusive => mount.warn_if_hiding(&self.folder.path),
            }
        }
        self.folder.refuse_links()?;
        let held = block(|| lock::acquire(&self.folder, mode))?;
        block(|| links::check(&self.folder))?;
        Ok(Box::new(held))
    }

    async fn prune(&self) -> Result<()> {
        self.folder.writable()?;
        let prune = || {
            self.folder.still_there()?;
            self.folder.dirs.prune()
        };
        let pruned = block(prune);
        pruned.map_err(|cause| Operation::Remove.error("empty folders", &cause))
    }

    fn capabilities(&self) -> Capabilities {
        let exclusion = match self.folder.is_remote() {
            true => Exclusion::Machine,
            false => Exclusion::Everybody,
        };
        Capabilities {
            exclusion,
            ..Capabilities::FOLDER
        }
    }

    async fn reopened(&self) -> Result<Option<Arc<dyn Storage>>> {
        let folder = LocalStorage::open(&self.folder.path, self.folder.access)?;
        Ok(Some(Arc::new(folder)))
    }

    fn location(&self) -> String {
        self.folder.path.display().to_string()
    }
}

/// What is absent, perhaps since a moment ago, is `None` and no failure.
fn present<T>(done: io::Result<T>) -> io::Result<Option<T>> {
    match done {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        done => done.map(Some),
    }
}

/// Collects the files below `dir`. What cannot be a name is somebody else's, and so is a symbolic link, unless it
/// stands where an object of a database or a folder of objects would: left out, it would pass for an absent one.
fn list_into(root: &Root, dir: &str, names: &mut Vec<Name>) -> io::Result<()> {
    let entries = match root.list(dir) {
        Err(cause)
            if matches!(
                cause.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(());
        }
        entries => entries?,
    };
    for (last, kind) in entries {
        let path = match dir {
            "" => last,
            dir => format!("{dir}/{last}"),
        };
        let Some(name) = Name::parse(&path) else {
            continue;
        };
        match kind {
            FileKind::Dir => list_into(root, name.as_str(), names)?,
            FileKind::File => names.push(name),
            FileKind::Link if is_numbered(&name) => {
                return Err(is_a_link(name.as_str(), io::ErrorKind::InvalidData));
            }
            FileKind::Link | FileKind::Other => {}
        }
    }
    Ok(())
}

/// Whether a name ends like those of objects and their folders do: in numbers.
fn is_numbered(name: &Name) -> bool {
    let Some((_, last)) = name.as_str().rsplit_once('/') else {
        return false;
    };
    let last = last.strip_prefix('g').unwrap_or(last);
    let is_digit = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
    !last.is_empty() && last.bytes().all(is_digit)
}
