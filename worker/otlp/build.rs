//! Generates the messages and the service of OTLP from `proto/` without a `protoc`.

use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new("proto");
    println!("cargo::rerun-if-changed={}", root.display());
    let service = "opentelemetry/proto/collector/trace/v1/trace_service.proto";
    let descriptors = protox::compile([root.join(service)], [root])?;
    let mut config = prost_build::Config::new();
    // The module of each package in its place.
    config.include_file("otlp.rs");
    // Of a proto's comments some are code that is no Rust.
    config.disable_comments(["."]);
    // The server is what tests collect with.
    let service = tonic_prost_build::configure().build_transport(false);
    config.service_generator(service.service_generator());
    config.compile_fds(descriptors)?;
    Ok(())
}
