//! Integer overflow, other errors of a query with their place, and queries that take too much.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::super::peer::{Peer, block_on, refused, submission};
use super::super::support::Place;
use super::{fault, records, run};

/// A job over `a.csv` with a query, whose results are its rows.
fn job(sql: &str, rest: &str) -> String {
    format!(
        "name = \"j\"\n[source]\nformat = \"csv\"\npaths = [\"*.csv\"]\n{rest}\n[transform]\nsql = '''{sql}'''\n\
         [merge]\nstore = \"t\"\nkey = [\"k\"]\n[merge.values]\ns = \"sum(v)\"\n"
    )
}

fn place(csv: &str, sql: &str, rest: &str) -> Place {
    let place = Place::new();
    place.write("a.csv", csv);
    place.write("job.toml", job(sql, rest));
    place
}

/// No overflow ends a job as done, and each error names the file.
#[test]
fn an_overflow_fails_the_job_and_names_its_line() {
    for (name, words) in [
        (
            "sql-integer-overflow-mul",
            ["overflow: 4611686018427387904 * 4", "line 2 (shard 0)"],
        ),
        (
            "sql-integer-overflow-neg",
            ["overflow: ", "line 2 (shard 0)"],
        ),
    ] {
        let place = fault(name);
        let words = [&["`a.csv`: "][..], &words].concat();
        run(&place).with_code(1).told(&words);
        assert!(records(&place).is_empty(), "{name}");
    }
    let place = fault("sql-integer-overflow-sum");
    let ended = run(&place);
    // Where a query that groups is refused, it is so for another reason; where it runs it fails.
    assert!(matches!(ended.code, Some(1 | 2)), "{ended:#?}");
    if ended.code == Some(1) {
        ended.told(&[
            "`a.csv`: lines 2 to 3 (shard 0): ",
            "the sum 9223372036854775808 is beyond Int64",
        ]);
    }
}

#[test]
fn an_error_of_a_query_names_file_and_line() {
    let place = fault("error-without-file");
    run(&place)
        .with_code(1)
        .told(&["`b.csv`: line 3 (shard 1): ", "divide by zero"]);
    let place = fault("timestamp-beyond-range-no-file");
    run(&place)
        .with_code(1)
        .told(&["`a.parquet`: row", "(shard 0)", "9223372036854775807"]);
}

/// The line is the file's, whichever shard it is in, and whatever stands before it.
#[test]
fn the_line_is_counted_from_the_beginning_of_the_file() {
    let mut csv = "k,v\n".to_owned();
    for row in 0..5_000 {
        csv += &format!("key{row},{}\n", if row == 4_321 { 0 } else { 7 });
        if row % 100 == 0 {
            csv.push('\n');
        }
    }
    let line = csv.lines().position(|line| line.ends_with(",0")).unwrap() + 1;
    let place = place(
        &csv,
        "SELECT k, 10 / v AS v FROM source",
        "shard_size = \"8KiB\"",
    );
    let word = format!("`a.csv`: line {line} (shard ");
    let ended = place
        .call(&["run", "job.toml", "--workers", "1"])
        .with_code(1);
    ended.told(&[&word, "divide by zero"]);
}

/// Deep and long queries are computed, or refused before anything is recorded.
#[test]
fn deep_queries_run_or_are_refused() {
    let plus = |terms: usize| format!("SELECT k, v{} AS v FROM source", "+1".repeat(terms));
    let good = place("k,v\na,1\n", &plus(300), "");
    good.call(&["run", "job.toml", "--workers", "1"]).done();
    assert_eq!(records(&good)[0].1, serde_json::json!({"s": 301}));
    for sql in [plus(700), plus(10_000)] {
        let deep = place("k,v\na,1\n", &sql, "");
        for command in ["run", "submit"] {
            let ended = deep.call(&[command, "job.toml"]).with_code(2);
            ended.told(&["job.toml:7: key `transform.sql`", "levels in an expression"]);
        }
    }
    let ors: Vec<String> = (0..300).map(|n| format!("v = {n}")).collect();
    let sql = format!("SELECT k, v FROM source WHERE {}", ors.join(" OR "));
    let long = place("k,v\na,1\nb,1000\n", &sql, "");
    long.call(&["run", "job.toml", "--workers", "1"]).done();
    assert_eq!(records(&long).len(), 1);
}

/// A function that would give gigabytes fails its shard: the process goes on, and so do other jobs.
#[test]
fn a_query_that_asks_for_gigabytes_fails_alone() {
    let csv: String = std::iter::once("k,v\n".to_owned())
        .chain((0..100).map(|row| format!("k{row},{row}\n")))
        .collect();
    let sql = "SELECT k, length(lpad('x', 2000000000, k)) AS v FROM source";
    let greedy = place(&csv, sql, "");
    let ended = greedy
        .call(&["run", "job.toml", "--workers", "1"])
        .with_code(1);
    ended.told(&["`a.csv`: line 2 (shard 0): ", "`lpad` would give up to"]);
    greedy.write(
        "good.toml",
        job("SELECT k, v FROM source", "")
            .replace("\"j\"", "\"good\"")
            .replace("\"t\"", "\"u\""),
    );
    greedy.call(&["run", "good.toml", "--workers", "1"]).done();
}

