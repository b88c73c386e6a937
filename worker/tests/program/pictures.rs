//! Pictures of a swarm for the documentation, drawn from what a real Prometheus has of it: `cargo xtask pictures`.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::deployed::Swarm;
use crate::prometheus::Prometheus;
use crate::redis::RedisServer;
use crate::support::Place;
use crate::svg::{Chart, Series};
use crate::swarm::free_address;

/// Where the pictures go; unless it is set, a short form of them is drawn and thrown away.
const FOLDER: &str = "ECITON_PICTURES";
/// Between two looks at what comes by itself.
const LOOK: Duration = Duration::from_millis(100);
/// Seconds between two points of a picture; Prometheus scrapes twice as often.
const STEP: f64 = 1.0;
/// What rates are over.
const WINDOW: &str = "3s";

/// A job of many shards of some hundred milliseconds.
fn job(name: &str, shards: u64) -> String {
    let (len, rows) = (200_000, shards * 200_000);
    format!(
        "name = \"{name}\"\n[source]\nformat = \"range\"\nfrom = 0\nto = {rows}\nshard_len = {len}\n\
         [transform]\nsql = \"SELECT i % 50 AS k, sqrt(i) AS v FROM source\"\n[merge]\nstore = \"{name}\"\nkey = [\"k\"]\n\
         [merge.values]\nn = \"count()\"\ntotal = \"sum(v)\"\n[run]\nlease = \"2s\"\n"
    )
}

/// Acts of a run: until the kill, until the flushes, until the worker is back, and until the end.
const ACTS: u32 = 4;
/// Shards that tell how long one takes here.
const TRIED: u32 = 12;

/// The pictures, by their names.
type Pictures = Vec<(&'static str, String)>;

#[test]
fn pictures_of_a_swarm_can_be_drawn() {
    let folder = std::env::var_os(FOLDER).map(PathBuf::from);
    let act = match &folder {
        Some(_) => Duration::from_secs(12),
        None => Duration::from_secs(1),
    };
    let pictures = draw(act);
    for (name, picture) in &pictures {
        assert!(picture.contains("<polyline"), "{name}: {picture}");
        if let Some(folder) = &folder {
            write(folder, name, picture);
        }
    }
    assert_eq!(pictures.len(), 3);
}

fn write(folder: &Path, name: &str, picture: &str) {
    fs::create_dir_all(folder).unwrap();
    let path = folder.join(format!("{name}.svg"));
    fs::write(&path, picture).unwrap();
    eprintln!("wrote {}", path.display());
}

/// A swarm of three workers, of which one is killed, and whose Redis is flushed so often that no lease lasts.
fn draw(act: Duration) -> Pictures {
    let mut swarm = Swarm::new(
        Place::new(),
        RedisServer::start(),
        [(); 3].map(|()| free_address()),
    );
    (0..3).for_each(|number| swarm.start(number));
    let prometheus = swarm.watched("500ms");
    prometheus.wait_for("sum(up)", 3.0);
    let until = |swarm: &Swarm, name: &str, state: &str| {
        while swarm.place.job(name)["state"] != state {
            sleep(LOOK);
        }
    };
    // As many shards as the acts take.
    swarm.submit("try", &job("try", u64::from(TRIED)));
    until(&swarm, "try", "done");
    let seconds = swarm.place.job("try")["wall_seconds"].as_f64().unwrap();
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count"
    )]
    let shards = ((act * ACTS).as_secs_f64() * f64::from(TRIED) / seconds.max(0.01)) as u64;
    swarm.submit(
        "pictures",
        &job("pictures", shards.clamp(u64::from(TRIED), 100_000)),
    );
    until(&swarm, "pictures", "running");
    let (began, since) = (SystemTime::now(), Instant::now());
    let mut marks: Vec<(f64, String)> = Vec::new();
    let mut mark = |what: &str| marks.push((since.elapsed().as_secs_f64(), what.to_owned()));
    sleep(act);
    swarm.kill(2);
    mark("worker 3 is killed");
    sleep(act);
    mark("Redis is flushed all the time");
    let flush = |swarm: &Swarm| {
        let flushed = Instant::now() + act / 2;
        while Instant::now() < flushed {
            swarm.redis.cli(&["FLUSHALL"]);
            sleep(LOOK);
        }
    };
    flush(&swarm);
    swarm.start(2);
    mark("worker 3 is back");
    flush(&swarm);
    mark("Redis is left alone");
    until(&swarm, "pictures", "done");
    mark("the job is done");
    // What was told last is scraped.
    prometheus.wait_for("max(eciton_job_shards_left)", 0.0);
    let range = Range {
        prometheus: &prometheus,
        began,
        seconds: since.elapsed().as_secs_f64(),
    };
    swarm.place.call(&["db", "verify"]).done();
    pictures(&range, &marks, &swarm)
}

