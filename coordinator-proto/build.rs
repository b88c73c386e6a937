//! Generates the message types from `proto/` without a `protoc`.

use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new("proto");
    let files = [root.join("eciton/v1/job.proto")];
    println!("cargo::rerun-if-changed={}", root.display());
    let descriptors = protox::compile(files, [root])?;
    prost_build::Config::new().compile_fds(descriptors)?;
    Ok(())
}
