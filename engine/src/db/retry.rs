//! Transactions that run again where they conflict.

use super::database::Db;
use crate::base::limits::RETRIES_MAX;
use crate::base::{Action, Error, Result};
use crate::commit::{Settled, Ticket};
use crate::txn::{Committed, Transaction, Turned};

/// One change, as often as it takes until it commits: see [`Db::retry`].
pub struct Retry<'a> {
    db: &'a Db,
    /// Its place among those of this process that have lost, or are expected to.
    ticket: Option<Ticket>,
    /// It does not fit into a turn: it runs by itself.
    is_alone: bool,
    tries: u32,
}

impl Db {
    /// Begins a change that is made again, on the newest state, where it loses against others.
    ///
    /// Changes of this process that have lost take turns, in the order in which they first lost: each runs on what
    /// those before it are about to commit, and all of them go into one slot. So clients of one key do not keep each
    /// other from committing, and share the cost of making it durable. Where most changes lose, the next ones wait for
    /// a turn at once. A change holds the turn from [`Retry::begin`] to [`Retry::commit`], so it should do nothing
    /// slow in between; one that takes longer than a few milliseconds loses its turn and runs by itself.
    ///
    /// **What a try has read is certain only once [`Retry::commit`] has returned a commit, also where the try wrote
    /// nothing**: in a turn it may be what another change is about to commit, and that may fail. A decision against
    /// writing is therefore committed, too, before anybody is told of it.
    ///
    /// A change that can be said as a merge, or that needs no read, is better written with
    /// [`Transaction::merge`] or [`Transaction::blind_put`]: those never conflict.
    ///
    /// ```
    /// # use eciton_engine::{Db, Key, Options, Result, StoreSchema};
    /// # async fn example(folder: &std::path::Path) -> Result<()> {
    /// # let db = Db::open(folder, Options::default()).await?;
    /// # let visits = db.create_store("visits", StoreSchema::default()).await?;
    /// # let key = Key::parse_json("\"alice\"")?;
    /// let mut retry = db.retry();
    /// let count = loop {
    ///     let mut transaction = retry.begin().await?;
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
            ticket: None,
            is_alone: false,
            tries: 0,
        }
    }
}

impl Retry<'_> {
    /// Begins the next try: on the state of this moment, or, after it has lost, when it is its turn.
    ///
    /// # Errors
    /// What the storage refuses, and why folding fails where commits wait for it; nothing was written.
    pub async fn begin(&mut self) -> Result<Transaction> {
        let Ok(upkeep) = self.db.upkeep() else {
            return Ok(self.db.begin());
        };
        if self.tries == 0 && self.ticket.is_none() {
            self.ticket = upkeep.ticket_if_contended();
        }
        let ticket = self.ticket.as_mut().filter(|_| !self.is_alone);
        let turn = match ticket {
            Some(ticket) => upkeep.turn(ticket).await?,
            None => None,
        };
        Ok(match turn {
            Some(turn) => self.db.begin_in_turn(turn),
            None => self.db.begin(),
        })
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
        let (txid, read_at) = (transaction.txid(), transaction.position());
        let is_in_turn = transaction.is_in_turn();
        let is_first = self.tries == 0 && self.ticket.is_none();
        let turned = transaction.commit_in_turn().await;
        if is_first && let Ok(upkeep) = self.db.upkeep() {
            upkeep.tried(matches!(turned, Err(Error::Conflict { .. })));
        }
        match turned {
            Ok(Turned::Committed(committed)) => Ok(Some(committed)),
            Ok(Turned::Again(error)) => self.lost(error).await.map(|()| None),
            Ok(Turned::Unfit(error)) => {
                self.is_alone = true;
                self.lost(error).await.map(|()| None)
            }
            // Others do not know of it, so nobody but this process finds out.
            Err(error @ Error::CommitUnknown { .. }) if is_in_turn && self.db.is_shared() => {
                match self.db.settle(txid, read_at).await {
                    Ok(Settled::Committed(position)) => Ok(Some(Committed { txid, position })),
                    Ok(Settled::Cancelled) => {
                        let what = format!("a slot after {read_at} that could not be written");
                        let error = Error::Conflict { what, read_at };
                        self.lost(error).await.map(|()| None)
                    }
                    Err(_) => Err(error),
                }
            }
            Err(error) => self.lost(error).await.map(|()| None),
        }
    }

    /// Gets ready for the next try, after this error of a read or a commit.
    ///
    /// # Errors
    /// As [`Retry::commit`].
    pub async fn lost(&mut self, error: Error) -> Result<()> {
        self.tries += 1;
        if error.action() != Action::Retry || self.tries >= RETRIES_MAX {
            return Err(error);
        }
        let is_conflict = matches!(error, Error::Conflict { .. });
        if !is_conflict {
            return self.db.refresh().await;
        }
        if self.ticket.is_none() {
            self.ticket = Some(self.db.upkeep()?.ticket());
        }
        Ok(())
    }
}
