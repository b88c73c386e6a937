//! `sim`: runs seeds, replays one, or shows that mutants are caught; `sim scale` lets a swarm grow. See `sim --help`.

mod command;
mod growth;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (result, help) = match args.split_first() {
        Some((first, rest)) if first == "scale" => (
            growth::Growth::parse(rest).map(growth::Growth::run),
            growth::HELP,
        ),
        _ => (
            command::Command::parse(&args).map(command::Command::run),
            command::HELP,
        ),
    };
    result.unwrap_or_else(|message| {
        eprintln!("error: {message}\n\n{help}");
        ExitCode::from(2)
    })
}
