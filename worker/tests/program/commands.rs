//! Jobs that run programs (`[command]`): real processes, their rows, their ends, and what is left of them.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::kill::{Random, seed};
use crate::peer::Peer;
use crate::support::{Ended, Place, measurements, program};

/// Sums the level of each station with a program, whose rows come and go as `form`; `more` is further keys of `[command]`.
fn sums(argv: &str, more: &str) -> String {
    format!(
        "name = \"sums\"\n[source]\nformat = \"csv\"\npaths = [\"a.csv\"]\nshard_size = \"4KiB\"\n[command]\nargv = {argv}\n{more}\n\
         [merge]\nstore = \"sums\"\nkey = [\"station\"]\n[merge.values]\nrows = \"count()\"\ntotal = \"sum(level)\"\n\
         longest = \"max(note)\"\n"
    )
}

/// The same by SQL.
const BY_SQL: &str = "name = \"sums\"\n[source]\nformat = \"csv\"\npaths = [\"a.csv\"]\nshard_size = \"4KiB\"\n[transform]\n\
    sql = \"SELECT station, level * 2 AS level, note FROM source WHERE id % 3 = 0\"\n\
    [merge]\nstore = \"sums\"\nkey = [\"station\"]\n[merge.values]\nrows = \"count()\"\ntotal = \"sum(level)\"\n\
    longest = \"max(note)\"\n";

/// What that SQL says, in Python.
const THIRDS: &str = "import json, sys\n\
    for line in sys.stdin:\n    row = json.loads(line)\n    if row['id'] % 3 == 0:\n        level = row['level']\n        \
    row['level'] = None if level is None else level * 2\n        \
    print(json.dumps({name: row[name] for name in ('station', 'level', 'note')}))\n";

/// A place where programs work in a folder of its own.
fn place() -> Place {
    Place::new()
}

fn run(place: &Place, job: &str) -> Ended {
    place.write("job.toml", job);
    let scratch = place.path("scratch");
    place.call(&["run", "job.toml", "--scratch", scratch.to_str().unwrap()])
}

/// Nothing is left of programs: neither folders nor processes.
fn nothing_is_left(place: &Place) {
    let scratch = place.path("scratch");
    let left = fs::read_dir(&scratch).map_or(0, Iterator::count);
    assert_eq!(left, 0, "folders in {}", scratch.display());
    assert_eq!(processes(&scratch), Vec::<String>::new());
}

/// The processes that work in this scratch folder, by the names of their programs. Their environments would tell as much, but
/// reading one waits for a process that itself waits for a disk.
fn processes(scratch: &Path) -> Vec<String> {
    let all = fs::read_dir("/proc").unwrap().flatten();
    let of_scratch = all.filter(|process| {
        let cwd = fs::read_link(process.path().join("cwd"));
        cwd.is_ok_and(|cwd| cwd.starts_with(scratch))
    });
    let name = |process: fs::DirEntry| fs::read_to_string(process.path().join("comm"));
    of_scratch
        .filter_map(|process| name(process).ok())
        .collect()
}

/// Ends a worker; what it has logged.
fn end(peer: Peer) -> String {
    peer.send(rustix::process::Signal::TERM);
    peer.ended().done().stderr
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_mins(2), "{what}");
        sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_program_gives_what_the_same_query_gives() {
    let expected = {
        let place = place();
        place.write("a.csv", measurements(900));
        run(&place, BY_SQL).done();
        place.records("sums")
    };
    assert!(expected.lines().count() >= 17, "{expected}");
    let declared = "files = [\"thirds.py\"]\n[command.schema]\nstation = \"string\"\nlevel = \"int64\"\nnote = \"string\"";
    for more in ["files = [\"thirds.py\"]", declared] {
        let place = place();
        place.write("a.csv", measurements(900));
        place.write("thirds.py", THIRDS);
        run(&place, &sums("[\"python3\", \"thirds.py\"]", more)).done();
        assert_eq!(place.records("sums"), expected, "{more}");
        nothing_is_left(&place);
        // The file is the job's: another one is another job.
        place.write("thirds.py", THIRDS.replace("* 2", "* 3"));
        let again = place.call(&["run", "job.toml"]);
        again.with_code(2).told(&["command.files (thirds.py)"]);
    }
}

