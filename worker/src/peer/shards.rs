//! The calls of the service `Shards`: programs of any language that compute shards.
//!
//! What they mean is the business of [`eciton_jobs::run::pull`]; here are streams, their order and their silence, and
//! statuses.

use std::time::Duration;

use bytes::Bytes;
use eciton_jobs::run::pull::{Completion, PullError};
use eciton_proto::limits::COMPLETE_SILENCE_MS_MAX;
use eciton_proto::v1::complete_request::Part;
use eciton_proto::v1::shards_server::Shards;
use eciton_proto::v1::{
    CompleteRequest, CompleteResponse, FailRequest, FailResponse, PullRequest, PullResponse,
    ReleaseRequest, ReleaseResponse, RenewRequest, RenewResponse,
};
use tonic::{Code, Request, Response, Status, Streaming};

use super::Peer;
use crate::statuses::{invalid, of_job, status};

type ShardsAnswer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Shards for Peer {
    async fn pull(&self, request: Request<PullRequest>) -> ShardsAnswer<PullResponse> {
        let request = request.into_inner();
        answer(self.desk().pull(&request).await)
    }

    async fn renew(&self, request: Request<RenewRequest>) -> ShardsAnswer<RenewResponse> {
        let tokens = request.into_inner().tokens;
        let leases = self.desk().renew(&tokens).await;
        answer(leases.map(|leases| RenewResponse { leases }))
    }

    async fn complete(
        &self,
        request: Request<Streaming<CompleteRequest>>,
    ) -> ShardsAnswer<CompleteResponse> {
        let mut stream = Parts(request.into_inner());
        let Some(Part::Begin(begin)) = stream.next().await? else {
            return Err(invalid("expected `begin` as the first message"));
        };
        let mut completion = self.desk().complete(&begin).await.map_err(of_pull)?;
        loop {
            let part = tokio::select! {
                biased;
                lost = completion.lost() => return Err(of_pull(lost)),
                part = stream.next() => part?,
            };
            match part {
                Some(Part::Rows(rows)) => take(&mut completion, rows).await?,
                Some(Part::End(end)) => {
                    // Whoever waits for the answer with the stream open gets it.
                    return answer(completion.end(end).await);
                }
                Some(Part::Begin(_)) => {
                    return Err(invalid("expected `rows` or `end`, found another `begin`"));
                }
                None => return Err(invalid("expected `end` as the last message")),
            }
        }
    }

    async fn fail(&self, request: Request<FailRequest>) -> ShardsAnswer<FailResponse> {
        answer(self.desk().fail(request.into_inner()).await)
    }

    async fn release(&self, request: Request<ReleaseRequest>) -> ShardsAnswer<ReleaseResponse> {
        let tokens = request.into_inner().tokens;
        let released = self.desk().release(&tokens).await;
        answer(released.map(|()| ReleaseResponse {}))
    }
}

async fn take(completion: &mut Completion, rows: Bytes) -> Result<(), Status> {
    completion.rows(rows).await.map_err(of_pull)
}

/// The messages of a stream that completes a shard.
struct Parts(Streaming<CompleteRequest>);

impl Parts {
    /// The next one; `None` after the last.
    ///
    /// # Errors
    /// `DEADLINE_EXCEEDED` where nothing comes for too long; `INVALID_ARGUMENT` for a message without a part that is
    /// known; why the stream broke off.
    async fn next(&mut self) -> Result<Option<Part>, Status> {
        let within = Duration::from_millis(COMPLETE_SILENCE_MS_MAX.into());
        let silent = |_| {
            let what = format!("nothing came for {COMPLETE_SILENCE_MS_MAX} ms");
            status(Code::DeadlineExceeded, what)
        };
        let next = tokio::time::timeout(within, self.0.message());
        match next.await.map_err(silent)?? {
            Some(request) => match request.part {
                Some(part) => Ok(Some(part)),
                None => Err(invalid("part: expected `begin`, `rows` or `end`")),
            },
            None => Ok(None),
        }
    }
}

fn answer<T>(done: Result<T, PullError>) -> ShardsAnswer<T> {
    done.map(Response::new).map_err(of_pull)
}

#[allow(clippy::needless_pass_by_value, reason = "it is what `map_err` gives")]
fn of_pull(error: PullError) -> Status {
    let code = match &error {
        PullError::Invalid(_) => Code::InvalidArgument,
        PullError::Lost(_) => Code::Aborted,
        PullError::Stopped(_) => Code::FailedPrecondition,
        PullError::Slow(_) => Code::DeadlineExceeded,
        PullError::TooLarge(_) => Code::ResourceExhausted,
        PullError::Unavailable(_) => Code::Unavailable,
        PullError::Job(error) => return of_job(error),
        _ => Code::Internal,
    };
    status(code, error)
}

#[cfg(test)]
mod tests {
    use eciton_jobs::run::JobError;

    use super::*;

    #[test]
    fn codes_are_those_of_the_contract() {
        let code = |error: PullError| of_pull(error).code();
        let text = || "x".to_owned();
        assert_eq!(code(PullError::Invalid(text())), Code::InvalidArgument);
        assert_eq!(code(PullError::Lost(text())), Code::Aborted);
        assert_eq!(code(PullError::Stopped(text())), Code::FailedPrecondition);
        assert_eq!(code(PullError::Slow(text())), Code::DeadlineExceeded);
        assert_eq!(code(PullError::TooLarge(text())), Code::ResourceExhausted);
        assert_eq!(code(PullError::Unavailable(text())), Code::Unavailable);
        let absent = JobError::NotFound {
            name: text(),
            known: Vec::new(),
        };
        assert_eq!(code(PullError::Job(absent)), Code::NotFound);
    }
}
