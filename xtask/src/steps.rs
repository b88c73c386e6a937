//! The steps that call cargo.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::needs;

/// A step that did not pass, for people.
#[derive(Debug)]
pub(crate) struct Failed(pub(crate) String);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The folder of the workspace: xtask's own folder lies in it.
pub(crate) fn workspace() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_path_buf()
}

/// Every source is formatted.
pub(crate) fn fmt_check() -> Result<(), Failed> {
    cargo(&["fmt", "--all", "--check"], &[])
}

/// The engines to compare with that need nothing of the system. Everything is checked with them: where single steps
/// asked for features of their own, all that lies below would be built anew for each.
const PEERS: &str = "eciton-compare/peers";

/// No warning from the compiler or from clippy, in any target.
pub(crate) fn clippy() -> Result<(), Failed> {
    let whole = ["--workspace", "--all-targets", "--features", PEERS];
    let scheduled = ["--workspace", "--features", SHUTTLE, "--test", "shuttle"];
    for what in [&whole[..], &scheduled] {
        let deny = ["--locked", "--", "-D", "warnings"];
        cargo(&[&["clippy"], what, &deny].concat(), &[])?;
    }
    Ok(())
}

/// The documentation of every crate builds without a warning: no dead link, no missing text.
pub(crate) fn docs() -> Result<(), Failed> {
    let deny = [("RUSTDOCFLAGS", "-D warnings".as_ref())];
    cargo(
        &[
            "doc",
            "--workspace",
            "--no-deps",
            "--features",
            PEERS,
            "--locked",
            "--document-private-items",
        ],
        &deny,
    )
}

/// Takes what was added to the `.proto` files over into the recorded contract, unless something is broken.
pub(crate) fn renew_contract() -> Result<(), Failed> {
    let test = |name| {
        [
            "test",
            "--quiet",
            "--package",
            "eciton-proto",
            "--locked",
            "--test",
            "contract",
            "--",
            "--exact",
            name,
        ]
    };
    cargo(&test("nothing_recorded_is_broken"), &[])?;
    let renew = [("ECITON_RENEW_CONTRACT", "1".as_ref())];
    cargo(&test("every_addition_is_recorded"), &renew)
}

/// Regenerates `docs/cli.md` from the help of the program. Builds with the features of the whole workspace, like the tests, so that
/// dependencies are not rebuilt.
pub(crate) fn renew_cli() -> Result<(), Failed> {
    let test = "cli_reference::the_cli_reference_is_what_help_says";
    let renew = [("ECITON_RENEW_CLI", "1".as_ref())];
    let args = [
        "test",
        "--quiet",
        "--workspace",
        "--locked",
        "--test",
        "program",
        "--",
        "--exact",
        test,
    ];
    cargo(&args, &renew)
}

/// Regenerates the dashboards of Grafana from their sources in `deploy/grafana`, and the copies that the Helm chart has of
/// them and of the rules.
pub(crate) fn renew_dashboards() -> Result<(), Failed> {
    needs::install()?;
    let renew = [("ECITON_RENEW_DASHBOARDS", "1".as_ref())];
    // One after the other: the second copies what the first has written.
    for test in [
        "dashboards::the_dashboards_are_what_their_sources_say",
        "chart::the_chart_is_clean_and_its_small_values_are_small",
    ] {
        let args = [
            "test",
            "--quiet",
            "--package",
            "xtask",
            "--locked",
            "--test",
            "deploy",
            "--",
            "--exact",
            test,
        ];
        cargo(&args, &renew)?;
    }
    Ok(())
}

/// Draws the pictures of a swarm in `docs/pictures` anew, from what a real Prometheus has of a real swarm. `ECITON_PROGRAM`
/// names the program, such as a release build; unless it is set, that of the tests.
pub(crate) fn pictures() -> Result<(), Failed> {
    needs::install()?;
    let folder = workspace().join("docs/pictures");
    let args = [
        "test",
        "--quiet",
        "--workspace",
        "--locked",
        "--test",
        "program",
        "--",
        "--exact",
        "--nocapture",
        "pictures::pictures_of_a_swarm_can_be_drawn",
    ];
    cargo(&args, &[("ECITON_PICTURES", folder.as_os_str())])
}

/// Schedules that each seed of each check draws when only they are asked for.
const SCHEDULES_LONG: &str = "20000";

/// The group commit and the shared view under drawn schedules: many, minutes of them.
pub(crate) fn schedules() -> Result<(), Failed> {
    cargo(&SCHEDULES, &[("ECITON_SCHEDULES", SCHEDULES_LONG.as_ref())])
}

/// The engine's locks give way to the scheduler only under this feature, which no other step has.
const SHUTTLE: &str = "eciton-engine/shuttle";
/// Of the whole workspace, so that nothing below the engine is built with other features than elsewhere.
const SCHEDULES: [&str; 7] = [
    "test",
    "--workspace",
    "--features",
    SHUTTLE,
    "--locked",
    "--test",
    "shuttle",
];

/// Seeds that every test run simulates.
const SIM_SEEDS: &str = "5000";
/// Rules that every test run breaks: one of each kind, each noticed within a few hundred seeds.
const SIM_MUTANTS: [&str; 20] = [
    "no_dedup",
    "same_batch",
    "range_ignored",
    "reverse_short",
    "merge_no_conflict",
    "resend_blind",
    "cancel_ignored",
    "early_answer",
    "no_directory_sync",
    "read_no_sync",
    "predecessor_unread",
    "fold_twice",
    "manifest_gap",
    "collect_no_log",
    "linear_no_probe",
    "accept_torn",
    "reload_keeps_window",
    "take_unproved",
    "turn_blind",
    "turn_kept",
];

