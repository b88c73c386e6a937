//! The calls of `eciton.v1.Swarm` as a client of any language makes them.

use std::time::Duration;

use eciton_proto::limits::{JOB_FILE_LEN_MAX, JOB_NAME_LEN_MAX, PATH_LEN_MAX};
use eciton_proto::v1::swarm_client::SwarmClient;
use eciton_proto::v1::*;
use rustix::process::Signal;
use tonic::transport::Channel;
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};

use crate::peer::{Peer, block_on, refused, submission, until};
use crate::support::{Place, aggregation, measurements, upsert};

const ROWS: u32 = 2000;

fn place() -> Place {
    let place = Place::new();
    place.write("a.csv", measurements(ROWS));
    place
}

fn get(name: &str, view: JobView) -> GetJobRequest {
    GetJobRequest {
        name: name.to_owned(),
        view: view.into(),
    }
}

/// Whatever is wrong with a job file is told before anything is written, as `eciton submit` tells it.
#[test]
fn bad_submissions_are_refused_with_file_and_line() {
    let place = place();
    let peer = Peer::start(&place, &[]);
    block_on(async {
        let mut client = peer.client().await;
        let good = submission(&place, &aggregation("2KiB"));
        let file = |change: &dyn Fn(&mut JobFile)| {
            let mut request = good.clone();
            change(request.file.as_mut().unwrap());
            request
        };
        let bad_sql = aggregation("2KiB").replace("SELECT", "SELEKT");
        for (request, words) in [
            (SubmitJobRequest::default(), "file: expected a job file"),
            (
                file(&|f| f.text = " ".repeat(JOB_FILE_LEN_MAX + 1)),
                "file.text: at most 4194304 bytes",
            ),
            (
                file(&|f| f.name = "x".repeat(PATH_LEN_MAX + 1)),
                "file.name: at most 4096 bytes",
            ),
            (
                file(&|f| f.directory = "/x".repeat(PATH_LEN_MAX)),
                "file.directory: at most 4096 bytes",
            ),
            (
                file(&|f| f.directory = "here".to_owned()),
                "file.directory: expected an absolute path",
            ),
            (
                file(&|f| f.directory.clear()),
                "job.toml:4: key `source.paths`: expected an absolute path",
            ),
            (file(&|f| f.text.clear()), "job.toml:1: key `name`"),
            (file(&|f| f.text.push('[')), "job.toml:"),
            (
                file(&|f| f.text.clone_from(&bad_sql)),
                "job.toml:7: key `transform.sql`",
            ),
            (
                file(&|f| f.directory = "/nowhere".to_owned()),
                "job.toml:4: key `source.paths`: jobs that come over gRPC read only below",
            ),
        ] {
            let (code, message) = refused(client.submit_job(request).await);
            assert_eq!(code, Code::InvalidArgument, "{message}");
            assert!(message.starts_with(words), "`{words}`: {message}");
        }
        // A message over the limit, by the library.
        let huge = file(&|f| f.text = " ".repeat(9 * 1024 * 1024));
        let (code, _) = refused(client.submit_job(huge).await);
        assert!(
            matches!(code, Code::OutOfRange | Code::ResourceExhausted),
            "{code:?}"
        );
        assert!(!place.job_is_there("stations"));
        // The name belongs to another spec.
        client.submit_job(good).await.unwrap();
        let other = aggregation("2KiB").replace("sum(flow)", "max(flow)");
        let (code, message) = refused(client.submit_job(submission(&place, &other)).await);
        assert_eq!(code, Code::AlreadyExists);
        assert!(message.contains("merge.values"), "{message}");
    });
}

