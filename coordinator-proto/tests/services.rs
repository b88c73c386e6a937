//! Generated clients against generated servers, over the bytes that travel: framing, streams, statuses, sizes.
//! In one process and without a connection; whether results are right is the program's to test.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::pin::Pin;
use std::time::Duration;

use eciton_proto::limits::{REQUEST_LEN_MAX, RESPONSE_LEN_MAX, ROWS_CHUNK_LEN_MAX};
use eciton_proto::prost::Message as _;
use eciton_proto::prost::bytes::Bytes;
use eciton_proto::v1::complete_request::Part;
use eciton_proto::v1::shards_client::ShardsClient;
use eciton_proto::v1::shards_server::{Shards, ShardsServer};
use eciton_proto::v1::swarm_client::SwarmClient;
use eciton_proto::v1::swarm_server::{Swarm, SwarmServer};
use eciton_proto::v1::*;
use tokio::sync::mpsc;
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::tokio_stream::{self, Stream, StreamExt};
use tonic::{Code, Request, Response, Status, Streaming};

type Answer<T> = Result<Response<T>, Status>;

/// Answers with what shows that the request has arrived.
struct Echo;

#[allow(clippy::unnecessary_wraps, reason = "as the fields have it")]
fn job(name: &str, phase: JobPhase) -> Option<JobStatus> {
    Some(JobStatus {
        name: name.to_owned(),
        phase: phase.into(),
        ..JobStatus::default()
    })
}

#[tonic::async_trait]
impl Swarm for Echo {
    async fn submit_job(&self, request: Request<SubmitJobRequest>) -> Answer<SubmitJobResponse> {
        let token = request.metadata().get("authorization");
        if token.and_then(|token| token.to_str().ok()) != Some("Bearer it-is-me") {
            return Err(Status::unauthenticated("expected a token"));
        }
        let file = request.into_inner().file.unwrap_or_default();
        Ok(Response::new(SubmitJobResponse {
            name: file.name,
            shards: file.text.len() as u64,
            ..SubmitJobResponse::default()
        }))
    }

    async fn get_job(&self, request: Request<GetJobRequest>) -> Answer<GetJobResponse> {
        let name = request.into_inner().name;
        if name == "absent" {
            return Err(Status::not_found("no job named `absent`"));
        }
        let job = job(&name, JobPhase::Done);
        Ok(Response::new(GetJobResponse { job }))
    }

    async fn list_jobs(&self, request: Request<ListJobsRequest>) -> Answer<ListJobsResponse> {
        Ok(Response::new(ListJobsResponse {
            jobs: vec![],
            next_page_token: request.into_inner().page_token,
        }))
    }

    type WatchJobStream = Pin<Box<dyn Stream<Item = Result<WatchJobResponse, Status>> + Send>>;

    async fn watch_job(&self, request: Request<WatchJobRequest>) -> Answer<Self::WatchJobStream> {
        let name = request.into_inner().name;
        let phases = [JobPhase::Pending, JobPhase::Running, JobPhase::Done];
        let news = phases.map(|phase| {
            let job = job(&name, phase);
            Ok(WatchJobResponse { job })
        });
        Ok(Response::new(Box::pin(tokio_stream::iter(news))))
    }

    async fn cancel_job(&self, request: Request<CancelJobRequest>) -> Answer<CancelJobResponse> {
        let job = job(&request.into_inner().name, JobPhase::Cancelled);
        Ok(Response::new(CancelJobResponse { job }))
    }

    async fn retry_job(&self, request: Request<RetryJobRequest>) -> Answer<RetryJobResponse> {
        Ok(Response::new(RetryJobResponse {
            job: job(&request.into_inner().name, JobPhase::Running),
            ..RetryJobResponse::default()
        }))
    }

    async fn replace_job(&self, request: Request<ReplaceJobRequest>) -> Answer<ReplaceJobResponse> {
        let name = request.into_inner().file.unwrap_or_default().name;
        Ok(Response::new(ReplaceJobResponse {
            name,
            replaced: 7,
            ..ReplaceJobResponse::default()
        }))
    }

    async fn remove_job(&self, request: Request<RemoveJobRequest>) -> Answer<RemoveJobResponse> {
        let request = request.into_inner();
        Ok(Response::new(RemoveJobResponse {
            name: request.name,
            results_dropped: request.with_results,
            ..RemoveJobResponse::default()
        }))
    }

    async fn list_workers(
        &self,
        request: Request<ListWorkersRequest>,
    ) -> Answer<ListWorkersResponse> {
        let size = request.into_inner().page_size as usize;
        Ok(Response::new(ListWorkersResponse {
            workers: vec![Worker::default(); size],
            ..ListWorkersResponse::default()
        }))
    }
}

#[tonic::async_trait]
impl Shards for Echo {
    async fn pull(&self, request: Request<PullRequest>) -> Answer<PullResponse> {
        let tasks = request.into_inner().tasks_max as usize;
        Ok(Response::new(PullResponse {
            tasks: vec![TaskSpec::default(); tasks],
            ..PullResponse::default()
        }))
    }

