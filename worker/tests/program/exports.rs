//! `export`: the records of a store as files, whole or not at all.

use std::fs;
use std::io::Read;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::bucket::{self, Server};
use crate::peer::until;
use crate::support::{Ended, Place, measurements, program, upsert};

const ROWS: u32 = 1000;

/// A store `levels` with `ROWS` records, one for each row.
fn filled() -> Place {
    let place = Place::new();
    place.write("m.csv", measurements(ROWS));
    place.write("upsert.toml", upsert("4KiB"));
    place.call(&["run", "upsert.toml"]).done();
    place
}

/// What a file has once a job has read it into a store again.
fn read_again(place: &Place, data: &str) -> String {
    place
        .call(&[
            "init",
            data,
            "--name",
            "again",
            "--out",
            "again.toml",
            "--force",
        ])
        .done();
    let job = fs::read_to_string(place.path("again.toml")).unwrap();
    // Whatever `init` suggests: here each row becomes a record of the same key as before.
    let source = job.split("[transform]").next().unwrap().to_owned();
    let target = "[upsert]\nstore = \"again\"\nkey = [\"station\", \"id\"]\n";
    place.write("again.toml", format!("{source}{target}"));
    place.call(&["run", "again.toml", "--replace"]).done();
    let records = place.records("again");
    place.call(&["job", "rm", "again", "--with-results"]).done();
    records
}

#[test]
fn every_format_reads_back_as_the_same_records() {
    let place = filled();
    let records = place.records("levels");
    assert_eq!(records.lines().count(), ROWS as usize);
    for (name, begin) in [
        ("x.csv", &b"station,id,"[..]),
        ("x.jsonl", b"{\"station\":\"s0\""),
        ("x.parquet", b"PAR1"),
    ] {
        let told = place
            .call(&["export", "levels", "--to", name, "--json"])
            .done()
            .json();
        let bytes = fs::read(place.path(name)).unwrap();
        assert!(bytes.starts_with(begin), "{name}");
        let expected = json!({
            "store": "levels", "to": name, "format": name.split_once('.').unwrap().1,
            "records": ROWS, "files": 1, "bytes": bytes.len(),
        });
        assert_eq!(told, expected);
        assert_eq!(read_again(&place, name), records, "{name}");
    }
    place.call(&["export", "levels", "--to", "x.arrow"]).done();
    let file = fs::File::open(place.path("x.arrow")).unwrap();
    let reader = arrow::ipc::reader::FileReader::try_new(file, None).unwrap();
    let rows: usize = reader.map(|batch| batch.unwrap().num_rows()).sum();
    assert_eq!(rows, ROWS as usize);
}

