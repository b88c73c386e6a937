//! The client of a store.

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::{ClientConfigKey, ObjectStore, RetryConfig};

use super::options::ObjectOptions;
use super::place::{BucketPlace, Scheme};

/// The client of the store that `place` names; nothing is sent yet.
pub(super) fn client(
    place: &BucketPlace,
    options: &ObjectOptions,
) -> object_store::Result<Arc<dyn ObjectStore>> {
    choose_tls();
    match place.scheme {
        Scheme::S3 => s3(&place.bucket, options),
        Scheme::Google => google(&place.bucket, options),
        Scheme::Azure => azure(&place.bucket, options),
    }
}

/// Where a place is, for people: with the address of its store, where that is none of the great ones.
pub(super) fn address(place: &BucketPlace, options: &ObjectOptions) -> String {
    let named = match place.scheme {
        Scheme::S3 => AmazonS3Builder::from_env().get_config_value(&AmazonS3ConfigKey::Endpoint),
        Scheme::Google | Scheme::Azure => None,
    };
    match options.endpoint.clone().or(named) {
        Some(endpoint) => format!("{place} at {endpoint}"),
        None => place.to_string(),
    }
}

/// Chooses who does TLS in this process, unless the program has chosen already.
fn choose_tls() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        let chosen = rustls::crypto::ring::default_provider().install_default();
        // Another thread was first: then that is chosen.
        drop(chosen);
    }
}

fn s3(bucket: &str, options: &ObjectOptions) -> object_store::Result<Arc<dyn ObjectStore>> {
    let mut builder = AmazonS3Builder::from_env()
        .with_bucket_name(bucket)
        .with_retry(retries(options))
        // One object a removal: not every store has the other form.
        .with_disable_bulk_delete(true);
    for (key, value) in http(options) {
        builder = builder.with_config(AmazonS3ConfigKey::Client(key), value);
    }
    if let Some(endpoint) = &options.endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    if let Some(region) = &options.region {
        builder = builder.with_region(region);
    }
    if let Some((id, key)) = &options.key {
        builder = builder.with_access_key_id(id).with_secret_access_key(key);
    }
    if let Some(unsigned) = options.unsigned {
        builder = builder.with_skip_signature(unsigned);
    }
    Ok(Arc::new(builder.build()?))
}

fn google(bucket: &str, options: &ObjectOptions) -> object_store::Result<Arc<dyn ObjectStore>> {
    let mut builder = GoogleCloudStorageBuilder::from_env()
        .with_bucket_name(bucket)
        .with_retry(retries(options));
    for (key, value) in http(options) {
        builder = builder.with_config(GoogleConfigKey::Client(key), value);
    }
    if let Some(endpoint) = &options.endpoint {
        builder = builder.with_base_url(endpoint);
    }
    Ok(Arc::new(builder.build()?))
}

fn azure(container: &str, options: &ObjectOptions) -> object_store::Result<Arc<dyn ObjectStore>> {
    let mut builder = MicrosoftAzureBuilder::from_env()
        .with_container_name(container)
        .with_retry(retries(options));
    for (key, value) in http(options) {
        builder = builder.with_config(AzureConfigKey::Client(key), value);
    }
    if let Some(endpoint) = &options.endpoint {
        builder = builder.with_endpoint(endpoint.clone());
    }
    Ok(Arc::new(builder.build()?))
}

/// The settings of HTTP, one by one: set as a whole, they would undo what the environment has said of the
/// others, such as `AWS_ALLOW_HTTP` and `AWS_PROXY_URL`.
fn http(options: &ObjectOptions) -> Vec<(ClientConfigKey, String)> {
    let mut settings = vec![
        (
            ClientConfigKey::ConnectTimeout,
            written(options.connect_timeout),
        ),
        (ClientConfigKey::Timeout, written(options.request_timeout)),
    ];
    if let Some(allowed) = options.allow_http {
        settings.push((ClientConfigKey::AllowHttp, allowed.to_string()));
    }
    settings
}

/// A span of time as the client's settings are written.
fn written(time: Duration) -> String {
    format!("{}ms", time.as_millis())
}

fn retries(options: &ObjectOptions) -> RetryConfig {
    RetryConfig {
        max_retries: options.retries_max,
        retry_timeout: options.retry_timeout,
        ..RetryConfig::default()
    }
}
