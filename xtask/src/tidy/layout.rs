//! What lies at the top: the layout is fixed, and what a tool has left there must not be committed with the rest.

use std::fs;
use std::io;
use std::path::Path;

/// Everything that may lie beside the workspace's manifest, but for hidden names.
const TOP: [&str; 17] = [
    "Cargo.lock",
    "Cargo.toml",
    "CHANGELOG.md",
    "LICENSE",
    "README.md",
    "benches",
    "bindings",
    "clippy.toml",
    "console",
    "coordinator-proto",
    "deploy",
    "docs",
    "engine",
    "jobs",
    "rustfmt.toml",
    "worker",
    "xtask",
];
/// What cargo and `cargo xtask dist` fill.
const BUILT: [&str; 2] = ["target", "dist"];

/// A line for each name that does not belong there.
pub(super) fn check(root: &Path) -> io::Result<Vec<String>> {
    let names = fs::read_dir(root)?.map(|entry| {
        let name = entry?.file_name();
        Ok(name.to_string_lossy().into_owned())
    });
    let mut names: Vec<String> = names.collect::<io::Result<_>>()?;
    names.sort();
    Ok(foreign(&names))
}

fn foreign(names: &[String]) -> Vec<String> {
    let is_foreign = |name: &&String| {
        !name.starts_with('.') && !BUILT.contains(&name.as_str()) && !TOP.contains(&name.as_str())
    };
    let foreign = names.iter().filter(is_foreign);
    let told = |name| {
        format!(
            "{name}: not a part of the layout; remove it, or name it in xtask/src/tidy/layout.rs"
        )
    };
    foreign.map(told).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_tool_left_at_the_top_is_found() {
        let names = [
            "README.md",
            ".gitignore",
            "target",
            "engine",
            "ray-2.55.0.whl",
        ];
        let found = foreign(&names.map(str::to_owned));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("ray-2.55.0.whl: "));
    }
}
