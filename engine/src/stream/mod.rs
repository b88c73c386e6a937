//! Streams: values of any length under one key, read and changed by range, never wholly in memory.
//!
//! A stream is made of **chunks**, each a record of up to
//! [`STREAM_CHUNK_LEN_MAX`](crate::base::limits::STREAM_CHUNK_LEN_MAX) bytes that belongs to exactly one
//! place of one stream. A B+tree whose entries are lengths says which chunks they are and in which
//! order; its root is the stream's **head**. All of them are ordinary records of the stream's store,
//! behind the keys that users see, so transactions, snapshots, folding and dropping treat them as any
//! others. `docs/adr/` says why it is so, `docs/format-streams.md` has the bytes.
//!
//! ```
//! # use eciton_engine::{Db, Key, Options, Result, StoreSchema};
//! # async fn example(folder: &std::path::Path) -> Result<()> {
//! let db = Db::open(folder, Options::default()).await?;
//! let films = db.create_store("films", StoreSchema::default()).await?;
//! let key = Key::parse_json("\"the garden\"")?;
//!
//! let mut transaction = db.begin();
//! transaction.put(&films, &key, r#"{"year":1895}"#)?;
//! let mut film = transaction.stream(&films, &key).await?;
//! film.append(b"the first reel, ").await?;
//! film.append(b"the last reel").await?;
//! film.insert_at(16, b"another one, ").await?;
//! transaction.commit().await?; // record and stream, or neither
//!
//! let snapshot = db.snapshot();
//! let mut film = snapshot.stream(&films, &key).await?.unwrap();
//! let mut buffer = [0; 11];
//! assert_eq!(film.read_at(16, &mut buffer).await?, 11);
//! assert_eq!(&buffer, b"another one");
//! # Ok(())
//! # }
//! # let folder = tempfile::tempdir().unwrap();
//! # tokio::runtime::Runtime::new().unwrap().block_on(example(folder.path())).unwrap();
//! ```
//!
//! | file | is |
//! |---|---|
//! | `node` | the bytes of head and nodes |
//! | `walk` | from an offset to its chunk |
//! | `tree` | replacing chunks in the tree |
//! | `writer` | a stream within a transaction |
//! | `reader` | a stream of a snapshot |
//! | `list` | which keys of a store have one |
//! | `check` | proofreading |

mod check;
mod list;
mod node;
mod reader;
mod tree;
mod walk;
mod writer;

pub use check::{StreamCheck, check};
pub use list::StreamKeys;
pub use reader::{Chunks, Stream};
pub use writer::StreamWriter;
