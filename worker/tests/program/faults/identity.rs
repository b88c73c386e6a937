//! Sources that change under a job, or are other ones for one worker than for the others.

use std::fs::{self, File, FileTimes};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::{fault, records, run};
use crate::redis::RedisServer;
use crate::support::{Place, aggregation, measurements};
use crate::swarm::{Worker, scraped, wait_for};

const CHANGED: &str = "the file changed since the job was recorded";

/// A job that counts and adds up `v` of all `*.csv`.
fn sums(more: &str) -> String {
    format!(
        "name = \"j\"\n[source]\nformat = \"csv\"\npaths = [\"*.csv\"]\nshard_size = \"1KiB\"\n{more}\n[transform]\n\
         sql = \"SELECT 'all' AS k, v FROM source\"\n[merge]\nstore = \"t\"\nkey = [\"k\"]\n[merge.values]\n\
         n = \"count()\"\ns = \"sum(v)\"\n"
    )
}

fn lines(value: u64, count: usize) -> String {
    format!("v\n{}", format!("{value}\n").repeat(count))
}

fn sum(place: &Place) -> (u64, u64) {
    let found = records(place);
    let number = |name: &str| found[0].1[name].as_u64().unwrap();
    (number("n"), number("s"))
}

fn modified(path: &Path) -> SystemTime {
    fs::metadata(path).unwrap().modified().unwrap()
}

fn set_modified(path: &Path, time: SystemTime) {
    let file = File::options().write(true).open(path).unwrap();
    file.set_times(FileTimes::new().set_modified(time)).unwrap();
}

/// Opening a pipe would wait for a writer, and no signal would end that.
#[test]
fn a_file_that_became_a_pipe_is_named() {
    let place = Place::new();
    place.write("a.csv", lines(1, 10));
    place.write("job.toml", sums(""));
    place.call(&["db", "init"]).done();
    place.call(&["submit", "job.toml"]).done();
    fs::remove_file(place.path("a.csv")).unwrap();
    let made = Command::new("mkfifo").arg(place.path("a.csv")).status();
    assert!(made.unwrap().success());
    run(&place)
        .with_code(1)
        .told(&["`a.csv`", "expected a regular file"]);
}

#[test]
fn a_file_that_was_replaced_at_equal_length_fails_its_shards() {
    let place = fault("file-replaced-same-length");
    place.call(&["db", "init"]).done();
    place.call(&["submit", "job.toml"]).done();
    fs::copy(place.path("after.csv"), place.path("a.csv")).unwrap();
    let ended = run(&place).with_code(1);
    ended.told(&[
        "`a.csv`",
        CHANGED,
        "submit it as a new job, or restore the file",
    ]);
}

#[test]
fn a_file_that_was_replaced_after_a_kill_fails_what_was_left() {
    let place = fault("killed-then-replaced");
    place.write("a.csv", lines(1, 300_000));
    let args = [
        "run",
        "job.toml",
        "--workers",
        "1",
        "--commit-interval",
        "0s",
    ];
    let mut killed = place.start(&args);
    while !(place.job_is_there("j") && place.job("j")["shards"]["done"] != 0) {
        assert_eq!(
            killed.try_wait().unwrap(),
            None,
            "it ended before any shard was done"
        );
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    place.write("a.csv", lines(2, 300_000));
    run(&place).with_code(1).told(&["`a.csv`", CHANGED]);
    // Shards that are done have read other bytes.
    let retried = place.call(&["job", "retry", "j"]);
    retried.with_code(2).told(&["`a.csv`", CHANGED]);
    place.write("a.csv", lines(1, 300_000));
    place.call(&["job", "retry", "j"]).done();
    assert_eq!(sum(&place), (300_000, 300_000));
}

#[test]
fn a_job_file_that_means_other_files_is_refused() {
    let place = fault("same-job-other-folder");
    place.call(&["run", "A/job.toml"]).done();
    let before = records(&place);
    for command in ["run", "submit"] {
        let ended = place.call(&[command, "B/job.toml"]).with_code(2);
        ended.told(&["job `", "/A/a.csv", "/B/a.csv", "another name"]);
    }
    assert_eq!(records(&place), before);
    // Without any file nothing can be said, and the job is joined.
    fs::remove_file(place.path("B/a.csv")).unwrap();
    place.call(&["run", "B/job.toml"]).done();
    place.call(&["run", "A/job.toml"]).done();
}

#[test]
fn files_that_came_went_or_changed_are_told_when_a_job_is_found_again() {
    let place = Place::new();
    for name in ["a.csv", "b.csv", "c.csv"] {
        place.write(name, lines(1, 10));
    }
    place.write("job.toml", sums(""));
    let first = place.call(&["run", "job.toml", "--json"]).done();
    assert_eq!(first.json().get("warnings"), None);
    fs::remove_file(place.path("a.csv")).unwrap();
    place.write("b.csv", lines(2, 10));
    place.write("d.csv", lines(1, 10));
    for command in ["run", "submit"] {
        let ended = place.call(&[command, "job.toml", "--json"]).done();
        let warnings = &ended.json()["warnings"];
        let told: Vec<&str> = warnings
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_str)
            .collect();
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(
            told[0].contains("1 file matches now that the job does not have: `d.csv`"),
            "{told:?}"
        );
        assert!(
            told[1].contains("not matched any more: `a.csv`"),
            "{told:?}"
        );
        assert!(
            told[2].contains("changed since the job was recorded: `b.csv`"),
            "{told:?}"
        );
        for warning in told {
            assert!(
                ended.stderr.contains(&format!("warning: {warning}")),
                "{ended:?}"
            );
        }
    }
    assert_eq!(sum(&place), (30, 30));
}

