//! The program: `--runs N [--from S]` does runs, a line each; `--seed S` repeats one and tells every step.
//!
//! The same program is the worker that is killed and the checker that looks at what is left.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::among;
use crate::among::seat::WORK_AMONG;
use crate::among::worker::Orders;
use crate::checker::{self, Look};
use crate::dice::Dice;
use crate::medium::Medium;
use crate::mirror;
use crate::process::{CHECK, WORK, from_args};
use crate::run::{Break, Manner, Run, Tally};
use crate::worker;
use rustix::process::{Signal, set_parent_process_death_signal};
use tokio::signal::unix::{SignalKind, signal};

const HELP: &str = "\
eciton-crash [options]

  --runs N   how many runs (default 25)
  --from S   the seed of the first one (default 0)
  --within T begin no further run after T seconds
  --seed S   just the run of this seed, telling every step
  --folder   in a plain folder, without power losses
  --lying    the file system ignores syncs: must be caught
  --hasty    the worker acknowledges before it commits: must be caught

eciton-crash among [options]
             many processes at one folder, over a Redis: `eciton-crash among --help`

eciton-crash mirror [options]
             databases on two storage paths, one of which fails: `eciton-crash mirror --help`

eciton-crash mirror-latency FOLDER FOLDER COMMITS
             what mirroring costs, with storage paths in these folders
";
/// The word that makes the program the harness of many processes.
const AMONG: &str = "among";
/// The word that makes the program the harness of storage paths that fail.
const MIRROR: &str = "mirror";
/// How often a seed is begun.
const TRIES_MAX: u32 = 3;
/// Says that the program runs where its mounts are its own.
const INNER: &str = "ECITON_CRASH_INNER";

struct Args {
    runs: u64,
    from: u64,
    within: Option<Duration>,
    manner: Manner,
}

/// Does what the command line says: harness, worker or checker.
pub fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.split_first() {
        Some((word, rest)) if word == WORK => work(rest),
        Some((word, rest)) if word == CHECK => check(rest),
        Some((word, rest)) if word == WORK_AMONG => work_among(rest),
        Some((word, rest)) if word == mirror::WORK => run(mirror::worker::main(rest)),
        Some((word, rest)) if word == mirror::LATENCY => run(mirror::latency::main(rest)),
        Some((word, rest)) if word == mirror::CHECK => run(mirror::checker::main(rest)),
        Some((word, rest)) if word == MIRROR => {
            if std::env::var_os(INNER).is_none()
                && let Ok(program) = std::env::current_exe()
            {
                enter_own_mounts(&args, &program);
            }
            mirror::args::main(rest)
        }
        Some((word, rest)) if word == AMONG => among::args::main(rest),
        _ => match parse(&args) {
            Ok(parsed) => {
                if std::env::var_os(INNER).is_none() {
                    enter_own_mounts(&args, &parsed.manner.program);
                }
                play(parsed)
            }
            Err(why) => {
                eprint!("{why}{HELP}");
                ExitCode::from(2)
            }
        },
    }
}

fn parse(args: &[String]) -> Result<Args, String> {
    let program = std::env::current_exe().map_err(|cause| format!("error: {cause}\n\n"))?;
    let manner = Manner {
        program,
        power: true,
        broken: None,
        trace: false,
    };
    let mut parsed = Args {
        runs: 25,
        from: 0,
        within: None,
        manner,
    };
    let mut words = args.iter();
    while let Some(word) = words.next() {
        let mut number = || {
            let number = words.next().and_then(|word| word.parse().ok());
            number.ok_or_else(|| format!("error: `{word}` takes a number\n\n"))
        };
        match word.as_str() {
            "--runs" => parsed.runs = number()?,
            "--from" => parsed.from = number()?,
            "--within" => parsed.within = Some(Duration::from_secs(number()?)),
            "--seed" => {
                (parsed.from, parsed.runs) = (number()?, 1);
                parsed.manner.trace = true;
            }
            "--folder" => parsed.manner.power = false,
            "--lying" => parsed.manner.broken = Some(Break::Lying),
            "--hasty" => parsed.manner.broken = Some(Break::Hasty),
            "--help" | "-h" => return Err(String::new()),
            other => return Err(format!("error: no option `{other}`\n\n")),
        }
    }
    Ok(parsed)
}

/// Runs this program once more in a mount namespace of its own, where the machine allows that: then no
/// mount outlives it, however it ends.
fn enter_own_mounts(args: &[String], program: &Path) {
    let allowed = |flags: &&str| {
        let mut probe = Command::new("unshare");
        probe.args([flags, "true"]).stderr(Stdio::null());
        probe.status().is_ok_and(|status| status.success())
    };
    if let Some(flags) = ["-m", "-rm"].iter().find(|flags| allowed(flags)) {
        let mut command = Command::new("unshare");
        command.arg(flags).arg(program).args(args).env(INNER, "1");
        eprintln!("unshare: {}", command.exec());
    }
}

