//! What a side needs beside its processes.

use std::process::Child;

use crate::engine::{Result, text};

/// What Linux tells times of processes in, whatever the kernel's own clock is.
const TICKS_A_SECOND: f64 = 100.0;

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
        let ticks: u64 = children.chain([own]).map(ticks).sum();
        #[allow(clippy::cast_precision_loss, reason = "ticks of one measurement")]
        let ticks = ticks as f64;
        ticks / TICKS_A_SECOND
    }
}

/// Ticks of processor time of a process and of its children that have ended.
fn ticks(id: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    let after_name = stat.rsplit_once(')').map_or("", |(_, after)| after);
    let fields = after_name.split_whitespace().skip(11).take(4);
    fields.filter_map(|ticks| ticks.parse::<u64>().ok()).sum()
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
        while ticks(std::process::id()) == 0 {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        let before = ticks(std::process::id());
        let count = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done";
        let counted = std::process::Command::new("sh")
            .args(["-c", count])
            .status();
        assert!(counted.unwrap().success());
        assert!(ticks(std::process::id()) > before);
    }
}
