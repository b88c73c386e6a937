//! Where programs work: a folder of the machine, with a folder for each process of Eciton in it, and in that one for
//! each program.
//!
//! # After a crash
//! Nothing of a program may stay once its worker has died. A small shell, the *reaper*, waits for the end of a pipe
//! that only the worker holds: when the worker dies, the pipe closes, and the reaper kills every program by its process
//! group, and what has left the group by its environment, and removes the folder. It first renames the folder. A program that is about to start writes its number into
//! the folder before it does anything else, by the old name: it either stands there when the reaper looks, or finds no
//! folder and ends. Where the reaper is killed as well, the next process that uses the scratch folder
//! [sweeps](Scratch::open) what dead processes have left.

use std::fs::{self, DirBuilder};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::strays;
use crate::machine;

/// The shell that runs programs and the reaper.
pub(crate) const SHELL: &str = "/bin/sh";
/// The file in a program's folder that has the number of its process.
pub(crate) const PID_FILE: &str = "pid";
/// What a folder is called whose process has died.
const DEAD_SUFFIX: &str = ".dead";

/// Waits until the pipe closes, and ends all programs. `$1` is the folder.
const REAPER: &str = r#"
trap '' HUP INT TERM QUIT
while read -r _; do :; done
mv "$1" "$1.dead" 2>/dev/null || exit 0
for file in "$1.dead"/*/pid; do
  [ -f "$file" ] && read -r pid < "$file" && [ -n "$pid" ] && kill -s KILL -- "-$pid" 2>/dev/null
done
rm -rf "$1.dead"
for file in /proc/[0-9]*/environ; do
  if grep -qsF "ECITON_FOLDER=$1/" "$file"; then
    pid="${file#/proc/}"
    kill -s KILL "${pid%/environ}" 2>/dev/null
  fi
done
"#;

/// The scratch folder of this process. Dropping it removes the folder and ends every program in it.
pub(crate) struct Scratch {
    folder: PathBuf,
    next: AtomicU64,
    reaper: Mutex<Option<(Child, ChildStdin)>>,
}

/// The folder of one program. Dropping it removes the folder.
pub(crate) struct ProgramFolder {
    path: PathBuf,
}

impl Scratch {
    /// Creates a folder for this process below `root`, which is created where it does not exist; removes what dead
    /// processes have left there, and kills what they have left running.
    ///
    /// # Errors
    /// What the system refuses; `PermissionDenied` where somebody else owns `root`.
    pub(crate) fn open(root: &Path) -> io::Result<Scratch> {
        private_folder(root)?;
        let root = root.canonicalize()?;
        sweep(&root);
        let folder = root.join(ScratchName::own().to_string());
        new_folder(&folder)?;
        let reaper = reaper(&folder)?;
        Ok(Scratch {
            folder,
            next: AtomicU64::new(1),
            reaper: Mutex::new(Some(reaper)),
        })
    }

    /// Creates the folder of a program.
    ///
    /// # Errors
    /// What the system refuses.
    pub(crate) fn program_folder(&self) -> io::Result<ProgramFolder> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path = self.folder.join(number.to_string());
        new_folder(&path)?;
        let folder = ProgramFolder { path };
        new_folder(&folder.work())?;
        Ok(folder)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        remove(&self.folder);
        if let Some((mut reaper, pipe)) = self.reaper.get_mut().take() {
            drop(pipe);
            reaper.wait().ok();
        }
    }
}

impl ProgramFolder {
    /// The folder that the program works in.
    pub(crate) fn work(&self) -> PathBuf {
        self.path.join("work")
    }

    /// The file that takes the rows that it writes.
    pub(crate) fn rows(&self) -> PathBuf {
        self.path.join("rows")
    }

    /// The file that has the number of its process.
    pub(crate) fn pid(&self) -> PathBuf {
        self.path.join(PID_FILE)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ProgramFolder {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// Removes a folder as far as that goes: what a program has made unreadable is made readable first.
fn remove(folder: &Path) {
    if !folder.exists() || fs::remove_dir_all(folder).is_ok() {
        return;
    }
    open_up(folder);
    if let Err(error) = fs::remove_dir_all(folder)
        && folder.exists()
    {
        tracing::warn!(folder = %folder.display(), %error, "a scratch folder cannot be removed");
    }
}

/// Lets the owner into every folder below.
fn open_up(folder: &Path) {
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        fs::set_permissions(folder, mode).ok();
    }
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path());
        }
    }
}

fn new_folder(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Creates a folder that only this user can enter, or checks that it is one.
fn private_folder(path: &Path) -> io::Result<()> {
    if let Some(parent) = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        fs::create_dir_all(parent)?;
    }
    match new_folder(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        created => return created,
    }
    let metadata = fs::symlink_metadata(path)?;
    #[cfg(unix)]
    let is_own =
        std::os::unix::fs::MetadataExt::uid(&metadata) == rustix::process::geteuid().as_raw();
    #[cfg(not(unix))]
    let is_own = true;
    match metadata.is_dir() && is_own {
        true => Ok(()),
        false => Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!(
                "{}: expected a folder of this user; name another one with --scratch",
                path.display()
            ),
        )),
    }
}

