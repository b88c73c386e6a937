//! The steps that call cargo.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A step that did not pass, for people.
#[derive(Debug)]
pub(crate) struct Failed(pub(crate) String);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The folder of the workspace: xtask's own folder lies in it.
pub(crate) fn workspace() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_path_buf()
}

/// Every source is formatted.
pub(crate) fn fmt_check() -> Result<(), Failed> {
    cargo(&["fmt", "--all", "--check"], &[])
}

/// No warning from the compiler or from clippy, in any target.
pub(crate) fn clippy() -> Result<(), Failed> {
    cargo(
        &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "-D",
            "warnings",
        ],
        &[],
    )
}

/// The documentation of every crate builds without a warning: no dead link, no missing text.
pub(crate) fn docs() -> Result<(), Failed> {
    let deny = [("RUSTDOCFLAGS", "-D warnings")];
    cargo(
        &[
            "doc",
            "--workspace",
            "--no-deps",
            "--locked",
            "--document-private-items",
        ],
        &deny,
    )
}

/// Every test, then every documented example.
pub(crate) fn test(args: &[String]) -> Result<(), Failed> {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    if !has_nextest() {
        let mut all = vec!["test", "--workspace", "--locked", "--no-fail-fast"];
        all.extend(&args);
        return cargo(&all, &[]);
    }
    let mut all = vec![
        "nextest",
        "run",
        "--workspace",
        "--locked",
        "--no-fail-fast",
    ];
    all.extend(&args);
    cargo(&all, &[])?;
    if args.is_empty() {
        cargo(&["test", "--workspace", "--locked", "--doc"], &[])
    } else {
        Ok(())
    }
}

/// Whether `cargo nextest` is installed: quicker, since it runs test programs side by side.
fn has_nextest() -> bool {
    let quiet = Command::new(cargo_path())
        .args(["nextest", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    quiet.is_ok_and(|status| status.success())
}

fn cargo(args: &[&str], envs: &[(&str, &str)]) -> Result<(), Failed> {
    eprintln!("$ cargo {}", args.join(" "));
    let status = Command::new(cargo_path())
        .args(args)
        .envs(envs.iter().copied())
        .current_dir(workspace())
        .status()
        .map_err(|cause| Failed(format!("`cargo {}` did not start: {cause}", args.join(" "))))?;
    if status.success() {
        Ok(())
    } else {
        Err(Failed(format!(
            "`cargo {}` did not pass ({status})",
            args.join(" ")
        )))
    }
}

/// The cargo that started xtask, so that a toolchain chosen there is kept.
fn cargo_path() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}
