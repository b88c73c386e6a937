//! A job in this process whose spans go to a collector in this process.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::{HashMap, HashSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use eciton_engine::{Db, Options};
use eciton_jobs::run::{End, RunOptions, run, submit};
use eciton_jobs::spec::JobFile;
use eciton_otlp::proto::opentelemetry::proto::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use eciton_otlp::proto::opentelemetry::proto::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use eciton_otlp::proto::opentelemetry::proto::common::v1::any_value::Value;
use eciton_otlp::proto::opentelemetry::proto::trace::v1::Span;
use eciton_otlp::proto::opentelemetry::proto::trace::v1::status::StatusCode;
use eciton_otlp::{Exporter, Headers, OtlpError, Process, QUEUE_MAX};
use eciton_trace::{Spans, is_own};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tonic::{Request, Response, Status};
use tracing::debug_span;
use tracing::instrument::WithSubscriber as _;
use tracing_subscriber::filter::{FilterFn, LevelFilter};
use tracing_subscriber::prelude::*;

/// Shards of the job; each has a file.
const SHARDS: usize = 4;
/// The file of the shard that fails.
const BAD: &str = "c.csv";
/// Fields that spans have. Nothing else may leave the process.
const FIELDS: [&str; 10] = [
    "job",
    "number",
    "submitted_ms",
    "state",
    "shard",
    "rows",
    "shards",
    "conflicts",
    "transaction",
    "position",
];
/// Longer than anything here takes.
const LONG: Duration = Duration::from_mins(1);

/// Keeps what it is sent, and tells of each refusal.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Collected>>, Arc<Notify>);

#[derive(Default)]
struct Collected {
    spans: Vec<Span>,
    resources: HashSet<(String, String)>,
    authorizations: HashSet<String>,
    /// The answer to the next calls, if they are refused.
    refusal: Option<Status>,
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut collected = self.0.lock();
        if let Some(refusal) = &collected.refusal {
            self.1.notify_one();
            return Err(refusal.clone());
        }
        if let Some(header) = request.metadata().get("authorization") {
            let header = header.to_str().unwrap().to_owned();
            collected.authorizations.insert(header);
        }
        for of_resource in request.into_inner().resource_spans {
            for attribute in of_resource.resource.unwrap().attributes {
                if let Some(Value::StringValue(value)) = attribute.value.unwrap().value {
                    collected.resources.insert((attribute.key, value));
                }
            }
            let scopes = of_resource.scope_spans.into_iter();
            collected.spans.extend(scopes.flat_map(|scope| scope.spans));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    /// Collects in this process from now on; gives where.
    async fn listen(&self) -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let incoming = futures::stream::unfold(listener, |listener| async {
            let accepted = listener.accept().await.map(|(stream, _)| stream);
            Some((accepted, listener))
        });
        let server = tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(self.clone()))
            .serve_with_incoming(incoming);
        tokio::spawn(server);
        address
    }
}

fn process() -> Process {
    Process {
        version: "1.2.3".to_owned(),
        name: "node/7".to_owned(),
    }
}

fn exporter(address: SocketAddr, headers: &str) -> Exporter {
    let url = format!("http://{address}");
    Exporter::start(&url, Headers::parse(headers).unwrap(), process()).unwrap()
}

/// Everything that ends in this process and is ours goes to the exporter.
fn layers(exporter: &Exporter) -> impl tracing::Subscriber + Send + Sync + use<> {
    let own = FilterFn::new(is_own).with_max_level_hint(LevelFilter::DEBUG);
    let spans = Spans::new(Some(exporter.sink())).with_filter(own);
    tracing_subscriber::registry().with(spans)
}