#[test]
fn a_file_in_the_place_of_another_is_told_by_its_number() {
    let place = Place::new();
    let path = place.write("a.csv", lines(1, 1000));
    place.write("job.toml", sums(""));
    place.call(&["submit", "job.toml"]).done();
    let time = modified(&path);
    let other = place.write("other", lines(2, 1000));
    set_modified(&other, time);
    fs::rename(&other, &path).unwrap();
    assert_eq!(modified(&path), time);
    run(&place)
        .with_code(1)
        .told(&["`a.csv`", CHANGED, "inode"]);
}

#[test]
fn a_file_that_was_touched_goes_by_its_bytes_where_the_job_says_so_and_by_a_retry_elsewhere() {
    for (more, code) in [
        ("", 1),
        ("verify = \"metadata\"", 1),
        ("verify = \"content\"", 0),
    ] {
        let place = Place::new();
        let path = place.write("a.csv", lines(1, 1000));
        place.write("job.toml", sums(more));
        place.call(&["submit", "job.toml"]).done();
        set_modified(
            &path,
            SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000),
        );
        let ended = run(&place).with_code(code);
        if code == 1 {
            ended.told(&[
                "`a.csv`",
                "last modified at 1970-01-12T13:46:40Z",
                "eciton job retry",
            ]);
            place.call(&["job", "retry", "j"]).done();
        }
        assert_eq!(sum(&place), (1000, 1000));
    }
}

#[test]
fn a_changed_byte_is_found_whatever_the_times_say_where_files_go_by_content() {
    let place = Place::new();
    let path = place.write("a.csv", lines(1, 1000));
    place.write("job.toml", sums("verify = \"content\""));
    place.call(&["submit", "job.toml"]).done();
    let time = modified(&path);
    let mut text = lines(1, 1000).into_bytes();
    text[1000] = if text[1000] == b'1' { b'2' } else { text[1000] };
    text[1001] = if text[1001] == b'1' { b'2' } else { text[1001] };
    fs::write(&path, text).unwrap();
    set_modified(&path, time);
    run(&place)
        .with_code(1)
        .told(&["`a.csv`", CHANGED, "the bytes that were hashed then"]);
    assert_eq!(
        place.job("j")["shards"]["failed"],
        1,
        "only the shard of that byte"
    );
}

#[test]
fn an_unknown_way_to_verify_is_refused_with_line_and_key() {
    let place = Place::new();
    place.write("a.csv", lines(1, 10));
    place.write("job.toml", sums("verify = \"contents\""));
    let ended = run(&place).with_code(2);
    ended.told(&["job.toml:6", "source.verify", "`metadata`", "`content`"]);
}

#[test]
fn a_retry_looks_at_files_that_are_all_done() {
    let place = Place::new();
    let path = place.write("a.csv", lines(1, 1000));
    place.write("b.csv", lines(1, 500) + "x\n" + &"1\n".repeat(500));
    place.write("job.toml", sums("[source.schema]\nv = \"int64\""));
    run(&place).with_code(1).told(&["`b.csv`"]);
    place.write("b.csv", lines(1, 1001));
    fs::write(&path, lines(2, 1000)).unwrap();
    let retried = place.call(&["job", "retry", "j"]);
    retried.with_code(2).told(&["`a.csv`", CHANGED]);
    // The same bytes at another time are the same file.
    fs::write(&path, lines(1, 1000)).unwrap();
    place.call(&["job", "retry", "j"]).done();
    assert_eq!(sum(&place), (2001, 2001));
}

