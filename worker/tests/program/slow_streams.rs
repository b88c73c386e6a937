//! Streams of rows that hardly move take no place from one that does.

use std::time::Duration;

use eciton_proto::v1::complete_request::Part;
use eciton_proto::v1::{
    CompleteBegin, CompleteEnd, CompleteOutcome, CompleteRequest, PullRequest, RowsFormat, TaskSpec,
};
use tokio::task::JoinSet;
use tonic::Code;

use crate::peer::{Peer, block_on};
use crate::support::Place;

/// As many as are taken at a time.
const SLOW: usize = 32;
const HONEST: usize = 8;

const JOB: &str = r#"
name = "range"
[source]
format = "range"
from = 0
to = 40
shard_len = 1
[merge]
store = "all"
key = ["i"]
[merge.values]
rows = "count()"
[run]
lease = "10m"
"#;

fn part(part: Part) -> CompleteRequest {
    CompleteRequest { part: Some(part) }
}

fn begin(task: &TaskSpec) -> CompleteRequest {
    part(Part::Begin(CompleteBegin {
        token: task.token.clone(),
        format: RowsFormat::JsonLines.into(),
        started_ms: 1,
    }))
}

fn row(task: &TaskSpec) -> String {
    format!("{{\"i\":{}}}\n", task.shard)
}

/// A stream that sends a row every second, and never its end.
fn slow(task: TaskSpec) -> impl futures::Stream<Item = CompleteRequest> {
    futures::stream::unfold(0, move |sent| {
        let message = match sent {
            0 => begin(&task),
            _ => part(Part::Rows(row(&task).into())),
        };
        async move {
            if sent > 0 {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Some((message, sent + 1))
        }
    })
}

/// They held all places for as long as they liked, and an honest one waited until its own deadline.
#[test]
fn an_honest_stream_gets_through() {
    let place = Place::new();
    place.write("job.toml", JOB);
    place.call(&["submit", "job.toml"]).done();
    let peer = Peer::start(&place, &["--slots", "0"]);
    block_on(async {
        let mut client = peer.puller().await;
        let request = PullRequest {
            tasks_max: 64,
            ..PullRequest::default()
        };
        let mut tasks = client.pull(request).await.unwrap().into_inner().tasks;
        assert_eq!(tasks.len(), SLOW + HONEST);
        let honest = tasks.split_off(SLOW);
        let mut held = JoinSet::new();
        for task in tasks {
            let mut client = client.clone();
            held.spawn(async move { client.complete(slow(task)).await });
        }
        for task in honest {
            let rows = row(&task);
            let end = CompleteEnd {
                rows_len: rows.len() as u64,
                rows: 1,
                rows_read: 1,
                ..CompleteEnd::default()
            };
            let messages = vec![
                begin(&task),
                part(Part::Rows(rows.into())),
                part(Part::End(end)),
            ];
            let sent = tonic::codegen::tokio_stream::iter(messages);
            let answer = client.complete(sent).await.unwrap().into_inner();
            assert_eq!(answer.outcome(), CompleteOutcome::Done);
        }
        let cut = held.join_next().await.unwrap().unwrap().unwrap_err();
        assert_eq!(cut.code(), Code::DeadlineExceeded, "{cut}");
        assert!(cut.message().contains("slowest"), "{cut}");
    });
    let job = place.job("range");
    assert_eq!(job["shards"]["done"], HONEST, "{job}");
}
