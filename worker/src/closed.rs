//! Whether standard output was closed when the program was started.
//!
//! The standard library puts `/dev/null` in the place of a standard stream that is closed, before `main` begins: whatever is
//! printed is then lost without an error. `scan >&-` is to fail as `scan > /dev/full` does, so it is looked at before that.

#![allow(
    unsafe_code,
    reason = "only what runs before the standard library sees a closed stream"
)]

#[cfg(target_os = "linux")]
mod look {
    use std::os::fd::BorrowedFd;
    use std::sync::atomic::{AtomicBool, Ordering};

    pub(super) static IS_CLOSED: AtomicBool = AtomicBool::new(false);

    /// Called by the loader, before the standard library.
    // SAFETY: the section holds functions of this type; the loader calls them with the process's arguments, which one
    // that takes none ignores.
    #[used]
    #[unsafe(link_section = ".init_array")]
    static BEFORE_MAIN: extern "C" fn() = look;

    extern "C" fn look() {
        // SAFETY: the number is only asked for its flags, while nothing else runs that could open or close it.
        let stdout = unsafe { BorrowedFd::borrow_raw(1) };
        if rustix::io::fcntl_getfd(stdout) == Err(rustix::io::Errno::BADF) {
            IS_CLOSED.store(true, Ordering::Relaxed);
        }
    }
}

/// Whether what is printed reaches nobody, and never did. Where that cannot be told, `false`.
#[cfg(target_os = "linux")]
pub(crate) fn is_stdout_closed() -> bool {
    look::IS_CLOSED.load(std::sync::atomic::Ordering::Relaxed)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn is_stdout_closed() -> bool {
    false
}
