//! Queries over `lineitem` of TPC-H, as CSV and as Parquet, in 16 files, each a shard. Beside `DataFusion` alone on the same CSV
//! files; the one that is built here reads no Parquet. Where `ECITON_PEERS_PYTHON` names a Python, `DataFusion`, `DuckDB` and Polars
//! of that answer the same queries (`benches/compare/python/tpch_peers.py`).
//!
//! Ours does more: it commits every shard's results durably, with its `done` mark, and cuts the query so that shards can be
//! computed by any worker. Prices are decimals, so that both sides give the same digits. TPC-H is a benchmark of the TPC
//! (<https://www.tpc.org/tpch/>); these are single queries of it and no result of the benchmark.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::prelude::{CsvReadOptions, SessionConfig, SessionContext};
use eciton_compare::report::{Line, median};
use eciton_engine::{Db, Options, ScanRange, merge};
use eciton_jobs::run::{self, CancellationToken, RunOptions, Silent};
use eciton_jobs::spec::JobFile;
use futures::StreamExt;
use parquet::arrow::ArrowWriter;
use serde_json::Value;
use tpchgen::csv::LineItemCsv;
use tpchgen::generators::LineItemGenerator;

use crate::child::{self, Answer, Measured};

/// Rows of `lineitem` at scale factor 1.
pub(crate) const ROWS: u64 = 6_001_215;
const FILES: u64 = 16;
const WORKERS: usize = 2;
/// Rows that are upserted, about.
const UPSERTED: u64 = 1_000_000;

/// The pricing summary report (query 1 of TPC-H), and the revenue of each supplier (the view of query 15, without its dates).
const QUERIES: [(&str, &str); 2] = [
    (
        "q1",
        "SELECT l_returnflag, l_linestatus, sum(l_quantity) AS sum_qty, sum(l_extendedprice) AS sum_base_price, \
         sum(l_extendedprice * (1 - l_discount)) AS sum_disc_price, \
         sum(l_extendedprice * (1 - l_discount) * (1 + l_tax)) AS sum_charge, avg(l_quantity) AS avg_qty, \
         avg(l_extendedprice) AS avg_price, avg(l_discount) AS avg_disc, count(*) AS count_order \
         FROM source WHERE l_shipdate <= DATE '1998-09-02' GROUP BY l_returnflag, l_linestatus",
    ),
    (
        "revenue_by_supplier",
        "SELECT l_suppkey, sum(l_extendedprice * (1 - l_discount)) AS revenue FROM source GROUP BY l_suppkey",
    ),
];

const FORMATS: [&str; 2] = ["csv", "parquet"];
/// The one that is built here.
const DATAFUSION: &str = "datafusion";
/// Names the Python that has others.
const PYTHON: &str = "ECITON_PEERS_PYTHON";
const PYTHON_PEERS: [&str; 3] = ["datafusion_python", "duckdb", "polars"];
const STORE: &str = "answer";

/// Time, CPU time and peak memory of both, in turn.
pub(crate) fn measure(rows: u64, runs: usize) -> Result<Vec<Line>, String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let path = folder.path();
    generate(path, rows).map_err(|error| error.to_string())?;
    let at = path.display().to_string();
    child::measure(&["tpch-parquet", &at])?;
    let mut lines = Vec::new();
    for (name, sql) in QUERIES {
        let mut first = None;
        for format in FORMATS {
            let job = path.join(format!("{name}-{format}.toml"));
            let text = job_file(format, FILES, &format!("[transform]\nsql = \"{sql}\"\n"));
            fs::write(&job, text).map_err(|error| error.to_string())?;
            let job = job.display().to_string();
            let (mut ours, mut peers) = (Vec::new(), peers(format));
            for _ in 0..runs {
                let own = ours_once(path, &job)?;
                // Of CSV, with which the peer's is compared.
                if !own.answer.agrees(*first.get_or_insert(own.answer)) {
                    return Err(format!(
                        "{name}, {format}: not the answer of {}",
                        FORMATS[0]
                    ));
                }
                for (peer, measured) in &mut peers {
                    let of_peer = match *peer {
                        DATAFUSION => child::measure(&["tpch-datafusion", name, &at])?,
                        peer => of_python(peer, format, &at, sql)?,
                    };
                    let is_same = match *peer {
                        DATAFUSION => own.answer.agrees(of_peer.answer),
                        _ => own.answer.is_about(of_peer.answer),
                    };
                    if !is_same {
                        let answers = (own.answer, of_peer.answer);
                        return Err(format!(
                            "{name}, {format}, {peer}: the answers differ: {answers:?}"
                        ));
                    }
                    measured.push(of_peer);
                }
                ours.push(own);
            }
            let workload = format!("tpch_{name}_{format}_{rows}_rows");
            lines.extend(lines_of(&workload, &ours, &peers));
        }
    }
    lines.extend(upsert(path, rows, runs)?);
    Ok(lines)
}

