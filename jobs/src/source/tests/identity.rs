//! Files that are not those that were recorded.

use std::fs::{self, File, FileTimes};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use parquet::arrow::ArrowWriter;

use super::super::{
    KeptHash, Source, content_hash, files_now, is_same_file, mend, open_shard, plan,
};
use super::{Folder, gzip, read, zstd};
use crate::spec::JobFile;

const CSV: &str = "format = \"csv\"\npaths = [\"*\"]\nshard_size = 1024\n";
const BY_CONTENT: &str = "verify = \"content\"\n";

fn text(value: u64) -> String {
    format!("a,b\n{}", format!("{value},x\n").repeat(1000))
}

fn set_modified(path: &Path, time: SystemTime) {
    let file = File::options().write(true).open(path).unwrap();
    file.set_times(FileTimes::new().set_modified(time)).unwrap();
}

fn modified(path: &Path) -> SystemTime {
    fs::metadata(path).unwrap().modified().unwrap()
}

fn parquet(value: i64, groups: usize) -> Vec<u8> {
    let column: ArrayRef = Arc::new(Int64Array::from_iter_values(
        (0..500).map(|row| row * value),
    ));
    let batch = RecordBatch::try_from_iter([("a", column)]).unwrap();
    let mut bytes = vec![];
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    for _ in 0..groups {
        writer.write(&batch).unwrap();
        writer.flush().unwrap();
    }
    writer.close().unwrap();
    bytes
}

/// Every kind of file: settings, name, bytes.
fn kinds() -> Vec<(String, &'static str, Vec<u8>)> {
    let parquet_settings = CSV.replace("\"csv\"", "\"parquet\"");
    vec![
        (CSV.to_owned(), "x.csv", text(1).into_bytes()),
        (CSV.to_owned(), "x.csv.gz", gzip(text(1).as_bytes())),
        (CSV.to_owned(), "x.csv.zst", zstd(text(1).as_bytes())),
        (parquet_settings, "x.parquet", parquet(7, 3)),
    ]
}

#[test]
fn a_file_that_is_written_to_is_another_one_whatever_its_format() {
    for (settings, name, bytes) in kinds() {
        let folder = Folder::new(&settings).with(name, &bytes);
        let (source, shards) = folder.open();
        read(&source, &shards).unwrap();
        // The same bytes, at once.
        fs::write(folder.path(name), &bytes).unwrap();
        let message = read(&source, &shards).unwrap_err().to_string();
        let start = format!(
            "`{name}`: the file changed since the job was recorded: expected one last modified at "
        );
        assert!(message.starts_with(&start), "{message}");
    }
}

#[test]
fn a_file_that_changes_while_a_shard_is_read_fails_it_at_its_end() {
    for (settings, name, bytes) in kinds() {
        for is_replaced in [false, true] {
            let folder = Folder::new(&settings).with(name, &bytes);
            let (source, shards) = folder.open();
            let mut reader = open_shard(&source, shards[0], &[0]).unwrap();
            reader.next().unwrap().unwrap();
            if is_replaced {
                let time = modified(&folder.path(name));
                fs::write(folder.path("other"), &bytes).unwrap();
                set_modified(&folder.path("other"), time);
                fs::rename(folder.path("other"), folder.path(name)).unwrap();
            } else {
                fs::write(folder.path(name), &bytes).unwrap();
            }
            let error = reader.find_map(Result::err).expect("it has changed");
            assert!(error.to_string().contains("the file changed"), "{error}");
            assert!(error.is_of_this_place());
            assert_eq!(reader.bytes_hash(), None, "{name}");
        }
    }
}