#[test]
fn a_folder_has_files_of_so_many_rows() {
    let place = filled();
    let told = place
        .call(&[
            "export",
            "levels",
            "--to",
            "out/",
            "--format",
            "parquet",
            "--rows-per-file",
            "300",
            "--json",
        ])
        .done()
        .json();
    assert_eq!(
        (&told["files"], &told["records"]),
        (&json!(4), &json!(ROWS))
    );
    let mut names: Vec<String> = fs::read_dir(place.path("out"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let expected = (0..4).map(|n| format!("part-{n:05}.parquet"));
    assert_eq!(names, expected.collect::<Vec<_>>());
    assert_eq!(read_again(&place, "out"), place.records("levels"));
    // Nobody's files are mixed with others'.
    place
        .call(&["export", "levels", "--to", "out/"])
        .with_code(2)
        .told(&["out", "files already"]);
}

#[test]
fn parts_of_a_store_go_to_standard_output() {
    let place = filled();
    let csv = place
        .call(&["export", "levels", "--prefix", "[\"s3\"]"])
        .done()
        .stdout;
    let expected = place
        .call(&["scan", "levels", "--prefix", "[\"s3\"]", "--format", "csv"])
        .done()
        .stdout;
    assert!(csv.lines().count() > 10, "{csv}");
    assert_eq!(csv, expected);
    let streamed = place
        .command(&["export", "levels", "--format", "arrow", "--to", "-"])
        .output()
        .unwrap();
    let reader = arrow::ipc::reader::StreamReader::try_new(&*streamed.stdout, None).unwrap();
    let rows: usize = reader.map(|batch| batch.unwrap().num_rows()).sum();
    assert_eq!(rows, ROWS as usize);
}

#[test]
fn what_cannot_be_exported_is_told_before_anything_is_written() {
    let place = filled();
    for (args, told) in [
        (
            &["export", "nowhere", "--to", "x.csv"][..],
            &["nowhere"][..],
        ),
        (
            &["export", "levels", "--to", "x.what"],
            &["x.what", "--format"],
        ),
        (
            &["export", "levels", "--to", "s3://bucket"],
            &["name of an object"],
        ),
        (
            &["export", "levels", "--to", "https://host/x.csv"],
            &["s3://"],
        ),
        (&["export", "levels", "--json"], &["--to FILE"]),
        (
            &["export", "levels", "--to", "x.csv", "--rows-per-file", "0"],
            &["--rows-per-file"],
        ),
    ] {
        let ended = place.call(args);
        assert_ne!(ended.code, Some(0), "{args:?}");
        ended.told(told);
    }
    place
        .call(&["export", "levels", "--to", "absent/x.csv"])
        .with_code(1)
        .told(&["absent/x.csv"]);
    let left = fs::read_dir(place.path(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    assert!(
        left.into_iter()
            .all(|name| !name.to_string_lossy().starts_with(".eciton-"))
    );
}

#[test]
fn columns_that_a_later_record_does_not_fit_are_inferred_anew() {
    let place = Place::new();
    place.call(&["store", "create", "t", "--key", "id"]).done();
    for id in 0..6 {
        let value = if id == 3 {
            "\"text\"".to_owned()
        } else {
            id.to_string()
        };
        place.call(&["put", "t", &id.to_string(), &value]).done();
    }
    place
        .call(&["scan", "t", "--format", "jsonl", "--infer", "2"])
        .with_code(1)
        .told(&["--infer all"]);
    place
        .call(&["export", "t", "--to", "t.jsonl", "--infer", "2"])
        .done();
    let lines = fs::read_to_string(place.path("t.jsonl")).unwrap();
    assert_eq!(lines.lines().count(), 6, "{lines}");
    assert!(lines.contains("text"), "{lines}");
}

#[test]
fn an_export_that_is_ended_leaves_what_was_there() {
    let place = filled();
    fs::write(place.path("x.csv"), "before").unwrap();
    for is_killed in [false, true] {
        let mut child = place.start(&["export", "levels", "--to", "out/", "--rows-per-file", "1"]);
        let unfinished = || unfinished(&place.path(""));
        until(|| !unfinished().is_empty() || place.path("out").exists());
        if is_killed {
            child.kill().unwrap();
        } else {
            let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
            kill_process(pid, Signal::INT).unwrap();
        }
        let status = child.wait().unwrap();
        let mut told = String::new();
        child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut told)
            .unwrap();
        match place.path("out").exists() {
            // It was quicker: then it is complete.
            true => {
                let files = fs::read_dir(place.path("out")).unwrap().count();
                assert_eq!(files, ROWS as usize);
                fs::remove_dir_all(place.path("out")).unwrap();
            }
            false if is_killed => assert!(!status.success()),
            false => {
                assert_eq!(status.code(), Some(130), "{told}");
                assert_eq!(unfinished(), Vec::<String>::new(), "{told}");
            }
        }
    }
    assert_eq!(fs::read(place.path("x.csv")).unwrap(), b"before");
}

fn unfinished(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap();
    let names = names.filter_map(|entry| entry.unwrap().file_name().into_string().ok());
    names.filter(|name| name.starts_with(".eciton-")).collect()
}

#[test]
fn a_full_device_is_told_and_leaves_what_was_there() {
    let place = filled();
    // Whatever is written to it, there is no space left.
    let full = place.call(&["export", "levels", "--to", "/dev/full", "--format", "csv"]);
    full.with_code(1).told(&["/dev/full", "space"]);
}

#[test]
fn an_object_in_a_bucket_is_created_once() {
    let server = Server::seaweed();
    server.make_bucket("bucket");
    let place = filled();
    let call = |args: &[&str]| -> Ended {
        program()
            .args(args)
            .arg("--db")
            .arg(place.db())
            .current_dir(place.path(""))
            .env("AWS_ENDPOINT_URL", format!("http://{}", server.address()))
            .env("AWS_ALLOW_HTTP", "true")
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", "key")
            .env("AWS_SECRET_ACCESS_KEY", "secret")
            .output()
            .unwrap()
            .into()
    };
    let to = "s3://bucket/out/levels.parquet";
    let told: Value = call(&["export", "levels", "--to", to, "--json"])
        .done()
        .json();
    assert_eq!(told["records"], ROWS, "{told}");
    place
        .call(&["export", "levels", "--to", "local.parquet"])
        .done();
    let local = fs::read(place.path("local.parquet")).unwrap();
    assert_eq!(told["bytes"], local.len(), "{told}");
    let got = bucket::send(
        server.address(),
        "GET",
        "/bucket/out/levels.parquet",
        &[],
        b"",
    );
    assert!(got.unwrap() == (200, local), "the object has other bytes");
    call(&["export", "levels", "--to", to])
        .with_code(2)
        .told(&["is there already"]);
}
