//! Every crate inherits the workspace's lints and edition, and depends only on those below it.

use super::sources::Source;

/// Which crates of the workspace each crate may use: `worker -> jobs -> engine`, never back.
const MAY_USE: [(&str, &[&str]); 11] = [
    ("engine", &[]),
    // The checkers of histories stand beside the simulator.
    ("engine/crash", &["eciton-engine", "eciton-sim"]),
    ("engine/sim", &["eciton-engine"]),
    // Models of the protocol, not of its code.
    ("engine/models", &[]),
    ("coordinator-proto", &[]),
    ("jobs", &["eciton-engine", "eciton-proto"]),
    (
        "worker",
        &[
            "eciton-engine",
            "eciton-proto",
            "eciton-jobs",
            "eciton-otlp",
            "eciton-trace",
        ],
    ),
    ("worker/otlp", &["eciton-trace"]),
    ("worker/trace", &[]),
    ("benches/compare", &["eciton-engine"]),
    (
        "benches",
        &[
            "eciton-compare",
            "eciton-engine",
            "eciton-jobs",
            "eciton-proto",
        ],
    ),
];

/// What does not hold.
pub(crate) fn check(files: &[Source]) -> Vec<String> {
    let manifests = files
        .iter()
        .filter(|file| file.path.ends_with("/Cargo.toml"));
    // A workspace of its own has nothing to inherit.
    let inherits = |file: &&Source| !file.text.lines().any(|line| line == "[workspace]");
    manifests
        .filter(inherits)
        .flat_map(|file| manifest(&file.path, &file.text))
        .collect()
}

fn manifest(path: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    if !section(text, "[lints]").any(|line| line == "workspace = true") {
        found.push(format!(
            "{path}: does not inherit the lints (`[lints] workspace = true`)"
        ));
    }
    for key in ["version", "edition", "rust-version", "license"] {
        if !section(text, "[package]").any(|line| line == format!("{key}.workspace = true")) {
            found.push(format!(
                "{path}: does not inherit `{key}` from the workspace"
            ));
        }
    }
    let folder = path.trim_end_matches("/Cargo.toml");
    let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == folder) else {
        return found;
    };
    for line in section(text, "[dependencies]") {
        let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
        if name.starts_with("eciton-") && !allowed.contains(&name) {
            found.push(format!("{path}: `{folder}` may not use `{name}`"));
        }
    }
    found
}

/// The lines of one section, without comments and blank lines.
fn section<'a>(text: &'a str, header: &'a str) -> impl Iterator<Item = &'a str> {
    let lines = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim());
    let mut lines = lines.skip_while(move |line| *line != header);
    lines.next();
    lines
        .take_while(|line| !line.starts_with('['))
        .filter(|line| !line.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[package]\nversion.workspace = true\nedition.workspace = true\n\
                        rust-version.workspace = true\nlicense.workspace = true\n\n\
                        [lints]\nworkspace = true\n\n[dependencies]\n";

    #[test]
    fn a_crate_inherits_and_looks_down() {
        assert_eq!(manifest("jobs/Cargo.toml", GOOD), Vec::<String>::new());
        let up = format!("{GOOD}eciton-jobs.workspace = true # no\n");
        assert_eq!(manifest("engine/Cargo.toml", &up).len(), 1);
        assert_eq!(manifest("worker/Cargo.toml", &up).len(), 0);
        let bare = GOOD.replace("workspace = true\n\n[dep", "\n[dep");
        assert_eq!(manifest("jobs/Cargo.toml", &bare).len(), 1);
    }
}
