//! Two processes at one database: one writes, any number read.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr};

use eciton_engine::{Db, Options};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Ended, Place, aggregation, measurements, upsert};

/// Rows of a job that takes a while: hundreds of shards of 1 KiB.
const ROWS_MANY: u32 = 12_000;

fn send(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// Waits until the job has begun, that is until it says so.
fn begun(child: &mut Child) -> BufReader<ChildStderr> {
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    assert!(line.contains(" shards, "), "no progress: {line}");
    stderr
}

fn ended(mut child: Child, mut stderr: BufReader<ChildStderr>) -> Ended {
    let mut told = String::new();
    stderr.read_to_string(&mut told).unwrap();
    let mut stdout = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut stdout)
        .unwrap();
    Ended {
        code: child.wait().unwrap().code(),
        stdout,
        stderr: told,
    }
}

fn place(job: &str) -> Place {
    let place = Place::new();
    place.write("m.csv", measurements(ROWS_MANY));
    place.write("job.toml", job);
    place
}

#[test]
fn writers_are_locked_out_and_readers_are_not() {
    let place = Place::new();
    place.call(&["put", "s", "k", "1", "--create"]).done();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let held = runtime
        .block_on(Db::open(&place.db(), Options::default()))
        .unwrap();
    let pid = format!("process {}", std::process::id());
    place.write("m.csv", measurements(10));
    place.write("job.toml", aggregation("1KiB"));
    for call in [
        &["put", "s", "k", "2"][..],
        &["del", "s", "k"],
        &["run", "job.toml"],
        &["submit", "job.toml"],
        &["store", "create", "t"],
        &["store", "drop", "s"],
        &["db", "init"],
        &["job", "cancel", "stations"],
    ] {
        let path = place.db();
        let ended = place.call(call).with_code(3);
        ended.told(&[path.file_name().unwrap().to_str().unwrap(), &pid, " on "]);
    }
    for call in [
        &["get", "s", "k"][..],
        &["scan", "s"],
        &["store", "ls"],
        &["store", "stats"],
        &["job", "ls"],
        &["db", "info"],
        &["db", "verify"],
    ] {
        place.call(call).done();
    }
    runtime.block_on(held.close()).unwrap();
    place.call(&["put", "s", "k", "2"]).done();
    assert_eq!(place.call(&["get", "s", "k"]).done().stdout, "2\n");
}

#[test]
fn readers_beside_a_running_job_see_whole_commits() {
    let place = place(&upsert("1KiB"));
    let mut child = place.start(&["run", "job.toml", "--workers", "1"]);
    let stderr = begun(&mut child);
    let (mut looks, mut before) = (0, 0);
    while child.try_wait().unwrap().is_none() {
        let records = place
            .call(&["store", "stats", "levels", "--json"])
            .done()
            .json();
        let records = records["records"].as_u64().unwrap();
        assert!(records >= before, "{before} records became {records}");
        // Read after the count: the mark of a shard comes with its records, never before.
        let merged = place.job("levels")["records_merged"].as_u64().unwrap();
        assert!(
            merged >= records,
            "{records} records, of which {merged} are accounted for"
        );
        (looks, before) = (looks + 1, records);
    }
    ended(child, stderr).done();
    assert!(looks > 0, "the job ended before anyone could look");
    assert_eq!(place.records("levels").lines().count(), ROWS_MANY as usize);
}

#[test]
fn a_signal_drains_and_the_same_command_goes_on() {
    let undisturbed = place(&aggregation("1KiB"));
    undisturbed.call(&["run", "job.toml"]).done();
    for signal in [Signal::INT, Signal::TERM] {
        let place = place(&aggregation("1KiB"));
        let mut child = place.start(&["run", "job.toml", "--workers", "1"]);
        let stderr = begun(&mut child);
        send(&child, signal);
        let ended = ended(child, stderr).with_code(130);
        ended.told(&["interrupted", "go on with `eciton run job.toml --db "]);
        let job = place.job("stations");
        assert_eq!(job["shards"]["failed"], 0, "{job}");
        assert!(
            job["shards"]["pending"].as_u64().unwrap() > 0,
            "nothing was left: {job}"
        );
        place.call(&["run", "job.toml"]).done();
        assert_eq!(place.records("stations"), undisturbed.records("stations"));
    }
}

#[test]
fn a_second_signal_ends_at_once_and_harms_nothing() {
    let place = place(&aggregation("1KiB"));
    let mut child = place.start(&["run", "job.toml", "--workers", "2"]);
    let stderr = begun(&mut child);
    send(&child, Signal::INT);
    send(&child, Signal::TERM);
    ended(child, stderr).with_code(130);
    place.call(&["run", "job.toml"]).done();
    let rows: u64 = place
        .call(&["scan", "stations", "--json"])
        .done()
        .json_lines()
        .iter()
        .map(|record| record["value"]["rows"].as_u64().unwrap())
        .sum();
    assert_eq!(rows, u64::from(ROWS_MANY));
}
