//! Whether a worker is alive and ready, how it drains within its time, and its log for programs.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::peer::{Peer, until};
use crate::redis::RedisServer;
use crate::support::{Ended, Place, aggregation, measurements, program};
use crate::swarm::{Worker, answered, free_address, scraped, wait_for};

/// Between two looks at what comes by itself.
const LOOK: Duration = Duration::from_millis(20);

/// A job of one shard that takes minutes, and of which a lease ends by itself only after the tests have.
const SLOW: &str = "name = \"slow\"\n[source]\nformat = \"range\"\nfrom = 0\nto = 2_000_000_000\nshard_len = 2_000_000_000\n\
                    [transform]\nsql = \"SELECT i % 3 AS k, i FROM source\"\n[merge]\nstore = \"slow\"\nkey = [\"k\"]\n\
                    [merge.values]\nn = \"count()\"\n[run]\nlease = \"1h\"\n";

/// The answer to `/readyz`, once it has this status.
fn ready(address: SocketAddr, status: u16) -> String {
    loop {
        match answered(address, "/readyz", "") {
            Some((found, body)) if found == status => return body,
            _ => sleep(LOOK),
        }
    }
}

/// `eciton health` for a worker.
fn health(address: SocketAddr, more: &[&str]) -> Ended {
    let at = address.to_string();
    let mut command = program();
    command.args(["health", &at]).args(more);
    command.output().unwrap().into()
}

/// Until this worker computes a shard.
fn until_at_work(address: SocketAddr) {
    until(|| {
        let is_there = answered(address, "/healthz", "").is_some();
        is_there && scraped(address).contains("eciton_shards_running{job=\"slow\"} 1")
    });
}

#[test]
fn a_worker_is_ready_while_its_storage_responds_and_it_does_not_drain() {
    let place = Place::new();
    place.write("slow.toml", SLOW);
    place.call(&["submit", "slow.toml"]).done();
    let address = free_address();
    let at = address.to_string();
    health(address, &[])
        .with_code(1)
        .told(&[&at, "does not answer"]);
    let worker = Worker::start(&place, &["--metrics", &at, "--drain", "10m"]);
    assert_eq!(ready(address, 200), "OK");
    health(address, &[]).done();
    health(address, &["--alive"]).done();
    // The folder is not mounted any more.
    let (there, away) = (place.db().join("INSTANCE"), place.path("away"));
    std::fs::rename(&there, &away).unwrap();
    let told = ready(address, 503);
    assert!(told.contains("storage"), "{told}");
    let path = place.db().display().to_string();
    assert!(!told.contains(&path), "anybody may read it: {told}");
    health(address, &[])
        .with_code(1)
        .told(&["not ready", "storage"]);
    health(address, &["--alive"]).done();
    std::fs::rename(&away, &there).unwrap();
    ready(address, 200);
    until_at_work(address);
    worker.send(Signal::TERM);
    assert_eq!(ready(address, 503), "draining\n");
    assert_eq!(answered(address, "/healthz", "").unwrap().0, 200);
}

/// A storage that takes connections and says nothing.
#[test]
fn a_worker_whose_storage_is_mute_is_alive_and_not_ready() {
    let mute = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = free_address();
    let at = address.to_string();
    let mut command = program();
    command
        .args(["worker", "--db", "s3://bucket/prefix", "--metrics", &at])
        .env(
            "AWS_ENDPOINT_URL",
            format!("http://{}", mute.local_addr().unwrap()),
        )
        .env("AWS_ALLOW_HTTP", "true")
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", "key")
        .env("AWS_SECRET_ACCESS_KEY", "secret")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let worker = Worker::of(command.spawn().unwrap());
    let told = ready(address, 503);
    assert!(told.starts_with("starting"), "{told}");
    health(address, &["--alive"]).done();
    worker.send(Signal::TERM);
    worker.ended().done();
}

#[test]
fn health_asks_the_worker_that_the_environment_names() {
    let call = |address: &str| -> Ended {
        let mut command = program();
        command.arg("health").env("ECITON_METRICS", address);
        command.output().unwrap().into()
    };
    call("").with_code(2).told(&["ECITON_METRICS"]);
    call("nowhere")
        .with_code(2)
        .told(&["ECITON_METRICS", "nowhere"]);
    let place = Place::new();
    let port = free_address().port();
    let everywhere = format!("0.0.0.0:{port}");
    let worker = Worker::start(&place, &["--metrics", &everywhere, "--insecure"]);
    ready((Ipv4Addr::LOCALHOST, port).into(), 200);
    let told = call(&everywhere).done().stdout;
    assert!(told.contains("is ready"), "{told}");
    worker.send(Signal::TERM);
    worker.ended().done();
}

