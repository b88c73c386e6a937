//! The program with a collector, where it was built for one:
//! `cargo test --workspace --features eciton-worker/otlp --test program -- otlp::`.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use eciton_otlp::proto::opentelemetry::proto::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use eciton_otlp::proto::opentelemetry::proto::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use rustix::process::Signal;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tonic::{Request, Response, Status};

use crate::redis::RedisServer;
use crate::support::{Ended, Place, aggregation, measurements};
use crate::swarm::{Worker, free_address, scraped, wait_for};

/// Keeps what it is sent.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.lock().unwrap().push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    /// Collects in this process from now on; gives where.
    fn listen(&self, runtime: &Runtime) -> SocketAddr {
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
        let listener = listener.unwrap();
        let address = listener.local_addr().unwrap();
        let incoming = futures::stream::unfold(listener, |listener| async {
            let accepted = listener.accept().await.map(|(stream, _)| stream);
            Some((accepted, listener))
        });
        let server = tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(self.clone()))
            .serve_with_incoming(incoming);
        runtime.spawn(server);
        address
    }
}

/// Two workers and a run agree on the trace of a job without a word, and send what they have when they end.
#[test]
fn processes_send_spans_of_one_trace_and_no_secret() {
    let collector = Collector::default();
    let runtime = Runtime::new().unwrap();
    let url = format!("http://{}", collector.listen(&runtime));
    let redis = RedisServer::start();
    let place = Place::new();
    place.write("a.csv", measurements(2000));
    place.write("job.toml", aggregation("2KiB"));
    let metrics = free_address();
    let at = metrics.to_string();
    let secret = "s3cret-of-the-collector";
    let mut workers = Vec::new();
    for more in [&["--metrics", &at][..], &[]] {
        let mut command = place.command(&[
            "worker",
            "--create",
            "--slots",
            "1",
            "--redis",
            &redis.url(),
        ]);
        command
            .args(["--otlp", &url])
            .args(more)
            .env(
                "OTEL_EXPORTER_OTLP_HEADERS",
                format!("authorization={secret}"),
            )
            .stderr(std::process::Stdio::piped());
        workers.push(Worker::of(command.spawn().unwrap()));
    }
    place
        .call(&["submit", "job.toml", "--redis", &redis.url()])
        .done();
    wait_for(&place, &["stations"]);
    let mut run = place.command(&["run", "job.toml", "--redis", &redis.url()]);
    run.env("ECITON_OTLP", &url);
    Ended::from(run.output().unwrap()).done();
    let told = "eciton_spans_exported_total ";
    while !scraped(metrics).contains(told) {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    for worker in workers {
        worker.send(Signal::TERM);
        worker.ended().done();
    }
    let collected = collector.0.lock().unwrap();
    let text = format!("{collected:?}");
    for hidden in [secret, &redis.url(), "a.csv"] {
        assert!(!text.contains(hidden), "{hidden}: {text}");
    }
    let resources = || collected.iter().flat_map(|request| &request.resource_spans);
    let spans = || {
        let scopes = resources().flat_map(|resource| &resource.scope_spans);
        scopes.flat_map(|scope| &scope.spans)
    };
    let traces: HashSet<&Vec<u8>> = spans().map(|span| &span.trace_id).collect();
    assert_eq!(traces.len(), 1, "{text}");
    let jobs = spans().filter(|span| span.name == "job").count();
    let processes: HashSet<String> = resources()
        .map(|resource| format!("{:?}", resource.resource))
        .collect();
    assert!(jobs >= 2 && processes.len() >= 2, "{jobs} of {processes:?}");
    let shards = spans().filter(|span| span.name == "shard").count() as u64;
    let total = place.job("stations")["shards"]["total"].as_u64().unwrap();
    assert!(shards >= total, "{shards} of {total}");
}

/// An address that is none is told before anything is done, and a collector that is away stops nothing.
#[test]
fn a_run_does_not_need_its_collector() {
    let place = Place::new();
    place.write("a.csv", measurements(200));
    place.write("job.toml", aggregation("2KiB"));
    let run = |url: &str| {
        let args = ["run", "job.toml", "--otlp", url];
        Ended::from(place.command(&args).output().unwrap())
    };
    run("collector:4317")
        .with_code(2)
        .told(&["--otlp", "gRPC address"]);
    let hidden = run("http://user:s3cret@collector:4317").with_code(2);
    assert!(!hidden.stderr.contains("s3cret"), "{hidden:#?}");
    run(&format!("http://{}", free_address())).done();
    assert_eq!(place.job("stations")["state"], "done");
}
