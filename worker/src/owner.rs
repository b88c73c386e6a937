//! To whom a folder belongs.

use std::path::Path;

/// The owner of a path, by name where there is one; `None` where that is this process's user, or is not known.
#[cfg(unix)]
pub(crate) fn other_owner(path: &Path) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let uid = path.metadata().ok()?.uid();
    if uid == rustix::process::geteuid().as_raw() {
        return None;
    }
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| format!("`{name}`"))
    });
    Some(name.unwrap_or_else(|| format!("number {uid}")))
}

#[cfg(not(unix))]
pub(crate) fn other_owner(_path: &Path) -> Option<String> {
    None
}
