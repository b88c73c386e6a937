//! Names on a medium: what a running machine sees, and what a power loss leaves.

/// The names `0..N` of one directory, each with what stands under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Dir<T, const N: usize> {
    live: [Option<T>; N],
    durable: [Option<T>; N],
}

impl<T: Copy + PartialEq, const N: usize> Dir<T, N> {
    /// No names.
    pub fn new() -> Dir<T, N> {
        Dir {
            live: [None; N],
            durable: [None; N],
        }
    }

    /// What stands under `name` now.
    pub fn get(&self, name: usize) -> Option<T> {
        self.live.get(name).copied().flatten()
    }

    /// What stands under `name` after any power loss, if nothing is done meanwhile.
    pub fn durable(&self, name: usize) -> Option<T> {
        self.durable.get(name).copied().flatten()
    }

    /// Creates `name`; `false` where it is taken.
    pub fn link(&mut self, name: usize, object: T) -> bool {
        let free = self.live[name].is_none();
        if free {
            self.live[name] = Some(object);
        }
        free
    }

    /// Removes `name`.
    pub fn unlink(&mut self, name: usize) {
        self.live[name] = None;
    }

    /// Makes every name and every removal durable.
    pub fn sync(&mut self) {
        self.durable = self.live;
    }

    /// The newest name, where names have no gaps.
    pub fn newest(&self) -> Option<(usize, T)> {
        let last = self.live.iter().rposition(Option::is_some)?;
        self.live[last].map(|object| (last, object))
    }

    /// The first name that is not taken.
    pub fn first_free(&self) -> usize {
        self.newest().map_or(0, |(last, _)| last + 1)
    }

    /// How many names have changed since the last sync.
    pub fn unsynced(&self) -> usize {
        (0..N).filter(|name| self.is_unsynced(*name)).count()
    }

    /// Loses power: of the unsynced changes those stay whose bit is set in `keep`, lowest name first.
    /// Returns the bits that are left.
    pub fn lose_power(&mut self, mut keep: u32) -> u32 {
        for name in 0..N {
            if self.is_unsynced(name) {
                if keep & 1 == 1 {
                    self.durable[name] = self.live[name];
                } else {
                    self.live[name] = self.durable[name];
                }
                keep >>= 1;
            }
        }
        keep
    }

    fn is_unsynced(&self, name: usize) -> bool {
        self.live[name] != self.durable[name]
    }
}

impl<T: Copy + PartialEq, const N: usize> Default for Dir<T, N> {
    fn default() -> Dir<T, N> {
        Dir::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_power_loss_keeps_what_was_synced_and_chooses_among_the_rest() {
        let mut dir = Dir::<char, 3>::new();
        assert!(dir.link(0, 'a'));
        assert!(!dir.link(0, 'b'));
        dir.sync();
        dir.unlink(0);
        assert!(dir.link(1, 'c'));
        assert_eq!(dir.unsynced(), 2);
        let mut kept = dir;
        assert_eq!(kept.lose_power(0b11), 0);
        assert_eq!((kept.get(0), kept.get(1)), (None, Some('c')));
        dir.lose_power(0b00);
        assert_eq!((dir.get(0), dir.get(1)), (Some('a'), None));
        assert_eq!(dir.newest(), Some((0, 'a')));
    }
}
