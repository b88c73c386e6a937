//! Programs that compute shards over gRPC: the example in Python, killed and without its leases in the middle. Each
//! shard counts once.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use crate::support::{Place, program};

/// Rows of the job, and how many shards that makes.
const ROWS: u64 = 20_000;
const SHARDS: u64 = 20;

const JOB: &str = r#"
name = "squares"
[source]
format = "range"
from = 0
to = 20_000
shard_len = 1_000
[transform]
sql = "SELECT i % 7 AS rest, i * i AS square FROM source"
[merge]
store = "squares"
key = ["rest"]
[merge.values]
count = "count()"
sum = "sum(square)"
[run]
lease = "2s"
"#;

/// A process that is killed where a test ends early.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Reads what a process tells, so that it is never held up.
fn follow(child: &mut Child) -> std::sync::mpsc::Receiver<String> {
    let (told, lines) = std::sync::mpsc::channel();
    let stderr = child.stderr.take().unwrap();
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            eprintln!("{line}");
            drop(told.send(line));
        }
    });
    lines
}

fn wait_for(lines: &std::sync::mpsc::Receiver<String>, word: &str) -> String {
    loop {
        let line = lines.recv_timeout(Duration::from_mins(2));
        let line = line.unwrap_or_else(|_| panic!("`{word}` was not told"));
        if line.contains(word) {
            return line;
        }
    }
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A Python with what the example needs.
fn python() -> PathBuf {
    let own = workspace().join("target/needs/bin/python3");
    for python in [own, PathBuf::from("python3")] {
        let tried = Command::new(&python)
            .args(["-c", "import grpc, grpc_tools"])
            .stderr(Stdio::null())
            .status();
        if tried.is_ok_and(|status| status.success()) {
            return python;
        }
    }
    panic!(
        "the test needs a Python with grpcio and grpcio-tools: `cargo xtask test` installs them, and so does \
         `python3 -m venv target/needs && target/needs/bin/pip install -r coordinator-proto/examples/python/requirements.txt`"
    );
}

/// The example, with its stubs.
struct Example {
    python: PathBuf,
    folder: PathBuf,
}

impl Example {
    fn new(place: &Place) -> Example {
        let (python, proto) = (python(), workspace().join("coordinator-proto"));
        let folder = place.path("puller");
        std::fs::create_dir(&folder).unwrap();
        std::fs::copy(
            proto.join("examples/python/puller.py"),
            folder.join("puller.py"),
        )
        .unwrap();
        let made = Command::new(&python)
            .args([
                "-m",
                "grpc_tools.protoc",
                "--python_out=.",
                "--grpc_python_out=.",
            ])
            .arg("-I")
            .arg(proto.join("proto").canonicalize().unwrap())
            .args(["job", "swarm", "shards"].map(|name| format!("eciton/v1/{name}.proto")))
            .current_dir(&folder)
            .status();
        assert!(made.unwrap().success(), "the stubs could not be made");
        Example { python, folder }
    }

    fn start(&self, peer: &str, more: &[&str]) -> (Running, std::sync::mpsc::Receiver<String>) {
        let mut child = Command::new(&self.python)
            .arg("puller.py")
            .args(["--peer", peer, "--job", "squares"])
            .args(more)
            .current_dir(&self.folder)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = follow(&mut child);
        (Running(child), lines)
    }
}

/// A worker with so many slots that listens, and where.
fn worker(place: &Place, slots: &str) -> (Running, String) {
    let mut child = program()
        .args([
            "worker",
            "--create",
            "--slots",
            slots,
            "--listen",
            "127.0.0.1:0",
            "--db",
        ])
        .arg(place.path("db"))
        .current_dir(place.path("."))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = follow(&mut child);
    let line = wait_for(&lines, "listening on");
    let (_, address) = line.split_once("listening on ").unwrap();
    let address = address.split_whitespace().next().unwrap().to_owned();
    // What it tells from now on is read on.
    std::thread::spawn(move || lines.into_iter().for_each(drop));
    (Running(child), address)
}

fn undisturbed() -> String {
    let place = Place::new();
    place.write("job.toml", JOB);
    place.call(&["run", "job.toml"]).done();
    place.records("squares")
}

fn wait_until_done(place: &Place) {
    loop {
        let state = place.job("squares");
        match state["state"].as_str().unwrap() {
            "pending" | "running" => sleep(Duration::from_millis(50)),
            "done" => break,
            other => panic!("{other}: {state}"),
        }
    }
}

/// One puller is killed in the middle of a shard, one lets its lease run out in the middle of each, a third does what is
/// left.
#[test]
fn pullers_are_killed_and_lose_their_leases_and_each_shard_counts_once() {
    let expected = undisturbed();
    let place = Place::new();
    place.write("job.toml", JOB);
    place.call(&["submit", "job.toml"]).done();
    let example = Example::new(&place);
    let (peer, address) = worker(&place, "0");
    let (killed, told) = example.start(&address, &["--slow", "600"]);
    wait_for(&told, "at shard");
    // Past its lease, and then it sends what it has.
    let (loses, lost) = example.start(&address, &["--slow", "6", "--never-renew"]);
    wait_for(&lost, "at shard");
    let (renews, held) = example.start(&address, &["--slow", "3"]);
    let shard = wait_for(&held, "at shard");
    let shard = shard
        .split("at shard ")
        .nth(1)
        .unwrap()
        .split(' ')
        .next()
        .unwrap();
    drop(killed);
    wait_for(&held, &format!("shard {shard}: COMPLETE_OUTCOME_DONE"));
    let (helps, _) = example.start(&address, &[]);
    wait_until_done(&place);
    let state = place.job("squares");
    assert_eq!(state["shards"]["done"], SHARDS, "{state}");
    assert_eq!(state["rows_read"], ROWS, "{state}");
    assert_eq!(place.records("squares"), expected);
    // Whatever it sends now was done by another one.
    wait_for(&lost, "shard");
    drop((loses, renews, helps, peer));
    place.call(&["db", "verify"]).done();
}

/// A worker's own slots and pullers share a job, and a worker that drains lets a puller finish.
#[test]
fn pullers_and_slots_share_a_job() {
    let expected = undisturbed();
    let place = Place::new();
    place.write("job.toml", JOB);
    place.call(&["submit", "job.toml"]).done();
    let example = Example::new(&place);
    let (first, address) = worker(&place, "0");
    let (puller, told) = example.start(&address, &["--slow", "1"]);
    wait_for(&told, "at shard");
    let id = rustix::process::Pid::from_raw(i32::try_from(first.0.id()).unwrap()).unwrap();
    rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    wait_for(&told, "COMPLETE_OUTCOME_DONE");
    let mut first = first;
    assert!(first.0.wait().unwrap().success(), "it drained");
    drop(puller);
    assert_eq!(place.job("squares")["shards"]["done"], 1);
    let (second, address) = worker(&place, "1");
    let (puller, _) = example.start(&address, &[]);
    wait_until_done(&place);
    let state = place.job("squares");
    assert_eq!(state["rows_read"], ROWS, "{state}");
    assert_eq!(place.records("squares"), expected);
    drop((puller, second));
}
