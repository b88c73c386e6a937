//! Transactions that run again where they conflict.

use super::database::Db;
use crate::base::limits::RETRIES_MAX;
use crate::base::{Action, Error, Result};
use crate::txn::{Committed, Transaction, Turn};

/// One change, as often as it takes until it commits: see [`Db::retry`].
pub struct Retry<'a> {
    db: &'a Db,
    turn: Option<Turn<'a>>,
    tries: u32,
}

impl Db {
    /// Begins a change that is made again, on the newest state, where it loses against others.
    ///
    /// Those of this process that have conflicted over the same key run one at a time, in the order in which they
    /// lost, so that many clients of one key do not keep each other from committing. A change that can be said as
    /// a merge, or that needs no read, is better written with [`Transaction::merge`] or
    /// [`Transaction::blind_put`]: those never conflict.
    ///
    /// ```
    /// # use eciton_engine::base::{Key, Result};
    /// # use eciton_engine::db::{Db, Options, StoreSchema};
    /// # async fn example(folder: &std::path::Path) -> Result<()> {
    /// # let db = Db::open(folder, Options::default()).await?;
    /// # let visits = db.create_store("visits", StoreSchema::default()).await?;
    /// # let key = Key::parse_json("\"alice\"")?;
    /// let mut retry = db.retry();
    /// let count = loop {
    ///     let mut transaction = retry.begin();
    ///     let before = transaction.get(&visits, &key).await?;
    ///     let count = before.map_or(0, |text| String::from_utf8_lossy(&text).parse().unwrap_or(0)) + 1;
    ///     transaction.put(&visits, &key, count.to_string())?;
    ///     if retry.commit(transaction).await?.is_some() {
    ///         break count;
    ///     }
    /// };
    /// assert_eq!(count, 1);
    /// # drop(retry);
    /// # db.close().await
    /// # }
    /// # let folder = tempfile::tempdir().unwrap();
    /// # tokio::runtime::Runtime::new().unwrap().block_on(example(folder.path())).unwrap();
    /// ```
    pub fn retry(&self) -> Retry<'_> {
        Retry {
            db: self,
            turn: None,
            tries: 0,
        }
    }
}

impl Retry<'_> {
    /// Begins the next try, on the state of this moment.
    pub fn begin(&self) -> Transaction {
        self.db.begin()
    }

    /// How many tries have lost.
    pub fn lost_tries(&self) -> u32 {
        self.tries
    }

    /// Commits, durably and visibly to whoever begins afterwards; `None` where that lost against others and nothing
    /// was written: then it is the next try's turn.
    ///
    /// # Errors
    /// As [`Transaction::commit`], with an action other than [`Action::Retry`]; the last such error after
    /// [`RETRIES_MAX`] tries.
    pub async fn commit(&mut self, transaction: Transaction) -> Result<Option<Committed>> {
        match transaction.commit().await {
            Ok(committed) => Ok(Some(committed)),
            Err(error) => self.lost(error).await.map(|()| None),
        }
    }

    /// Waits until it is the next try's turn, after this error of a read or a commit.
    ///
    /// # Errors
    /// As [`Retry::commit`].
    pub async fn lost(&mut self, error: Error) -> Result<()> {
        self.tries += 1;
        if error.action() != Action::Retry || self.tries >= RETRIES_MAX {
            return Err(error);
        }
        match &error {
            Error::Conflict { what, .. } => {
                self.turn = Some(self.db.turns().turn(what, self.turn.take()).await);
                Ok(())
            }
            _ => self.db.refresh().await,
        }
    }
}
