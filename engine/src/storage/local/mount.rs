//! Whether processes on several machines may share a folder: a network file system whose client remembers that a
//! name was absent hides a slot that another machine has written (S10 of the protocol).

use std::fs;
use std::path::{Path, PathBuf};

use crate::base::{Error, Result};

/// What Linux tells a process of its mounts (`proc(5)`).
const MOUNTS: &str = "/proc/self/mountinfo";

/// # Errors
/// [`Error::Invalid`] where the folder is on NFS that is not mounted for it, with the option that is missing.
pub(super) fn check_shareable(folder: &Path) -> Result<()> {
    // Where there is no such file, there is nothing to be found out.
    let (Ok(mounts), Ok(folder)) = (fs::read_to_string(MOUNTS), folder.canonicalize()) else {
        return Ok(());
    };
    match mount_of(&mounts, &folder) {
        Some(mount) if mount.hides_names() => Err(Error::Invalid(format!(
            "{}: the NFS mounted at {} remembers names that were absent, so that what other machines write may stay unseen; \
             to share a database it has to be mounted with lookupcache=positive (or none)",
            folder.display(),
            mount.at.display()
        ))),
        _ => Ok(()),
    }
}

/// A mounted file system.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    at: PathBuf,
    kind: String,
    options: String,
}

impl Mount {
    /// A line of `mountinfo`.
    fn parse(line: &str) -> Option<Mount> {
        let (mount, system) = line.split_once(" - ")?;
        let at = mount.split(' ').nth(4)?;
        let mut system = system.split(' ');
        Some(Mount {
            at: PathBuf::from(unescaped(at)),
            kind: system.next()?.to_owned(),
            options: system.nth(1)?.to_owned(),
        })
    }

    fn hides_names(&self) -> bool {
        let fits = [
            "lookupcache=none",
            "lookupcache=pos",
            "lookupcache=positive",
        ];
        let is_nfs = matches!(self.kind.as_str(), "nfs" | "nfs4");
        is_nfs && !self.options.split(',').any(|option| fits.contains(&option))
    }
}

/// The mount that a path lies in: the innermost, and of several at one place the last.
fn mount_of(mounts: &str, path: &Path) -> Option<Mount> {
    let here = mounts
        .lines()
        .filter_map(Mount::parse)
        .filter(|mount| path.starts_with(&mount.at));
    here.max_by_key(|mount| mount.at.components().count())
}

/// Without the three octal digits that stand for spaces and the like.
fn unescaped(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut out = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let code = part
            .get(..3)
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) => {
                out.push(code);
                out.extend_from_slice(&part.as_bytes()[3..]);
            }
            None => {
                out.push(b'\\');
                out.extend_from_slice(part.as_bytes());
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = r"22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
40 22 0:35 / /mnt/a rw,relatime shared:5 - nfs4 host:/x rw,vers=4.1,hard,local_lock=none
41 22 0:36 / /mnt/a/in\040side rw,relatime - nfs4 host:/y rw,vers=4.1,lookupcache=pos,hard
42 22 0:37 / /mnt/b rw - nfs host:/z rw,lookupcache=none
43 22 0:38 / /mnt/c rw - nfs host:/z rw,lookupcache=all
44 22 0:39 / /mnt/c rw - tmpfs none rw
";

    #[test]
    fn nfs_that_remembers_absent_names_is_no_place_to_share() {
        for (path, hides) in [
            ("/srv/db", false),
            ("/mnt/a", true),
            ("/mnt/a/db", true),
            ("/mnt/ab", false),
            ("/mnt/a/in side/db", false),
            ("/mnt/b/db", false),
            // What was mounted later lies over it.
            ("/mnt/c/db", false),
        ] {
            let mount = mount_of(MOUNTS, Path::new(path)).unwrap();
            assert_eq!(mount.hides_names(), hides, "{path}: {mount:?}");
        }
        let covered = MOUNTS.replace("tmpfs none", "nfs4 host:/z");
        assert!(
            mount_of(&covered, Path::new("/mnt/c/db"))
                .unwrap()
                .hides_names()
        );
    }

    #[test]
    fn what_is_no_line_of_mounts_is_passed_over() {
        for line in ["", " - ", "1 2 3", "a b c d e f - ", "a b c d e f - nfs4 x"] {
            assert_eq!(Mount::parse(line), None, "{line}");
        }
        assert_eq!(unescaped(r"a\040b\011\x\134"), "a b\t\\x\\");
    }

    #[test]
    fn a_local_folder_can_be_shared() {
        let folder = tempfile::tempdir().unwrap();
        check_shareable(folder.path()).unwrap();
    }
}
