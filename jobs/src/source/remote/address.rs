//! Where in which store an object is: `s3://bucket/key`, `gs://bucket/key`, `az://container/key`, `https://host/path`.

use std::fmt;

use glob::Pattern;
use object_store::path::Path;

/// The sorts of stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::source) enum RemoteScheme {
    /// Amazon S3 and what speaks its protocol.
    S3,
    /// Google Cloud Storage.
    Google,
    /// Azure Blob Storage.
    Azure,
    /// Files of a web server.
    Https,
    /// The same without TLS, on this machine alone.
    Http,
}

impl RemoteScheme {
    fn as_str(self) -> &'static str {
        match self {
            RemoteScheme::S3 => "s3",
            RemoteScheme::Google => "gs",
            RemoteScheme::Azure => "az",
            RemoteScheme::Https => "https",
            RemoteScheme::Http => "http",
        }
    }

    /// Whether its objects can be listed.
    fn has_listings(self) -> bool {
        !self.is_web()
    }

    pub(super) fn is_web(self) -> bool {
        matches!(self, RemoteScheme::Https | RemoteScheme::Http)
    }
}

/// An object, or a pattern of some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::source) struct Address {
    pub(super) scheme: RemoteScheme,
    /// The bucket or the container; of the web, host and port.
    pub(super) bucket: String,
    /// Without a slash at its beginning.
    pub(super) key: String,
}

/// Whether a path of a job file, or a recorded one, is no path of this machine.
pub(crate) fn is_remote(path: &str) -> bool {
    let Some((scheme, _)) = path.split_once("://") else {
        return false;
    };
    let mut letters = scheme.bytes();
    letters
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic())
        && letters.all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

impl Address {
    /// Reads an address.
    ///
    /// # Errors
    /// What was expected instead, for people.
    pub(in crate::source) fn parse(url: &str) -> Result<Address, String> {
        let shown = shown(url);
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "s3" => RemoteScheme::S3,
            "gs" => RemoteScheme::Google,
            "az" => RemoteScheme::Azure,
            "https" => RemoteScheme::Https,
            "http" => RemoteScheme::Http,
            _ => {
                return Err(format!(
                    "`{shown}`: expected a path, or an address that begins with s3://, gs://, az:// or https://"
                ));
            }
        };
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.contains('@') {
            return Err(format!(
                "`{shown}`: expected no user and no password in an address; credentials come from the environment"
            ));
        }
        let plain = |byte: u8| {
            byte.is_ascii_alphanumeric()
                || b"-_.".contains(&byte)
                || (scheme.is_web() && b":[]".contains(&byte))
        };
        if bucket.is_empty() || !bucket.bytes().all(plain) {
            let expected = match scheme.is_web() {
                true => "a host",
                false => "the name of a bucket, of letters, digits, `-`, `_` and `.`,",
            };
            return Err(format!("`{shown}`: expected {expected} behind `://`"));
        }
        if scheme.is_web() && key.contains(['?', '#']) {
            return Err(format!(
                "`{shown}`: expected no `?` and no `#` in an address of the web: a query part may hold a secret, which jobs \
                 do not keep, and there is nothing to list for a wildcard"
            ));
        }
        if scheme.is_web() && key.contains('*') {
            return Err(format!(
                "`{shown}`: a web server lists no files for a wildcard; expected each file by its name"
            ));
        }
        if scheme == RemoteScheme::Http && !is_loopback(bucket) {
            return Err(format!(
                "`{shown}`: expected https://; http:// is read from this machine alone"
            ));
        }
        let bucket = match scheme.is_web() {
            true => bucket.to_ascii_lowercase(),
            false => bucket.to_owned(),
        };
        let address = Address {
            scheme,
            bucket,
            key: key.to_owned(),
        };
        if key.split('/').any(|part| part == ".." || part == ".") {
            return Err(format!(
                "`{shown}`: expected no `.` and no `..` in an address"
            ));
        }
        if !address.is_pattern() && !key.is_empty() {
            address.path()?;
        }
        Ok(address)
    }

    /// Whether it has wildcards.
    pub(super) fn is_pattern(&self) -> bool {
        self.scheme.has_listings() && Pattern::escape(&unescaped(&self.key)) != self.key
    }

    /// The beginning without wildcards, as an address.
    pub(in crate::source) fn fixed(&self) -> String {
        let end = self.key.find(['*', '?', '[']).filter(|_| self.is_pattern());
        let key = match end {
            Some(end) => &self.key[..end],
            None => &self.key,
        };
        format!("{}://{}/{key}", self.scheme.as_str(), self.bucket)
    }

    /// The folder that all objects of a pattern lie in; empty for the whole bucket.
    pub(super) fn folder(&self) -> &str {
        let end = self.key.find(['*', '?', '[']).unwrap_or(self.key.len());
        let folder = self.key[..end].rsplit_once('/');
        folder.map_or("", |(folder, _)| folder)
    }

    /// The name of the object.
    ///
    /// # Errors
    /// What was expected instead, for people.
    pub(super) fn path(&self) -> Result<Path, String> {
        let parsed = match self.scheme.is_web() {
            true => Path::from_url_path(&self.key),
            false => Path::parse(unescaped(&self.key)),
        };
        let refused = |why: &dyn fmt::Display| format!("`{self}` is no name of an object: {why}");
        let path = parsed.map_err(|error| refused(&error))?;
        match path.as_ref().is_empty() {
            true => Err(refused(&"expected a key behind the bucket")),
            false => Ok(path),
        }
    }

    /// The same place with another key.
    pub(super) fn with_key(&self, key: &str) -> Address {
        Address {
            key: key.to_owned(),
            ..self.clone()
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}/{}", self.scheme.as_str(), self.bucket, self.key)
    }
}

