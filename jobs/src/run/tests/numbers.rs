//! Numbers that programs send, and sums that were recorded before these were checked.

use std::sync::Arc;

use bytes::Bytes;
use eciton_proto::v1::{
    CompleteBegin, CompleteEnd, CompleteOutcome, JobView, PullRequest, RowsFormat,
};

use super::support::*;
use crate::run::pull::{PullDesk, PullError};
use crate::run::records::ledger::Ledger;
use crate::run::records::tally::Tally;
use crate::run::{
    CancellationToken, End, Leases, Observer, PageOf, Silent, cancel, list, page, run, status,
    submit, view,
};
use crate::source::Reach;

fn job(name: &str) -> String {
    format!(
        r#"
name = "{name}"
[source]
format = "range"
from = 0
to = 20
shard_len = 10
[merge]
store = "{name}"
key = ["i"]
[merge.values]
rows = "count()"
"#
    )
}

/// One call made all jobs of the database unlistable, and its own unfinishable.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_beyond_what_a_shard_has_are_refused() {
    let db = memory_db().await;
    submit(&db, &JobFolder::new().job(&job("range")))
        .await
        .unwrap();
    let observer = Arc::new(|_: &str| Arc::new(Silent) as Arc<dyn Observer>);
    let desk = PullDesk::new(
        &db,
        Leases::new(),
        observer,
        Reach::anywhere(),
        CancellationToken::new(),
    );
    let request = PullRequest {
        tasks_max: 1,
        ..PullRequest::default()
    };
    let task = desk.pull(&request).await.unwrap().tasks.remove(0);
    let rows = (0..10).map(|i| format!("{{\"i\":{i}}}\n"));
    let rows = rows.collect::<Vec<_>>().concat();
    let send = async |rows_read: u64| {
        let begin = CompleteBegin {
            token: task.token.clone(),
            format: RowsFormat::JsonLines.into(),
            started_ms: 5,
        };
        let mut completion = desk.complete(&begin).await?;
        completion.rows(Bytes::from(rows.clone())).await?;
        let end = CompleteEnd {
            rows_len: rows.len() as u64,
            rows: 10,
            rows_read,
            ..CompleteEnd::default()
        };
        completion.end(end).await
    };
    for rows_read in [11, 1 << 40, u64::MAX >> 1, u64::MAX] {
        let refused = send(rows_read).await.unwrap_err();
        assert!(
            matches!(refused, PullError::Invalid(_)),
            "{rows_read}: {refused}"
        );
        assert!(refused.to_string().contains("10 rows at most"), "{refused}");
    }
    let done = send(10).await.unwrap();
    assert_eq!(done.outcome(), CompleteOutcome::Done);
    assert_eq!(status(&db, "range").await.unwrap().unwrap().rows_read, 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sums_that_are_too_large_hide_nothing_and_stop_nothing() {
    let db = memory_db().await;
    for name in ["a", "b", "c"] {
        submit(&db, &JobFolder::new().job(&job(name)))
            .await
            .unwrap();
    }
    let ledger = Ledger::find(&db).await.unwrap().unwrap();
    for name in ["b", "c"] {
        let state = ledger.state_now(name).await.unwrap().unwrap();
        for _ in 0..3 {
            let mut tx = db.begin();
            let tally = Tally {
                rows_read: i64::MAX,
                ..Tally::default()
            };
            ledger.tallies.add(&mut tx, state.number, &tally).unwrap();
            tx.commit().await.unwrap();
        }
    }
    let listed = list(&db).await.unwrap();
    assert_eq!(listed.len(), 3);
    let has_note: Vec<bool> = listed.iter().map(|job| !job.note.is_empty()).collect();
    assert_eq!(has_note, [false, true, true]);
    let of = PageOf {
        limit: 10,
        counts: true,
        ..PageOf::default()
    };
    assert_eq!(page(&db, &of).await.unwrap().jobs.len(), 3);
    let seen = view(&db, "b", JobView::Failures).await.unwrap();
    assert!(seen.note.contains("too large"), "{seen:?}");
    let report = run(&db, "b", options(1)).await.unwrap();
    assert_eq!((report.end, report.status.shards.done), (End::Done, 2));
    assert_eq!(cancel(&db, "c").await.unwrap().state, "cancelled");
}
