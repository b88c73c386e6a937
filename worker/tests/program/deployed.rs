//! Dashboards and alerts before real servers: three workers, Redis, Prometheus and Alertmanager on ports of this machine.
//! Workers are killed, Redis is flushed, full and away, shards fail and the disk fills up; every panel shows something,
//! and every alert about it fires and resolves.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{sleep, spawn};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::full_disk::Disk;
use crate::peer::Peer;
use crate::prometheus::Prometheus;
use crate::redis::RedisServer;
use crate::support::{Place, measurements, upsert};
use crate::swarm::{Worker, answered, free_address, got, wait_for};

const DASHBOARDS: [(&str, &str); 3] = [
    ("swarm", include_str!("../../../deploy/grafana/swarm.json")),
    (
        "engine",
        include_str!("../../../deploy/grafana/engine.json"),
    ),
    (
        "storage",
        include_str!("../../../deploy/grafana/storage.json"),
    ),
];
const CONFIG: &str = include_str!("../../../deploy/prometheus/prometheus.yaml");
const RECORDING: &str = include_str!("../../../deploy/prometheus/recording.yaml");
const ALERTS: &str = include_str!("../../../deploy/prometheus/alerts.yaml");
const MISSING: &str = "Alertmanager is needed for this test: apt-get install -y --no-install-recommends prometheus-alertmanager";

/// Panels of databases in buckets.
const OF_BUCKETS: [&str; 2] = ["Requests to the bucket", "Disk cache hit rate"];
/// Panels of mirrored databases.
const OF_MIRRORS: [&str; 5] = [
    "Paths in force",
    "Failovers in the last hour",
    "Active path",
    "Failovers by cause",
    "Healed objects",
];
/// A panel that needs a disk that fills up, which takes the right to mount one.
const OF_FULL_DISKS: &str = "Storage errors";
/// Between two looks at what comes by itself.
const LOOK: Duration = Duration::from_millis(100);
/// A job of one shard that no worker ends within this test.
const STUCK: &str = "name = \"stuck\"\n[source]\nformat = \"range\"\nfrom = 0\nto = 4_000_000_000\nshard_len = 4_000_000_000\n\
                     [transform]\nsql = \"SELECT i % 3 AS k, i FROM source\"\n[merge]\nstore = \"stuck\"\nkey = [\"k\"]\n\
                     [merge.values]\nn = \"count()\"\n";

/// A job of shards that take a part of a second each, so that scrapes see it progress.
const BUSY: &str = "name = \"busy\"\n[source]\nformat = \"range\"\nfrom = 0\nto = 6_000_000\nshard_len = 250_000\n\
                    [transform]\nsql = \"SELECT i % 50 AS k, i FROM source\"\n[merge]\nstore = \"busy\"\nkey = [\"k\"]\n\
                    [merge.values]\nn = \"count()\"\n";

/// A job whose only shard fails.
const BAD: &str = "name = \"bad\"\n[source]\nformat = \"csv\"\npaths = [\"bad.csv\"]\n[source.schema]\nv = \"int64\"\n\
                   [upsert]\nstore = \"bad\"\nkey = [\"k\"]\n";

/// The same rules with windows of seconds: what takes minutes there takes seconds here.
fn hurried(rules: &str) -> String {
    let mut text = rules.to_owned();
    for minutes in ["1m", "2m", "5m", "10m", "15m", "1h"] {
        text = text.replace(&format!("for: {minutes}\n"), "for: 1s\n");
        text = text.replace(&format!("[{minutes}]"), "[10s]");
        text = text.replace(&format!("offset {minutes}"), "offset 10s");
    }
    text
}