#[test]
fn values_pass_through_unaltered_in_both_formats() {
    let wanted = "name = \"same\"\n[source]\nformat = \"csv\"\npaths = [\"a.csv\"]\nshard_size = \"4KiB\"\n[source.schema]\n\
        at = \"timestamp\"\nday = \"date\"\nprice = \"decimal(20,4)\"\n";
    let sink = "[upsert]\nstore = \"same\"\nkey = [\"id\"]\n";
    let mut text = String::from("id,big,share,at,day,price,word\n");
    for id in 0..500_u64 {
        let big = u64::MAX - id;
        let share = f64::from(u32::try_from(id).unwrap()) / 7.0;
        let word = if id % 5 == 0 {
            String::new()
        } else {
            format!("\"a \"\"{id}\"\"\né\"")
        };
        text += &format!(
            "{id},{big},{share},2013-01-01T10:00:00.{id:06}Z,2013-02-{:02},{id}.{id:04},{word}\n",
            id % 28 + 1
        );
    }
    let source = wanted.replace("paths", "newlines_in_values = true\npaths");
    let plain = place();
    plain.write("a.csv", &text);
    run(&plain, &format!("{source}{sink}")).done();
    let expected = plain.records("same");
    assert_eq!(expected.lines().count(), 500);
    let schema = "[command.schema]\nid = \"int64\"\nbig = \"uint64\"\nshare = \"float64\"\nat = \"timestamp\"\nday = \"date\"\n\
        price = \"decimal(20,4)\"\nword = \"string\"\n";
    for (keys, schema) in [
        ("input = \"arrow\"\noutput = \"arrow\"\n", ""),
        ("input = \"jsonl\"\noutput = \"jsonl\"\n", schema),
    ] {
        let place = place();
        place.write("a.csv", &text);
        let command = format!("[command]\nargv = [\"cat\"]\n{keys}{schema}");
        run(&place, &format!("{source}{command}{sink}")).done();
        let found = place.records("same");
        // The order of the values in a record is that of the columns, which a schema sorts by name.
        let sorted = |text: &str| -> Vec<serde_json::Value> {
            let mut lines: Vec<serde_json::Value> = text
                .lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect();
            lines.sort_by_key(|line| line["key"].as_i64());
            lines
        };
        assert!(
            sorted(&found) == sorted(&expected),
            "{keys}: {found}\n{expected}"
        );
    }
}

