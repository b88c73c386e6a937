//! The process that is killed: several tasks that commit, and say before and after each commit what
//! they do.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use eciton_engine::merge::States;
use eciton_engine::storage::{Access, LocalStorage};
use eciton_engine::{Committed, Db, Environment, Error, Options, Result, Store, Transaction};

use crate::line::Line;
use crate::plan::{ACCOUNTS, Action, BULK_RECORDS, BULK_VALUE_LEN, Id, OPENING_BALANCE, value};
use crate::stores::{self, Stores, key};

/// How often one transaction is tried while others are in its way.
const TRIES_MAX: u64 = 10_000;
/// Failures after which a task gives up: the medium is full, or it will not go on.
const FAILURES_MAX: u64 = 20;

/// What a worker is told.
#[derive(Clone, Debug)]
pub struct Orders {
    /// The database.
    pub folder: PathBuf,
    /// What decides what the transactions do.
    pub seed: u64,
    /// Which start of the run this is.
    pub round: u64,
    /// Tasks that write at the same time.
    pub tasks: u64,
    /// Transactions of each task.
    pub transactions: u64,
    /// Bytes of tail that start a fold.
    pub fold_len_min: usize,
    /// Acknowledges before it commits. For showing that the harness notices.
    pub hasty: bool,
    /// Ends without closing the database.
    pub abrupt: bool,
}

impl Orders {
    /// How the database is to be opened.
    pub fn options(&self) -> Options {
        Options {
            fold_len_min: self.fold_len_min,
            cache_len_max: 4 * 1024 * 1024,
            ..Options::default()
        }
    }
}

/// Opens the database and runs the tasks to their end.
///
/// # Errors
/// The database does not open, or cannot be set up.
pub async fn work(orders: Orders) -> Result<()> {
    let db = open(&orders.folder, orders.options()).await?;
    say(&Line::Open);
    let done = work_on(&db, orders).await;
    // While the lock is still held: who gets it knows that nothing more will be said.
    say(&Line::End);
    done
}

/// As one opens a local folder, which the medium stands for: what is tried is the append file.
///
/// # Errors
/// As [`Db::open`].
pub async fn open(folder: &Path, options: Options) -> Result<Db> {
    let storage = LocalStorage::open(folder, Access::ReadWrite)?.assume_local();
    Db::open_storage(Arc::new(storage), options, Environment::default()).await
}

async fn work_on(db: &Db, orders: Orders) -> Result<()> {
    let stores = Stores::create(db).await?;
    set_up(db, &stores).await?;
    let orders = Arc::new(orders);
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..orders.tasks {
        let task = Task {
            db: db.clone(),
            stores: stores.clone(),
            orders: Arc::clone(&orders),
            number,
            extra: None,
        };
        tasks.spawn(task.run());
    }
    while let Some(ended) = tasks.join_next().await {
        if let Err(failed) = ended {
            say(&Line::Bad(format!("a task ended: {failed}")));
        }
    }
    if !orders.abrupt {
        let closed = db.clone().close().await;
        closed.unwrap_or_else(|error| say(&Line::Note(format!("not closed: {error}"))));
    }
    Ok(())
}

/// Says a line; a worker that nobody listens to has nothing more to do.
fn say(line: &Line) {
    if line.say().is_err() {
        std::process::exit(1);
    }
}

/// Fills the accounts, once in the life of the database.
async fn set_up(db: &Db, stores: &Stores) -> Result<()> {
    let mut transaction = db.begin();
    let mark = key(&[Id::SETUP.0])?;
    if transaction.get(&stores.marks, &mark).await?.is_some() {
        return Ok(());
    }
    say(&Line::Begin(Id::SETUP));
    transaction.put(&stores.marks, &mark, "")?;
    for account in 0..ACCOUNTS {
        let balance = OPENING_BALANCE.to_le_bytes().to_vec();
        transaction.put(&stores.accounts, &key(&[account])?, balance)?;
    }
    told(Id::SETUP, transaction.commit().await).map(drop)
}

/// Says how a commit ended.
fn told(id: Id, done: Result<Committed>) -> Result<Committed> {
    say(&match &done {
        Ok(committed) => Line::Ok(id, committed.position.0),
        Err(error @ Error::CommitUnknown { .. }) => Line::Unknown(id, error.to_string()),
        Err(error) => Line::No(id, error.to_string()),
    });
    done
}

struct Task {
    db: Db,
    stores: Stores,
    orders: Arc<Orders>,
    number: u64,
    /// The task's extra store, where it has one.
    extra: Option<Store>,
}

impl Task {
    async fn run(mut self) {
        let mut failures = 0;
        for count in 0..self.orders.transactions {
            let id = Id::new(self.orders.round, self.number, count);
            let done = match Action::of(self.orders.seed, id) {
                Action::Audit => self.audit().await,
                Action::Extra => self.change_extra(id).await,
                action => self.commit(id, &action).await,
            };
            match done {
                Ok(()) => {}
                Err(Error::Halted { .. } | Error::CommitUnknown { .. }) => return,
                Err(error) if failures < FAILURES_MAX => {
                    failures += 1;
                    say(&Line::Note(format!("{id}: {error}")));
                    tokio::task::yield_now().await;
                }
                Err(_) => return,
            }
        }
    }

