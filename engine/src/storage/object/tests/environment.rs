//! What the environment says of a store counts, down to the settings of HTTP.

use std::process::Command;

use super::bucket::Server;
use super::{ObjectOptions, ObjectStorage, name};
use crate::storage::{Access, Created, Storage};

const TEST: &str = "storage::object::tests::environment::http_is_allowed_by_the_environment";
const INNER: &str = "ECITON_TEST_ENVIRONMENT";

/// In a process of its own, since the environment of this one is everybody's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_is_allowed_by_the_environment() {
    if let Ok(prefix) = std::env::var(INNER) {
        let options = ObjectOptions::default();
        let url = format!("s3://environment/{prefix}");
        let storage = ObjectStorage::open(&url, &options, Access::ReadWrite).await;
        let created = storage.unwrap().create(&name("log/1"), b"x").await;
        assert_eq!(created.unwrap(), Created::New);
        return;
    }
    let server = Server::moto();
    server.make_bucket("environment");
    let run = |prefix: &str, allow_http: &str| {
        let mut inner = Command::new(std::env::current_exe().unwrap());
        inner
            .args(["--exact", TEST, "--nocapture", "--test-threads=1"])
            .env("AWS_ENDPOINT_URL", format!("http://{}", server.address()))
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "secret")
            .env("AWS_ALLOW_HTTP", allow_http)
            .env(INNER, prefix);
        let output = inner.output().unwrap();
        let report = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        (
            output.status.success() && report.contains("1 passed"),
            report,
        )
    };
    let (allowed, report) = run("allowed", "true");
    assert!(allowed, "{report}");
    let (allowed, report) = run("refused", "false");
    assert!(!allowed, "{report}");
}
