//! A program that pulls from several workers at once, which share a database over Redis, while one of them is killed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use eciton_proto::v1::complete_request::Part;
use eciton_proto::v1::shards_client::ShardsClient;
use eciton_proto::v1::task_spec::Read;
use eciton_proto::v1::{
    CompleteBegin, CompleteEnd, CompleteOutcome, CompleteRequest, PullRequest, RowsFormat,
    TaskSpec, ValueRange, WorkerInfo,
};
use rustix::process::Signal;
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::peer::{Peer, block_on};
use crate::redis::RedisServer;
use crate::support::Place;

/// Rows of the job, and how many shards that makes.
const ROWS: u64 = 60_000;
const SHARDS: u64 = 120;

const JOB: &str = r#"
name = "squares"
[source]
format = "range"
from = 0
to = 60_000
shard_len = 500
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

/// Peers, of which any may have gone.
#[derive(Clone)]
struct Peers(Vec<Channel>);

impl Peers {
    fn new(peers: &[&Peer]) -> Peers {
        let channel = |peer: &&Peer| {
            let url = format!("http://{}", peer.address());
            Endpoint::from_shared(url).unwrap().connect_lazy()
        };
        Peers(peers.iter().map(channel).collect())
    }

    fn client(&self, peer: usize) -> ShardsClient<Channel> {
        ShardsClient::new(self.0[peer % self.0.len()].clone())
    }

    /// Pulls from one peer, or from the next where that has gone; `None` once the job has ended. Also who gave it.
    async fn pull(&self, first: usize) -> Option<(usize, Vec<TaskSpec>)> {
        let request = PullRequest {
            worker: Some(WorkerInfo {
                name: format!("puller {first}"),
                ..WorkerInfo::default()
            }),
            jobs: vec!["squares".to_owned()],
            tasks_max: 3,
            wait_ms: 1000,
            ..PullRequest::default()
        };
        let mut peer = first;
        loop {
            match self.client(peer).pull(request.clone()).await {
                Ok(answer) => {
                    let answer = answer.into_inner();
                    return answer.ended.is_empty().then_some((peer, answer.tasks));
                }
                Err(status) => must_be_gone(&status),
            }
            peer += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Sends the rows of a task to whoever gave it, or to the next where that has gone; whether this call counted.
    async fn complete(&self, from: usize, task: &TaskSpec) -> bool {
        let Some(Read::Values(values)) = task.read.clone() else {
            panic!("not a range: {task:?}")
        };
        let mut peer = from;
        loop {
            let messages = messages(task, &values);
            let sent = tonic::codegen::tokio_stream::iter(messages);
            match self.client(peer).complete(sent).await {
                Ok(answer) => match answer.into_inner().outcome() {
                    CompleteOutcome::Done => return true,
                    CompleteOutcome::AlreadyDone => return false,
                    other => panic!("{other:?}"),
                },
                // Another one has taken the shard.
                Err(status) if status.code() == Code::Aborted => return false,
                Err(status) => must_be_gone(&status),
            }
            peer += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn must_be_gone(status: &Status) {
    let is_gone = matches!(
        status.code(),
        Code::Unavailable | Code::Unknown | Code::Cancelled
    );
    assert!(is_gone, "{status:?}");
}

/// The stream that completes a task.
fn messages(task: &TaskSpec, values: &ValueRange) -> Vec<CompleteRequest> {
    let row = |i: i64| format!("{{\"rest\":{},\"square\":{}}}\n", i % 7, i * i);
    let rows: String = (values.start..values.end).map(row).collect();
    let count = (values.end - values.start).unsigned_abs();
    let parts = [
        Part::Begin(CompleteBegin {
            token: task.token.clone(),
            format: RowsFormat::JsonLines.into(),
            started_ms: 0,
        }),
        Part::End(CompleteEnd {
            rows_len: rows.len() as u64,
            rows: count,
            rows_read: count,
            ..CompleteEnd::default()
        }),
    ];
    let [begin, end] = parts;
    let parts = [begin, Part::Rows(rows.into()), end].into_iter();
    let message = |part| CompleteRequest { part: Some(part) };
    parts.map(message).collect()
}

/// One worker dies with leases that it gave; their rows go to the others. Every shard counts once.
#[test]
fn a_worker_is_killed_under_programs_that_pull_from_all() {
    let undisturbed = Place::new();
    undisturbed.write("job.toml", JOB);
    undisturbed.call(&["run", "job.toml"]).done();
    let redis = RedisServer::start();
    let url = redis.url();
    let place = Place::new();
    place.write("job.toml", JOB);
    place.call(&["submit", "job.toml"]).done();
    let args = ["--slots", "0", "--redis", url.as_str()];
    let [a, b, c] = [0, 1, 2].map(|_| Peer::start(&place, &args));
    let counted = Arc::new(AtomicU64::new(0));
    block_on(async {
        let peers = Peers::new(&[&a, &b, &c]);
        // The one that is killed has given these, and nobody else knows of them but by the database.
        let (from, orphans) = peers.pull(1).await.unwrap();
        assert_eq!((from, orphans.len()), (1, 3));
        let mut pulling = JoinSet::new();
        for program in 0..6 {
            let (peers, counted) = (peers.clone(), Arc::clone(&counted));
            pulling.spawn(async move {
                while let Some((from, tasks)) = peers.pull(program).await {
                    for task in tasks {
                        let counts = peers.complete(from, &task).await;
                        counted.fetch_add(u64::from(counts), Ordering::Relaxed);
                    }
                }
            });
        }
        while counted.load(Ordering::Relaxed) < SHARDS / 4 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        b.send(Signal::KILL);
        for task in orphans {
            let counts = peers.complete(from, &task).await;
            counted.fetch_add(u64::from(counts), Ordering::Relaxed);
        }
        while let Some(done) = pulling.join_next().await {
            done.unwrap();
        }
    });
    let state = place.job("squares");
    assert_eq!(state["state"], "done", "{state}");
    assert_eq!(state["shards"]["done"], SHARDS, "{state}");
    assert_eq!(
        (&state["rows_read"], &state["attempts"]),
        (&ROWS.into(), &SHARDS.into())
    );
    // A commit whose answer was lost with its peer was told as one that had been done.
    let counted = counted.load(Ordering::Relaxed);
    assert!(counted <= SHARDS && counted > 0, "{counted}");
    assert_eq!(place.records("squares"), undisturbed.records("squares"));
    place.call(&["db", "verify"]).done();
}
