//! One group of lines with one engine, in a process of its own.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::engine::{Engine, Result, text};
use crate::engines::{self, Work};
use crate::lines::{GROUPS, Group, Sample};
use crate::usage;

/// The first argument of such a process.
pub const CHILD: &str = "engines-child";

/// What a process has measured.
#[derive(Debug)]
pub(crate) struct Measured {
    /// Its lines.
    pub(crate) lines: Vec<MeasuredLine>,
    /// The largest resident size above the one before it opened anything, in megabytes.
    pub(crate) peak_mb: f64,
}

/// A line that was measured and found right.
#[derive(Debug)]
pub(crate) struct MeasuredLine {
    /// Its name.
    pub(crate) name: String,
    /// So many a second.
    pub(crate) rate: f64,
    /// Microseconds of processor time for each.
    pub(crate) cpu_us: f64,
    /// What was found.
    pub(crate) checksum: String,
}

/// Measures `group` with `engine` in a process of its own.
pub(crate) fn measure(engine: &str, group: Group, items: u64, folder: &Path) -> Result<Measured> {
    let what = format!("{engine}, {}", name_of(group));
    let exe = std::env::current_exe().map_err(text)?;
    let output = Command::new(exe)
        .args([CHILD, engine, name_of(group), &items.to_string()])
        .arg(folder)
        .output();
    let output = output.map_err(|error| format!("{what}: {error}"))?;
    if !output.status.success() {
        let told = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{what}: {} ({})", told.trim(), output.status));
    }
    let told = String::from_utf8_lossy(&output.stdout);
    let line = told.lines().last().unwrap_or_default();
    decode(line).ok_or(format!("{what}: it told `{line}`"))
}

fn decode(line: &str) -> Option<Measured> {
    let told: Value = serde_json::from_str(line).ok()?;
    let lines = told["lines"].as_array()?.iter();
    let lines = lines.map(|line| {
        Some(MeasuredLine {
            name: line["name"].as_str()?.to_owned(),
            rate: line["rate"].as_f64()?,
            cpu_us: line["cpu_us"].as_f64()?,
            checksum: line["checksum"].as_str()?.to_owned(),
        })
    });
    Some(Measured {
        lines: lines.collect::<Option<_>>()?,
        peak_mb: told["peak_mb"].as_f64()?,
    })
}

/// The child's side: what it measured, as JSON.
///
/// # Errors
/// Arguments that say nothing; what the engine refuses; what was found and is wrong.
pub(crate) fn run(args: &[String]) -> Result<Value> {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let [engine, group, items, folder] = args[..] else {
        return Err(format!("no measurement {args:?}"));
    };
    let found = GROUPS.iter().find(|(_, name)| *name == group);
    let (group, _) = found.ok_or(format!("no group `{group}`"))?;
    let folder = Path::new(folder);
    std::fs::create_dir_all(folder).map_err(text)?;
    let items = items.parse().map_err(text)?;
    engines::with(
        engine,
        InChild {
            group: *group,
            items,
            folder,
        },
    )
}

struct InChild<'a> {
    group: Group,
    items: u64,
    folder: &'a Path,
}

impl Work for InChild<'_> {
    type Output = Value;

    fn with<E: Engine>(self) -> Result<Value> {
        usage::forget_peak();
        let before = usage::resident_mb();
        let samples = self
            .group
            .run::<E>(self.group.records(self.items), self.folder)?;
        let peaks = samples.iter().map(|sample| sample.spent.peak_mb);
        let peak = peaks.fold(before, f64::max) - before;
        let lines = samples.into_iter().map(checked);
        let lines = lines.collect::<Result<Vec<Value>>>()?;
        Ok(json!({"lines": lines, "peak_mb": peak}))
    }
}

/// The sample as JSON, if what was found is what must be.
#[allow(clippy::cast_precision_loss, reason = "counts of one measurement")]
fn checked(sample: Sample) -> Result<Value> {
    let Sample {
        line,
        count,
        spent,
        found,
        expected,
    } = sample;
    let expected = expected();
    if found != expected {
        let (found, expected) = (found.0, expected.0);
        return Err(format!(
            "{line}: what was found sums up to {found:016x}, and it must be {expected:016x}"
        ));
    }
    Ok(json!({
        "name": line,
        "rate": count as f64 / spent.seconds,
        "cpu_us": spent.cpu_seconds * 1e6 / count as f64,
        "checksum": format!("{:016x}", found.0),
    }))
}

fn name_of(group: Group) -> &'static str {
    let found = GROUPS.iter().find(|(one, _)| *one == group);
    found.map_or("", |(_, name)| name)
}