/// Whether this process may have a view of the file system of its own.
fn can_unshare() -> bool {
    let tried = Command::new("unshare")
        .args(["-m", "true"])
        .stderr(Stdio::null())
        .status();
    tried.is_ok_and(|status| status.success())
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap()
}

/// Its mount is not there yet. The others do its shards, and it joins in once it has the files.
#[test]
fn a_worker_without_the_files_is_put_aside_until_it_has_them() {
    if !can_unshare() {
        eprintln!("skipped: this needs the right to unshare mounts");
        return;
    }
    let redis = RedisServer::start();
    let place = Place::new();
    fs::create_dir(place.path("data")).unwrap();
    fs::create_dir(place.path("empty")).unwrap();
    place.write("data/a.csv", measurements(60_000));
    let job = aggregation("1KiB").replace("*.csv", "data/*.csv");
    place.write("job.toml", &job);
    let url = redis.url();
    let shared = ["--redis", url.as_str()];
    place
        .call(&[&["submit", "job.toml"][..], &shared].concat())
        .done();
    let healthy = Worker::start(&place, &shared);
    while place.job("stations")["state"] == "pending" {
        sleep(Duration::from_millis(20));
    }
    let metrics = free_address();
    let at = metrics.to_string();
    let args = [
        "worker",
        "--slots",
        "1",
        "--metrics",
        at.as_str(),
        "--redis",
        url.as_str(),
    ];
    let program = place.command(&args);
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c"]);
    command.arg("mount --bind \"$0\" \"$1\" && shift && exec \"$@\"");
    command.arg(place.path("empty")).arg(place.path("data"));
    command.arg(program.get_program()).args(program.get_args());
    command.current_dir(place.path(""));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let id = child.id().to_string();
    let bad = Worker::of(child);
    let told = || match TcpStream::connect(metrics) {
        Ok(_) => scraped(metrics),
        Err(_) => String::new(),
    };
    let aside = "eciton_worker_source_missing{job=\"stations\"} ";
    while !told().contains(&format!("{aside}1\n")) {
        let state = place.job("stations");
        assert_eq!(state["state"], "running", "nobody was put aside: {state}");
        sleep(Duration::from_millis(50));
    }
    let has_its_files = Command::new("nsenter")
        .args(["--target", &id, "--mount", "umount"])
        .arg(place.path("data"))
        .status();
    assert!(has_its_files.unwrap().success());
    while !told().contains(&format!("{aside}0\n")) {
        sleep(Duration::from_millis(50));
    }
    wait_for(&place, &["stations"]);
    for worker in [healthy, bad] {
        worker.send(rustix::process::Signal::TERM);
        worker.ended().done();
    }
    let state = place.job("stations");
    assert_eq!(state["shards"]["failed"], 0, "{state}");
    assert_eq!(state["attempts"], state["shards"]["total"], "{state}");
    assert_eq!(state["rows_read"], 60_000, "{state}");
    let alone = Place::new();
    fs::create_dir(alone.path("data")).unwrap();
    fs::copy(place.path("data/a.csv"), alone.path("data/a.csv")).unwrap();
    alone.write("job.toml", job);
    alone.call(&["run", "job.toml"]).done();
    assert_eq!(place.records("stations"), alone.records("stations"));
}

/// Where nobody sees the file there is nobody to wait for.
#[test]
fn a_file_that_is_gone_for_all_fails_the_job_among_several_too() {
    let redis = RedisServer::start();
    let place = Place::new();
    place.write("a.csv", lines(1, 1000));
    place.write("b.csv", lines(1, 1000));
    place.write("job.toml", sums(""));
    let url = redis.url();
    let shared = ["--redis", url.as_str()];
    place
        .call(&[&["submit", "job.toml"][..], &shared].concat())
        .done();
    fs::remove_file(place.path("a.csv")).unwrap();
    let args = [&["run", "job.toml", "--workers", "2"][..], &shared].concat();
    let other = place.start(&args);
    let ended = place.call(&args).with_code(1);
    ended.told(&["`a.csv`", "cannot be opened"]);
    let output = other.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let shards = &place.job("j")["shards"];
    assert_eq!(shards["done"], shards["failed"], "of equal files: {shards}");
    assert_eq!(sum(&place), (1000, 1000));
}
