//! How far reading may reach: anywhere, or only below some folders.
//!
//! A job that comes over the network is read with the rights of the worker and not with those of its author, so it
//! reads only below the folders that the worker was given (`--data-root`). Three things keep that:
//!
//! - A path is looked at as text first. One that does not begin with a root is refused before the file system is asked
//!   anything, so that nobody learns whether it exists.
//! - A file is opened beneath its root by `openat2` with `RESOLVE_BENEATH` and `RESOLVE_NO_SYMLINKS`: links are resolved
//!   before, and one that was put there since makes opening fail. Where the system has no `openat2`, the file is opened
//!   without following a link at its end, and the path of the open file is looked at.
//! - What a glob matches is resolved, and whatever leads out of the roots counts as not matched.
//!
//! Objects in buckets and files of web servers are read only below the prefixes that the worker was given
//! (`--allow-remote`), compared as text, whole parts at a time. A web server cannot send the reader anywhere else then.
//!
//! Everything in `source` that opens a file does so here, for the [`Reach`] of the call: [`Reach::during`] sets it for the
//! thread while `plan`, a reader of a shard, or `mend` work.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use eciton_proto::v1::SourceFile;

use super::handle::FileHandle;
use super::remote::{self, Address, is_below, is_remote};

/// Which files may be read. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// The folders; `None` for no bounds.
    roots: Option<Arc<[PathBuf]>>,
    /// Addresses that others may lie below.
    prefixes: Arc<[String]>,
}

thread_local! {
    static CURRENT: RefCell<Reach> = RefCell::new(Reach::anywhere());
}

/// Puts back what was set before, however the work ends.
struct EnclosingReach(Reach);

impl Drop for EnclosingReach {
    fn drop(&mut self) {
        let before = std::mem::take(&mut self.0);
        CURRENT.with(|current| current.replace(before));
    }
}

impl Reach {
    /// Any file that the process may read.
    pub fn anywhere() -> Reach {
        Reach::default()
    }

    /// Files below these folders only; no file at all where there are none. Folders need not exist yet. Paths that are
    /// not absolute are taken from the working directory.
    ///
    /// # Errors
    /// Where the working directory is needed and is gone.
    pub fn below(roots: impl IntoIterator<Item = PathBuf>) -> io::Result<Reach> {
        let absolute = roots.into_iter().map(|root| {
            let root = std::path::absolute(root)?;
            Ok(plain(&root))
        });
        Ok(Reach {
            roots: Some(absolute.collect::<io::Result<_>>()?),
            prefixes: Arc::default(),
        })
    }

    /// The same, and also what lies below these addresses, such as `s3://bucket/folder`. Says nothing where there are no
    /// bounds.
    ///
    /// # Errors
    /// What is no address, for people.
    pub fn with_remote(self, prefixes: &[String]) -> Result<Reach, String> {
        let prefix = |text: &String| {
            let address = Address::parse(text)?;
            match address.fixed() == address.to_string() {
                true => Ok(address.to_string()),
                false => Err(format!("`{text}`: expected no wildcard in a prefix")),
            }
        };
        Ok(Reach {
            prefixes: prefixes.iter().map(prefix).collect::<Result<_, _>>()?,
            ..self
        })
    }

    /// Whether an address, or the beginning of all that a pattern can match, is within reach.
    pub(super) fn holds_address(&self, address: &str) -> bool {
        self.roots.is_none() || self.prefixes.iter().any(|prefix| is_below(address, prefix))
    }

    /// Whether only some files may be read.
    pub fn is_bounded(&self) -> bool {
        self.roots.is_some()
    }

    /// The folders; none where any file may be read, too.
    pub fn roots(&self) -> impl Iterator<Item = &Path> {
        self.roots
            .iter()
            .flat_map(|roots| roots.iter())
            .map(PathBuf::as_path)
    }

