//! The clients of stores, and asking them from threads that wait.

use std::collections::HashMap;
use std::error::Error as _;
use std::future::Future;
use std::io;
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::client::{HttpClient, HttpConnector};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::http::HttpBuilder;
use object_store::{
    BackoffConfig, ClientConfigKey, ClientOptions, Error as StoreError, ObjectStore, RetryConfig,
};
use parking_lot::Mutex;
use tokio::runtime::{Builder, Runtime};

use super::address::{Address, RemoteScheme};
use super::credentials;

/// How long a connection may take to come about.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(3);
/// How long a request may take as a whole.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(30);
/// How often a request is sent again after an answer that says so, or a connection that broke.
const RETRIES_MAX: usize = 3;
/// How long after its first try a request is no more sent again.
const RETRY_TIME_MAX: Duration = Duration::from_secs(12);
/// Characters of what a store says, at most: it may send a page.
const SAID_LEN_MAX: usize = 400;

/// Which store, and whether it may send its readers elsewhere.
type StoreKey = (RemoteScheme, String, bool);

/// The runtime of all requests: those who wait for them hold no runtime up.
fn runtime() -> io::Result<&'static Runtime> {
    static RUNTIME: OnceLock<Option<Runtime>> = OnceLock::new();
    let made = RUNTIME.get_or_init(|| {
        let mut builder = Builder::new_multi_thread();
        let builder = builder.worker_threads(2).thread_name("remote").enable_all();
        builder.build().ok()
    });
    made.as_ref()
        .ok_or_else(|| io::Error::other("no thread can be started for requests"))
}

/// Waits for some work of the runtime. Blocks the thread.
///
/// # Errors
/// Where no thread can be started, or the work panicked.
pub(super) fn wait<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> io::Result<T> {
    let (done, is_done) = mpsc::sync_channel(1);
    runtime()?.spawn(async move {
        // The receiver waits below.
        done.send(work.await).ok();
    });
    let broke_off = |_| io::Error::new(io::ErrorKind::ConnectionAborted, "a request broke off");
    is_done.recv().map_err(broke_off)
}

/// Sends no reader anywhere else.
#[derive(Debug)]
struct NoRedirects;

impl HttpConnector for NoRedirects {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIME_MAX)
            .timeout(REQUEST_TIME_MAX)
            .build();
        let client = client.map_err(|source| StoreError::Generic {
            store: "HTTP client",
            source: Box::new(source),
        })?;
        Ok(HttpClient::new(client))
    }
}

/// The client of the store of an address; nothing is sent yet. With `follows` a web server may send its readers elsewhere.
///
/// # Errors
/// [`io::ErrorKind::PermissionDenied`] without credentials; what the client refuses.
pub(super) fn client(address: &Address, follows: bool) -> io::Result<Arc<dyn ObjectStore>> {
    static CLIENTS: OnceLock<Mutex<HashMap<StoreKey, Arc<dyn ObjectStore>>>> = OnceLock::new();
    let url = address.to_string();
    let variable = |name: &str| std::env::var(name).ok();
    credentials::check(&url, variable)
        .map_err(|told| io::Error::new(io::ErrorKind::PermissionDenied, told))?;
    let key = (address.scheme, address.bucket.clone(), follows);
    let mut clients = CLIENTS.get_or_init(Mutex::default).lock();
    if let Some(client) = clients.get(&key) {
        return Ok(Arc::clone(client));
    }
    choose_tls();
    let made = made(address, follows).map_err(|error| failure(&error))?;
    clients.insert(key, Arc::clone(&made));
    Ok(made)
}

/// Chooses who does TLS in this process, unless the program has chosen already.
fn choose_tls() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Another thread may be first: then that is chosen.
        rustls::crypto::ring::default_provider()
            .install_default()
            .ok();
    }
}

