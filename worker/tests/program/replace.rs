//! `run --replace`: whatever is killed, the results are those of the old job or of the new one.

use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::dropped_store::{expected, numbers};
use crate::kill::{Random, seed};
use crate::support::Place;

/// Shards of the job that is replaced.
const OLD: u64 = 300;
/// Shards of the one that takes its place.
const NEW: u64 = 40;
/// Kills.
const KILLS: u32 = 8;

#[test]
fn a_failed_job_whose_file_was_corrected_is_replaced() {
    let place = Place::new();
    place.write("a.csv", "k,v\na,1\nb,x\n");
    let job = "name = \"j\"\n[source]\nformat = \"csv\"\npaths = [\"a.csv\"]\n[source.schema]\nv = \"int64\"\n[merge]\n\
               store = \"m\"\nkey = [\"k\"]\n[merge.values]\nrows = \"count()\"\ntotal = \"sum(v)\"\n";
    place.write("job.toml", job);
    place.call(&["run", "job.toml"]).with_code(1);
    let mended = job.replace("paths", "null_values = [\"x\"]\npaths");
    place.write("job.toml", mended);
    place
        .call(&["run", "job.toml"])
        .with_code(2)
        .told(&["null_values", "`--replace`"]);
    place.call(&["run", "job.toml", "--replace"]).done();
    let records = place.records("m");
    assert!(records.contains("\"key\":\"a\""), "{records}");
    assert_eq!(records.lines().count(), 2, "{records}");
    // Again it is the same job, which has ended.
    let again = place.call(&["run", "job.toml", "--replace"]).done();
    assert!(again.stdout.contains("has ended before"), "{again:?}");
}

#[test]
fn a_replacement_that_is_killed_is_gone_on_with_by_the_same_command() {
    let mut random = Random(seed());
    let place = Place::new();
    place.write("old.toml", numbers(OLD));
    place.write("job.toml", numbers(NEW));
    let started = Instant::now();
    place.call(&["run", "job.toml"]).done();
    let moments_us = u64::try_from(started.elapsed().as_micros()).unwrap();
    let mut kills = 0;
    while kills < KILLS {
        place.call(&["run", "old.toml", "--replace"]).done();
        assert_eq!(place.records("m"), expected(OLD));
        loop {
            let mut run = place
                .command(&["run", "job.toml", "--replace"])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            // The moment itself is what is being tried.
            sleep(Duration::from_micros(random.below(moments_us)));
            run.kill().unwrap();
            if run.wait().unwrap().code() == Some(0) {
                break;
            }
            kills += 1;
            // Whole, or none at all: never some of both.
            let stores = place.call(&["store", "ls"]).done().stdout;
            if stores.contains('m') && place.job("numbers")["state"] == "done" {
                let found = place.records("m");
                assert!(found == expected(OLD) || found == expected(NEW), "{found}");
            }
            if kills == KILLS {
                break;
            }
        }
        place.call(&["run", "job.toml", "--replace"]).done();
        assert_eq!(place.records("m"), expected(NEW));
    }
    place.call(&["db", "verify"]).done();
}