    async fn renew(&self, request: Request<RenewRequest>) -> Answer<RenewResponse> {
        let tokens = request.into_inner().tokens;
        let leases = tokens.iter().map(|_| RenewedLease::default());
        Ok(Response::new(RenewResponse {
            leases: leases.collect(),
        }))
    }

    /// Counts rows, and stops at once for the token `lost`.
    async fn complete(
        &self,
        request: Request<Streaming<CompleteRequest>>,
    ) -> Answer<CompleteResponse> {
        let mut parts = request.into_inner();
        let mut len = 0;
        while let Some(message) = parts.message().await? {
            match message.part {
                Some(Part::Begin(begin)) if begin.token == *b"lost" => {
                    return Err(Status::aborted("the lease was lost"));
                }
                Some(Part::Begin(_)) => {}
                Some(Part::Rows(rows)) => len += rows.len() as u64,
                Some(Part::End(end)) => {
                    assert_eq!(end.rows_len, len);
                    return Ok(Response::new(CompleteResponse {
                        outcome: CompleteOutcome::Done.into(),
                        records_merged: len,
                        ..CompleteResponse::default()
                    }));
                }
                None => return Err(Status::invalid_argument("an unknown part")),
            }
        }
        Err(Status::invalid_argument("the stream has no end"))
    }

    async fn fail(&self, request: Request<FailRequest>) -> Answer<FailResponse> {
        Ok(Response::new(FailResponse {
            failed: !request.into_inner().transient,
            attempts: 1,
        }))
    }

    async fn release(&self, _: Request<ReleaseRequest>) -> Answer<ReleaseResponse> {
        Ok(Response::new(ReleaseResponse {}))
    }
}

fn swarm() -> SwarmClient<SwarmServer<Echo>> {
    let server = SwarmServer::new(Echo).max_decoding_message_size(REQUEST_LEN_MAX);
    SwarmClient::new(server).max_decoding_message_size(RESPONSE_LEN_MAX)
}

fn shards() -> ShardsClient<ShardsServer<Echo>> {
    let server = ShardsServer::new(Echo).max_decoding_message_size(REQUEST_LEN_MAX);
    ShardsClient::new(server).max_decoding_message_size(RESPONSE_LEN_MAX)
}

fn begin(token: &[u8]) -> CompleteRequest {
    CompleteRequest {
        part: Some(Part::Begin(CompleteBegin {
            token: token.to_vec(),
            format: RowsFormat::JsonLines.into(),
            started_ms: 0,
        })),
    }
}

fn rows(len: usize) -> CompleteRequest {
    let part = Part::Rows(Bytes::from(vec![b'x'; len]));
    CompleteRequest { part: Some(part) }
}

fn end(rows_len: u64) -> CompleteRequest {
    CompleteRequest {
        part: Some(Part::End(CompleteEnd {
            rows_len,
            ..CompleteEnd::default()
        })),
    }
}

#[tokio::test]
async fn every_call_of_swarm_arrives() -> Result<(), Status> {
    let mut swarm = swarm();
    let name = || "delays".to_owned();
    let got = swarm
        .get_job(GetJobRequest {
            name: name(),
            view: 0,
        })
        .await?;
    assert_eq!(got.into_inner().job, job("delays", JobPhase::Done));
    let listed = swarm.list_jobs(ListJobsRequest {
        page_token: "next".to_owned(),
        ..ListJobsRequest::default()
    });
    assert_eq!(listed.await?.into_inner().next_page_token, "next");
    let cancelled = swarm.cancel_job(CancelJobRequest { name: name() }).await?;
    let cancelled = cancelled.into_inner().job;
    assert_eq!(cancelled, job("delays", JobPhase::Cancelled));
    let retried = swarm.retry_job(RetryJobRequest { name: name() }).await?;
    assert_eq!(retried.into_inner().job, job("delays", JobPhase::Running));
    let replaced = swarm.replace_job(ReplaceJobRequest {
        file: Some(JobFile {
            name: name(),
            ..JobFile::default()
        }),
    });
    let replaced = replaced.await?.into_inner();
    assert_eq!((replaced.name, replaced.replaced), (name(), 7));
    let removed = swarm.remove_job(RemoveJobRequest {
        name: name(),
        with_results: true,
        force: false,
    });
    let removed = removed.await?.into_inner();
    assert_eq!((removed.name, removed.results_dropped), (name(), true));
    let workers = swarm.list_workers(ListWorkersRequest {
        page_size: 3,
        ..ListWorkersRequest::default()
    });
    assert_eq!(workers.await?.into_inner().workers.len(), 3);
    Ok(())
}

