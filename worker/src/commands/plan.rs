//! `plan`: what a job would do.

use eciton_jobs::run::{self as jobs, Outline, OutlinedColumn};
use serde_json::json;

use super::run::{job_file, warn};
use crate::cli::{Global, Plan};
use crate::database;
use crate::failure::Failure;
use crate::output::Output;
use crate::progress::Meter;
use crate::settings;
use crate::words::counted;

/// Files that are told one by one; `--json` has all.
const FILES_TOLD_MAX: usize = 20;

/// Prints the files, shards, columns, query and target of a job, and writes nothing.
///
/// # Errors
/// Exit code 2 for a job file that cannot be, as `run` would say it; 1 where standard output fails.
pub(super) async fn plan(global: &Global, args: &Plan) -> Result<(), Failure> {
    jobs::permit_trials(settings::command_host(&args.scratch, true)?);
    let file = job_file(&args.file)?;
    // Records of a store are in a database; everything else is planned without one.
    let reads_store = file.spec().source.as_ref();
    let reads_store = reads_store.is_some_and(|source| !source.store.is_empty());
    let checked = match reads_store && settings::database(global).is_ok() {
        true => {
            let db = database::read(global).await?;
            let checking = jobs::check_in(&db, &file);
            Meter::spinner("planning").during(|| {}, checking).await?
        }
        false => {
            let checking = jobs::check(&file);
            Meter::spinner("planning").during(|| {}, checking).await?
        }
    };
    let outline = checked.outline()?;
    warn(&outline.warnings);
    let mut output = Output::new(global);
    if output.is_json() {
        output.line(&json!(outline).to_string())?;
    } else {
        for line in text(&outline) {
            output.line(&line)?;
        }
    }
    Ok(output.finish()?)
}

/// The outline for people.
fn text(outline: &Outline) -> Vec<String> {
    let mut lines = vec![format!("{}: nothing was written", outline.name)];
    let mut fact = |name: &str, text: &str| lines.push(format!("  {name:<8} {text}"));
    let bytes: u64 = outline.files.iter().map(|file| file.bytes).sum();
    let count = outline.files.len();
    let source = match count {
        0 => match outline.records {
            Some(records) => format!("{}, {}", outline.format, counted(records, "record")),
            None => outline.format.to_owned(),
        },
        _ => format!(
            "{}, {}, {}",
            outline.format,
            counted(count as u64, "file"),
            counted(bytes, "byte")
        ),
    };
    fact("source", &source);
    for file in outline.files.iter().take(FILES_TOLD_MAX) {
        let shards = counted(file.shards, "shard");
        fact(
            "",
            &format!("{}: {}, {shards}", file.path, counted(file.bytes, "byte")),
        );
    }
    if count > FILES_TOLD_MAX {
        fact("", &format!("and {} more: --json", count - FILES_TOLD_MAX));
    }
    fact("shards", &outline.shards.to_string());
    let width = |text: fn(&OutlinedColumn) -> &str| {
        let widths = outline.columns.iter().map(|c| text(c).chars().count());
        widths.max().unwrap_or(0)
    };
    let (names, types) = (width(|c| &c.name), width(|c| &c.r#type));
    for (at, column) in outline.columns.iter().enumerate() {
        let OutlinedColumn { name, r#type, .. } = column;
        let origin = origin(column, outline.sampled_rows);
        let text = format!("{name:<names$}  {type:<types$}  {origin}");
        fact(if at == 0 { "columns" } else { "" }, text.trim_end());
    }
    if let Some(program) = &outline.program {
        fact("program", &program.argv.join(" "));
        fact(
            "",
            &format!("rows in: {}, rows out: {}", program.input, program.output),
        );
        for column in &program.columns {
            let origin = match column.origin {
                "tried" => "inferred by trying it",
                origin => origin,
            };
            fact("", &format!("{}: {}, {origin}", column.name, column.r#type));
        }
        if !program.files.is_empty() {
            fact("", &format!("with {}", program.files.join(", ")));
        }
    }
    if !outline.after.is_empty() {
        fact("after", &outline.after.join(", "));
    }
    match &outline.query {
        None if outline.program.is_some() => {}
        None => fact("query", "none: rows pass through"),
        Some(query) => {
            for (at, line) in query.lines().enumerate() {
                fact(if at == 0 { "query" } else { "" }, line);
            }
        }
    }
    if outline.sink == "none" {
        fact("target", "none: exit codes are recorded");
        return lines;
    }
    if let Some(export) = &outline.export {
        let files = format!("{} files in {}", export.format, export.to);
        fact("target", &files);
        if !export.partition_by.is_empty() {
            fact("", &format!("folders: {}", export.partition_by.join(", ")));
        }
        fact("", &format!("columns: {}", outline.values.join(", ")));
        return lines;
    }
    fact(
        "target",
        &format!("store `{}` by {}", outline.store, outline.sink),
    );
    fact("", &format!("key: {}", outline.key.join(", ")));
    fact("", &format!("values: {}", outline.values.join(", ")));
    lines
}

/// Where a column's type came from, and whether the job reads it.
fn origin(column: &OutlinedColumn, sampled_rows: u64) -> String {
    let mut parts = vec![match column.origin {
        "inferred" => format!("inferred from {}", counted(sampled_rows, "row")),
        "declared" => "declared".to_owned(),
        other => format!("of the {other}"),
    }];
    if !column.note.is_empty() {
        parts.push(column.note.to_owned());
    }
    if !column.read {
        parts.push("not read".to_owned());
    }
    parts.join(", ")
}
