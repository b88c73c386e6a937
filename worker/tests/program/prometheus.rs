//! A Prometheus that scrapes workers, set up as the page on metrics says.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::redis::RedisServer;
use crate::support::{Place, aggregation, measurements};
use crate::swarm::{Worker, free_address, got, scraped, wait_for};

const PAGE: &str = include_str!("../../../deploy/metrics.md");
const MISSING: &str =
    "Prometheus is needed for this test: apt-get install -y --no-install-recommends prometheus";
/// Rows: some forty shards of 2 KiB.
const ROWS: u32 = 2000;
/// Between two looks at what comes by itself.
const LOOK: Duration = Duration::from_millis(50);

/// The block of the page in a language.
fn block(language: &str) -> &'static str {
    let begin = format!("```{language}\n");
    let (_, rest) = PAGE.split_once(&begin).unwrap();
    let (block, _) = rest.split_once("```").unwrap();
    block
}

/// A server that is killed where the test ends.
pub(crate) struct Prometheus {
    child: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Prometheus {
    /// One that scrapes two workers, often.
    fn start(first: SocketAddr, second: SocketAddr) -> Prometheus {
        let (first, second) = (first.to_string(), second.to_string());
        let changes = [("127.0.0.1:9101", &first), ("127.0.0.1:9102", &second)];
        Prometheus::with(
            block("yaml"),
            &changes.map(|(from, to)| (from, to.as_str())),
        )
    }

    /// One by a block of the page, in which this is another.
    fn with(block: &str, changes: &[(&str, &str)]) -> Prometheus {
        let folder = tempfile::tempdir().unwrap();
        let often = [("scrape_interval: 5s", "scrape_interval: 200ms")];
        let mut config = block.to_owned();
        for (from, to) in changes.iter().chain(&often) {
            assert!(config.contains(from), "{from}: {config}");
            config = config.replace(from, to);
        }
        let file = folder.path().join("prometheus.yml");
        std::fs::write(&file, config).unwrap();
        Prometheus::in_folder(folder, "prometheus.yml")
    }

    /// One by a file of a folder.
    pub(crate) fn in_folder(folder: tempfile::TempDir, file: &str) -> Prometheus {
        let file = folder.path().join(file);
        let address = free_address();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.path().join("data").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .arg("--log.level=warn")
            .stdin(Stdio::null())
            .spawn()
            .expect(MISSING);
        let mut server = Prometheus {
            child,
            address,
            _folder: folder,
        };
        let is_ready =
            || TcpStream::connect(address).is_ok() && got(address, "/-/ready").contains("is Ready");
        while !is_ready() {
            let ended = server.child.try_wait().unwrap();
            assert!(ended.is_none(), "Prometheus has ended: {ended:?}");
            sleep(LOOK);
        }
        server
    }

    /// The result of a query at this moment.
    pub(crate) fn ask(&self, query: &str) -> Value {
        let encoded = encoded(query);
        result(
            query,
            &got(self.address, &format!("/api/v1/query?query={encoded}")),
        )
    }

    /// The result of a query over a while: from and to, in seconds since the Unix epoch, and between two points.
    pub(crate) fn range(&self, query: &str, from: f64, to: f64, step: f64) -> Value {
        let encoded = encoded(query);
        let path = format!("/api/v1/query_range?query={encoded}&start={from}&end={to}&step={step}");
        result(query, &got(self.address, &path))
    }

    /// The one number that a query comes to; `None` where it comes to nothing yet.
    pub(crate) fn number(&self, query: &str) -> Option<f64> {
        let result = self.ask(query);
        let value = result.get(0)?["value"][1].as_str().unwrap();
        Some(value.parse().unwrap())
    }

    /// Until a query comes to a number.
    pub(crate) fn wait_for(&self, query: &str, expected: f64) {
        loop {
            let number = self.number(query);
            if number.is_some_and(|number| (number - expected).abs() < 0.5) {
                return;
            }
            sleep(LOOK);
        }
    }
}

/// A query as a part of an address.
fn encoded(query: &str) -> String {
    let mut encoded = String::new();
    for byte in query.bytes() {
        write!(encoded, "%{byte:02X}").unwrap();
    }
    encoded
}

fn result(query: &str, body: &str) -> Value {
    let answer: Value = serde_json::from_str(body).unwrap();
    assert_eq!(answer["status"], "success", "{query}: {answer}");
    answer["data"]["result"].clone()
}

#[test]
fn what_workers_tell_adds_up_and_the_queries_of_the_page_are_understood() {
    let redis = RedisServer::start();
    let place = Place::new();
    place.write("a.csv", measurements(ROWS));
    place.write("job.toml", aggregation("2KiB"));
    let url = redis.url();
    let addresses = [free_address(), free_address()];
    let workers = addresses.map(|address| {
        let at = address.to_string();
        Worker::start(&place, &["--redis", &url, "--metrics", &at])
    });
    let prometheus = Prometheus::start(addresses[0], addresses[1]);
    prometheus.wait_for("sum(up)", 2.0);
    prometheus.wait_for("min(eciton_workers_alive)", 2.0);
    place.call(&["submit", "job.toml", "--redis", &url]).done();
    wait_for(&place, &["stations"]);
    let shards = place.job("stations")["shards"]["total"].as_f64().unwrap();
    // Each counts at one of them, and under the name of its job.
    let done = "sum(eciton_shards_total{job=\"stations\",state=\"done\"})";
    prometheus.wait_for(done, shards);
    prometheus.wait_for("min(eciton_coordinator_up)", 1.0);
    for line in block("promql").lines() {
        prometheus.ask(line);
    }
    for address in addresses {
        check(&scraped(address));
    }
    for worker in workers {
        worker.send(Signal::TERM);
        worker.ended().done();
    }
}

/// The other block of the page: a worker that asks for a token, and a Prometheus that brings one from a file.
#[test]
fn prometheus_brings_the_token_of_the_page() {
    let place = Place::new();
    let token = place.write("scrape.token", "scrape-1\n");
    let address = free_address();
    let at = address.to_string();
    let worker = Worker::start(
        &place,
        &["--metrics", &at, "--metrics-token-file", "scrape.token"],
    );
    let block = PAGE.split("```yaml\n").nth(2).unwrap();
    let (block, _) = block.split_once("```").unwrap();
    let path = token.to_str().unwrap();
    let changes = [
        ("/etc/prometheus/scrape.token", path),
        ("worker-1:9101", &at),
    ];
    let prometheus = Prometheus::with(block, &changes);
    prometheus.wait_for("sum(up)", 1.0);
    prometheus.wait_for("count(eciton_build_info)", 1.0);
    drop(prometheus);
    // One with another token is turned away.
    let wrong = place.write("wrong.token", "scrape-2\n");
    let changes = [
        ("/etc/prometheus/scrape.token", wrong.to_str().unwrap()),
        ("worker-1:9101", &at),
    ];
    let prometheus = Prometheus::with(block, &changes);
    prometheus.wait_for("sum(up)", 0.0);
    worker.send(Signal::TERM);
    worker.ended().done();
}

/// Names, kinds and explanations are as Prometheus's own tool wants them.
fn check(told: &str) {
    let mut child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect(MISSING);
    let mut input = child.stdin.take().unwrap();
    input.write_all(told.as_bytes()).unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && complaints.is_empty(),
        "{complaints}\n{told}"
    );
}
