//! Breaks that a test plants, to show that the checks can fail.

use std::cell::Cell;

/// A rule that is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    /// The turn ends with an heir that has gone away.
    TurnLost,
    /// The lead over those who wait for their turn ends with an heir that has gone away.
    LeadLost,
    /// A slot is visible from its first write on.
    PublishedEarly,
    /// Views are derived from each other without excluding each other.
    ViewUnlocked,
    /// A snapshot takes view and position at two moments.
    SnapshotTorn,
}

thread_local! {
    /// All tasks of one exploration share a thread, and no two explorations do.
    static PLANTED: Cell<Option<Break>> = const { Cell::new(None) };
}

/// Breaks one rule, or none, for the explorations that this thread begins from now on.
pub fn plant(rule: Option<Break>) {
    PLANTED.set(rule);
}

/// Whether `rule` is to be broken.
pub fn broken(rule: Break) -> bool {
    PLANTED.get() == Some(rule)
}
