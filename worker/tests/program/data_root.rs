//! What jobs that come over gRPC may read: files below `--data-root`, and nothing else, however they are named.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use eciton_proto::v1::SubmitJobRequest;
use rustix::process::Signal;
use tonic::Code;

use crate::peer::{Peer, block_on, refused, submission, until};
use crate::support::Place;
use crate::swarm::Worker;

const SECRET: &str = "TOPSECRET,hunter2\n1,2\n";
const WORDS: &str = "jobs that come over gRPC read only below the folders of --data-root";

/// A job over these paths.
fn job(name: &str, paths: &str) -> String {
    format!(
        "name = \"{name}\"\n[source]\nformat = \"csv\"\npaths = [\"{paths}\"]\n[upsert]\nstore = \"{name}\"\nkey = [\"k\"]\n"
    )
}

/// Data to be read, and a file beside it that is not.
fn place() -> Place {
    let place = Place::new();
    fs::create_dir_all(place.path("data/sub")).unwrap();
    fs::create_dir_all(place.path("private")).unwrap();
    place.write("data/a.csv", "k,v\n1,2\n");
    place.write("data/sub/b.csv", "k,v\n3,4\n");
    place.write("private/secret.csv", SECRET);
    place
}

fn started(place: &Place, more: &[&str], configure: impl FnOnce(&mut Command)) -> Peer {
    let args = [&["--listen", "127.0.0.1:0"], more].concat();
    Peer::start_bare(place, &args, configure)
}

fn root(place: &Place) -> String {
    place.path("data").to_str().unwrap().to_owned()
}

/// A worker that was given no folder takes jobs that read no files, and says what it would take for others.
#[test]
fn by_default_no_file_is_read() {
    let place = place();
    place.write("job.toml", job("files", "data/*.csv"));
    let range = "[source]\nformat = \"range\"\nfrom = 0\nto = 10\nshard_len = 5\n";
    let range = format!("name = \"range\"\n{range}[upsert]\nstore = \"range\"\nkey = [\"i\"]\n");
    place.write("range.toml", range);
    let peer = started(&place, &[], |_| {});
    peer.call(&place, &["submit", "job.toml"])
        .with_code(2)
        .told(&["job.toml:4", WORDS, "--data-root DIR"]);
    assert!(!place.job_is_there("files"));
    peer.call(&place, &["submit", "range.toml"]).done();
    peer.call(&place, &["job", "watch", "range"]).done();
    // Whoever may write to the database needs no leave.
    peer.send(Signal::TERM);
    peer.ended().done();
    place.call(&["submit", "job.toml"]).done();
    let worker = Worker::start(&place, &[]);
    crate::swarm::wait_for(&place, &["files"]);
    drop(worker);
}

#[test]
fn flag_environment_and_file_name_the_folders() {
    let place = place();
    place.write("job.toml", job("files", "data/**/*.csv"));
    let check = |peer: Peer| {
        let request = SubmitJobRequest {
            check_only: true,
            ..submission(&place, &job("files", "data/**/*.csv"))
        };
        block_on(async {
            let mut client = peer.client().await;
            client.submit_job(request).await.is_ok()
        })
    };
    let (data, sub) = (root(&place), place.path("data/sub"));
    let sub = sub.to_str().unwrap();
    assert!(check(started(&place, &["--data-root", &data], |_| {})));
    // Also by a path from the working directory, and one of several.
    assert!(check(started(
        &place,
        &["--data-root", "private", "--data-root", "data"],
        |_| {}
    )));
    assert!(!check(started(&place, &["--data-root", sub], |_| {})));
    let variable = std::env::join_paths(["private", &data]).unwrap();
    assert!(check(started(&place, &[], |command| {
        command.env("ECITON_DATA_ROOT", &variable);
    })));
    for text in [
        "data_root = \"data\"\n",
        "data_root = [\"private\", \"data\"]\n",
    ] {
        place.write("eciton.toml", text);
        assert!(check(started(&place, &[], |_| {})), "{text}");
    }
}

