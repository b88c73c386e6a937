//! Where in which bucket a database is.

use std::fmt;

use object_store::path::Path;
use xxhash_rust::xxh3::Xxh3;

use crate::base::{Error, Result};
use crate::storage::Name;

/// The sorts of object stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    /// Amazon S3 and what speaks its protocol.
    S3,
    /// Google Cloud Storage.
    Google,
    /// Azure Blob Storage.
    Azure,
}

impl Scheme {
    fn as_str(self) -> &'static str {
        match self {
            Scheme::S3 => "s3",
            Scheme::Google => "gs",
            Scheme::Azure => "az",
        }
    }
}

/// A bucket, and the prefix that all names of a database have in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BucketPlace {
    pub(super) scheme: Scheme,
    pub(super) bucket: String,
    /// Without slashes at either end; empty for a whole bucket.
    prefix: String,
}

impl BucketPlace {
    /// Reads `s3://bucket/prefix`, `gs://bucket/prefix` or `az://container/prefix`.
    pub(super) fn parse(url: &str) -> Result<BucketPlace> {
        let invalid =
            |why: &str| Error::Invalid(format!("`{url}` is no address of a bucket: {why}"));
        let (scheme, rest) = url
            .split_once("://")
            .ok_or_else(|| invalid("s3://bucket/prefix is one"))?;
        let scheme = match scheme {
            "s3" => Scheme::S3,
            "gs" => Scheme::Google,
            "az" => Scheme::Azure,
            _ => return Err(invalid("it begins with none of s3://, gs:// and az://")),
        };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if bucket.is_empty() || !bucket.bytes().all(plain) {
            return Err(invalid(
                "a bucket's name has letters, digits, `-`, `_` and `.`",
            ));
        }
        let prefix = prefix.trim_end_matches('/');
        let fits = Name::parse(prefix).is_some()
            && prefix
                .bytes()
                .all(|byte| plain(byte) || b"=/".contains(&byte));
        if !(prefix.is_empty() || fits) {
            return Err(invalid(
                "a prefix has letters, digits, `-`, `_`, `.` and `=`, parted by single slashes",
            ));
        }
        assert!(
            !prefix.starts_with('/') && !prefix.ends_with('/'),
            "`{prefix}` has a slash at an end"
        );
        Ok(BucketPlace {
            scheme,
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
        })
    }

    /// The key below which everything of a directory lies; `None` for a whole bucket.
    pub(super) fn dir(&self, dir: &str) -> Result<Option<Path>> {
        match self.prefix.is_empty() && dir.is_empty() {
            true => Ok(None),
            false => self.path(dir).map(Some),
        }
    }

    /// The key of an object.
    pub(super) fn path(&self, name: &str) -> Result<Path> {
        Path::parse(self.joined(name))
            .map_err(|cause| Error::Invalid(format!("no store takes the name `{name}`: {cause}")))
    }

    fn joined(&self, name: &str) -> String {
        match (self.prefix.is_empty(), name.is_empty()) {
            (true, _) => name.to_owned(),
            (_, true) => self.prefix.clone(),
            _ => format!("{}/{name}", self.prefix),
        }
    }

    /// The name of the object whose key this is.
    pub(super) fn name(&self, key: &Path) -> Option<Name> {
        let key = key.as_ref();
        let name = match self.prefix.as_str() {
            "" => key,
            prefix => key.strip_prefix(prefix)?.strip_prefix('/')?,
        };
        Name::parse(name)
    }

    /// The identity of an object, given what tells it from others under its name. Bucket and prefix go in:
    /// a copy elsewhere keeps its metadata, and yet is another object. Where the store is does not: its
    /// address may differ from one machine to the next.
    pub(super) fn identity(&self, name: &Name, own: &[&[u8]]) -> u128 {
        let scheme = self.scheme.as_str().as_bytes();
        let parts = [
            scheme,
            self.bucket.as_bytes(),
            self.prefix.as_bytes(),
            name.as_str().as_bytes(),
        ];
        let mut hash = Xxh3::new();
        for part in parts.iter().chain(own) {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        hash.digest128()
    }
}

impl fmt::Display for BucketPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.as_str(), self.bucket)?;
        match self.prefix.as_str() {
            "" => Ok(()),
            prefix => write!(f, "/{prefix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_and_said() {
        for (url, said) in [
            ("s3://bucket", "s3://bucket"),
            ("s3://bucket/", "s3://bucket"),
            ("gs://b-1.x/a/b/", "gs://b-1.x/a/b"),
            ("az://container/a", "az://container/a"),
        ] {
            assert_eq!(BucketPlace::parse(url).unwrap().to_string(), said);
        }
        for url in [
            "",
            "bucket",
            "/folder",
            "s3:/b",
            "s3://",
            "s3:///a",
            "http://b/a",
            "s3://b?x=1",
            "s3://user@b/a",
            "s3://b/../a",
            "s3://b//a",
            "s3://b/a b",
            "s3://b/LOCK",
            "s3://b/a%2fb*",
        ] {
            let refused = BucketPlace::parse(url);
            assert!(
                matches!(refused, Err(Error::Invalid(_))),
                "{url}: {refused:?}"
            );
        }
    }

    #[test]
    fn names_and_keys_belong_together() {
        for (url, key) in [("s3://b/p/q", "p/q/log/1"), ("s3://b", "log/1")] {
            let place = BucketPlace::parse(url).unwrap();
            let path = place.path("log/1").unwrap();
            assert_eq!(path.as_ref(), key);
            assert_eq!(place.name(&path), Name::parse("log/1"));
        }
        let place = BucketPlace::parse("s3://b/p").unwrap();
        for other in ["p", "px/log/1", "log/1", "p/tmp/1", "p/LOCK"] {
            assert_eq!(place.name(&Path::from(other)), None, "{other}");
        }
    }

    #[test]
    fn an_identity_is_of_one_place_name_and_mark() {
        let identity = |url: &str, name: &str, own: &[&[u8]]| {
            let name = Name::parse(name).unwrap();
            BucketPlace::parse(url).unwrap().identity(&name, own)
        };
        let all = [
            identity("s3://b/p", "a", &[b"1"]),
            identity("s3://c/p", "a", &[b"1"]),
            identity("s3://b/q", "a", &[b"1"]),
            identity("gs://b/p", "a", &[b"1"]),
            identity("s3://b/p", "b", &[b"1"]),
            identity("s3://b/p", "a", &[b"2"]),
            identity("s3://b/p", "a", &[b"", b"1"]),
            identity("s3://b", "p/a", &[b"1"]),
        ];
        let different: std::collections::BTreeSet<u128> = all.into_iter().collect();
        assert_eq!(different.len(), all.len());
        assert_eq!(all[0], identity("s3://b/p/", "a", &[b"1"]));
    }
}
