//! Generates messages, the list of calls, and clients and servers where features ask for them, from `proto/` without a
//! `protoc`.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

use protox::prost_reflect::prost::Message;
use protox::prost_reflect::prost_types::FileDescriptorSet;

/// Fields whose bytes are taken over as they came instead of copied: rows, which are many.
const SHARED_BYTES: [&str; 1] = [".eciton.v1.CompleteRequest.rows"];

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new("proto");
    println!("cargo::rerun-if-changed={}", root.display());
    let files = ["job", "swarm", "shards"].map(|name| root.join(format!("eciton/v1/{name}.proto")));
    let descriptors = protox::compile(files, [root])?;

    // Comments have gone into the generated code; reflection does not need them.
    let mut plain = descriptors.clone();
    for file in &mut plain.file {
        file.source_code_info = None;
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets no OUT_DIR")?);
    fs::write(out.join("eciton.v1.binpb"), plain.encode_to_vec())?;

    fs::write(out.join("calls.rs"), calls(&plain))?;

    let mut config = prost_build::Config::new();
    config.bytes(SHARED_BYTES);
    add_services(&mut config);
    config.compile_fds(descriptors)?;
    Ok(())
}

/// An enum of all calls of all services, for those that must say something of each.
fn calls(files: &FileDescriptorSet) -> String {
    let mut calls: Vec<(String, String)> = Vec::new();
    for file in &files.file {
        for service in &file.service {
            for method in &service.method {
                let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                calls.push((format!("{}{}", service.name(), method.name()), path));
            }
        }
    }
    let each = |line: &dyn Fn(&str, &str) -> String| -> String {
        calls.iter().map(|(name, path)| line(name, path)).collect()
    };
    let variants = each(&|name, path| format!("    /// `{path}`.\n    {name},\n"));
    let all = each(&|name, _| format!("        Call::{name},\n"));
    let paths = each(&|name, path| format!("            Call::{name} => {path:?},\n"));
    format!(
        "/// A call of a service of the package.\n\
         #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]\n\
         pub enum Call {{\n{variants}}}\n\n\
         impl Call {{\n    \
         /// Every call.\n    \
         pub const ALL: [Call; {count}] = [\n{all}    ];\n\n    \
         /// Its path in a request: `/PACKAGE.SERVICE/METHOD`.\n    \
         pub fn path(self) -> &'static str {{\n        match self {{\n{paths}        }}\n    }}\n}}\n",
        count = calls.len(),
    )
}

/// Both sides without a transport: whoever calls or serves makes the connection, with limits and TLS of
/// its own.
#[cfg(feature = "services")]
fn add_services(config: &mut prost_build::Config) {
    let services = tonic_prost_build::configure()
        .build_client(cfg!(feature = "client"))
        .build_server(cfg!(feature = "server"))
        .build_transport(false);
    config.service_generator(services.service_generator());
}

#[cfg(not(feature = "services"))]
fn add_services(_: &mut prost_build::Config) {}
