//! Jobs of larger priority go first, however many others there are.

use std::sync::Arc;

use eciton_engine::Db;
use eciton_proto::v1::PullRequest;
use parking_lot::Mutex;

use super::support::*;
use crate::run::pull::PullDesk;
use crate::run::{
    CancellationToken, Event, Leases, Observer, ServeOptions, Silent, serve, status, submit,
};
use crate::source::Reach;

async fn submitted(db: &Db, name: &str, shards: u64, priority: i32) {
    let text = format!(
        r#"
name = "{name}"
[source]
format = "range"
from = 0
to = {shards}
shard_len = 1
[merge]
store = "{name}"
key = ["i"]
[merge.values]
rows = "count()"
[run]
priority = {priority}
"#
    );
    submit(db, &JobFolder::new().job(&text)).await.unwrap();
}

/// The jobs whose shards begin, in order.
#[derive(Clone, Default)]
struct Begun(Arc<Mutex<Vec<String>>>);

struct Of(Begun, String);

impl Observer for Of {
    fn observe(&self, event: &Event<'_>) {
        if matches!(event, Event::ShardStarted { .. }) {
            self.0.0.lock().push(self.1.clone());
        }
    }
}

/// Serves until these jobs are done, and gives the jobs whose shards began, in order.
async fn served(db: &Db, slots: usize, jobs: &[&str]) -> Vec<String> {
    let (stop, begun) = (CancellationToken::new(), Begun::default());
    let told = begun.clone();
    let options = ServeOptions {
        observer: Arc::new(move |job: &str| {
            Arc::new(Of(told.clone(), job.to_owned())) as Arc<dyn Observer>
        }),
        ..ServeOptions::new(slots, stop.clone())
    };
    let serving = tokio::spawn({
        let db = db.clone();
        async move { serve(&db, &options).await }
    });
    until("the jobs do not end", async || {
        for job in jobs {
            if status(db, job).await.unwrap().unwrap().state != "done" {
                return false;
            }
        }
        true
    })
    .await;
    stop.cancel();
    serving.await.unwrap().unwrap();
    let begun = begun.0.lock();
    begun.clone()
}

/// Of two jobs that were there before the worker, the one of low priority got as much.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_of_low_priority_begins_nothing_while_another_has_shards() {
    for slots in [1, 2] {
        let db = memory_db().await;
        submitted(&db, "low", 3000, -100).await;
        submitted(&db, "high", 3000, 100).await;
        let begun = served(&db, slots, &["high", "low"]).await;
        let last = begun.iter().rposition(|job| job == "high").unwrap();
        let between = begun[..last].iter().filter(|job| *job == "low").count();
        // A few may come in before its plan is made, and one where it has just none to hand out.
        assert!(
            between < 300,
            "{between} of the other job with {slots} slots"
        );
        assert_eq!(begun.len(), 6000);
    }
}

/// The sixteen oldest had all places.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_jobs_of_low_priority_keep_no_other_out() {
    let db = memory_db().await;
    for n in 0..40 {
        submitted(&db, &format!("low{n}"), 100_000, -1).await;
    }
    submitted(&db, "high", 20, 1).await;
    let begun = served(&db, 1, &["high"]).await;
    assert_eq!(begun.iter().filter(|job| *job == "high").count(), 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_comes_later_takes_the_place_of_a_less_urgent_one() {
    let db = memory_db().await;
    for n in 0..20 {
        submitted(&db, &format!("low{n}"), 100_000, -1).await;
    }
    let stop = CancellationToken::new();
    let options = ServeOptions::new(2, stop.clone());
    let serving = tokio::spawn({
        let db = db.clone();
        async move { serve(&db, &options).await }
    });
    until("nothing begins", async || {
        status(&db, "low0").await.unwrap().unwrap().shards.done > 0
    })
    .await;
    submitted(&db, "high", 50, 1).await;
    until("the urgent one does not end", async || {
        status(&db, "high").await.unwrap().unwrap().state == "done"
    })
    .await;
    stop.cancel();
    serving.await.unwrap().unwrap();
}

/// They were handed out by age.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_get_the_most_urgent_and_of_equals_each_in_turn() {
    let db = memory_db().await;
    submitted(&db, "low", 10, -1).await;
    submitted(&db, "one", 10, 3).await;
    submitted(&db, "two", 10, 3).await;
    submitted(&db, "high", 2, 7).await;
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
    let mut given = Vec::new();
    for _ in 0..8 {
        given.push(desk.pull(&request).await.unwrap().tasks.remove(0).job);
    }
    assert_eq!(given[..2], ["high", "high"]);
    assert_eq!(
        given.iter().filter(|job| *job == "one").count(),
        3,
        "{given:?}"
    );
    assert_eq!(
        given.iter().filter(|job| *job == "two").count(),
        3,
        "{given:?}"
    );
    assert_ne!(given[2], given[3]);
}