/// Whether an address, or the beginning of one without wildcards, lies below a prefix: at it, or behind a slash.
pub(in crate::source) fn is_below(address: &str, prefix: &str) -> bool {
    address.strip_prefix(prefix).is_some_and(|rest| {
        rest.is_empty() && !prefix.ends_with('/') || prefix.ends_with('/') || rest.starts_with('/')
    })
}

fn is_loopback(authority: &str) -> bool {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let address = host.parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// A name in which each sign that means something to a pattern stood alone in brackets.
fn unescaped(pattern: &str) -> String {
    let mut text = pattern.to_owned();
    for sign in ["?", "*", "[", "]"] {
        text = text.replace(&format!("[{sign}]"), sign);
    }
    text
}

/// An address as messages may show it: without what may be secret.
pub(super) fn shown(url: &str) -> String {
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), url),
    };
    let (authority, path) = match rest.split_once('/') {
        Some((authority, path)) => (authority, format!("/{path}")),
        None => (rest, String::new()),
    };
    let authority = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    let is_web = scheme.starts_with("http");
    let path = match path.find(['?', '#']).filter(|_| is_web) {
        Some(end) => format!("{}?...", &path[..end]),
        None => path,
    };
    format!("{scheme}{authority}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_from_paths() {
        for remote in ["s3://b/k", "https://h/x", "hdfs://h/x", "S3://b/k"] {
            assert!(is_remote(remote), "{remote}");
        }
        for local in ["a.csv", "/a/b.csv", "a:b", "../s3:/b", "./x/s3://b", "://b"] {
            assert!(!is_remote(local), "{local}");
        }
    }

    #[test]
    fn an_address_is_read_and_said() {
        for (url, said) in [
            ("s3://bucket/a b/c.csv", "s3://bucket/a b/c.csv"),
            ("gs://b-1.x/year=2013/*.csv", "gs://b-1.x/year=2013/*.csv"),
            ("az://container/a.parquet", "az://container/a.parquet"),
            (
                "HTTPS://Host.example:8443/A.csv",
                "https://host.example:8443/A.csv",
            ),
            ("http://127.0.0.1:80/a", "http://127.0.0.1:80/a"),
            ("http://[::1]:80/a", "http://[::1]:80/a"),
            ("http://localhost/a", "http://localhost/a"),
        ] {
            assert_eq!(Address::parse(url).unwrap().to_string(), said);
        }
    }

    #[test]
    fn what_is_no_address_is_told_without_secrets() {
        for (url, told) in [
            ("ftp://h/x", "expected a path, or an address"),
            ("s3:///k", "name of a bucket"),
            ("s3://b b/k", "name of a bucket"),
            ("s3://u:SECRET@b/k", "credentials come from the environment"),
            (
                "https://u:SECRET@h/k",
                "credentials come from the environment",
            ),
            ("https://h/k?sig=SECRET", "expected no `?`"),
            ("https://h/*.csv", "lists no files"),
            ("http://example.org/x", "expected https://"),
            ("http://127.0.0.1.example.org/x", "expected https://"),
            ("http://169.254.169.254/latest", "expected https://"),
            ("s3://b/../k", "no `..`"),
            ("s3://b/a/./k", "no `..`"),
            ("https://h/%2e%2e/k", "no name of an object"),
            ("s3://b/a//k", "no name of an object"),
        ] {
            let refused = Address::parse(url).unwrap_err();
            assert!(refused.contains(told), "{url}: {refused}");
            assert!(!refused.contains("SECRET"), "{url}: {refused}");
        }
    }

    #[test]
    fn patterns_have_a_fixed_beginning_and_a_folder() {
        for (url, fixed, folder) in [
            ("s3://b/a/b*.csv", "s3://b/a/b", "a"),
            ("s3://b/*", "s3://b/", ""),
            ("s3://b/a/**/x", "s3://b/a/", "a"),
            ("s3://b/a/y=?/x", "s3://b/a/y=", "a"),
        ] {
            let address = Address::parse(url).unwrap();
            assert!(address.is_pattern(), "{url}");
            assert_eq!((&address.fixed()[..], address.folder()), (fixed, folder));
        }
        let exact = Address::parse("s3://b/a[*]b").unwrap();
        assert!(!exact.is_pattern());
        assert_eq!(exact.path().unwrap().as_ref(), "a*b");
    }

    #[test]
    fn prefixes_end_at_slashes() {
        for (address, prefix, is_so) in [
            ("s3://b/a/x", "s3://b/a", true),
            ("s3://b/a/x", "s3://b/a/", true),
            ("s3://b/a", "s3://b/a", true),
            ("s3://b/ab", "s3://b/a", false),
            ("s3://bc/a", "s3://b", false),
            ("s3://b/a", "s3://b", true),
            ("s3://b/a", "s3://b/", true),
            ("s3://b/", "s3://b/a", false),
            ("https://h.evil/a", "https://h", false),
            ("https://h:1/a", "https://h", false),
        ] {
            assert_eq!(is_below(address, prefix), is_so, "{address} below {prefix}");
        }
    }
}
