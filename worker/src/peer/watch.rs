//! Telling how a job goes, until it has ended.
//!
//! A task looks at the job and keeps only the newest news; whoever reads slowly finds that, and nothing older. So no
//! reader holds up the looking, and none makes a queue grow.
//!
//! A watch goes on while its peer drains, which may well be what ends the job. Where it does not, whoever watches is sent
//! to another peer with the last word of this one.

use std::pin::Pin;
use std::time::Duration;

use eciton_proto::limits::WATCH_SILENCE_MS_MAX;
use eciton_proto::v1::{JobPhase, JobStatus, JobView, WatchJobRequest, WatchJobResponse};
use futures::Stream;
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::Status;

use super::{Peer, requests};

/// The stream of one watch.
pub(super) type JobUpdates = Pin<Box<dyn Stream<Item = Result<WatchJobResponse, Status>> + Send>>;

/// Time between two looks whether the job has ended, which is told without waiting.
const LOOKS_APART: Duration = Duration::from_millis(250);
/// After so long the same is told again: well before readers lose patience.
const SILENCE: Duration = Duration::from_millis(WATCH_SILENCE_MS_MAX as u64 * 2 / 3);
/// A look that takes long is not repeated before so many times its length, so that a watch of a very large job costs
/// a part of a core only.
const REST: u32 = 4;

/// What was found out last.
type Newest = Result<JobStatus, Status>;

impl Peer {
    /// Begins a watch.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`, `NOT_FOUND`; `UNAVAILABLE` where the peer drains and the job has not ended.
    pub(super) async fn watch(&self, request: WatchJobRequest) -> Result<JobUpdates, Status> {
        requests::name(&request.name)?;
        let views = [JobView::Counts, JobView::Basic, JobView::Failures];
        let view = requests::view_among(request.view, &views)?;
        let began = Instant::now();
        let first = self.job(request.name.clone(), view).await?;
        if self.is_draining() && !has_ended(&first) {
            return Err(leaving());
        }
        let watcher = Watcher {
            peer: self.clone(),
            view,
            interval: Duration::from_millis(requests::interval_ms(request.interval_ms)),
            looked: (began, began.elapsed()),
            told: first.clone(),
        };
        let has_ended = has_ended(&first);
        let (sender, mut newest) = watch::channel(Ok(first));
        newest.mark_changed();
        if !has_ended {
            tokio::spawn(watcher.watch(sender));
        }
        let told = |mut newest: watch::Receiver<Newest>| async move {
            // Nothing new, and nobody looks any more: the last message has been given.
            newest.changed().await.ok()?;
            let told = newest.borrow_and_update().clone();
            Some((told.map(|job| WatchJobResponse { job: Some(job) }), newest))
        };
        Ok(Box::pin(futures::stream::unfold(newest, told)))
    }
}

struct Watcher {
    peer: Peer,
    view: JobView,
    interval: Duration,
    /// When it was looked at last as a whole, and how long that took.
    looked: (Instant, Duration),
    /// What was told last.
    told: JobStatus,
}

impl Watcher {
    /// Looks until the job has ended, the reader has gone, or this process goes.
    async fn watch(mut self, newest: watch::Sender<Newest>) {
        let mut told_at = Instant::now();
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOKS_APART.min(self.interval)) => {}
                () = newest.closed() => return,
                () = self.peer.0.leaving.cancelled() => {
                    newest.send(self.last().await).ok();
                    return;
                }
            }
            match self.look(told_at).await {
                Ok(None) => {}
                Ok(Some(job)) => {
                    let has_ended = has_ended(&job);
                    self.told.clone_from(&job);
                    told_at = Instant::now();
                    newest.send(Ok(job)).ok();
                    if has_ended {
                        return;
                    }
                }
                Err(status) => {
                    newest.send(Err(status)).ok();
                    return;
                }
            }
        }
    }

    /// What is told last where this process goes: the end of the job, if that came before.
    async fn last(&self) -> Newest {
        let job = self.peer.job(self.told.name.clone(), self.view).await;
        job.ok().filter(has_ended).ok_or_else(leaving)
    }

    /// What is to be told now, if anything.
    async fn look(&mut self, told_at: Instant) -> Result<Option<JobStatus>, Status> {
        let name = self.told.name.clone();
        let job = self.peer.job(name.clone(), JobView::Basic).await?;
        let (looked_at, took) = self.looked;
        let pause = self.interval.max(took * REST).min(SILENCE);
        if !has_ended(&job) && (told_at.elapsed() < self.interval || looked_at.elapsed() < pause) {
            return Ok(None);
        }
        let began = Instant::now();
        let job = self.peer.job(name, self.view).await?;
        self.looked = (began, began.elapsed());
        let is_news = !is_same(&job, &self.told) || told_at.elapsed() >= SILENCE;
        Ok(is_news.then_some(job))
    }
}

/// Whether nothing more will change, unless somebody retries the job.
fn has_ended(job: &JobStatus) -> bool {
    matches!(
        job.phase(),
        JobPhase::Done | JobPhase::Failed | JobPhase::Cancelled
    )
}

/// Whether two looks found the same.
fn is_same(one: &JobStatus, other: &JobStatus) -> bool {
    let as_of_ms = other.as_of_ms;
    *other
        == JobStatus {
            as_of_ms,
            ..one.clone()
        }
}

fn leaving() -> Status {
    Status::unavailable("this worker is leaving; ask another one")
}
