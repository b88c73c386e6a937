//! From an offset of a stream to the chunk that holds it.

use async_trait::async_trait;
use bytes::Bytes;

use super::node::{Head, Node, NodeEntry};
use crate::base::codec::Malformed;
use crate::base::{Error, Result};
use crate::txn::{Snapshot, StreamPart, StreamPlace, Tracked, Transaction};

/// Where the records of streams are read from.
#[async_trait]
pub(super) trait Records: Send {
    /// The record under a whole key.
    async fn record(&mut self, full: Bytes) -> Result<Option<Bytes>>;
}

#[async_trait]
impl Records for Snapshot {
    async fn record(&mut self, full: Bytes) -> Result<Option<Bytes>> {
        self.get_full(&full).await
    }
}

/// The head alone is tracked: whoever changes a stream writes that.
#[async_trait]
impl Records for Transaction {
    async fn record(&mut self, full: Bytes) -> Result<Option<Bytes>> {
        self.get_full(full, Tracked::No).await
    }
}

/// A chunk, where it lies in the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Located {
    /// The chunk.
    pub(super) chunk: NodeEntry,
    /// The offset of its first byte.
    pub(super) start: u64,
}

impl Located {
    /// The offset behind its last byte.
    pub(super) fn end(&self) -> u64 {
        self.start + self.chunk.len
    }
}

/// Finds chunks by offset; remembers the last leaf, so that reading on costs one record a chunk.
#[derive(Debug, Default)]
pub(super) struct Walk {
    leaf: Option<(u64, Node)>,
}

impl Walk {
    /// The chunk that holds `offset`; `None` at the end and beyond.
    pub(super) async fn locate(
        &mut self,
        records: &mut dyn Records,
        place: &StreamPlace,
        head: &Head,
        offset: u64,
    ) -> Result<Option<Located>> {
        if let Some((start, leaf)) = &self.leaf
            && let Some(found) = offset
                .checked_sub(*start)
                .and_then(|within| leaf.find(within))
        {
            return Ok(Some(found.after(*start)));
        }
        let (mut start, mut node) = (0, head.root.clone());
        loop {
            let Some(found) = node.find(offset - start) else {
                return Ok(None);
            };
            let found = found.after(start);
            if node.level == 0 {
                self.leaf = Some((start, node));
                return Ok(Some(found));
            }
            start = found.start;
            node = load(records, place, found.chunk, node.level - 1).await?;
        }
    }

    /// Forgets what it remembers: the stream has changed.
    pub(super) fn forget(&mut self) {
        self.leaf = None;
    }
}

impl Node {
    /// The entry that holds `offset`, counted from the first byte of the first one.
    fn find(&self, offset: u64) -> Option<Located> {
        let mut start = 0;
        for &chunk in &self.entries {
            if offset - start < chunk.len {
                return Some(Located { chunk, start });
            }
            start += chunk.len;
        }
        None
    }
}

impl Located {
    fn after(self, start: u64) -> Located {
        Located {
            start: start + self.start,
            ..self
        }
    }
}

/// The head of a stream, without which there is none.
pub(super) fn head_of(place: &StreamPlace, record: Option<Bytes>) -> Result<Option<Head>> {
    let head = record.map(|bytes| Head::decode(&bytes)).transpose();
    head.map_err(|Malformed(why)| broken(place, &format!("its head cannot be read: {why}")))
}

/// The node that `entry` stands for.
pub(super) async fn load(
    records: &mut dyn Records,
    place: &StreamPlace,
    entry: NodeEntry,
    level: u8,
) -> Result<Node> {
    let id = entry.id;
    let bytes = records.record(place.full(StreamPart::Node(id))).await?;
    let bytes = bytes.ok_or_else(|| broken(place, &format!("its node {id} is missing")))?;
    let node = Node::decode(&bytes);
    let node = node.map_err(|Malformed(why)| broken(place, &format!("its node {id}: {why}")))?;
    let (got, expected) = ((node.level, node.len()), (level, entry.len));
    if got != expected {
        let detail = format!("its node {id} has level and length {got:?}, expected {expected:?}");
        return Err(broken(place, &detail));
    }
    Ok(node)
}

/// The bytes of a chunk.
pub(super) async fn bytes_of(
    records: &mut dyn Records,
    place: &StreamPlace,
    chunk: NodeEntry,
) -> Result<Bytes> {
    let id = chunk.id;
    let bytes = records.record(place.full(StreamPart::Chunk(id))).await?;
    let bytes = bytes.ok_or_else(|| broken(place, &format!("its chunk {id} is missing")))?;
    if bytes.len() as u64 != chunk.len {
        let (got, expected) = (bytes.len(), chunk.len);
        let detail = format!("its chunk {id} has {got} bytes, expected {expected}");
        return Err(broken(place, &detail));
    }
    Ok(bytes)
}

/// Damage of a stream.
pub(super) fn broken(place: &StreamPlace, detail: &str) -> Error {
    Error::corrupt(format!("the stream under {}", place.key()), detail)
}