/// An Alertmanager, and what it has told its receiver: alerts and `firing` or `resolved`.
struct Alertmanager {
    child: Child,
    address: SocketAddr,
    told: Arc<Mutex<BTreeSet<(String, String)>>>,
    _folder: tempfile::TempDir,
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Alertmanager {
    fn start() -> Alertmanager {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let receiver = listener.local_addr().unwrap();
        let told: Arc<Mutex<BTreeSet<(String, String)>>> = Arc::default();
        let heard = Arc::clone(&told);
        spawn(move || {
            for stream in listener.incoming() {
                let body = received(stream.unwrap());
                for alert in body["alerts"].as_array().unwrap() {
                    let text = |value: &Value| value.as_str().unwrap().to_owned();
                    let name = text(&alert["labels"]["alertname"]);
                    heard.lock().unwrap().insert((name, text(&alert["status"])));
                }
            }
        });
        let folder = tempfile::tempdir().unwrap();
        let config = format!(
            "route: {{receiver: test, group_by: ['...'], group_wait: 1ms, group_interval: 500ms, repeat_interval: 1h}}\n\
             receivers: [{{name: test, webhook_configs: [{{url: 'http://{receiver}/', send_resolved: true}}]}}]\n"
        );
        let file = folder.path().join("alertmanager.yaml");
        fs::write(&file, config).unwrap();
        let address = free_address();
        let child = Command::new("prometheus-alertmanager")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.path={}", folder.path().display()))
            .arg(format!("--web.listen-address={address}"))
            .args(["--cluster.listen-address=", "--log.level=warn"])
            .stdin(Stdio::null())
            .spawn()
            .expect(MISSING);
        let mut server = Alertmanager {
            child,
            address,
            told,
            _folder: folder,
        };
        while TcpStream::connect(address).is_err() || got(address, "/-/ready") != "OK" {
            let ended = server.child.try_wait().unwrap();
            assert!(ended.is_none(), "Alertmanager has ended: {ended:?}");
            sleep(LOOK);
        }
        server
    }

    /// Until its receiver was told that this alert fires, or is over.
    fn wait_for(&self, alert: &str, status: &str) {
        eprintln!("waiting until {alert} is {status}");
        let told = (alert.to_owned(), status.to_owned());
        while !self.told.lock().unwrap().contains(&told) {
            sleep(LOOK);
        }
    }
}

/// The JSON that was posted, which is taken.
fn received(mut stream: TcpStream) -> Value {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut len = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let line = line.trim().to_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            len = value.trim().parse().unwrap();
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; len];
    reader.read_exact(&mut body).unwrap();
    stream
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        .unwrap();
    serde_json::from_slice(&body).unwrap()
}

/// A Prometheus by the files that are deployed, but quicker.
fn prometheus(workers: &[SocketAddr], alertmanager: SocketAddr) -> Prometheus {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    assert!(CONFIG.contains("_interval: 5s"), "{CONFIG}");
    write(
        "prometheus.yaml",
        &CONFIG.replace("_interval: 5s", "_interval: 500ms"),
    );
    write("recording.yaml", &hurried(RECORDING));
    write("alerts.yaml", &hurried(ALERTS));
    let targets = workers.iter().map(ToString::to_string).collect::<Vec<_>>();
    let targets = json!([{"targets": targets, "labels": {"database": "main"}}]);
    write("targets.json", &targets.to_string());
    let alertmanagers = json!([{"targets": [alertmanager.to_string()]}]);
    write("alertmanagers.json", &alertmanagers.to_string());
    Prometheus::in_folder(folder, "prometheus.yaml")
}

/// Until every query of the panels comes to a number, as Grafana would ask.
fn wait_for_panels(prometheus: &Prometheus, panels: impl Fn(&str) -> bool) -> usize {
    let mut count = 0;
    for (name, text) in DASHBOARDS {
        let dashboard: Value = serde_json::from_str(text).unwrap();
        for panel in dashboard["panels"].as_array().unwrap() {
            let title = panel["title"].as_str().unwrap();
            if panel["type"] == "row" || !panels(title) {
                continue;
            }
            for target in panel["targets"].as_array().unwrap() {
                let mut query = target["expr"].as_str().unwrap().to_owned();
                for variable in ["$database", "$job", "$instance"] {
                    query = query.replace(variable, ".*");
                }
                let query = query.replace("$__rate_interval", "5m");
                assert!(!query.contains('$'), "{name}: {title}: {query}");
                let mut looks = 0;
                while !has_number(&prometheus.ask(&query)) {
                    looks += 1;
                    if looks % 100 == 0 {
                        eprintln!("{name}: {title} is empty: {query}");
                    }
                    sleep(LOOK);
                }
                count += 1;
            }
        }
    }
    count
}

fn has_number(result: &Value) -> bool {
    let mut series = result.as_array().unwrap().iter();
    series.any(|series| series["value"][1].as_str().unwrap() != "NaN")
}

