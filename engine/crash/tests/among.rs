//! The short form of the harness of many processes, and that it notices what is broken on purpose.

#![cfg(target_os = "linux")]
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::process::{Command, Output, Stdio};

fn among(args: &[&str]) -> (Output, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_eciton-crash"));
    let done = command.arg("among").args(args).output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    println!("{said}{}", String::from_utf8_lossy(&done.stderr));
    (done, said)
}

fn last_line(said: &str) -> &str {
    said.lines().last().unwrap_or_default()
}

/// The number after a word in the last line.
fn number(said: &str, word: &str) -> u64 {
    let rest = last_line(said).split_once(&format!(" {word} ")).unwrap().1;
    let digits = rest.split(' ').next().unwrap();
    digits.parse().unwrap()
}

#[test]
fn processes_and_redis_are_struck_and_everything_has_one_order() {
    let (done, said) = among(&["--processes", "5", "--seconds", "20", "--rate", "60"]);
    assert!(last_line(&said).ends_with(" violations 0"));
    assert!(done.status.success());
}

#[test]
fn masters_of_a_cluster_are_struck_and_everything_has_one_order() {
    let args = ["--cluster", "--processes", "5", "--seconds", "20"];
    let (done, said) = among(&args);
    assert!(last_line(&said).ends_with(" violations 0"));
    assert!(done.status.success());
    assert!(number(&said, "redis kills") + number(&said, "redis stops") > 0);
}

#[test]
fn links_are_cut_and_everything_has_one_order() {
    assert!(
        rustix::process::geteuid().is_root(),
        "this test makes network namespaces: it must run as root, with `ip` of iproute2"
    );
    let mut command = Command::new(env!("CARGO_BIN_EXE_eciton-crash"));
    let args = ["among", "--split", "--processes", "6", "--seconds", "20"];
    let child = command.args(args).stdout(Stdio::piped()).spawn().unwrap();
    let namespaces = format!("eciton-among-{}-", child.id());
    let done = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    println!("{said}");
    assert!(last_line(&said).ends_with(" violations 0"));
    assert!(done.status.success());
    assert!(number(&said, "cuts") > 0);
    let listed = Command::new("ip").args(["netns", "list"]).output().unwrap();
    assert!(!String::from_utf8_lossy(&listed.stdout).contains(&namespaces));
}

#[test]
fn nothing_is_split_without_namespaces() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_eciton-crash"));
    let done = command
        .args(["among", "--split", "--seconds", "1"])
        // Without `ip`, as without the right to make namespaces.
        .env("PATH", "/nowhere")
        .output()
        .unwrap();
    assert_eq!(done.status.code(), Some(3));
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(said.contains("network namespaces cannot be made: this needs root, and `ip`"));
}

#[test]
fn processes_that_acknowledge_too_early_are_noticed() {
    let (done, said) = among(&["--processes", "4", "--seconds", "6", "--hasty"]);
    assert_eq!(done.status.code(), Some(1));
    assert!(said.contains("is lost, it was acknowledged"));
}

#[test]
fn stale_reads_are_noticed() {
    let (done, said) = among(&["--processes", "4", "--seconds", "6", "--stale"]);
    assert_eq!(done.status.code(), Some(1));
    assert!(said.contains("was over before it began"));
    assert!(said.contains("not strictly serializable"));
}

#[test]
fn nothing_is_left_behind() {
    let temp = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_eciton-crash"));
    let done = command
        .args(["among", "--processes", "2", "--seconds", "3"])
        .env("TMPDIR", temp.path())
        .output()
        .unwrap();
    println!("{}", String::from_utf8_lossy(&done.stdout));
    assert!(done.status.success());
    assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 0);
}
