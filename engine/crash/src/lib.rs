//! Real processes that are killed, stopped and left without power at random moments.
//!
//! A **run** is a database that is started, struck and looked at several times over. A worker process
//! commits from several tasks at once and says on its pipe, before and after each commit, what it does.
//! The harness kills it (`SIGKILL`), or stops it (`SIGSTOP`) and then kills it or lets it go on, at a
//! random acknowledgement or in the middle of a random operation of the medium. The medium is a file
//! system of the harness's own, which then perhaps loses power: of whatever was not synced it keeps or
//! loses each sector, length and name by a coin. Now and then a sync fails or the medium is full. A
//! checker process verifies what is left, opens it and reads all of it, and the judge compares that with
//! what was said.
//!
//! The same seed makes the same decisions: which transactions, which strike, which faults, which losses.
//! Which of several tasks is how far when the strike comes is the machine's affair, so a violation that
//! hangs on that may take several tries of its seed to come back.
//!
//! | module | is |
//! |---|---|
//! | [`run`] | the rounds of one run |
//! | [`worker`], [`checker`] | the two other processes |
//! | [`process`], [`line`](mod@line), [`state`] | how they are started and what they say |
//! | [`plan`], [`stores`] | what a transaction does, by its number |
//! | [`judge`] | what must be there |
//! | [`medium`], [`disk`] | what loses power |
//! | [`dice`] | randomness, by a seed |
//! | [`program`] | the command line |
//! | [`among`] | the other harness: many processes at one folder |
//! | [`mirror`] | a third harness: databases on two storage paths, one of which fails |
//!
//! On other systems than Linux this crate is empty.

#![cfg(target_os = "linux")]

pub mod among;
pub mod checker;
pub mod dice;
pub mod disk;
pub mod judge;
pub mod line;
pub mod medium;
pub mod mirror;
pub mod plan;
pub mod process;
pub mod program;
pub mod run;
pub mod state;
pub mod stores;
pub mod worker;
