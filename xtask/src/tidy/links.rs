//! Links between the documents lead somewhere.

use std::path::Path;

use super::sources::Source;

/// What does not hold.
pub(crate) fn check(root: &Path, files: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for file in files.iter().filter(|file| file.ends_with("md")) {
        let folder = root.join(&file.path).parent().unwrap_or(root).to_path_buf();
        for target in targets(&file.text) {
            if !folder.join(target).exists() {
                found.push(format!("{}: dead link: `{target}`", file.path));
            }
        }
    }
    found
}

/// The files that `[text](file#part)` names; addresses on the web are not looked at.
fn targets(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| {
        let target = rest.split_once(')')?.0;
        let target = target.split('#').next().unwrap_or_default();
        let is_file = !target.is_empty() && !target.contains([':', ' ', '\n']);
        is_file.then_some(target)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_from_addresses() {
        let text = "[a](b/c.md#part) [d](https://e.f/g) [h](#part) [i](j)";
        assert_eq!(targets(text).collect::<Vec<_>>(), ["b/c.md", "j"]);
    }
}
