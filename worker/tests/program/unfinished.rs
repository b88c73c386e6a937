//! Places that are no database, or not yet: nothing is created there by accident.

use crate::dropped_store::numbers;
use crate::support::{Ended, Place};

/// What writes where there may be no database yet.
const CREATING: [&[&str]; 7] = [
    &["db", "init"],
    &["put", "s", "k", "1", "--create"],
    &["store", "create", "s"],
    &["submit", "job.toml"],
    &["run", "job.toml"],
    &["worker", "--create"],
    &["up", "--workers", "1", "--until-idle"],
];

fn names(place: &Place) -> Vec<String> {
    let entries = std::fs::read_dir(place.db()).unwrap();
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name();
    let mut names: Vec<String> = entries
        .map(|entry| name(entry).into_string().unwrap())
        .filter(|name| name != "LOCK" && name != "tmp")
        .collect();
    names.sort();
    names
}

/// As a restore or a publish leaves it that was killed: with its marker, and without `INSTANCE`.
#[test]
fn what_an_interrupted_copy_left_becomes_no_database() {
    let place = Place::new();
    place.write("job.toml", numbers(3));
    let original = Place::with_db("original");
    original.call(&["put", "s", "k", "1", "--create"]).done();
    let backups = place.path("backups");
    let backups = backups.to_str().unwrap();
    original.call(&["db", "backup", backups]).done();
    std::fs::create_dir_all(place.db().join("segment")).unwrap();
    place.write("db/UNFINISHED", "");
    place.write("db/segment/half", "half of a segment");
    let before = names(&place);
    let refused = |ended: Ended| {
        ended.with_code(2).told(&[
            "UNFINISHED",
            "interrupted",
            "eciton db restore",
            "eciton db publish",
        ]);
    };
    for call in CREATING {
        refused(place.call(call));
        assert_eq!(names(&place), before, "{call:?}");
    }
    for call in [
        &["scan", "s"][..],
        &["db", "verify"],
        &["db", "info"],
        &["worker"],
    ] {
        refused(place.call(call));
    }
    // Nothing is started for it either.
    let up = place.call(&["up", "--workers", "1"]);
    assert!(!up.stdout.contains("started"), "{up:#?}");
    refused(up);
    // Restoring clears it and begins again.
    place.call(&["db", "restore", backups]).done();
    assert_eq!(place.records("s"), "{\"key\":\"k\",\"value\":1}\n");
    assert!(!names(&place).contains(&"UNFINISHED".to_owned()));
    place.call(&["db", "verify"]).done();

    // A whole database with the marker is named, and not written over.
    place.write("db/UNFINISHED", "");
    let verified = place.call(&["db", "verify", "--json"]).done().stdout;
    assert!(verified.contains("UNFINISHED"), "{verified}");
    place.call(&["db", "restore", backups]).with_code(2).told(&[
        "INSTANCE",
        "UNFINISHED",
        "remove",
    ]);
    assert_eq!(place.records("s"), "{\"key\":\"k\",\"value\":1}\n");
}

#[test]
fn a_worker_creates_no_database_where_it_is_not_told_to() {
    let place = Place::new();
    place
        .call(&["worker"])
        .with_code(2)
        .told(&["not a database", "eciton db init", "--create"]);
    assert!(!place.db().exists());
    std::fs::create_dir(place.db()).unwrap();
    place
        .call(&["worker"])
        .with_code(2)
        .told(&["not a database"]);
    assert!(names(&place).is_empty());
}
