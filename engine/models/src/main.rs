//! `cargo run -p eciton-models -- floor|failover|possession [--mutant NAME]`: explores one model and tells what was
//! found, with a short way to what does not hold.

use std::fmt::Debug;
use std::hash::Hash;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use eciton_models::explore::{Told, explore};
use eciton_models::{failover, floor, possession};

/// Explores a small model of the commit protocol and tells what was found.
#[derive(Parser)]
struct Args {
    model: Which,
    /// Break this rule; `list` lists them.
    #[arg(long, value_name = "NAME", conflicts_with = "wide")]
    mutant: Option<String>,
    /// Go further than the tests do: some minutes, and a gigabyte.
    #[arg(long)]
    wide: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Which {
    /// What collection has passed is never brought back.
    Floor,
    /// Two mirrored paths tell one history.
    Failover,
    /// A bus does not mix the histories of a volume and of its clone.
    Possession,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match args.model {
        Which::Floor => floor(&args),
        Which::Failover => failover(&args),
        Which::Possession => possession(&args),
    }
}

fn floor(args: &Args) -> ExitCode {
    let Ok(mutant) = chosen(args, &floor::Mutant::ALL) else {
        return ExitCode::from(2);
    };
    let bounds = match mutant {
        Some(mutant) => mutant.bounds(),
        None if args.wide => floor::Bounds::wide(),
        None => floor::Bounds::default(),
    };
    let sought = mutant.and_then(floor::Mutant::breaks);
    run(floor::Floor { mutant, bounds }, &bounds, sought)
}

fn failover(args: &Args) -> ExitCode {
    let Ok(mutant) = chosen(args, &failover::Mutant::ALL) else {
        return ExitCode::from(2);
    };
    let bounds = match mutant {
        Some(mutant) => mutant.bounds(),
        None if args.wide => failover::Bounds::wide(),
        None => failover::Bounds::default(),
    };
    let sought = mutant.and_then(failover::Mutant::breaks);
    run(failover::Failover { mutant, bounds }, &bounds, sought)
}

fn possession(args: &Args) -> ExitCode {
    let Ok(mutant) = chosen(args, &possession::Mutant::ALL) else {
        return ExitCode::from(2);
    };
    let bounds = match args.wide {
        true => possession::Bounds::wide(),
        false => possession::Bounds::default(),
    };
    let sought = mutant.map(possession::Mutant::breaks);
    run(possession::Possession { mutant, bounds }, &bounds, sought)
}

/// The mutant asked for; an error where there is none of that name.
fn chosen<M: Copy>(args: &Args, all: &[(&str, M)]) -> Result<Option<M>, ()> {
    let Some(name) = &args.mutant else {
        return Ok(None);
    };
    if let Some((_, mutant)) = all.iter().find(|(known, _)| known == name) {
        return Ok(Some(*mutant));
    }
    let names: Vec<&str> = all.iter().map(|(known, _)| *known).collect();
    eprintln!("error: no mutant `{name}`; there are: {}", names.join(", "));
    Err(())
}

fn run<M>(model: M, bounds: &impl Debug, sought: Option<&'static str>) -> ExitCode
where
    M: Told + Send + Sync + 'static,
    M::State: Clone + Hash + PartialEq + Send + Sync,
    M::Action: Clone + PartialEq,
{
    println!("{bounds:?}");
    let found = explore(model, sought);
    print!("{found}");
    if found.failures.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