#[test]
fn any_changed_byte_is_found_by_content_and_a_touched_file_is_the_same() {
    for (settings, name, bytes) in kinds() {
        let folder = Folder::new(&format!("{settings}{BY_CONTENT}")).with(name, &bytes);
        let (source, shards) = folder.open();
        let path = folder.path(name);
        let time = modified(&path);
        set_modified(&path, SystemTime::UNIX_EPOCH + Duration::from_secs(1));
        read(&source, &shards).unwrap();
        // Every so many bytes, those of the end of a Parquet file among them.
        for at in (20..bytes.len()).step_by((bytes.len() / 40).max(1)) {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            fs::write(&path, &changed).unwrap();
            set_modified(&path, time);
            match read(&source, &shards) {
                Err(error) => {
                    let message = error.to_string();
                    assert!(
                        message.contains("the file changed since"),
                        "{name} {at}: {message}"
                    );
                }
                // Bytes around what is compressed need not mean anything.
                Ok(_) => assert!(name.ends_with("gz") || name.ends_with("zst"), "{name} {at}"),
            }
        }
        fs::write(&path, &bytes).unwrap();
        read(&source, &shards).unwrap();
    }
}

#[test]
fn numbers_and_births_mean_nothing_elsewhere() {
    let folder = Folder::new(CSV).with("x.csv", text(1));
    let planned = folder.plan();
    let shards = planned.shards().unwrap();
    let spec = folder.job().into_spec().source.unwrap();
    let source_of = |change: &dyn Fn(&mut eciton_proto::v1::SourceFile)| -> Source {
        let mut planned = planned.clone();
        change(&mut planned.files[0].files[0]);
        planned.source(spec.clone()).unwrap()
    };
    let recorded = &planned.files[0].files[0];
    if recorded.inode != 0 {
        assert!(read(&source_of(&|file| file.inode += 1), &shards).is_err());
        assert!(read(&source_of(&|file| file.birth_ns += 1), &shards).is_err());
    }
    let elsewhere = source_of(&|file| {
        file.device ^= 1;
        file.inode += 1;
        file.birth_ns += 1;
    });
    read(&elsewhere, &shards).unwrap();
    assert!(read(&source_of(&|file| file.mtime_ns += 1), &shards).is_err());
    // Of a job of before only the length is known.
    fs::write(folder.path("x.csv"), text(2)).unwrap();
    let old = source_of(&|file| {
        (file.mtime_ns, file.inode, file.birth_ns, file.device) = (0, 0, 0, 0);
    });
    read(&old, &shards).unwrap();
}

#[test]
fn done_shards_of_every_format_are_held_against_what_they_have_read() {
    for (settings, name, bytes) in kinds() {
        for by_content in ["", BY_CONTENT] {
            let folder = Folder::new(&format!("{settings}{by_content}")).with(name, &bytes);
            let (source, shards) = folder.open();
            let hashes = read(&source, &shards).unwrap().hashes;
            let done = |shard: u64| {
                let hash = hashes[usize::try_from(shard).unwrap()];
                Some(KeptHash::new(content_hash(hash), 24))
            };
            set_modified(
                &folder.path(name),
                SystemTime::UNIX_EPOCH + Duration::from_secs(1),
            );
            let mended = mend(&source, &shards, done).unwrap();
            let now = mended.source(source.spec().clone()).unwrap();
            read(&now, &mended.shards().unwrap()).unwrap();
            // At equal length, and all of it done.
            let other = match name {
                "x.csv" => text(2).into_bytes(),
                "x.parquet" => parquet(8, 3),
                _ => bytes.iter().rev().copied().collect(),
            };
            fs::write(folder.path(name), other).unwrap();
            let refused = mend(&source, &shards, done).unwrap_err().to_string();
            let start = format!("`{name}`: the file changed since the job was recorded");
            assert!(refused.starts_with(&start), "{refused}");
        }
    }
}

#[test]
fn a_mended_file_is_known_by_its_new_content() {
    let folder = Folder::new(&format!(
        "{CSV}{BY_CONTENT}[source.schema]\na = \"int64\"\n"
    ));
    let folder = folder.with("x.csv", text(1).replacen("1,x", "x,x", 1));
    let (source, shards) = folder.open();
    assert!(
        read(&source, &shards)
            .unwrap_err()
            .to_string()
            .contains("expected int64")
    );
    fs::write(folder.path("x.csv"), text(1)).unwrap();
    let mended = mend(&source, &shards, |_| None).unwrap();
    let source = mended.source(source.spec().clone()).unwrap();
    let shards = mended.shards().unwrap();
    assert!(shards.iter().all(|shard| shard.content_hash != 0));
    assert_eq!(read(&source, &shards).unwrap().rows.len(), 1000);
    // Nothing to mend in what is the same.
    let again = mend(&source, &shards, |_| None).unwrap();
    assert_eq!(again, mended);
}

