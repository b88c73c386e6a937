//! News of a job, from whichever peer tells them.

use std::time::Duration;

use eciton_jobs::run::JobStatus;
use eciton_proto::limits::WATCH_SILENCE_MS_MAX;
use eciton_proto::v1::{JobView, WatchJobRequest, WatchJobResponse};
use tonic::{Status, Streaming};

use super::connect::{Remote, is_silence, refused};
use super::status::status;
use crate::failure::Failure;

/// A peer that tells nothing for so long is lost: it promises to tell something twice as often.
const PATIENCE: Duration = Duration::from_millis(WATCH_SILENCE_MS_MAX as u64 * 2);
/// Watches that broke off in a row without any news before it is given up.
const TRIES_MAX: u32 = 10;

/// A job that is watched, at one peer after the other if need be.
pub(crate) struct Watch {
    remote: Remote,
    request: WatchJobRequest,
    news: Option<Streaming<WatchJobResponse>>,
}

impl Watch {
    /// Watches a job, with its failures where they are wanted.
    pub(crate) fn new(remote: Remote, name: &str) -> Watch {
        let request = WatchJobRequest {
            name: name.to_owned(),
            view: JobView::Failures.into(),
            ..WatchJobRequest::default()
        };
        Watch {
            remote,
            request,
            news: None,
        }
    }

    /// The next news; after those of a job that has ended there are none.
    ///
    /// # Errors
    /// [`Failure::Peer`]: no peer answers, or one refuses.
    pub(crate) async fn next(&mut self) -> Result<JobStatus, Failure> {
        let mut last: Option<Status> = None;
        for _ in 0..TRIES_MAX {
            let news = match &mut self.news {
                Some(news) => news,
                None => {
                    let request = self.request.clone();
                    let call = async |client: &mut _, request| watch_job(client, request).await;
                    match self.remote.call(request, call).await {
                        Ok(begun) => self.news.insert(begun),
                        Err(failure) => return Err(after(last, failure)),
                    }
                }
            };
            let told = match tokio::time::timeout(PATIENCE, news.message()).await {
                Ok(told) => told,
                Err(_) => Err(Status::unavailable("the peer fell silent")),
            };
            match told {
                Ok(Some(WatchJobResponse { job: Some(job) })) => return Ok(status(job)),
                Ok(_) => {}
                Err(status) if is_silence(&status) => {
                    last = Some(status);
                    self.remote.next();
                }
                Err(status) => return Err(refused(&status)),
            }
            self.news = None;
        }
        let broke_off = || Status::unavailable("the watch broke off");
        Err(refused(&last.unwrap_or_else(broke_off)))
    }
}

/// Why a watch that broke off does not go on: what was told last, and why nobody else tells more.
fn after(last: Option<Status>, failure: Failure) -> Failure {
    match (last, failure) {
        (Some(last), Failure::Peer { code, message }) if !last.message().is_empty() => {
            let last = last.message();
            let message = format!("the watch broke off: {last}; {message}");
            Failure::Peer { code, message }
        }
        (_, failure) => failure,
    }
}

async fn watch_job(
    client: &mut eciton_proto::v1::swarm_client::SwarmClient<tonic::transport::Channel>,
    request: tonic::Request<WatchJobRequest>,
) -> Result<tonic::Response<Streaming<WatchJobResponse>>, Status> {
    client.watch_job(request).await
}
