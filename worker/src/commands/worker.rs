//! `worker`: works on the shards of every open job, with all others that do.

use std::sync::Arc;
use std::time::Duration;

use eciton_engine::db::Db;
use eciton_jobs::run::{self as jobs, Observer, ServeOptions, Stop};

use crate::cli::{Global, Worker};
use crate::database::{self, Absent};
use crate::failure::Failure;
use crate::metrics::{self, JobMetrics};
use crate::{settings, signals};

/// Serves until a signal comes, and then drains.
///
/// # Errors
/// [`Failure::Usage`] where nobody can listen at the metrics' address; [`Failure::Work`] where draining took too
/// long: what was at work is computed again by others. What the database refuses.
pub(super) async fn worker(global: &Global, args: &Worker) -> Result<(), Failure> {
    let (slots, commit_interval) = settings::slots(args)?;
    if let Some(address) = settings::metrics(args)? {
        metrics::serve(address)?;
    }
    let stop = Stop::new();
    signals::listen(stop.clone())?;
    let drain = args.drain;
    database::writing(global, Absent::Create, async move |db: Db| {
        let options = ServeOptions {
            commit_interval,
            observer: Arc::new(|job: &str| Arc::new(JobMetrics::new(job)) as Arc<dyn Observer>),
            ..ServeOptions::new(slots, stop.clone())
        };
        tokio::select! {
            served = jobs::serve(&db, &options) => Ok(served?),
            () = late(&stop, drain) => Err(Failure::Work(format!(
                "draining took longer than {} s; what was at work is done again by others",
                drain.as_secs()
            ))),
        }
    })
    .await
}

/// So long after the stop.
async fn late(stop: &Stop, drain: Duration) {
    stop.requested().await;
    tokio::time::sleep(drain).await;
}
