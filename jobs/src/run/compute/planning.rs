//! Planning away from everything else.
//!
//! Planning a query takes as long as its writer likes, and cannot be broken off. So it has threads of its own, few of them,
//! and whoever waits does so for a bounded time. What is not done by then is told as an error of the query; its thread
//! goes on, and keeps its place until it has ended.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use eciton_proto::v1::{JobSpec, SchemaField};
use tokio::sync::{Semaphore, oneshot};

use super::pipeline::{JobMisfit, Pipeline};
use crate::run::records::error::JobError;
use crate::source::Source;

/// How long planning a job may take.
pub const PLANNING_TIME_MAX: Duration = Duration::from_secs(30);
/// How long a job waits for others that are planned, until it is refused.
pub const PLANNING_WAIT_MAX: Duration = Duration::from_mins(1);
/// Jobs that a process plans at the same time.
pub const PLANNING_AT_ONCE_MAX: usize = 4;

static PLACES: LazyLock<Arc<Semaphore>> =
    LazyLock::new(|| Arc::new(Semaphore::new(PLANNING_AT_ONCE_MAX)));

/// Plans a job; `output` are the columns that its program writes. What does not fit is the inner error.
///
/// # Errors
/// [`JobError::Busy`] where too many others are planned. [`JobError::Worker`] where no thread can be started.
pub(crate) async fn plan(
    spec: &JobSpec,
    source: Source,
    output: &[SchemaField],
) -> Result<Result<Pipeline, JobMisfit>, JobError> {
    let (spec, output) = (spec.clone(), output.to_vec());
    bounded_by_time(move || Ok(Pipeline::plan(&spec, source, &output))).await
}

/// Does work that plans queries; what does not fit is the inner error.
///
/// # Errors
/// As [`plan`], and those of the work.
pub(crate) async fn bounded_by_time<T: Send + 'static>(
    work: impl FnOnce() -> Result<Result<T, JobMisfit>, JobError> + Send + 'static,
) -> Result<Result<T, JobMisfit>, JobError> {
    bounded(PLANNING_TIME_MAX, work).await?.unwrap_or_else(|| {
        Ok(Err(JobMisfit {
            key: "transform.sql".to_owned(),
            message: format!(
                "planning the query took longer than {} s; expected a smaller one",
                PLANNING_TIME_MAX.as_secs()
            ),
        }))
    })
}

/// The result of work on a thread of its own; `None` if it is not there in time.
async fn bounded<T: Send + 'static>(
    time: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<Option<T>, JobError> {
    let place = tokio::time::timeout(PLANNING_WAIT_MAX, Arc::clone(&PLACES).acquire_owned());
    let Ok(Ok(place)) = place.await else {
        return Err(JobError::Busy);
    };
    let (done, is_done) = oneshot::channel();
    let thread = std::thread::Builder::new().name("planning".to_owned());
    let spawned = thread.spawn(move || {
        // Nobody may wait for it any more.
        let _unheard = done.send(work());
        drop(place);
    });
    spawned.map_err(|error| JobError::Worker(error.to_string()))?;
    match tokio::time::timeout(time, is_done).await {
        Ok(Ok(value)) => Ok(Some(value)),
        Ok(Err(_)) => Err(JobError::Worker("planning broke off".to_owned())),
        Err(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn what_takes_too_long_is_given_up_and_keeps_its_place_until_it_ends() {
        let free = PLACES.available_permits();
        let (end, ends) = mpsc::channel::<()>();
        let waiting = bounded(Duration::from_millis(1), move || ends.recv().is_err());
        assert_eq!(waiting.await.unwrap(), None);
        assert!(PLACES.available_permits() < free || free < PLANNING_AT_ONCE_MAX);
        drop(end);
        let value = bounded(PLANNING_TIME_MAX, || 7).await.unwrap();
        assert_eq!(value, Some(7));
    }

    #[tokio::test]
    async fn a_panic_is_an_error() {
        let panicked = bounded(PLANNING_TIME_MAX, || panic!("on purpose")).await;
        assert!(matches!(
            panicked,
            Err::<Option<()>, _>(JobError::Worker(_))
        ));
    }
}
