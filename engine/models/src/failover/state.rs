//! What there is: two paths, the arbiter, processes, and what has been told to the world.

use super::Bounds;
use super::process::{Process, Step};
use crate::disk::Dir;

/// Positions that there is room for.
pub(super) const SLOTS_MAX: usize = 4;
/// Slots and seals that may be created.
pub(super) const CREATES_MAX: usize = 8;
/// Processes that there is room for.
pub(super) const PROCESSES_MAX: usize = 3;
/// Names on a path: every position in the generation of both paths and in the one after a seal.
const NAMES: usize = 2 * SLOTS_MAX;

/// The bytes of a slot, as a number: two creates never write the same.
pub(super) type Content = u8;
/// A position; slots begin at 1.
pub(super) type Position = u8;

/// One of the two places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Path {
    /// The active one, written first.
    A,
    /// The passive one.
    P,
}

impl Path {
    /// Both, in the order of writing.
    pub const BOTH: [Path; 2] = [Path::A, Path::P];

    /// The other one.
    #[must_use]
    pub fn other(self) -> Path {
        match self {
            Path::A => Path::P,
            Path::P => Path::A,
        }
    }
}

/// Where slots of a generation stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Paths {
    /// On both: generation 0.
    Both,
    /// On one, after a seal: generation 1.
    Only(Path),
}

impl Paths {
    pub(super) fn contains(self, path: Path) -> bool {
        self == Paths::Both || self == Paths::Only(path)
    }

    pub(super) fn first(self) -> Path {
        match self {
            Paths::Both => Path::A,
            Paths::Only(path) => path,
        }
    }
}

/// What is known of a slot's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Made {
    /// Its position.
    pub n: Position,
    /// The slot before it, 0 for none.
    pub prev: Content,
    /// The generation in its name.
    pub generation: u8,
    /// Where it stands; for a seal, where it and its successors do.
    pub paths: Paths,
    /// It ends its generation.
    pub seal: bool,
}

/// What stands under a name: the bytes, and which creation of that name this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Entry {
    pub(super) content: Content,
    pub(super) inode: u8,
}

/// A create that hangs: it may be carried out at any later time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Hung {
    pub(super) path: Path,
    pub(super) content: Content,
}

/// Everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    disks: [Dir<Entry, NAMES>; 2],
    created: [[u8; NAMES]; 2],
    /// Whom the arbiter has granted generation 1.
    pub(super) granted: Option<Path>,
    made: [Option<Made>; CREATES_MAX],
    pub(super) slots_made: u8,
    pub(super) seals_made: u8,
    truth: [Content; SLOTS_MAX],
    pub(super) exposed: u8,
    /// Positions that have been acknowledged, one bit each.
    pub(super) acknowledged: u8,
    pub(super) hung: Option<Hung>,
    processes: [Process; PROCESSES_MAX],
    pub(super) process_count: u8,
    /// What may still go wrong.
    pub(super) left: Left,
    /// What does not hold any more.
    pub broken: Option<Broken>,
}

/// What may still go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Left {
    pub(super) cuts: u8,
    pub(super) hangs: u8,
    pub(super) power_losses: u8,
    pub(super) crashes: u8,
}

/// A property that does not hold any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Broken {
    /// A writer acknowledged a slot that is not in the history.
    FencedAck,
    /// Two slots of one position were exposed.
    TwoTruths,
    /// A slot was exposed that does not follow the one before it.
    Chain,
    /// The paths hold different slots of one position, neither of them a seal.
    PathsDiffer,
    /// The passive path holds a slot that the active one does not.
    PassiveAhead,
    /// A slot was exposed that a power loss can take back.
    Volatile,
}

impl State {
    pub(super) fn first(bounds: &Bounds) -> State {
        assert!(bounds.processes <= PROCESSES_MAX, "{bounds:?}");
        assert!(usize::from(bounds.slots) < SLOTS_MAX, "{bounds:?}");
        let creates = usize::from(bounds.creates) + usize::from(bounds.seals);
        assert!(creates <= CREATES_MAX, "{bounds:?}");
        let process = Process {
            applied: 0,
            tip: 0,
            cut: [false; 2],
            step: Step::Idle,
        };
        State {
            disks: [Dir::new(); 2],
            created: [[0; NAMES]; 2],
            granted: None,
            made: [None; CREATES_MAX],
            slots_made: 0,
            seals_made: 0,
            truth: [0; SLOTS_MAX],
            exposed: 0,
            acknowledged: 0,
            hung: None,
            processes: [process; PROCESSES_MAX],
            process_count: u8::try_from(bounds.processes).unwrap_or(0),
            left: Left {
                cuts: bounds.cuts,
                hangs: bounds.hangs,
                power_losses: bounds.power_losses,
                crashes: bounds.crashes,
            },
            broken: None,
        }
    }

    pub(super) fn process(&self, index: u8) -> &Process {
        &self.processes[usize::from(index)]
    }

    pub(super) fn process_mut(&mut self, index: u8) -> &mut Process {
        &mut self.processes[usize::from(index)]
    }

    pub(super) fn steps(&self) -> impl Iterator<Item = Step> {
        let used = self.processes.iter().take(self.process_count.into());
        used.map(|process| process.step)
    }

    /// What is known of bytes that are not 0.
    pub(super) fn made(&self, content: Content) -> Option<Made> {
        usize::from(content)
            .checked_sub(1)
            .and_then(|index| self.made[index])
    }

