//! Programs name the engine's root API only. The build of the whole workspace would let them reach its insides, because
//! the simulator opens them there; the build of the program alone would not.

use std::collections::BTreeSet;

use super::paths::{self, Path};
use super::sources::Source;

const ROOT: &str = "engine/src/lib.rs";
const CRATE: &str = "eciton_engine";
/// The feature under which a module is public.
const FEATURE: &str = "#[cfg(feature = \"internals\")]";
/// Who has the feature: the engine itself, its simulator, its own tests, and one example that measures the insides. (This
/// check has examples of what it finds.)
const HAVE_IT: [&str; 5] = [
    "engine/src/",
    "engine/sim/",
    "engine/tests/",
    "engine/examples/run_speed.rs",
    "xtask/",
];

/// Returns a line for each violation.
pub(crate) fn check(files: &[Source]) -> Vec<String> {
    let Some(root) = files.iter().find(|file| file.path == ROOT) else {
        return vec![format!(
            "{ROOT}: not found, it says which modules are inside"
        )];
    };
    let insides = insides(&root.text);
    if insides.is_empty() {
        return vec![format!(
            "{ROOT}: no module is public under `{FEATURE}` alone"
        )];
    }
    let outside = |file: &&Source| {
        let may = HAVE_IT.iter().any(|own| file.path.starts_with(own));
        !may && (file.is_rust() || file.ends_with("md"))
    };
    let mut found = Vec::new();
    for file in files.iter().filter(outside) {
        for (line, path) in named(&file.text, &insides) {
            found.push(format!(
                "{}:{line}: `{path}` is inside the engine; name what its root exports",
                file.path
            ));
        }
    }
    found
}

/// The modules that only the feature makes public.
fn insides(root: &str) -> BTreeSet<&str> {
    let lines: Vec<&str> = root.lines().collect();
    let pairs = lines.windows(2).filter(|pair| pair[0] == FEATURE);
    pairs
        .filter_map(|pair| pair[1].strip_prefix("pub mod ")?.strip_suffix(';'))
        .collect()
}

/// Where a text names one of them.
fn named(text: &str, insides: &BTreeSet<&str>) -> Vec<(usize, String)> {
    let is_inside = |path: &Path| {
        let mut names = path.names.iter();
        names.next().is_some_and(|name| name == CRATE)
            && names.next().is_some_and(|name| insides.contains(&name[..]))
    };
    // Documentation has examples, so comments count.
    let paths = paths::of(text, &[CRATE]).into_iter();
    let found = paths.filter(is_inside);
    found
        .map(|path| (path.line, path.names.join("::")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_feature_opens_is_inside() {
        let root = "pub mod merge;\n#[cfg(feature = \"internals\")]\npub mod log;\n\
                    #[cfg(not(feature = \"internals\"))]\nmod log;\n";
        let insides = insides(root);
        assert_eq!(insides, BTreeSet::from(["log"]));
        let text = "use eciton_engine::{merge::Kind, log::{Slot, Body}};\nlet x = eciton_engine::log::Slot;\n\
                    use eciton_engine::Key;\nuse eciton_engine::merge;\n";
        let found = named(text, &insides);
        let lines: Vec<usize> = found.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [1, 1, 2], "{found:?}");
    }
}