/// Whatever is wrong with another request is told before any work, with the code of the contract.
#[test]
fn bad_requests_are_refused_with_their_codes() {
    let place = place();
    let peer = Peer::start(&place, &[]);
    block_on(async {
        let mut client = peer.client().await;
        let good = submission(&place, &aggregation("2KiB"));
        let long = "x".repeat(JOB_NAME_LEN_MAX + 1);
        let name = |name: &str| name.to_owned();
        for (wrong, code) in [
            ("", Code::InvalidArgument),
            (&long, Code::InvalidArgument),
            ("absent", Code::NotFound),
        ] {
            let told = refused(client.get_job(get(wrong, JobView::Basic)).await);
            assert_eq!(told.0, code, "{told:?}");
            let request = WatchJobRequest {
                name: name(wrong),
                ..WatchJobRequest::default()
            };
            assert_eq!(refused(client.watch_job(request).await).0, code);
            assert_eq!(
                refused(
                    client
                        .cancel_job(CancelJobRequest { name: name(wrong) })
                        .await
                )
                .0,
                code
            );
            assert_eq!(
                refused(
                    client
                        .retry_job(RetryJobRequest { name: name(wrong) })
                        .await
                )
                .0,
                code
            );
        }
        client.submit_job(good).await.unwrap();
        let (code, message) = refused(client.get_job(get("absent", JobView::Basic)).await);
        assert_eq!(
            (code, message.as_str()),
            (
                Code::NotFound,
                "no job named `absent`: expected one of `stations`"
            )
        );
        let request = WatchJobRequest {
            name: name("stations"),
            view: JobView::Spec.into(),
            interval_ms: 0,
        };
        assert_eq!(
            refused(client.watch_job(request).await).0,
            Code::InvalidArgument
        );

        for request in [
            ListJobsRequest {
                view: JobView::Failures.into(),
                ..ListJobsRequest::default()
            },
            ListJobsRequest {
                name_prefix: long,
                ..ListJobsRequest::default()
            },
            ListJobsRequest {
                page_token: name("made-up"),
                ..ListJobsRequest::default()
            },
            ListJobsRequest {
                page_token: "x".repeat(300),
                ..ListJobsRequest::default()
            },
        ] {
            assert_eq!(
                refused(client.list_jobs(request).await).0,
                Code::InvalidArgument
            );
        }
        let request = ListWorkersRequest {
            page_token: name("made-up"),
            page_size: 1,
        };
        assert_eq!(
            refused(client.list_workers(request).await).0,
            Code::InvalidArgument
        );
    });
}

/// From a job file to its results; each view costs and tells what it says; submitting again joins.
#[test]
fn a_job_is_submitted_watched_and_told() {
    let (undisturbed, place) = (place(), place());
    undisturbed.write("job.toml", aggregation("2KiB"));
    undisturbed.call(&["run", "job.toml"]).done();
    let peer = Peer::start(&place, &[]);
    block_on(async {
        let mut client = peer.client().await;
        let good = submission(&place, &aggregation("2KiB"));
        let checked = SubmitJobRequest {
            check_only: true,
            ..good.clone()
        };
        let looked = client
            .submit_job(checked.clone())
            .await
            .unwrap()
            .into_inner();
        assert_eq!(
            (looked.number, looked.joined, looked.phase()),
            (0, false, JobPhase::Unspecified)
        );
        assert!(!place.job_is_there("stations"), "a check writes nothing");

        let recorded = client.submit_job(good.clone()).await.unwrap().into_inner();
        assert_eq!(
            (recorded.name.as_str(), recorded.number, recorded.joined),
            ("stations", 1, false)
        );
        assert_eq!(
            (recorded.phase(), recorded.shards),
            (JobPhase::Pending, looked.shards)
        );

        let request = WatchJobRequest {
            name: "stations".into(),
            interval_ms: 100,
            ..WatchJobRequest::default()
        };
        let mut news = client
            .watch_job(request.clone())
            .await
            .unwrap()
            .into_inner();
        let (mut done, mut last) = (0, JobStatus::default());
        while let Some(told) = news.message().await.unwrap() {
            last = told.job.unwrap();
            let counts = last.counts.unwrap();
            assert!(counts.done >= done, "news are never older");
            assert!(counts.done + counts.failed + counts.running <= last.shards);
            done = counts.done;
        }
        assert_eq!((last.phase(), done), (JobPhase::Done, recorded.shards));
        assert_eq!(last.counts.unwrap().rows_read, u64::from(ROWS));
        // A job that has ended gives one message.
        let mut news = client.watch_job(request).await.unwrap().into_inner();
        assert!(news.message().await.unwrap().is_some());
        assert!(news.message().await.unwrap().is_none());

        views_of_the_done(&mut client, recorded.shards).await;
        changes_of_the_done(&mut client, [good, checked]).await;
        the_worker(&mut client, peer.address(), recorded.shards).await;
    });
    assert_eq!(place.records("stations"), undisturbed.records("stations"));
}

/// Each view has what it says, and no more.
async fn views_of_the_done(client: &mut SwarmClient<Channel>, shards: u64) {
    let basic = told(client, JobView::Basic).await;
    assert_eq!((basic.store.as_str(), basic.shards), ("stations", shards));
    assert!(basic.counts.is_none() && basic.spec.is_none());
    assert!(basic.as_of_ms >= basic.finished_ms);
    let spec = told(client, JobView::Spec).await;
    assert_eq!(spec.spec.unwrap().name, "stations");
    assert!(spec.counts.is_none());
    let counts = told(client, JobView::Unspecified).await.counts.unwrap();
    assert_eq!((counts.done, counts.failed, counts.running), (shards, 0, 0));
}