/// The words are the same whether something is there or not, and nothing of it is in them.
#[test]
fn what_lies_outside_is_refused_and_not_told_of() {
    let place = place();
    let peer = started(&place, &["--data-root", "data"], |_| {});
    symlink(
        place.path("private/secret.csv"),
        place.path("data/link.csv"),
    )
    .unwrap();
    symlink(place.path("private"), place.path("data/way")).unwrap();
    symlink(
        place.path("private/absent.csv"),
        place.path("data/gone.csv"),
    )
    .unwrap();
    let outside = place
        .path("private/secret.csv")
        .to_str()
        .unwrap()
        .to_owned();
    let absent = place
        .path("private/absent.csv")
        .to_str()
        .unwrap()
        .to_owned();
    block_on(async {
        let mut client = peer.client().await;
        let mut told = async |paths: &str| {
            let request = submission(&place, &job("files", paths));
            let (code, message) = refused(client.submit_job(request).await);
            assert_eq!(code, Code::InvalidArgument, "{paths}: {message}");
            for word in ["TOPSECRET", "hunter2", "denied", "xyz"] {
                assert!(!message.contains(word), "{paths}: {message}");
            }
            message
        };
        let expected = told(&outside).await;
        assert!(expected.contains(WORDS), "{expected}");
        for paths in [
            &absent,
            "private/secret.csv",
            "private/*",
            "data/../private/secret.csv",
            "data/sub/../../private/secret.csv",
            "*/secret.csv",
            "/etc/passwd",
            "/etc/nothing-of-that-name",
            "/proc/self/environ",
            "/*",
        ] {
            assert_eq!(told(paths).await, expected, "{paths}");
        }
        // What a link leads to outside is as if it were not there.
        let without_name = |message: String, name: &str| message.replace(name, "X");
        let no_match = without_name(told("data/nothing.csv").await, "nothing.csv");
        for name in [
            "link.csv",
            "gone.csv",
            "way/secret.csv",
            "way/absent.csv",
            "way/*",
        ] {
            let told = without_name(told(&format!("data/{name}")).await, name);
            assert_eq!(told, no_match, "{name}");
        }
        let climbs = told("data/*/../../private/secret.csv").await;
        assert!(climbs.contains("expected no `..`"), "{climbs}");
    });
    assert!(!place.job_is_there("files"));
    // Beside these links the rest is read.
    place.write("job.toml", job("files", "data/**/*.csv"));
    peer.call(&place, &["submit", "job.toml"]).done();
    peer.call(&place, &["job", "watch"]).done();
    let records = place.records("files");
    assert_eq!(records.lines().count(), 2, "{records}");
}

/// A folder becomes a link after the job was recorded: what is there now is not read by the shards, nor by a retry.
#[test]
fn a_link_that_comes_later_is_not_followed() {
    let place = place();
    place.write("job.toml", job("files", "data/sub/b.csv"));
    let peer = started(&place, &["--data-root", "data", "--slots", "0"], |_| {});
    peer.call(&place, &["submit", "job.toml"]).done();
    // Of the same length and the same columns.
    place.write("private/b.csv", "k,v\n6,6\n");
    fs::rename(place.path("data/sub"), place.path("data/before")).unwrap();
    symlink(place.path("private"), place.path("data/sub")).unwrap();
    peer.send(Signal::TERM);
    peer.ended().done();
    let peer = started(&place, &["--data-root", "data"], |_| {});
    let mut job_shown = serde_json::Value::Null;
    until(|| {
        job_shown = place.job("files");
        job_shown["attempts"].as_u64().unwrap() > 0 || job_shown["state"] == "failed"
    });
    assert_eq!(job_shown["rows_read"], 0, "{job_shown}");
    assert!(!job_shown.to_string().contains("6,6"), "{job_shown}");
    until(|| place.job("files")["state"] == "failed" || place.job("files")["attempts"] == 4);
    peer.call(&place, &["job", "retry", "files"])
        .with_code(2)
        .told(&[WORDS]);
    peer.send(Signal::TERM);
    peer.ended();
    assert_eq!(place.job("files")["shards"]["done"], 0);
    // Put back it is read.
    fs::remove_file(place.path("data/sub")).unwrap();
    fs::rename(place.path("data/before"), place.path("data/sub")).unwrap();
    if place.job("files")["shards"]["failed"] == 1 {
        place
            .call(&["job", "retry", "files", "--record-only"])
            .done();
    }
    let worker = Worker::start(&place, &["--data-root", "data"]);
    crate::swarm::wait_for(&place, &["files"]);
    drop(worker);
    assert_eq!(place.records("files"), "{\"key\":3,\"value\":{\"v\":4}}\n");
}

/// A worker that was given other folders leaves the job to those that were given the right ones, and uses up no attempt.
#[test]
fn a_worker_without_the_folder_leaves_the_job_to_others() {
    let place = place();
    place.write("job.toml", job("files", "data/*.csv"));
    let peer = started(&place, &["--data-root", "data", "--slots", "0"], |_| {});
    peer.call(&place, &["submit", "job.toml"]).done();
    peer.send(Signal::TERM);
    peer.ended().done();
    let peer = started(&place, &["--data-root", "private"], |_| {});
    until(|| {
        let listed = peer.call(&place, &["job", "ls", "--json"]).done().json();
        listed["state"] == "pending"
    });
    // It hands none out, either.
    block_on(async {
        let mut puller = peer.puller().await;
        let request = eciton_proto::v1::PullRequest {
            jobs: vec!["files".to_owned()],
            ..Default::default()
        };
        let (code, message) = refused(puller.pull(request).await);
        assert_eq!(code, Code::FailedPrecondition, "{message}");
        assert!(message.contains(WORDS), "{message}");
    });
    peer.send(Signal::TERM);
    let log = peer.ended().done().stderr;
    assert!(log.contains(WORDS), "{log}");
    let job_shown = place.job("files");
    assert_eq!(
        (&job_shown["attempts"], &job_shown["shards"]["failed"]),
        (&0.into(), &0.into())
    );
    let worker = Worker::start(&place, &["--data-root", &root(&place)]);
    crate::swarm::wait_for(&place, &["files"]);
    drop(worker);
    assert_eq!(place.records("files"), "{\"key\":1,\"value\":{\"v\":2}}\n");
}
