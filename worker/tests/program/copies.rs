//! Space and copies: `db compact`, `backup`, `restore`, `publish`, and `verify` of backups.

use std::path::Path;

use crate::support::{Ended, Place};

/// A database with a few records, and the position it has then.
fn filled(place: &Place) -> u64 {
    place.call(&["store", "create", "s"]).done();
    for key in 0..20 {
        let key = key.to_string();
        place.call(&["put", "s", &key, "\"some value\""]).done();
    }
    position(place)
}

fn position(place: &Place) -> u64 {
    let info = place.call(&["db", "info", "--json"]).done().json();
    info["position"].as_u64().unwrap()
}

fn folder_len(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    let len = |entry: std::fs::DirEntry| {
        if entry.file_type().unwrap().is_dir() {
            folder_len(&entry.path())
        } else {
            entry.metadata().unwrap().len()
        }
    };
    entries.map(len).sum()
}

#[test]
fn an_emptied_database_is_small_once_it_is_compacted() {
    let place = Place::new();
    filled(&place);
    for key in 0..20 {
        place.call(&["del", "s", &key.to_string()]).done();
    }
    let outcome = place.call(&["db", "compact", "--json"]).done().json();
    assert_eq!(outcome["lost"], false, "{outcome}");
    let len = folder_len(&place.db());
    assert!(len < 1_000_000, "{len} bytes");
    assert_eq!(place.records("s"), "");
    place.call(&["db", "verify"]).done();
    let nowhere = Place::with_db("nowhere");
    nowhere.call(&["db", "compact"]).with_code(2);
}

#[test]
fn backups_are_taken_verified_and_restored_to_any_position_that_they_cover() {
    let place = Place::new();
    let before = filled(&place);
    let records = place.records("s");
    let first = place
        .call(&["db", "backup", "backups", "--json"])
        .done()
        .json();
    assert_eq!(
        (&first["backup"], &first["position"]),
        (&1.into(), &before.into())
    );
    place.call(&["put", "s", "99", "\"late\""]).done();
    let second = place
        .call(&["db", "backup", "backups", "--full", "--json"])
        .done()
        .json();
    assert_eq!(second["backup"], 2);
    let report = place
        .call(&["db", "verify", "--backups", "backups", "--json"])
        .done()
        .json();
    assert_eq!(report["ok"], true, "{report}");

    let restore = |to: &str, args: &[&str]| {
        let to = place.path(to);
        let mut command = crate::support::program();
        command
            .current_dir(place.path(""))
            .args(["db", "restore", "backups", "--json"]);
        command.args(args).arg("--db").arg(to);
        Ended::from(command.output().unwrap())
    };
    let scan = |db: &str| {
        let mut command = crate::support::program();
        command
            .args(["scan", "s", "--json", "--db"])
            .arg(place.path(db));
        Ended::from(command.output().unwrap()).done().stdout
    };
    let newest = restore("newest", &[]).done().json();
    assert_eq!(newest["position"], second["position"]);
    assert_ne!(newest["instance"], first["instance"]);
    assert_eq!(scan("newest"), place.records("s"));
    let position = before.to_string();
    restore("earlier", &["--position", &position]).done();
    assert_eq!(scan("earlier"), records);
    restore("never", &["--position", "4711"])
        .with_code(2)
        .told(&["4711", "not covered", "covered are 0 to"]);
    restore("newest", &[]).with_code(2).told(&["not empty"]);
    place
        .call(&["db", "backup", "db"])
        .with_code(2)
        .told(&["no place for backups"]);
}

#[test]
fn a_damaged_backup_is_named() {
    let place = Place::new();
    filled(&place);
    place.call(&["db", "backup", "backups"]).done();
    let entry = place.path("backups/backup/0000000000000001");
    let mut bytes = std::fs::read(&entry).unwrap();
    bytes[40] ^= 1;
    std::fs::write(&entry, bytes).unwrap();
    place
        .call(&["db", "verify", "--backups", "backups"])
        .with_code(1)
        .told(&["broken"]);
}

#[test]
fn a_published_copy_shows_the_same_and_has_no_log() {
    let place = Place::new();
    let at = filled(&place);
    let published = place
        .call(&["db", "publish", "published", "--json"])
        .done()
        .json();
    assert_eq!(published["position"], at, "{published}");
    assert!(!place.path("published/log").exists());
    assert!(!place.path("published/LOCK").exists());
    let mut command = crate::support::program();
    command
        .args(["scan", "s", "--json", "--db"])
        .arg(place.path("published"));
    let ended = Ended::from(command.output().unwrap()).done();
    assert_eq!(ended.stdout, place.records("s"));
    place
        .call(&["db", "publish", "published"])
        .with_code(2)
        .told(&["not empty"]);
}

