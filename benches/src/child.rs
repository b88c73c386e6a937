//! One measurement in a process of its own: its time and its peak memory.

use std::process::{Command, ExitCode};
use std::time::Instant;

use eciton_compare::usage::{cpu_seconds_of, peak_mb};
use serde_json::{Value, json};

use crate::{etl, open, scale, tpch};

/// What a child measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    /// Seconds of the work itself, the process's start not counted.
    pub(crate) seconds: f64,
    /// CPU seconds of the whole process.
    pub(crate) cpu_seconds: f64,
    /// The largest resident size of the process, in megabytes.
    pub(crate) peak_mb: f64,
    /// What the work gave.
    pub(crate) answer: Answer,
}

/// What depends on every value of a result: the same work gives the same.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Answer {
    /// Of what is the same to the last digit.
    pub(crate) exact: u64,
    /// Of what depends on the order of additions.
    pub(crate) about: f64,
}

impl Measured {
    /// What a process printed in its last line.
    pub(crate) fn parse(text: &str) -> Result<Measured, String> {
        let line = text.lines().last().unwrap_or_default();
        let value: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
        Ok(Measured {
            seconds: value["seconds"].as_f64().ok_or("no seconds")?,
            cpu_seconds: value["cpu_seconds"].as_f64().ok_or("no CPU time")?,
            peak_mb: value["peak_mb"].as_f64().ok_or("no peak")?,
            answer: Answer {
                exact: value["exact"].as_u64().ok_or("no answer")?,
                about: value["about"].as_f64().ok_or("no answer")?,
            },
        })
    }
}

impl Answer {
    /// Whether both come from the same result.
    pub(crate) fn agrees(self, other: Answer) -> bool {
        self.exact == other.exact && self.is_about(other)
    }

    /// Whether what depends on the order of additions is the same.
    pub(crate) fn is_about(self, other: Answer) -> bool {
        let size = self.about.abs().max(other.about.abs());
        (self.about - other.about).abs() <= 1e-9 * size
    }
}

/// Runs `args` in a process of its own.
pub(crate) fn measure(args: &[&str]) -> Result<Measured, String> {
    let exe = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new(exe).arg("child").args(args).output();
    let output = output.map_err(|error| format!("starting {args:?}: {error}"))?;
    if !output.status.success() {
        return Err(format!(
            "{args:?}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        ));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Measured::parse(&text).map_err(|why| format!("{args:?}: {why}"))
}

/// The child's side.
pub(crate) fn run(args: &[String]) -> ExitCode {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let Ok(runtime) = runtime else {
        eprintln!("no runtime");
        return ExitCode::FAILURE;
    };
    let start = Instant::now();
    let result = runtime.block_on(async {
        match args[..] {
            ["etl-ours", job, db] => etl::ours(job, db).await,
            ["etl-datafusion", csv] => etl::datafusion(csv).await,
            ["tpch-parquet", folder] => tpch::parquet(folder).await,
            ["tpch-ours", job, db] => tpch::ours(job, db).await,
            ["tpch-datafusion", query, folder] => tpch::datafusion(query, folder).await,
            ["open-fill", db, rows] => open::fill(db, rows).await,
            ["open-ours", db, rows] => open::ours(db, rows).await,
            ["scale", db, redis, workers] => scale::work(db, redis, workers).await,
            _ => Err(format!("no measurement {args:?}")),
        }
    });
    let seconds = start.elapsed().as_secs_f64();
    match result {
        Ok(Answer { exact, about }) => {
            let line = json!({
                "seconds": seconds, "cpu_seconds": cpu_seconds_of(std::process::id()), "peak_mb": peak_mb(), "exact": exact, "about": about,
            });
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}
