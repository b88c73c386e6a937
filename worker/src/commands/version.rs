//! `version`.

use eciton_engine::FORMAT;
use serde_json::json;

use crate::cli::Global;
use crate::failure::Failure;
use crate::output::Output;

/// How a database can be opened, and where it can lie.
const FEATURES: [&str; 2] = ["standalone", "local"];

/// Prints the program's version, the newest format it knows, and what it was built with.
///
/// # Errors
/// Where standard output fails.
pub(super) fn version(global: &Global) -> Result<(), Failure> {
    let version = env!("CARGO_PKG_VERSION");
    let text = format!(
        "eciton {version}\nformat {FORMAT}\nfeatures {}",
        FEATURES.join(" ")
    );
    let json = json!({"version": version, "format": FORMAT, "features": FEATURES});
    let mut output = Output::new(global);
    output.either(&json, &text)?;
    Ok(output.finish()?)
}