    /// Whether all of these files may be within reach, as far as their paths tell.
    pub(crate) fn may_hold(&self, files: &[SourceFile]) -> bool {
        let may_hold = |path: &str| match is_remote(path) {
            true => Address::parse(path).is_ok_and(|it| self.holds_address(&it.to_string())),
            false => self.names(Path::new(path)),
        };
        files.iter().all(|file| may_hold(&file.path))
    }

    /// Does some work, in this thread, for which reading reaches so far.
    pub(crate) fn during<T>(&self, work: impl FnOnce() -> T) -> T {
        let before = CURRENT.with(|current| current.replace(self.clone()));
        let _before = EnclosingReach(before);
        work()
    }

    /// How far the work of this thread reaches.
    pub(super) fn current() -> Reach {
        CURRENT.with(|current| current.borrow().clone())
    }

    /// Whether a path is below a root, by its text alone.
    fn names(&self, path: &Path) -> bool {
        let Some(roots) = &self.roots else {
            return true;
        };
        let path = plain(path);
        let is_below = |root: &PathBuf| path.starts_with(root);
        roots.iter().any(is_below)
            || roots
                .iter()
                .filter_map(|root| real(root))
                .any(|r| is_below(&r))
    }

    /// The root that a path without links lies below, itself without links.
    fn root_of(&self, real_path: &Path) -> Option<PathBuf> {
        let mut roots = self.roots.iter().flat_map(|roots| roots.iter());
        roots.find_map(|root| real(root).filter(|root| real_path.starts_with(root)))
    }

    /// A pattern of files as it is to be matched: with bounds, without `..`, and only where all that it can match is
    /// below a root as far as its text tells.
    ///
    /// # Errors
    /// Why not, for people.
    pub(super) fn pattern(&self, full: &str) -> Result<String, String> {
        if self.roots.is_none() {
            return Ok(full.to_owned());
        }
        // A name in which every sign is escaped matches itself alone.
        let wild = |component: &Component<'_>| {
            let text = component.as_os_str().to_string_lossy();
            glob::Pattern::escape(&unescaped(&text)) != text
        };
        let path = Path::new(full);
        let mut fixed = path.components().take_while(|component| !wild(component));
        let mut folder: PathBuf = fixed.by_ref().collect();
        let climbs = path.components().skip_while(|component| !wild(component));
        if climbs
            .into_iter()
            .any(|component| component == Component::ParentDir)
        {
            return Err(format!(
                "`{full}`: expected no `..` behind a `*`, `?` or `[`"
            ));
        }
        if path.components().any(|component| wild(&component)) {
            // What is matched lies in the folder.
            folder.push("matched");
        }
        match self.names(Path::new(&unescaped(&folder.to_string_lossy()))) {
            true => Ok(plain(path).to_string_lossy().into_owned()),
            false => Err(self.refusal()),
        }
    }

    /// Whether what a pattern matched, links resolved, is within reach. Without bounds everything is, and what cannot be
    /// resolved, too: it is told later.
    pub(super) fn holds(&self, resolved: &io::Result<PathBuf>) -> bool {
        match (&self.roots, resolved) {
            (None, _) => true,
            (Some(_), Ok(path)) => self.root_of(path).is_some(),
            (Some(_), Err(_)) => false,
        }
    }

    /// Why a file is not read, and what would change that; says nothing of the file.
    pub(crate) fn refusal(&self) -> String {
        let way = "jobs that come over gRPC read only below the folders of --data-root";
        let told = match self.roots.as_deref() {
            None | Some([]) => {
                format!("{way}, and this worker has none: start it with --data-root DIR")
            }
            Some(roots) => {
                let roots = roots.iter().map(|root| format!("`{}`", root.display()));
                let roots: Vec<String> = roots.collect();
                format!("{way}, which are {} here", roots.join(", "))
            }
        };
        let prefixes = self.prefixes.iter().map(|prefix| format!("`{prefix}`"));
        let prefixes: Vec<String> = prefixes.collect();
        match prefixes.is_empty() {
            true => told,
            false => format!(
                "{told}, and what --allow-remote names, {}",
                prefixes.join(", ")
            ),
        }
    }

    fn refused(&self) -> io::Error {
        io::Error::new(io::ErrorKind::PermissionDenied, self.refusal())
    }

    /// Opens a file within reach.
    fn open(&self, path: &Path) -> io::Result<File> {
        if self.roots.is_none() {
            return regular(open_at_once(path)?);
        }
        // As text first: whether anything is there is nobody's business otherwise.
        if !self.names(path) {
            return Err(self.refused());
        }
        let real_path = match path.canonicalize() {
            Ok(path) => path,
            // A link of the path may lead out: only what is below a root may be told to be absent.
            Err(cause) => return Err(self.absent(path, cause)),
        };
        let root = self.root_of(&real_path).ok_or_else(|| self.refused())?;
        let below = real_path.strip_prefix(&root).map_err(|_| self.refused())?;
        let file = open_beneath(&root, below).map_err(|cause| match cause.kind() {
            io::ErrorKind::NotFound => cause,
            // A link where there was none a moment ago (ELOOP), or a way out (EXDEV).
            _ if matches!(cause.raw_os_error(), Some(LOOP | CROSSES)) => self.refused(),
            _ => cause,
        })?;
        regular(file)
    }

    /// What is told of a path that cannot be resolved.
    fn absent(&self, path: &Path, cause: io::Error) -> io::Error {
        let is_root_below = |path: &Path| {
            let mut roots = self.roots.iter().flat_map(|roots| roots.iter());
            roots.any(|root| root.starts_with(path))
        };
        for part in path.ancestors() {
            match part.canonicalize() {
                Ok(real_part) if self.root_of(&real_part).is_some() => return cause,
                // A root that is not there itself: not mounted, perhaps.
                _ if is_root_below(part) => return cause,
                Ok(_) => break,
                // Whether its target is there is not told.
                Err(_) if is_link(part) => break,
                Err(_) => {}
            }
        }
        self.refused()
    }
}

