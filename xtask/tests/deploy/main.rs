//! Checks the files below `deploy/` without a cluster and without a worker: dashboards, rules, the Helm chart, images.
//! What takes running workers is in `worker/tests/program/deployed.rs`.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod chart;
mod dashboards;
mod image;
mod rules;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The folder of the workspace.
fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// A path below `deploy/`.
fn deploy(path: &str) -> PathBuf {
    workspace().join("deploy").join(path)
}

/// A file below `deploy/`.
fn text(path: &str) -> String {
    let path = deploy(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A folder of a test, empty.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder).unwrap();
    }
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// A program that `cargo xtask test` installs.
fn tool(name: &str) -> Command {
    let own = workspace().join("target/needs/bin").join(name);
    match own.is_file() {
        true => Command::new(own),
        false => Command::new(name),
    }
}

/// What a program prints, in its folder; it must succeed.
fn passed(command: &mut Command) -> String {
    let called = format!("{command:?}");
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{called}: {error}; `cargo xtask test` installs it"));
    let Output {
        status,
        stdout,
        stderr,
    } = output;
    let (stdout, stderr) = (
        String::from_utf8_lossy(&stdout),
        String::from_utf8_lossy(&stderr),
    );
    assert!(status.success(), "{called}: {status}\n{stdout}{stderr}");
    stdout.into_owned()
}
