//! What people stumbled over: states, plurals, folders, locks, buckets.

use std::fs;
use std::time::{Duration, Instant};

use crate::support::{Place, aggregation, measurements, program};

#[test]
fn states_and_counts_are_said_in_words() {
    let place = Place::new();
    place.write("m.csv", "id,station,level,flow,note\n1,s1,5,1.5,x\n");
    place.write("job.toml", aggregation("1KiB"));
    let ended = place.call(&["run", "job.toml"]).done();
    for words in [
        "stations: done, 1 shard\n",
        "1 of 1 done",
        "this run  1 row in",
        "stations: 1 of 1 shard, ",
    ] {
        assert!(
            ended.stdout.contains(words) || ended.stderr.contains(words),
            "{words}: {ended:#?}"
        );
    }
    let quiet = place.call(&["run", "job.toml", "--quiet"]).done();
    assert_eq!(quiet.stderr, "");
    assert!(!quiet.stdout.contains("see it"), "{quiet:#?}");
    let verified = place.call(&["db", "verify"]).done();
    assert!(verified.stdout.starts_with("whole: "), "{verified:#?}");
}

#[test]
fn an_interrupted_job_says_how_far_it_is() {
    let place = Place::new();
    place.write("m.csv", measurements(3000));
    place.write("job.toml", aggregation("1KiB"));
    place.call(&["submit", "job.toml"]).done();
    let shown = place.call(&["job", "show", "stations"]).done().stdout;
    assert!(shown.starts_with("stations: pending, none of "), "{shown}");
    let mut child = place.start(&[
        "run",
        "job.toml",
        "--commit-interval",
        "0s",
        "--workers",
        "1",
    ]);
    while place.job("stations")["shards"]["done"] == 0 {
        assert_eq!(
            child.try_wait().unwrap(),
            None,
            "it ended before it was looked at"
        );
    }
    let running = place.call(&["job", "show", "stations"]).done().stdout;
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(
        running.starts_with("stations: running, ") || running.contains("done"),
        "{running}"
    );
    let shown = place.call(&["job", "show", "stations"]).done().stdout;
    assert!(
        shown.starts_with("stations: interrupted at ") && shown.contains(" shards\n"),
        "{shown}"
    );
    let listed = place.call(&["job", "ls"]).done().stdout;
    assert!(listed.contains("\tinterrupted\t"), "{listed}");
    assert_eq!(place.job("stations")["state"], "running");
    place.call(&["run", "job.toml"]).done();
}

#[test]
fn a_database_is_not_made_among_other_files() {
    let place = Place::new();
    fs::create_dir(place.db()).unwrap();
    fs::write(place.db().join("thesis.tex"), "mine").unwrap();
    for command in [
        &["db", "init"][..],
        &["store", "create", "s"],
        &["put", "s", "k", "1", "--create"],
    ] {
        place
            .call(command)
            .with_code(2)
            .told(&["thesis.tex", "choose an empty folder"]);
    }
    assert_eq!(fs::read_dir(place.db()).unwrap().count(), 1);
    fs::remove_file(place.db().join("thesis.tex")).unwrap();
    // What file systems and editors leave is nobody's.
    fs::create_dir(place.db().join("lost+found")).unwrap();
    fs::write(place.db().join(".gitkeep"), "").unwrap();
    place.call(&["db", "init"]).done();
    fs::write(place.db().join("notes.txt"), "later").unwrap();
    place.call(&["db", "init"]).done();
    place.call(&["put", "s", "k", "1", "--create"]).done();
}

#[test]
fn a_backup_within_the_database_is_refused_and_others_are_counted() {
    let place = Place::new();
    place.call(&["put", "s", "k", "1", "--create"]).done();
    let db = place.db();
    for folder in [
        db.clone(),
        db.join("backups"),
        db.join("log"),
        db.join("../db/x"),
    ] {
        let folder = folder.to_str().unwrap();
        place
            .call(&["db", "backup", folder])
            .with_code(2)
            .told(&["no place for backups"]);
    }
    for value in ["2", "3"] {
        place.call(&["db", "backup", "backups"]).done();
        place.call(&["put", "s", "k", value]).done();
    }
    let verified = place.call(&["db", "verify", "--backups", "backups"]).done();
    assert!(
        verified.stdout.starts_with("whole: 2 backups, "),
        "{verified:#?}"
    );
    let json = place
        .call(&["db", "verify", "--backups", "backups", "--json"])
        .done()
        .json();
    assert_eq!(json["backups"], 2);
}

#[test]
fn a_locked_database_says_how_to_share_it() {
    let place = Place::new();
    place.write("m.csv", measurements(20_000));
    place.write("job.toml", aggregation("1KiB"));
    place.call(&["db", "init"]).done();
    let mut worker = place.start(&["worker"]);
    // Whoever has the database leaves its number there.
    let holder = worker.id().to_string();
    let is_held = || {
        let line = fs::read(place.db().join("LOCK")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&holder)
    };
    while !is_held() {
        assert_eq!(worker.try_wait().unwrap(), None, "it ended");
    }
    let refused = place.call(&["store", "create", "s"]).with_code(3);
    refused.told(&["locked", "--redis URL", "only read"]);
    worker.kill().unwrap();
    worker.wait().unwrap();
}

#[test]
fn a_bucket_that_cannot_be_asked_is_told_at_once() {
    let call = |set: &[(&str, &str)]| {
        let mut command = program();
        for name in [
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_ENDPOINT_URL",
            "AWS_SKIP_SIGNATURE",
            "AWS_ENDPOINT",
            "AWS_ENDPOINT_URL_S3",
            "AWS_PROXY_URL",
            "HTTPS_PROXY",
            "https_proxy",
            "HTTP_PROXY",
            "http_proxy",
            "ALL_PROXY",
            "all_proxy",
        ] {
            command.env_remove(name);
        }
        command.envs(set.iter().copied());
        command.args(["store", "ls", "--db", "s3://bucket/prefix"]);
        crate::support::Ended::from(command.output().unwrap())
    };
    call(&[]).with_code(2).told(&[
        "no credentials",
        "AWS_ACCESS_KEY_ID",
        "ECITON_INSTANCE_CREDENTIALS",
    ]);
    call(&[("AWS_ACCESS_KEY_ID", "a")])
        .with_code(2)
        .told(&["AWS_SECRET_ACCESS_KEY is not set"]);
    // A port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let endpoint = format!("http://{free}");
    let began = Instant::now();
    let refused = call(&[
        ("AWS_ACCESS_KEY_ID", "a"),
        ("AWS_SECRET_ACCESS_KEY", "b"),
        ("AWS_ENDPOINT_URL", &endpoint),
        ("AWS_ALLOW_HTTP", "true"),
    ]);
    refused
        .with_code(1)
        .told(&["cannot be reached", "AWS_ENDPOINT_URL"]);
    assert!(
        began.elapsed() < Duration::from_secs(30),
        "{:?}",
        began.elapsed()
    );
}