/// Dropped in this order: the workers before what they work on.
pub(crate) struct Swarm {
    workers: Vec<(SocketAddr, Option<Worker>)>,
    pub(crate) redis: RedisServer,
    pub(crate) place: Place,
}

impl Swarm {
    /// One of workers that are not started yet, with metrics at these addresses.
    pub(crate) fn new<const N: usize>(
        place: Place,
        redis: RedisServer,
        addresses: [SocketAddr; N],
    ) -> Swarm {
        Swarm {
            workers: addresses.map(|address| (address, None)).into(),
            redis,
            place,
        }
    }

    /// A Prometheus that scrapes all workers, so often.
    pub(crate) fn watched(&self, interval: &str) -> Prometheus {
        let folder = tempfile::tempdir().unwrap();
        let targets = self.workers.iter().map(|(address, _)| address.to_string());
        let targets = json!(targets.collect::<Vec<_>>());
        let config = format!(
            "global: {{scrape_interval: {interval}}}\nscrape_configs:\n\
             - {{job_name: eciton, honor_labels: true, static_configs: [{{targets: {targets}}}]}}\n"
        );
        fs::write(folder.path().join("prometheus.yaml"), config).unwrap();
        Prometheus::in_folder(folder, "prometheus.yaml")
    }

    /// The number of the worker with metrics at this address.
    pub(crate) fn number_of(&self, address: &str) -> usize {
        let mut workers = self.workers.iter();
        let found = workers.position(|(at, _)| at.to_string() == address);
        found.unwrap_or_else(|| panic!("no worker is at {address}"))
    }

    /// Kills a worker.
    pub(crate) fn kill(&mut self, number: usize) {
        self.workers[number].1 = None;
    }

    pub(crate) fn start(&mut self, number: usize) {
        let (address, worker) = &mut self.workers[number];
        let (at, url) = (address.to_string(), self.redis.url());
        let more = ["--redis", &url, "--metrics", &at, "--drain", "0s"];
        *worker = Some(Worker::start(&self.place, &more));
        let address = *address;
        while answered(address, "/readyz", "").is_none_or(|(status, _)| status != 200) {
            sleep(LOOK);
        }
    }

    pub(crate) fn submit(&self, name: &str, job: &str) {
        let file = format!("{name}.toml");
        self.place.write(&file, job);
        let url = self.redis.url();
        self.place.call(&["submit", &file, "--redis", &url]).done();
    }
}

#[test]
fn every_panel_shows_a_swarm_in_trouble_and_its_alerts_fire_and_resolve() {
    let place = Place::with_db("disk/db");
    let disk = Disk::mount(&place);
    if disk.is_none() {
        eprintln!("no disk can be mounted here: nothing is tested of one that fills up");
        fs::create_dir_all(place.path("disk")).unwrap();
    }
    let addresses = [(); 3].map(|()| free_address());
    let mut swarm = Swarm::new(place, RedisServer::start(), addresses);
    (0..3).for_each(|number| swarm.start(number));
    let mut addresses: Vec<SocketAddr> =
        swarm.workers.iter().map(|(address, _)| *address).collect();
    // One more computes nothing, and answers calls.
    addresses.push(free_address());
    let (at, url) = (addresses[3].to_string(), swarm.redis.url());
    let peer = Peer::start(
        &swarm.place,
        &["--slots", "0", "--redis", &url, "--metrics", &at],
    );
    let alerts = Alertmanager::start();
    let prometheus = prometheus(&addresses, alerts.address);
    prometheus.wait_for("sum(up{job=\"eciton\", database=\"main\"})", 4.0);
    prometheus.wait_for("min(eciton_workers_alive)", 4.0);

    conflicts(&swarm, &prometheus);
    folds(&swarm, &prometheus);

    // A worker is killed, and comes back.
    swarm.kill(2);
    alerts.wait_for("EcitonWorkerDown", "firing");
    swarm.start(2);
    alerts.wait_for("EcitonWorkerDown", "resolved");

    // A row that is none fails its shard.
    swarm.place.write("bad.csv", "k,v\n1,1\n2,2\n3,no number\n");
    swarm.submit("bad", BAD);
    alerts.wait_for("EcitonShardsFailed", "firing");

    // Redis is full, then away.
    swarm.redis.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    alerts.wait_for("EcitonCoordinatorErrors", "firing");
    swarm.redis.cli(&["CONFIG", "SET", "maxmemory", "0"]);
    swarm.redis.kill();
    alerts.wait_for("EcitonCoordinatorDown", "firing");
    swarm.redis.restart();
    alerts.wait_for("EcitonCoordinatorDown", "resolved");

    // A job that stands still, and is cancelled.
    swarm.submit("stuck", STUCK);
    alerts.wait_for("EcitonJobStalled", "firing");
    let panels = wait_for_panels(&prometheus, |title| {
        title != OF_FULL_DISKS && !OF_BUCKETS.contains(&title) && !OF_MIRRORS.contains(&title)
    });
    assert!(panels > 40, "{panels} queries of panels were looked at");
    let url = swarm.redis.url();
    let cancel = ["job", "cancel", "stuck", "--redis", &url];
    swarm.place.call(&cancel).done();
    alerts.wait_for("EcitonJobStalled", "resolved");

    if let Some(disk) = &disk {
        fill(&mut swarm, disk, &peer, &alerts, &prometheus);
    }

    // All are gone.
    for (_, worker) in &mut swarm.workers {
        *worker = None;
    }
    drop(peer);
    alerts.wait_for("EcitonNoWorkers", "firing");
    swarm.start(0);
    for over in [
        "EcitonNoWorkers",
        "EcitonShardsFailed",
        "EcitonCoordinatorErrors",
    ] {
        alerts.wait_for(over, "resolved");
    }
    let worker = swarm.workers[0].1.take().unwrap();
    worker.send(Signal::TERM);
    worker.ended().done();
    swarm.place.call(&["db", "verify"]).done();
    // Before the folder that it is mounted in.
    drop(disk);
}

