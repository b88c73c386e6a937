//! What the processes of a world do, and what must hold.

pub mod clustered;
mod ledger;
pub mod standalone;
pub mod twins;
mod workload;

use clustered::Form;

use crate::outcome::Run;
use crate::random::Random;
use crate::violation::Violation;
use crate::world::World;

/// A scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// One process at a time writes to a database; others read it and copy it.
    Standalone,
    /// Many processes write to one database.
    Clustered,
    /// Many processes write to one database on two storage paths, either of which may fail.
    Mirrored,
    /// A volume is cloned below its database, or set back, beside a bus that remembers.
    Twins,
}

/// Of so many seeds one is standalone.
const STANDALONE_EVERY: u64 = 8;
/// Of so many other seeds one is about a second storage path.
const MIRRORED_EVERY: u64 = 5;
/// Of so many other seeds one is about clones and roll-backs.
const TWINS_EVERY: u64 = 7;

/// Of a hundred seeds so many are about clients that change the same few records in turn.
const CONTENDED_PERCENT: u64 = 12;
/// Clients that a process of such a seed has beside the others.
const CONTENDERS: u64 = 5;

/// Whether a seed is about many clients that change the same few records in turn.
fn is_contended(seed: u64) -> bool {
    Random::new(seed, 22).percent(CONTENDED_PERCENT)
}

impl Scenario {
    /// All of them, with their names on the command line.
    pub const ALL: [(Scenario, &'static str); 4] = [
        (Scenario::Standalone, "standalone"),
        (Scenario::Clustered, "clustered"),
        (Scenario::Mirrored, "mirrored"),
        (Scenario::Twins, "twins"),
    ];

    /// The world in which it takes place.
    pub fn world(self, run: &Run) -> World {
        World::new(match self {
            Scenario::Standalone => standalone::setup(run),
            Scenario::Clustered => clustered::setup(run),
            Scenario::Mirrored => clustered::setup_mirrored(run),
            Scenario::Twins => twins::setup(run),
        })
    }

    /// Runs it from its beginning to its end.
    ///
    /// # Errors
    /// The first violation.
    pub fn run(self, world: &mut World) -> Result<(), Violation> {
        match self {
            Scenario::Standalone => standalone::run(world),
            Scenario::Clustered => clustered::run(world, Form::Plain),
            Scenario::Mirrored => clustered::run(world, Form::Mirrored),
            Scenario::Twins => twins::run(world),
        }
    }
}

/// The scenario of a seed.
pub fn of_seed(seed: u64) -> Scenario {
    if !clustered::IS_READY || seed.is_multiple_of(STANDALONE_EVERY) {
        Scenario::Standalone
    } else if seed.is_multiple_of(TWINS_EVERY) {
        Scenario::Twins
    } else if seed.is_multiple_of(MIRRORED_EVERY) {
        Scenario::Mirrored
    } else {
        Scenario::Clustered
    }
}