/// Rows upserted by their key, some 1,000,000 of them; nobody else does the like.
fn upsert(path: &Path, rows: u64, runs: usize) -> Result<Vec<Line>, String> {
    let files = (FILES * UPSERTED / rows.max(1)).clamp(1, FILES);
    let target = format!(
        "[transform]\nsql = \"SELECT l_orderkey, l_linenumber, l_suppkey, l_quantity, l_extendedprice FROM source\"\n\
         [upsert]\nstore = \"{STORE}\"\nkey = [\"l_orderkey\", \"l_linenumber\"]\n"
    );
    let job = path.join("upsert.toml");
    fs::write(&job, job_file("parquet", files, &target)).map_err(|error| error.to_string())?;
    let job = job.display().to_string();
    let mut ours = Vec::new();
    for _ in 0..runs {
        ours.push(ours_once(path, &job)?);
    }
    let upserted = rows * files / FILES;
    Ok(lines_of(
        &format!("tpch_upsert_{upserted}_rows"),
        &ours,
        &[],
    ))
}

/// The peers that read files of a format, each with an empty list of measurements.
fn peers(format: &str) -> Vec<(&'static str, Vec<Measured>)> {
    let built = (format == "csv").then_some(DATAFUSION);
    let python = match std::env::var_os(PYTHON) {
        Some(_) => PYTHON_PEERS.as_slice(),
        None => &[],
    };
    let all = built.into_iter().chain(python.iter().copied());
    all.map(|peer| (peer, Vec::new())).collect()
}

fn of_python(peer: &str, format: &str, folder: &str, sql: &str) -> Result<Measured, String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/compare/python/tpch_peers.py");
    let python = std::env::var_os(PYTHON).ok_or("no Python")?;
    let mut program = Command::new(python)
        .args([script, peer, format, folder])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{peer}: {error}"))?;
    if let Some(mut stdin) = program.stdin.take() {
        stdin
            .write_all(sql.as_bytes())
            .map_err(|error| format!("{peer}: {error}"))?;
    }
    let output = program
        .wait_with_output()
        .map_err(|error| format!("{peer}: {error}"))?;
    Measured::parse(&String::from_utf8_lossy(&output.stdout))
        .map_err(|why| format!("{peer}: {why}"))
}

fn ours_once(path: &Path, job: &str) -> Result<Measured, String> {
    let db = path.join("db");
    let measured = child::measure(&["tpch-ours", job, &db.display().to_string()])?;
    fs::remove_dir_all(&db).map_err(|error| error.to_string())?;
    Ok(measured)
}

fn lines_of(
    workload: &str,
    ours: &[Measured],
    peers: &[(&'static str, Vec<Measured>)],
) -> Vec<Line> {
    let line = |suffix: &str, unit: &'static str, value: &dyn Fn(&Measured) -> f64| {
        let of = |runs: &[Measured]| median(runs.iter().map(value).collect());
        Line {
            workload: format!("{workload}{suffix}"),
            unit,
            higher_is_better: false,
            ours: Some(of(ours)),
            peers: peers.iter().map(|(peer, runs)| (*peer, of(runs))).collect(),
            floor: None,
        }
    };
    vec![
        line("", "s", &|run| run.seconds),
        line("_cpu", "s", &|run| run.cpu_seconds),
        line("_peak_memory", "MB", &|run| run.peak_mb),
    ]
}

/// Writes so many rows of `lineitem` at scale factor 1, from its beginning, as CSV files.
fn generate(folder: &Path, rows: u64) -> std::io::Result<()> {
    let all = LineItemGenerator::new(1.0, 1, 1);
    let mut all = all.iter();
    for number in 0..FILES {
        let count = rows * (number + 1) / FILES - rows * number / FILES;
        let file = File::create(folder.join(format!("{number:02}.csv")))?;
        let mut out = BufWriter::new(file);
        writeln!(out, "{}", LineItemCsv::header())?;
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        for item in all.by_ref().take(count) {
            writeln!(out, "{}", LineItemCsv::new(item))?;
        }
        out.flush()?;
    }
    Ok(())
}

/// A job over the first files of a format.
fn job_file(format: &str, files: u64, target: &str) -> String {
    let paths: Vec<String> = (0..files)
        .map(|number| format!("\"{number:02}.{format}\""))
        .collect();
    let schema = match format {
        "csv" => {
            let money = MONEY.map(|name| format!("{name} = \"decimal(15,2)\"\n"));
            let dates = DATES.map(|name| format!("{name} = \"date\"\n"));
            format!("[source.schema]\n{}{}", money.concat(), dates.concat())
        }
        // Parquet files say it themselves.
        _ => String::new(),
    };
    let result = match target.contains("[upsert]") {
        true => String::new(),
        false => format!("[result]\nstore = \"{STORE}\"\n"),
    };
    let paths = paths.join(", ");
    format!(
        "name = \"tpch\"\n[source]\nformat = \"{format}\"\npaths = [{paths}]\nshard_size = \"1GiB\"\n{schema}{target}{result}"
    )
}

const MONEY: [&str; 4] = ["l_quantity", "l_extendedprice", "l_discount", "l_tax"];
const DATES: [&str; 3] = ["l_shipdate", "l_commitdate", "l_receiptdate"];

/// The columns of `lineitem`, as `DataFusion` reads them of CSV.
fn schema() -> Schema {
    let columns = LineItemCsv::header().split(',').map(|name| {
        let kind = match name {
            name if MONEY.contains(&name) => DataType::Decimal128(15, 2),
            name if DATES.contains(&name) => DataType::Date32,
            "l_orderkey" | "l_partkey" | "l_suppkey" | "l_linenumber" => DataType::Int64,
            _ => DataType::Utf8,
        };
        Field::new(name, kind, true)
    });
    Schema::new(columns.collect::<Vec<_>>())
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
        workers: WORKERS,
        observer: Arc::new(Silent),
        stop: CancellationToken::new(),
        ..RunOptions::default()
    };
    let report = run::run(&db, &file.spec().name, options)
        .await
        .map_err(|error| text(&error))?;
    if report.status.state != "done" {
        return Err(format!("the job is {}", report.status.state));
    }
    let store = db
        .store(STORE)
        .await
        .map_err(|error| text(&error))?
        .ok_or("no store")?;
    let mut scan = db.snapshot().scan(&store, &ScanRange::all());
    let mut answer = Answer::default();
    while let Some(record) = scan.next().await.map_err(|error| text(&error))? {
        let key = store
            .key_to_json(&record.key)
            .map_err(|error| text(&error))?;
        let mut row = match key {
            Value::Array(fields) => fields.iter().map(shown).collect(),
            field => vec![shown(&field)],
        };
        let value: Value = match store.is_merged() {
            true => merge::read_json(&store.schema().columns, &record.key, &record.value)
                .map_err(|error| text(&error))?,
            false => serde_json::from_slice(&record.value).map_err(|error| text(&error))?,
        };
        row.extend(
            value
                .as_object()
                .into_iter()
                .flatten()
                .map(|(_, v)| shown(v)),
        );
        add(&mut answer, &row);
    }
    db.close().await.map_err(|error| text(&error))?;
    Ok(answer)
}

