//! [`ObjectStorage`]: the trait over a bucket.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};

use super::cache::DiskCache;
use super::cached::CachedSegment;
use super::client::{address, client};
use super::create::create;
use super::failure::{error, present, request};
use super::mark::{Mark, look};
use super::opened::BucketObject;
use super::options::ObjectOptions;
use super::place::BucketPlace;
use super::probe::probe;
use super::runtime;
use super::writer::BucketWriter;
use crate::base::{Error, Result};
use crate::storage::{
    Access, AppendFile, Capabilities, ContentOf, Created, LockGuard, LockMode, Name, Object,
    ObjectWriter, Operation, Stat, Storage, no_exclusion, too_long,
};

/// A database in a bucket: `s3://bucket/prefix`, `gs://bucket/prefix` or `az://container/prefix`.
///
/// It is opened clustered ([`Mode::Clustered`](crate::db::Mode::Clustered)): there is no lock in a bucket.
/// Requests run on threads of the storage's own, so it works from any runtime, and from none.
///
/// ```no_run
/// use std::sync::Arc;
/// use eciton_engine::{Db, Environment, Mode, Options, Result};
/// use eciton_engine::storage::{Access, ObjectOptions, ObjectStorage};
///
/// # async fn example() -> Result<()> {
/// // Keys, region and endpoint from `AWS_*` in the environment.
/// let options = ObjectOptions::default();
/// let storage = ObjectStorage::open("s3://bucket/planets", &options, Access::ReadWrite).await?;
/// let options = Options { mode: Mode::Clustered, ..Options::default() };
/// let db = Db::open_storage(Arc::new(storage), options, Environment::default()).await?;
/// # db.close().await
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ObjectStorage {
    store: Arc<dyn ObjectStore>,
    place: BucketPlace,
    access: Access,
    cache: Option<Arc<DiskCache>>,
}

impl ObjectStorage {
    /// Opens a place in a bucket, which must exist. For writing it is probed whether the store refuses to
    /// create what is there, and keeps what an object is marked with; reading asks for nothing.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an address or options that cannot be. [`Error::Storage`]: of kind
    /// `Unsupported` where the store cannot be written to safely, else what it refuses.
    pub async fn open(url: &str, options: &ObjectOptions, access: Access) -> Result<ObjectStorage> {
        let place = BucketPlace::parse(url)?;
        let store = client(&place, options)
            .map_err(|cause| Error::Invalid(format!("{place} cannot be reached: {cause}")))?;
        runtime::opened(address(&place, options));
        if access == Access::ReadWrite {
            probe(&store, &place).await?;
        }
        let cache = options.cache.as_ref().and_then(DiskCache::open);
        Ok(ObjectStorage {
            store,
            place,
            access,
            cache: cache.map(Arc::new),
        })
    }

    fn writable(&self) -> Result<()> {
        match self.access {
            Access::ReadWrite => Ok(()),
            Access::ReadOnly => Err(Error::ReadOnly),
        }
    }

    /// What a request takes with it.
    fn at(&self, name: &Name) -> Result<(Arc<dyn ObjectStore>, Path)> {
        let path = self.place.path(name.as_str())?;
        Ok((Arc::clone(&self.store), path))
    }

    async fn create_marked(&self, name: &Name, bytes: Bytes, mark: Mark) -> Result<Created> {
        let (store, path) = self.at(name)?;
        let created = async move { create(&*store, &path, bytes, mark).await };
        request(Operation::Create, name.as_str(), created).await
    }
}

#[async_trait]
impl Storage for ObjectStorage {
    fn capabilities(&self) -> Capabilities {
        Capabilities::BUCKET
    }

    async fn create(&self, name: &Name, bytes: &[u8]) -> Result<Created> {
        self.writable()?;
        let bytes = Bytes::copy_from_slice(bytes);
        self.create_marked(name, bytes, Mark::new()).await
    }

    async fn create_with(&self, name: &Name, content: &ContentOf) -> Result<Created> {
        self.writable()?;
        let mark = Mark::new();
        let bytes = content(mark.identity(&self.place, name));
        self.create_marked(name, bytes.into(), mark).await
    }

    /// What the store has answered is durable, names included.
    async fn sync_names(&self, _name: &Name) -> Result<()> {
        self.writable()
    }

    async fn stat(&self, name: &Name) -> Result<Option<Stat>> {
        let (store, path) = self.at(name)?;
        let found = async move { look(&*store, &path).await };
        let found = request(Operation::Stat, name.as_str(), found).await?;
        Ok(found.map(|found| found.stat(&self.place, name)))
    }