fn made(address: &Address, follows: bool) -> object_store::Result<Arc<dyn ObjectStore>> {
    let bucket = &address.bucket;
    Ok(match address.scheme {
        RemoteScheme::S3 => {
            let mut builder = AmazonS3Builder::from_env()
                .with_bucket_name(bucket)
                .with_retry(retries());
            for (key, value) in settings() {
                builder = builder.with_config(AmazonS3ConfigKey::Client(key), value);
            }
            Arc::new(builder.build()?)
        }
        RemoteScheme::Google => {
            let mut builder = GoogleCloudStorageBuilder::from_env()
                .with_bucket_name(bucket)
                .with_retry(retries());
            for (key, value) in settings() {
                builder = builder.with_config(GoogleConfigKey::Client(key), value);
            }
            Arc::new(builder.build()?)
        }
        RemoteScheme::Azure => {
            let mut builder = MicrosoftAzureBuilder::from_env()
                .with_container_name(bucket)
                .with_retry(retries());
            for (key, value) in settings() {
                builder = builder.with_config(AzureConfigKey::Client(key), value);
            }
            Arc::new(builder.build()?)
        }
        RemoteScheme::Https | RemoteScheme::Http => {
            let root = address.with_key("").to_string();
            let mut builder = HttpBuilder::new().with_url(root).with_retry(retries());
            for (key, value) in settings() {
                builder = builder.with_config(key, value);
            }
            if address.scheme == RemoteScheme::Http {
                builder = builder.with_config(ClientConfigKey::AllowHttp, "true");
            }
            if !follows {
                builder = builder.with_http_connector(NoRedirects);
            }
            Arc::new(builder.build()?)
        }
    })
}

/// The settings of HTTP, one by one: set as a whole, they would undo what the environment has said of the others.
fn settings() -> [(ClientConfigKey, String); 2] {
    let written = |time: Duration| format!("{}ms", time.as_millis());
    [
        (ClientConfigKey::ConnectTimeout, written(CONNECT_TIME_MAX)),
        (ClientConfigKey::Timeout, written(REQUEST_TIME_MAX)),
    ]
}

fn retries() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(2),
            base: 2.0,
        },
        max_retries: RETRIES_MAX,
        retry_timeout: RETRY_TIME_MAX,
    }
}

/// What a store says, as an error of reading. Never as one of the file's own bytes.
pub(super) fn failure(error: &StoreError) -> io::Error {
    let kind = match error {
        StoreError::NotFound { .. } => io::ErrorKind::NotFound,
        StoreError::PermissionDenied { .. } | StoreError::Unauthenticated { .. } => {
            io::ErrorKind::PermissionDenied
        }
        StoreError::Precondition { .. } | StoreError::NotModified { .. } => {
            return changed("it is another object by now");
        }
        _ => io::ErrorKind::ConnectionReset,
    };
    let said = match error {
        StoreError::NotFound { .. } => "there is no such object".to_owned(),
        error => {
            let mut said = error.to_string();
            let mut cause = error.source();
            while let Some(inner) = cause {
                let more = inner.to_string();
                if !said.contains(&more) {
                    said = format!("{said}: {more}");
                }
                cause = inner.source();
            }
            without_secrets(&said)
        }
    };
    io::Error::new(kind, said)
}

/// An object that is not the recorded one any more.
pub(super) fn changed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, what.to_owned())
}

/// A text in one line, not too long, and without the query parts of addresses, which may hold signatures.
fn without_secrets(text: &str) -> String {
    let words = text.split_whitespace().map(|word| {
        let address = word.find("://")?;
        let query = word[address..].find('?')?;
        Some(format!("{}?...", &word[..address + query]))
    });
    let words = words.zip(text.split_whitespace());
    let words: Vec<String> = words
        .map(|(shorter, word)| shorter.unwrap_or_else(|| word.to_owned()))
        .collect();
    let text = words.join(" ");
    match text.char_indices().nth(SAID_LEN_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_store_says_has_no_signatures_and_an_end() {
        let said = without_secrets("error for url (https://a.b/c?sig=SECRET&x=1):\n  refused");
        assert_eq!(said, "error for url (https://a.b/c?... refused");
        let long = without_secrets(&"x".repeat(10_000));
        assert_eq!(long.len(), SAID_LEN_MAX + 3);
    }

    #[test]
    fn work_is_waited_for_within_a_runtime_and_without_one() {
        assert_eq!(wait(async { 7 }).unwrap(), 7);
        let runtime = Builder::new_current_thread().build().unwrap();
        let waited = runtime.block_on(async { wait(async { 8 }) });
        assert_eq!(waited.unwrap(), 8);
        let broken = wait(async { panic!("on purpose") });
        let broken: io::Result<()> = broken;
        assert!(broken.is_err());
    }
}
