//! An aggregation over CSV into 10,000 groups, beside `DataFusion` alone on the same file and query.
//!
//! Ours does more: it commits every shard's results durably, with its `done` mark.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::Int64Type;
use datafusion::prelude::{CsvReadOptions, SessionConfig, SessionContext};
use eciton_engine::db::{Db, Options, ScanRange};
use eciton_engine::merge;
use eciton_jobs::run::{self, RunOptions, Silent, Stop};
use eciton_jobs::spec::JobFile;

use crate::child::{self, Measured};
use crate::data;
use crate::report::{Line, median};

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
        let checks = (ours[run].check, peer[run].check);
        if checks.0 != checks.1 {
            return Err(format!("the answers differ: {checks:?}"));
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
            ours: seconds(&ours),
            peers: vec![("datafusion", seconds(&peer))],
        },
        Line {
            workload: format!("etl_csv_{rows}_rows_{GROUPS}_groups_peak_memory"),
            unit: "MB",
            higher_is_better: false,
            ours: peaks(&ours),
            peers: vec![("datafusion", peaks(&peer))],
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

/// Our side: the job to its end, durable, and a number from its result.
pub(crate) async fn ours(job: &str, db: &str) -> Result<u64, String> {
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
        stop: Stop::new(),
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
    let mut sum = 0;
    while let Some(record) = scan.next().await.map_err(|error| text(&error))? {
        let columns = &store.schema().columns;
        let value = merge::read_json(columns, &record.key, &record.value).map_err(|e| text(&e))?;
        sum += 1_000_000 + value["quantity_sum"].as_u64().ok_or("no sum")?;
    }
    db.close().await.map_err(|error| text(&error))?;
    Ok(sum)
}

/// The peer's side: the query, its result in memory, and the same number.
pub(crate) async fn datafusion(csv: &str) -> Result<u64, String> {
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
    let mut sum = 0;
    for batch in batches {
        let quantities = batch.column(2).as_primitive::<Int64Type>();
        for quantity in quantities.iter().flatten() {
            sum += 1_000_000 + u64::try_from(quantity).map_err(|error| error.to_string())?;
        }
    }
    Ok(sum)
}
