//! The image and the compose file, as far as that can be checked without building: `deploy/tests/image` builds.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::chart::as_json;
use crate::{deploy, passed, text, tool, workspace};

#[test]
fn the_dockerfile_is_clean_and_makes_a_confined_image() {
    passed(tool("hadolint").arg(deploy("Dockerfile")));
    let text = text("Dockerfile");
    for line in [
        "USER 65532:65532",
        "ENTRYPOINT [\"/usr/local/bin/eciton\"]",
        "HEALTHCHECK ",
        "org.opencontainers.image.licenses=\"Apache-2.0\"",
    ] {
        assert!(text.contains(line), "no `{line}` in {text}");
    }
    let version = format!("ARG VERSION={}\n", env!("CARGO_PKG_VERSION"));
    assert!(text.contains(&version), "expected `{version}`");
    // What is copied into a build has to be there, and nothing else is sent to the builder.
    let ignored = fs::read_to_string(workspace().join(".dockerignore")).unwrap();
    let sent: BTreeSet<&str> = ignored
        .lines()
        .filter_map(|line| line.strip_prefix('!'))
        .collect();
    let manifest = fs::read_to_string(workspace().join("Cargo.toml")).unwrap();
    let (_, members) = manifest.split_once("members = [").unwrap();
    let (members, _) = members.split_once(']').unwrap();
    for member in members.split(',') {
        let member = member.trim().trim_matches('"');
        let top = member.split('/').next().unwrap();
        assert!(sent.contains(top), "{member} is not sent to the builder");
    }
    for name in sent.iter().filter(|name| **name != "dist") {
        assert!(workspace().join(name).exists(), "{name}");
    }
}

/// Builds the image of the program that was built for the tests, where Debian's tools for that are installed.
#[test]
fn the_image_is_built_inspected_and_run() {
    let is_there = |name: &str| Command::new(name).arg("--version").output().is_ok();
    let is_root = fs::metadata("/proc/self").is_ok_and(|about| about.uid() == 0);
    if !is_root || !["buildah", "skopeo", "umoci"].into_iter().all(is_there) {
        eprintln!("nothing is built: that takes root, and buildah, skopeo and umoci");
        return;
    }
    let program = Path::new(env!("CARGO_BIN_EXE_xtask")).with_file_name("eciton");
    let told = passed(Command::new(deploy("tests/image")).arg(program));
    assert!(told.ends_with("the image is as it should be\n"), "{told}");
    eprintln!("{told}");
}

#[test]
fn the_compose_file_mounts_what_is_there_and_runs_fixed_versions() {
    let compose = as_json(&deploy("compose.yaml")).remove(0);
    let services = compose["services"].as_object().unwrap();
    let names: Vec<&str> = services.keys().map(String::as_str).collect();
    let expected = [
        "folder",
        "redis",
        "worker-1",
        "worker-2",
        "worker-3",
        "prometheus",
        "grafana",
    ];
    assert_eq!(names, expected);
    let volumes = compose["volumes"].as_object().unwrap();
    for (name, service) in services {
        let image = service["image"].as_str().unwrap();
        let (_, tag) = image.split_once(':').unwrap();
        assert!(
            !tag.is_empty() && !tag.contains("latest"),
            "{name}: {image}"
        );
        for mount in service["volumes"].as_array().into_iter().flatten() {
            let mount = mount.as_str().unwrap();
            // The user's data is where the environment says.
            if mount.starts_with("${") {
                continue;
            }
            let from = mount.split(':').next().unwrap();
            match from.strip_prefix("./") {
                Some(path) => assert!(deploy(path).exists(), "{name}: {mount}"),
                None => assert!(volumes.contains_key(from), "{name}: {mount}"),
            }
        }
        for port in service["ports"].as_array().into_iter().flatten() {
            let port = port.as_str().unwrap();
            assert!(
                port.starts_with("127.0.0.1:"),
                "{name}: {port} is open to the network"
            );
        }
    }
    let targets: Value = serde_json::from_str(&text("compose/targets.json")).unwrap();
    for target in targets[0]["targets"].as_array().unwrap() {
        let (host, port) = target.as_str().unwrap().split_once(':').unwrap();
        let args = services[host]["command"].as_array().unwrap();
        let metrics = format!("--metrics=0.0.0.0:{port}");
        assert!(args.iter().any(|arg| *arg == *metrics), "{host}: {args:?}");
    }
    let source = as_json(&deploy("grafana/provisioning/datasources/prometheus.yaml"));
    let url = source[0]["datasources"][0]["url"].as_str().unwrap();
    assert_eq!(url, "http://prometheus:9090");
    let provider = as_json(&deploy("grafana/provisioning/dashboards/eciton.yaml"));
    let folder = provider[0]["providers"][0]["options"]["path"]
        .as_str()
        .unwrap();
    let mounts = services["grafana"]["volumes"].to_string();
    assert!(
        mounts.contains(&format!("./grafana:{folder}:ro")),
        "{mounts}"
    );
}