/// What Prometheus has of a while.
struct Range<'a> {
    prometheus: &'a Prometheus,
    began: SystemTime,
    seconds: f64,
}

impl Range<'_> {
    /// A line for each series of a query, called by `name`.
    fn series(&self, query: &str, name: impl Fn(&Value) -> String) -> Vec<Series> {
        let began = self.began.duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        let result = self
            .prometheus
            .range(query, began, began + self.seconds, STEP);
        let mut lines: Vec<Series> = Vec::new();
        for series in result.as_array().unwrap() {
            let points = series["values"].as_array().unwrap().iter();
            let points = points.map(|point| {
                let value: f64 = point[1].as_str().unwrap().parse().unwrap();
                (point[0].as_f64().unwrap() - began, value)
            });
            lines.push(Series {
                name: name(&series["metric"]),
                points: points.filter(|(_, value)| value.is_finite()).collect(),
            });
        }
        lines.sort_by(|one, other| one.name.cmp(&other.name));
        lines
    }

    fn line(&self, query: &str, name: &str) -> Vec<Series> {
        self.series(query, |_| name.to_owned())
    }
}

fn pictures(range: &Range<'_>, marks: &[(f64, String)], swarm: &Swarm) -> Pictures {
    let worker = |metric: &Value| {
        let instance = metric["instance"].as_str().unwrap();
        let number = swarm.number_of(instance);
        format!("worker {}", number + 1)
    };
    let chart = |title: &str, unit: &str, series| {
        let chart = Chart {
            title: title.to_owned(),
            unit: unit.to_owned(),
            step: STEP,
            series,
            marks: marks.to_vec(),
        };
        chart.draw()
    };
    let rows =
        format!("sum by (instance) (rate(eciton_rows_read_total{{job=\"pictures\"}}[{WINDOW}]))");
    let left = range.line("max(eciton_job_shards_left{job=\"pictures\"})", "left");
    let done = range.line(
        "sum(max_over_time(eciton_shards_total{job=\"pictures\", state=\"done\"}[1h]))",
        "done",
    );
    let commits = format!("sum(rate(eciton_log_slots_total[{WINDOW}]))");
    let conflicts = format!("sum(rate(eciton_conflicts_total[{WINDOW}]))");
    vec![
        (
            "throughput",
            chart(
                "Three workers, one of which is killed",
                "rows a second that each worker reads",
                range.series(&rows, worker),
            ),
        ),
        (
            "shards",
            chart(
                "A job goes on when a worker is killed and Redis forgets everything",
                "shards",
                [left, done].into_iter().flatten().collect(),
            ),
        ),
        (
            "conflicts",
            chart(
                "Commits, and conflicts over shards that two workers computed",
                "a second, of all workers",
                [
                    range.line(&commits, "durable writes of the log"),
                    range.line(&conflicts, "conflicts"),
                ]
                .into_iter()
                .flatten()
                .collect(),
            ),
        ),
    ]
}
