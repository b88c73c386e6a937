//! Fuzzers with coverage, each a program of its own that LLVM's fuzzer drives.

use std::fs;
use std::path::Path;

use crate::steps::{Failed, cargo, host, workspace};

/// How long a fuzzer runs where nothing is said.
const SECONDS: &str = "60";
/// Bytes of an input.
const LEN_MAX: u64 = 64 * 1024;

/// A fuzzer.
struct Target {
    name: &'static str,
    manifest: &'static str,
    /// Folders with files to begin with.
    seeds: &'static [&'static str],
    /// Where inputs are kept, below `target/fuzz`.
    corpus: &'static str,
}

const TARGETS: [Target; 2] = [
    Target {
        name: "messages",
        manifest: "coordinator-proto/fuzz/Cargo.toml",
        seeds: &[],
        corpus: "corpus",
    },
    Target {
        name: "sources",
        manifest: "jobs/fuzz/Cargo.toml",
        seeds: &[
            "worker/tests/faults",
            "jobs/examples",
            "jobs/src/source/tests/data",
        ],
        corpus: "sources",
    },
];

/// What the first byte of an input of `sources` says; the same order as in `jobs/fuzz/drive.rs`.
const ENDINGS: [&str; 7] = [
    ".csv",
    ".jsonl",
    ".parquet",
    ".csv.gz",
    ".csv.zst",
    ".jsonl.gz",
    ".toml",
];

/// Runs the fuzzer that is named, or all, for so many seconds each. What it finds is told with the bytes that do it.
pub(crate) fn fuzz(args: &[String]) -> Result<(), Failed> {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let (name, rest) = match words.split_first() {
        Some((first, rest)) if TARGETS.iter().any(|target| target.name == *first) => {
            (Some(*first), rest)
        }
        _ => (None, &words[..]),
    };
    let seconds = match rest {
        [] => SECONDS,
        [seconds] if seconds.parse::<u32>().is_ok() => seconds,
        _ => {
            let words = words.join(" ");
            return Err(Failed(format!(
                "fuzz: expected `messages` or `sources` and a number of seconds, got `{words}`"
            )));
        }
    };
    let wanted = |target: &&Target| name.is_none_or(|name| name == target.name);
    TARGETS
        .iter()
        .filter(wanted)
        .try_for_each(|target| run(target, seconds))
}

fn run(target: &Target, seconds: &str) -> Result<(), Failed> {
    let root = workspace();
    let built = root.join("target/fuzz");
    let corpus = built.join(target.corpus);
    let failed =
        |path: &Path, cause: std::io::Error| Failed(format!("{}: {cause}", path.display()));
    fs::create_dir_all(&corpus).map_err(|cause| failed(&corpus, cause))?;
    for folder in target.seeds {
        let folder = root.join(folder);
        seed(&folder, &corpus).map_err(|cause| failed(&folder, cause))?;
    }
    // What LLVM's fuzzer needs to see which ways were taken; the same as its wrappers pass, without a sanitizer: the
    // code is safe Rust.
    let flags = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
                 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
                 -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares \
                 -Ccodegen-units=1";
    let time = format!("-max_total_time={seconds}");
    let len = format!("-max_len={LEN_MAX}");
    let (corpus, found) = (corpus.display(), format!("{}/", built.display()));
    let (corpus, found) = (format!("{corpus}/"), format!("-artifact_prefix={found}"));
    // With a target, what runs while building is built without these.
    let host = host()?;
    let args = [
        "run",
        "--quiet",
        "--release",
        "--locked",
        "--target",
        &host,
        "--manifest-path",
        target.manifest,
        "--",
        &corpus,
        &time,
        &len,
        &found,
        "-timeout=30",
        "-rss_limit_mb=4096",
        "-malloc_limit_mb=2048",
        "-print_final_stats=1",
    ];
    let envs = [
        ("CARGO_TARGET_DIR", built.as_os_str()),
        ("RUSTFLAGS", flags.as_ref()),
    ];
    cargo(&args, &envs)
}

/// Takes the files below a folder over as inputs, with the byte that says what they are and one without options.
fn seed(folder: &Path, corpus: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            seed(&path, corpus)?;
            continue;
        }
        let name = path.to_string_lossy().into_owned();
        // The longest ending decides: `.csv.gz` is no `.gz`.
        let kinds = (0_u8..)
            .zip(ENDINGS)
            .filter(|(_, ending)| name.ends_with(ending));
        let Some((kind, _)) = kinds.max_by_key(|(_, ending)| ending.len()) else {
            continue;
        };
        if path.metadata()?.len() > LEN_MAX {
            continue;
        }
        let bytes = [&[kind, 0], fs::read(&path)?.as_slice()].concat();
        let parts: Vec<&str> = name.rsplit('/').take(3).collect();
        fs::write(corpus.join(parts.join("-")), bytes)?;
    }
    Ok(())
}