/// Submitting it again joins; there is nothing to cancel or to retry.
async fn changes_of_the_done(client: &mut SwarmClient<Channel>, requests: [SubmitJobRequest; 2]) {
    for request in requests {
        let joined = client.submit_job(request).await.unwrap().into_inner();
        let found = (joined.number, joined.joined, joined.phase());
        assert_eq!(found, (1, true, JobPhase::Done));
    }
    let name = "stations".to_owned();
    let cancelled = client.cancel_job(CancelJobRequest { name: name.clone() });
    assert_eq!(refused(cancelled.await).0, Code::FailedPrecondition);
    let retried = client.retry_job(RetryJobRequest { name });
    assert_eq!(refused(retried.await).0, Code::FailedPrecondition);
}

/// The peer is the worker that did it.
async fn the_worker(client: &mut SwarmClient<Channel>, address: &str, shards: u64) {
    let workers = client.list_workers(ListWorkersRequest::default()).await;
    let workers = workers.unwrap().into_inner().workers;
    let [worker] = workers.try_into().unwrap();
    let how = (worker.kind(), worker.state());
    assert_eq!(how, (WorkerKind::Node, WorkerState::Running));
    assert_eq!(
        (worker.address.as_str(), worker.shards_done),
        (address, shards)
    );
    assert_eq!(worker.info.unwrap().slots, 1);
}

async fn told(client: &mut SwarmClient<Channel>, view: JobView) -> JobStatus {
    let answer = client.get_job(get("stations", view)).await.unwrap();
    answer.into_inner().job.unwrap()
}

/// Every job is on one page, whatever its length; a token belongs to its filter.
#[test]
fn jobs_come_in_pages() {
    let place = place();
    let peer = Peer::start(&place, &[]);
    block_on(async {
        let mut client = peer.client().await;
        let names = ["a.1", "a.2", "a.3", "b", "c", "c.1", "d"];
        for name in names {
            let text = upsert("64KiB").replace("\"levels\"", &format!("\"{name}\""));
            client.submit_job(submission(&place, &text)).await.unwrap();
        }
        for (filter, expected) in [
            ("", &names[..]),
            ("a.", &names[..3]),
            ("c", &names[4..6]),
            ("z", &[]),
        ] {
            for page_size in [1, 2, 3, 100] {
                let mut found: Vec<String> = Vec::new();
                let mut page_token = String::new();
                loop {
                    let request = ListJobsRequest {
                        page_size,
                        page_token: page_token.clone(),
                        name_prefix: filter.into(),
                        ..ListJobsRequest::default()
                    };
                    let page = client.list_jobs(request).await.unwrap().into_inner();
                    assert!(page.jobs.len() <= page_size as usize);
                    assert!(
                        page.jobs
                            .iter()
                            .all(|job| job.shards > 0 && job.counts.is_none())
                    );
                    found.extend(page.jobs.into_iter().map(|job| job.name));
                    if page.next_page_token.is_empty() {
                        break;
                    }
                    page_token = page.next_page_token;
                }
                assert_eq!(found, expected, "pages of {page_size} for `{filter}`");
            }
        }
        let first = ListJobsRequest {
            page_size: 1,
            ..ListJobsRequest::default()
        };
        let page_token = client
            .list_jobs(first)
            .await
            .unwrap()
            .into_inner()
            .next_page_token;
        let other = ListJobsRequest {
            page_token,
            name_prefix: "b".into(),
            ..ListJobsRequest::default()
        };
        assert_eq!(
            refused(client.list_jobs(other).await).0,
            Code::InvalidArgument
        );
        // All end sooner or later, and are then in that phase.
        let of = async |client: &mut SwarmClient<Channel>, phase: JobPhase| {
            let request = ListJobsRequest {
                phases: vec![phase.into()],
                view: JobView::Counts.into(),
                ..ListJobsRequest::default()
            };
            client.list_jobs(request).await.unwrap().into_inner().jobs
        };
        while of(&mut client, JobPhase::Done).await.len() < names.len() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let done = of(&mut client, JobPhase::Done).await;
        assert!(
            done.iter()
                .all(|job| job.counts.unwrap().done == job.shards)
        );
        assert!(of(&mut client, JobPhase::Cancelled).await.is_empty());
    });
}