    async fn read(&self, name: &Name) -> Result<Option<Bytes>> {
        let (store, path) = self.at(name)?;
        let read = async move {
            match present(store.get(&path).await)? {
                Some(got) => got.bytes().await.map(Some),
                None => Ok(None),
            }
        };
        request(Operation::Read, name.as_str(), read).await
    }

    async fn read_at_most(&self, name: &Name, len_max: u64) -> Result<Option<Bytes>> {
        let (store, path) = self.at(name)?;
        let read = async move {
            match present(store.get(&path).await)? {
                Some(got) if got.meta.size > len_max => Ok(Some(Err(got.meta.size))),
                Some(got) => got.bytes().await.map(|bytes| Some(Ok(bytes))),
                None => Ok(None),
            }
        };
        match request(Operation::Read, name.as_str(), read).await? {
            Some(Err(len)) => Err(too_long(name, len, len_max)),
            Some(Ok(bytes)) => Ok(Some(bytes)),
            None => Ok(None),
        }
    }

    async fn open(&self, name: &Name) -> Result<Option<Arc<dyn Object>>> {
        let (store, path) = self.at(name)?;
        let cached = self.cache.as_ref();
        let cached = cached.and_then(|cache| CachedSegment::new(cache, &self.place, name));
        if let Some((len, head)) = cached.as_ref().and_then(CachedSegment::head) {
            let object = BucketObject::cached(store, name.clone(), path, len, head, cached);
            return Ok(Some(Arc::new(object)));
        }
        let opened = BucketObject::open(store, name.clone(), path, cached);
        let opened = request(Operation::Open, name.as_str(), opened).await?;
        Ok(opened.map(|object| Arc::new(object) as Arc<dyn Object>))
    }

    async fn list(&self, dir: &str) -> Result<Vec<Name>> {
        if !dir.is_empty() && Name::parse(dir).is_none() {
            let message = format!("`{dir}` is no directory of a database");
            return Err(Error::Invalid(message));
        }
        let (store, below) = (Arc::clone(&self.store), self.place.dir(dir)?);
        let listed = async move {
            let objects = store.list(below.as_ref());
            objects
                .map_ok(|object| object.location)
                .try_collect::<Vec<Path>>()
                .await
        };
        let listed = request(Operation::List, dir, listed).await?;
        let mut names: Vec<Name> = listed
            .iter()
            .filter_map(|key| self.place.name(key))
            .collect();
        names.sort_unstable();
        Ok(names)
    }

    async fn remove(&self, name: &Name) -> Result<bool> {
        self.writable()?;
        let (store, path) = self.at(name)?;
        let removed = async move {
            // A store does not say whether there was anything.
            if look(&*store, &path).await?.is_none() {
                return Ok(false);
            }
            Ok(present(store.delete(&path).await)?.is_some())
        };
        request(Operation::Remove, name.as_str(), removed).await
    }

    async fn writer(&self, name: &Name) -> Result<Box<dyn ObjectWriter>> {
        self.writable()?;
        let (store, path) = self.at(name)?;
        Ok(Box::new(BucketWriter::new(store, name.clone(), path)))
    }

    /// # Errors
    /// [`Error::Storage`] of kind `Unsupported`: nothing can be appended to in a bucket.
    async fn append_file(&self, name: &Name) -> Result<Box<dyn AppendFile>> {
        self.writable()?;
        let failure = object_store::Error::NotSupported {
            source: "an object store has no files to append to".into(),
        };
        Err(error(Operation::AppendFile, name.as_str(), &failure))
    }

    async fn replace(&self, name: &Name, content: &ContentOf) -> Result<u128> {
        self.writable()?;
        let mark = Mark::new();
        let identity = mark.identity(&self.place, name);
        let bytes = Bytes::from(content(identity));
        let (store, path) = self.at(name)?;
        let put = async move {
            let options = PutOptions {
                mode: PutMode::Overwrite,
                attributes: mark.attributes(),
                ..PutOptions::default()
            };
            store.put_opts(&path, bytes.into(), options).await
        };
        request(Operation::Replace, name.as_str(), put).await?;
        Ok(identity)
    }

    /// # Errors
    /// [`Error::Invalid`] for the exclusive lock, which nobody can have.
    async fn lock(&self, mode: LockMode) -> Result<Box<dyn LockGuard>> {
        self.writable()?;
        match mode {
            LockMode::Shared => Ok(Box::new(Nothing)),
            LockMode::Exclusive => Err(no_exclusion(self)),
        }
    }

    fn location(&self) -> String {
        self.place.to_string()
    }
}

/// The shared lock of a bucket: it excludes nobody.
struct Nothing;

impl LockGuard for Nothing {}
