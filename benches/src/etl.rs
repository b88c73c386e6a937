//! An aggregation over CSV into 10,000 groups, beside `DataFusion` alone on the same file and query.
//!
//! Ours does more: it commits every shard's results durably, with its `done` mark. Both time what it takes
//! from nothing to every value of the result read.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::AsArray;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{Float64Type, Int64Type};
use datafusion::prelude::{CsvReadOptions, SessionConfig, SessionContext};
use eciton_compare::report::{Line, median};
use eciton_engine::merge;
use eciton_engine::{Datum, Db, Options, ScanRange};
use eciton_jobs::run::{self, CancellationToken, RunOptions, Silent};
use eciton_jobs::spec::JobFile;

use crate::child::{self, Answer, Measured};
use crate::data;

const GROUPS: u64 = 10_000;
const QUERY: &str = "SELECT customer, count(*) AS orders, sum(quantity) AS quantity_sum, \
                     min(price) AS price_min, max(price) AS price_max, avg(price) AS price_avg \
                     FROM source GROUP BY customer";

/// Time and peak memory of both, in turn.
pub(crate) fn measure(rows: u64, runs: usize) -> Result<Vec<Line>, String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let csv = folder.path().join("orders.csv");
    data::csv(&csv, rows, GROUPS).map_err(|error| error.to_string())?;
    let job = folder.path().join("orders.toml");
    fs::write(&job, job_file()).map_err(|error| error.to_string())?;
    let (job, csv) = (job.display().to_string(), csv.display().to_string());
    let (mut ours, mut peer): (Vec<Measured>, Vec<Measured>) = (Vec::new(), Vec::new());
    for run in 0..runs {
        let db = folder.path().join(format!("db{run}")).display().to_string();
        ours.push(child::measure(&["etl-ours", &job, &db])?);
        peer.push(child::measure(&["etl-datafusion", &csv])?);
        let answers = (ours[run].answer, peer[run].answer);
        if !answers.0.agrees(answers.1) {
            return Err(format!("the answers differ: {answers:?}"));
        }
        fs::remove_dir_all(&db).map_err(|error| error.to_string())?;
    }
    let seconds = |runs: &[Measured]| median(runs.iter().map(|run| run.seconds).collect());
    let peaks = |runs: &[Measured]| median(runs.iter().map(|run| run.peak_mb).collect());
    Ok(vec![
        Line {
            workload: format!("etl_csv_{rows}_rows_{GROUPS}_groups"),
            unit: "s",
            higher_is_better: false,
            ours: Some(seconds(&ours)),
            peers: vec![("datafusion", seconds(&peer))],
            floor: None,
        },
        Line {
            workload: format!("etl_csv_{rows}_rows_{GROUPS}_groups_peak_memory"),
            unit: "MB",
            higher_is_better: false,
            ours: Some(peaks(&ours)),
            peers: vec![("datafusion", peaks(&peer))],
            floor: None,
        },
    ])
}

fn job_file() -> &'static str {
    r#"
name = "orders"
[source]
format = "csv"
paths = ["orders.csv"]
[merge]
store = "orders"
key = ["customer"]
[merge.values]
orders = "count()"
quantity_sum = "sum(quantity)"
price_min = "min(price)"
price_max = "max(price)"
price_avg = "avg(price)"
"#
}

/// Our side: the job to its end, durable, and its result read.
pub(crate) async fn ours(job: &str, db: &str) -> Result<Answer, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let file = JobFile::load(Path::new(job)).map_err(|error| text(&error))?;
    let db = Db::open(Path::new(db), Options::default())
        .await
        .map_err(|error| text(&error))?;
    run::submit(&db, &file)
        .await
        .map_err(|error| text(&error))?;
    let options = RunOptions {
        workers: std::thread::available_parallelism().map_or(1, usize::from),
        observer: Arc::new(Silent),
        stop: CancellationToken::new(),
        ..RunOptions::default()
    };
    run::run(&db, &file.spec().name, options)
        .await
        .map_err(|error| text(&error))?;
    let store = db
        .store("orders")
        .await
        .map_err(|error| text(&error))?
        .ok_or("no store")?;
    let mut scan = db.snapshot().scan(&store, &ScanRange::all());
    let mut answer = Answer::default();
    while let Some(record) = scan.next().await.map_err(|error| text(&error))? {
        let columns = &store.schema().columns;
        let values = merge::read(columns, &record.key, &record.value).map_err(|e| text(&e))?;
        let value = |name: &str| {
            values
                .iter()
                .find(|(n, _)| **n == *name)
                .map(|(_, datum)| datum)
        };
        let integer = |name: &str| match value(name) {
            Some(Datum::Int(value)) => i64::try_from(*value).ok(),
            _ => None,
        };
        let float = |name: &str| match value(name) {
            Some(Datum::Float(value)) => Some(*value),
            _ => None,
        };
        add(
            &mut answer,
            [integer("orders"), integer("quantity_sum")],
            [float("price_min"), float("price_max"), float("price_avg")],
        );
    }
    db.close().await.map_err(|error| text(&error))?;
    Ok(answer)
}

/// Adds one group to an answer.
fn add(answer: &mut Answer, integers: [Option<i64>; 2], floats: [Option<f64>; 3]) {
    // Weights, so that values in the wrong place or group show.
    for (weight, integer) in (1..).zip([Some(1_000_000)].into_iter().chain(integers)) {
        let integer = integer.unwrap_or(-1).cast_unsigned();
        answer.exact = answer.exact.wrapping_add(integer.wrapping_mul(weight));
    }
    for (weight, float) in [1.0, 2.0, 3.0].into_iter().zip(floats) {
        answer.about += weight * float.unwrap_or(-1.0);
    }
}

/// The peer's side: the query, its result in memory, and that read.
pub(crate) async fn datafusion(csv: &str) -> Result<Answer, String> {
    let text = |error: datafusion::error::DataFusionError| error.to_string();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let config = SessionConfig::new().with_target_partitions(cores);
    let context = SessionContext::new_with_config(config);
    context
        .register_csv("source", csv, CsvReadOptions::new())
        .await
        .map_err(text)?;
    let batches = context
        .sql(QUERY)
        .await
        .map_err(text)?
        .collect()
        .await
        .map_err(text)?;
    let mut answer = Answer::default();
    for batch in &batches {
        add_batch(&mut answer, batch);
    }
    Ok(answer)
}

fn add_batch(answer: &mut Answer, batch: &RecordBatch) {
    let integers = |column: usize| batch.column(column).as_primitive::<Int64Type>().iter();
    let floats = |column: usize| batch.column(column).as_primitive::<Float64Type>().iter();
    let integers = integers(1).zip(integers(2));
    let floats = floats(3).zip(floats(4)).zip(floats(5));
    for ((orders, quantity), ((min, max), avg)) in integers.zip(floats) {
        add(answer, [orders, quantity], [min, max, avg]);
    }
}