#[test]
fn pages_are_compressed_as_asked() {
    let place = Place::new();
    place.call(&["store", "create", "s"]).done();
    let text: Vec<String> = (0..2000)
        .map(|word| (word * word % 997).to_string())
        .collect();
    let value = format!("\"{}\"", text.join(" "));
    for key in 0..20 {
        place.call(&["put", "s", &key.to_string(), &value]).done();
    }
    let records = place.records("s");
    let len = |compression: &str| {
        let call = ["db", "compact", "--compression", compression, "--json"];
        let outcome = place.call(&call).done().json();
        assert_eq!(place.records("s"), records, "{compression}");
        place.call(&["db", "verify"]).done();
        outcome["bytes"].as_u64().unwrap()
    };
    let (none, lz4, zstd) = (len("none"), len("lz4"), len("zstd"));
    assert!(zstd < lz4 && lz4 < none, "{zstd} {lz4} {none}");
    // The same from the environment, and from the file of settings.
    let from = |folder: &str, name: &str, value: &str| {
        let mut command = place.command(&["db", "publish", folder, "--json"]);
        let ended = Ended::from(command.env(name, value).output().unwrap());
        ended.done().json()["bytes"].as_u64().unwrap()
    };
    let small = from("small", "ECITON_COMPRESSION", "zstd");
    let large = from("large", "ECITON_COMPRESSION", "none");
    assert!(small * 2 < large, "{small} {large}");
    std::fs::write(place.path("eciton.toml"), "compression = \"zstd\"\n").unwrap();
    assert_eq!(from("filed", "ECITON_COMPRESSION", ""), small);
}

/// Flips a bit of the only file of a folder.
fn flip_only(folder: &Path) {
    let mut files = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    let file = files.next().unwrap().path();
    assert!(
        files.next().is_none(),
        "more than one in {}",
        folder.display()
    );
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[9] ^= 1;
    std::fs::write(&file, bytes).unwrap();
}

#[test]
fn a_backup_that_says_done_can_be_restored() {
    for full in [&["--full"][..], &[]] {
        let place = Place::new();
        filled(&place);
        let records = place.records("s");
        let backup = |place: &Place| {
            let args = [&["db", "backup", "backups", "--json"], full].concat();
            place.call(&args)
        };
        backup(&place).done();
        flip_only(&place.path("backups/part"));
        let verify = ["db", "verify", "--backups", "backups"];
        place.call(&verify).with_code(1);
        let taken = backup(&place).done().json();
        assert_eq!(taken["damaged"], serde_json::json!([]), "{taken}");
        place.call(&verify).done();
        let other = Place::with_db("restored");
        let backups = place.path("backups");
        let backups = backups.to_str().unwrap();
        other.call(&["db", "restore", backups]).done();
        assert_eq!(other.records("s"), records);

        // What the database has no more cannot be copied again: the new backup does without it.
        place.call(&["db", "compact"]).done();
        flip_only(&place.path("backups/part"));
        let ended = backup(&place);
        if full.is_empty() {
            ended.done();
        } else {
            let ended = ended.with_code(1);
            ended.told(&[
                "backup 3 is taken and can be restored",
                "1 object of earlier ones is",
            ]);
        }
        place.call(&verify).with_code(1);
        let other = Place::with_db("again");
        other.call(&["db", "restore", backups]).done();
        assert_eq!(other.records("s"), records);

        // The newest entry is gone: none is taken in its place.
        let entry = place.path("backups/backup/0000000000000003");
        std::fs::remove_file(entry).unwrap();
        place.call(&verify).with_code(1);
        let other = Place::with_db("not");
        let refused = other.call(&["db", "restore", backups]).with_code(1);
        refused.told(&["backup/0000000000000003", "missing", "--position"]);
        assert!(!other.db().join("INSTANCE").exists());
    }
}

/// What lies within a database belongs to it, and what lies among backups would be taken for one.
#[test]
fn copies_into_each_other_are_refused_whatever_the_way_there() {
    let place = Place::new();
    filled(&place);
    place.call(&["db", "backup", "backups"]).done();
    std::os::unix::fs::symlink(place.db(), place.path("link")).unwrap();
    std::fs::create_dir(place.path("other")).unwrap();
    for folder in [
        "db",
        "db/in",
        "link/in",
        "other/../db/in",
        "new/../link/in",
        ".",
    ] {
        for call in ["backup", "publish"] {
            let refused = place.call(&["db", call, folder]).with_code(2);
            refused.told(&["no place for", "outside"]);
        }
    }
    // A database among backups, and backups in what is to be a database.
    let restored = |to: &str| {
        let mut command = crate::support::program();
        command
            .current_dir(place.path(""))
            .args(["db", "restore", "backups", "--db", to]);
        Ended::from(command.output().unwrap()).with_code(2)
    };
    for to in ["backups", "backups/in", "backups/part/in", "."] {
        restored(to).told(&["no place for a restored database"]);
    }
    place.call(&["db", "verify"]).done();
    place.call(&["db", "verify", "--backups", "backups"]).done();
    assert!(!place.path("new").exists());
}
