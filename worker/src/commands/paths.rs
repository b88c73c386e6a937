//! `db reinstate|seal`: the storage paths of a mirrored database.

use std::path::Path;

use eciton_engine::{Environment, Reinstate, Reinstated};
use serde_json::json;

use crate::cli::Global;
use crate::database;
use crate::failure::Failure;
use crate::output::Output;
use crate::progress::Meter;
use crate::words::counted;

/// Brings a storage path back.
///
/// # Errors
/// As [`eciton_engine::reinstate`].
pub(super) async fn reinstate(global: &Global, path: &Path, replace: bool) -> Result<(), Failure> {
    let (places, to) = database::places_and(global, path).await?;
    let meter = Meter::new("reinstating");
    let (how, environment) = (Reinstate { replace }, Environment::default());
    let done = eciton_engine::reinstate(&places, &to, how, &environment, &meter.progress()).await;
    meter.finish();
    let done = done.map_err(database::with_hint)?;
    let Reinstated {
        location,
        generation,
        position,
        objects,
        ..
    } = &done;
    let text = match done.unchanged {
        true => format!("{location} is in force already: nothing changed"),
        false => format!(
            "reinstated {location}: the database stands on two storage paths again, from slot {position} on; copied {}",
            counted(*objects, "object")
        ),
    };
    let json = json!({
        "location": location, "generation": generation.0, "position": position.0, "objects": objects,
        "resumed": done.resumed, "unchanged": done.unchanged,
    });
    print(global, &json, &text)
}

/// Gives a storage path up that is gone for good.
///
/// # Errors
/// As [`eciton_engine::seal_without`]; [`Failure::Usage`] where `lost` is none of the database's paths.
pub(super) async fn seal(global: &Global, lost: &Path) -> Result<(), Failure> {
    let (places, at) = database::places_without(global, lost).await?;
    let environment = Environment::default();
    let done = eciton_engine::seal_without(&places, at, &environment).await;
    let done = done.map_err(database::with_hint)?;
    let Reinstated {
        location,
        generation,
        position,
        ..
    } = &done;
    let lost = lost.display();
    let text = format!(
        "gave up {lost}: the database goes on at {location} alone, from slot {position} on. What only {lost} had is lost. Bring a \
         second path back with `eciton db reinstate`"
    );
    let json = json!({
        "lost": lost.to_string(), "location": location, "generation": generation.0, "position": position.0,
    });
    print(global, &json, &text)
}

fn print(global: &Global, json: &serde_json::Value, text: &str) -> Result<(), Failure> {
    let mut output = Output::new(global);
    output.either(json, text)?;
    Ok(output.finish()?)
}
