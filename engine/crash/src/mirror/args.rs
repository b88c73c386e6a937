//! The command line: `mirror [--faults N] [--from S] [--within T] [--seed S]`.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::kind::Kind;
use super::run::{Outcome, play};

const HELP: &str = "\
eciton-crash mirror [options]

  --faults N  how many faults, each with a database of its own (default 25)
  --from S    the seed of the first one (default 0)
  --within T  begin no further run after T seconds
  --seed S    just the run of this seed
";
/// How often a seed is begun that the machine does not play along with.
const TRIES_MAX: u32 = 3;

struct Scale {
    faults: u64,
    from: u64,
    within: Option<Duration>,
}

/// Does runs as the arguments say.
pub fn main(args: &[String]) -> ExitCode {
    match parse(args) {
        Ok(scale) => play_all(&scale),
        Err(why) => {
            eprint!("{why}{HELP}");
            ExitCode::from(2)
        }
    }
}

fn parse(args: &[String]) -> Result<Scale, String> {
    let mut scale = Scale {
        faults: 25,
        from: 0,
        within: None,
    };
    let mut words = args.iter();
    while let Some(word) = words.next() {
        let mut number = || {
            let number = words.next().and_then(|word| word.parse().ok());
            number.ok_or_else(|| format!("error: `{word}` takes a number\n\n"))
        };
        match word.as_str() {
            "--faults" => scale.faults = number()?,
            "--from" => scale.from = number()?,
            "--within" => scale.within = Some(Duration::from_secs(number()?)),
            "--seed" => (scale.from, scale.faults) = (number()?, 1),
            "--help" | "-h" => return Err(String::new()),
            other => return Err(format!("error: no option `{other}`\n\n")),
        }
    }
    Ok(scale)
}

fn play_all(scale: &Scale) -> ExitCode {
    let begun = Instant::now();
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(cause) => {
            eprintln!("error: {cause}");
            return ExitCode::from(3);
        }
    };
    let (mut faults, mut violations, mut acknowledged) = (0, 0, 0);
    let mut times: BTreeMap<Kind, Vec<Duration>> = BTreeMap::new();
    for seed in scale.from..scale.from + scale.faults {
        if scale.within.is_some_and(|within| begun.elapsed() > within) {
            break;
        }
        let played = (0..TRIES_MAX).find_map(|_| match play(&program, seed) {
            Ok(outcome) => Some(outcome),
            Err(cause) => {
                eprintln!("seed {seed}: the machine does not play along: {cause}");
                None
            }
        });
        let Some(outcome) = played else {
            println!("no file system can be mounted here, or made to fail");
            return ExitCode::from(3);
        };
        report(seed, &outcome);
        faults += 1;
        acknowledged += outcome.acknowledged;
        violations += u64::from(!outcome.wrong.is_empty());
        let times = times.entry(outcome.kind).or_default();
        times.extend(outcome.longest);
    }
    for (kind, mut times) in times {
        times.sort_unstable();
        let at = |part: usize| times[(times.len() * part / 100).min(times.len() - 1)].as_millis();
        println!(
            "{kind}: processes {} longest commit p50 {} ms p99 {} ms (watchdog {} ms)",
            times.len(),
            at(50),
            at(99),
            kind.limit().as_millis()
        );
    }
    println!("faults {faults} acknowledged {acknowledged} violations {violations}");
    ExitCode::from(u8::from(violations > 0))
}

fn report(seed: u64, outcome: &Outcome) {
    let Outcome {
        kind,
        processes,
        acknowledged,
        ..
    } = outcome;
    println!("seed {seed}: {kind} processes {processes} acknowledged {acknowledged}");
    for what in &outcome.wrong {
        println!("seed {seed}: VIOLATION: {what}");
    }
}
