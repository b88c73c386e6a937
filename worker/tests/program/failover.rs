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
    // A path is not opened alone.
    let refused = place.call(&["scan", "levels"]);
    assert_ne!(refused.code, Some(0), "{refused:#?}");
    assert!(refused.stderr.contains("--standby"), "{refused:#?}");
}