#[test]
fn an_array_of_programs_records_their_exit_codes() {
    let place = place();
    let job = "name = \"array\"\n[source]\nformat = \"range\"\nfrom = 10\nto = 16\nshard_len = 2\n[command]\n\
        argv = [\"sh\", \"-c\", \"echo $ECITON_JOB $ECITON_SHARD of $ECITON_SHARDS: $ECITON_FROM to $ECITON_TO; exit $((ECITON_SHARD / 2 * 7))\"]\n\
        [run]\nmax_attempts = 2\n";
    let ended = run(&place, job).with_code(1);
    ended.told(&[
        "1 of 3 shards failed",
        "`sh` exited with code 7",
        "array 2 of 3: 14 to 16",
    ]);
    let logs = place
        .call(&["job", "logs", "array", "--json"])
        .done()
        .json_lines();
    let told: Vec<_> = logs
        .iter()
        .map(|log| {
            (
                log["shard"].clone(),
                log["attempt"].clone(),
                log["exit_code"].clone(),
                log["stderr"].clone(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (
                json!(0),
                json!(1),
                json!(0),
                json!("array 0 of 3: 10 to 12\n")
            ),
            (
                json!(1),
                json!(1),
                json!(0),
                json!("array 1 of 3: 12 to 14\n")
            ),
            (
                json!(2),
                json!(1),
                json!(7),
                json!("array 2 of 3: 14 to 16\n")
            ),
            (
                json!(2),
                json!(2),
                json!(7),
                json!("array 2 of 3: 14 to 16\n")
            ),
        ]
    );
    let one = place
        .call(&["job", "logs", "array", "--shard", "2", "--attempt", "2"])
        .done();
    assert!(
        one.stdout
            .starts_with("== shard 2, attempt 2: exited with code 7 ("),
        "{}",
        one.stdout
    );
    assert!(
        one.stdout.ends_with("array 2 of 3: 14 to 16\n"),
        "{}",
        one.stdout
    );
    // What said nothing did well.
    let place = self::place();
    run(&place, &job.replace("echo", ": ").replace("/ 2 * 7", "* 0")).done();
    let logs = place.call(&["job", "logs", "array"]).done();
    assert_eq!(
        logs.stdout,
        "== shard 0, attempt 1: exited with code 0\n== shard 1, attempt 1: exited with code 0\n\
         == shard 2, attempt 1: exited with code 0\n"
    );
    // Its logs go with a job.
    place.call(&["job", "rm", "array"]).done();
    place
        .call(&["job", "logs", "array"])
        .with_code(2)
        .told(&["no job named `array`"]);
    nothing_is_left(&place);
}

#[test]
fn what_a_program_writes_is_told_with_line_and_column_where_it_is_wrong() {
    let schema = "[command.schema]\nstation = \"string\"\nlevel = \"int8\"\nnote = \"string\"\n";
    for (lines, words) in [
        (
            r#"{"station":"a","level":1}\n{"station":"a","level":300}"#,
            ["line 2, ", "`level`"],
        ),
        (
            r#"{"station":"a","level":1}\nnonsense"#,
            ["line 2, ", "expected"],
        ),
        (r#"{"station":"a","levels":1}"#, ["line 1, ", "levels"]),
        (r#"{"station":"a","level":1.5}"#, ["line 1, ", "1.5"]),
    ] {
        let place = place();
        place.write("a.csv", measurements(3));
        let argv = format!("[\"printf\", '{lines}\\n']");
        let ended = run(&place, &sums(&argv, schema)).with_code(1);
        ended.told(&[
            "1 of 1 shard failed",
            "standard output of printf",
            words[0],
            words[1],
        ]);
        // It is not tried again: it would write the same.
        assert_eq!(place.job("sums")["attempts"], 1);
    }
}

#[test]
fn a_program_that_is_not_there_or_exits_early_is_told() {
    let place = place();
    place.write("a.csv", measurements(30));
    let schema = "[command.schema]\nstation = \"string\"\nlevel = \"int64\"\nnote = \"string\"\n";
    let ended = run(&place, &sums("[\"no-such-program\"]", schema)).with_code(1);
    ended.told(&["program `no-such-program` is not found"]);
    // One that reads nothing and exits with 0 has done its work.
    let place = self::place();
    place.write("a.csv", measurements(3000));
    run(&place, &sums("[\"true\"]", schema)).done();
    assert_eq!(place.records("sums"), "");
    assert_eq!(place.job("sums")["rows_read"], 3000);
    // Trying it out says why it cannot be planned.
    let ended = run(
        &self::place(),
        "name = \"x\"\n[source]\nformat = \"range\"\nfrom = 0\nto = 9\nshard_len = 3\n[command]\n\
        argv = [\"sh\", \"-c\", \"echo broken >&2; exit 9\"]\n[upsert]\nstore = \"x\"\nkey = [\"i\"]\n",
    );
    ended
        .with_code(2)
        .told(&["command.schema", "exited with code 9: broken"]);
}

#[test]
fn a_plan_says_what_the_program_is_and_what_it_writes() {
    let place = place();
    place.write("a.csv", measurements(30));
    place.write("thirds.py", THIRDS);
    place.write(
        "job.toml",
        sums(
            "[\"python3\", \"thirds.py\"]",
            "timeout = \"5s\"\nfiles = [\"thirds.py\"]",
        ),
    );
    let scratch = place.path("scratch");
    let mut plan = program();
    plan.args(["plan", "job.toml", "--scratch", scratch.to_str().unwrap()]);
    let planned: Ended = plan.current_dir(place.path("")).output().unwrap().into();
    let planned = planned.done().stdout;
    for words in [
        "program  python3 thirds.py",
        "station: string, inferred by trying it",
        "level: int64, inferred by trying it",
        "target   store `sums` by merge",
    ] {
        assert!(planned.contains(words), "`{words}` is not in {planned}");
    }
    assert!(!place.db().exists());
}

/// A job whose shards take a while, in a program with children that ignore SIGTERM, and one that leaves its session.
fn slow(shards: u32) -> String {
    format!(
        "name = \"slow\"\n[source]\nformat = \"range\"\nfrom = 0\nto = {shards}\nshard_len = 1\n[command]\n\
         argv = [\"sh\", \"-c\", \"trap '' TERM; sleep 0.2 & (setsid sleep 300 &) ; wait; cat\"]\n[command.schema]\ni = \"int64\"\n\
         [merge]\nstore = \"slow\"\nkey = [\"i\"]\n[merge.values]\nrows = \"count()\"\n"
    )
}

#[test]
fn a_killed_worker_leaves_no_process_and_the_next_run_gives_the_same() {
    const SHARDS: u32 = 15;
    let place = place();
    place.write("job.toml", slow(SHARDS));
    let scratch = place.path("scratch");
    let args = [
        "run",
        "job.toml",
        "--workers",
        "3",
        "--commit-interval",
        "0s",
        "--scratch",
        scratch.to_str().unwrap(),
    ];
    let mut random = Random(seed());
    for _ in 0..4 {
        let mut child = place
            .command(&args)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        until("programs run", || {
            !processes(&scratch).is_empty() || child.try_wait().unwrap().is_some()
        });
        sleep(Duration::from_millis(random.below(400)));
        child.kill().unwrap();
        child.wait().unwrap();
        until("no program runs after its worker was killed", || {
            processes(&scratch).is_empty()
        });
    }
    place.call(&args).done();
    let expected: Vec<String> = (0..SHARDS)
        .map(|i| format!("{{\"key\":{i},\"value\":{{\"rows\":1}}}}"))
        .collect();
    assert_eq!(place.records("slow").lines().collect::<Vec<_>>(), expected);
    nothing_is_left(&place);
}

#[test]
fn a_signal_ends_programs_and_counts_no_attempt() {
    let place = place();
    place.write("job.toml", slow(2).replace("sleep 0.2", "sleep 1000"));
    let scratch = place.path("scratch");
    let args = ["run", "job.toml", "--scratch", scratch.to_str().unwrap()];
    let child = place.start(&args);
    until("programs run", || processes(&scratch).len() > 4);
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let ended: Ended = child.wait_with_output().unwrap().into();
    ended.with_code(130);
    nothing_is_left(&place);
    assert_eq!(place.job("slow")["attempts"], 0);
}

#[test]
fn workers_and_peers_run_programs_only_where_they_are_allowed_to() {
    let place = place();
    let job = slow(3);
    place.write("job.toml", &job);
    let scratch = place.path("scratch");
    let allow = ["--allow-commands", "--scratch", scratch.to_str().unwrap()];
    let submit = |address: &str, more: &[&str]| -> Ended {
        let mut submit = program();
        submit
            .args(["submit", "job.toml", "--peer", address])
            .args(more);
        submit.current_dir(place.path("")).output().unwrap().into()
    };
    {
        let peer = Peer::start(&place, &[]);
        submit(peer.address(), &[])
            .with_code(2)
            .told(&["--allow-commands"]);
        end(peer);
    }
    // One that is recorded is left alone by a worker that may not, and no attempt is counted.
    place.call(&["submit", "job.toml"]).done();
    {
        let peer = Peer::start(&place, &[]);
        let other = "name = \"other\"\n[source]\nformat = \"range\"\nfrom = 0\nto = 3\nshard_len = 1\n[upsert]\n\
            store = \"other\"\nkey = [\"i\"]\n";
        place.write("other.toml", other);
        peer.call(&place, &["submit", "other.toml"]).done();
        // It came later, and is done: the worker has looked at both.
        until("the other job is done", || {
            place.job("other")["state"] == "done"
        });
        let log = end(peer);
        let is_told = log
            .lines()
            .any(|line| line.contains("runs a program") && line.contains("left to others"));
        assert!(is_told, "{log}");
    }
    let status = place.job("slow");
    assert_eq!(
        (&status["attempts"], &status["shards"]["done"]),
        (&json!(0), &json!(0))
    );
    place.call(&["job", "rm", "slow"]).done();
    place.write("tokens", "submit plain\nsubmit,command,read both\n");
    let tokens = place.path("tokens");
    let guarded = [&allow[..], &["--tokens", tokens.to_str().unwrap()]].concat();
    let peer = Peer::start(&place, &guarded);
    let refused = submit(peer.address(), &["--token", "plain"]);
    refused.told(&["the role `command`"]);
    submit(peer.address(), &["--token", "both"]).done();
    until("the job is done", || place.job("slow")["state"] == "done");
    end(peer);
    assert_eq!(place.records("slow").lines().count(), 3);
    // Nobody runs a program that came over the network but such a worker.
    nothing_is_left(&place);
}

#[test]
fn files_travel_with_a_job_over_the_network() {
    let place = place();
    place.write("a.csv", measurements(90));
    place.write("thirds.py", THIRDS);
    let schema = "files = [\"thirds.py\"]\n[command.schema]\nstation = \"string\"\nlevel = \"int64\"\nnote = \"string\"\n";
    place.write("job.toml", sums("[\"python3\", \"thirds.py\"]", schema));
    let scratch = place.path("scratch");
    let peer = Peer::start(
        &place,
        &["--allow-commands", "--scratch", scratch.to_str().unwrap()],
    );
    let mut submit = program();
    submit.args(["submit", "job.toml", "--peer", peer.address()]);
    let submitted: Ended = submit.current_dir(place.path("")).output().unwrap().into();
    submitted.done();
    // The worker has it, wherever the file is by now.
    fs::remove_file(place.path("thirds.py")).unwrap();
    until("the job is done", || place.job("sums")["state"] == "done");
    end(peer);
    let sql = self::place();
    sql.write("a.csv", measurements(90));
    run(&sql, BY_SQL).done();
    assert_eq!(place.records("sums"), sql.records("sums"));
}

#[test]
fn logs_can_be_followed_while_the_program_runs() {
    let place = place();
    let go = place.path("go");
    let job = format!(
        "name = \"said\"\n[source]\nformat = \"range\"\nfrom = 0\nto = 1\nshard_len = 1\n[command]\n\
         argv = [\"sh\", \"-c\", \"echo first; while [ ! -e {} ]; do sleep 0.05; done; echo second\"]\n",
        go.display()
    );
    place.write("job.toml", &job);
    let scratch = place.path("scratch");
    let running = place.start(&["run", "job.toml", "--scratch", scratch.to_str().unwrap()]);
    until("the log is there", || {
        let logs = place.call(&["job", "logs", "said"]);
        logs.code == Some(0) && logs.stdout.contains("runs") && logs.stdout.contains("first")
    });
    let following = place.start(&["job", "logs", "said", "--follow"]);
    place.write("go", "");
    let followed: Ended = following.wait_with_output().unwrap().into();
    let lines: Vec<String> = followed.done().stdout.lines().map(str::to_owned).collect();
    assert!(
        lines.contains(&"first".to_owned()) && lines.contains(&"second".to_owned()),
        "{lines:?}"
    );
    assert!(
        lines.iter().any(|line| line.contains("exited with code 0")),
        "{lines:?}"
    );
    let ended: Ended = running.wait_with_output().unwrap().into();
    ended.done();
}

/// A job of eight shards, whose program does what `script` says.
fn eight(script: &str, run: &str) -> String {
    format!(
        "name = \"eight\"\n[source]\nformat = \"range\"\nfrom = 0\nto = 8\nshard_len = 1\n[command]\n\
         argv = [\"sh\", \"-c\", \"{script}\"]\n[command.schema]\ni = \"int64\"\n[upsert]\nstore = \"eight\"\nkey = [\"i\"]\n[run]\n{run}\n"
    )
}

#[test]
fn what_is_tried_again_is_what_the_job_says() {
    // The fourth shard fails at its first attempt, the fifth for good.
    let script = "case $ECITON_SHARD$ECITON_ATTEMPT in 31) exit 9;; 4*) exit 64;; esac; cat";
    for (run, attempts, failed) in [
        ("max_attempts = 3", 8 + 1 + 2, 1),
        ("max_attempts = 3\nfinal_exit_codes = [64]", 8 + 1, 1),
        (
            "max_attempts = 3\nretry_on = [\"signal\", \"timeout\"]",
            8,
            2,
        ),
        (
            "max_attempts = 3\nretry_on = [\"exit\"]\nfinal_exit_codes = [64, 65]",
            8 + 1,
            1,
        ),
    ] {
        let place = place();
        self::run(&place, &eight(script, run)).with_code(1);
        let status = place.job("eight");
        assert_eq!(
            (&status["attempts"], &status["shards"]["failed"]),
            (&json!(attempts), &json!(failed)),
            "{run}"
        );
        let left = 8 - failed;
        assert_eq!(place.records("eight").lines().count(), left, "{run}");
    }
}

#[test]
fn a_job_may_lose_as_many_shards_as_it_says() {
    let script = "case $ECITON_SHARD in 2|5) exit 64;; esac; cat";
    for (run, state) in [
        ("max_attempts = 1", "failed"),
        ("max_attempts = 1\nmax_failed = 1", "failed"),
        ("max_attempts = 1\nmax_failed = 2", "done"),
        ("max_attempts = 1\nmax_failed = \"24.9%\"", "failed"),
        ("max_attempts = 1\nmax_failed = \"25%\"", "done"),
    ] {
        let place = place();
        let ended = self::run(&place, &eight(script, run));
        let status = place.job("eight");
        assert_eq!(
            (&status["state"], &status["shards"]["failed"]),
            (&json!(state), &json!(2)),
            "{run}"
        );
        if state == "done" {
            let ended = ended.done();
            assert!(
                ended
                    .stderr
                    .contains("warning: job `eight`: 2 of 8 shards failed"),
                "{}",
                ended.stderr
            );
        } else {
            ended.with_code(1).told(&["2 of 8 shards failed"]);
        }
        assert_eq!(place.records("eight").lines().count(), 6, "{run}");
        // What failed can still be tried again.
        place.call(&["job", "retry", "eight"]);
        assert_eq!(place.job("eight")["attempts"], 10, "{run}");
    }
}

#[test]
fn workers_without_what_a_job_needs_leave_it_to_others() {
    let place = place();
    let scratch = place.path("scratch");
    // Two at the same time would find the lock of the other.
    let script = format!(
        "mkdir {0}/lock && sleep 0.05 && rmdir {0}/lock && cat",
        place.path("").display()
    );
    place.write(
        "job.toml",
        eight(&script, "max_attempts = 1\n[run.needs]\ngpu = 1"),
    );
    place.call(&["submit", "job.toml"]).done();
    let allow = [
        "--allow-commands",
        "--scratch",
        scratch.to_str().unwrap(),
        "--slots",
        "4",
    ];
    {
        let peer = Peer::start(&place, &allow);
        let other = "name = \"other\"\n[source]\nformat = \"range\"\nfrom = 0\nto = 3\nshard_len = 1\n[upsert]\n\
            store = \"other\"\nkey = [\"i\"]\n";
        place.write("other.toml", other);
        peer.call(&place, &["submit", "other.toml"]).done();
        until("the other job is done", || {
            place.job("other")["state"] == "done"
        });
        let log = end(peer);
        assert!(log.contains("needs gpu = 1 for each shard"), "{log}");
    }
    let status = place.job("eight");
    assert_eq!(status["attempts"], 0);
    assert!(
        status["note"].as_str().unwrap().contains("gpu=1"),
        "{status}"
    );
    let peer = Peer::start(&place, &[&allow[..], &["--resources", "gpu=1"]].concat());
    until("the job is done", || place.job("eight")["state"] == "done");
    end(peer);
    assert_eq!(place.records("eight").lines().count(), 8);
}

/// Counts to 30 in steps that it saves. At its first attempt it breaks off after ten of them, in the way that `end` says.
fn counter(end: &str) -> String {
    format!(
        "import json, os, sys, time\n\
         path = os.environ['ECITON_CHECKPOINT']\n\
         begun = json.load(open(path)) if os.path.exists(path) else 0\n\
         for step in range(begun, 30):\n    \
             with open(path + '.new', 'w') as file:\n        json.dump(step + 1, file)\n    \
             os.replace(path + '.new', path)\n    \
             if step == 9 and begun == 0:\n        {end}\n\
         print(json.dumps({{'i': 1, 'begun': begun}}))\n"
    )
}

const COUNTER_JOB: &str = "name = \"count\"\n[source]\nformat = \"range\"\nfrom = 0\nto = 1\nshard_len = 1\n[command]\n\
    argv = [\"python3\", \"count.py\"]\nfiles = [\"count.py\"]\ninput = \"none\"\n[command.schema]\ni = \"int64\"\nbegun = \"int64\"\n\
    [upsert]\nstore = \"count\"\nkey = [\"i\"]\n";

/// Records of a job's checkpoint that are stored.
fn checkpoints(place: &Place) -> usize {
    let scan = place.call(&["scan", "_jobs", "--keys-only"]).done();
    scan.stdout
        .lines()
        .filter(|line| line.contains("checkpoint"))
        .count()
}

#[test]
fn the_next_attempt_goes_on_from_the_checkpoint() {
    let place = place();
    place.write("count.py", counter("sys.exit(5)"));
    run(&place, COUNTER_JOB).done();
    assert_eq!(
        place.records("count"),
        "{\"key\":1,\"value\":{\"begun\":10}}\n"
    );
    assert_eq!(place.job("count")["attempts"], 2);
    // It goes with the shard that is done.
    assert_eq!(checkpoints(&place), 0);
}

#[test]
fn a_checkpoint_outlives_its_worker() {
    let place = place();
    place.write("count.py", counter("time.sleep(1000)"));
    place.write("job.toml", COUNTER_JOB);
    let scratch = place.path("scratch");
    let args = ["run", "job.toml", "--scratch", scratch.to_str().unwrap()];
    let mut child = place
        .command(&args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until("the checkpoint is stored", || {
        place.job_is_there("count") && checkpoints(&place) > 0
    });
    child.kill().unwrap();
    child.wait().unwrap();
    until("no program runs after its worker was killed", || {
        processes(&scratch).is_empty()
    });
    place.call(&args).done();
    assert_eq!(
        place.records("count"),
        "{\"key\":1,\"value\":{\"begun\":10}}\n"
    );
    assert_eq!(checkpoints(&place), 0);
    nothing_is_left(&place);
}
