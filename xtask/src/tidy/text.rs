//! File lengths, marks of unfinished work, paths of somebody's machine.

use super::sources::Source;

/// Lines that one source file may have, tests included. One noun a file stays far below.
const LINES_MAX: usize = 900;

/// Marks of unfinished work. Spelled in two parts, since this file is checked too.
const MARKS: [&str; 3] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("to", "do!("),
];
/// Beginnings of paths that exist on one machine only.
const MACHINE_PATHS: [&str; 5] = [
    concat!("/ho", "me/"),
    concat!("/Us", "ers/"),
    concat!("/ro", "ot/"),
    concat!("/wo", "rk/"),
    concat!("/tmp/", "wt/"),
];

/// What does not hold.
pub(crate) fn check(files: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for file in files {
        let lines = file.text.lines().count();
        if file.is_rust() && lines > LINES_MAX {
            found.push(format!(
                "{}: {lines} lines, the limit is {LINES_MAX}",
                file.path
            ));
        }
        for (index, line) in file.text.lines().enumerate() {
            if let Some(mark) = MARKS.iter().find(|mark| has_word(line, mark)) {
                found.push(format!("{}:{}: unfinished: `{mark}`", file.path, index + 1));
            }
            if let Some(path) = MACHINE_PATHS.iter().find(|path| has_path(line, path)) {
                found.push(format!(
                    "{}:{}: machine path: `{path}`",
                    file.path,
                    index + 1
                ));
            }
        }
    }
    found
}

/// Whether `mark` stands in `line` as a word of its own.
fn has_word(line: &str, mark: &str) -> bool {
    let joins = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    line.match_indices(mark).any(|(at, _)| {
        !joins(line[..at].chars().next_back()) && !joins(line[at + mark.len()..].chars().next())
    })
}

/// Whether `path` begins an absolute path in `line`; `docs/work/` or a URL's part is none.
fn has_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || "._-*}>".contains(c))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &str, text: String) -> Vec<String> {
        check(&[Source {
            path: path.to_owned(),
            text,
        }])
    }

    #[test]
    fn lengths_are_held_at_their_edge() {
        assert!(of("a.rs", "x\n".repeat(LINES_MAX)).is_empty());
        assert_eq!(of("a.rs", "x\n".repeat(LINES_MAX + 1)).len(), 1);
        assert!(of("a.md", "x\n".repeat(LINES_MAX + 1)).is_empty());
    }

    #[test]
    fn marks_are_found_as_words() {
        assert_eq!(of("a.rs", format!("// {}: later", MARKS[0])).len(), 1);
        assert!(of("a.rs", format!("{}S", MARKS[0])).is_empty());
    }

    #[test]
    fn machine_paths_are_found_at_their_beginning() {
        assert_eq!(of("a.md", format!("see `{}me`", MACHINE_PATHS[0])).len(), 1);
        assert!(of("a.md", format!("https://host{}me", MACHINE_PATHS[0])).is_empty());
        assert!(of("a.md", "/tmp/eciton-demo".to_owned()).is_empty());
    }
}
