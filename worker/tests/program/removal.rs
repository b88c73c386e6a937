//! `job rm`, here and over a peer, and stores that two jobs would write to.

use crate::dropped_store::{expected, in_the_middle, numbers};
use crate::peer::Peer;
use crate::support::Place;

fn place() -> Place {
    let place = Place::new();
    place.write("job.toml", numbers(5));
    let second = numbers(5).replace("\"numbers\"", "\"second\"");
    place.write("second.toml", &second);
    let both = second.replace("[merge]", "[merge]\ninto_existing = true");
    place.write("both.toml", both);
    place
}

#[test]
fn two_jobs_write_to_one_store_only_where_the_second_says_so() {
    let place = place();
    place.call(&["run", "job.toml"]).done();
    for command in ["run", "submit"] {
        place.call(&[command, "second.toml"]).with_code(2).told(&[
            "second.toml:10: key `merge.store`",
            "store `m` takes the results of job `numbers`",
            "into_existing = true",
            "eciton job rm numbers --with-results",
        ]);
    }
    assert_eq!(place.records("m"), expected(5));
    place.call(&["run", "both.toml"]).done();
    let twice = place.records("m");
    assert!(twice.contains("\"rows\":200"), "{twice}");
    place
        .call(&["job", "rm", "second", "--with-results"])
        .with_code(2)
        .told(&["job `numbers`"]);
    place.write(
        "bad.toml",
        numbers(5).replace("[merge]", "[merge]\ninto_existing = 1"),
    );
    place
        .call(&["submit", "bad.toml"])
        .with_code(2)
        .told(&["bad.toml:", "merge.into_existing"]);
}

#[test]
fn a_job_is_removed_alone_or_with_its_results() {
    let place = place();
    place.call(&["run", "job.toml"]).done();
    let told = place.call(&["job", "rm", "numbers", "--json"]).done();
    let removed = serde_json::json!({"name": "numbers", "number": 1, "removed": true, "store": "m",
                                     "results_dropped": false});
    assert_eq!(told.json(), removed);
    assert_eq!(place.records("m"), expected(5));
    place
        .call(&["job", "rm", "numbers"])
        .with_code(2)
        .told(&["no job named `numbers`"]);
    place
        .call(&["run", "job.toml"])
        .with_code(2)
        .told(&["store `m` holds records that are of no job"]);
    place.call(&["store", "drop", "m"]).done();
    place.call(&["run", "job.toml"]).done();
    let told = place.call(&["job", "rm", "numbers", "--with-results"]);
    assert!(told.done().stdout.contains("store `m` with its results"));
    assert!(
        place
            .call(&["store", "ls", "--json"])
            .done()
            .stdout
            .is_empty()
    );
    place.call(&["run", "job.toml"]).done();
    assert_eq!(place.records("m"), expected(5));
    place.call(&["db", "verify"]).done();
}

#[test]
fn a_running_job_is_cancelled_first_or_removed_by_force() {
    let place = Place::new();
    place.write("job.toml", numbers(900));
    let mut run = in_the_middle(&place, &[]);
    run.kill().unwrap();
    run.wait().unwrap();
    place.call(&["job", "rm", "numbers"]).with_code(2).told(&[
        "is running",
        "eciton job cancel",
        "--force",
    ]);
    place
        .call(&["job", "rm", "numbers", "--force", "--with-results"])
        .done();
    assert!(
        place
            .call(&["job", "ls", "--json"])
            .done()
            .stdout
            .is_empty()
    );
    place.call(&["run", "job.toml"]).done();
    assert_eq!(place.records("m"), expected(900));
}

#[test]
fn a_peer_removes_and_replaces_jobs() {
    let place = place();
    let peer = Peer::start(&place, &["--slots", "1"]);
    let call = |args: &[&str]| peer.call(&place, args);
    call(&["submit", "job.toml"]).done();
    call(&["job", "watch", "numbers"]).done();
    call(&["submit", "second.toml"])
        .with_code(2)
        .told(&["store `m` takes the results of job `numbers`"]);
    // The same again is joined, another specification is not.
    call(&["submit", "job.toml", "--replace"]).done();
    let first = call(&["job", "show", "numbers", "--json"]).done().json();
    assert_eq!(first["state"], "done");
    place.write("job.toml", numbers(7));
    call(&["submit", "job.toml"])
        .with_code(2)
        .told(&["--replace"]);
    call(&["submit", "job.toml", "--replace"]).done();
    call(&["job", "watch", "numbers"]).done();
    let told = call(&["job", "show", "numbers", "--json"]).done().json();
    assert_eq!(
        (&told["state"], &told["rows_read"]),
        (&"done".into(), &700.into())
    );
    assert_eq!(place.records("m"), expected(7));
    let removed = call(&["job", "rm", "numbers", "--with-results", "--json"]).done();
    assert_eq!(removed.json()["results_dropped"], true);
    call(&["job", "rm", "numbers"])
        .with_code(2)
        .told(&["no job named `numbers`"]);
    assert!(
        place
            .call(&["store", "ls", "--json"])
            .done()
            .stdout
            .is_empty()
    );
}