    pub(super) fn is_seal(&self, content: Content) -> bool {
        self.made(content).is_some_and(|made| made.seal)
    }

    /// Generation and paths of the slot after these bytes.
    pub(super) fn after(&self, content: Content) -> (u8, Paths) {
        match self.made(content) {
            None => (0, Paths::Both),
            Some(made) if made.seal => (1, made.paths),
            Some(made) => (made.generation, made.paths),
        }
    }

    pub(super) fn make(&mut self, made: Made) -> Content {
        let count = self.slots_made + self.seals_made;
        self.made[usize::from(count)] = Some(made);
        if made.seal {
            self.seals_made += 1;
        } else {
            self.slots_made += 1;
        }
        count + 1
    }

    /// What stands on `path` at position `n` of a generation.
    pub(super) fn look(&self, path: Path, generation: u8, n: Position) -> Option<Entry> {
        self.disks[path as usize].get(name(generation, n))
    }

    /// What stands on `path` under the name of these bytes.
    pub(super) fn entry(&self, path: Path, content: Content) -> Option<Entry> {
        let made = self.made(content)?;
        self.look(path, made.generation, made.n)
    }

    pub(super) fn is_durable(&self, path: Path, content: Content) -> bool {
        let entry = self
            .made(content)
            .and_then(|made| self.disks[path as usize].durable(name(made.generation, made.n)));
        entry.is_some_and(|entry| entry.content == content)
    }

    /// Creates the name of these bytes if it is free.
    pub(super) fn link(&mut self, path: Path, content: Content) {
        let Some(made) = self.made(content) else {
            return;
        };
        let name = name(made.generation, made.n);
        let inode = self.created[path as usize][name] + 1;
        if self.disks[path as usize].link(name, Entry { content, inode }) {
            self.created[path as usize][name] = inode;
        }
    }

    pub(super) fn sync(&mut self, path: Path) {
        self.disks[path as usize].sync();
    }

    pub(super) fn unsynced(&self, path: Path) -> usize {
        self.disks[path as usize].unsynced()
    }

    pub(super) fn lose_power(&mut self, path: Path, keep: u32) {
        self.disks[path as usize].lose_power(keep);
    }

    pub(super) fn truth(&self, n: Position) -> Content {
        usize::from(n)
            .checked_sub(1)
            .map_or(0, |index| self.truth[index])
    }

    /// The history as it has been shown to the world.
    pub(super) fn history(&self) -> impl Iterator<Item = Content> {
        (1..=self.exposed).map(|n| self.truth(n))
    }

    /// Somebody shows a slot to the world: the first to do so decides what is true.
    pub(super) fn expose(&mut self, slot: Content, own: bool) {
        let Some(made) = self.made(slot) else {
            return;
        };
        let known = made.n <= self.exposed;
        let broken = if known && self.truth(made.n) != slot {
            Some(if own {
                Broken::FencedAck
            } else {
                Broken::TwoTruths
            })
        } else if !known && made.prev != self.truth(made.n - 1) {
            Some(Broken::TwoTruths)
        } else if !known && !self.is_confirmed(slot) {
            Some(Broken::Volatile)
        } else {
            None
        };
        self.broken = self.broken.or(broken);
        if !known {
            self.truth[usize::from(made.n) - 1] = slot;
            self.exposed = made.n;
        }
        if own {
            self.acknowledged |= 1 << made.n;
        }
    }

    /// Whether a slot is durable wherever it must be, or a granted seal has adopted it.
    fn is_confirmed(&self, slot: Content) -> bool {
        let paths = self.made(slot).map_or(Paths::Both, |made| made.paths);
        let stands = |path: &Path| !paths.contains(*path) || self.is_durable(*path, slot);
        Path::BOTH.iter().all(stands) || self.adopter(slot).is_some()
    }

    /// The path on which a durable seal stands on top of a slot that is durable there.
    fn adopter(&self, slot: Content) -> Option<Path> {
        let made = self.made(slot)?;
        Path::BOTH.into_iter().find(|path| {
            let next = self.look(*path, made.generation, made.n + 1);
            next.is_some_and(|entry| {
                let seal = self.made(entry.content);
                seal.is_some_and(|seal| seal.seal && seal.prev == slot)
                    && self.is_durable(*path, entry.content)
                    && self.is_durable(*path, slot)
            })
        })
    }

    /// Whether every acknowledged slot is durable on every path of its generation.
    pub(super) fn acknowledged_is_durable(&self) -> bool {
        let acknowledged = (1..=self.exposed).filter(|n| self.acknowledged >> n & 1 == 1);
        acknowledged.map(|n| self.truth(n)).all(|slot| {
            let paths = self.made(slot).map_or(Paths::Both, |made| made.paths);
            let stands = |path: &Path| !paths.contains(*path) || self.is_durable(*path, slot);
            Path::BOTH.iter().all(stands)
        })
    }

    /// Whether each path of the newest generation holds the whole history by itself.
    pub(super) fn survives_the_loss_of_a_path(&self) -> bool {
        let last = self.truth(self.exposed);
        // A slot may be exposed because a seal has adopted it, before the seal itself is.
        let adopter = self.adopter(last).map(Paths::Only);
        let paths = adopter.unwrap_or(self.after(last).1);
        let mut used = Path::BOTH.into_iter().filter(|path| paths.contains(*path));
        used.all(|path| self.history().all(|slot| self.is_durable(path, slot)))
    }
}

fn name(generation: u8, n: Position) -> usize {
    usize::from(generation) * SLOTS_MAX + usize::from(n) - 1
}