#[test]
fn files_that_came_or_went_are_told_and_other_ones() {
    let folder = Folder::new(CSV)
        .with("a.csv", text(1))
        .with("b.csv", text(1));
    let (source, _) = folder.open();
    let now = || files_now(&folder.job(), source.files());
    assert_eq!(now(), super::super::FilesNow::default());
    fs::write(folder.path("c.csv"), text(1)).unwrap();
    fs::write(folder.path("b.csv"), text(2)).unwrap();
    fs::remove_file(folder.path("a.csv")).unwrap();
    let found = now();
    assert_eq!(found.added, ["c.csv"]);
    assert_eq!(found.missing, ["a.csv"]);
    assert_eq!(found.changed, ["b.csv"]);
    assert_eq!(found.others, None);
    fs::remove_file(folder.path("b.csv")).unwrap();
    assert!(now().others.is_some());
    fs::remove_file(folder.path("c.csv")).unwrap();
    assert_eq!(now(), super::super::FilesNow::default(), "none is here");
}

/// What `touch -r` and restores of backups do: the time that nobody can set tells.
#[cfg(unix)]
#[test]
fn an_edit_whose_time_was_set_back_is_seen_and_other_names_and_modes_are_not() {
    use std::os::unix::fs::PermissionsExt;
    for (settings, name, bytes) in kinds() {
        let folder = Folder::new(&settings).with(name, &bytes);
        let path = folder.path(name);
        let planned = folder.plan();
        if planned.files[0].files[0].ctime_ns == 0 {
            // Nothing of the kind is known on this file system.
            return;
        }
        let (source, shards) = folder.open();
        let recorded = &planned.files[0].files[0];
        // A program that makes the file another mode, and another name, means no change of it.
        let mut mode = fs::metadata(&path).unwrap().permissions();
        mode.set_mode(mode.mode() ^ 0o020);
        fs::set_permissions(&path, mode).unwrap();
        read(&source, &shards).unwrap();
        fs::hard_link(&path, folder.path("name.other")).unwrap();
        read(&source, &shards).unwrap();
        let now = Folder::new(&settings.replace('*', &format!("{}*", &name[..1])));
        let again = plan_at(&now, &folder);
        assert!(is_same_file(recorded, &again), "{recorded:?} {again:?}");

        let folder = Folder::new(&settings).with(name, &bytes);
        let path = folder.path(name);
        let (source, shards) = folder.open();
        let time = modified(&path);
        let other: Vec<u8> = match name {
            "x.csv" => text(2).into_bytes(),
            _ => bytes.iter().rev().copied().collect(),
        };
        assert_eq!(other.len(), bytes.len());
        fs::write(&path, other).unwrap();
        set_modified(&path, time);
        assert_eq!(modified(&path), time);
        let message = read(&source, &shards).unwrap_err().to_string();
        let start = format!(
            "`{name}`: the file changed since the job was recorded: expected one last changed at "
        );
        assert!(message.starts_with(&start), "{message}");
        assert!(message.contains("verify = \"content\""), "{message}");
        // With the bytes that were there, a retry takes it.
        fs::write(&path, &bytes).unwrap();
        set_modified(&path, time);
        let mended = mend(&source, &shards, |_| None).unwrap();
        let source = mended.source(source.spec().clone()).unwrap();
        read(&source, &mended.shards().unwrap()).unwrap();
    }
}

/// The first file of another folder, as it would be planned now.
#[cfg(unix)]
fn plan_at(settings: &Folder, folder: &Folder) -> eciton_proto::v1::SourceFile {
    let text = format!(
        "name = \"j\"\n[source]\n{}\n[upsert]\nstore = \"s\"\nkey = [\"a\"]\n",
        settings.source
    );
    let job = JobFile::parse(&folder.path("job.toml"), &text).unwrap();
    plan(&job).unwrap().files[0].files[0].clone()
}
