//! Developer automation: `cargo xtask <command>`. No dependencies, so that it is there in a second.

mod book;
mod dist;
mod fuzz;
mod needs;
mod steps;
mod tidy;

use std::process::ExitCode;

use steps::Failed;

const HELP: &str = "\
cargo xtask <command>

  ci         fmt-check to test, in this order: what has to pass before a change lands
  fmt-check  the sources are formatted
  tidy       module ranks, file lengths, stray marks and paths, lints inherited, links and named files, rules of the protocol,
             terms of the glossary
  clippy     no warning in any target
  docs       the documentation of the crates builds without a warning
  book       builds the book of docs/ in target/book, and checks its links; installs mdBook where it is missing
  test       every test and every documented example; installs whatever it needs (redis-server, prometheus and iproute2 by apt-get,
             moto, SeaweedFS and Helm by pip in target/needs) and starts it by itself
  sim        the deterministic simulator: `sim --seeds N [--from S]`, `sim --seed S --trace`,
             `sim --mutants [NAME...]`; more with `sim --help`
  schedules  the group commit and the shared view under many more drawn schedules than in `test`
  crash      kills real processes and loses power, not part of ci; its short form is one of the tests:
             cargo xtask crash [--runs N] [--from S]
             cargo xtask crash among [--minutes M] [--cluster | --split]
  fuzz       with coverage: cargo xtask fuzz [messages|sources] [SECONDS], 60 where nothing is said. `messages` decodes
             messages; `sources` reads CSV, JSON lines, Parquet, gzip, zstd and job files; without a name, both. What was
             found stays in target/fuzz. Not part of ci, where the same is done with drawn bytes
  renew-contract
             records what was added to the .proto files in coordinator-proto/contract.txt, which a test holds them
             to; refuses to record a break
  dist       makes the archives that users install: a tarball, a Python wheel and SHA256SUMS, in the folder dist:
             cargo xtask dist [--profile NAME] [--binary PATH] [--out DIR] [--fast]
             builds the profile `release`, unless --binary names a program that is built; --fast compresses less
  renew-cli  regenerates docs/cli.md from the help of the program; a test compares the two
  renew-dashboards
             regenerates deploy/grafana/*.json from the *.toml beside them; a test compares the two
  pictures   draws docs/pictures/*.svg anew: starts Redis, three workers and Prometheus, and lets things happen to them for a minute.
             ECITON_PROGRAM names a program to draw, such as target/release/eciton; the shapes are the same with every build

Arguments after `test` go to the test runner: `cargo xtask test kill`.
";

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let command = args.next().unwrap_or_default();
    let rest: Vec<String> = args.collect();
    if !["test", "sim", "crash", "fuzz", "dist"].contains(&command.as_str()) && !rest.is_empty() {
        eprintln!(
            "error: `{command}` takes no arguments, got `{}`",
            rest.join(" ")
        );
        return ExitCode::from(2);
    }
    let done = match command.as_str() {
        "ci" => ci(),
        "fmt-check" => steps::fmt_check(),
        "tidy" => tidy::run(),
        "clippy" => steps::clippy(),
        "docs" => steps::docs(),
        "book" => book::run(),
        "test" => steps::test(&rest),
        "sim" => steps::sim(&rest),
        "schedules" => steps::schedules(),
        "crash" => steps::crash(&rest),
        "fuzz" => fuzz::fuzz(&rest),
        "dist" => match dist::Options::read(&rest) {
            Ok(options) => dist::run(&options),
            Err(wrong) => {
                eprintln!("error: {wrong}\n\n{HELP}");
                return ExitCode::from(2);
            }
        },
        "renew-contract" => steps::renew_contract(),
        "renew-cli" => steps::renew_cli(),
        "renew-dashboards" => steps::renew_dashboards(),
        "pictures" => steps::pictures(),
        "" | "help" | "--help" | "-h" => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        unknown => {
            eprintln!("error: no command `{unknown}`\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => {
            eprintln!("error: {failed}");
            ExitCode::FAILURE
        }
    }
}

/// The cheap checks first: a wrong space should not cost a build.
fn ci() -> Result<(), Failed> {
    steps::fmt_check()?;
    tidy::run()?;
    steps::clippy()?;
    steps::docs()?;
    book::run()?;
    steps::test(&[])
}
