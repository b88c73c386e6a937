//! Seeds that once broke a promise, with what they found. They stay, although the code that they run has
//! changed since, and with it what they run into.

#![allow(clippy::panic, reason = "a test fails by panicking")]

use eciton_sim::outcome::{Run, run_seed};
use eciton_sim::scenario::Scenario;

/// The scenario, the seed, and what was wrong.
const FOUND: [(Scenario, u64, &str); 34] = [
    (
        Scenario::Clustered,
        44,
        "refused for a member of a batch that lost its slot: told aborted, then committed by another process",
    ),
    (
        Scenario::Clustered,
        103,
        "a cancel was sent on with a later position although its target had committed in between",
    ),
    (
        Scenario::Clustered,
        115,
        "a run that was collected before its transaction committed was called damage",
    ),
    (
        Scenario::Clustered,
        533,
        "a stale listing while a database is created: no manifest",
    ),
    (
        Scenario::Clustered,
        602,
        "storage restarted between the first manifest and its sync: a database without one",
    ),
    (
        Scenario::Clustered,
        645,
        "a collect record that lagged behind others' slots was not tried again",
    ),
    (
        Scenario::Clustered,
        1644,
        "an own intent came back over the bus and was refused for good as a foreign one",
    ),
    (Scenario::Clustered, 3832, "the same"),
    (Scenario::Clustered, 3983, "the same"),
    (
        Scenario::Clustered,
        7332,
        "a state that differed from the log after such a refusal",
    ),
    (
        Scenario::Clustered,
        2364,
        "a copy with gaps between its manifests: what a newer one refers to was collected",
    ),
    (
        Scenario::Clustered,
        84_182_041,
        "a slot that was collected between its reading and the look whether it is durable passed for the log's end",
    ),
    (
        Scenario::Clustered,
        1_796_035_741_364,
        "collection read a slot that was not durable and was lost: the one after its successor passed for damage",
    ),
    (
        Scenario::Clustered,
        1_796_100_002_732,
        "a floor that was lost after it was listed left the one before it unread: the next floor was lower",
    ),
    (
        Scenario::Clustered,
        1_796_100_024_775,
        "a slot was collected before its writer confirmed it, then storage refused: told not written",
    ),
    (
        Scenario::Clustered,
        1_796_700_002_413,
        "a slot of changes in turn was read and collected before its writer looked again: told as another's",
    ),
    (
        Scenario::Clustered,
        1_796_700_078_471,
        "a manifest that was made while the database was verified was called missing",
    ),
    (
        Scenario::Clustered,
        2_342,
        "another process had committed it and the slot was read, then storage refused: told not written",
    ),
    (
        Scenario::Standalone,
        1_796_100_060_040,
        "one of two floors that had been removed came back with a power loss: told as a gap",
    ),
    (
        Scenario::Standalone,
        1_796_040_000_120,
        "collection did not read a slot whose write had failed and which stood there all the same",
    ),
    (
        Scenario::Standalone,
        14,
        "a copy removed the log file that its writer was about to begin again",
    ),
    (
        Scenario::Standalone,
        72,
        "a manifest that could not be read back after its create stood in the way for good",
    ),
    (
        Scenario::Standalone,
        610,
        "a copy kept a torn end that looked like damage at the next opening",
    ),
    (
        Scenario::Standalone,
        74_016,
        "a reader that paused between the log's end and a listing took the writer's progress for a gap",
    ),
    (
        Scenario::Clustered,
        1_800_000_012_394,
        "a collector that another one had overtaken took a slot that was created below the floor for damage",
    ),
    (
        Scenario::Mirrored,
        511,
        "a seal that storage lost again was believed when the paths of a database were put together",
    ),
    (
        Scenario::Mirrored,
        1_830_000_000_297,
        "a path that was brought back was not looked for beside what was left of the old one",
    ),
    (
        Scenario::Mirrored,
        1_830_000_000_493,
        "a path was resumed whose marks were not durable, and a power loss took them",
    ),
    (
        Scenario::Mirrored,
        1_830_000_001_148,
        "a floor was copied before the manifest that it rests on was durable",
    ),
    (
        Scenario::Mirrored,
        1_830_000_001_906,
        "a path that had just come into force was taken for one that was left, and deleted",
    ),
    (
        Scenario::Mirrored,
        1_830_000_003_679,
        "a process that slept took an emptied path for the log's end",
    ),
    (
        Scenario::Standalone,
        101_903,
        "a reader beside a writer that closed and opened again saw a file too short",
    ),
    (
        Scenario::Standalone,
        50_904,
        "collection raised the floor while a copy was taken, of which nothing was gone: the simulator took its refusal for damage",
    ),
    (
        Scenario::Mirrored,
        1_830_000_004_456,
        "a process that brought a path back sealed without the lock, while another one had the database alone",
    ),
];

/// Seeds with the settings of others: the scenario, both numbers, and what was wrong.
const FOUND_LIKE: [(Scenario, u64, u64, &str); 1] = [(
    Scenario::Clustered,
    2011,
    349,
    "a slot of its own that it could not confirm was read later, and what storage refused after that was told as if nothing of it stood",
)];

#[test]
fn what_was_found_once_stays_mended() {
    let own = FOUND.map(|(scenario, seed, story)| (scenario, seed, None, story));
    let steered =
        FOUND_LIKE.map(|(scenario, seed, like, story)| (scenario, seed, Some(like), story));
    for (scenario, seed, like, story) in own.into_iter().chain(steered) {
        let run = Run {
            seed,
            like,
            scenario: Some(scenario),
            ..Run::default()
        };
        if let Some(violation) = run_seed(&run).violation {
            panic!("seed {seed} ({scenario:?}; {story}): {violation}");
        }
    }
}
