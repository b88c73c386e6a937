//! What the tasks share: accounts, registers, lists and counters, how many there are and how they are
//! stored; and how a process opens the database.

use std::path::Path;
use std::sync::Arc;

use eciton_engine::clock::SystemClock;
use eciton_engine::coord::SharedCoordinator;
use eciton_engine::coord::redis::{RedisBus, RedisOptions};
use eciton_engine::entropy::SystemEntropy;
use eciton_engine::{Bounds, Db, Environment, Error, Mode, Options, Result};

use crate::plan::{Id, writer_of};

/// Accounts between which transfers move money. They are the first registers of the history, too.
pub const ACCOUNTS: u64 = 24;
/// What each has in the beginning.
pub const OPENING_BALANCE: i64 = 1000;
/// Registers that are set without having been read, or with.
pub const REGISTERS: std::ops::Range<u64> = 100..110;
/// Registers with values so long that who sets some of them commits a run.
pub const LONG_REGISTERS: std::ops::Range<u64> = 200..212;
/// Bytes of such a value.
pub const LONG_LEN: usize = 8 * 1024;
/// Bytes of writes from which a transaction becomes a run here.
const BULK_LEN_MIN: usize = 20 * 1024;
/// Bytes of tail that start a fold here.
const FOLD_LEN_MIN: usize = 128 * 1024;
/// Counters into which transactions merge.
pub const COUNTERS: u64 = 6;
/// Lists that are appended to at one time.
pub const LISTS: u64 = 4;
/// After so long others are begun: each list is read whole, so it must not grow for ever.
pub const LISTS_NS: u64 = 4_000_000_000;

/// The transaction that fills the accounts, before all others.
pub const SETUP: u64 = 1;
/// The reading of everything, after all others.
pub const LAST: u64 = 2;

/// The number of a transaction, which nobody else has.
pub fn id(worker: u64, life: u64, task: u64, count: u64) -> u64 {
    assert!(worker < 1 << 10 && life < 1 << 16 && task < 1 << 6 && count < 1 << 28);
    (worker + 1) << 50 | life << 34 | task << 28 | count
}

/// Opens the database together with others.
///
/// # Errors
/// As [`Db::open_among`].
pub async fn open_among(folder: &Path, redis_url: &str) -> Result<Db> {
    let (clock, entropy) = (Arc::new(SystemClock::new()), Arc::new(SystemEntropy));
    let options = RedisOptions::at(redis_url);
    let bus = RedisBus::new(options, Arc::clone(&clock) as _, Arc::clone(&entropy) as _)?;
    let coordinator = SharedCoordinator::new(
        Arc::new(bus),
        Arc::clone(&clock) as _,
        Arc::clone(&entropy) as _,
    );
    let environment = Environment {
        clock,
        entropy,
        coordinator: Arc::new(coordinator),
        ..Environment::default()
    };
    let options = Options {
        mode: Mode::Clustered,
        ..options_alone()
    };
    Db::open_among(folder, options, environment).await
}

/// The options of one process alone.
pub fn options_alone() -> Options {
    Options {
        cache_len_max: 4 * 1024 * 1024,
        fold_len_min: FOLD_LEN_MIN,
        bounds: Bounds {
            bulk_len_min: BULK_LEN_MIN,
            ..Bounds::default()
        },
        ..Options::default()
    }
}

/// An account as it is stored: its balance, and who set it.
pub fn account_bytes(balance: i64, writer: u64) -> Vec<u8> {
    [balance.to_le_bytes(), writer.to_le_bytes()].concat()
}

/// Balance and writer of an account.
///
/// # Errors
/// [`Error::Corrupt`] where the bytes are none.
pub fn account(bytes: &[u8]) -> Result<(i64, u64)> {
    match bytes.as_chunks::<8>() {
        ([balance, writer], []) => Ok((i64::from_le_bytes(*balance), u64::from_le_bytes(*writer))),
        _ => Err(Error::corrupt(
            "an account",
            "it is not a balance and a number",
        )),
    }
}

/// Who set a register to these bytes.
///
/// # Errors
/// [`Error::Corrupt`] where nobody did.
pub fn register_writer(register: u64, bytes: &[u8]) -> Result<u64> {
    let writer = writer_of(bytes, register).map(|Id(id)| id);
    writer.ok_or_else(|| Error::corrupt(format!("register {register}"), "nobody wrote this"))
}
