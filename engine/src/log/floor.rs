//! Floors: what collection has passed (S11 and S12 of the protocol). Slots below the newest floor mean
//! nothing, whether they are there, absent, or created by a writer that slept through it all.

use std::sync::Arc;

use super::once::confirm;
use crate::base::checksum::checksum64;
use crate::base::limits::{FLOOR_LEN_MAX, NUMBER_MAX, RELOADS_MAX};
use crate::base::{Error, FloorId, ManifestId, Mutant, Position, Rare, Result};
use crate::storage::{Name, Storage};

const MAGIC: [u8; 4] = *b"ECFL";
const VERSION: u8 = 1;
const LEN: usize = 40;

/// A floor. Write-once, and durable before anything below it is deleted; floors never decrease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Floor {
    /// Slots below it are gone or going.
    pub slot: Position,
    /// Manifests below it too.
    pub manifest: ManifestId,
}

impl Floor {
    /// The object's bytes.
    pub fn encode(&self, id: FloorId) -> [u8; LEN] {
        let mut out = [0u8; LEN];
        out[0..4].copy_from_slice(&MAGIC);
        out[4] = VERSION;
        out[8..16].copy_from_slice(&id.0.to_le_bytes());
        out[16..24].copy_from_slice(&self.slot.0.to_le_bytes());
        out[24..32].copy_from_slice(&self.manifest.0.to_le_bytes());
        let sum = checksum64(&out[..32]);
        out[32..40].copy_from_slice(&sum.to_le_bytes());
        out
    }

    /// Reads floor `id`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] and [`Error::FormatTooNew`] naming the object.
    pub fn decode(id: FloorId, bytes: &[u8]) -> Result<Floor> {
        let name = Name::floor(id);
        let u64_at = |at: usize| {
            let mut array = [0u8; 8];
            array.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(array)
        };
        let whole =
            bytes.len() == LEN && bytes[0..4] == MAGIC && checksum64(&bytes[..32]) == u64_at(32);
        if !whole || u64_at(8) != id.0 {
            return Err(Error::corrupt(name, "it does not match its checksum"));
        }
        if bytes[4] > VERSION {
            return Err(Error::FormatTooNew {
                object: name.to_string(),
                found: u32::from(bytes[4]),
                known: u32::from(VERSION),
            });
        }
        if [u64_at(16), u64_at(24)]
            .iter()
            .any(|number| *number > NUMBER_MAX)
        {
            return Err(Error::corrupt(name, "it names what no database has"));
        }
        Ok(Floor {
            slot: Position(u64_at(16)),
            manifest: ManifestId(u64_at(24)),
        })
    }
}

/// The newest floor that this process knows, and the way to newer ones.
pub struct Floors {
    storage: Arc<dyn Storage>,
    id: FloorId,
    floor: Floor,
}

impl Floors {
    /// No floor known yet.
    pub fn new(storage: Arc<dyn Storage>) -> Floors {
        Floors {
            storage,
            id: FloorId(0),
            floor: Floor::default(),
        }
    }

    /// Begins at the newest floor that is listed, so that a long history is not walked through. What a
    /// stale listing leaves out is found by probing.
    ///
    /// # Errors
    /// [`Error::Corrupt`] naming the floor; what the storage refuses.
    pub async fn find(storage: Arc<dyn Storage>) -> Result<Floors> {
        let mut floors = Floors::new(storage);
        let listed = floors.storage.list(Name::FLOOR).await?;
        let mut ids: Vec<FloorId> = listed.iter().filter_map(Name::as_floor).collect();
        ids.sort_unstable();
        if let Some(id) = ids.iter().find(|id| id.0 == 0 || id.0 > NUMBER_MAX) {
            let detail = format!("floors are numbered from 1 to {NUMBER_MAX}");
            return Err(Error::corrupt(Name::floor(*id), detail));
        }
        // The newest that is durable. One that storage has lost since it was listed leaves the one before it, which is
        // to be read: taken for no floor, it would be followed by a lower one.
        for id in ids.into_iter().rev() {
            floors.id = FloorId(id.0 - 1);
            floors.probe().await?;
            if floors.id >= id {
                return Ok(floors);
            }
            assert_eq!(floors.floor, Floor::default(), "nothing was read");
            Rare::FloorListedAndGone.seen();
        }
        floors.id = FloorId(0);
        floors.probe().await?;
        Ok(floors)
    }

    /// The newest floor that is known, with its number.
    pub fn newest(&self) -> (FloorId, Floor) {
        (self.id, self.floor)
    }

