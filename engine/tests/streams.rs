//! Streams against `Vec<u8>`: random edits, reopenings, folds, crashes, power losses; what conflicts and what
//! does not; what an edit costs; what proofreading finds.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::support::{Deferred, Dice, environment};
use bytes::Bytes;
use eciton_engine::base::entropy::SeededEntropy;
use eciton_engine::base::limits::STREAM_CHUNK_LEN_MAX;
use eciton_engine::base::{Bounds, Datum, Key, Result};
use eciton_engine::db::{Db, Options, ScanRange, Snapshot, Store, StoreSchema, verify};
use eciton_engine::storage::MemoryStorage;
use futures::StreamExt;
use futures::executor::block_on;

const SEEDS: u64 = 12;
const STEPS: u64 = 50;
const KEYS: u64 = 3;
const CHUNK: u64 = STREAM_CHUNK_LEN_MAX as u64;
/// Bytes beyond which a stream of the model is cut again.
const LEN_MAX: u64 = 6 * CHUNK;

type Streams = BTreeMap<u64, Vec<u8>>;

/// What the database should hold: streams, and what the record under a stream's key says of it.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    streams: Streams,
    records: BTreeMap<u64, String>,
}

fn key(number: u64) -> Key {
    // Two keys of which one begins with the other.
    let fields: &[Datum] = match number {
        0 => &[Datum::Int(7)],
        1 => &[Datum::Int(7), Datum::Int(7)],
        _ => &[Datum::Str("\u{0}\u{1}".to_owned())],
    };
    Key::from_datums(fields).unwrap()
}

struct Run {
    dice: Dice,
    storage: MemoryStorage,
    spawner: Arc<Deferred>,
    db: Db,
    store: Store,
    model: Model,
    /// The model with the transaction that a crash interrupted.
    perhaps: Option<Model>,
}

async fn open(storage: &MemoryStorage, dice: &Dice) -> Result<(Db, Arc<Deferred>)> {
    let (environment, spawner) = environment(dice.next());
    let options = Options {
        fold_len_min: 256 * 1024,
        cache_len_max: 256 * 1024,
        bounds: Bounds {
            // Small, so that spills and bulk commits are common.
            bulk_len_min: if dice.below(2) == 0 { 1 << 20 } else { 4 << 20 },
            spill_len_min: if dice.below(2) == 0 {
                1 << 20
            } else {
                32 << 20
            },
            ..Bounds::default()
        },
        ..Options::default()
    };
    let db = Db::open_storage(Arc::new(storage.clone()), options, environment).await?;
    Ok((db, spawner))
}

impl Run {
    async fn begin(seed: u64) -> Run {
        let dice = Dice::new(seed);
        let storage = MemoryStorage::new();
        let (db, spawner) = open(&storage, &dice).await.unwrap();
        let store = db.create_store("films", StoreSchema::default()).await;
        Run {
            dice,
            storage,
            spawner,
            db,
            store: store.unwrap(),
            model: Model::default(),
            perhaps: None,
        }
    }

    async fn step(&mut self) {
        match self.dice.below(20) {
            0 => drop(self.db.fold().await.unwrap()),
            1 => self.spawner.run().await,
            2 => self.reopen(true).await,
            3 => self.reopen(false).await,
            4 | 5 => self.crash().await,
            6 => drop(self.db.collect().await.unwrap()),
            _ => self.transact().await.unwrap(),
        }
    }

    async fn transact(&mut self) -> Result<()> {
        let mut model = self.model.clone();
        let mut transaction = self.db.begin();
        for _ in 0..=self.dice.below(4) {
            let number = self.dice.below(KEYS);
            let mut writer = transaction.stream(&self.store, &key(number)).await?;
            assert_eq!(writer.exists(), model.streams.contains_key(&number));
            for _ in 0..=self.dice.below(4) {
                self.edit(&mut writer, &mut model.streams, number).await?;
            }
            // The record under the key says how long the stream is: they are committed together.
            let record = writer.len().to_string();
            transaction.put(&self.store, &key(number), record.clone())?;
            model.records.insert(number, record);
        }
        if self.dice.below(8) == 0 {
            return Ok(()); // dropped: nothing of it may be seen
        }
        self.perhaps = Some(model.clone());
        transaction.commit().await?;
        self.model = model;
        self.perhaps = None;
        Ok(())
    }

