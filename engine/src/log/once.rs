//! Write-once objects on storage that several processes share: creating one so that it is known who
//! won, and making sure that a name is durable and still the same (S6 and I1 of the protocol).

use crate::base::{Rare, Result};
use crate::storage::{Created, Name, Storage, head, is_head_of};

/// Who an object belongs to after a create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The bytes given stand under the name.
    Us,
    /// Other bytes do: another process was first.
    Others,
    /// Nothing does, although the create said otherwise: storage has restarted and lost the name, or
    /// it was collected.
    Nobody,
}

/// Creates `name` with `bytes`. After anything but plain success the name is read back and compared:
/// a lost reply is not a lost race.
///
/// # Errors
/// What the storage refuses, where nothing stands under the name: the object may still appear later.
pub async fn create_once(storage: &dyn Storage, name: &Name, bytes: &[u8]) -> Result<Owner> {
    assert!(
        !bytes.is_empty(),
        "{name}: an object without bytes is told from no other"
    );
    let created = storage.create(name, bytes).await;
    match created {
        Ok(Created::New) => Ok(Owner::Us),
        Ok(Created::Exists) => {
            let owner = owner(storage, name, bytes).await;
            if matches!(owner, Ok(Owner::Us)) {
                Rare::ExistsWasOurs.seen();
            }
            owner
        }
        Err(error) => match owner(storage, name, bytes).await {
            Ok(Owner::Nobody) | Err(_) => Err(error),
            Ok(owner) => {
                if owner == Owner::Us {
                    Rare::FailedCreateWon.seen();
                }
                Ok(owner)
            }
        },
    }
}

async fn owner(storage: &dyn Storage, name: &Name, bytes: &[u8]) -> Result<Owner> {
    Ok(match head(storage, name).await? {
        None => Owner::Nobody,
        Some(found) if is_head_of(&found, bytes) => Owner::Us,
        Some(_) => Owner::Others,
    })
}

/// As [`Storage::confirm`].
///
/// # Errors
/// What the storage refuses. After a sync that failed this process must not write any more.
pub async fn confirm(storage: &dyn Storage, name: &Name, bytes: &[u8]) -> Result<bool> {
    storage.confirm(name, bytes).await
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;

    use super::*;
    use crate::base::entropy::SeededEntropy;
    use crate::base::{FloorId, Generation, Position};
    use crate::storage::{MemoryStorage, Operation};

    fn name() -> Name {
        Name::log(Generation(0), Position(1))
    }

    #[test]
    fn a_lost_race_is_told_from_a_lost_reply() {
        let storage = MemoryStorage::new();
        block_on(async {
            let create = async |bytes: &[u8]| create_once(&storage, &name(), bytes).await;
            assert_eq!(create(b"mine").await.unwrap(), Owner::Us);
            assert_eq!(create(b"mine").await.unwrap(), Owner::Us);
            assert_eq!(create(b"theirs").await.unwrap(), Owner::Others);
            storage.inject(Operation::Create, 5);
            assert_eq!(create(b"mine").await.unwrap(), Owner::Us);
            storage.inject(Operation::Create, 5);
            let other = Name::floor(FloorId(1));
            assert!(create_once(&storage, &other, b"x").await.is_err());
        });
    }

    #[test]
    fn a_name_counts_only_while_the_same_object_has_it() {
        let storage = MemoryStorage::new();
        block_on(async {
            storage.create(&name(), b"mine").await.unwrap();
            assert!(confirm(&storage, &name(), b"mine").await.unwrap());
            assert!(!confirm(&storage, &name(), b"theirs").await.unwrap());
            assert!(storage.durable(&name()).is_some());
            storage.lose_power(&SeededEntropy::new(1));
            assert!(confirm(&storage, &name(), b"mine").await.unwrap());
            storage.remove(&name()).await.unwrap();
            assert!(!confirm(&storage, &name(), b"mine").await.unwrap());
        });
    }
}
