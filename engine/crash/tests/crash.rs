//! The short form of the harness, and that it notices when durability is broken on purpose.

#![cfg(target_os = "linux")]
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::process::{Command, Output};

/// Runs of the short form, and the seconds after which none is begun any more.
const RUNS: [&str; 4] = ["--runs", "25", "--within", "50"];
/// Runs within which a deliberate break must be noticed.
const RUNS_BROKEN: &str = "8";

fn crash(args: &[&str]) -> (Output, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_eciton-crash"));
    let done = command.args(args).output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    println!("{said}{}", String::from_utf8_lossy(&done.stderr));
    (done, said)
}

/// Whether the program found no file system to mount, and said so.
fn without_power(said: &str) -> bool {
    said.contains("runs without power losses")
}

fn last_line(said: &str) -> &str {
    said.lines().last().unwrap_or_default()
}

#[test]
fn nothing_acknowledged_is_lost_whenever_a_process_is_killed_or_power_fails() {
    let (done, said) = crash(&RUNS);
    assert!(last_line(&said).ends_with(" violations 0"));
    assert!(said.starts_with("seed 0: ") || without_power(&said));
    assert!(done.status.success());
    if without_power(&said) {
        eprintln!(
            "no file system can be mounted here: processes were killed and stopped, power was not lost"
        );
    }
}

#[test]
fn a_killed_process_loses_nothing_in_a_plain_folder() {
    let (done, said) = crash(&["--runs", "5", "--folder"]);
    assert_eq!(last_line(&said), "runs 5 violations 0");
    assert!(done.status.success());
}

#[test]
fn a_medium_that_ignores_syncs_is_noticed() {
    let (done, said) = crash(&["--runs", RUNS_BROKEN, "--lying"]);
    if without_power(&said) {
        eprintln!("skipped: no file system can be mounted here");
        return;
    }
    assert_eq!(done.status.code(), Some(1));
    assert!(said.contains("VIOLATION"));
}

#[test]
fn a_worker_that_acknowledges_too_early_is_noticed() {
    for args in [
        ["--runs", RUNS_BROKEN, "--hasty"].as_slice(),
        &["--runs", RUNS_BROKEN, "--hasty", "--folder"],
    ] {
        let (done, said) = crash(args);
        assert_eq!(done.status.code(), Some(1));
        assert!(said.contains("is lost"));
    }
}

#[test]
fn nothing_is_left_behind() {
    let temp = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_eciton-crash"));
    let done = command
        .args(["--runs", "2"])
        .env("TMPDIR", temp.path())
        .output()
        .unwrap();
    assert!(done.status.success());
    assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 0);
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let here = temp.path().display().to_string();
    assert!(!mounts.contains(&here), "{mounts}");
}