/// Opens a file without waiting, as opening a pipe would, for a writer.
fn open_at_once(path: &Path) -> io::Result<File> {
    let mut options = std::fs::OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
    }
    options.open(path)
}

/// The file, if it is one and not a pipe, a device or a folder.
fn regular(file: File) -> io::Result<File> {
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "expected a regular file",
        )),
    }
}

/// `ELOOP` and `EXDEV`, by which `openat2` tells of links and of ways out.
#[cfg(unix)]
const LOOP: i32 = rustix::io::Errno::LOOP.raw_os_error();
#[cfg(unix)]
const CROSSES: i32 = rustix::io::Errno::XDEV.raw_os_error();
#[cfg(not(unix))]
const LOOP: i32 = i32::MIN;
#[cfg(not(unix))]
const CROSSES: i32 = i32::MIN + 1;

/// Opens a file for reading, if it is within reach.
pub(super) fn open(file: &SourceFile) -> io::Result<FileHandle> {
    match is_remote(&file.path) {
        true => Ok(FileHandle::Remote(remote::recorded(file)?)),
        false => Reach::current()
            .open(Path::new(&file.path))
            .map(FileHandle::from),
    }
}

fn is_link(path: &Path) -> bool {
    let metadata = path.symlink_metadata();
    metadata.is_ok_and(|metadata| metadata.is_symlink())
}

/// A path without links, if it is there.
fn real(path: &Path) -> Option<PathBuf> {
    path.canonicalize().ok()
}

/// A path without `.` and `..`, as text.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    plain
}

/// What `glob::Pattern::escape` was given: each character that means something stands alone in brackets.
fn unescaped(pattern: &str) -> String {
    let mut text = pattern.to_owned();
    for sign in ["?", "*", "[", "]"] {
        text = text.replace(&format!("[{sign}]"), sign);
    }
    text
}

/// Opens a file below a folder, both without links; a link that is there by now makes it fail.
#[cfg(target_os = "linux")]
fn open_beneath(root: &Path, below: &Path) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat2};
    use rustix::io::Errno;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    let folder = open(
        root,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match openat2(&folder, below, flags, Mode::empty(), resolve) {
        Ok(file) => Ok(File::from(file)),
        // An old system, or one that does not let it through.
        Err(Errno::NOSYS | Errno::PERM | Errno::INVAL | Errno::AGAIN) => open_and_look(root, below),
        Err(cause) => Err(cause.into()),
    }
}

