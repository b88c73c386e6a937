//! A job whose storage path fails while it runs: it goes on with the other path, and its answer is right.

#![cfg(target_os = "linux")]

use crate::full_disk::Disk;
use crate::support::{Place, measurements, upsert};

/// Rows of the job: its records take more than what is left on the disk.
const ROWS: u32 = 20_000;

#[test]
fn a_job_goes_on_when_its_storage_path_fills_up() {
    let undisturbed = Place::new();
    undisturbed.write("m.csv", measurements(ROWS));
    undisturbed.write("job.toml", upsert("4KiB"));
    undisturbed.call(&["run", "job.toml"]).done();
    let expected = undisturbed.records("levels");

    let place = Place::with_db("disk/db");
    let Some(disk) = Disk::mount(&place) else {
        println!("not tested: no right to mount a file system");
        return;
    };
    place.write("m.csv", measurements(ROWS));
    place.write("job.toml", upsert("4KiB"));
    place.call(&["db", "init", "--standby", "standby"]).done();
    let filler = disk.fill(256 * 1024);
    let run = [
        "run",
        "job.toml",
        "--commit-interval",
        "0s",
        "--standby",
        "standby",
    ];
    let ended = place.call(&run).done();
    for words in ["[Failover]", "disk/db", "no_space"] {
        assert!(ended.stderr.contains(words), "{words}: {ended:#?}");
    }
    std::fs::remove_file(filler).unwrap();
    let scan = ["scan", "levels", "--json", "--standby", "standby"];
    assert_eq!(place.call(&scan).done().stdout, expected);
    let verify = ["db", "verify", "--standby", "standby"];
    place.call(&verify).done();
    let backup = ["db", "backup", "backups", "--standby", "standby"];
    place.call(&backup).done();
    let (other, backups) = (Place::new(), place.path("backups"));
    other
        .call(&["db", "restore", backups.to_str().unwrap()])
        .done();
    assert_eq!(other.records("levels"), expected);
    // Emptied, it comes back where it was; then the other one is lost.
    let reinstate = ["db", "reinstate", "disk/db", "--standby", "standby"];
    let refused = place.call(&reinstate);
    assert!(refused.stderr.contains("--replace"), "{refused:#?}");
    let replace = [&reinstate[..], &["--replace", "--json"]].concat();
    let done = place.call(&replace).done();
    assert!(done.stdout.contains("\"generation\":2"), "{done:#?}");
    place.call(&verify).done();
    std::fs::rename(place.path("standby"), place.path("lost")).unwrap();
    let seal = ["db", "seal", "--lost", "standby", "--standby", "standby"];
    place.call(&seal).done();
    assert_eq!(place.call(&scan).done().stdout, expected);
    place.call(&verify).done();
    // A path is not opened alone.
    let refused = place.call(&["scan", "levels"]);
    assert_ne!(refused.code, Some(0), "{refused:#?}");
    assert!(refused.stderr.contains("--standby"), "{refused:#?}");
}

/// Damage on one path is restored from the other; on both, the command says so and ends with 1.
#[test]
fn scrubbing_restores_what_is_damaged_on_one_path() {
    let place = Place::new();
    let standby = ["--standby", "standby"];
    let with_standby = |args: &[&str]| place.call(&[args, &standby].concat());
    with_standby(&["db", "init"]).done();
    with_standby(&["put", "things", "1", "\"one\"", "--create"]).done();
    let slot = |path: std::path::PathBuf| {
        let mut folders = vec![path.join("log")];
        let mut files = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => folders.push(path),
                    false => files.push(path),
                }
            }
        }
        files.sort();
        files.remove(0)
    };
    let (first, second) = (slot(place.db()), slot(place.path("standby")));
    let whole = std::fs::read(&second).unwrap();
    let mut rotten = whole.clone();
    rotten[100] ^= 1;
    std::fs::write(&second, &rotten).unwrap();
    let scrubbed = with_standby(&["db", "scrub", "--json"]).done().json();
    assert_eq!(scrubbed["ok"], true, "{scrubbed}");
    assert_eq!(scrubbed["healed"][0]["kind"], "damaged", "{scrubbed}");
    assert_eq!(std::fs::read(&second).unwrap(), whole);
    with_standby(&["db", "verify"]).done();
    for path in [first, second] {
        std::fs::write(path, &rotten).unwrap();
    }
    let scrubbed = with_standby(&["db", "scrub", "--bandwidth", "50MiB"]);
    assert_eq!(scrubbed.code, Some(1), "{scrubbed:#?}");
    let alone = place.call(&["db", "scrub"]);
    assert_eq!(alone.code, Some(2), "{alone:#?}");
}
