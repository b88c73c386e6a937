//! Metrics of how far the jobs are that this process works on, as the database has it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use eciton_engine::Db;
use eciton_jobs::run::view;
use eciton_proto::v1::{JobPhase, JobView};
use metrics::gauge;
use tokio::task::JoinHandle;

use crate::metrics::{JOB_SHARDS, JOB_SHARDS_LEFT, SHARDS_RUNNING};
use crate::peer::Activity;

/// Time between two looks.
const LOOKS_APART: Duration = Duration::from_secs(2);

/// Tells from now on how far each job is that is worked on here. Every worker of a job tells the same of it, but for what
/// it computes itself.
pub(crate) fn watch(db: Db, activity: Arc<Activity>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut told = BTreeSet::<String>::new();
        loop {
            let running = activity.jobs();
            // Of a job that is not worked on here any more, nothing is left here.
            for gone in told
                .iter()
                .filter(|job| !running.contains_key(job.as_str()))
            {
                set(JOB_SHARDS_LEFT, gone, 0);
                set(SHARDS_RUNNING, gone, 0);
            }
            for (job, shards) in &running {
                set(SHARDS_RUNNING, job, u64::from(*shards));
                if let Some((all, left)) = counts(&db, job).await {
                    set(JOB_SHARDS, job, all);
                    set(JOB_SHARDS_LEFT, job, left);
                }
            }
            told = running.into_keys().collect();
            tokio::time::sleep(LOOKS_APART).await;
        }
    })
}

/// The shards of a job, and those of them that have not ended; `None` where that cannot be read now.
async fn counts(db: &Db, job: &str) -> Option<(u64, u64)> {
    let status = view(db, job, JobView::Counts).await.ok()?;
    let counts = status.counts.as_ref()?;
    let left = match status.phase() {
        JobPhase::Unspecified | JobPhase::Pending | JobPhase::Running => {
            status.shards.saturating_sub(counts.done + counts.failed)
        }
        JobPhase::Done | JobPhase::Failed | JobPhase::Cancelled => 0,
    };
    assert!(
        left <= status.shards,
        "{left} of {} shards of job `{job}` are left",
        status.shards
    );
    Some((status.shards, left))
}

#[allow(clippy::cast_precision_loss, reason = "a metric")]
fn set(name: &'static str, job: &str, shards: u64) {
    gauge!(name, "job" => job.to_owned()).set(shards as f64);
}