/// A job whose file is wrong fails; mended and retried, it is done. A cancelled job goes on after a retry.
#[test]
fn jobs_are_cancelled_and_retried() {
    let place = place();
    let good = measurements(ROWS);
    place.write("a.csv", good.replacen("\n1000,s", "\n1000x,s", 1));
    let peer = Peer::start(&place, &[]);
    block_on(async {
        let mut client = peer.client().await;
        let typed = format!("{}[source.schema]\nid = \"int64\"\n", upsert("2KiB"));
        client.submit_job(submission(&place, &typed)).await.unwrap();
        let request = WatchJobRequest {
            name: "levels".into(),
            view: JobView::Failures.into(),
            interval_ms: 100,
        };
        let mut news = client
            .watch_job(request.clone())
            .await
            .unwrap()
            .into_inner();
        let mut last = JobStatus::default();
        while let Some(told) = news.message().await.unwrap() {
            last = told.job.unwrap();
        }
        assert_eq!(last.phase(), JobPhase::Failed);
        let [failure] = last.failures.clone().try_into().unwrap();
        assert_eq!(
            (failure.file.as_str(), failure.unit()),
            ("a.csv", ShardUnit::Bytes)
        );
        assert!(failure.error.contains("1000x"), "{failure:?}");

        // Something else than the failed shard has changed.
        place.write("a.csv", good.replacen("\n3,", "\n4,", 1));
        let retry = RetryJobRequest {
            name: "levels".into(),
        };
        let (code, message) = refused(client.retry_job(retry.clone()).await);
        assert_eq!(code, Code::FailedPrecondition);
        assert!(message.contains("a.csv"), "{message}");
        place.write("a.csv", &good);
        let retried = client.retry_job(retry.clone()).await.unwrap().into_inner();
        assert_eq!((retried.shards, retried.files_changed), (1, 1));
        assert_eq!(retried.files, ["a.csv"]);
        let job = retried.job.unwrap();
        assert!(
            job.counts.is_some() && job.failures.is_empty() && job.retries == 1,
            "{job:?}"
        );
        let mut news = client.watch_job(request).await.unwrap().into_inner();
        while let Some(told) = news.message().await.unwrap() {
            last = told.job.unwrap();
        }
        assert_eq!(last.phase(), JobPhase::Done);
        assert_eq!(
            refused(client.retry_job(retry).await).0,
            Code::FailedPrecondition
        );

        let slow = "name = \"slow\"\n[source]\nformat = \"range\"\nfrom = 0\nto = 400_000_000\nshard_len = 4_000_000\n\
                    [transform]\nsql = \"SELECT i % 3 AS k, i FROM source\"\n[merge]\nstore = \"slow\"\nkey = [\"k\"]\n\
                    [merge.values]\nn = \"count()\"\n";
        client.submit_job(submission(&place, slow)).await.unwrap();
        let cancel = CancelJobRequest {
            name: "slow".into(),
        };
        for _ in 0..2 {
            let job = client
                .cancel_job(cancel.clone())
                .await
                .unwrap()
                .into_inner()
                .job
                .unwrap();
            assert_eq!(job.phase(), JobPhase::Cancelled);
            assert!(job.counts.is_some() && job.finished_ms > 0);
        }
        let retry = RetryJobRequest {
            name: "slow".into(),
        };
        let job = client
            .retry_job(retry)
            .await
            .unwrap()
            .into_inner()
            .job
            .unwrap();
        assert!(
            matches!(job.phase(), JobPhase::Pending | JobPhase::Running),
            "{job:?}"
        );
        client.cancel_job(cancel).await.unwrap();
    });
}

async fn health(channel: &Channel, service: &str) -> i32 {
    let service = service.to_owned();
    let mut health = HealthClient::new(channel.clone());
    let answer = health.check(HealthCheckRequest { service }).await.unwrap();
    answer.into_inner().status
}

async fn reflected(channel: &Channel, ask: MessageRequest) -> ServerReflectionResponse {
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(ask),
    };
    let request = Request::new(tokio_stream_of(request));
    let mut client = ServerReflectionClient::new(channel.clone());
    let mut answers = client
        .server_reflection_info(request)
        .await
        .unwrap()
        .into_inner();
    answers.message().await.unwrap().unwrap()
}

fn tokio_stream_of<T>(item: T) -> impl tonic::codegen::tokio_stream::Stream<Item = T> {
    tonic::codegen::tokio_stream::iter([item])
}

