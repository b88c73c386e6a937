//! Jobs that write files, killed and resumed while a reader looks at their folder.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use crate::kill::{Random, seed};
use crate::support::{Place, measurements};

/// Kills that hit a running process.
const KILLS: u32 = 25;

const JOB: &str = r#"name = "levels"
[source]
format = "csv"
paths = ["*.csv"]
shard_size = "2KiB"
[export]
to = "out"
format = "csv"
partition_by = ["station"]
"#;

fn place() -> Place {
    let place = Place::new();
    place.write("a.csv", measurements(2000));
    place.write("job.toml", JOB);
    place
}

/// The files that a reader of the folder sees, by path.
fn visible(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut left = vec![folder.to_owned()];
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.file_name().unwrap().to_str().unwrap().starts_with('_') {
                continue;
            }
            match path.is_dir() {
                true => left.push(path),
                false => {
                    let name = path.strip_prefix(folder).unwrap().display().to_string();
                    found.insert(name, fs::read(&path).unwrap());
                }
            }
        }
    }
    found
}

#[test]
fn an_export_is_told_planned_and_listed() {
    let place = place();
    let plan = place.call(&["plan", "job.toml"]).done().stdout;
    assert!(plan.contains("target   csv files in "), "{plan}");
    assert!(
        plan.contains("folders: station\n           columns: id, level, flow, note"),
        "{plan}"
    );
    assert!(!place.path("out").exists(), "a plan writes nothing");
    let run = place.call(&["run", "job.toml"]).done().stdout;
    assert!(run.contains("/out, listed in _manifest.json"), "{run}");
    let told = place.job("levels");
    assert_eq!(told["export_to"], place.path("out").to_str().unwrap());
    let manifest = fs::read(place.path("out/_manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(manifest["rows"], 2000);
    let removed = place
        .call(&["job", "rm", "levels", "--with-results"])
        .done();
    assert!(removed.stdout.contains("is removed"), "{removed:?}");
    assert!(!place.path("out").exists());
}

/// A file that is seen is whole, and the same ever after; in the end there are those of a run that nobody disturbed.
#[test]
fn files_survive_kills_and_no_reader_sees_a_part_of_one() {
    let mut random = Random(seed());
    let undisturbed = place();
    let started = Instant::now();
    undisturbed
        .call(&["run", "job.toml", "--commit-interval", "0s"])
        .done();
    let moments_us = u64::try_from(started.elapsed().as_micros()).unwrap() * 11 / 10;
    let expected = visible(&undisturbed.path("out"));
    let manifest = fs::read(undisturbed.path("out/_manifest.json")).unwrap();
    assert!(expected.len() > 100, "{} files", expected.len());

    let mut kills = 0;
    while kills < KILLS {
        let place = place();
        let folder = place.path("out");
        let is_over = AtomicBool::new(false);
        scope(|scope| {
            let reader = scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    for (path, bytes) in visible(&folder) {
                        assert!(expected[&path] == bytes, "{path} is another one");
                    }
                    if let Ok(found) = fs::read(folder.join("_manifest.json")) {
                        assert!(found == manifest, "the manifest is another one");
                        assert_eq!(visible(&folder).len(), expected.len());
                    }
                }
            });
            while kills < KILLS {
                let interval = if kills % 3 == 2 { "500ms" } else { "0s" };
                let mut command =
                    place.command(&["run", "job.toml", "--commit-interval", interval]);
                let mut child = command
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .spawn()
                    .unwrap();
                // The moment itself is what is being tried.
                sleep(Duration::from_micros(random.below(moments_us)));
                child.kill().unwrap();
                if child.wait().unwrap().code().is_some() {
                    break;
                }
                kills += 1;
            }
            place.call(&["run", "job.toml"]).done();
            is_over.store(true, Ordering::Relaxed);
            reader.join().unwrap();
        });
        assert!(
            visible(&folder) == expected,
            "other files than those of an undisturbed run"
        );
        assert!(fs::read(folder.join("_manifest.json")).unwrap() == manifest);
        let names = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name());
        let left = names.filter(|name| name.to_string_lossy().starts_with("_eciton"));
        assert_eq!(left.count(), 0, "staging folders");
    }
}
