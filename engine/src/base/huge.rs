//! Memory that the system may back by huge pages.

/// Bytes of a huge page.
pub const HUGE_PAGE_LEN: usize = 2 * 1024 * 1024;

/// Asks the system to back as much of `memory` by huge pages as it can: what is read in no order then misses
/// the processor's table of pages less often, which costs more than the read itself. A wish: where the
/// system does not grant it everything works as well, only slower.
#[cfg(target_os = "linux")]
pub fn wish_huge<T>(memory: &mut [T]) {
    let bytes = size_of_val(memory);
    let start = memory.as_mut_ptr().cast::<u8>();
    let lead = start.align_offset(HUGE_PAGE_LEN);
    let Some(len) = bytes.checked_sub(lead) else {
        return;
    };
    let whole = len / HUGE_PAGE_LEN * HUGE_PAGE_LEN;
    if whole > 0 {
        advise(start.wrapping_add(lead), whole);
    }
}

/// Elsewhere nothing is asked for.
#[cfg(not(target_os = "linux"))]
pub fn wish_huge<T>(_memory: &mut [T]) {}

#[cfg(target_os = "linux")]
#[allow(
    unsafe_code,
    reason = "the one system call that no safe crate offers for borrowed memory"
)]
fn advise(start: *mut u8, len: usize) {
    // SAFETY: the range lies within a slice that the caller borrows exclusively, and this advice changes
    // neither what the memory holds nor who may use it.
    let refused = unsafe { libc::madvise(start.cast(), len, libc::MADV_HUGEPAGE) };
    if refused != 0 {
        tracing::debug!("the system backs no memory by huge pages on request");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_stays_what_it_was() {
        for len in [0, 1, HUGE_PAGE_LEN, 3 * HUGE_PAGE_LEN] {
            let mut memory: Vec<u64> = (0..len as u64 / 8).collect();
            wish_huge(&mut memory);
            assert!(
                memory
                    .iter()
                    .zip(0..)
                    .all(|(found, written)| *found == written)
            );
        }
    }
}
