//! Verifying finds every kind of damage that a stream can have while all records below it are whole.

use std::sync::Arc;

use futures::executor::block_on;

use super::{Db, Environment, Options, Store, StoreSchema, verify};
use crate::base::limits::STREAM_CHUNK_LEN_MAX;
use crate::base::{Error, Key, Op};
use crate::storage::MemoryStorage;
use crate::txn::{StreamPart, StreamPlace};

/// Chunks of the stream: so many that its tree has nodes.
const CHUNKS: u64 = 200;

struct Scene {
    storage: MemoryStorage,
    db: Db,
    store: Store,
    key: Key,
    place: StreamPlace,
}

impl Scene {
    async fn new() -> Scene {
        let storage = MemoryStorage::new();
        let (options, environment) = (Options::default(), Environment::default());
        let db = Db::open_storage(Arc::new(storage.clone()), options, environment);
        let db = db.await.unwrap();
        let store = db.create_store("films", StoreSchema::default());
        let (store, key) = (
            store.await.unwrap(),
            Key::from_datums(&["a".into()]).unwrap(),
        );
        let mut transaction = db.begin();
        let mut stream = transaction.stream(&store, &key).await.unwrap();
        let bytes = vec![7; STREAM_CHUNK_LEN_MAX];
        for _ in 0..CHUNKS {
            stream
                .append(&bytes[..STREAM_CHUNK_LEN_MAX / 2])
                .await
                .unwrap();
        }
        transaction.commit().await.unwrap();
        let place = StreamPlace::new(store.id(), &key).unwrap();
        Scene {
            storage,
            db,
            store,
            key,
            place,
        }
    }

    async fn write(&self, part: StreamPart, op: Op) {
        let mut transaction = self.db.begin();
        transaction.write_full(self.place.full(part), &op).unwrap();
        transaction.commit().await.unwrap();
    }

    async fn found(&self) -> Vec<String> {
        let storage = Arc::new(self.storage.read_only());
        let report = verify(storage, &|_| {}).await.unwrap();
        let broken = report.broken.into_iter();
        broken
            .map(|broken| format!("{}: {}", broken.object, broken.detail))
            .collect()
    }

    /// Everything of the stream, as a reader gets it.
    async fn read(&self) -> Result<u64, Error> {
        let Some(stream) = self.db.snapshot().stream(&self.store, &self.key).await? else {
            return Ok(0);
        };
        let (mut chunks, mut len) = (stream.chunks(0), 0);
        while let Some(chunk) = chunks.next().await? {
            len += chunk.len() as u64;
        }
        Ok(len)
    }
}

#[test]
fn every_kind_of_damage_is_found_and_named() {
    block_on(async {
        let mut ids = Vec::new();
        let scene = Scene::new().await;
        assert_eq!(scene.found().await, Vec::<String>::new());
        for id in 0..3 * CHUNKS {
            for part in [StreamPart::Node(id), StreamPart::Chunk(id)] {
                let full = scene.place.full(part);
                if scene.db.snapshot().get_full(&full).await.unwrap().is_some() {
                    ids.push(part);
                }
            }
        }
        let of = |is: fn(&StreamPart) -> bool| ids.iter().copied().filter(is).collect::<Vec<_>>();
        let nodes = of(|part| matches!(part, StreamPart::Node(_)));
        let chunks = of(|part| matches!(part, StreamPart::Chunk(_)));
        assert!(nodes.len() > 1 && chunks.len() as u64 == CHUNKS, "{ids:?}");
        let put = |bytes: &'static [u8]| Op::Put(bytes.into());
        // What is written, what verifying says, whether a reader meets it.
        let cases = [
            (chunks[5], Op::Delete, "is missing", true),
            (chunks[5], put(b"short"), "has 5 bytes, expected", true),
            (
                StreamPart::Chunk(9999),
                put(b"extra"),
                "nothing refers to its chunk 9999",
                false,
            ),
            (nodes[0], Op::Delete, "its node", true),
            (nodes[0], put(b"\x00\x00"), "is not the one listed", true),
            (nodes[0], put(b"\xff\xff"), "more levels", true),
            (
                StreamPart::Node(9999),
                put(b"\x00\x00"),
                "nothing refers to its node 9999",
                false,
            ),
            (StreamPart::Head, Op::Delete, "it has no head", false),
            (
                StreamPart::Head,
                put(b"\x01\x00\x00\x00"),
                "nothing refers to its chunk",
                false,
            ),
            (
                StreamPart::Head,
                put(b"\x07"),
                "a form that this program does not know",
                true,
            ),
        ];
        for (part, op, words, is_met) in cases {
            let scene = Scene::new().await;
            scene.write(part, op).await;
            let found = scene.found().await;
            assert!(!found.is_empty(), "{part:?} and nothing is found");
            let named = found.iter().all(|found| found.contains("\"a\""));
            let told = found.iter().any(|found| found.contains(words));
            assert!(named && told, "{words}: {found:?}");
            let read = scene.read().await;
            let is_corrupt = matches!(read, Err(Error::Corrupt { .. }));
            assert_eq!(is_corrupt, is_met, "{words}: {read:?}");
        }
    });
}
