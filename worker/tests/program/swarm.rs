//! Workers that serve every job of a database: whoever is killed, the jobs end, and each shard counts once.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Child;
use std::thread::sleep;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::redis::RedisServer;
use crate::support::{Ended, Place, aggregation, measurements, upsert};

/// Rows: some forty shards of 2 KiB.
const ROWS: u32 = 2000;
const LEASE: &str = "[run]\nlease = \"300ms\"\n";

/// A worker that is killed where a test ends early.
pub(crate) struct Worker(Option<Child>);

impl Worker {
    pub(crate) fn start(place: &Place, more: &[&str]) -> Worker {
        let args = [
            &["worker", "--create", "--slots", "1"][..],
            &["--commit-interval", "20ms"],
            more,
        ]
        .concat();
        Worker(Some(place.start(&args)))
    }

    /// A worker that was started in another way.
    pub(crate) fn of(child: Child) -> Worker {
        Worker(Some(child))
    }

    pub(crate) fn send(&self, signal: Signal) {
        let id = self.0.as_ref().unwrap().id();
        let pid = Pid::from_raw(i32::try_from(id).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    pub(crate) fn ended(mut self) -> Ended {
        let child = self.0.take().unwrap();
        child.wait_with_output().unwrap().into()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

/// Until the jobs are done.
pub(crate) fn wait_for(place: &Place, jobs: &[&str]) {
    for job in jobs {
        loop {
            let state = place.job(job);
            match state["state"].as_str().unwrap() {
                "pending" | "running" => sleep(Duration::from_millis(20)),
                "done" => break,
                other => panic!("{other}: {state}"),
            }
        }
    }
}

/// Until the first shards of a job are done.
fn wait_for_some(place: &Place, job: &str) {
    while place.job(job)["shards"]["done"] == 0 {
        sleep(Duration::from_millis(5));
    }
}

fn both() -> (String, String) {
    let place = Place::new();
    place.write("a.csv", measurements(ROWS));
    place.write("a.toml", aggregation("2KiB"));
    place.write("b.toml", upsert("2KiB"));
    place.call(&["run", "a.toml"]).done();
    place.call(&["run", "b.toml"]).done();
    (place.records("stations"), place.records("levels"))
}

/// Jobs that are there and jobs that come, two workers killed and Redis flushed in the middle.
#[test]
fn workers_serve_all_jobs_and_any_of_them_may_be_killed() {
    let (stations, levels) = both();
    let redis = RedisServer::start();
    let place = Place::new();
    place.write("a.csv", measurements(ROWS));
    place.write("a.toml", format!("{}{LEASE}", aggregation("2KiB")));
    place.write("b.toml", format!("{}{LEASE}", upsert("2KiB")));
    let url = redis.url();
    let shared = ["--redis", url.as_str()];
    place.call(&["submit", "a.toml"]).done();
    let mut workers: Vec<Worker> = (0..4).map(|_| Worker::start(&place, &shared)).collect();
    place
        .call(&[&["submit", "b.toml"][..], &shared].concat())
        .done();
    wait_for_some(&place, "stations");
    drop(workers.remove(0));
    redis.cli(&["FLUSHALL"]);
    drop(workers.remove(0));
    wait_for(&place, &["stations", "levels"]);
    for worker in workers {
        worker.send(Signal::TERM);
        worker.ended().done();
    }
    for job in ["stations", "levels"] {
        let state = place.job(job);
        assert_eq!(state["shards"]["done"], state["shards"]["total"], "{state}");
        assert_eq!(state["rows_read"], ROWS, "{state}");
    }
    assert_eq!(place.records("stations"), stations);
    assert_eq!(place.records("levels"), levels);
    place.call(&["db", "verify"]).done();
}

/// All are killed, others go on; one alone needs no Redis.
#[test]
fn a_worker_alone_goes_on_where_others_were_killed() {
    let (stations, _) = both();
    let place = Place::new();
    place.write("a.csv", measurements(ROWS));
    place.write("job.toml", aggregation("2KiB"));
    place.call(&["submit", "job.toml"]).done();
    let killed = Worker::start(&place, &[]);
    wait_for_some(&place, "stations");
    drop(killed);
    let worker = Worker::start(&place, &[]);
    wait_for(&place, &["stations"]);
    worker.send(Signal::TERM);
    let told = worker.ended().done().stderr;
    assert!(told.contains("stations"), "{told}");
    assert_eq!(place.records("stations"), stations);
}

/// A job whose file has gone, and one whose store is another one by now, fail; others go on.
#[test]
fn a_job_that_cannot_be_run_stops_no_other() {
    let (stations, _) = both();
    let place = Place::new();
    place.write("gone.csv", measurements(10));
    place.write("gone.toml", upsert("2KiB").replace("*.csv", "gone.csv"));
    place.call(&["submit", "gone.toml"]).done();
    std::fs::remove_file(place.path("gone.csv")).unwrap();
    let other = upsert("2KiB").replace("\"levels\"", "\"other\"");
    place.write("a.csv", measurements(ROWS));
    place.write("other.toml", other.replace("*.csv", "a.csv"));
    place.call(&["submit", "other.toml"]).done();
    place.call(&["store", "drop", "other"]).with_code(2).told(&[
        "job `other`",
        "--with-results",
        "--force",
    ]);
    place.call(&["store", "drop", "other", "--force"]).done();
    place.call(&["put", "other", "k", "1", "--create"]).done();
    place.write("job.toml", aggregation("2KiB"));
    place.call(&["submit", "job.toml"]).done();
    let worker = Worker::start(&place, &[]);
    wait_for(&place, &["stations"]);
    worker.send(Signal::INT);
    let told = worker.ended().with_code(130).stderr;
    let words = "ended here job=\"levels\" state=\"failed\"";
    assert!(told.contains(words), "{told}");
    assert_eq!(place.records("stations"), stations);
    let other = place.job("other");
    assert_eq!(other["state"], "failed");
    let reason = other["reason"].as_str().unwrap();
    assert!(reason.contains("store `other` was dropped"), "{reason}");
    assert_eq!(place.records("other"), "{\"key\":\"k\",\"value\":1}\n");
}

#[test]
fn metrics_tell_what_a_worker_does() {
    let place = Place::new();
    place.write("a.csv", measurements(ROWS));
    place.write("job.toml", aggregation("2KiB"));
    place.call(&["submit", "job.toml"]).done();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let at = address.to_string();
    let taken = place.call(&["worker", "--metrics", &at]).with_code(2);
    taken.told(&["--metrics", &at]);
    drop(listener);
    let worker = Worker::start(&place, &["--metrics", &at]);
    wait_for(&place, &["stations"]);
    let shards = place.job("stations")["shards"]["total"].as_u64().unwrap();
    let told = scraped(address);
    let value = |line: &str| -> u64 {
        let found = told.lines().find_map(|told| told.strip_prefix(line));
        let found = found.unwrap_or_else(|| panic!("no `{line}` in {told}"));
        found.trim().parse().unwrap()
    };
    let done = value("eciton_shards_total{job=\"stations\",state=\"done\"}");
    assert_eq!(done, shards);
    let rows = value("eciton_rows_read_total{job=\"stations\"}");
    assert_eq!(rows, u64::from(ROWS));
    assert!(value("eciton_commits_total{mode=\"standalone\"}") >= 1);
    let timed = value("eciton_shard_duration_seconds_count{job=\"stations\"}");
    assert_eq!(timed, shards);
    assert!(told.contains("eciton_build_info{version="), "{told}");
    // Each shard merges what adds up, among it the job's own counts.
    assert!(value("eciton_merges_total") >= shards, "{told}");
    for begun in [
        "eciton_conflicts_total{kind=\"key\"} ",
        "eciton_conflicts_total{kind=\"range\"} ",
        "eciton_commit_aborts_total{reason=\"too_old\"} ",
        "eciton_cache_hits_total{tier=\"memory\"} ",
        "eciton_cache_misses_total{tier=\"memory\"} ",
        "eciton_fold_lag_records ",
        "eciton_fold_lag_bytes ",
        "eciton_leases_held ",
        "eciton_workers_alive 1",
        "eciton_log_position ",
        "eciton_log_slots_total ",
        "eciton_combine_batch_records_count ",
        "eciton_commit_duration_seconds_count ",
        "eciton_shard_attempts_total{job=\"stations\",outcome=\"done\"} ",
        "eciton_records_merged_total{job=\"stations\"} ",
    ] {
        assert!(told.contains(&format!("\n{begun}")), "{begun}: {told}");
    }
    worker.send(Signal::TERM);
    worker.ended().done();
}

/// Each is told of by the others, and no longer once it has gone.
#[test]
fn workers_know_of_each_other_until_one_goes() {
    let redis = RedisServer::start();
    let place = Place::new();
    let url = redis.url();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let at = address.to_string();
    let first = Worker::start(&place, &["--redis", &url, "--metrics", &at]);
    let alive = |count: usize| {
        let line = format!("eciton_workers_alive {count}\n");
        let is_told = || TcpStream::connect(address).is_ok() && scraped(address).contains(&line);
        while !is_told() {
            sleep(Duration::from_millis(50));
        }
    };
    alive(1);
    let second = Worker::start(&place, &["--redis", &url]);
    let killed = Worker::start(&place, &["--redis", &url]);
    alive(3);
    // One says that it goes, the other one says nothing any more.
    second.send(Signal::TERM);
    second.ended().done();
    alive(2);
    drop(killed);
    alive(1);
    first.send(Signal::TERM);
    first.ended().done();
}

/// An address at which nobody listens.
pub(crate) fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap()
}

/// The status and the body that a server answers to a GET with a token, if there is one; `None` where nobody listens.
pub(crate) fn answered(address: SocketAddr, path: &str, token: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    let authorization = match token {
        "" => String::new(),
        token => format!("Authorization: Bearer {token}\r\n"),
    };
    write!(
        stream,
        "GET {path} HTTP/1.0\r\nHost: {address}\r\n{authorization}\r\n"
    )
    .ok()?;
    let mut told = String::new();
    stream.read_to_string(&mut told).ok()?;
    let (head, body) = told.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}

/// All metrics of a worker, as Prometheus is told them.
pub(crate) fn scraped(address: SocketAddr) -> String {
    got(address, "/metrics")
}

/// What a server answers to a GET. Of HTTP/1.0, so that it comes in one piece.
pub(crate) fn got(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").unwrap();
    let mut told = String::new();
    stream.read_to_string(&mut told).unwrap();
    let (_, body) = told.split_once("\r\n\r\n").unwrap();
    body.to_owned()
}
