//! `top` shows what a database, a Redis and a peer tell of a swarm.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::peer::{Peer, until};
use crate::redis::RedisServer;
use crate::support::{Place, aggregation, measurements, upsert};

/// Rows: some hundreds of shards of 2 KiB, so that a job can be met in the middle.
const ROWS: u32 = 20_000;

/// A child that is killed where a test ends early.
struct Killed(Child);

impl Killed {
    fn send(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.0.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// A database with the job `levels`, which is done, and the job `stations`, which was left in the middle.
fn in_the_middle() -> Place {
    let place = Place::new();
    place.write("few.csv", measurements(100));
    place.write("levels.toml", upsert("2KiB").replace("*.csv", "few.csv"));
    place.call(&["run", "levels.toml"]).done();
    place.write("many.csv", measurements(ROWS));
    let job = aggregation("2KiB").replace("*.csv", "many.csv");
    place.write("stations.toml", job);
    place.call(&["submit", "stations.toml"]).done();
    let few = ["--workers", "1", "--commit-interval", "0s"];
    let mut command = place.command(&[&["run", "stations.toml"], &few[..]].concat());
    let run = command.stdout(Stdio::null()).stderr(Stdio::null());
    let run = Killed(run.spawn().unwrap());
    until(|| place.job("stations")["shards"]["done"] != 0);
    drop(run);
    let job = place.job("stations");
    assert_eq!(job["state"], "running", "it ended too soon: {job}");
    place
}

/// The job of that name.
fn job<'v>(told: &'v Value, name: &str) -> &'v Value {
    let jobs = told["jobs"].as_array().unwrap();
    let found = jobs.iter().find(|job| job["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {told}"))
}

#[test]
fn a_database_is_shown_with_its_open_and_its_late_jobs() {
    let place = in_the_middle();
    let once = ["top", "--once", "--interval", "100ms"];
    let told = place.call(&[&once[..], &["--json"]].concat()).done().json();
    assert_eq!(told["workers"], Value::Null, "{told}");
    assert_eq!(
        told["jobs"][0]["name"], "stations",
        "open ones first: {told}"
    );
    for name in ["stations", "levels"] {
        let (seen, mut shown) = (job(&told, name), place.job(name));
        // What goes on by itself.
        shown["wall_seconds"] = seen["wall_seconds"].clone();
        for (field, value) in shown.as_object().unwrap() {
            assert_eq!(&seen[field], value, "{field} of {seen}");
        }
    }
    assert_eq!(job(&told, "stations")["rows_per_second"], 0.0, "{told}");
    assert_eq!(job(&told, "levels").get("rows_per_second"), None, "{told}");
    let shards = &job(&told, "stations")["shards"];
    let left = shards["total"].as_u64().unwrap() - shards["done"].as_u64().unwrap();
    assert!(left > 0, "{told}");
    let totals = &told["totals"];
    assert_eq!(
        (&totals["jobs_open"], &totals["jobs_ended"]),
        (&1.into(), &1.into())
    );
    assert_eq!(totals["shards_left"], left, "{totals}");

    let text = place.call(&once).done().stdout;
    let lines: Vec<&str> = text.lines().collect();
    let first = format!("1 job open, {left} shards left, 0 rows/s, 0 conflicts");
    assert_eq!(lines[0], first, "{text}");
    assert!(
        lines[1].starts_with("workers are not known: --redis or --peer"),
        "{text}"
    );
    assert!(lines[3].starts_with("job "), "{text}");
    assert!(lines[4].starts_with("stations  running"), "{text}");
    assert!(lines[5].starts_with("levels    done"), "{text}");
    assert_eq!(lines.len(), 6, "{text}");
}

#[test]
fn an_empty_database_is_shown_as_that_again_and_again() {
    let place = Place::new();
    place.call(&["db", "init"]).done();
    let told = place.call(&["top", "--once"]).done().stdout;
    assert!(
        told.starts_with("no job is open, and none has ended"),
        "{told}"
    );
    for signal in [Signal::INT, Signal::TERM] {
        let top = place.start(&["top", "--interval", "100ms"]);
        let mut top = Killed(top);
        let mut lines = BufReader::new(top.0.stdout.take().unwrap()).lines();
        let mut next = || lines.next().unwrap().unwrap();
        for _ in 0..3 {
            assert!(next().starts_with("no job is open"));
            assert!(next().starts_with("workers are not known"));
            assert_eq!(next(), "");
        }
        top.send(signal);
        assert_eq!(top.0.wait().unwrap().code(), Some(0));
        let mut told = String::new();
        top.0
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut told)
            .unwrap();
        assert_eq!(told, "");
    }
}

