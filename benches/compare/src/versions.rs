//! Versions of what is compared.

const LOCK: &str = include_str!("../../../Cargo.lock");

/// The version of a crate that this program was built with.
pub(crate) fn of(name: &str) -> String {
    let head = format!("\nname = \"{name}\"\nversion = \"");
    let version = LOCK
        .split_once(&head)
        .and_then(|(_, rest)| rest.split_once('"'));
    version.map_or("unknown".to_owned(), |(version, _)| version.to_owned())
}

/// The version of a shared library that this process has loaded, from its file's name.
#[cfg(any(test, feature = "rocksdb"))]
pub(crate) fn loaded(library: &str) -> String {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let version = maps
        .split_once(library)
        .and_then(|(_, rest)| rest.lines().next());
    version.unwrap_or("unknown").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_those_of_the_lock_file() {
        let version = of("redb");
        assert!(version.starts_with("4."), "{version}");
        assert_eq!(of("no-such-crate"), "unknown");
        assert_eq!(loaded("/no-such-library.so."), "unknown");
        assert_ne!(loaded("/libc.so."), "unknown");
    }
}