/// What takes longer than the time to drain is given up, and another worker has it at once, whatever its lease.
#[test]
fn shards_that_outlast_the_drain_go_to_another_worker() {
    let redis = RedisServer::start();
    let place = Place::new();
    place.write("slow.toml", SLOW);
    let url = redis.url();
    place.call(&["submit", "slow.toml"]).done();
    let [first, second] = [free_address(), free_address()];
    let start = |address: SocketAddr, drain: &str| {
        let at = address.to_string();
        Worker::start(
            &place,
            &["--redis", &url, "--metrics", &at, "--drain", drain],
        )
    };
    let leaving = start(first, "1s");
    until_at_work(first);
    let staying = start(second, "0s");
    ready(second, 200);
    leaving.send(Signal::TERM);
    let told = leaving.ended().done().stderr;
    for words in [
        "given up: it did not end in time",
        "the time to drain is over",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
    until_at_work(second);
    assert_eq!(place.job("slow")["attempts"], 0, "giving up is no attempt");
    staying.send(Signal::INT);
    staying.ended().with_code(130);
}

/// A program without the way to a collector says how to get one, and does nothing else.
#[cfg(not(feature = "otlp"))]
#[test]
fn spans_are_sent_only_by_a_program_that_was_built_for_it() {
    let place = Place::new();
    place.write("a.csv", measurements(20));
    place.write("job.toml", aggregation("2KiB"));
    for args in [&["run", "job.toml"][..], &["worker", "--create"]] {
        let told = ["--otlp", "--features otlp"];
        let mut flag = place.command(args);
        flag.args(["--otlp", "http://127.0.0.1:4317"]);
        Ended::from(flag.output().unwrap()).with_code(2).told(&told);
        let mut variable = place.command(args);
        variable.env("ECITON_OTLP", "http://127.0.0.1:4317");
        Ended::from(variable.output().unwrap())
            .with_code(2)
            .told(&told);
    }
    assert!(!place.db().exists());
}

/// Whoever submits within a trace finds the submission in it; the job has a trace of its own.
#[test]
fn a_submission_continues_the_trace_of_its_caller() {
    let place = Place::new();
    place.write("a.csv", measurements(20));
    place.write("job.toml", aggregation("2KiB"));
    let args = ["--listen", "127.0.0.1:0", "--log-format", "json"];
    let peer = Peer::start_with(&place, &args, |command| {
        command.env("RUST_LOG", "eciton=debug,eciton_jobs=info");
    });
    let (trace, span) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
    let mut submit = program();
    submit
        .current_dir(place.path(""))
        .args(["submit", "job.toml", "--peer", peer.address()])
        .env("TRACEPARENT", format!("00-{trace}-{span}-01"));
    Ended::from(submit.output().unwrap()).done();
    peer.send(Signal::TERM);
    let told = peer.ended().done().stderr;
    let line = |message: &str| -> Value {
        let lines = told
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        let mut found = lines.filter(|line: &Value| line["message"] == message);
        found.next().unwrap_or_else(|| panic!("{message}: {told}"))
    };
    let submitted = line("submitted");
    assert_eq!(
        (&submitted["trace"], &submitted["job"]),
        (&trace.into(), &"stations".into())
    );
    assert_ne!(submitted["span"], span, "{told}");
}

/// Nobody is told that something is finished which is not.
#[test]
fn a_drain_that_is_overdue_is_not_told_as_finished() {
    let place = Place::new();
    place.write("slow.toml", SLOW);
    place.call(&["submit", "slow.toml"]).done();
    let address = free_address();
    let at = address.to_string();
    let worker = Worker::start(&place, &["--metrics", &at, "--drain", "0s"]);
    until_at_work(address);
    worker.send(Signal::INT);
    let told = worker.ended().with_code(130).stderr;
    assert!(!told.contains("is finished"), "{told}");
    assert!(
        told.contains("ended by SIGINT; what was still at work"),
        "{told}"
    );
    assert!(told.contains("is given up"), "{told}");
    // With time enough it is finished, and said so.
    let place = Place::new();
    let idle = Worker::start(&place, &["--metrics", &at]);
    ready(address, 200);
    idle.send(Signal::INT);
    let told = idle.ended().with_code(130).stderr;
    assert!(told.contains("what was at work is finished"), "{told}");
}

#[test]
fn a_log_for_programs_has_an_object_per_line() {
    let place = Place::new();
    place.write("a.csv", measurements(200));
    place.write("job.toml", aggregation("2KiB"));
    place.call(&["submit", "job.toml"]).done();
    let mut command = place.command(&["worker", "--log-format", "json"]);
    command
        .env("RUST_LOG", "eciton=debug,eciton_jobs=info")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let worker = Worker::of(command.spawn().unwrap());
    wait_for(&place, &["stations"]);
    worker.send(Signal::INT);
    let told = worker.ended().with_code(130).stderr;
    let lines: Vec<Value> = told
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
        .collect();
    let all = |message: &str| -> Vec<&Value> {
        let found = lines.iter().filter(|line| line["message"] == message);
        found.collect()
    };
    let done = all("shard done");
    let total = place.job("stations")["shards"]["total"].as_u64().unwrap();
    assert_eq!(done.len() as u64, total, "{told}");
    let is_hex = |value: &Value, len: usize| {
        let digits = value.as_str().unwrap_or_default();
        digits.len() == len && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
    };
    // Also those that are told before a shard is begun, and after the last one.
    let around = [all("at work")[0], all("ended here")[0]];
    for line in done.iter().chain(&around) {
        assert_eq!(line["job"], "stations", "{line}");
        assert_eq!(line["trace"], done[0]["trace"], "{line}");
        assert!(
            is_hex(&line["trace"], 32) && is_hex(&line["span"], 16),
            "{line}"
        );
    }
    for line in &done {
        assert_eq!(line["job"], "stations", "{line}");
        assert_eq!(line["trace"], done[0]["trace"], "{line}");
        assert!(
            line["shard"].is_u64() && line["worker"].is_string(),
            "{line}"
        );
    }
    let last = lines.last().unwrap();
    assert_eq!(
        (&last["level"], &last["code"]),
        (&"ERROR".into(), &130.into()),
        "{told}"
    );
    // By the environment, too; and what is no format is told before anything is done.
    let mut command = place.command(&["worker"]);
    command.env("ECITON_LOG_FORMAT", "yaml");
    let ended = Ended::from(command.output().unwrap());
    ended
        .with_code(2)
        .told(&["ECITON_LOG_FORMAT", "yaml", "text or json"]);
}