/// What a job does is told while it does it: shards become fewer, rows flow, and in the end it has ended.
#[test]
fn a_job_is_followed_to_its_end() {
    let place = in_the_middle();
    let mut top = Killed(place.start(&["top", "--json", "--interval", "100ms"]));
    let mut lines = BufReader::new(top.0.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    let first = next();
    assert_eq!(job(&first, "stations")["state"], "running");
    place.call(&["run", "stations.toml"]).done();
    let mut has_flowed = false;
    let last = loop {
        let told = next();
        let speed = &told["totals"]["rows_per_second"];
        has_flowed |= speed.as_f64().is_some_and(|speed| speed > 0.0);
        if told["totals"]["jobs_open"] == 0 {
            break told;
        }
    };
    assert_eq!(job(&last, "stations")["state"], "done", "{last}");
    assert_eq!(job(&last, "stations")["rows_read"], ROWS, "{last}");
    assert!(first["at_ms"].as_i64() < last["at_ms"].as_i64());
    println!("rows were seen to flow: {has_flowed}");
    top.send(Signal::TERM);
    assert_eq!(top.0.wait().unwrap().code(), Some(0));
}

#[test]
fn a_peer_tells_of_jobs_and_workers() {
    let place = in_the_middle();
    let peer = Peer::start(&place, &[]);
    let once = ["top", "--once", "--interval", "100ms", "--json"];
    let told = peer.call(&place, &once).done().json();
    let worker = &told["workers"][0];
    assert_eq!(worker["address"], peer.address(), "{told}");
    assert_eq!(
        (&worker["slots"], &worker["state"]),
        (&1.into(), &"running".into())
    );
    assert_eq!(told["totals"]["workers"], 1, "{told}");
    job(&told, "stations");
    until(|| peer.call(&place, &once).done().json()["totals"]["jobs_open"] == 0);
    let text = peer.call(&place, &["top", "--once"]).done().stdout;
    assert!(
        text.starts_with("no job is open\n1 worker, 1 slot, 0 shards at work\n"),
        "{text}"
    );
    assert!(text.contains("stations  done"), "{text}");
    assert!(text.contains(peer.address()), "{text}");
    peer.send(Signal::TERM);
    peer.ended().done();
    let words = ["no peer answers", "127.0.0.1:1"];
    let mut gone = crate::support::program();
    gone.args(["top", "--once", "--peer", "127.0.0.1:1"]);
    let gone = crate::support::Ended::from(gone.output().unwrap());
    gone.with_code(1).told(&words);
}

#[test]
fn redis_tells_of_workers() {
    let mut redis = RedisServer::start();
    let url = redis.url();
    let place = Place::new();
    place.call(&["db", "init"]).done();
    let shared = ["--redis", url.as_str()];
    let top = ["top", "--once", "--json", "--redis", url.as_str()];
    let told = || place.call(&top).done().json();
    assert_eq!(told()["workers"], serde_json::json!([]));
    let start = || Killed(place.start(&[&["worker", "--slots", "3"], &shared[..]].concat()));
    let workers = [start(), start()];
    until(|| told()["totals"]["workers"] == 2);
    let seen = told();
    assert_eq!(seen["totals"]["slots"], 6, "{seen}");
    let name = seen["workers"][0]["name"].as_str().unwrap();
    let of = |worker: &Killed| name.ends_with(&format!("/{}", worker.0.id()));
    assert!(workers.iter().any(of), "{seen}");
    // Whoever was killed is forgotten after a while; without Redis nobody is known.
    drop(workers);
    until(|| {
        sleep(Duration::from_millis(200));
        told()["totals"]["workers"] == 0
    });
    redis.kill();
    let text = place.call(&["top", "--once", "--redis", &url]).done();
    assert!(text.stdout.contains("Redis cannot be reached"), "{text:#?}");
}
