//! Sources beside files of the machine, from the command line.

use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::bucket::{Server, send};
use crate::peer::Peer;
use crate::support::{Ended, Place, aggregation, measurements};

/// A job over the results of another one.
const OVER: &str = "name = \"over\"\n[source]\nformat = \"store\"\nstore = \"stations\"\n[transform]\n\
                    sql = \"SELECT count(*) AS stations FROM source\"\n";

#[test]
fn the_records_of_a_store_are_planned_and_run() {
    let place = Place::new();
    place.write("a.csv", measurements(500));
    place.write("job.toml", aggregation("2KiB"));
    place.write("over.toml", OVER);
    // Without a database there is nothing to read.
    place
        .call(&["plan", "over.toml"])
        .with_code(2)
        .told(&["not a database"]);
    place
        .call(&["run", "over.toml"])
        .with_code(2)
        .told(&["over.toml:4: key `source.store`", "store `stations`"]);
    place.call(&["run", "job.toml"]).done();
    let stations = place.records("stations").lines().count();
    let planned = place.call(&["plan", "over.toml"]).done();
    assert!(
        planned
            .stdout
            .contains(&format!("store, {stations} records")),
        "{}",
        planned.stdout
    );
    assert!(
        planned.stdout.contains("of the store"),
        "{}",
        planned.stdout
    );
    place.call(&["run", "over.toml"]).done();
    let answer = place.records("over");
    assert!(
        answer.contains(&format!("\"stations\":{stations}")),
        "{answer}"
    );
}

/// The variables of a store of this machine.
fn store_of(command: &mut Command, server: &Server) {
    command
        .env("AWS_ENDPOINT_URL", format!("http://{}", server.address()))
        .env("AWS_ALLOW_HTTP", "true")
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", "key")
        .env("AWS_SECRET_ACCESS_KEY", "TOPSECRET");
}

fn put(server: &Server, path: &str, bytes: &[u8]) {
    let (status, body) = send(server.address(), "PUT", path, &[], bytes).unwrap();
    assert_eq!(status, 200, "{path}: {}", String::from_utf8_lossy(&body));
}

/// The job of [`aggregation`] over objects.
fn over_objects(paths: &str) -> String {
    let job = aggregation("2KiB");
    assert!(job.contains("paths = [\"*.csv\"]"), "{job}");
    job.replace("paths = [\"*.csv\"]", &format!("paths = [\"{paths}\"]"))
}

