//! How many shards of a job are at work is known of all processes, whoever is asked.

use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::Duration;

use eciton_proto::v1::{
    GetJobRequest, ListWorkersRequest, PullRequest, ReleaseRequest, TaskSpec, Worker, WorkerInfo,
};
use rustix::process::Signal;
use serde_json::Value;

use crate::peer::{Peer, block_on, until};
use crate::redis::RedisServer;
use crate::support::Place;

/// A job of twenty shards, each of so many rows.
fn job(rows: u64) -> String {
    format!(
        "name = \"squares\"\n[source]\nformat = \"range\"\nfrom = 0\nto = {}\nshard_len = {rows}\n\
         [transform]\nsql = \"SELECT i % 7 AS rest, i FROM source\"\n[merge]\nstore = \"squares\"\nkey = [\"rest\"]\n\
         [merge.values]\ncount = \"count()\"\n[run]\nlease = \"10m\"\n",
        20 * rows
    )
}

/// A command that is killed where a test ends early.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// How many shards of the job this peer takes to be at work.
fn running(peer: &Peer) -> u64 {
    block_on(async {
        let request = GetJobRequest {
            name: "squares".to_owned(),
            ..GetJobRequest::default()
        };
        let answer = peer.client().await.get_job(request).await.unwrap();
        let counts = answer.into_inner().job.unwrap().counts.unwrap();
        counts.running
    })
}

/// Whoever works, by this peer.
fn workers(peer: &Peer) -> Vec<Worker> {
    block_on(async {
        let mut client = peer.client().await;
        let listed = client.list_workers(ListWorkersRequest::default()).await;
        listed.unwrap().into_inner().workers
    })
}

/// Takes so many tasks, as the program of that name.
fn pull(peer: &Peer, name: &str, tasks_max: u32) -> Vec<TaskSpec> {
    let request = PullRequest {
        worker: Some(WorkerInfo {
            name: name.to_owned(),
            ..WorkerInfo::default()
        }),
        jobs: vec!["squares".to_owned()],
        tasks_max,
        wait_ms: 30_000,
        ..PullRequest::default()
    };
    let pulled = block_on(async { peer.puller().await.pull(request).await });
    let tasks = pulled.unwrap().into_inner().tasks;
    assert_eq!(tasks.len(), tasks_max as usize);
    tasks
}

fn until_all(peers: &[&Peer], shards: u64) {
    for peer in peers {
        until(|| {
            sleep(Duration::from_millis(100));
            running(peer) == shards
        });
    }
}

/// Programs hold leases at three workers; each worker, and whoever only reads the database, knows of all of them. One
/// that is killed is forgotten with what it was at.
#[test]
fn shards_that_programs_are_at_are_known_everywhere() {
    let redis = RedisServer::start();
    let url = redis.url();
    let place = Place::new();
    place.write("job.toml", job(1000));
    place.call(&["submit", "job.toml"]).done();
    let args = ["--slots", "0", "--redis", url.as_str()];
    let [a, b, c] = [0, 1, 2].map(|_| Peer::start(&place, &args));
    let first = pull(&a, "one", 2);
    pull(&b, "two", 3);
    // Whoever does not say who he is works for the peer that he asked.
    pull(&c, "", 1);
    until_all(&[&a, &b, &c], 6);
    let told = workers(&a);
    let of = |what: &dyn Fn(&Worker) -> bool| {
        let found: Vec<&Worker> = told.iter().filter(|worker| what(worker)).collect();
        let [worker] = found[..] else {
            panic!("not one: {told:?}")
        };
        let jobs = worker
            .jobs
            .iter()
            .map(|job| (job.name.as_str(), job.running));
        (worker.busy, jobs.collect::<Vec<_>>())
    };
    let named =
        |name: &'static str| move |worker: &Worker| worker.info.as_ref().unwrap().name == name;
    assert_eq!(of(&named("two")), (3, vec![("squares", 3)]));
    assert_eq!(
        of(&|worker| worker.address == c.address()),
        (1, vec![("squares", 1)])
    );
    assert_eq!(of(&|worker| worker.address == b.address()), (0, vec![]));

    let shards = |args: &[&str]| -> Value {
        let told = place.call(args).done().json_lines().remove(0);
        let job = if args[0] == "top" {
            &told["jobs"][0]
        } else {
            &told
        };
        job["shards"].clone()
    };
    let expected =
        serde_json::json!({"total": 20, "done": 0, "failed": 0, "running": 6, "pending": 14});
    let with_redis = ["--json", "--redis", url.as_str()];
    for args in [
        &["job", "show", "squares"][..],
        &["job", "show"],
        &["job", "ls"],
        &["top", "--once", "--interval", "100ms"],
    ] {
        assert_eq!(shards(&[args, &with_redis].concat()), expected, "{args:?}");
    }
    let peers = b.call(&place, &["job", "show", "squares", "--json"]).done();
    assert_eq!(peers.json()["shards"], expected);
    let text = place
        .call(&["top", "--once", "--redis", &url])
        .done()
        .stdout;
    let line = text.lines().find(|line| line.starts_with("squares"));
    let words: Vec<&str> = line.unwrap().split_whitespace().collect();
    assert_eq!(words[1..4], ["running", "0/20", "6"], "{text}");
    // Nobody tells whoever asks nobody.
    assert_eq!(place.job("squares")["shards"]["running"], 0);

    let tokens = first.into_iter().map(|task| task.token).collect();
    let released = block_on(async { a.puller().await.release(ReleaseRequest { tokens }).await });
    released.unwrap();
    assert_eq!(
        running(&a),
        4,
        "a worker knows at once what it is at itself"
    );
    until_all(&[&b, &c], 4);
    b.send(Signal::KILL);
    until_all(&[&a, &c], 1);
    until(|| shards(&["job", "show", "--json", "--redis", url.as_str()])["running"] == 1);
}

/// Slots of workers and of `eciton run` are counted together, and a job that is cancelled has nothing at work.
#[test]
fn shards_that_slots_are_at_are_known_everywhere() {
    let redis = RedisServer::start();
    let url = redis.url();
    let place = Place::new();
    // Long enough to be met in the middle; none is ever finished here.
    place.write("job.toml", job(500_000_000));
    let shared = ["--redis", url.as_str()];
    let peers = [0, 1].map(|_| Peer::start(&place, &shared));
    peers[0].call(&place, &["submit", "job.toml"]).done();
    until_all(&[&peers[0], &peers[1]], 2);
    let run = ["run", "job.toml", "--workers", "1", "--redis", url.as_str()];
    let mut run = place.command(&run);
    let run = run.stdout(Stdio::null()).stderr(Stdio::null());
    let mut run = Killed(run.spawn().unwrap());
    until_all(&[&peers[0], &peers[1]], 3);
    let busy: Vec<u32> = workers(&peers[0])
        .iter()
        .map(|worker| worker.busy)
        .collect();
    assert_eq!(busy, [1, 1, 1]);
    let show = ["job", "show", "--json", "--redis", url.as_str()];
    until(|| place.call(&show).done().json()["shards"]["running"] == 3);
    peers[1].call(&place, &["job", "cancel", "squares"]).done();
    until_all(&[&peers[0], &peers[1]], 0);
    until(|| workers(&peers[1]).iter().all(|worker| worker.busy == 0));
    // It was cancelled under it, and says no more that it is there.
    assert_eq!(run.0.wait().unwrap().code(), Some(1));
    until(|| workers(&peers[1]).len() == 2);
}
