//! `sim`: runs seeds, replays one, or shows that mutants are caught. See `sim --help`.

mod command;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match command::Command::parse(&args) {
        Ok(command) => command.run(),
        Err(message) => {
            eprintln!("error: {message}\n\n{}", command::HELP);
            ExitCode::from(2)
        }
    }
}
