//! Two processes that fill one folder: whichever is stopped, and wherever, the other one harms nothing.

use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::kill::{Random, seed};
use crate::support::{Ended, Place};

/// Times that one was stopped in the middle.
const STOPS: u32 = 3;
/// Records of the database that is copied: restoring takes some hundred milliseconds.
const RECORDS: usize = 20_000;

fn send(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// A database with a backup beside it, and its number of records.
fn original() -> Place {
    let place = Place::new();
    let mut rows = String::from("k,v\n");
    for number in 0..RECORDS {
        rows.push_str(&format!("{number},{}\n", "v".repeat(200)));
    }
    place.write("a.csv", rows);
    place.write(
        "job.toml",
        "name = \"j\"\n[source]\nformat = \"csv\"\npaths = [\"a.csv\"]\n[upsert]\nstore = \"s\"\nkey = [\"k\"]\n",
    );
    place.call(&["run", "job.toml"]).done();
    place.call(&["db", "compact"]).done();
    place.call(&["db", "backup", "backups"]).done();
    place
}

/// Starts what fills `to`.
fn start(place: &Place, doing: &str, to: &str) -> Child {
    let (db, folder) = match doing {
        "restore" => (to, "backups"),
        _ => ("db", to),
    };
    let mut command = crate::support::program();
    command
        .current_dir(place.path(""))
        .args(["db", doing, folder, "--db", db])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn().unwrap()
}

fn call(place: &Place, args: &[&str], db: &str) -> Ended {
    let mut command = crate::support::program();
    command
        .current_dir(place.path(""))
        .args(args)
        .args(["--db", db]);
    Ended::from(command.output().unwrap())
}

fn files(folder: &std::path::Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let count = |entry: std::fs::DirEntry| match entry.path().is_dir() {
        true => files(&entry.path()),
        false => 1,
    };
    entries.map(|entry| count(entry.unwrap())).sum()
}

#[test]
fn a_second_restore_or_publish_leaves_the_first_alone_wherever_that_stands() {
    let mut random = Random(seed());
    let place = original();
    for doing in ["restore", "publish"] {
        let (mut stops, mut tries) = (0, 0);
        while stops < STOPS {
            tries += 1;
            assert!(tries < 400, "{doing} is never in the middle");
            let to = format!("{doing}-{tries}");
            let first = start(&place, doing, &to);
            // The moment itself is what is being tried.
            std::thread::sleep(Duration::from_micros(random.below(80_000)));
            send(&first, Signal::STOP);
            let is_begun = place.path(&to).join("UNFINISHED").exists();
            let before = files(&place.path(&to).join("seg"));
            if is_begun {
                stops += 1;
                // Whatever else would fill, open or create it is turned away, and removes nothing.
                let other = Ended::from(start(&place, doing, &to).wait_with_output().unwrap());
                other.with_code(3).told(&["locked"]);
                call(&place, &["put", "s", "x", "1", "--create"], &to)
                    .with_code(3)
                    .told(&["locked"]);
                assert_eq!(files(&place.path(&to).join("seg")), before);
                send(&first, Signal::CONT);
                Ended::from(first.wait_with_output().unwrap()).done();
            } else {
                // It has not begun, or it has ended: the other one is whole, and stays so.
                let other = Ended::from(start(&place, doing, &to).wait_with_output().unwrap());
                let put = call(&place, &["put", "own", "x", "1", "--create"], &to);
                send(&first, Signal::CONT);
                let first = Ended::from(first.wait_with_output().unwrap());
                assert!(
                    first.code == Some(0) || other.code == Some(0),
                    "{first:#?} {other:#?}"
                );
                if put.code == Some(0) {
                    let got = call(&place, &["get", "own", "x"], &to).done();
                    assert_eq!(got.stdout, "1\n");
                }
            }
            call(&place, &["db", "verify"], &to).done();
            let info = call(&place, &["store", "ls"], &to).done();
            assert!(info.stdout.contains('s'), "{info:?}");
            std::fs::remove_dir_all(place.path(&to)).unwrap();
        }
        println!("{doing}: {stops} stops in {tries} tries");
    }
}

/// The same command begins again what was killed, and until then nothing else comes into being there.
#[test]
fn a_killed_restore_is_refused_by_name_and_begun_again_by_the_same_command() {
    let mut random = Random(seed());
    let place = original();
    let (mut kills, mut tries) = (0, 0);
    while kills < STOPS {
        tries += 1;
        assert!(tries < 400, "it is never in the middle");
        let mut first = start(&place, "restore", "to");
        // The moment itself is what is being tried.
        std::thread::sleep(Duration::from_micros(random.below(80_000)));
        first.kill().unwrap();
        first.wait().unwrap();
        let to = place.path("to");
        if to.join("UNFINISHED").exists() && !to.join("INSTANCE").exists() {
            kills += 1;
            for args in [
                &["db", "init"][..],
                &["put", "s", "x", "1", "--create"],
                &["submit", "job.toml"],
                &["run", "job.toml"],
                &["worker", "--create"],
                &["up", "--workers", "1", "--until-idle"],
            ] {
                let refused = call(&place, args, "to").with_code(2);
                refused.told(&["unfinished", "db restore"]);
            }
            assert!(!to.join("INSTANCE").exists());
            let again = Ended::from(start(&place, "restore", "to").wait_with_output().unwrap());
            again.done();
            call(&place, &["db", "verify"], "to").done();
        }
        if to.exists() {
            std::fs::remove_dir_all(&to).unwrap();
        }
    }
    println!("{kills} kills in {tries} tries");
}
