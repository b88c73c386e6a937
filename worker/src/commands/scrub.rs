//! `db scrub`: damaged and missing objects of one storage path, restored from the other.

use eciton_engine::{Environment, Healed, ScrubOptions, ScrubReport};
use serde_json::{Value, json};

use crate::cli::Global;
use crate::database;
use crate::failure::Failure;
use crate::output::Output;
use crate::progress::Meter;
use crate::settings;
use crate::words::counted;

/// Scrubs both storage paths.
///
/// # Errors
/// As the engine's operation of the same name; [`Failure::Work`] where something cannot be restored.
pub(super) async fn scrub(global: &Global, bandwidth: Option<u64>) -> Result<(), Failure> {
    let path = settings::database(global)?;
    let places = database::both_places(global).await?;
    let meter = Meter::new("scrubbing");
    let options = ScrubOptions { bandwidth };
    let environment = Environment::default();
    let report = eciton_engine::scrub(&places, &options, &environment, &meter.progress()).await;
    meter.finish();
    let report = report.map_err(|error| database::not_opened(&path, error))?;
    let mut output = Output::new(global);
    print(&mut output, &report)?;
    output.finish()?;
    match report.unhealed.len() as u64 {
        0 => Ok(()),
        unhealed => Err(Failure::Work(format!(
            "{}: {} cannot be restored from either storage path",
            path.display(),
            counted(unhealed, "object")
        ))),
    }
}

fn print(output: &mut Output, report: &ScrubReport) -> std::io::Result<()> {
    if output.is_json() {
        let healed = |one: &Healed| json!({"path": one.path, "object": one.object, "kind": one.kind.as_str()});
        let healed: Vec<Value> = report.healed.iter().map(healed).collect();
        let unhealed = report.unhealed.iter();
        let unhealed: Vec<Value> = unhealed
            .map(|broken| json!({"object": broken.object, "detail": broken.detail}))
            .collect();
        let json = json!({
            "ok": unhealed.is_empty(), "objects": report.objects, "bytes": report.bytes,
            "healed": healed, "unhealed": unhealed,
        });
        return output.line(&json.to_string());
    }
    for Healed { path, object, kind } in &report.healed {
        output.line(&format!("restored: {object} ({}) on {path}", kind.as_str()))?;
    }
    for broken in &report.unhealed {
        output.line(&format!("broken: {}: {}", broken.object, broken.detail))?;
    }
    output.line(&format!(
        "{}, {}: {} restored",
        counted(report.objects, "object"),
        counted(report.bytes, "byte"),
        report.healed.len()
    ))
}
