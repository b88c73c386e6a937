//! Folders from strangers: links, objects without end, numbers beyond any, pipes. Each is an error that names what it
//! is; nothing outside of the folder is touched, and nothing panics.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use eciton_engine::base::{
    Datum, Error, FloorId, Generation, Key, ManifestId, Op, Position, Result, TxId,
};
use eciton_engine::db::{Db, Options, ScanRange, StoreSchema, verify_folder};
use eciton_engine::fold::{LogPlace, Manifest};
use eciton_engine::log::{Body, Floor, LogRecord, SlotHeader, slot};
use eciton_engine::storage::Name;

use crate::support::join;

fn key(number: u64) -> Key {
    Key::from_datums(&[Datum::Int(i128::from(number))]).unwrap()
}

async fn put(db: &Db, number: u64) -> Result<()> {
    let store = db.create_store("s", StoreSchema::default()).await?;
    let mut transaction = db.begin();
    transaction.put(&store, &key(number), b"\"value\"".to_vec())?;
    transaction.commit().await.map(drop)
}

/// A database of a few records, closed: one that processes share, with its log in files of a slot, or one of one process.
async fn sample(folder: &Path, clustered: bool) {
    let db = match clustered {
        true => join(folder).await.unwrap(),
        false => Db::open(folder, Options::default()).await.unwrap(),
    };
    for number in 0..5 {
        put(&db, number).await.unwrap();
    }
    if !clustered {
        db.fold().await.unwrap();
        put(&db, 5).await.unwrap();
    }
    db.close().await.unwrap();
}

/// Opens in every way, reads everything and writes one record.
async fn open_in_every_way(folder: &Path) -> Vec<Result<()>> {
    let read = async |db: Db| {
        let store = db.store("s").await?;
        if let Some(store) = store {
            let mut scan = db.snapshot().scan(&store, &ScanRange::all());
            while scan.next().await?.is_some() {}
        }
        Ok(())
    };
    let mut done = Vec::new();
    done.push(match Db::open_read_only(folder, Options::default()).await {
        Ok(db) => read(db).await,
        Err(error) => Err(error),
    });
    done.push(match join(folder).await {
        Ok(db) => put(&db, 50).await.and(read(db).await),
        Err(error) => Err(error),
    });
    done.push(match Db::open(folder, Options::default()).await {
        Ok(db) => put(&db, 51).await.and(read(db).await),
        Err(error) => Err(error),
    });
    done
}

/// A link in place of anything that a database has at its top: nothing is opened, in no mode, and what the link leads to
/// stays as it is. A link to nothing is no better.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_in_place_of_a_part_of_a_database_is_refused_and_not_followed() {
    for name in ["LOCK", "INSTANCE", "tmp", "log", "seg", "manifest", "floor"] {
        for dangles in [false, true] {
            let parent = tempfile::tempdir().unwrap();
            let (db, outside) = (parent.path().join("db"), parent.path().join("outside"));
            sample(&db, false).await;
            let part = db.join(name);
            if part.exists() {
                std::fs::rename(&part, &outside).unwrap();
            } else {
                std::fs::create_dir(&outside).unwrap();
            }
            let mut kept = vec![outside.clone()];
            if outside.is_dir() {
                for file in ["mine", "4711-00ff-0"] {
                    kept.push(outside.join(file));
                    std::fs::write(outside.join(file), "precious").unwrap();
                }
            } else if name == "LOCK" {
                std::fs::write(&outside, "precious").unwrap();
            }
            let target = match dangles {
                true => parent.path().join("nowhere"),
                false => outside.clone(),
            };
            symlink(&target, &part).unwrap();
            for opened in open_in_every_way(&db).await {
                let refused = opened.expect_err(name).to_string();
                let named = format!("`{name}` is a symbolic link");
                assert!(refused.contains(&named), "{name}: {refused}");
            }
            assert!(
                !parent.path().join("nowhere").exists(),
                "{name}: made through a link"
            );
            for path in kept {
                assert!(path.exists(), "{name}: {} is gone", path.display());
                if path.is_file() && name != "INSTANCE" {
                    assert_eq!(std::fs::read(&path).unwrap(), b"precious", "{name}");
                }
            }
        }
    }
}