    async fn edit(
        &self,
        writer: &mut eciton_engine::db::StreamWriter<'_>,
        streams: &mut Streams,
        number: u64,
    ) -> Result<()> {
        let bytes = streams.get(&number).cloned().unwrap_or_default();
        let mut bytes = bytes;
        let len = bytes.len() as u64;
        let at = self.offset(len);
        let to = at + (self.offset(len - at)).min(len - at);
        let data = self.data();
        let range = at as usize..to as usize;
        match self.dice.below(9) {
            0 | 1 => {
                writer.append(&data).await?;
                bytes.extend_from_slice(&data);
            }
            2 => {
                writer.write_at(at, &data).await?;
                let end = bytes.len().min(at as usize + data.len());
                bytes.splice(at as usize..end, data);
            }
            3 => {
                writer.insert_at(at, &data).await?;
                bytes.splice(at as usize..at as usize, data);
            }
            4 => {
                writer.cut(at..to).await?;
                bytes.drain(range);
            }
            5 => {
                writer.splice(at..to, &data).await?;
                bytes.splice(range, data);
            }
            6 if self.dice.below(4) == 0 => {
                writer.delete().await?;
                assert!(!writer.exists() && writer.is_empty());
                streams.remove(&number);
                return Ok(());
            }
            7 => {
                let pieces: Vec<_> = data.chunks(97_003).map(Bytes::copy_from_slice).collect();
                let source = futures::stream::iter(pieces).map(Ok);
                assert_eq!(writer.append_from(source).await?, data.len() as u64);
                bytes.extend_from_slice(&data);
            }
            _ => {
                writer.truncate(at.max(len / 2)).await?;
                bytes.truncate(at.max(len / 2) as usize);
            }
        }
        if bytes.len() as u64 > LEN_MAX {
            writer.cut(CHUNK / 3..len).await?;
            bytes.drain(CHUNK as usize / 3..len as usize);
        }
        assert_eq!(writer.len(), bytes.len() as u64);
        let at = self.offset(bytes.len() as u64);
        let mut buffer = vec![0; self.dice.below(2 * CHUNK) as usize];
        let read = writer.read_at(at, &mut buffer).await?;
        let expected = &bytes[at as usize..];
        let expected = &expected[..expected.len().min(buffer.len())];
        assert!(buffer[..read] == *expected, "bytes from {at} on differ");
        streams.insert(number, bytes);
        Ok(())
    }

    /// An offset up to `len`, often one where chunks begin or end.
    fn offset(&self, len: u64) -> u64 {
        let offset = match self.dice.below(6) {
            0 => 0,
            1 => len,
            2 => self.dice.below(8) * CHUNK,
            3 => (self.dice.below(8) * CHUNK / 2 + self.dice.below(3)).saturating_sub(1),
            _ => self.dice.below(len + 1),
        };
        offset.min(len)
    }

    fn data(&self) -> Vec<u8> {
        let len = match self.dice.below(8) {
            0 => 0,
            1 => CHUNK + self.dice.below(3) - 1,
            2 => self.dice.below(3 * CHUNK),
            3 => self.dice.below(CHUNK),
            _ => self.dice.below(3000),
        };
        let salt = self.dice.next();
        let byte = |i: u64| (i.wrapping_mul(salt | 1) >> 56) as u8;
        (0..len).map(byte).collect()
    }