/// Every test, then some schedules, then every documented example.
pub(crate) fn test(args: &[String]) -> Result<(), Failed> {
    needs::install()?;
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    if !has_nextest() {
        let mut all = vec!["test", "--workspace", "--locked", "--no-fail-fast"];
        all.extend(&args);
        cargo(&all, &[])?;
        return if args.is_empty() {
            short_proofs()
        } else {
            Ok(())
        };
    }
    let side_by_side = side_by_side().to_string();
    let mut all = vec![
        "nextest",
        "run",
        "--workspace",
        "--locked",
        "--no-fail-fast",
        "--test-threads",
        &side_by_side,
    ];
    all.extend(&args);
    cargo(&all, &[])?;
    if args.is_empty() {
        short_proofs()?;
        cargo(&["test", "--workspace", "--locked", "--doc"], &[])
    } else {
        Ok(())
    }
}

/// Tests that run side by side: half as many again as there are cores, since many wait for other processes.
fn side_by_side() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    cores + cores.div_ceil(2)
}

/// What only a feature builds, and the short forms of what runs for long elsewhere: drawn schedules, simulated
/// seeds, and whether broken rules are still noticed.
fn short_proofs() -> Result<(), Failed> {
    cargo(&SCHEDULES, &[])?;
    let from = first_seed().to_string();
    let seeds = ["--seeds", SIM_SEEDS, "--from", &from].map(str::to_owned);
    sim(&seeds)?;
    let mutants = ["--mutants"].iter().chain(&SIM_MUTANTS);
    let args: Vec<String> = mutants.map(ToString::to_string).collect();
    sim(&args)
}

/// Where the seeds of the gate begin: another place for each state of the tree, so that each explores new ones, and the
/// same one wherever that state is tested. 0 without git.
fn first_seed() -> u64 {
    let tree = Command::new("git")
        .args(["rev-parse", "HEAD^{tree}"])
        .current_dir(workspace())
        .output();
    let told = tree.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let digits = told.unwrap_or_default();
    // As many as leave room for any number of seeds.
    let digits = digits.get(..12).unwrap_or_default();
    u64::from_str_radix(digits, 16).unwrap_or(0)
}

/// The simulator, with these arguments. Its profile optimises it and the engine (see the workspace's
/// manifest).
pub(crate) fn sim(args: &[String]) -> Result<(), Failed> {
    run_built("sim", args)
}

/// Real processes, killed and without power: the long form of the test of the same crate.
pub(crate) fn crash(args: &[String]) -> Result<(), Failed> {
    run_built("eciton-crash", args)
}

/// The target that the compiler itself runs on.
///
/// # Errors
/// The compiler does not start, or does not say so.
pub(crate) fn host() -> Result<String, Failed> {
    let output = Command::new("rustc").arg("-vV").output();
    let output = output.map_err(|cause| Failed(format!("rustc did not start: {cause}")))?;
    let told = String::from_utf8_lossy(&output.stdout);
    let host = told.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned)
        .ok_or_else(|| Failed("rustc does not say what it runs on".to_owned()))
}

/// Builds a program of the workspace and runs it. As a part of the whole workspace, which `cargo run` cannot: for its
/// crate alone, features that no other asks for fall away, and the engine and what lies below it would be built a
/// second time beside what the tests have built.
fn run_built(program: &str, args: &[String]) -> Result<(), Failed> {
    let build = [
        "build",
        "--quiet",
        "--locked",
        "--workspace",
        "--bin",
        program,
    ];
    cargo(&build, &[])?;
    eprintln!("$ {program} {}", args.join(" "));
    let begun = Instant::now();
    let mut path = std::env::current_exe()
        .map_err(|cause| Failed(format!("the folder of the programs is unknown: {cause}")))?;
    path.set_file_name(format!("{program}{}", std::env::consts::EXE_SUFFIX));
    let status = Command::new(&path)
        .args(args)
        .current_dir(workspace())
        .status()
        .map_err(|cause| Failed(format!("{} did not start: {cause}", path.display())))?;
    eprintln!("took {} s", begun.elapsed().as_secs());
    if status.success() {
        Ok(())
    } else {
        Err(Failed(format!("`{program}` did not pass ({status})")))
    }
}

/// Whether `cargo nextest` is installed: quicker, since it runs test programs side by side.
fn has_nextest() -> bool {
    let quiet = Command::new(cargo_path())
        .args(["nextest", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    quiet.is_ok_and(|status| status.success())
}

/// Calls cargo in the workspace's folder, with these variables.
///
/// # Errors
/// It did not start, or did not pass.
pub(crate) fn cargo(args: &[&str], envs: &[(&str, &OsStr)]) -> Result<(), Failed> {
    eprintln!("$ cargo {}", args.join(" "));
    let begun = Instant::now();
    let status = Command::new(cargo_path())
        .args(args)
        .env("PATH", needs::path()?)
        .envs(envs.iter().copied())
        .current_dir(workspace())
        .status()
        .map_err(|cause| Failed(format!("`cargo {}` did not start: {cause}", args.join(" "))))?;
    eprintln!("took {} s", begun.elapsed().as_secs());
    if status.success() {
        Ok(())
    } else {
        Err(Failed(format!(
            "`cargo {}` did not pass ({status})",
            args.join(" ")
        )))
    }
}

/// The cargo that started xtask, so that a toolchain chosen there is kept.
fn cargo_path() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}