    /// Runs one transaction until nobody is in its way.
    async fn commit(&mut self, id: Id, action: &Action) -> Result<()> {
        // A task that was begun on an older database finds its store again.
        if matches!(action, Action::Set { .. }) && self.extra.is_none() {
            self.extra = self.find_extra().await?;
        }
        let hasty = self.orders.hasty;
        say(&Line::Begin(id));
        for _ in 1..TRIES_MAX {
            let mut transaction = self.db.begin();
            match self.write(&mut transaction, id, action).await {
                Ok(()) => {}
                Err(error) => return told(id, Err(error)).map(drop),
            }
            if hasty {
                say(&Line::Ok(id, 0));
            }
            match transaction.commit().await {
                Err(Error::Conflict { .. } | Error::TooOld { .. }) => {}
                _ if hasty => return Ok(()),
                done => return told(id, done).map(drop),
            }
        }
        let what = format!("{id} found someone in its way {TRIES_MAX} times");
        say(&Line::Bad(what));
        Ok(())
    }

    async fn write(&self, tx: &mut Transaction, id: Id, action: &Action) -> Result<()> {
        let stores = &self.stores;
        tx.put(&stores.marks, &key(&[id.0])?, "")?;
        match action {
            Action::Transfer { from, to, amount } => {
                for (account, change) in [(*from, -amount), (*to, *amount)] {
                    let key = key(&[account])?;
                    let before = tx.get(&stores.accounts, &key).await?.unwrap_or_default();
                    let after = stores::balance(&before)? + change;
                    tx.put(&stores.accounts, &key, after.to_le_bytes().to_vec())?;
                }
            }
            Action::Append { list } => {
                let key = key(&[*list])?;
                let before = tx.get(&stores.lists, &key).await?.unwrap_or_default();
                let mut all = before.to_vec();
                all.extend_from_slice(&id.0.to_le_bytes());
                tx.put(&stores.lists, &key, all)?;
            }
            Action::Add { parts } => {
                for (counter, amount) in parts {
                    let mut states = States::new(&stores.counters.schema().columns);
                    states[0].add_rows(1);
                    states[1].add_i64(*amount);
                    tx.merge(&stores.counters, &key(&[*counter])?, &states.to_operand()?)?;
                }
            }
            Action::Set { parts, blind } => self.set(tx, id, parts, *blind)?,
            Action::Bulk => {
                for index in 0..BULK_RECORDS {
                    let value = value(id, index, BULK_VALUE_LEN);
                    tx.put(&stores.bulk, &key(&[self.number, index])?, value)?;
                }
            }
            Action::Extra | Action::Audit => {}
        }
        Ok(())
    }

    fn set(
        &self,
        tx: &mut Transaction,
        id: Id,
        parts: &[(u64, Option<usize>)],
        blind: bool,
    ) -> Result<()> {
        let registers = &self.stores.registers;
        for (register, len) in parts {
            let key = key(&[self.number, *register])?;
            match len {
                None => tx.delete(registers, &key)?,
                Some(len) if blind => {
                    tx.blind_put(registers, &key, value(id, *register, *len))?;
                }
                Some(len) => tx.put(registers, &key, value(id, *register, *len))?,
            }
        }
        if let Some(extra) = &self.extra {
            tx.put(extra, &key(&[id.0])?, "")?;
        }
        Ok(())
    }

    async fn find_extra(&self) -> Result<Option<Store>> {
        let is_own = |store: &Store| {
            stores::extra_id(store.name()).is_some_and(|id| id.task() == self.number)
        };
        Ok(self.db.stores().await?.into_iter().find(is_own))
    }

    async fn change_extra(&mut self, id: Id) -> Result<()> {
        self.extra = self.find_extra().await?;
        let creates = self.extra.is_none();
        say(&Line::Extra(id, creates));
        say(&Line::Begin(id));
        if self.orders.hasty {
            say(&Line::Ok(id, 0));
        }
        let done = match self.extra.take() {
            Some(store) => self.db.drop_store(store.name()).await.map(drop),
            None => {
                let name = stores::extra_name(id);
                let created = self.db.create_store(&name, stores::plain()).await;
                created.map(|store| self.extra = Some(store))
            }
        };
        let txid = eciton_engine::TxId(u128::from(id.0));
        let position = self.db.snapshot().position();
        if self.orders.hasty {
            return done;
        }
        told(id, done.map(|()| Committed { txid, position })).map(drop)
    }

    /// Every state that can be seen has all the money.
    async fn audit(&self) -> Result<()> {
        let all = stores::balances(&self.db.snapshot(), &self.stores.accounts).await?;
        let total: i64 = all.iter().map(|(_, balance)| balance).sum();
        let expected = OPENING_BALANCE * i64::try_from(ACCOUNTS).unwrap_or(0);
        if total != expected {
            let what = format!("the accounts hold {total} instead of {expected}: {all:?}");
            say(&Line::Bad(what));
        }
        Ok(())
    }
}
