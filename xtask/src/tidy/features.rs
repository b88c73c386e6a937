//! What the program and the benchmarks share has the same features in both, and what the program is built of serves its
//! tests: else each of them would build DataFusion for itself, for many minutes.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use crate::steps::{Failed, workspace};

/// Each package's features, as often as it is built with different ones (for itself, for build scripts).
type Features = BTreeMap<String, BTreeSet<String>>;

/// What does not hold.
pub(crate) fn check() -> Result<Vec<String>, Failed> {
    let program = features_of("normal,build", &["--package=eciton-worker"])?;
    let benches = features_of("normal,build", &["--package=eciton-benches"])?;
    let mut found = differences(&program, &benches);
    let program = features_of("normal", &["--package=eciton-worker"])?;
    let tests = features_of("normal,dev", &["--workspace"])?;
    found.extend(missing(&program, &tests));
    Ok(found)
}

fn features_of(edges: &str, packages: &[&str]) -> Result<Features, Failed> {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(workspace()).args([
        "tree",
        "--locked",
        "--prefix=none",
        "--format={p}|{f}",
        "--edges",
        edges,
    ]);
    command.args(packages);
    let output = command
        .output()
        .map_err(|cause| Failed(format!("cargo tree does not start: {cause}")))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        return Err(Failed(format!("cargo tree: {}", stderr.trim())));
    }
    Ok(read(&String::from_utf8_lossy(&output.stdout)))
}

fn read(tree: &str) -> Features {
    let mut features = Features::new();
    for line in tree.lines() {
        if let Some((package, with)) = line.split_once('|') {
            let all = features.entry(package.to_owned()).or_default();
            all.insert(with.trim_end_matches(" (*)").to_owned());
        }
    }
    features
}

fn differences(program: &Features, benches: &Features) -> Vec<String> {
    let shared = program
        .iter()
        .filter_map(|(package, features)| Some((package, features, benches.get(package)?)));
    shared
        .filter(|(_, in_program, in_benches)| in_program != in_benches)
        .map(|(package, in_program, in_benches)| {
            format!(
                "Cargo.toml: {package} has features {in_program:?} in the program, {in_benches:?} in the benchmarks; \
                 what both need stands once, in the workspace's dependencies"
            )
        })
        .collect()
}

/// What the program needs of other people's packages and the tests do not build in the same way.
fn missing(program: &Features, tests: &Features) -> Vec<String> {
    // Packages of the workspace have a path behind their version.
    let foreign = program
        .iter()
        .filter(|(package, _)| !package.contains(" ("));
    foreign
        .filter_map(|(package, features)| {
            let in_tests = tests.get(package)?;
            (!features.is_subset(in_tests)).then(|| {
                format!(
                    "Cargo.toml: {package} has features {features:?} in the program, {in_tests:?} in the tests, which \
                     would build it again; name them in the workspace's dependencies"
                )
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_both_use_must_agree() {
        let program = read("a v1|std\nb v1|\nc v2|x\na v1|std (*)\n");
        assert!(differences(&program, &read("a v1|std\nb v1|\nd v1|std\n")).is_empty());
        let found = differences(&program, &read("a v1|std,more\nc v2|x\n"));
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("a v1"), "{found:?}");
    }

    #[test]
    fn the_tests_build_what_the_program_is_built_of() {
        let program = read("a v1|std\nours v1 (/here)|\n");
        assert!(
            missing(
                &program,
                &read("a v1|std\na v1|std,more\nours v1 (/here)|mutants\n")
            )
            .is_empty()
        );
        let found = missing(&program, &read("a v1|std,more\n"));
        assert_eq!(found.len(), 1, "{found:?}");
    }

    #[test]
    fn the_program_has_dependencies() {
        let features = features_of("normal", &["--package=eciton-worker"])
            .unwrap_or_else(|Failed(why)| panic!("{why}"));
        assert!(
            features
                .keys()
                .any(|package| package.starts_with("datafusion "))
        );
    }
}
