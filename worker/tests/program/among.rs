//! Several processes at one database, over a real Redis: they share a job, and whatever happens to them or to
//! Redis, the answer is the one of a process alone.

use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::Duration;

use eciton_engine::coord::SharedCoordinator;
use eciton_engine::coord::redis::{RedisBus, RedisOptions};
use eciton_engine::{Db, Environment, Mode, Options};
use rustix::process::{Pid, Signal, kill_process};

use crate::kill::{Random, seed};
use crate::redis::RedisServer;
use crate::support::{Place, aggregation, measurements, upsert};

/// Rows: some sixty shards of 2 KiB.
const ROWS: u32 = 3500;
/// Processes of a swarm.
const PROCESSES: usize = 4;
/// A port at which nobody is.
const NOBODY: &str = "redis://127.0.0.1:1";
/// Rounds in which processes are killed.
const ROUNDS: u32 = 4;

fn place(job: &str) -> Place {
    let place = Place::new();
    place.write("a.csv", measurements(ROWS));
    place.write("job.toml", job);
    place
}

fn with_short_leases(job: &str) -> String {
    format!("{job}[run]\nlease = \"300ms\"\n")
}

fn alone(job: &str, store: &str) -> String {
    let place = place(job);
    place.call(&["run", "job.toml"]).done();
    place.records(store)
}

fn start(place: &Place, redis: &str) -> Child {
    let args = [
        "run",
        "job.toml",
        "--workers",
        "1",
        "--redis",
        redis,
        "--commit-interval",
        "20ms",
    ];
    let mut command = place.command(&args);
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn send(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

fn done(child: Child) {
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{told}");
}

/// The job has ended, each of its shards was counted once, and the store holds what it must.
fn assert_right(place: &Place, job: &str, store: &str, expected: &str) {
    let state = place.job(job);
    assert_eq!(state["state"], "done", "{state}");
    assert_eq!(state["shards"]["done"], state["shards"]["total"], "{state}");
    assert_eq!(state["rows_read"], ROWS, "{state}");
    let found = place.records(store);
    assert!(found == expected, "{found}\nexpected: {expected}");
    place.call(&["db", "verify"]).done();
}

#[test]
fn processes_share_a_job() {
    let redis = RedisServer::start();
    for (job, name, store) in [
        (aggregation("2KiB"), "stations", "stations"),
        (upsert("2KiB"), "levels", "levels"),
    ] {
        let expected = alone(&job, store);
        let place = place(&job);
        let all: Vec<Child> = (0..PROCESSES)
            .map(|_| start(&place, &redis.url()))
            .collect();
        all.into_iter().for_each(done);
        assert_right(&place, name, store, &expected);
        // The folder is the same as ever: one process alone goes on with it.
        place.call(&["put", "by_hand", "k", "1", "--create"]).done();
        let args = ["get", "by_hand", "k", "--redis", &redis.url()];
        assert_eq!(place.call(&args).done().stdout, "1\n");
    }
}

#[test]
fn without_redis_they_share_it_all_the_same() {
    let job = aggregation("2KiB");
    let expected = alone(&job, "stations");
    let place = place(&job);
    let all: Vec<Child> = (0..PROCESSES).map(|_| start(&place, NOBODY)).collect();
    all.into_iter().for_each(done);
    assert_right(&place, "stations", "stations", &expected);
}

#[test]
fn processes_that_are_killed_or_stopped_and_a_redis_that_forgets_change_nothing() {
    let mut random = Random(seed());
    let mut redis = RedisServer::start();
    let job = with_short_leases(&aggregation("2KiB"));
    let expected = alone(&job, "stations");
    for round in 0..ROUNDS {
        let place = place(&job);
        // Whoever is stopped while it creates the database has it alone, and the others are told so.
        place.call(&["db", "init"]).done();
        let mut all: Vec<Child> = (0..PROCESSES)
            .map(|_| start(&place, &redis.url()))
            .collect();
        let mut moment = |below: u64| sleep(Duration::from_millis(random.below(below)));
        moment(300);
        let mut killed = all.remove(0);
        killed.kill().unwrap();
        killed.wait().unwrap();
        redis.cli(&["FLUSHALL"]);
        send(&all[0], Signal::STOP);
        moment(300);
        if round % 2 == 0 {
            redis.restart();
        } else {
            redis.cli(&["FLUSHALL"]);
        }
        // Beyond its leases.
        sleep(Duration::from_millis(600));
        send(&all[0], Signal::CONT);
        all.into_iter().for_each(done);
        assert_right(&place, "stations", "stations", &expected);
    }
}

#[test]
fn one_mode_at_a_time() {
    let redis = RedisServer::start();
    let place = Place::new();
    place.call(&["put", "s", "k", "1", "--create"]).done();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let alone = runtime
        .block_on(Db::open(&place.db(), Options::default()))
        .unwrap();
    let pid = format!("process {}", std::process::id());
    let shared = ["put", "s", "k", "2", "--redis", &redis.url()];
    place.call(&shared).with_code(3).told(&[&pid, " on "]);
    runtime.block_on(alone.close()).unwrap();

    let among = runtime.block_on(async {
        let environment = Environment::default();
        let (clock, entropy) = (environment.clock.clone(), environment.entropy.clone());
        let bus = RedisBus::new(
            RedisOptions::at(&redis.url()),
            clock.clone(),
            entropy.clone(),
        );
        let bus = std::sync::Arc::new(bus.unwrap());
        let environment = Environment {
            coordinator: std::sync::Arc::new(SharedCoordinator::new(bus, clock, entropy)),
            ..environment
        };
        let options = Options {
            mode: Mode::Clustered,
            ..Options::default()
        };
        Db::open_among(&place.db(), options, environment)
            .await
            .unwrap()
    });
    place
        .call(&["put", "s", "k", "2"])
        .with_code(3)
        .told(&[&pid, " on "]);
    place.call(&shared).done();
    assert_eq!(place.call(&["get", "s", "k"]).done().stdout, "2\n");
    runtime.block_on(among.close()).unwrap();
    place.call(&["put", "s", "k", "3"]).done();
}

#[test]
fn an_address_that_is_none_is_told() {
    let place = Place::new();
    let ended = place.call(&["put", "s", "k", "1", "--create", "--redis", "nowhere:x"]);
    ended.with_code(2).told(&["redis"]);
    assert!(!place.db().exists(), "something was created");
}
