//! What this process is called among the others.

use eciton_proto::limits::WORKER_TEXT_LEN_MAX;

/// The name of this process among the workers: its machine and its process id.
pub(crate) fn worker_name() -> String {
    let mut name = format!("{}/{}", host(), std::process::id());
    name.truncate(name.floor_char_boundary(WORKER_TEXT_LEN_MAX));
    name
}

/// The name of this machine, for people.
pub(crate) fn host() -> String {
    let said = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let said = said.or_else(|| std::env::var("HOSTNAME").ok());
    said.map_or_else(|| "unknown".to_owned(), |host| host.trim().to_owned())
}
