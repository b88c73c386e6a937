//! Whose turn it is, among the transactions of this process that have lost against others over the same key.

use std::hash::{DefaultHasher, Hash, Hasher};

use tokio::sync::{Mutex, MutexGuard};

/// Keys that share a turn by chance wait for each other needlessly; as many as that are rarely hot at once.
const TURNS: u64 = 64;

/// One at a time for each of a number of keys, in the order in which they asked.
///
/// Of many transactions that read and write one key, one commits with each slot and the others run again: all of
/// them at once would make as many conflicts a commit as there are clients. Nothing depends on it being one at a
/// time.
pub struct Turns {
    turns: Vec<Mutex<()>>,
}

/// A turn, until it is dropped.
pub struct Turn<'a> {
    place: usize,
    _guard: MutexGuard<'a, ()>,
}

impl Default for Turns {
    fn default() -> Turns {
        Turns {
            turns: (0..TURNS).map(|_| Mutex::new(())).collect(),
        }
    }
}

impl Turns {
    /// The turn of what a conflict was about, once those before have gone; `held` if that is the same one, and let
    /// go of otherwise.
    pub async fn turn<'a>(&'a self, what: &str, held: Option<Turn<'a>>) -> Turn<'a> {
        let mut hasher = DefaultHasher::new();
        what.hash(&mut hasher);
        let place = usize::try_from(hasher.finish() % TURNS).unwrap_or(0);
        match held {
            Some(held) if held.place == place => held,
            // Nobody holds one turn while waiting for another.
            held => {
                drop(held);
                Turn {
                    place,
                    _guard: self.turns[place].lock().await,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use futures::executor::block_on;

    use super::*;

    #[test]
    fn one_at_a_time_has_the_turn_and_keeps_it_over_conflicts_about_the_same() {
        let turns = Turns::default();
        let first = block_on(turns.turn("key", None));
        let mut second = Box::pin(turns.turn("key", None));
        assert!(second.as_mut().now_or_never().is_none());
        let mut others = (0..1000).map(|n| format!("key {n}"));
        let other = others.find(|other| turns.turn(other, None).now_or_never().is_some());
        let other = other.unwrap();
        let first = block_on(turns.turn("key", Some(first)));
        assert!(second.as_mut().now_or_never().is_none());
        // About something else it begins to wait anew, and the next one is let in.
        let first = block_on(turns.turn(&other, Some(first)));
        drop(second.now_or_never().unwrap());
        drop(first);
    }
}
