//! Real programs, most of them shell scripts.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use parking_lot::Mutex;

use super::end::ProgramEnd;
use super::error::CommandError;
use super::program::{Invocation, ProgramInput, Ran, StillWanted, run};
use super::scratch::{ProgramFolder, Scratch};
use super::tail::Tail;
use crate::spec::ProgramFile;

/// A scratch folder, with one for a program.
struct Place {
    _root: tempfile::TempDir,
    scratch: Scratch,
    folder: ProgramFolder,
}

impl Place {
    fn new() -> Place {
        let root = tempfile::tempdir().unwrap();
        let scratch = Scratch::open(root.path()).unwrap();
        let folder = scratch.program_folder().unwrap();
        Place {
            _root: root,
            scratch,
            folder,
        }
    }
}

fn argv(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn invocation<'a>(place: &'a Place, argv: &'a [String]) -> Invocation<'a> {
    Invocation {
        argv,
        variables: Vec::new(),
        files: &[],
        folder: &place.folder,
        has_input: true,
        has_output: true,
        memory_len_max: 0,
        timeout: None,
        output_len_max: u64::MAX,
        stderr_kept: 1000,
    }
}

type Fed = Result<u64, String>;

/// Runs a program that is fed `lines` lines.
fn fed(invocation: &Invocation<'_>, lines: u64) -> Ran<Fed> {
    fed_while(invocation, lines, |_| StillWanted::Yes)
}

fn fed_while(
    invocation: &Invocation<'_>,
    lines: u64,
    look: impl FnMut(&Mutex<Tail>) -> StillWanted,
) -> Ran<Fed> {
    let feed = move |input: Option<ProgramInput>| {
        let Some(mut input) = input else {
            return Ok(0);
        };
        for line in 0..lines {
            if writeln!(input, "{line}").is_err() {
                return Ok(line);
            }
        }
        Ok(lines)
    };
    run(invocation, feed, look).unwrap()
}

fn sh(script: &str) -> Vec<String> {
    argv(&["sh", "-c", script])
}

fn rows(place: &Place) -> String {
    std::fs::read_to_string(place.folder.rows()).unwrap()
}

/// Whether any process of this machine works in the folder.
fn is_left(folder: &Path) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let mut folders =
        processes.filter_map(|process| std::fs::read_link(process.path().join("cwd")).ok());
    folders.any(|cwd| cwd.starts_with(folder))
}

#[test]
fn rows_go_in_and_out_and_the_environment_is_bare() {
    let place = Place::new();
    let argv = sh(
        "read first; echo \"$first $A $(pwd)\"; env | cut -d= -f1 | sort | tr '\\n' ' '; cat; echo said >&2",
    );
    let invocation = Invocation {
        variables: vec![("A".to_owned(), "a b".into())],
        ..invocation(&place, &argv)
    };
    let ran = fed(&invocation, 3);
    assert_eq!(ran.end, ProgramEnd::Exited(0));
    assert_eq!(ran.fed, Some(Ok(3)));
    assert_eq!(ran.stderr.bytes(), b"said\n");
    let work = place.folder.work();
    let expected = format!(
        "0 a b {}\nA ECITON_FOLDER PATH PWD TMPDIR 1\n2\n",
        work.display()
    );
    assert_eq!(rows(&place), expected);
}

#[test]
fn files_lie_where_the_program_works() {
    let place = Place::new();
    let files = [
        ProgramFile {
            name: "bin/hello".to_owned(),
            content: "#!/bin/sh\ncat data.txt\n".into(),
            executable: true,
        },
        ProgramFile {
            name: "data.txt".to_owned(),
            content: "hello\n".into(),
            executable: false,
        },
    ];
    let argv = argv(&["./bin/hello"]);
    let ran = fed(
        &Invocation {
            files: &files,
            ..invocation(&place, &argv)
        },
        0,
    );
    assert_eq!(
        (ran.end, rows(&place).as_str()),
        (ProgramEnd::Exited(0), "hello\n")
    );
}

#[test]
fn a_program_may_write_much_before_it_reads() {
    let place = Place::new();
    // More than any pipe holds, on all three of them.
    let argv = sh("head -c 3000000 /dev/zero; head -c 3000000 /dev/zero >&2; cat >/dev/null");
    let ran = fed(&invocation(&place, &argv), 500_000);
    assert_eq!(ran.end, ProgramEnd::Exited(0));
    assert_eq!(ran.fed, Some(Ok(500_000)));
    assert_eq!(
        (ran.stderr.len(), ran.stderr.bytes().len()),
        (3_000_000, 1000)
    );
    assert_eq!(rows(&place).len(), 3_000_000);
}

#[test]
fn a_program_may_leave_its_input() {
    let place = Place::new();
    let argv = sh("exec 0<&-; echo done");
    let ran = fed(&invocation(&place, &argv), 1_000_000);
    assert_eq!(ran.end, ProgramEnd::Exited(0));
    assert!(ran.fed.unwrap().unwrap() < 1_000_000);
}

#[test]
fn codes_and_signals_are_told() {
    for (script, end, shown) in [
        ("exit 3", ProgramEnd::Exited(3), "exited with code 3"),
        (
            "kill -s SEGV $$",
            ProgramEnd::Signaled(11),
            "was ended by signal 11 (SIGSEGV)",
        ),
    ] {
        let place = Place::new();
        let argv = sh(script);
        let ran = fed(&invocation(&place, &argv), 1);
        assert_eq!(ran.end, end);
        assert_eq!(ran.end.to_string(), shown);
    }
}

