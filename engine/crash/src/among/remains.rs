//! What is there before the first process begins, and after the last has closed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use eciton_engine::{Db, Key, Result, ScanRange, Snapshot, Store, verify_folder};

use super::cells::{self, ACCOUNTS, OPENING_BALANCE, SETUP};
use super::journal::now_ns;
use crate::plan::Id;
use crate::stores::{self, Stores, key};

/// Everything that the database holds in the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remains {
    /// When it was begun to be read, on the machine's clock.
    pub from_ns: u64,
    /// The slot that it was read at.
    pub position: u64,
    /// The numbers of all transactions that wrote.
    pub marks: BTreeSet<u64>,
    /// Account to balance and who set it.
    pub accounts: BTreeMap<u64, (i64, u64)>,
    /// Register to who set it.
    pub registers: BTreeMap<u64, u64>,
    /// List to the numbers in it.
    pub lists: BTreeMap<u64, Vec<u64>>,
    /// Counter to rows and sum.
    pub counters: BTreeMap<u64, (i64, i64)>,
    /// What `db verify` says is broken, before and after this opening.
    pub broken: Vec<String>,
}

/// Creates the database and fills the accounts, alone. When that began and was done, on the machine's clock,
/// and the slot.
///
/// # Errors
/// As [`Db::open`] and [`Transaction::commit`](eciton_engine::Transaction::commit).
pub async fn set_up(folder: &Path) -> Result<(u64, u64, u64)> {
    let from_ns = now_ns();
    let db = Db::open(folder, cells::options_alone()).await?;
    let stores = Stores::create(&db).await?;
    let mut tx = db.begin();
    tx.put(&stores.marks, &key(&[SETUP])?, "")?;
    for account in 0..ACCOUNTS {
        let bytes = cells::account_bytes(OPENING_BALANCE, SETUP);
        tx.put(&stores.accounts, &key(&[account])?, bytes)?;
    }
    let committed = tx.commit().await?;
    db.close().await?;
    Ok((from_ns, now_ns(), committed.position.0))
}

impl Remains {
    /// Verifies the folder, opens it alone, reads all of it, and verifies it again.
    ///
    /// # Errors
    /// It does not open, or cannot be read.
    pub async fn read(folder: &Path) -> Result<Remains> {
        let mut broken = verify(folder, "as it was left").await?;
        let from_ns = now_ns();
        let db = Db::open(folder, cells::options_alone()).await?;
        let stores = Stores::create(&db).await?;
        let snapshot = db.snapshot();
        let mut remains = Remains {
            from_ns,
            position: snapshot.position().0,
            ..Remains::default()
        };
        for (mark, _, _) in all(&snapshot, &stores.marks).await? {
            remains.marks.insert(mark);
        }
        for (account, _, bytes) in all(&snapshot, &stores.accounts).await? {
            remains.accounts.insert(account, cells::account(&bytes)?);
        }
        for (register, _, bytes) in all(&snapshot, &stores.registers).await? {
            let writer = cells::register_writer(register, &bytes)?;
            remains.registers.insert(register, writer);
        }
        for (list, _, bytes) in all(&snapshot, &stores.lists).await? {
            let numbers = stores::list(&bytes)?.into_iter().map(|Id(id)| id);
            remains.lists.insert(list, numbers.collect());
        }
        for (counter, key, bytes) in all(&snapshot, &stores.counters).await? {
            let counted = stores::counted(&key, &bytes)?;
            remains.counters.insert(counter, counted);
        }
        db.close().await?;
        broken.extend(verify(folder, "after opening and closing").await?);
        remains.broken = broken;
        Ok(remains)
    }
}

/// Everything in a store whose keys are single numbers.
async fn all(snapshot: &Snapshot, store: &Store) -> Result<Vec<(u64, Key, Vec<u8>)>> {
    let mut scan = snapshot.scan(store, &ScanRange::all());
    let mut all = Vec::new();
    while let Some(record) = scan.next().await? {
        let number = stores::numbers(&record.key)?.first().copied();
        all.push((
            number.unwrap_or_default(),
            record.key,
            record.value.to_vec(),
        ));
    }
    Ok(all)
}

async fn verify(folder: &Path, when: &str) -> Result<Vec<String>> {
    let report = verify_folder(folder, &|_| {}).await?;
    let broken = report.broken.into_iter();
    let text = broken.map(|one| format!("{when}: {}: {}", one.object, one.detail));
    Ok(text.collect())
}
