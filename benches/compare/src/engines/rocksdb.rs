//! RocksDB through its crate, linked to the system's library: LZ4, Bloom filters of 10 bits, data blocks
//! with a hash index for point reads, the block cache shared by all. Commits are written with
//! `sync = true`.
//!
//! A random load writes batches without the write-ahead log and flushes at the end. A sorted one writes a
//! table file and ingests it, as its documentation advises. Values of kilobytes stay in the tables: with
//! blob files a scan over keys takes ten times as long, since its iterators read every blob.

use std::path::{Path, PathBuf};

use rocksdb::{
    BlockBasedOptions, Cache, DB, DBCompressionType, DataBlockIndexType, IngestExternalFileOptions,
    Options, SnapshotWithThreadMode, SstFileWriter, WriteBatch, WriteOptions,
};

use crate::engine::{Engine, LOAD_BATCH, Op, Order, Reader, Result, Session, Setup, text};
use crate::records::{Key, Stream};

/// Bits of a Bloom filter for each key, as its tuning guide has it.
const FILTER_BITS: f64 = 10.0;
/// Threads for flushes and compactions.
const BACKGROUND_THREADS: i32 = 2;

/// A RocksDB database.
pub(crate) struct RocksDb {
    db: DB,
    options: Options,
    folder: PathBuf,
}

impl RocksDb {
    fn load_random(&self, records: &mut Stream<impl Iterator<Item = u64>>) -> Result<()> {
        let mut unlogged = WriteOptions::default();
        unlogged.disable_wal(true);
        let mut batch = WriteBatch::default();
        while let Some((key, value)) = records.next() {
            batch.put(key, value);
            if batch.len() == LOAD_BATCH {
                self.db
                    .write_opt(std::mem::take(&mut batch), &unlogged)
                    .map_err(text)?;
            }
        }
        self.db.write_opt(batch, &unlogged).map_err(text)?;
        self.db.flush().map_err(text)
    }

    fn load_sorted(&self, records: &mut Stream<impl Iterator<Item = u64>>) -> Result<()> {
        let path = self.folder.join("load.sst");
        let mut writer = SstFileWriter::create(&self.options);
        writer.open(&path).map_err(text)?;
        while let Some((key, value)) = records.next() {
            writer.put(key, value).map_err(text)?;
        }
        writer.finish().map_err(text)?;
        let mut how = IngestExternalFileOptions::default();
        how.set_move_files(true);
        self.db
            .ingest_external_file_opts(&how, vec![path])
            .map_err(text)
    }
}

fn synced() -> WriteOptions {
    let mut options = WriteOptions::default();
    options.set_sync(true);
    options
}

impl Engine for RocksDb {
    const NAME: &'static str = "rocksdb";
    type Session<'e> = RocksDbSession<'e>;

    fn version() -> String {
        format!(
            "{} (rocksdb {})",
            crate::versions::loaded("/librocksdb.so."),
            crate::versions::of("rocksdb")
        )
    }

    fn open(folder: &Path, setup: Setup) -> Result<RocksDb> {
        let mut blocks = BlockBasedOptions::default();
        blocks.set_block_cache(&Cache::new_lru_cache(setup.cache_len).map_err(text)?);
        blocks.set_bloom_filter(FILTER_BITS, false);
        blocks.set_data_block_index_type(DataBlockIndexType::BinaryAndHash);
        blocks.set_format_version(5);
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_block_based_table_factory(&blocks);
        options.set_compression_type(DBCompressionType::Lz4);
        options.set_level_compaction_dynamic_level_bytes(true);
        options.increase_parallelism(BACKGROUND_THREADS);
        let db = DB::open(&options, folder.join("rocksdb")).map_err(text)?;
        Ok(RocksDb {
            db,
            options,
            folder: folder.to_path_buf(),
        })
    }

    fn load(&self, records: &mut Stream<impl Iterator<Item = u64>>, order: Order) -> Result<()> {
        match order {
            Order::Random => self.load_random(records),
            Order::Sorted => self.load_sorted(records),
        }
    }

    fn session(&self) -> Result<RocksDbSession<'_>> {
        Ok(RocksDbSession {
            db: &self.db,
            synced: synced(),
        })
    }

    fn close(self) -> Result<()> {
        self.db.cancel_all_background_work(true);
        Ok(())
    }
}

/// What one thread works with.
pub(crate) struct RocksDbSession<'e> {
    db: &'e DB,
    synced: WriteOptions,
}

impl<'e> Session for RocksDbSession<'e> {
    type Reader<'s>
        = RocksDbReader<'e>
    where
        Self: 's;

    fn commit(&mut self, key: &Key, value: &[u8]) -> Result<()> {
        self.db.put_opt(key, value, &self.synced).map_err(text)
    }

    fn read<T>(&mut self, work: impl FnOnce(&mut RocksDbReader<'e>) -> Result<T>) -> Result<T> {
        work(&mut RocksDbReader(self.db.snapshot()))
    }

    fn get_alone(&mut self, key: &Key, found: impl FnOnce(&[u8])) -> Result<()> {
        if let Some(value) = self.db.get_pinned(key).map_err(text)? {
            found(&value);
        }
        Ok(())
    }

    fn mix(&mut self, ops: &[Op], mut found: impl FnMut(&[u8])) -> Result<()> {
        let mut batch = WriteBatch::default();
        for op in ops {
            match op {
                Op::Get(key) => self.get_alone(key, &mut found)?,
                Op::Put(key, value) => batch.put(key, value),
            }
        }
        self.db.write_opt(batch, &self.synced).map_err(text)
    }

    fn delete(&mut self, keys: &[Key]) -> Result<()> {
        let mut batch = WriteBatch::default();
        for key in keys {
            batch.delete(key);
        }
        self.db.write_opt(batch, &self.synced).map_err(text)
    }
}

/// A snapshot.
pub(crate) struct RocksDbReader<'e>(SnapshotWithThreadMode<'e, DB>);

impl Reader for RocksDbReader<'_> {
    fn get(&mut self, key: &Key, found: impl FnOnce(&[u8])) -> Result<()> {
        if let Some(value) = self.0.get_pinned(key).map_err(text)? {
            found(&value);
        }
        Ok(())
    }

    fn scan(
        &mut self,
        from: &Key,
        limit: usize,
        mut found: impl FnMut(&[u8], &[u8]),
    ) -> Result<()> {
        let mut records = self.0.raw_iterator();
        records.seek(from);
        for _ in 0..limit {
            let Some((key, value)) = records.item() else {
                break;
            };
            found(key, value);
            records.next();
        }
        records.status().map_err(text)
    }

    fn keys(&mut self, mut found: impl FnMut(&[u8])) -> Result<()> {
        let mut records = self.0.raw_iterator();
        records.seek_to_first();
        while let Some(key) = records.key() {
            found(key);
            records.next();
        }
        records.status().map_err(text)
    }
}
