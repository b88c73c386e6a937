//! Many real processes at one folder, over a real Redis, while both are struck at random.
//!
//! Each process runs several tasks that transfer between accounts, append to lists, merge into counters,
//! set registers and read. Meanwhile processes are killed (`SIGKILL`) and started again, or stopped
//! (`SIGSTOP`) for longer than any lease and then let go on as if nothing had happened; Redis is flushed,
//! killed and begun anew, and stopped. In the end everybody closes, the folder is verified, and what all of
//! them were told is judged together with what is there: see [`judge`].
//!
//! What a process is about to do stands in its [`journal`] before anybody else can see it, and its answer
//! once it has it, both by the machine's monotonic clock, which all processes share. Each transaction that
//! writes leaves its number in a store, so the end settles what became of those that were under way when
//! their process died.
//!
//! What is between the processes comes in three forms: one Redis; a Redis Cluster, whose masters are killed
//! and stopped so that replicas take their places; and network namespaces, whose links to Redis are cut.
//!
//! The same seed makes the same strikes at the same moments, and tasks that draw the same things; how far
//! each is when it is struck is the machine's affair.
//!
//! | module | is |
//! |---|---|
//! | [`args`], [`run`] | the command line, one run |
//! | [`strikes`], [`field`], [`tally`] | what is done to whom, by a seed, and what happened |
//! | [`seat`], [`redis`], [`servers`], [`split`] | the processes and links that are struck |
//! | [`worker`], [`task`], [`cells`] | what such a process does |
//! | [`journal`] | what it says |
//! | [`said`], [`remains`], [`judge`] | what they said, what is there in the end, and whether it is right |

pub mod args;
pub mod cells;
pub mod field;
pub mod journal;
pub mod judge;
pub mod redis;
pub mod remains;
pub mod run;
pub mod said;
pub mod seat;
pub mod servers;
pub mod split;
pub mod strikes;
pub mod tally;
pub mod task;
pub mod worker;