/// A job of four files, of which one cannot be read as it was found to be.
fn job(folder: &Path) -> JobFile {
    for file in ["a.csv", "b.csv", BAD, "d.csv"] {
        std::fs::write(folder.join(file), "k,v\nx,1\ny,2\n").unwrap();
    }
    let text = "name = \"traced\"\n[source]\nformat = \"csv\"\npaths = [\"*.csv\"]\n\
                [source.schema]\nk = \"string\"\nv = \"int64\"\n[merge]\nstore = \"traced\"\nkey = [\"k\"]\n\
                [merge.values]\ntotal = \"sum(v)\"\n";
    let path = folder.join("job.toml");
    std::fs::write(&path, text).unwrap();
    JobFile::load(&path).unwrap()
}

fn text(span: &Span, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|field| field.key == key)?;
    match found.value.clone()?.value? {
        Value::StringValue(text) => Some(text),
        Value::IntValue(number) => Some(number.to_string()),
        other => panic!("{key}: {other:?}"),
    }
}

fn is_error(span: &Span) -> bool {
    let status = span.status.clone().unwrap_or_default();
    status.code == StatusCode::Error as i32
}

/// What failed says so, and why; nothing else does.
fn check_failures(root: &Span, shards: &[&Span], commits: &[&Span]) {
    let failed: Vec<&&Span> = shards.iter().filter(|shard| is_error(shard)).collect();
    let [failed] = &failed[..] else {
        panic!("{failed:#?}");
    };
    assert_eq!(text(failed, "shard").unwrap(), "2");
    let message = &failed.status.as_ref().unwrap().message;
    assert!(message.contains(BAD), "{message}");
    assert!(
        is_error(root) && text(root, "state").unwrap() == "failed",
        "{root:#?}"
    );
    assert_eq!(text(root, "job").unwrap(), "traced");
    assert!(
        !commits.iter().any(|commit| is_error(commit)),
        "{commits:#?}"
    );
}

#[test]
fn a_collector_gets_the_job_its_shards_and_its_commits() {
    let folder = tempfile::tempdir().unwrap();
    let file = job(folder.path());
    let collector = Collector::default();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let address = runtime.block_on(collector.listen());
    let mut exporter = exporter(address, "authorization=Bearer%20key");
    // Threads of the job trace, too: there is one job in this process.
    tracing::subscriber::set_global_default(layers(&exporter)).unwrap();
    runtime.block_on(async {
        let options = Options {
            create: true,
            ..Options::default()
        };
        let db = Db::open(&folder.path().join("db"), options).await.unwrap();
        submit(&db, &file).await.unwrap();
        // As long as it was, and no number.
        std::fs::write(folder.path().join(BAD), "k,v\nx,1\ny,?\n").unwrap();
        let options = RunOptions {
            workers: 2,
            ..RunOptions::default()
        };
        let report = run(&db, "traced", options).await.unwrap();
        assert_eq!(report.end, End::Failed);
        assert_eq!(report.status.shards.failed, 1);
        db.close().await.unwrap();
    });
    exporter.end(LONG);
    assert_eq!(exporter.dropped(), 0);
    let collected = collector.0.lock();
    let spans = &collected.spans;
    assert_eq!(exporter.exported(), spans.len() as u64);
    let named = |name: &str| -> Vec<&Span> {
        let found = spans.iter().filter(|span| span.name == name);
        found.collect()
    };
    let (jobs, shards, commits) = (named("job"), named("shard"), named("commit"));
    assert_eq!((jobs.len(), shards.len()), (1, SHARDS), "{spans:#?}");
    assert!(!commits.is_empty(), "{spans:#?}");
    // One trace, and ids that are linked.
    let root = jobs[0];
    assert!(root.parent_span_id.is_empty());
    let by_id: HashMap<&[u8], &Span> = spans
        .iter()
        .map(|span| (span.span_id.as_slice(), span))
        .collect();
    assert_eq!(by_id.len(), spans.len(), "each has an id of its own");
    for span in spans {
        assert_eq!((span.trace_id.len(), span.span_id.len()), (16, 8));
        assert_eq!(span.trace_id, root.trace_id, "{span:#?}");
        assert!(
            span.start_time_unix_nano <= span.end_time_unix_nano,
            "{span:#?}"
        );
        for field in &span.attributes {
            assert!(
                FIELDS.contains(&field.key.as_str()),
                "{}: {}",
                span.name,
                field.key
            );
        }
    }
    for shard in &shards {
        assert_eq!(shard.parent_span_id, root.span_id, "{shard:#?}");
    }
    for commit in &commits {
        let parent = by_id[commit.parent_span_id.as_slice()];
        assert!(
            ["job", "shard"].contains(&parent.name.as_str()),
            "{commit:#?}"
        );
        assert_eq!(text(commit, "transaction").unwrap().len(), 32);
        assert!(text(commit, "position").is_some(), "{commit:#?}");
    }
    let committed: u64 = commits
        .iter()
        .map(|commit| text(commit, "shards").unwrap().parse::<u64>().unwrap())
        .sum();
    assert_eq!(committed, SHARDS as u64 - 1);
    check_failures(root, &shards, &commits);
    for (key, value) in [
        ("service.name", "eciton"),
        ("service.version", "1.2.3"),
        ("service.instance.id", "node/7"),
    ] {
        let expected = (key.to_owned(), value.to_owned());
        assert!(collected.resources.contains(&expected), "{key}");
    }
    assert_eq!(collected.authorizations, ["Bearer key".to_owned()].into());
}

