//! What a side needs beside its processes.

use std::process::Child;

use crate::engine::{Result, text};
use crate::usage::cpu_seconds_of;

/// A server of the measurement's own, ended with it.
pub(crate) trait Server {
    /// Where it is, for its clients.
    fn url(&self) -> String;

    /// The process, or the first of them.
    fn process(&self) -> &Child;

    /// Seconds of processor time that it has taken until now, its children's included.
    fn cpu_seconds(&self) -> f64 {
        let own = self.process().id();
        let children = std::fs::read_to_string(format!("/proc/{own}/task/{own}/children"));
        let children = children.unwrap_or_default();
        let children = children.split_whitespace().filter_map(|id| id.parse().ok());
        children.chain([own]).map(cpu_seconds_of).sum()
    }
}

/// A port that nobody listens on.
///
/// # Errors
/// What the system refuses.
pub(super) fn free_port() -> Result<u16> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).map_err(text)?;
    Ok(listener.local_addr().map_err(text)?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_process_and_of_its_children_counts() {
        let mut sum = 0u64;
        while cpu_seconds_of(std::process::id()) == 0.0 {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        let before = cpu_seconds_of(std::process::id());
        let count = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done";
        let counted = std::process::Command::new("sh")
            .args(["-c", count])
            .status();
        assert!(counted.unwrap().success());
        assert!(cpu_seconds_of(std::process::id()) > before);
    }
}
