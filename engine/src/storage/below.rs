//! A medium within another one: everything below one directory.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::{
    AppendFile, Capabilities, ContentOf, Created, LockGuard, LockMode, Name, Object, ObjectWriter,
    Prepared, Stat, Storage, WatchedStorage,
};
use crate::base::{Error, Result};

/// The objects below one directory of a medium, under the names that they have within it. Its lock is that of the whole
/// medium.
pub struct Below {
    storage: Arc<dyn Storage>,
    dir: String,
}

impl Below {
    /// What `storage` has below `dir`, which is given without a trailing `/`.
    pub fn new(storage: Arc<dyn Storage>, dir: impl Into<String>) -> Below {
        let dir = dir.into();
        assert!(
            Name::parse(&dir).is_some(),
            "`{dir}` can be no directory of a medium"
        );
        Below { storage, dir }
    }

    fn outer(&self, name: &Name) -> Result<Name> {
        let path = format!("{}/{name}", self.dir);
        Name::parse(&path).ok_or_else(|| Error::Invalid(format!("`{path}` is no name")))
    }
}

#[async_trait]
impl Storage for Below {
    fn capabilities(&self) -> Capabilities {
        self.storage.capabilities()
    }

    async fn create(&self, name: &Name, bytes: &[u8]) -> Result<Created> {
        self.storage.create(&self.outer(name)?, bytes).await
    }

    async fn prepare(&self, name: &Name, bytes: &[u8]) -> Result<Option<Prepared>> {
        self.storage.prepare(&self.outer(name)?, bytes).await
    }

    async fn publish(
        &self,
        name: &Name,
        bytes: &[u8],
        prepared: Option<Prepared>,
    ) -> Result<Created> {
        let outer = self.outer(name)?;
        self.storage.publish(&outer, bytes, prepared).await
    }

    fn watched(&self) -> Option<&WatchedStorage> {
        self.storage.watched()
    }

    async fn create_with(&self, name: &Name, content: &ContentOf) -> Result<Created> {
        self.storage.create_with(&self.outer(name)?, content).await
    }

    async fn sync_names(&self, name: &Name) -> Result<()> {
        self.storage.sync_names(&self.outer(name)?).await
    }

    async fn confirm(&self, name: &Name, bytes: &[u8]) -> Result<bool> {
        self.storage.confirm(&self.outer(name)?, bytes).await
    }

    async fn stat(&self, name: &Name) -> Result<Option<Stat>> {
        self.storage.stat(&self.outer(name)?).await
    }

    async fn read(&self, name: &Name) -> Result<Option<Bytes>> {
        self.storage.read(&self.outer(name)?).await
    }

    async fn read_at_most(&self, name: &Name, len_max: u64) -> Result<Option<Bytes>> {
        self.storage.read_at_most(&self.outer(name)?, len_max).await
    }

    async fn open(&self, name: &Name) -> Result<Option<Arc<dyn Object>>> {
        self.storage.open(&self.outer(name)?).await
    }

    async fn list(&self, dir: &str) -> Result<Vec<Name>> {
        let outer = match dir {
            "" => self.dir.clone(),
            _ => format!("{}/{dir}", self.dir),
        };
        let listed = self.storage.list(&outer).await?;
        let inner = |name: &Name| {
            let rest = name.as_str().strip_prefix(&self.dir)?;
            Name::parse(rest.strip_prefix('/')?)
        };
        Ok(listed.iter().filter_map(inner).collect())
    }

    async fn remove(&self, name: &Name) -> Result<bool> {
        self.storage.remove(&self.outer(name)?).await
    }

    async fn writer(&self, name: &Name) -> Result<Box<dyn ObjectWriter>> {
        self.storage.writer(&self.outer(name)?).await
    }

    async fn append_file(&self, name: &Name) -> Result<Box<dyn AppendFile>> {
        self.storage.append_file(&self.outer(name)?).await
    }

    async fn replace(&self, name: &Name, content: &ContentOf) -> Result<u128> {
        self.storage.replace(&self.outer(name)?, content).await
    }

    async fn lock(&self, mode: LockMode) -> Result<Box<dyn LockGuard>> {
        self.storage.lock(mode).await
    }

    async fn prune(&self) -> Result<()> {
        self.storage.prune().await
    }

    fn location(&self) -> String {
        format!("{}/{}", self.storage.location(), self.dir)
    }
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;

    use super::*;
    use crate::storage::MemoryStorage;

    #[test]
    fn names_within_it_are_names_below_the_directory() {
        let whole = Arc::new(MemoryStorage::new());
        let below = Below::new(whole.clone(), "path-7");
        block_on(async {
            let name = Name::parse("log/a").unwrap();
            let outer = Name::parse("path-7/log/a").unwrap();
            whole.create(&name, b"outside").await.unwrap();
            assert_eq!(below.read(&name).await.unwrap(), None);
            assert_eq!(below.create(&name, b"x").await.unwrap(), Created::New);
            assert_eq!(&whole.read(&outer).await.unwrap().unwrap()[..], b"x");
            assert!(below.confirm(&name, b"x").await.unwrap());
            assert_eq!(below.list("").await.unwrap(), std::slice::from_ref(&name));
            assert_eq!(
                below.list("log").await.unwrap(),
                std::slice::from_ref(&name)
            );
            assert!(below.remove(&name).await.unwrap());
            assert_eq!(below.list("").await.unwrap(), []);
            assert_eq!(whole.list("").await.unwrap(), [name]);
        });
    }
}
