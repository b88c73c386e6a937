//! The comparison without the rest of the benchmarks.
//!
//! `cargo run --release -p eciton-compare --features peers -- [--items N] [--json]`

use std::process::ExitCode;

fn main() -> ExitCode {
    eciton_compare::main(std::env::args().skip(1).collect())
}
