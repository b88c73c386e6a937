//! How an object store is reached.

use std::time::Duration;

use super::cache::CacheOptions;

/// How an object store is reached. What is not set here is taken from the environment, by the names that the
/// stores' own tools use:
///
/// | store | variables |
/// |---|---|
/// | `s3://` | `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_REGION` or `AWS_DEFAULT_REGION`, `AWS_ENDPOINT_URL`, `AWS_ALLOW_HTTP`, `AWS_SKIP_SIGNATURE`, `AWS_VIRTUAL_HOSTED_STYLE_REQUEST`, web identity and container credentials |
/// | `gs://` | `GOOGLE_SERVICE_ACCOUNT`, `GOOGLE_SERVICE_ACCOUNT_KEY`, `GOOGLE_APPLICATION_CREDENTIALS` |
/// | `az://` | `AZURE_STORAGE_ACCOUNT_NAME`, `AZURE_STORAGE_ACCOUNT_KEY`, `AZURE_STORAGE_CLIENT_ID`, ... |
///
/// The rest is as crate `object_store` 0.14 reads it. Keys belong into the environment; those that are given
/// here never appear in what is printed or logged.
#[derive(Clone)]
pub struct ObjectOptions {
    /// The store's address, as `http://127.0.0.1:9000`, where it is none of the great ones.
    pub endpoint: Option<String>,
    /// S3 only.
    pub region: Option<String>,
    /// S3 only: the id of a key and the key.
    pub key: Option<(String, String)>,
    /// Without TLS, for a store on this machine; else an address that begins with `http://` is refused.
    pub allow_http: Option<bool>,
    /// S3 only: no request is signed, for a store that asks for no key.
    pub unsigned: Option<bool>,
    /// How long a connection may take to come about.
    pub connect_timeout: Duration,
    /// How long a request may take as a whole.
    pub request_timeout: Duration,
    /// How often a request is sent again after an answer that says so (5xx, 429) or a connection that broke.
    pub retries_max: usize,
    /// How long after its first try a request is no more sent again.
    pub retry_timeout: Duration,
    /// Where pieces of segments are kept on a local disk once they have been read; nowhere if this is not set.
    /// What is kept there is a copy of what the bucket has, and may be removed at any time.
    pub cache: Option<CacheOptions>,
}

impl Default for ObjectOptions {
    fn default() -> ObjectOptions {
        ObjectOptions {
            endpoint: None,
            region: None,
            key: None,
            allow_http: None,
            unsigned: None,
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
            retries_max: 6,
            retry_timeout: Duration::from_mins(1),
            cache: None,
        }
    }
}

impl std::fmt::Debug for ObjectOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ObjectOptions")
            .field("endpoint", &self.endpoint)
            .field("region", &self.region)
            .field("key", &self.key.as_ref().map(|(id, _)| id))
            .field("allow_http", &self.allow_http)
            .field("unsigned", &self.unsigned)
            .field("connect_timeout", &self.connect_timeout)
            .field("request_timeout", &self.request_timeout)
            .field("retries_max", &self.retries_max)
            .field("retry_timeout", &self.retry_timeout)
            .field("cache", &self.cache)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_not_printed() {
        let options = ObjectOptions {
            key: Some(("AKIA".to_owned(), "secret".to_owned())),
            ..ObjectOptions::default()
        };
        let printed = format!("{options:?}");
        assert!(
            printed.contains("AKIA") && !printed.contains("secret"),
            "{printed}"
        );
    }
}