/// Tools find out what there is, and whether it serves.
#[test]
fn reflection_and_health_are_answered() {
    let place = place();
    let peer = Peer::start(&place, &[]);
    block_on(async {
        let url = format!("http://{}", peer.address());
        let channel = Channel::from_shared(url).unwrap().connect().await.unwrap();
        for service in ["", "eciton.v1.Swarm", "eciton.v1.Shards"] {
            assert_eq!(health(&channel, service).await, 1, "{service} serves");
        }
        let services = reflected(&channel, MessageRequest::ListServices(String::new())).await;
        let Some(MessageResponse::ListServicesResponse(services)) = services.message_response
        else {
            panic!("{services:?}")
        };
        let names: Vec<&str> = services
            .service
            .iter()
            .map(|service| service.name.as_str())
            .collect();
        assert!(
            names.contains(&"eciton.v1.Swarm") && names.contains(&"grpc.health.v1.Health"),
            "{names:?}"
        );
        let symbol = MessageRequest::FileContainingSymbol("eciton.v1.Swarm.WatchJob".to_owned());
        let found = reflected(&channel, symbol).await.message_response;
        assert!(
            matches!(found, Some(MessageResponse::FileDescriptorResponse(_))),
            "{found:?}"
        );
    });
}

/// After a signal nothing new is taken, while looking goes on to the end: a watch tells of the job's, if that comes
/// first.
#[test]
fn a_peer_that_drains_says_so() {
    let place = Place::new();
    // One shard that takes long enough to be looked at while the peer drains.
    let slow = "name = \"slow\"\n[source]\nformat = \"range\"\nfrom = 0\nto = 20_000_000\nshard_len = 20_000_000\n\
                [transform]\nsql = \"SELECT i % 3 AS k, i FROM source\"\n[merge]\nstore = \"slow\"\nkey = [\"k\"]\n\
                [merge.values]\nn = \"count()\"\n";
    let peer = Peer::start(&place, &["--drain", "10m"]);
    block_on(async {
        let mut client = peer.client().await;
        let channel = Channel::from_shared(format!("http://{}", peer.address())).unwrap();
        let channel = channel.connect().await.unwrap();
        client.submit_job(submission(&place, slow)).await.unwrap();
        let request = WatchJobRequest {
            name: "slow".into(),
            interval_ms: 100,
            ..WatchJobRequest::default()
        };
        let mut news = client
            .watch_job(request.clone())
            .await
            .unwrap()
            .into_inner();
        loop {
            let told = news.message().await.unwrap().unwrap().job.unwrap();
            if told.counts.unwrap().running == 1 {
                break;
            }
            assert_eq!(told.finished_ms, 0, "the job ended too soon to look at it");
        }
        peer.send(Signal::TERM);
        while health(&channel, "").await != 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(health(&channel, "eciton.v1.Swarm").await, 2);
        let (code, _) = refused(client.submit_job(submission(&place, slow)).await);
        assert_eq!(code, Code::Unavailable);
        let (code, told) = refused(client.watch_job(request.clone()).await);
        assert_eq!(code, Code::Unavailable);
        assert_eq!(told, "this worker is leaving; ask another one");
        let job = client
            .get_job(get("slow", JobView::Counts))
            .await
            .unwrap()
            .into_inner()
            .job;
        assert_eq!(job.unwrap().name, "slow");
        let workers = client
            .list_workers(ListWorkersRequest::default())
            .await
            .unwrap()
            .into_inner();
        assert_eq!(workers.workers[0].state(), WorkerState::Draining);
        // What it was at was the last shard: the watch ends with the job.
        let mut last = JobStatus::default();
        while let Some(told) = news.message().await.unwrap() {
            last = told.job.unwrap();
        }
        assert_eq!(last.phase(), JobPhase::Done);
    });
    peer.ended().done();
    assert_eq!(place.job("slow")["state"], "done");
}

/// A watcher that does not read holds up nobody, and finds the newest when it does.
#[test]
fn a_slow_reader_finds_the_newest() {
    let place = place();
    let peer = Peer::start(&place, &[]);
    block_on(async {
        let mut client = peer.client().await;
        client
            .submit_job(submission(&place, &aggregation("2KiB")))
            .await
            .unwrap();
        let request = WatchJobRequest {
            name: "stations".into(),
            interval_ms: 100,
            ..WatchJobRequest::default()
        };
        let mut news = client.watch_job(request).await.unwrap().into_inner();
        until(|| place.job("stations")["state"] == "done");
        let mut messages = 0;
        let mut last = JobStatus::default();
        while let Some(told) = news.message().await.unwrap() {
            last = told.job.unwrap();
            messages += 1;
        }
        assert_eq!(last.phase(), JobPhase::Done);
        assert!(messages >= 1);
    });
}