    /// Closes or just lets go, and opens again.
    async fn reopen(&mut self, close: bool) {
        self.spawner.run().await;
        let (storage, dice) = (MemoryStorage::new(), Dice::new(1));
        let (db, spawner) = open(&storage, &dice).await.unwrap();
        let before = std::mem::replace(&mut self.db, db);
        if close {
            before.close().await.unwrap();
        } else {
            drop(before);
        }
        self.spawner = spawner;
        self.open_and_check().await;
    }

    /// Fails at a random operation in the middle of some transactions and folds, then loses power.
    async fn crash(&mut self) {
        let after = self.dice.below(60);
        self.storage.crash_after(after, self.dice.next());
        while !self.storage.is_crashed() {
            let result = match self.dice.below(6) {
                0 => self.db.fold().await.map(drop),
                1 => {
                    self.spawner.run().await;
                    Ok(())
                }
                _ => self.transact().await,
            };
            assert!(result.is_ok() || self.storage.is_crashed(), "{result:?}");
        }
        self.spawner.clear();
        let lost = SeededEntropy::new(self.dice.next());
        self.storage = if self.dice.below(3) == 0 {
            self.storage.restart()
        } else {
            self.storage.power_loss(&lost)
        };
        self.open_and_check().await;
    }

    async fn open_and_check(&mut self) {
        let (db, spawner) = open(&self.storage, &self.dice).await.unwrap();
        (self.db, self.spawner) = (db, spawner);
        self.store = self.db.store("films").await.unwrap().unwrap();
        let found = read(&self.db.snapshot(), &self.store).await.unwrap();
        match self.perhaps.take() {
            Some(perhaps) if found == perhaps => self.model = perhaps,
            _ => assert!(
                found == self.model,
                "the streams are not those of the model"
            ),
        }
    }

    async fn check(&self) {
        let found = read(&self.db.snapshot(), &self.store).await.unwrap();
        assert!(
            found == self.model,
            "the streams are not those of the model"
        );
        let storage = Arc::new(self.storage.read_only());
        let report = verify(storage, &|_| {}).await.unwrap();
        assert_eq!(report.broken, []);
        assert_eq!(report.streams, self.model.streams.len() as u64);
        let len: usize = self.model.streams.values().map(Vec::len).sum();
        assert_eq!(report.streams_len, len as u64);
    }
}

/// Everything, each stream read in two ways.
async fn read(snapshot: &Snapshot, store: &Store) -> Result<Model> {
    let mut model = Model::default();
    let numbers: BTreeMap<Key, u64> = (0..KEYS).map(|number| (key(number), number)).collect();
    let mut keys = snapshot.streams(store);
    while let Some(key) = keys.next().await? {
        let mut stream = snapshot.stream(store, &key).await?.unwrap();
        let mut bytes = vec![0; stream.len() as usize + 1];
        assert_eq!(stream.read_at(0, &mut bytes).await? as u64, stream.len());
        bytes.pop();
        let (mut source, mut chunks) = (Box::pin(stream.chunks(0).into_source()), Vec::new());
        while let Some(chunk) = source.next().await {
            assert!(!chunk.as_ref().unwrap().is_empty());
            chunks.extend_from_slice(&chunk?);
        }
        assert!(chunks == bytes, "chunks differ from what is read at once");
        model.streams.insert(numbers[&key], bytes);
    }
    let mut scan = snapshot.scan(store, &ScanRange::all());
    while let Some(record) = scan.next().await? {
        let text = String::from_utf8(record.value.to_vec()).unwrap();
        model.records.insert(numbers[&record.key], text);
    }
    Ok(model)
}

#[test]
fn streams_are_what_a_vector_would_be() {
    for seed in crate::support::seeds(SEEDS) {
        let outcome = std::panic::catch_unwind(|| {
            block_on(async {
                let mut run = Run::begin(seed).await;
                for _ in 0..STEPS {
                    run.step().await;
                }
                run.check().await;
            });
        });
        if let Err(cause) = outcome {
            eprintln!("failed with seed {seed}; ECITON_SEED={seed} repeats it");
            std::panic::resume_unwind(cause);
        }
    }
}