/// A seed, once more where the machine does not play along, which says nothing about the database: seen once, on a loaded
/// machine, when the kernel broke off a call to the mounted file system. `None` where it does not play along at all.
fn play_seed(args: &Args, seed: u64) -> Option<(Tally, Vec<String>)> {
    for _ in 0..TRIES_MAX {
        match Run::new(&args.manner, seed).and_then(Run::play) {
            Ok(played) => return Some(played),
            Err(cause) => eprintln!("seed {seed}: the machine does not play along: {cause}"),
        }
    }
    None
}

fn play(mut args: Args) -> ExitCode {
    if args.manner.power
        && let Err(cause) = Medium::mount(Dice::new(0))
    {
        println!("no file system can be mounted here ({cause}): runs without power losses");
        args.manner.power = false;
    }
    let (stopped, begun) = (stopped(), Instant::now());
    let (mut all, mut violations, mut runs) = (Tally::default(), 0, 0);
    for seed in args.from..args.from + args.runs {
        let late = args.within.is_some_and(|within| begun.elapsed() > within);
        if late || stopped.load(Ordering::Relaxed) {
            break;
        }
        let Some((tally, wrong)) = play_seed(&args, seed) else {
            return ExitCode::from(3);
        };
        runs += 1;
        all.add(&tally);
        println!(
            "seed {seed}: rounds {} kills {} power losses {} acknowledged {}",
            tally.rounds, tally.kills, tally.losses, tally.acknowledged
        );
        if !wrong.is_empty() {
            violations += 1;
            for what in &wrong {
                println!("seed {seed}: VIOLATION: {what}");
            }
            println!("seed {seed}: repeat with `{}`", repeat(&args.manner, seed));
            if args.manner.broken.is_some() {
                break; // noticed, which is all that was wanted
            }
        }
    }
    println!(
        "rounds {} kills {} stops {} power losses {} acknowledged {} failed syncs {} full {} changes {}",
        all.rounds,
        all.kills,
        all.stops,
        all.losses,
        all.acknowledged,
        all.failed_syncs,
        all.full,
        all.changes
    );
    println!("runs {runs} violations {violations}");
    ExitCode::from(u8::from(violations > 0))
}

/// The command that does the run of one seed again.
fn repeat(manner: &Manner, seed: u64) -> String {
    let place = if manner.power { "" } else { " --folder" };
    let broken = match manner.broken {
        None => "",
        Some(Break::Lying) => " --lying",
        Some(Break::Hasty) => " --hasty",
    };
    format!("cargo run -p eciton-crash -- --seed {seed}{place}{broken}")
}

/// Set once somebody asks the program to end: it does so after the run in progress, so that nothing is
/// left behind.
fn stopped() -> Arc<AtomicBool> {
    let stopped = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stopped);
    std::thread::spawn(move || {
        let Ok(runtime) = runtime() else { return };
        if runtime.block_on(asked_to_end()).is_ok() {
            flag.store(true, Ordering::Relaxed);
        }
    });
    stopped
}

async fn asked_to_end() -> std::io::Result<()> {
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminated.recv() => Ok(()),
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    // More threads than processors: what can happen at the same time should.
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(4).enable_all().build()
}

/// Ends with the harness, however that ends.
fn follow_parent() {
    if let Err(cause) = set_parent_process_death_signal(Some(Signal::KILL)) {
        eprintln!("this process may outlive its parent: {cause}");
    }
}

/// Runs one of the processes that are started by the harness.
fn run(work: impl Future<Output = Result<(), String>>) -> ExitCode {
    follow_parent();
    let Ok(runtime) = runtime() else {
        return ExitCode::from(3);
    };
    let done = runtime.block_on(work);
    // Threads that hang are not waited for.
    runtime.shutdown_background();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn work(args: &[String]) -> ExitCode {
    follow_parent();
    let (Some(orders), Ok(runtime)) = (from_args(args), runtime()) else {
        eprintln!("error: these are no orders: {args:?}");
        return ExitCode::from(2);
    };
    match runtime.block_on(worker::work(orders)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("note {error}");
            ExitCode::FAILURE
        }
    }
}

fn work_among(args: &[String]) -> ExitCode {
    follow_parent();
    let (Some(orders), Ok(runtime)) = (Orders::from_args(args), runtime()) else {
        eprintln!("error: these are no orders: {args:?}");
        return ExitCode::from(2);
    };
    match runtime.block_on(among::worker::work(orders)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn check(args: &[String]) -> ExitCode {
    follow_parent();
    let [look, folder] = args else {
        eprintln!("error: expected a look and a folder, got {args:?}");
        return ExitCode::from(2);
    };
    let (Some(look), Ok(runtime)) = (Look::parse(look), runtime()) else {
        eprintln!("error: `{look}` is no look");
        return ExitCode::from(2);
    };
    match runtime.block_on(checker::look(Path::new(folder), look)) {
        Ok(state) => {
            print!("{}", state.to_text());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
