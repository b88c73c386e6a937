//! The command line: `among [--processes N] [--minutes M | --seconds S] [--seed X]`.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use super::run::{self, Scale};
use super::strikes::Form;
use super::worker::Fault;

const HELP: &str = "\
eciton-crash among [options]

  --processes N  how many at one folder (default 16)
  --minutes M    how long (default 10)
  --seconds S    how long, instead
  --seed X       decides what is struck when (default: drawn)
  --rate R       transactions a second of all together, at most, on average (default 80); judging
                 takes memory by the square of their number
  --cluster      a Redis Cluster, three masters with a replica each, and masters are struck
  --split        processes in two network namespaces, and their links to Redis are cut; needs root
  --judge DIR    only judge once more what a run with violations has left
  --hasty        processes acknowledge before they commit: must be caught
  --stale        processes read what may be old where it must not be: must be caught
";

/// Does one run as the arguments say.
pub fn main(args: &[String]) -> ExitCode {
    if let [word, left] = args
        && word == "--judge"
    {
        return run::judge_again(Path::new(left));
    }
    match parse(args) {
        Ok(scale) => run::main(&scale),
        Err(why) => {
            eprint!("{why}{HELP}");
            ExitCode::from(2)
        }
    }
}

fn parse(args: &[String]) -> Result<Scale, String> {
    let mut scale = Scale {
        processes: 16,
        lasting: Duration::from_mins(10),
        seed: drawn(),
        rate: 80,
        form: Form::One,
        fault: None,
    };
    let mut words = args.iter();
    while let Some(word) = words.next() {
        let mut number = |from: u64, to: u64| {
            let number = words.next().and_then(|word| word.parse().ok());
            let number = number.filter(|number| (from..=to).contains(number));
            number.ok_or_else(|| format!("error: `{word}` takes a number from {from} to {to}\n\n"))
        };
        match word.as_str() {
            "--processes" => scale.processes = number(1, 500)?,
            "--minutes" => scale.lasting = Duration::from_secs(number(1, 10_000)? * 60),
            "--seconds" => scale.lasting = Duration::from_secs(number(1, 600_000)?),
            "--seed" => scale.seed = number(0, u64::MAX)?,
            "--rate" => scale.rate = number(1, 100_000)?,
            "--help" | "-h" => return Err(String::new()),
            other => match (Fault::parse(other), Form::parse(other)) {
                (Some(fault), _) => scale.fault = Some(fault),
                (_, Some(_)) if scale.form != Form::One => {
                    return Err("error: a cluster, or links that are cut\n\n".to_owned());
                }
                (_, Some(form)) => scale.form = form,
                (None, None) => return Err(format!("error: no option `{other}`\n\n")),
            },
        }
    }
    Ok(scale)
}

/// A seed that is short enough to be typed.
fn drawn() -> u64 {
    super::journal::now_ns() % 1_000_000
}
