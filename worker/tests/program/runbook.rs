//! Follows the runbook line by line: backup and restore. And `deploy/up`, the swarm that its first page promises.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use rustix::process::Signal;

use crate::peer::until;
use crate::readme::blocks;
use crate::support::{Ended, Place, aggregation, measurements, program};
use crate::swarm::{Worker, answered, free_address, got, wait_for};

const RUNBOOK: &str = include_str!("../../../deploy/RUNBOOK.md");

/// The calls of the block of the runbook that begins with this comment, with the paths of a place.
fn calls(place: &Place, title: &str) -> Vec<Vec<String>> {
    let first = format!("# {title}\n");
    let block = blocks(RUNBOOK)
        .into_iter()
        .find(|block| block.language == "sh" && block.text.starts_with(&first))
        .unwrap_or_else(|| panic!("no block `{first}`"));
    let own = |word: &str| match word {
        "/db" => place.path("damaged").display().to_string(),
        "/restored" => place.db().display().to_string(),
        "/a" => place.path("a").display().to_string(),
        "/p" => place.path("p").display().to_string(),
        "/backups/main" => place.path("backups").display().to_string(),
        other => other.to_owned(),
    };
    let lines = block
        .text
        .lines()
        .filter_map(|line| line.strip_prefix("eciton "));
    lines
        .map(|line| line.split_whitespace().map(own).collect())
        .collect()
}

fn call<W: AsRef<OsStr>>(place: &Place, words: &[W]) -> Ended {
    let mut command = program();
    command.args(words).current_dir(place.path(""));
    command.output().unwrap().into()
}

/// A mirrored database whose active path is gone: it is given up, brought back, and the other one may go.
#[test]
fn the_lines_of_the_runbook_bring_a_storage_path_back() {
    let place = Place::new();
    place.write("a.csv", measurements(500));
    place.write("done.toml", aggregation("2KiB"));
    let mirrored =
        |words: &[&str]| call(&place, &[words, &["--db", "a", "--standby", "p"]].concat());
    mirrored(&["run", "done.toml"]).done();
    let scan = ["scan", "stations", "--json"];
    let before = mirrored(&scan).done().stdout;
    std::fs::remove_dir_all(place.path("a")).unwrap();
    let refused = mirrored(&["db", "compact"]);
    assert!(refused.stderr.contains("storage path lost"), "{refused:#?}");
    for words in calls(&place, "a storage path is gone for good") {
        call(&place, &words).done();
    }
    for words in calls(&place, "a storage path failed") {
        call(&place, &words).done();
    }
    assert_eq!(mirrored(&scan).done().stdout, before);
    // The other one, this time.
    std::fs::rename(place.path("p"), place.path("gone")).unwrap();
    let seal = ["db", "seal", "--lost", "p", "--json"];
    let sealed = mirrored(&seal).done();
    assert!(sealed.stdout.contains("\"generation\":3"), "{sealed:#?}");
    assert_eq!(mirrored(&scan).done().stdout, before);
    mirrored(&["db", "verify"]).done();
}

/// A database with a job that is done and one that goes on, a backup, more work, a disaster, and the way back.
#[test]
fn the_lines_of_the_runbook_bring_a_database_back() {
    let place = Place::new();
    place.write("a.csv", measurements(500));
    place.write("done.toml", aggregation("2KiB"));
    let open = aggregation("2KiB").replace("\"stations\"", "\"later\"");
    place.write("open.toml", open);
    let damaged = |words: &[&str]| call(&place, &[words, &["--db", "damaged"]].concat()).done();
    damaged(&["run", "done.toml"]);
    damaged(&["submit", "open.toml"]);
    let before = damaged(&["scan", "stations", "--json"]).stdout;
    let backup = calls(&place, "backup");
    assert_eq!(backup.len(), 2, "{backup:?}");
    for words in &backup {
        call(&place, words).done();
    }
    damaged(&["put", "lost", "k", "1", "--create"]);
    std::fs::remove_dir_all(place.path("damaged")).unwrap();

    let mut restore = calls(&place, "restore");
    let worker = restore.pop().unwrap();
    assert_eq!(worker[0], "worker", "{worker:?}");
    assert_eq!(restore.len(), 3, "{restore:?}");
    let ended: Vec<Ended> = restore
        .iter()
        .map(|words| call(&place, words).done())
        .collect();
    assert!(ended[2].stdout.contains("later"), "{:?}", ended[2]);
    let mut command = program();
    command
        .args(&worker)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let worker = Worker::of(command.current_dir(place.path("")).spawn().unwrap());
    // What was open at the backup goes on; what was done is as it was.
    wait_for(&place, &["stations", "later"]);
    worker.send(Signal::TERM);
    worker.ended().done();
    assert_eq!(place.records("stations"), before);
    assert_eq!(place.records("later"), before);
}

#[test]
fn the_script_starts_a_swarm_that_prometheus_watches_and_ends_it_again() {
    let place = Place::new();
    place.write("a.csv", measurements(500));
    place.write("job.toml", aggregation("2KiB"));
    // Three in a row that are free, most likely.
    let metrics = free_address().port() | 3;
    let [prometheus, grpc] = [free_address(), free_address()];
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/up");
    let mut command = Command::new(script);
    command
        .args(["--workers", "3", "--db"])
        .arg(place.db())
        .arg("--data")
        .arg(place.path(""))
        .args(["--metrics-port", &metrics.to_string()])
        .args(["--prometheus-port", &prometheus.port().to_string()])
        .args(["--grpc-port", &grpc.port().to_string()])
        .env("ECITON", env!("CARGO_BIN_EXE_eciton"))
        .env_remove("ECITON_REDIS")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let swarm = Worker::of(command.spawn().unwrap());
    let at = grpc.to_string();
    let peer = |args: &[&str]| -> Ended {
        let mut command = program();
        command.args(args).args(["--peer", &at]);
        command.current_dir(place.path("")).output().unwrap().into()
    };
    until(|| peer(&["job", "ls"]).code == Some(0));
    peer(&["submit", "job.toml"]).done();
    wait_for(&place, &["stations"]);
    let is_watched = || {
        let up = "/api/v1/query?query=sum(up%7Bjob%3D%22eciton%22%7D)";
        answered(prometheus, "/-/ready", "").is_some_and(|(status, _)| status == 200)
            && got(prometheus, up).contains("\"3\"]")
    };
    while !is_watched() {
        sleep(Duration::from_millis(50));
    }
    let rules = got(prometheus, "/api/v1/rules");
    assert!(rules.contains("EcitonNoWorkers"), "{rules}");
    swarm.send(Signal::TERM);
    swarm.ended().done();
    assert_eq!(
        answered(prometheus, "/-/ready", ""),
        None,
        "Prometheus is still there"
    );
}
