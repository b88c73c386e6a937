//! The short form of the harness of storage paths that fail for real.

#![cfg(target_os = "linux")]
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::process::Command;

#[test]
fn every_process_goes_on_with_the_standby_path_and_no_commit_is_lost() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_eciton-crash"));
    command.args(["mirror", "--faults", "24", "--within", "40"]);
    let done = command.output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    println!("{said}{}", String::from_utf8_lossy(&done.stderr));
    if done.status.code() == Some(3) {
        eprintln!("not tested: no file system can be mounted here, or made to fail");
        return;
    }
    assert!(done.status.success());
    let last = said.lines().last().unwrap_or_default();
    assert!(last.ends_with(" violations 0") && !last.starts_with("faults 0"));
}
