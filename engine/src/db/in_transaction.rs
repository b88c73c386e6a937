//! Stores found, created and dropped within a transaction: together with whatever else it does, or not at all.

use super::catalog;
use crate::base::Result;
use crate::txn::{Store, StoreSchema, Transaction};

impl Transaction {
    /// Finds a store, and relies on what was found: the transaction conflicts with whoever creates or drops a store of
    /// this name meanwhile. `None` if there is none.
    ///
    /// # Errors
    /// As [`Transaction::get`].
    pub async fn store(&mut self, name: &str) -> Result<Option<Store>> {
        catalog::find_in(self, name).await
    }

    /// Creates a store when this transaction commits, or returns the one of that name if it is equal. The handle can be
    /// used at once, in this transaction.
    ///
    /// # Errors
    /// As [`Db::create_store`](super::Db::create_store), without those of committing.
    pub async fn create_store(&mut self, name: &str, schema: &StoreSchema) -> Result<Store> {
        catalog::check_name(name)?;
        catalog::check_schema(schema)?;
        catalog::create(self, name, schema, &mut (0..0), 1).await
    }

    /// Drops a store with everything in it when this transaction commits; `false` if there is none. A store of the same
    /// name that is created afterwards, even in this transaction, is another one: it has another number.
    ///
    /// # Errors
    /// As [`Transaction::get`].
    pub async fn drop_store(&mut self, name: &str) -> Result<bool> {
        catalog::drop_store(self, name).await
    }
}