#[tokio::test]
async fn who_brings_a_token_may_submit() -> Result<(), Status> {
    let request = SubmitJobRequest {
        file: Some(JobFile {
            name: "delays.toml".to_owned(),
            ..JobFile::default()
        }),
        check_only: false,
    };
    let refused = swarm().submit_job(request.clone()).await;
    assert_eq!(
        refused.map_err(|status| status.code()).err(),
        Some(Code::Unauthenticated)
    );
    let mut request = Request::new(request);
    let token = "Bearer it-is-me".parse().expect("plain ASCII");
    request.metadata_mut().insert("authorization", token);
    let submitted = swarm().submit_job(request).await?;
    assert_eq!(submitted.into_inner().name, "delays.toml");
    Ok(())
}

#[tokio::test]
async fn a_status_keeps_its_code_and_its_words() {
    let request = GetJobRequest {
        name: "absent".to_owned(),
        view: 0,
    };
    let status = swarm().get_job(request).await.expect_err("it is absent");
    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(status.message(), "no job named `absent`");
}

#[tokio::test]
async fn a_watch_tells_every_phase_and_ends() -> Result<(), Status> {
    let request = WatchJobRequest {
        name: "delays".to_owned(),
        ..WatchJobRequest::default()
    };
    let mut news = swarm().watch_job(request).await?.into_inner();
    let mut phases = Vec::new();
    while let Some(message) = news.message().await? {
        phases.push(message.job.map(|job| job.phase()));
    }
    let expected = [JobPhase::Pending, JobPhase::Running, JobPhase::Done];
    assert_eq!(phases, expected.map(Some));
    Ok(())
}

#[tokio::test]
async fn every_call_of_shards_arrives() -> Result<(), Status> {
    let mut shards = shards();
    let pulled = shards.pull(PullRequest {
        tasks_max: 2,
        ..PullRequest::default()
    });
    assert_eq!(pulled.await?.into_inner().tasks.len(), 2);
    let tokens = vec![vec![1], vec![2], vec![3]];
    let renewed = shards.renew(RenewRequest {
        tokens: tokens.clone(),
    });
    assert_eq!(renewed.await?.into_inner().leases.len(), 3);
    let failed = shards.fail(FailRequest::default()).await?;
    assert!(failed.into_inner().failed);
    shards.release(ReleaseRequest { tokens }).await?;
    Ok(())
}

#[tokio::test]
async fn rows_arrive_in_chunks() -> Result<(), Status> {
    let chunks = 20_u64;
    let len = ROWS_CHUNK_LEN_MAX as u64 * chunks;
    let parts = tokio_stream::once(begin(b"held"))
        .chain(tokio_stream::iter(
            (0..chunks).map(|_| rows(ROWS_CHUNK_LEN_MAX)),
        ))
        .chain(tokio_stream::once(end(len)));
    let done = shards().complete(parts).await?.into_inner();
    assert_eq!(
        (done.outcome(), done.records_merged),
        (CompleteOutcome::Done, len)
    );
    Ok(())
}

/// The end of the stream alone does not tell whether all rows were sent.
#[tokio::test]
async fn rows_without_their_end_are_told_apart() {
    let parts = tokio_stream::iter([begin(b"held"), rows(10)]);
    let refused = shards().complete(parts).await;
    let code = refused.map_err(|status| status.code());
    assert_eq!(code.err(), Some(Code::InvalidArgument));
}

/// Who has lost its lease hears so while it still has rows to send.
#[tokio::test]
async fn a_lost_lease_ends_the_stream_early() {
    let (send, receive) = mpsc::channel(1);
    send.send(begin(b"lost")).await.expect("somebody listens");
    let mut shards = shards();
    let lost = shards.complete(ReceiverStream::new(receive));
    // Only so that a stream that is waited for to its end fails instead of hanging.
    let lost = tokio::time::timeout(Duration::from_mins(1), lost).await;
    let lost = lost.expect("an answer while the stream is open");
    let code = lost.map_err(|status| status.code());
    assert_eq!(code.err(), Some(Code::Aborted));
    drop(send);
}

/// A request of the largest size passes and one of a byte more does not; the message says so.
#[tokio::test]
async fn sizes_are_held_at_their_edge() -> Result<(), Status> {
    let request = |len: usize| {
        let file = JobFile {
            text: "x".repeat(len),
            ..JobFile::default()
        };
        let mut request = Request::new(SubmitJobRequest {
            file: Some(file),
            check_only: false,
        });
        let token = "Bearer it-is-me".parse().expect("plain ASCII");
        request.metadata_mut().insert("authorization", token);
        request
    };
    let around = request(REQUEST_LEN_MAX).get_ref().encoded_len() - REQUEST_LEN_MAX;
    let largest = REQUEST_LEN_MAX - around;
    assert_eq!(request(largest).get_ref().encoded_len(), REQUEST_LEN_MAX);
    let submitted = swarm().submit_job(request(largest)).await?.into_inner();
    assert_eq!(submitted.shards, largest as u64);
    let refused = swarm().submit_job(request(largest + 1)).await;
    let refused = refused.expect_err("it is too large");
    assert_eq!(refused.code(), Code::OutOfRange, "{refused}");
    assert!(
        refused.message().contains(&REQUEST_LEN_MAX.to_string()),
        "{refused}"
    );
    Ok(())
}
