//! Every bound of the engine, named. Each is tested at its edge.

/// Bytes of an encoded key, the store's prefix not counted.
pub const KEY_LEN_MAX: usize = 4 * 1024;
/// Bytes of one value. Larger ones are streams of chunks.
pub const VALUE_LEN_MAX: usize = 8 * 1024 * 1024;
/// Bytes of a value that stays in its leaf page where its store does not say otherwise; a longer one lies apart, so that
/// a keys-only scan never reads it.
pub const VALUE_INLINE_LEN_DEFAULT: usize = 1024;
/// The least that a store may say: where a longer value lies takes 25 bytes.
pub const VALUE_INLINE_LEN_MIN: usize = 32;
/// The most that a store may say: two pages.
pub const VALUE_INLINE_LEN_MAX: usize = 16 * 1024;
/// Bytes of the writes of one transaction that travel in a slot; more are written as a sorted run first.
pub const INTENT_LEN_MAX: usize = 1024 * 1024;
/// The largest position, generation, or number of a manifest, a floor or a segment's tag that counts. They grow one by
/// one from 0 or 1 and never come near it; what claims more is damaged or forged, and one more can still be counted.
pub const NUMBER_MAX: u64 = u64::MAX >> 2;
/// Bytes of `INSTANCE`.
pub const INSTANCE_LEN_MAX: u64 = 4 * 1024;
/// Paths that a generation stands on at the most: the active one and the passive one.
pub const PATHS_MAX: usize = 2;
/// How often a seal is tried where others write at the same place.
pub const SEAL_TRIES_MAX: u32 = 100;
/// Bytes of `PATH`.
pub const PATH_LEN_MAX: u64 = 16 * 1024;
/// Bytes of a floor that are read: more than any version so far has.
pub const FLOOR_LEN_MAX: u64 = 4 * 1024;
/// Bytes of a manifest: some 8,000 runs with the longest keys there are.
pub const MANIFEST_LEN_MAX: u64 = 64 * 1024 * 1024;
/// Bytes of an entry of a backup: some 500,000 files.
pub const BACKUP_ENTRY_LEN_MAX: u64 = 64 * 1024 * 1024;
/// Bytes of a file of one slot.
pub const SLOT_FILE_LEN_MAX: u64 = (SLOT_LEN_MAX + SECTOR_LEN) as u64;
/// Bytes of one slot.
pub const SLOT_LEN_MAX: usize = 16 * 1024 * 1024;
/// Bytes of a slot that stay free for its header.
pub const SLOT_HEADER_ROOM_LEN: usize = 4096;
/// Records of one slot.
pub const SLOT_RECORDS_MAX: usize = 4096;
/// Slots that a transaction may lag behind and still be validated (`WMAX` of the protocol).
pub const WINDOW_SLOTS_MAX: u64 = 65_536;
/// Bytes of remembered keys; the window's base advances to fit.
pub const WINDOW_LEN_MAX: usize = 64 * 1024 * 1024;
/// Bytes of a store's name.
pub const STORE_NAME_LEN_MAX: usize = 255;
/// Numbers for stores that a process takes at a time, so that those who create one after the other, or at the
/// same time, seldom meet.
pub const STORE_IDS_RESERVED: u32 = 32;
/// Bytes of one page of a run, before compression.
pub const PAGE_LEN: usize = 8 * 1024;
/// Names that one directory may hold before the next one is begun.
pub const DIR_FANOUT: u64 = 4096;
/// Bytes that a store's number takes before each of its keys.
pub const STORE_PREFIX_LEN: usize = 4;
/// Bytes of buffered writes from which a transaction is written as a sorted run instead of in a slot.
pub const BULK_LEN_MIN: usize = 4 * 1024 * 1024;
/// Bytes of a sector: slots are padded to it, so that tearing one cannot hurt the one before.
pub const SECTOR_LEN: usize = 512;
/// Bytes after which the log goes on in another file.
pub const LOG_FILE_LEN_MAX: u64 = 64 * 1024 * 1024;
/// Bytes by which a log file is extended at the most at a time.
pub const LOG_ALLOCATE_LEN_MAX: u64 = 4 * 1024 * 1024;
/// Bytes that a fresh log file is given.
pub const LOG_ALLOCATE_LEN_MIN: u64 = 64 * 1024;
/// Bytes of buffered writes that a transaction moves to a run before it takes more; with as many held by all
/// together, each moves its own from one of [`SPILL_SHARES`] parts of that on. Fewer and longer runs are
/// less to read and to merge afterwards: a million records of 100 bytes are one.
pub const SPILL_LEN_MIN: usize = 128 * 1024 * 1024;
/// See [`SPILL_LEN_MIN`].
pub const SPILL_SHARES: usize = 4;
/// Bytes of writes in ascending order that a transaction which has begun a run with them moves there at a time.
pub const POUR_LEN_MIN: usize = 1024 * 1024;
/// Bytes of buffered writes from which on it is looked at whether they are many writes of few keys.
pub const PENDING_SQUEEZE_LEN_MIN: usize = 32 * 1024 * 1024;
/// Milliseconds that a submitter waits at least for another process to combine its intent.
pub const PATIENCE_MS_MIN: u64 = 2;
/// Milliseconds that it waits at most.
pub const PATIENCE_MS_MAX: u64 = 2000;
/// Slots of unfolded tail that start a fold where a slot is a file: opening reads each of them.
pub const FOLD_SLOTS_MAX: u64 = 64;
/// How often a commit tries a medium that fails before its outcome is left unknown.
pub const COMMIT_TRIES_MAX: u32 = 8;
/// Milliseconds between two such tries, at first; doubled each time.
pub const RETRY_MS_MIN: u64 = 5;
/// Milliseconds for which nothing is heard of others' commits before who only wants to catch up asks a folder.
pub const STALE_MS_MAX: u64 = 100;
/// The same of a bucket, where asking takes longer, and is paid for.
pub const STALE_BUCKET_MS_MAX: u64 = 1000;
/// Milliseconds after which transactions that run in turn go into a slot, even if others wait or one of them has
/// not ended its turn.
pub const TURNS_MS_MAX: u64 = 10;
/// How often a change that loses against others is tried.
pub const RETRIES_MAX: u32 = 1000;
/// How often a reader starts over when what it was about to read has been collected.
pub const RELOADS_MAX: u32 = 100;
/// Manifests that stay at least, so that a reader of the one before the newest can go on.
pub const MANIFESTS_MIN: usize = 2;
/// A log file that has so many times the bytes of tail that start a fold ends with the next fold.
pub const LOG_FILE_FOLDS: u64 = 2;
/// Space comes back once folds have written and replaced so many times the bytes of tail that start one.
pub const COLLECT_FACTOR: u64 = 4;
/// Among others it also comes back after so many folds of one process: each takes as many slots with it.
pub const COLLECT_FOLDS: u64 = 16;
/// How often a compaction begins again whose runs another process has merged meanwhile.
pub const COMPACT_TRIES_MAX: u32 = 8;
/// Transactions whose outcome a process remembers; the window's base advances to fit.
pub const WINDOW_TXIDS_MAX: usize = 4 * 1024 * 1024;
/// How often one batch may lose the race for a slot before its submitters look after themselves.
pub const RACES_MAX: u32 = 1000;
/// Bytes of the key of a stream: its records add 11 bytes of their own.
pub const STREAM_KEY_LEN_MAX: usize = KEY_LEN_MAX - 11;
/// Bytes of a chunk of a stream: what an edit rewrites on either side of it, and what a read takes at once.
pub const STREAM_CHUNK_LEN_MAX: usize = 1024 * 1024;
/// Bytes of a stream.
pub const STREAM_LEN_MAX: u64 = 1 << 50;
/// Entries of a node of the tree that lists the chunks of a stream; some 800 bytes when it is full.
pub const STREAM_NODE_ENTRIES_MAX: usize = 128;
/// Bytes of a stream that a transaction keeps in memory before they go to a durable run.
pub const STREAM_BUFFERED_LEN_MAX: usize = 4 * STREAM_CHUNK_LEN_MAX;
/// Runs of bulk records above what has been folded that start a fold: fewer are left to the next one.
pub const UNFOLDED_RUNS_MAX: usize = 8;
/// Intents that a bus shows at most; the oldest go.
pub const BUS_INTENTS_MAX: usize = 8192;
/// Bytes of the intents that a bus shows at most; the oldest go.
pub const BUS_INTENTS_LEN_MAX: usize = 64 * 1024 * 1024;
/// Slots that a bus keeps at most; the oldest go.
pub const BUS_SLOTS_MAX: usize = 256;
/// Bytes of the slots that a bus keeps at most; the oldest go, and a longer one is not kept at all.
pub const BUS_SLOTS_LEN_MAX: usize = 32 * 1024 * 1024;
/// Notes by which those at a database announce themselves, at most; those that end soonest go.
pub const NOTES_MAX: usize = 4096;
/// Bytes of such a note at most; a longer one is not announced.
pub const NOTE_LEN_MAX: usize = 2048;
/// Bytes of the name of such a note at most.
pub const NOTE_ID_LEN_MAX: usize = 255;
/// Answers that a mailbox holds at most; the oldest go.
pub const BUS_ANSWERS_MAX: usize = 16 * 1024;
