//! A database in a bucket of a real object store, from the command line.

use std::process::{Child, Command, Stdio};

use crate::bucket::Server;
use crate::support::{Ended, Place, aggregation, measurements, program};

/// Rows: some twenty shards of 2 KiB.
const ROWS: u32 = 1000;
const DB: &str = "s3://bucket/some/prefix";

/// A call on the database in the bucket.
fn command(place: &Place, server: &Server, args: &[&str]) -> Command {
    let mut command = program();
    command
        .args(args)
        .args(["--db", DB])
        .current_dir(place.path(""))
        .env("AWS_ENDPOINT_URL", format!("http://{}", server.address()))
        .env("AWS_ALLOW_HTTP", "true")
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", "key")
        .env("AWS_SECRET_ACCESS_KEY", "secret");
    command
}

fn call(place: &Place, server: &Server, args: &[&str]) -> Ended {
    command(place, server, args).output().unwrap().into()
}

#[test]
fn processes_share_a_job_over_a_bucket() {
    let server = Server::seaweed();
    server.make_bucket("bucket");
    let place = Place::new();
    place.write("a.csv", measurements(ROWS));
    place.write("job.toml", aggregation("2KiB"));
    place.call(&["run", "job.toml"]).done();
    let expected = place.records("stations");

    let start = |_| {
        let mut command = command(&place, &server, &["run", "job.toml", "--workers", "1"]);
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let all: Vec<Child> = (0..2).map(start).collect();
    for child in all {
        Ended::from(child.wait_with_output().unwrap()).done();
    }
    let records = call(&place, &server, &["scan", "stations", "--json"])
        .done()
        .stdout;
    assert_eq!(records, expected);
    let job = call(&place, &server, &["job", "show", "stations", "--json"])
        .done()
        .json();
    assert_eq!(job["shards"]["done"], job["shards"]["total"], "{job}");
    assert_eq!(job["rows_read"], ROWS, "{job}");
    call(&place, &server, &["db", "verify"]).done();
    call(&place, &server, &["put", "by_hand", "k", "1", "--create"]).done();
    assert_eq!(
        call(&place, &server, &["get", "by_hand", "k"])
            .done()
            .stdout,
        "1\n"
    );
    // What is made of folders and of nothing else.
    let refused = call(&place, &server, &["db", "backup", "there"]).with_code(2);
    refused.told(&[DB, "folders"]);
}

#[test]
fn a_store_that_is_not_there_is_told() {
    let place = Place::new();
    let server = Server::moto();
    let ended = call(&place, &server, &["db", "info"]);
    assert_ne!(ended.code, Some(0), "{ended:#?}");
    assert!(ended.stderr.contains("bucket"), "{ended:#?}");
}
