//! `db init|info|verify` and, in `copies` and `paths`, the rest: a database as a whole.

use std::io;
use std::path::Path;

use eciton_engine::{Db as Database, Info, VerifyReport};
use serde_json::{Value, json};

use super::{copies, paths, scrub};
use crate::cli::{Db, Global};
use crate::database::{self, Absent};
use crate::failure::Failure;
use crate::output::Output;
use crate::progress::Meter;
use crate::settings;
use crate::words::counted;

/// Does a `db` command.
///
/// # Errors
/// As the engine's operation of the same name; [`Failure::Work`] for a broken database.
pub(super) async fn db(global: &Global, args: &Db) -> Result<(), Failure> {
    match args {
        Db::Init => init(global).await,
        Db::Info => info(global).await,
        Db::Verify { backups } => verify(global, backups.as_deref()).await,
        Db::Scrub { bandwidth } => scrub::scrub(global, *bandwidth).await,
        Db::Compact { compressed } => copies::compact(global, *compressed).await,
        Db::Backup { folder, full } => copies::backup(global, folder, *full).await,
        Db::Restore { folder, position } => copies::restore(global, folder, *position).await,
        Db::Reinstate { path, replace } => paths::reinstate(global, path, *replace).await,
        Db::Seal { lost } => paths::seal(global, lost).await,
        Db::Publish { folder, compressed } => copies::publish(global, folder, *compressed).await,
    }
}

async fn init(global: &Global) -> Result<(), Failure> {
    let existed = database::read(global).await.is_ok();
    let info =
        database::writing(global, Absent::Create, async |db: Database| Ok(db.info())).await?;
    let mut output = Output::new(global);
    let location = &info.location;
    let text = if existed {
        format!("{location} is a database already: nothing changed")
    } else {
        format!("created {location}")
    };
    let instance = info.instance.to_string();
    let json = json!({"location": location, "instance": instance, "created": !existed});
    output.either(&json, &text)?;
    Ok(output.finish()?)
}

async fn info(global: &Global) -> Result<(), Failure> {
    let info = database::read(global).await?.info();
    let mut output = Output::new(global);
    let json = describe(&info);
    if output.is_json() {
        output.line(&json.to_string())?;
    } else if let Value::Object(members) = &json {
        let width = members.keys().map(String::len).max().unwrap_or(0);
        for (name, value) in members {
            let value = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            output.line(&format!("{name:<width$}  {value}"))?;
        }
    }
    Ok(output.finish()?)
}

fn describe(info: &Info) -> Value {
    json!({
        "location": info.location,
        "instance": info.instance.to_string(),
        "format": info.format,
        "generation": info.generation.0,
        "position": info.position.0,
        "manifest": info.manifest.0,
        "folded": info.folded.0,
        "runs": info.runs,
        "run_bytes": info.runs_len,
        "run_entries": info.runs_entries,
        "tail_bytes": info.tail_len,
        "replayed_slots": info.replayed_slots,
        "torn_tail": info.torn_tail,
        "copied": info.copied,
    })
}

async fn verify(global: &Global, backups: Option<&Path>) -> Result<(), Failure> {
    let meter = Meter::new("verifying");
    let (path, report) = match backups {
        Some(folder) => {
            let report = eciton_engine::verify_backup_folder(folder, &meter.progress()).await;
            (folder.to_owned(), report)
        }
        None => {
            let path = settings::database(global)?;
            let is_folder = settings::bucket(&path).is_none();
            let report = match is_folder && settings::standby(global)?.is_none() {
                false => {
                    let storage = database::storage(global).await?;
                    eciton_engine::verify(storage, &meter.progress()).await
                }
                true => eciton_engine::verify_folder(&path, &meter.progress()).await,
            };
            (path, report)
        }
    };
    meter.finish();
    let report = report.map_err(|error| database::not_opened(&path, error))?;

    let mut output = Output::new(global);
    print(&mut output, &report)?;
    output.finish()?;
    let is_or_are = match report.broken.len() {
        0 => return Ok(()),
        1 => "is",
        _ => "are",
    };
    let objects = counted(report.broken.len() as u64, "object");
    Err(Failure::Work(format!(
        "{}: {objects} {is_or_are} broken",
        path.display()
    )))
}

fn print(output: &mut Output, report: &VerifyReport) -> io::Result<()> {
    if output.is_json() {
        let broken = report.broken.iter();
        let broken: Vec<Value> = broken
            .map(|broken| json!({"object": broken.object, "detail": broken.detail}))
            .collect();
        let json = json!({
            "ok": broken.is_empty(), "objects": report.objects, "bytes": report.bytes,
            "slots": report.slots, "records": report.records, "backups": report.backups,
            "streams": report.streams, "streams_bytes": report.streams_len,
            "unused_segments": report.unused_segments,
            "warnings": report.warnings, "broken": broken,
        });
        return output.line(&json.to_string());
    }
    for warning in &report.warnings {
        output.line(&format!("warning: {warning}"))?;
    }
    for broken in &report.broken {
        output.line(&format!("broken: {}: {}", broken.object, broken.detail))?;
    }
    let VerifyReport {
        objects,
        bytes,
        slots,
        records,
        streams,
        streams_len,
        backups,
        ..
    } = report;
    let mut counts = Vec::new();
    if *backups > 0 {
        counts.push(counted(*backups, "backup"));
    }
    counts.extend([
        counted(*objects, "object"),
        counted(*bytes, "byte"),
        counted(*slots, "slot"),
    ]);
    // Of backups the records are not looked at: their bytes are.
    if *backups == 0 {
        counts.push(counted(*records, "record"));
    }
    if *streams > 0 {
        let streams = counted(*streams, "stream");
        counts.push(format!("{streams} of {}", counted(*streams_len, "byte")));
    }
    let counts = counts.join(", ");
    let verdict = if report.broken.is_empty() {
        "whole"
    } else {
        "broken"
    };
    output.line(&format!("{verdict}: {counts}"))
}