/// Deeper ones are found when they are used: the folder of a generation, a log file, a manifest, a segment, and the name
/// that the next slot would get.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_on_the_way_to_an_object_is_refused_and_not_followed() {
    let files = |folder: &Path, top: &str| -> Vec<PathBuf> {
        let (mut found, mut left) = (Vec::new(), vec![folder.join(top)]);
        while let Some(path) = left.pop() {
            if path.is_dir() {
                let below = std::fs::read_dir(&path).unwrap();
                left.extend(below.map(|entry| entry.unwrap().path()));
            }
            found.push(path);
        }
        found
    };
    for clustered in [false, true] {
        for top in ["log", "manifest", "seg"] {
            let parent = tempfile::tempdir().unwrap();
            let (db, outside) = (parent.path().join("db"), parent.path().join("outside"));
            sample(&db, clustered).await;
            let parts = match db.join(top).exists() {
                true => files(&db, top),
                false => continue,
            };
            for part in parts.into_iter().skip(1) {
                let name = part.strip_prefix(&db).unwrap().to_str().unwrap();
                std::fs::rename(&part, &outside).unwrap();
                symlink(&outside, &part).unwrap();
                for opened in open_in_every_way(&db).await {
                    let refused = opened.expect_err(name).to_string();
                    assert!(refused.contains("is a symbolic link"), "{name}: {refused}");
                    assert!(refused.contains(name), "{name}: {refused}");
                }
                std::fs::remove_file(&part).unwrap();
                std::fs::rename(&outside, &part).unwrap();
            }
            for opened in open_in_every_way(&db).await {
                opened.unwrap();
            }
        }
    }
    // The next slot's name leads out of the folder.
    for clustered in [false, true] {
        let parent = tempfile::tempdir().unwrap();
        let (db, outside) = (parent.path().join("db"), parent.path().join("outside"));
        let opened = match clustered {
            true => join(&db).await.unwrap(),
            false => Db::open(&db, Options::default()).await.unwrap(),
        };
        let next = opened.info().position.next();
        let name = db.join(Name::log(Generation(0), next).as_str());
        std::fs::create_dir_all(name.parent().unwrap()).unwrap();
        symlink(&outside, &name).unwrap();
        let refused = put(&opened, 1).await.unwrap_err().to_string();
        assert!(refused.contains("is a symbolic link"), "{refused}");
        assert!(!outside.exists(), "made through a link");
    }
}

/// In `tmp/` only what has the form of a temporary name is removed, and no link and no folder.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_temporary_files_of_our_own_form_are_removed() {
    for clustered in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        sample(folder.path(), clustered).await;
        let tmp = folder.path().join("tmp");
        std::fs::create_dir_all(tmp.join("4711-0a-1")).unwrap();
        std::fs::write(folder.path().join("mine"), "precious").unwrap();
        symlink(folder.path().join("mine"), tmp.join("4711-0a-2")).unwrap();
        for name in [
            "4711-0a-3",
            "notes.txt",
            "4711-0a",
            "x-0a-3",
            "4711-0a-3.bak",
        ] {
            std::fs::write(tmp.join(name), "bytes").unwrap();
        }
        sample(folder.path(), clustered).await;
        let mut left: Vec<String> = std::fs::read_dir(&tmp)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        let stay = [
            "4711-0a",
            "4711-0a-1",
            "4711-0a-2",
            "4711-0a-3.bak",
            "notes.txt",
            "x-0a-3",
        ];
        assert_eq!(left, stay, "clustered {clustered}");
        assert_eq!(
            std::fs::read(folder.path().join("mine")).unwrap(),
            b"precious"
        );
    }
}

/// Sparse files of terabytes under the names of small objects: what has more bytes than its kind can have is damage,
/// and nothing of it is read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_longer_than_any_of_its_kind_is_damage_and_not_read() {
    const LEN: u64 = 2 << 40;
    let next_manifest = Name::manifest(ManifestId(9)).to_string();
    let floor = Name::floor(FloorId(1)).to_string();
    let slot = Name::log(Generation(0), Position(4)).to_string();
    for (name, clustered) in [
        ("INSTANCE", false),
        (floor.as_str(), false),
        (next_manifest.as_str(), false),
        (slot.as_str(), true),
    ] {
        let folder = tempfile::tempdir().unwrap();
        sample(folder.path(), clustered).await;
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let file = std::fs::OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(false)
            .open(&path);
        file.unwrap().set_len(LEN).unwrap();
        for opened in open_in_every_way(folder.path()).await {
            match opened.expect_err(name) {
                Error::Corrupt { object, detail } => {
                    assert_eq!(object, name, "{detail}");
                    assert!(
                        detail.contains("long") || detail.contains("has more"),
                        "{detail}"
                    );
                }
                other => panic!("{name}: {other}"),
            }
        }
        let verified = verify_folder(folder.path(), &|_| {}).await;
        let named = match &verified {
            Ok(report) => report.broken.iter().any(|broken| broken.object == name),
            Err(error) => error.to_string().contains(name),
        };
        assert!(named, "{name}: {verified:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_after_the_checksum_of_instance_are_damage() {
    for tail in ["x", "\n", "{}\n", "\0"] {
        let folder = tempfile::tempdir().unwrap();
        sample(folder.path(), false).await;
        let path = folder.path().join("INSTANCE");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.extend_from_slice(tail.as_bytes());
        std::fs::write(&path, bytes).unwrap();
        for opened in open_in_every_way(folder.path()).await {
            let refused = opened.unwrap_err();
            assert!(
                matches!(&refused, Error::Corrupt { object, .. } if object == "INSTANCE"),
                "{tail:?}: {refused}"
            );
        }
    }
}

/// A pipe under an object's name: nobody waits for somebody to write into it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipe_in_place_of_an_object_is_waited_for_by_nobody() {
    for name in ["INSTANCE", "LOCK"] {
        let folder = tempfile::tempdir().unwrap();
        sample(folder.path(), false).await;
        let path = folder.path().join(name);
        std::fs::remove_file(&path).unwrap();
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        let opened = open_in_every_way(folder.path()).await;
        assert!(
            opened[1].is_err() && opened[2].is_err(),
            "{name}: {opened:?}"
        );
    }
}

