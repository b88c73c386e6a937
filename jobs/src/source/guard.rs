//! Libraries that panic on what a file says.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    /// Whether this thread takes panics for errors.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Calls a function; `None` if it panics, of which nobody is told otherwise: a file that makes a library panic is
/// damaged, and no news for stderr.
pub(super) fn guard<T>(call: impl FnOnce() -> T) -> Option<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |panic| {
            if !GUARDED.get() {
                before(panic);
            }
        }));
    });
    let before = GUARDED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(call));
    GUARDED.set(before);
    result.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_absent_result() {
        let numbers = [1];
        let index = std::hint::black_box(1);
        assert_eq!(guard(|| numbers[index]), None);
        assert_eq!(guard(|| numbers[0]), Some(1));
        assert!(!GUARDED.get());
    }
}
