//! The mark that every object carries as metadata: who wrote it, in one word.

use object_store::path::Path;
use object_store::{Attribute, Attributes, GetOptions, GetResult, ObjectStore};

use super::failure::present;
use super::place::BucketPlace;
use crate::base::entropy::{Entropy, SystemEntropy};
use crate::storage::{Name, Stat};

/// Its name; letters only, since Azure takes nothing else.
const KEY: &str = "eciton";

/// A random number that one write gives its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark(u128);

impl Mark {
    /// One that no other write has.
    pub(super) fn new() -> Mark {
        Mark(SystemEntropy.next_u128())
    }

    /// As metadata of an object.
    pub(super) fn attributes(self) -> Attributes {
        let value = format!("{:032x}", self.0);
        let attributes = Attributes::from_iter([(Attribute::Metadata(KEY.into()), value)]);
        assert_eq!(
            Mark::of(&attributes),
            Some(self),
            "a mark reads back as it is written"
        );
        attributes
    }

    /// The identity of the object under `name` that carries this.
    pub(super) fn identity(self, place: &BucketPlace, name: &Name) -> u128 {
        place.identity(name, &[&self.0.to_le_bytes()])
    }

    fn of(attributes: &Attributes) -> Option<Mark> {
        let value = attributes.get(&Attribute::Metadata(KEY.into()))?;
        let digits: &str = value.as_ref();
        u128::from_str_radix(digits, 16).ok().map(Mark)
    }
}

/// What a look at a name finds.
#[derive(Clone, Debug)]
pub(super) struct MarkedObject {
    pub(super) len: u64,
    pub(super) mark: Option<Mark>,
    e_tag: Option<String>,
    version: Option<String>,
    /// By the store's clock.
    pub(super) modified_ns: i64,
}

impl MarkedObject {
    pub(super) fn of(got: &GetResult) -> MarkedObject {
        let meta = &got.meta;
        MarkedObject {
            len: meta.size,
            mark: Mark::of(&got.attributes),
            e_tag: meta.e_tag.clone(),
            version: meta.version.clone(),
            // Before 1677 or after 2262: any number will do.
            modified_ns: meta.last_modified.timestamp_nanos_opt().unwrap_or_default(),
        }
    }

    /// Length and identity. An object that was copied without its metadata has none of our marks; then
    /// what the store itself tells stands for it.
    pub(super) fn stat(&self, place: &BucketPlace, name: &Name) -> Stat {
        let identity = match self.mark {
            Some(mark) => mark.identity(place, name),
            None => {
                let tag = self.e_tag.as_deref().unwrap_or_default();
                let version = self.version.as_deref().unwrap_or_default();
                let modified = self.modified_ns.to_le_bytes();
                place.identity(name, &[tag.as_bytes(), version.as_bytes(), &modified])
            }
        };
        Stat {
            len: self.len,
            identity,
        }
    }
}

/// What stands under a key, without its bytes.
pub(super) async fn look(
    store: &dyn ObjectStore,
    path: &Path,
) -> object_store::Result<Option<MarkedObject>> {
    let options = GetOptions {
        head: true,
        ..GetOptions::default()
    };
    let got = present(store.get_opts(path, options).await)?;
    Ok(got.as_ref().map(MarkedObject::of))
}