fn write(folder: &Path, name: &Name, bytes: &[u8]) {
    let path = folder.join(name.as_str());
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// Objects with right checksums and numbers that no database comes to: an error in every mode, or what they say does not
/// count, and never a panic or a loop.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_beyond_any_are_errors() {
    let numbers = [u64::MAX, u64::MAX - 1, u64::MAX / 2, (u64::MAX >> 2) + 1];
    let mut crafted: Vec<(Name, Vec<u8>)> = Vec::new();
    let zero = FloorId(0);
    crafted.push((Name::floor(zero), Floor::default().encode(zero).to_vec()));
    let floor = |id: u64, slot: u64, manifest: u64| {
        let floor = Floor {
            slot: Position(slot),
            manifest: ManifestId(manifest),
        };
        (Name::floor(FloorId(id)), floor.encode(FloorId(id)).to_vec())
    };
    for number in numbers {
        crafted.push(floor(number, 1, 0));
        crafted.push(floor(1, number, 0));
        crafted.push(floor(1, 0, number));
        let change: [fn(&mut Manifest, u64); 6] = [
            |manifest, number| manifest.id = ManifestId(number),
            |manifest, number| manifest.folded = Position(number),
            |manifest, number| manifest.generation = Generation(number),
            |manifest, number| manifest.collected = ManifestId(number),
            |manifest, number| {
                manifest.place = Some(LogPlace {
                    generation: Generation(number),
                    first: Position(number),
                    offset: 512,
                });
            },
            |manifest, number| {
                manifest.place = Some(LogPlace {
                    generation: Generation(0),
                    first: Position(1),
                    offset: number,
                });
            },
        ];
        for change in change {
            let mut manifest = Manifest {
                id: ManifestId(9),
                ..Manifest::first()
            };
            change(&mut manifest, number);
            crafted.push((Name::manifest(manifest.id), manifest.encode()));
        }
    }
    for (name, bytes) in crafted {
        let folder = tempfile::tempdir().unwrap();
        sample(folder.path(), false).await;
        write(folder.path(), &name, &bytes);
        for opened in open_in_every_way(folder.path()).await {
            let refused = opened.expect_err(name.as_str());
            assert!(
                matches!(&refused, Error::Corrupt { object, .. } if *object == name.to_string()),
                "{name}: {refused}"
            );
        }
        verify_folder(folder.path(), &|_| {}).await.ok();
    }
    // Floors that fall.
    let folder = tempfile::tempdir().unwrap();
    sample(folder.path(), true).await;
    for (name, bytes) in [floor(1, 3, 0), floor(2, 2, 0)] {
        write(folder.path(), &name, &bytes);
    }
    for opened in open_in_every_way(folder.path()).await {
        drop(opened);
    }
}

/// A file of one slot with a right checksum that follows the log and breaks its rules.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_breaks_the_rules_is_damage() {
    let record = |txid: u128, body: Body| LogRecord {
        txid: TxId(txid),
        read_at: Position(1),
        body,
    };
    let writes = || Body::Writes(vec![(Bytes::from_static(b"\0\0\0\x10a"), Op::Delete)]);
    let crafted: [(&str, Vec<LogRecord>); 5] = [
        (
            "one name twice",
            vec![record(5, writes()), record(5, writes())],
        ),
        ("cancels itself", vec![record(5, Body::Cancel(TxId(5)))]),
        (
            "cancels what is in the slot",
            vec![record(5, writes()), record(6, Body::Cancel(TxId(5)))],
        ),
        (
            "a bulk record with others",
            vec![record(5, Body::Bulk(Vec::new())), record(6, writes())],
        ),
        (
            "collects beyond",
            vec![record(5, Body::Collect(ManifestId(u64::MAX)))],
        ),
    ];
    for (what, records) in crafted {
        let folder = tempfile::tempdir().unwrap();
        sample(folder.path(), true).await;
        let db = join(folder.path()).await.unwrap();
        let last = db.info().position;
        let before = folder.path().join(Name::log(Generation(0), last).as_str());
        let before = slot::decode(&Bytes::from(std::fs::read(before).unwrap())).unwrap();
        let header = SlotHeader {
            version: 2,
            n: last.next(),
            generation: Generation(0),
            prev: before.hash,
            nonce: 7,
            time_ms: 0,
        };
        let (bytes, _) = slot::encode(&header, &records);
        let name = Name::log(Generation(0), last.next());
        write(folder.path(), &name, &bytes);
        let refused = db.refresh().await.expect_err(what);
        assert!(
            matches!(&refused, Error::Corrupt { object, .. } if *object == name.to_string()),
            "{what}: {refused}"
        );
    }
}
