//! What a folder lies on. On a network file system other machines write, too: their locks may be unknown here, and a
//! client that remembers that a name was absent hides what they have written (S2 and S10 of the protocol).

use std::fs;
use std::path::{Path, PathBuf};

use crate::base::{Error, Result};

/// What Linux tells a process of its mounts (`proc(5)`). It lies on a file system of its own.
pub(super) const MOUNTS: &str = "/proc/self/mountinfo";

/// Kinds of file systems that other machines may have mounted, too.
const REMOTE: [&str; 24] = [
    "9p",
    "afs",
    "beegfs",
    "ceph",
    "cifs",
    "coda",
    "fuse",
    "gfs",
    "gfs2",
    "glusterfs",
    "gpfs",
    "lustre",
    "ncpfs",
    "nfs",
    "nfs4",
    "ocfs2",
    "orangefs",
    "panfs",
    "prl_fs",
    "pvfs2",
    "smb2",
    "smb3",
    "vboxsf",
    "virtiofs",
];
/// File systems over FUSE that only lay something over what this machine has.
const LOCAL_FUSE: [&str; 10] = [
    "bindfs",
    "cryfs",
    "encfs",
    "exfat",
    "fuse-overlayfs",
    "gocryptfs",
    "mergerfs",
    "ntfs",
    "ntfs-3g",
    "unionfs",
];

/// What `folder` lies on, or will once it is made; `None` where the system does not say.
pub(super) fn find(folder: &Path) -> Option<Mount> {
    let mounts = fs::read_to_string(MOUNTS).ok()?;
    let absolute = std::path::absolute(folder).ok()?;
    let there = absolute
        .ancestors()
        .find_map(|path| path.canonicalize().ok())?;
    mount_of(&mounts, &there)
}

/// A mounted file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
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

    /// Whether other machines may write there. What is not known to be local over FUSE is taken for that.
    pub(super) fn is_remote(&self) -> bool {
        let (kind, over) = match self.kind.split_once('.') {
            Some((kind, over)) => (kind, over),
            None => (self.kind.as_str(), ""),
        };
        REMOTE.contains(&kind) && !LOCAL_FUSE.contains(&over)
    }

    /// # Errors
    /// [`Error::Invalid`] where it is NFS that is not mounted for sharing, with the option that is missing.
    pub(super) fn check_shareable(&self, folder: &Path) -> Result<()> {
        if !self.hides_names() {
            return Ok(());
        }
        Err(Error::Invalid(format!(
            "{}: the NFS mounted at {} remembers names that were absent, so that what other machines write may stay unseen; \
             to share a database it has to be mounted with lookupcache=positive (or none)",
            folder.display(),
            self.at.display()
        )))
    }

    /// Says that one machine should not go on where another one has been a moment ago.
    pub(super) fn warn_if_hiding(&self, folder: &Path) {
        if self.hides_names() {
            tracing::warn!(
                folder = %folder.display(),
                mount = %self.at.display(),
                "NFS without lookupcache=positive: what another machine has just written may stay unseen for a while"
            );
        }
    }

    /// What it is, and where, for people.
    pub(super) fn describe(&self) -> String {
        format!("{} at {}", self.kind, self.at.display())
    }

    /// Whether absent names are remembered and nothing can be done about it: NFS does not ask its server for a
    /// name that is to be created.
    pub(super) fn hides_names(&self) -> bool {
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
    fn kinds_of_file_systems_are_local_or_remote() {
        for (kind, is_remote) in [
            ("ext4", false),
            ("xfs", false),
            ("overlay", false),
            ("tmpfs", false),
            ("fuseblk", false),
            ("nfs", true),
            ("nfs4", true),
            ("cifs", true),
            ("ceph", true),
            ("virtiofs", true),
            ("fuse", true),
            ("fuse.juicefs", true),
            ("fuse.sshfs", true),
            ("fuse.mergerfs", false),
            ("fuse.fuse-overlayfs", false),
        ] {
            let line = format!("1 2 0:1 / / rw - {kind} x rw");
            assert_eq!(
                Mount::parse(&line).unwrap().is_remote(),
                is_remote,
                "{kind}"
            );
        }
    }

    #[test]
    fn a_folder_that_is_not_there_yet_lies_where_it_will() {
        let folder = tempfile::tempdir().unwrap();
        let mount = find(&folder.path().join("a/b")).unwrap();
        mount.check_shareable(folder.path()).unwrap();
        assert_eq!(Some(mount), find(folder.path()));
    }
}