fn reaper(folder: &Path) -> io::Result<(Child, ChildStdin)> {
    let mut command = Command::new(SHELL);
    command
        .args(["-c", REAPER, "eciton-reaper"])
        .arg(folder)
        .env_clear()
        .env("PATH", path_variable())
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    // Ctrl-C is for the worker.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut reaper = command.spawn().map_err(|error| {
        io::Error::new(error.kind(), format!("{SHELL} cannot be started: {error}"))
    })?;
    let pipe = reaper.stdin.take();
    let pipe = pipe.ok_or_else(|| io::Error::other("the reaper has no standard input"))?;
    Ok((reaper, pipe))
}

/// The only variable that programs inherit unless the job names others.
pub(crate) fn path_variable() -> std::ffi::OsString {
    std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into())
}

/// The name of a process's folder.
#[derive(Debug, PartialEq, Eq)]
struct ScratchName {
    /// The boot and the space of process numbers.
    place: u64,
    pid: u32,
    began: u64,
    boot: u64,
    /// Among those of the process.
    number: u64,
}

/// Scratch folders that this process has had.
static FOLDERS: AtomicU64 = AtomicU64::new(0);

impl ScratchName {
    fn own() -> ScratchName {
        let pid = std::process::id();
        ScratchName {
            boot: machine::boot(),
            place: machine::place(),
            pid,
            began: machine::began(pid).unwrap_or(0),
            number: FOLDERS.fetch_add(1, Ordering::Relaxed),
        }
    }

    fn parse(name: &str) -> Option<ScratchName> {
        let name = name.strip_suffix(DEAD_SUFFIX).unwrap_or(name);
        let mut parts = name.split('-');
        let hex = |part: Option<&str>| u64::from_str_radix(part?, 16).ok();
        let parsed = ScratchName {
            boot: hex(parts.next())?,
            place: hex(parts.next())?,
            pid: parts.next()?.parse().ok()?,
            began: parts.next()?.parse().ok()?,
            number: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(parsed)
    }

    /// Whether its process has ended, as far as this one can tell.
    fn is_dead(&self) -> bool {
        let own = ScratchName::own();
        if self.boot != own.boot {
            return true;
        }
        // Numbers of another space of processes say nothing here.
        self.place == own.place && machine::began(self.pid) != Some(self.began)
    }
}

impl std::fmt::Display for ScratchName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ScratchName {
            boot,
            place,
            pid,
            began,
            number,
        } = self;
        write!(f, "{boot:016x}-{place:016x}-{pid}-{began}-{number}")
    }
}

/// Removes the folders of processes that have died, and kills what they have left running.
fn sweep(root: &Path) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(parsed) = name.to_str().and_then(ScratchName::parse) else {
            continue;
        };
        if !parsed.is_dead() {
            continue;
        }
        let folder = entry.path();
        let killed = strays::kill(&folder);
        tracing::info!(folder = %folder.display(), killed, "removes what a process has left that died");
        remove(&folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_the_living_from_the_dead() {
        let own = ScratchName::own();
        assert_eq!(ScratchName::parse(&own.to_string()).as_ref(), Some(&own));
        assert!(!own.is_dead());
        let other = |change: fn(&mut ScratchName)| {
            let mut other = ScratchName::own();
            change(&mut other);
            other.is_dead()
        };
        assert!(other(|name| name.began += 1));
        assert!(other(|name| name.boot += 1));
        assert!(!other(|name| {
            name.place += 1;
            name.began += 1;
        }));
        for foreign in ["", "x", "1-2-3-4", "1-2-3-4-5-6", "lost+found"] {
            assert_eq!(ScratchName::parse(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn folders_are_private_and_go_with_their_owners() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().join("scratch");
        let scratch = Scratch::open(&root).unwrap();
        let folder = scratch.program_folder().unwrap();
        let path = folder.path().to_owned();
        for private in [&root, &scratch.folder, &path, &folder.work()] {
            let mode = std::os::unix::fs::PermissionsExt::mode(
                &fs::metadata(private).unwrap().permissions(),
            );
            assert_eq!(mode & 0o777, 0o700, "{}", private.display());
        }
        // A program may lock its folders.
        let locked = folder.work().join("locked");
        fs::create_dir(&locked).unwrap();
        fs::write(locked.join("file"), "x").unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o0);
        fs::set_permissions(&locked, mode).unwrap();
        drop(folder);
        assert!(!path.exists());
        drop(scratch);
        assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
    }

    #[test]
    fn what_a_dead_process_left_is_swept() {
        let root = tempfile::tempdir().unwrap();
        let mut dead = ScratchName::own();
        dead.began += 1;
        let left = root.path().join(dead.to_string());
        fs::create_dir_all(left.join("1/work")).unwrap();
        fs::create_dir(root.path().join("somebody's")).unwrap();
        let mut child = Command::new("sleep")
            .arg("1000")
            .current_dir(left.join("1/work"))
            .spawn()
            .unwrap();
        let _scratch = Scratch::open(root.path()).unwrap();
        assert!(!left.exists());
        assert!(root.path().join("somebody's").exists());
        // It ends at once, and not after its 1,000 seconds.
        assert!(!child.wait().unwrap().success());
    }
}