    /// The newest floor there is, with its number. Reads `floor/<j+1>` until it is absent, however many
    /// floors were raised since the last call; a floor counts once it is durable.
    ///
    /// # Errors
    /// [`Error::Corrupt`] naming the floor, also where it never becomes durable; what the storage refuses.
    pub async fn probe(&mut self) -> Result<(FloorId, Floor)> {
        if Mutant::NoFloorProbe.on() {
            return Ok((self.id, self.floor));
        }
        let (known_id, known) = (self.id, self.floor);
        let mut tries = 0;
        loop {
            let next = FloorId(self.id.0 + 1);
            let name = Name::floor(next);
            let Some(bytes) = self.storage.read_at_most(&name, FLOOR_LEN_MAX).await? else {
                // Where everything is gone there is no floor either.
                self.storage.stands().await?;
                assert!(
                    self.id >= known_id,
                    "{:?} is known, {:?} was",
                    self.id,
                    known_id
                );
                assert!(
                    self.floor.slot >= known.slot && self.floor.manifest >= known.manifest,
                    "{:?} lies below {known:?}, which was known",
                    self.floor
                );
                return Ok((self.id, self.floor));
            };
            let floor = Floor::decode(next, &bytes)?;
            let confirmed = match confirm(&*self.storage, &name, &bytes).await {
                // Who only reads decides nothing by it, and makes nothing durable.
                Err(Error::ReadOnly) => true,
                confirmed => confirmed?,
            };
            if confirmed {
                if floor.slot < self.floor.slot || floor.manifest < self.floor.manifest {
                    let detail =
                        format!("{floor:?} lies below the floor before it, {:?}", self.floor);
                    return Err(Error::corrupt(name, detail));
                }
                if known_id.0 > 0 && self.id > known_id {
                    Rare::FloorsPassed.seen();
                }
                (self.id, self.floor) = (next, floor);
                tries = 0;
                continue;
            }
            // Gone again before it was durable: read it once more. An older floor must not pass for the newest.
            Rare::FloorVanished.seen();
            tries += 1;
            if tries >= RELOADS_MAX {
                return Err(Error::corrupt(name, "it does not become durable"));
            }
        }
    }

    /// Makes sure that slot `n` still means something, whether it was created, read or not found.
    ///
    /// # Errors
    /// [`Error::SnapshotTooOld`] if it lies below the floor: begin again from the manifests.
    pub async fn check(&mut self, n: Position) -> Result<()> {
        let (id, floor) = self.probe().await?;
        if n < floor.slot {
            Rare::SlotBelowFloor.seen();
            let object = format!("slot {n}, below {}", Name::floor(id));
            return Err(Error::SnapshotTooOld { object });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;

    use super::*;
    use crate::storage::MemoryStorage;

    #[test]
    fn a_floor_round_trips_and_every_flipped_bit_is_found() {
        let floor = Floor {
            slot: Position(9),
            manifest: ManifestId(2),
        };
        let bytes = floor.encode(FloorId(4));
        assert_eq!(Floor::decode(FloorId(4), &bytes).unwrap(), floor);
        assert!(Floor::decode(FloorId(5), &bytes).is_err());
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Floor::decode(FloorId(4), &flipped).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn what_lies_below_the_floor_means_nothing() {
        let storage = Arc::new(MemoryStorage::new());
        block_on(async {
            let mut floors = Floors::new(storage.clone());
            floors.check(Position(1)).await.unwrap();
            for (id, slot) in [(1, 5), (2, 8)] {
                let floor = Floor {
                    slot: Position(slot),
                    manifest: ManifestId(id),
                };
                let bytes = floor.encode(FloorId(id));
                storage
                    .create(&Name::floor(FloorId(id)), &bytes)
                    .await
                    .unwrap();
            }
            let refused = floors.check(Position(7)).await;
            assert!(matches!(refused, Err(Error::SnapshotTooOld { .. })));
            floors.check(Position(8)).await.unwrap();
            let mut found = Floors::find(storage).await.unwrap();
            assert_eq!(found.probe().await.unwrap().0, FloorId(2));
        });
    }

    #[test]
    fn a_process_that_slept_through_many_floors_finds_the_newest() {
        let storage = Arc::new(MemoryStorage::new());
        block_on(async {
            let mut asleep = Floors::new(storage.clone());
            asleep.probe().await.unwrap();
            let last = u64::from(RELOADS_MAX) * 2 + 1;
            for id in 1..=last {
                let floor = Floor {
                    slot: Position(10 * id),
                    manifest: ManifestId(id),
                };
                let bytes = floor.encode(FloorId(id));
                storage
                    .create(&Name::floor(FloorId(id)), &bytes)
                    .await
                    .unwrap();
            }
            let refused = asleep.check(Position(10 * last - 1)).await;
            assert!(matches!(refused, Err(Error::SnapshotTooOld { .. })));
            assert_eq!(asleep.newest().0, FloorId(last));
        });
    }
}