#[test]
fn what_is_not_there_is_told_before_it_is_started() {
    let place = Place::new();
    for name in [
        "no-such-program-anywhere",
        "./no-such-file",
        "/etc/hostname/x",
    ] {
        let argv = argv(&[name]);
        let ran = run(
            &invocation(&place, &argv),
            |_| Ok::<(), ()>(()),
            |_| StillWanted::Yes,
        );
        assert!(
            matches!(ran, Err(CommandError::NotFound(found)) if found == name),
            "{name}"
        );
    }
}

#[test]
fn one_that_hangs_is_killed_with_its_children_even_if_it_ignores_sigterm() {
    for script in [
        "sleep 1000",
        "trap '' TERM; sleep 1000 & sleep 1000; sleep 1000",
        // A child that ends nothing by itself, in the background.
        "(trap '' TERM; while :; do sleep 1; done) & wait",
    ] {
        let place = Place::new();
        let argv = sh(script);
        let timeout = Duration::from_millis(200);
        let invocation = Invocation {
            timeout: Some(timeout),
            ..invocation(&place, &argv)
        };
        let ran = fed(&invocation, 1);
        assert_eq!(ran.end, ProgramEnd::TimedOut(timeout), "{script}");
        assert!(!is_left(place.folder.path()), "{script}");
    }
}

#[test]
fn what_it_leaves_behind_is_killed_in_its_group_and_outside_of_it() {
    for script in [
        "sleep 1000 & echo left",
        // In a session of its own, with its pipes.
        "setsid sleep 1000 & echo left",
    ] {
        let place = Place::new();
        let argv = sh(script);
        let ran = fed(&invocation(&place, &argv), 1);
        assert_eq!(
            (ran.end, rows(&place).as_str()),
            (ProgramEnd::Exited(0), "left\n"),
            "{script}"
        );
        assert!(!is_left(place.folder.path()), "{script}");
    }
}

#[test]
fn nobody_waits_for_one_that_is_not_wanted() {
    let place = Place::new();
    let argv = sh("echo begun >&2; sleep 1000");
    let ran = fed_while(&invocation(&place, &argv), 1, |stderr| {
        match stderr.lock().len() {
            0 => StillWanted::Yes,
            _ => StillWanted::No,
        }
    });
    assert_eq!(ran.end, ProgramEnd::BrokenOff);
    assert!(!is_left(place.folder.path()));
}

#[test]
fn a_flood_of_rows_is_bounded() {
    let place = Place::new();
    let argv = argv(&["yes"]);
    let invocation = Invocation {
        output_len_max: 1 << 20,
        ..invocation(&place, &argv)
    };
    assert_eq!(fed(&invocation, 1).end, ProgramEnd::Flooded(1 << 20));
}

#[test]
fn memory_is_bounded() {
    let place = Place::new();
    let argv = argv(&["python3", "-c", "x = b'x' * (1 << 30); print(len(x))"]);
    let invocation = Invocation {
        memory_len_max: 256 << 20,
        ..invocation(&place, &argv)
    };
    let ran = fed(&invocation, 0);
    assert_eq!(ran.end, ProgramEnd::Exited(1));
    assert!(
        ran.stderr.lines(200).contains("MemoryError"),
        "{}",
        ran.stderr.lines(200)
    );
}

#[test]
fn an_error_of_the_source_ends_the_program() {
    let place = Place::new();
    let argv = sh("cat > /dev/null; sleep 1000");
    let feed = |input: Option<ProgramInput>| {
        // The input stays open until the error is known.
        let _input = input;
        Err::<(), _>("broken")
    };
    let ran = run(&invocation(&place, &argv), feed, |_| StillWanted::Yes).unwrap();
    assert_eq!(
        (ran.end, ran.fed),
        (ProgramEnd::BrokenOff, Some(Err("broken")))
    );
}

#[test]
fn rows_may_be_none() {
    let place = Place::new();
    let argv = sh("cat; echo out; echo err >&2");
    let invocation = Invocation {
        has_input: false,
        has_output: false,
        ..invocation(&place, &argv)
    };
    let ran = fed(&invocation, 5);
    assert_eq!((ran.end, ran.fed), (ProgramEnd::Exited(0), Some(Ok(0))));
    assert_eq!(ran.stderr.lines(100), "out\nerr");
    assert!(!place.folder.rows().exists());
}

/// What a process costs, measured and told; what is asserted is only that all of them end well.
#[test]
fn the_cost_above_fork_and_exec_is_told() {
    const RUNS: u32 = 50;
    let argv = argv(&["true"]);
    let begun = std::time::Instant::now();
    for _ in 0..RUNS {
        assert!(
            std::process::Command::new("true")
                .status()
                .unwrap()
                .success()
        );
    }
    let bare = begun.elapsed() / RUNS;
    let place = Place::new();
    let begun = std::time::Instant::now();
    for _ in 0..RUNS {
        let folder = place.scratch.program_folder().unwrap();
        let own = Invocation {
            folder: &folder,
            ..invocation(&place, &argv)
        };
        assert_eq!(fed(&own, 1).end, ProgramEnd::Exited(0));
    }
    let all = begun.elapsed() / RUNS;
    println!("a program costs {all:?}, fork and exec alone {bare:?}");
}
