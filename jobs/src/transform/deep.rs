//! Stacks for what recurses into a query.
//!
//! DataFusion and the parser recurse into expressions, and so do planning, computing and dropping them. The stack
//! of a thread is made for none of it: an overflow ends the process. So all of it runs on stacks of its own,
//! which are large enough for the deepest query that is [taken](super::depth).

/// Bytes of stack for any query that is taken: address space, of which only what is used is memory.
pub(crate) const STACK_LEN: usize = 128 << 20;
/// Bytes of stack for each token of a text of which it is not known yet how deep it is.
const STACK_LEN_PER_TOKEN: usize = 8 << 10;
/// Levels that any thread has the stack for.
const SHALLOW_MAX: usize = 40;

/// Calls `work` with a stack for any query that is taken.
pub(super) fn deeply<T>(work: impl FnOnce() -> T) -> T {
    stacker::grow(STACK_LEN, work)
}

/// Calls `work` with a stack for a text of so many tokens, however deep they are nested.
pub(super) fn deeply_for<T>(tokens: usize, work: impl FnOnce() -> T) -> T {
    stacker::grow(STACK_LEN + tokens * STACK_LEN_PER_TOKEN, work)
}

/// Calls `work`, which recurses into so many levels.
pub(super) fn deep_enough<T>(levels: usize, work: impl FnOnce() -> T) -> T {
    match levels {
        0..=SHALLOW_MAX => work(),
        _ => deeply(work),
    }
}