/// A value of a record as `DataFusion` shows it.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(typed) => typed.values().filter_map(Value::as_str).collect(),
        other => other.to_string(),
    }
}

/// Adds a row to an answer, whatever the order of rows is: FNV-1a over its values.
fn add(answer: &mut Answer, row: &[String]) {
    let bytes = row.iter().flat_map(|value| value.bytes().chain([0x1f]));
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    answer.exact = answer.exact.wrapping_add(hash);
    answer.about += row
        .iter()
        .filter_map(|value| value.parse::<f64>().ok())
        .sum::<f64>();
}

fn context() -> SessionContext {
    SessionContext::new_with_config(SessionConfig::new().with_target_partitions(WORKERS))
}

/// Makes a Parquet file of each CSV file, for all sides.
pub(crate) async fn parquet(folder: &str) -> Result<Answer, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let schema = schema();
    for number in 0..FILES {
        let csv = format!("{folder}/{number:02}.csv");
        let options = CsvReadOptions::new().schema(&schema);
        let rows = context().read_csv(csv, options).await;
        let rows = rows.map_err(|error| text(&error))?;
        let mut batches = rows.execute_stream().await.map_err(|error| text(&error))?;
        let to = File::create(format!("{folder}/{number:02}.parquet"));
        let to = to.map_err(|error| text(&error))?;
        let mut writer = ArrowWriter::try_new(to, SchemaRef::new(schema.clone()), None)
            .map_err(|error| text(&error))?;
        while let Some(batch) = batches.next().await {
            let batch = batch.map_err(|error| text(&error))?;
            writer.write(&batch).map_err(|error| text(&error))?;
        }
        writer.close().map_err(|error| text(&error))?;
    }
    Ok(Answer::default())
}

/// The peer's side: the query, its result in memory, and that read.
pub(crate) async fn datafusion(name: &str, folder: &str) -> Result<Answer, String> {
    let text = |error: datafusion::error::DataFusionError| error.to_string();
    let query = QUERIES.into_iter().find(|(query, _)| *query == name);
    let (_, sql) = query.ok_or(format!("no query {name}"))?;
    let (context, schema) = (context(), schema());
    let options = CsvReadOptions::new().schema(&schema);
    let registered = context.register_csv("source", folder, options).await;
    registered.map_err(text)?;
    let batches = context.sql(sql).await.map_err(text)?.collect().await;
    let mut answer = Answer::default();
    for batch in &batches.map_err(text)? {
        add_batch(&mut answer, batch)?;
    }
    Ok(answer)
}

fn add_batch(answer: &mut Answer, batch: &RecordBatch) -> Result<(), String> {
    let options = FormatOptions::default();
    let columns = batch
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column, &options));
    let columns: Vec<ArrayFormatter<'_>> = columns
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())?;
    for row in 0..batch.num_rows() {
        let values: Vec<String> = columns
            .iter()
            .map(|column| column.value(row).to_string())
            .collect();
        add(answer, &values);
    }
    Ok(())
}
