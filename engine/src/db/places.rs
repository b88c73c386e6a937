//! Folders that must not lie in each other: a database, its backups, and copies of it.

use std::io;
use std::path::{Component, Path, PathBuf};

use crate::base::{Error, Result};

/// Makes sure that neither folder lies in the other, links followed: what lies in a database belongs to it, and what
/// lies among backups would be taken for one. A folder that is not there yet counts where it would be made.
///
/// # Errors
/// [`Error::Invalid`] with both folders.
pub(super) fn apart(from: &Path, to: &Path, what: &str) -> Result<()> {
    let (source, target) = (real(from)?, real(to)?);
    let way = if source == target {
        "is the same folder as"
    } else if target.starts_with(&source) {
        "lies within"
    } else if source.starts_with(&target) {
        "holds"
    } else {
        return Ok(());
    };
    Err(Error::Invalid(format!(
        "{} is no place for {what}: it {way} {}; choose a folder outside of it",
        to.display(),
        from.display()
    )))
}

/// The folder itself, without links and `..`; as much of it as is there is asked of the system.
fn real(path: &Path) -> Result<PathBuf> {
    let refused = |cause: io::Error| Error::storage("open", path.display(), &cause);
    let absolute = std::path::absolute(path).map_err(refused)?;
    let mut real = PathBuf::new();
    for part in absolute.components() {
        match part {
            // The folder so far has no links in it, so this is its parent.
            Component::ParentDir => drop(real.pop()),
            part => real.push(part),
        }
        match real.canonicalize() {
            Ok(found) => real = found,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
            Err(cause) => return Err(refused(cause)),
        }
    }
    Ok(real)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_in_each_other_are_refused_whatever_the_way_there() {
        let base = tempfile::tempdir().unwrap();
        let at = |name: &str| base.path().join(name);
        for name in ["db/seg", "other", "backups/backup"] {
            std::fs::create_dir_all(at(name)).unwrap();
        }
        #[cfg(unix)]
        for (name, to) in [("link", "db"), ("other/in", "db/seg"), ("up", ".")] {
            std::os::unix::fs::symlink(at(to), at(name)).unwrap();
        }
        for within in [
            "db",
            "db/new",
            "db/new/deep",
            "other/../db/x",
            "new/../db/x",
            "new/../other/../db",
            ".",
            "",
            "db/..",
        ] {
            let refused = apart(&at("db"), &at(within), "backups");
            assert!(matches!(refused, Err(Error::Invalid(_))), "{within}");
        }
        #[cfg(unix)]
        for within in [
            "link",
            "link/new",
            "other/in/new",
            "up",
            "up/db/x",
            "new/../link/x",
        ] {
            let refused = apart(&at("db"), &at(within), "backups");
            assert!(matches!(refused, Err(Error::Invalid(_))), "{within}");
            apart(&at("other"), &at("link/new"), "backups").unwrap();
        }
        for outside in ["other", "other/new", "db2", "db/../db2", "new", "dbx/db"] {
            apart(&at("db"), &at(outside), "backups").unwrap();
        }
    }
}