#[cfg(not(target_os = "linux"))]
fn open_beneath(root: &Path, below: &Path) -> io::Result<File> {
    open_and_look(root, below)
}

/// Opens a file below a folder and then looks where what was opened lies: the path may have led elsewhere by then.
#[cfg(unix)]
fn open_and_look(root: &Path, below: &Path) -> io::Result<File> {
    use std::os::unix::fs::MetadataExt;

    use rustix::fs::{Mode, OFlags, open};
    let path = root.join(below);
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    let file = File::from(open(&path, flags | OFlags::NOFOLLOW, Mode::empty())?);
    let (opened, now) = (file.metadata()?, path.canonicalize()?);
    let there = std::fs::symlink_metadata(&now)?;
    let is_same = (opened.dev(), opened.ino()) == (there.dev(), there.ino());
    match is_same && now.starts_with(root) {
        true => Ok(file),
        false => Err(io::Error::from_raw_os_error(LOOP)),
    }
}

#[cfg(not(unix))]
fn open_and_look(root: &Path, below: &Path) -> io::Result<File> {
    let path = root.join(below);
    let file = File::open(&path)?;
    match path.canonicalize()?.starts_with(root) {
        true => Ok(file),
        false => Err(io::Error::from_raw_os_error(LOOP)),
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::fs;
    use std::io::Read;
    use std::os::unix::fs::symlink;

    use super::*;

    struct Folders {
        dir: tempfile::TempDir,
        reach: Reach,
    }

    fn folders() -> Folders {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["in/sub", "inside", "out"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        for file in ["in/a", "in/sub/b", "inside/c", "out/secret"] {
            fs::write(dir.path().join(file), file).unwrap();
        }
        let reach = Reach::below([dir.path().join("in")]).unwrap();
        Folders { dir, reach }
    }

    impl Folders {
        fn read(&self, path: &str) -> Result<String, String> {
            let path = self.dir.path().join(path);
            let mut text = String::new();
            let mut file = self.reach.open(&path).map_err(|e| e.to_string())?;
            file.read_to_string(&mut text).map_err(|e| e.to_string())?;
            Ok(text)
        }
    }

    #[test]
    fn what_is_below_a_root_is_read_and_nothing_else() {
        let at = folders();
        symlink(
            at.dir.path().join("out/secret"),
            at.dir.path().join("in/link"),
        )
        .unwrap();
        symlink(at.dir.path().join("out"), at.dir.path().join("in/way")).unwrap();
        symlink("sub/b", at.dir.path().join("in/near")).unwrap();
        symlink("/nowhere", at.dir.path().join("in/dangling")).unwrap();
        symlink("/nowhere/x", at.dir.path().join("in/deep")).unwrap();
        assert_eq!(at.read("in/a").unwrap(), "in/a");
        assert_eq!(at.read("in/sub/../a").unwrap(), "in/a");
        assert_eq!(at.read("in/near").unwrap(), "in/sub/b");
        // The same words whether it is there or not.
        let refused = at.reach.refusal();
        for path in [
            "out/secret",
            "out/absent",
            "inside/c",
            "in/../out/secret",
            "in/link",
            "in/dangling",
            "in/deep/y",
            "in/way/secret",
            "in/way/absent",
        ] {
            assert_eq!(at.read(path).unwrap_err(), refused, "{path}");
        }
        let absent = at.read("in/absent").unwrap_err();
        assert!(absent.contains("No such file"), "{absent}");
        let folder = at.read("in/sub").unwrap_err();
        assert!(folder.contains("regular file"), "{folder}");
    }

    #[test]
    fn without_a_root_nothing_is_read() {
        let at = folders();
        let none = Reach::below([]).unwrap();
        let error = none.open(&at.dir.path().join("in/a")).unwrap_err();
        assert!(error.to_string().contains("--data-root DIR"), "{error}");
        assert!(
            Reach::anywhere()
                .open(&at.dir.path().join("out/secret"))
                .is_ok()
        );
    }

    /// A folder of the path becomes a link after it was resolved: the file behind it is not read.
    #[test]
    fn a_link_that_comes_in_between_is_not_followed() {
        let at = folders();
        let root = at.dir.path().join("in").canonicalize().unwrap();
        symlink(at.dir.path().join("out/secret"), root.join("late")).unwrap();
        symlink(at.dir.path().join("out"), root.join("folder")).unwrap();
        for below in ["late", "folder/secret", "../out/secret"] {
            assert!(open_beneath(&root, Path::new(below)).is_err(), "{below}");
            assert!(open_and_look(&root, Path::new(below)).is_err(), "{below}");
        }
        for below in ["a", "sub/b"] {
            assert!(open_beneath(&root, Path::new(below)).is_ok(), "{below}");
            assert!(open_and_look(&root, Path::new(below)).is_ok(), "{below}");
        }
    }

    #[test]
    fn patterns_are_held_to_the_roots_by_their_text() {
        let at = folders();
        let dir = at.dir.path().to_str().unwrap();
        let pattern = |text: &str| at.reach.pattern(&format!("{dir}/{text}"));
        assert_eq!(pattern("in/*"), Ok(format!("{dir}/in/*")));
        assert_eq!(pattern("in/sub/../*.csv"), Ok(format!("{dir}/in/*.csv")));
        assert_eq!(pattern("in/[*]x"), Ok(format!("{dir}/in/[*]x")));
        for bad in [
            "*",
            "i*/a",
            "out/*",
            "inside/*",
            "in/../out/*",
            "in/*/../../out/secret",
        ] {
            assert!(pattern(bad).is_err(), "{bad}");
        }
        assert_eq!(Reach::anywhere().pattern("../x*"), Ok("../x*".to_owned()));
    }

    #[test]
    fn the_reach_of_a_thread_ends_with_the_work() {
        let bounded = Reach::below([]).unwrap();
        bounded.during(|| {
            assert!(Reach::current().is_bounded());
            Reach::anywhere().during(|| assert!(!Reach::current().is_bounded()));
            assert!(Reach::current().is_bounded());
        });
        assert!(!Reach::current().is_bounded());
    }

    /// A file that is opened elsewhere is opened without bounds.
    #[test]
    fn a_job_that_is_joined_is_not_told_where_a_link_leads() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("in");
        fs::create_dir(&root).unwrap();
        fs::write(root.join("a.csv"), "a\n1\n").unwrap();
        fs::write(dir.path().join("secret.csv"), "a\n2\n").unwrap();
        symlink(dir.path().join("secret.csv"), root.join("b.csv")).unwrap();
        let text = "name = \"j\"\n[source]\nformat = \"csv\"\npaths = [\"*.csv\"]\n[upsert]\nstore = \"s\"\nkey = [\"a\"]\n";
        let job = crate::spec::JobFile::parse(&root.join("job.toml"), text).unwrap();
        let patterns = ["*.csv".to_owned()];
        let matched = || super::super::files::matched(&job, &patterns);
        assert_eq!(Reach::anywhere().during(matched).len(), 2);
        let bounded = Reach::below([root.clone()]).unwrap().during(matched);
        let shown: Vec<&String> = bounded.values().collect();
        assert_eq!(shown, ["a.csv"]);
    }

    #[test]
    fn nothing_else_here_opens_files() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/source");
        let mut looked = 0;
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() || path.ends_with("reach.rs") {
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap();
            for call in [
                "File::open",
                "OpenOptions",
                "fs::read",
                "fs::metadata",
                "fs::File::",
            ] {
                let found = code.lines().any(|line| {
                    line.contains(call) && !line.contains("//") && !line.contains("\"/proc/")
                });
                assert!(!found, "{}: {call}: use `reach`", path.display());
            }
            looked += 1;
        }
        assert!(looked > 10, "{looked} files");
    }
}
