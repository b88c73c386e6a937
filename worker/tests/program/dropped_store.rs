//! A store is dropped that a job writes to: no job ends `done` without its results.

use std::process::Child;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::redis::RedisServer;
use crate::support::{Ended, Place, measurements, upsert};

/// Shards of the job: enough to be in the middle of it for a while.
const SHARDS: u64 = 900;

/// A job that counts and adds up numbers.
pub(crate) fn numbers(shards: u64) -> String {
    format!(
        "name = \"numbers\"\n[source]\nformat = \"range\"\nfrom = 0\nto = {}\nshard_len = 100\n[transform]\n\
         sql = \"SELECT i % 5 AS k, i FROM source\"\n[merge]\nstore = \"m\"\nkey = [\"k\"]\n[merge.values]\n\
         rows = \"count()\"\ntotal = \"sum(i)\"\n",
        shards * 100
    )
}

/// What comes of it.
pub(crate) fn expected(shards: u64) -> String {
    let numbers = shards * 100;
    let rows = numbers / 5;
    let line = |k: u64| {
        let total = (0..rows).map(|row| row * 5 + k).sum::<u64>();
        format!("{{\"key\":{k},\"value\":{{\"rows\":{rows},\"total\":{total}}}}}\n")
    };
    (0..5).map(line).collect()
}

fn place() -> Place {
    let place = Place::new();
    place.write("job.toml", numbers(SHARDS));
    place
}

fn send(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// Starts a run, and waits until some of its shards are done.
pub(crate) fn in_the_middle(place: &Place, more: &[&str]) -> Child {
    let args = [
        "run",
        "job.toml",
        "--workers",
        "1",
        "--commit-interval",
        "0s",
    ];
    let child = place.start(&[&args[..], more].concat());
    while !has_done_some(place) {}
    child
}

fn has_done_some(place: &Place) -> bool {
    let shown = place.call(&["job", "show", "numbers", "--json"]);
    if shown.code != Some(0) {
        return false;
    }
    let job: Value = shown.json();
    assert_ne!(job["state"], "done", "too quick: {job}");
    job["shards"]["done"].as_u64().unwrap() > 0
}

fn has_failed(place: &Place) {
    let job = place.job("numbers");
    assert_eq!(job["state"], "failed", "{job}");
    let reason = job["reason"].as_str().unwrap();
    assert!(reason.contains("store `m` was dropped"), "{job}");
}

#[test]
fn a_store_that_an_interrupted_job_writes_to_is_dropped_by_force_and_the_job_fails() {
    let place = place();
    let mut run = in_the_middle(&place, &[]);
    run.kill().unwrap();
    run.wait().unwrap();
    place.call(&["store", "drop", "m"]).with_code(2).told(&[
        "job `numbers`",
        "eciton job rm numbers --with-results",
        "--force",
    ]);
    place.call(&["store", "drop", "m", "--force"]).done();
    has_failed(&place);
    place
        .call(&["run", "job.toml"])
        .with_code(1)
        .told(&["store `m` was dropped", "--replace"]);
    place
        .call(&["job", "retry", "numbers"])
        .with_code(2)
        .told(&["store `m` was dropped", "--replace"]);
    has_failed(&place);
    place.call(&["run", "job.toml", "--replace"]).done();
    assert_eq!(place.records("m"), expected(SHARDS));
}

/// The process that works on it is stopped meanwhile, so that it finds out with its next commit.
#[test]
fn a_process_whose_store_is_dropped_while_it_is_stopped_fails_the_job() {
    let redis = RedisServer::start();
    let shared = ["--redis", redis.url().leak() as &str];
    for is_there_again in [false, true] {
        let place = place();
        let run = in_the_middle(&place, &shared);
        send(&run, Signal::STOP);
        let call = |args: &[&str]| place.call(&[args, &shared[..]].concat());
        call(&["store", "drop", "m"])
            .with_code(2)
            .told(&["job `numbers`"]);
        call(&["store", "drop", "m", "--force"]).done();
        if is_there_again {
            call(&["store", "create", "m"]).done();
        }
        send(&run, Signal::CONT);
        let ended = Ended::from(run.wait_with_output().unwrap()).with_code(1);
        ended.told(&["store `m` was dropped"]);
        has_failed(&place);
        let stores = place.call(&["store", "ls", "--json"]).done().json_lines();
        let kinds: Vec<&Value> = stores.iter().map(|store| &store["kind"]).collect();
        match is_there_again {
            true => assert_eq!(kinds, ["json"]),
            false => assert!(kinds.is_empty(), "{kinds:?}"),
        }
    }
}

/// What a job merged is changed by jobs alone; rows that it keeps are records like others.
#[test]
fn a_merged_record_is_not_deleted_by_hand() {
    let place = Place::new();
    place.write("job.toml", numbers(3));
    place.write("a.csv", measurements(20));
    place.write("rows.toml", upsert("2KiB"));
    place.call(&["run", "job.toml"]).done();
    place.call(&["run", "rows.toml"]).done();
    for (command, more) in [("put", &["{}"][..]), ("del", &[])] {
        let call = [&[command, "m", "3"], more].concat();
        place.call(&call).with_code(2).told(&[
            "store `m`",
            "is merged",
            &format!("not by {command}; `eciton job rm"),
        ]);
    }
    assert_eq!(place.records("m"), expected(3));
    let rows = place.call(&["scan", "levels", "--json"]).done();
    let key = rows.json_lines()[0]["key"].to_string();
    place.call(&["del", "levels", &key]).done();
    let left = place.call(&["scan", "levels", "--json"]).done();
    assert_eq!(left.json_lines().len() + 1, rows.json_lines().len());
}
