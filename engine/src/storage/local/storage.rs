//! [`LocalStorage`]: the trait over a folder.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::append::LocalAppendFile;
use super::block;
use super::folder::Folder;
use super::links;
use super::lock;
use super::object::LocalObject;
use super::platform::{identity, uninterrupted};
use super::temp::Temp;
use super::writer::LocalWriter;
use crate::base::{Error, Result};
use crate::storage::{
    Access, AppendFile, ContentOf, Created, LockGuard, LockMode, Name, Object, ObjectWriter,
    Operation, Stat, Storage,
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
    folder: Arc<Folder>,
}

impl LocalStorage {
    /// Opens the folder at `root`. Nothing is touched: a folder that is to be written is made, durably,
    /// when something is first written into it.
    ///
    /// # Errors
    /// [`Error::NotADatabase`] where `root` is not a folder, or is absent and to be read only;
    /// [`Error::Storage`] where it cannot be looked at.
    pub fn open(root: &Path, access: Access) -> Result<LocalStorage> {
        let not_a_database = |why: &str| Error::NotADatabase {
            path: root.display().to_string(),
            why: why.to_owned(),
        };
        match uninterrupted(|| fs::metadata(root)) {
            Ok(metadata) if !metadata.is_dir() => Err(not_a_database("not a folder")),
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                Err(Operation::Open.error(root.display(), &cause))
            }
            Err(_) if access == Access::ReadOnly => Err(not_a_database("no such folder")),
            _ => Ok(LocalStorage {
                folder: Arc::new(Folder::new(root.to_owned(), access)),
            }),
        }
    }

    /// This folder, of which the one who opens it knows that no other machine writes to it, whatever it lies on. A
    /// standalone process then appends to one file there, too.
    #[must_use]
    pub fn assume_local(self) -> LocalStorage {
        self.folder.assume_local();
        self
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
        let _kept = self.folder.dirs.keep();
        self.folder.dirs.make(name.dir())?;
        let mut temp = Temp::create(&self.folder)?;
        let identity = identity(&temp.file.metadata()?);
        temp.file.write_all(&content(identity))?;
        temp.file.sync_all()?;
        temp.rename(&self.folder.path(name))?;
        self.folder.dirs.sync(name.dir())?;
        Ok(identity)
    }

    /// The file under `name` and its length; a directory is nothing.
    fn open_file(&self, name: &Name) -> io::Result<Option<(File, u64)>> {
        let path = self.folder.path(name);
        self.folder.look_anew(&path);
        let Some(file) = present(uninterrupted(|| File::open(&path)))? else {
            self.folder.still_there()?;
            return Ok(None);
        };
        let metadata = file.metadata()?;
        Ok(metadata.is_file().then_some((file, metadata.len())))
    }

    fn metadata(&self, name: &Name) -> io::Result<Option<fs::Metadata>> {
        let path = self.folder.path(name);
        self.folder.look_anew(&path);
        let found = present(uninterrupted(|| fs::metadata(&path)))?;
        if found.is_none() {
            self.folder.still_there()?;
        }
        Ok(found)
    }

    fn read_now(&self, name: &Name) -> io::Result<Option<Bytes>> {
        let Some((mut file, len)) = self.open_file(name)? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        // A length that no memory could hold fails here, and does not abort the process.
        bytes.try_reserve_exact(usize::try_from(len).unwrap_or(usize::MAX))?;
        file.read_to_end(&mut bytes)?;
        Ok(Some(bytes.into()))
    }

    fn append_file_now(&self, name: &Name) -> io::Result<LocalAppendFile> {
        let _kept = self.folder.dirs.keep();
        self.folder.dirs.make(name.dir())?;
        let path = self.folder.path(name);
        let file = uninterrupted(|| {
            OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)
        })?;
        LocalAppendFile::new(name.clone(), file)
    }
}

#[async_trait]
impl Storage for LocalStorage {
    async fn create(&self, name: &Name, bytes: &[u8]) -> Result<Created> {
        self.folder.writable()?;
        let create = || {
            // Else it would be created in whatever has come in its place.
            self.folder.still_there()?;
            let _kept = self.folder.dirs.keep();
            self.write_temp(name, bytes)?.link(&self.folder.path(name))
        };
        let created = if bytes.len() > INLINE_LEN_MAX {
            block(create)
        } else {
            create()
        };
        created.map_err(|cause| Operation::Create.error(name, &cause))
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
        self.read_now(name)
            .map_err(|cause| Operation::Read.error(name, &cause))
    }

    async fn open(&self, name: &Name) -> Result<Option<Arc<dyn Object>>> {
        let opened = self
            .open_file(name)
            .map_err(|cause| Operation::Open.error(name, &cause))?;
        Ok(opened.map(|(file, len)| -> Arc<dyn Object> {
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
            self.folder.look_anew(&self.folder.root.join(dir));
            list_into(&self.folder.root, dir, &mut names)?;
            self.folder.still_there()
        });
        listed.map_err(|cause| Operation::List.error(dir, &cause))?;
        names.sort_unstable();
        Ok(names)
    }

    async fn remove(&self, name: &Name) -> Result<bool> {
        self.folder.writable()?;
        let removed = present(uninterrupted(|| fs::remove_file(self.folder.path(name))));
        Ok(removed
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
                LockMode::Shared => mount.check_shareable(&self.folder.root)?,
                LockMode::Exclusive => mount.warn_if_hiding(&self.folder.root),
            }
        }
        let held = block(|| lock::acquire(&self.folder, mode))?;
        block(|| links::check(&self.folder))?;
        Ok(Box::new(held))
    }

    async fn prune(&self) -> Result<()> {
        self.folder.writable()?;
        let pruned = block(|| self.folder.dirs.prune());
        pruned.map_err(|cause| Operation::Remove.error("empty folders", &cause))
    }

    fn is_remote(&self) -> bool {
        self.folder.is_remote()
    }

    fn location(&self) -> String {
        self.folder.root.display().to_string()
    }
}

/// What is absent, perhaps since a moment ago, is `None` and no failure.
fn present<T>(done: io::Result<T>) -> io::Result<Option<T>> {
    match done {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        done => done.map(Some),
    }
}

/// Collects the files below `dir`. What cannot be a name is somebody else's; symbolic links are
/// not followed.
fn list_into(root: &Path, dir: &str, names: &mut Vec<Name>) -> io::Result<()> {
    let entries = match uninterrupted(|| fs::read_dir(root.join(dir))) {
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
    for entry in entries {
        let entry = entry?;
        let Ok(last) = entry.file_name().into_string() else {
            continue;
        };
        let path = if dir.is_empty() {
            last
        } else {
            format!("{dir}/{last}")
        };
        let Some(name) = Name::parse(&path) else {
            continue;
        };
        let Some(kind) = present(entry.file_type())? else {
            continue;
        };
        if kind.is_dir() {
            list_into(root, name.as_str(), names)?;
        } else if kind.is_file() {
            names.push(name);
        }
    }
    Ok(())
}
