//! Against real stores, and through a proxy that loses their answers.

mod cache;
mod conformance;
mod environment;
mod faults;

#[path = "../../../../tests/support/bucket.rs"]
mod bucket;
#[path = "../../../../tests/support/proxy.rs"]
mod proxy;

use std::time::Duration;

use super::{ObjectOptions, ObjectStorage};
use crate::base::Result;
use crate::storage::{Access, Name};

/// How a store of the tests is reached.
fn options(endpoint: String) -> ObjectOptions {
    ObjectOptions {
        endpoint: Some(endpoint),
        region: Some("us-east-1".to_owned()),
        key: Some(("test".to_owned(), "secret".to_owned())),
        allow_http: Some(true),
        unsigned: Some(false),
        retry_timeout: Duration::from_secs(20),
        ..ObjectOptions::default()
    }
}

async fn open(url: &str, endpoint: String) -> Result<ObjectStorage> {
    ObjectStorage::open(url, &options(endpoint), Access::ReadWrite).await
}

fn name(path: &str) -> Name {
    Name::parse(path).unwrap()
}
