//! Processes that a program has left behind outside of its process group.
//!
//! A program may start others in a session of their own, which killing its group does not reach. They are known by
//! their working folder, or by the variable that names the folder of their shard.

use std::path::Path;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

/// How long looking for them may take; it goes on after that, and nobody waits.
const LOOK_MAX: Duration = Duration::from_secs(2);

/// The variable that names the folder of a shard, for every process that a program starts.
pub(crate) const FOLDER_VARIABLE: &str = "ECITON_FOLDER";

/// Kills every process of the machine that works in `folder` or was started by the program there. Returns how many there
/// were. Knows of none where there is no `/proc`.
pub(crate) fn kill(folder: &Path) -> usize {
    let (killed, count) = channel();
    let folder = folder.to_owned();
    // What the system tells of a process may be a long time in coming, where that one waits for a disk.
    let looking = thread::Builder::new().name("strays".to_owned());
    let begun = looking.spawn(move || killed.send(kill_all(&folder)).ok());
    match begun {
        Ok(_) => count.recv_timeout(LOOK_MAX).unwrap_or(0),
        Err(_) => 0,
    }
}

fn kill_all(folder: &Path) -> usize {
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return 0;
    };
    let own = std::process::id();
    let mut killed = 0;
    for process in processes.flatten() {
        let Some(pid) = process
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<i32>().ok())
        else {
            continue;
        };
        if u32::try_from(pid) == Ok(own) || !is_of(&process.path(), folder) {
            continue;
        }
        if let Some(pid) = rustix::process::Pid::from_raw(pid) {
            // It may have ended a moment ago.
            let sent = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            killed += usize::from(sent.is_ok());
        }
    }
    killed
}

fn is_of(process: &Path, folder: &Path) -> bool {
    if std::fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd.starts_with(folder)) {
        return true;
    }
    let Ok(environment) = std::fs::read(process.join("environ")) else {
        return false;
    };
    let mut variables = environment.split(|byte| *byte == 0);
    variables.any(|variable| {
        let value = variable
            .strip_prefix(FOLDER_VARIABLE.as_bytes())
            .and_then(|rest| rest.strip_prefix(b"="));
        value.is_some_and(|value| Path::new(&*String::from_utf8_lossy(value)).starts_with(folder))
    })
}