const SLOW: usize = 1_000;

/// Minutes of computing without a row that comes out.
fn slow() -> String {
    let values: Vec<String> = (0..SLOW).map(|n| format!("({n})")).collect();
    let values = values.join(",");
    let csv_rows = "SELECT 'a' AS k, sum(a + b + c) AS v FROM source";
    format!(
        "{csv_rows}, (VALUES {values}) AS x(a), (VALUES {values}) AS y(b), (VALUES {values}) AS z(c)"
    )
}

/// Without it, computing would take hours.
#[test]
fn a_timeout_ends_a_query_that_gives_no_row() {
    let sql = slow();
    let slow = place("k,v\na,1\n", &sql, "");
    let text = std::fs::read_to_string(slow.path("job.toml")).unwrap();
    slow.write(
        "job.toml",
        format!("{text}[run]\ntimeout = \"1s\"\nmax_attempts = 1\n"),
    );
    let ended = slow.call(&["run", "job.toml", "--workers", "1"]);
    if ended.code == Some(2) {
        // A query that groups is refused, unless it says that a shard is meant.
        ended.told(&["transform"]);
        return;
    }
    ended.with_code(1).told(&["run.timeout"]);
}

/// Draining gives a shard a moment, and not as long as it likes.
#[test]
fn a_signal_ends_a_query_that_gives_no_row() {
    let values: Vec<String> = (0..SLOW).map(|n| format!("({n})")).collect();
    let values = values.join(",");
    // No group, so that it is computed row by row: a join that finds nothing.
    let sql = format!(
        "SELECT k, v FROM source JOIN (VALUES {values}) AS x(a) ON v + a > 0 JOIN (VALUES {values}) AS y(b) ON v + b > 0 \
         JOIN (VALUES {values}) AS z(c) ON b + c < -1"
    );
    let slow = place("k,v\na,1\n", &sql, "");
    let mut command = slow.command(&["run", "job.toml", "--workers", "1"]);
    command
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let running = command.spawn().unwrap();
    let begun = Instant::now();
    while slow
        .call(&["job", "show", "j", "--json"])
        .stdout
        .find("\"running\"")
        .is_none()
    {
        assert!(
            begun.elapsed() < Duration::from_mins(2),
            "the job does not begin"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    let pid = rustix::process::Pid::from_child(&running);
    rustix::process::kill_process(pid, Signal::INT).unwrap();
    let ended = running.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(130), "{ended:?}");
    let shown = slow.call(&["job", "show", "j", "--json"]).done().json();
    assert_eq!(shown["shards"]["done"], 0, "{shown}");
    assert_eq!(shown["shards"]["failed"], 0, "{shown}");
}

/// While heavy queries are planned a worker answers whoever asks whether it lives.
#[test]
fn heavy_planning_does_not_stop_a_worker() {
    let sql = format!("SELECT k, v{} AS v FROM source", "+1".repeat(150));
    let place = place("k,v\na,1\n", &sql, "");
    let peer = Peer::start(&place, &[]);
    let text = std::fs::read_to_string(place.path("job.toml")).unwrap();
    block_on(async {
        let client = peer.client().await;
        let mut request = submission(&place, &text);
        request.check_only = true;
        let calls: Vec<_> = (0..12)
            .map(|_| {
                let (mut client, request) = (client.clone(), request.clone());
                tokio::spawn(async move { client.submit_job(request).await })
            })
            .collect();
        let mut health = HealthClient::new(peer.channel().await);
        let mut answers = 0;
        while !calls.iter().all(tokio::task::JoinHandle::is_finished) {
            let mut check = Request::new(HealthCheckRequest::default());
            // Far more than it takes, and less than planning all of them does.
            check.set_timeout(Duration::from_secs(5));
            health.check(check).await.unwrap();
            answers += 1;
        }
        assert!(answers > 0);
        for call in calls {
            match call.await.unwrap() {
                Ok(_) => {}
                Err(status) => assert_eq!(status.code(), Code::ResourceExhausted, "{status}"),
            }
        }
    });
}

/// What is too deep is refused over gRPC as well, and the worker lives on.
#[test]
fn a_worker_refuses_what_is_too_deep_and_lives_on() {
    let place = place("k,v\na,1\n", "SELECT k, v FROM source", "");
    let peer = Peer::start(&place, &[]);
    block_on(async {
        let mut client = peer.client().await;
        for sql in [
            format!("SELECT k, v{} AS v FROM source", "+1".repeat(10_000)),
            format!(
                "SELECT k, v FROM source WHERE {}",
                vec!["v + 1 = 0"; 40_000].join(" OR ")
            ),
            format!(
                "SELECT k, {}v{} AS v FROM source",
                "abs(".repeat(5_000),
                ")".repeat(5_000)
            ),
        ] {
            let (code, message) =
                refused(client.submit_job(submission(&place, &job(&sql, ""))).await);
            assert_eq!(code, Code::InvalidArgument, "{message}");
        }
        client
            .submit_job(submission(&place, &job("SELECT k, v FROM source", "")))
            .await
            .unwrap();
    });
}