/// Whoever ends spans goes on at once; what there is no room for is counted.
#[tokio::test]
async fn a_collector_that_is_away_holds_nobody_up() {
    // Takes connections, and never says anything.
    let mute = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let mut exporter = exporter(mute.local_addr().unwrap(), "");
    let count = 4 * QUEUE_MAX as u64;
    async {
        for _ in 0..count {
            drop(debug_span!(target: "eciton", "span"));
        }
    }
    .with_subscriber(layers(&exporter))
    .await;
    assert!(exporter.dropped() > 0, "{count} spans fit into {QUEUE_MAX}");
    let began = Instant::now();
    exporter.end(Duration::from_millis(50));
    assert!(began.elapsed() < LONG, "it waits for nobody");
    assert_eq!((exporter.exported(), exporter.dropped()), (0, count));
}

/// What a collector cannot take now comes again; what it refuses is dropped.
#[tokio::test(flavor = "multi_thread")]
async fn spans_wait_for_a_collector_that_comes_back() {
    let collector = Collector::default();
    collector.0.lock().refusal = Some(Status::unavailable("later"));
    let mut sent = exporter(collector.listen().await, "");
    async { drop(debug_span!(target: "eciton", "first")) }
        .with_subscriber(layers(&sent))
        .await;
    collector.1.notified().await;
    collector.0.lock().refusal = None;
    sent.end(LONG);
    assert_eq!((sent.exported(), sent.dropped()), (1, 0));
    collector.0.lock().refusal = Some(Status::unauthenticated("no token"));
    let mut refused = exporter(collector.listen().await, "");
    async { drop(debug_span!(target: "eciton", "second")) }
        .with_subscriber(layers(&refused))
        .await;
    refused.end(LONG);
    assert_eq!((refused.exported(), refused.dropped()), (0, 1));
    assert_eq!(collector.0.lock().spans.len(), 1);
}

#[test]
fn what_is_no_address_of_a_collector_is_refused_without_repeating_it() {
    let start = |url: &str| Exporter::start(url, Headers::default(), process());
    for url in [
        "",
        "collector",
        "ftp://collector",
        "http://",
        "grpc://collector:4317",
    ] {
        assert!(matches!(start(url), Err(OtlpError::Address)), "{url}");
    }
    let Err(error) = start("http://user:s3cret@collector:4317") else {
        panic!("an address with a password is taken");
    };
    assert!(matches!(error, OtlpError::Credentials));
    assert!(!error.to_string().contains("s3cret"), "{error}");
}
