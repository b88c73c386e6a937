//! What the engine is tried by: a deterministic simulator that runs production code.
//!
//! Several processes, each a set of tasks, run on one thread over one simulated storage and bus
//! ([`world`]). A seed decides the order of everything ([`executor`]) and what goes wrong
//! ([`fault`]); the same seed gives the same run, to the byte. [`scenario`] says what the processes
//! do and what must hold, [`outcome`] runs a seed, [`campaign`] many of them, and [`shrink`] finds
//! the few faults that a violation takes.
//!
//! | module | is |
//! |---|---|
//! | [`executor`], [`kernel`], [`random`] | tasks, virtual time, streams of random numbers |
//! | [`clock`], [`spawner`], [`storage`], [`bus`] | what production code takes from outside |
//! | [`disk`], [`copier`] | the storage as it is; a copy of it |
//! | [`fault`], [`plan`], [`context`] | what goes wrong, when, and what was noticed |
//! | [`world`], [`trace`], [`violation`] | all of it together |
//! | [`scenario`] | workloads with what they check |
//! | [`history`] | whether what clients were told has an order that explains it |
//! | [`outcome`], [`campaign`], [`shrink`] | runs |
//! | [`steer`] | which settings are tried again, for what few runs reach |

pub mod bus;
pub mod campaign;
pub mod clock;
pub mod context;
pub mod copier;
pub mod disk;
pub mod executor;
pub mod fault;
pub mod history;
pub mod kernel;
pub mod outcome;
pub mod plan;
pub mod random;
pub mod scale;
pub mod scenario;
pub mod shrink;
pub mod spawner;
pub mod steer;
pub mod storage;
pub mod trace;
pub mod violation;
pub mod world;