/// Jobs one after another, while Redis forgets every lease, until two workers have computed the same shard.
fn conflicts(swarm: &Swarm, prometheus: &Prometheus) {
    for round in 0.. {
        let name = format!("busy-{round}");
        swarm.submit(&name, &BUSY.replace("busy", &name));
        while swarm.place.job(&name)["state"] != "done" {
            swarm.redis.cli(&["FLUSHALL"]);
        }
        let told = prometheus.number("sum(eciton_conflicts_total)");
        if told.is_some_and(|count| count > 0.0) {
            eprintln!("{round} jobs went by without a conflict");
            return;
        }
    }
}

/// Jobs of many small commits, until a worker was seen to fold.
fn folds(swarm: &Swarm, prometheus: &Prometheus) {
    swarm.place.write("a.csv", measurements(20_000));
    for round in 0.. {
        let name = format!("levels-{round}");
        let job = upsert("2KiB").replace("*.csv", "a.csv");
        swarm.submit(&name, &job.replace("\"levels\"", &format!("\"{name}\"")));
        wait_for(&swarm.place, &[&name]);
        let told = prometheus.number("max(increase(eciton_fold_duration_seconds_count[5m]))");
        if told.is_some_and(|count| count > 0.0) {
            eprintln!("folded after {round} jobs");
            return;
        }
    }
}

/// The disk fills up, refuses a job that is submitted, and has room again.
fn fill(
    swarm: &mut Swarm,
    disk: &Disk,
    peer: &Peer,
    alerts: &Alertmanager,
    prometheus: &Prometheus,
) {
    let filler = disk.fill(1024 * 1024);
    alerts.wait_for("EcitonDiskNearlyFull", "firing");
    // Whoever computes ends where it cannot commit. One that only answers calls goes on.
    for (_, worker) in &mut swarm.workers {
        *worker = None;
    }
    let rest = disk.fill(0);
    swarm.place.write("full.toml", BUSY.replace("busy", "full"));
    let submit = ["submit", "full.toml"];
    let refused = peer.call(&swarm.place, &submit);
    assert_eq!(refused.code, Some(1), "{refused:#?}");
    alerts.wait_for("EcitonStorageErrors", "firing");
    wait_for_panels(prometheus, |title| title == OF_FULL_DISKS);
    for filler in [filler, rest] {
        fs::remove_file(filler).unwrap();
    }
    alerts.wait_for("EcitonDiskNearlyFull", "resolved");
    peer.call(&swarm.place, &submit).done();
    (0..3).for_each(|number| swarm.start(number));
    wait_for(&swarm.place, &["full"]);
    alerts.wait_for("EcitonStorageErrors", "resolved");
}