/// Killed at work and begun again, a job over a bucket gives what the same files give.
#[test]
fn objects_of_a_bucket_are_read_as_files_are() {
    let server = Server::moto();
    server.make_bucket("lake");
    let place = Place::new();
    let text = measurements(2000);
    let (head, rows) = text.split_once('\n').unwrap();
    let rows: Vec<&str> = rows.lines().collect();
    for (name, rows) in ["a.csv", "b.csv"].iter().zip(rows.chunks(1000)) {
        let part = format!("{head}\n{}\n", rows.join("\n"));
        put(&server, &format!("/lake/in/{name}"), part.as_bytes());
        place.write(name, part);
    }
    put(&server, "/lake/in/sub/c.csv", b"not,matched\n");
    put(&server, "/lake/other/d.csv", b"not,matched\n");
    place.write("job.toml", aggregation("2KiB"));
    place.call(&["run", "job.toml"]).done();
    let expected = place.records("stations");

    let place = Place::new();
    place.write("job.toml", over_objects("s3://lake/in/*.csv"));
    let command = |args: &[&str]| {
        let mut command = place.command(args);
        store_of(&mut command, &server);
        command
    };
    let call = |args: &[&str]| -> Ended { command(args).output().unwrap().into() };
    let planned = call(&["plan", "job.toml"]).done();
    assert!(
        planned.stdout.contains("s3://lake/in/a.csv: "),
        "{}",
        planned.stdout
    );
    assert!(!planned.stdout.contains("sub/c.csv"), "{}", planned.stdout);
    let mut killed = 0;
    for _ in 0..3 {
        let mut child = command(&[
            "run",
            "job.toml",
            "--workers",
            "1",
            "--commit-interval",
            "0s",
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
        let before = done_shards(&place);
        while child.try_wait().unwrap().is_none() && done_shards(&place) <= before {
            std::thread::yield_now();
        }
        killed += u32::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(killed > 0, "the job ended before it could be killed");
    call(&["run", "job.toml"]).done();
    assert_eq!(place.records("stations"), expected);
}

/// How many shards are done, as far as the database tells yet.
fn done_shards(place: &Place) -> u64 {
    let call = place.call(&["job", "show", "stations", "--json"]);
    match call.code {
        Some(0) => call.json()["shards"]["done"].as_u64().unwrap_or(0),
        _ => 0,
    }
}

#[test]
fn an_object_that_changed_and_a_store_that_is_gone_are_told() {
    // Moto lets nobody overwrite an object without a signature.
    let server = Server::seaweed();
    server.make_bucket("lake");
    put(&server, "/lake/a.csv", measurements(300).as_bytes());
    let place = Place::new();
    place.write("job.toml", over_objects("s3://lake/a.csv"));
    let call = |args: &[&str]| -> Ended {
        let mut command = place.command(args);
        store_of(&mut command, &server);
        command.output().unwrap().into()
    };
    call(&["submit", "job.toml"]).done();
    put(&server, "/lake/a.csv", measurements(301).as_bytes());
    call(&["run", "job.toml"])
        .with_code(1)
        .told(&["`s3://lake/a.csv`: the file changed since the job was recorded"]);
    // Nobody is asked without credentials.
    let job = over_objects("s3://lake/*.csv").replace("stations", "others");
    place.write("other.toml", &job);
    let mut command = place.command(&["plan", "other.toml"]);
    for name in [
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_ENDPOINT_URL",
    ] {
        command.env_remove(name);
    }
    Ended::from(command.output().unwrap()).with_code(2).told(&[
        "other.toml",
        "key `source.paths`",
        "there are no credentials",
    ]);
    // A store that is not there is told, and no secret with it.
    let mut command = place.command(&["plan", "other.toml"]);
    store_of(&mut command, &server);
    drop(server);
    let ended = Ended::from(command.output().unwrap()).with_code(2);
    assert!(ended.stderr.contains("cannot be read"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("TOPSECRET"), "{}", ended.stderr);
}

/// A job that came over gRPC reads below the prefixes that its worker allows.
#[test]
fn workers_read_addresses_of_others_only_where_they_are_allowed() {
    let server = Server::moto();
    server.make_bucket("lake");
    put(&server, "/lake/pub/a.csv", measurements(300).as_bytes());
    put(&server, "/lake/private/a.csv", b"secret\n1\n");
    let place = Place::new();
    place.write("job.toml", over_objects("s3://lake/pub/*.csv"));
    place.write("private.toml", over_objects("s3://lake/p*/a.csv"));
    let start = |more: &[&str]| {
        let args = [&["--listen", "127.0.0.1:0"], more].concat();
        Peer::start_bare(&place, &args, |command| store_of(command, &server))
    };
    let closed = start(&[]);
    closed
        .call(&place, &["submit", "job.toml"])
        .with_code(2)
        .told(&["jobs that come over gRPC read only below"]);
    closed.send(Signal::TERM);
    closed.ended().done();
    let open = start(&["--allow-remote", "s3://lake/pub,https://example.org/x"]);
    open.call(&place, &["submit", "private.toml"])
        .with_code(2)
        .told(&["--allow-remote", "`s3://lake/pub`"]);
    open.call(&place, &["submit", "job.toml"]).done();
    open.call(&place, &["job", "watch", "stations"]).done();
    open.send(Signal::TERM);
    open.ended().done();
    assert!(!place.records("stations").is_empty());
    place
        .call(&["worker", "--allow-remote", "ftp://x"])
        .with_code(2)
        .told(&["--allow-remote", "expected a path, or an address"]);
}
