//! Replacing chunks in the tree of a stream: only the nodes on the way are written.

use std::ops::Range;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::node::{Head, Node, NodeEntry, sum};
use super::walk::load;
use crate::base::limits::STREAM_NODE_ENTRIES_MAX;
use crate::base::{Op, Result};
use crate::txn::{StreamPart, StreamPlace, Transaction};

/// Entries below which a node that was changed takes in a neighbour.
const NODE_ENTRIES_MIN: usize = STREAM_NODE_ENTRIES_MAX / 4;

/// The tree of one stream, on its way from one state to the next.
pub(super) struct Tree<'a> {
    pub(super) transaction: &'a mut Transaction,
    pub(super) place: &'a StreamPlace,
    pub(super) head: &'a mut Head,
}

impl Tree<'_> {
    /// A number that no chunk and no node of this stream has had.
    pub(super) fn fresh(&mut self) -> u64 {
        let id = self.head.next;
        self.head.next += 1;
        id
    }

    /// Replaces the chunks of `range`, whose ends are borders of chunks, by `new`, and deletes them.
    pub(super) async fn replace(&mut self, range: Range<u64>, new: Vec<NodeEntry>) -> Result<()> {
        let Node { mut level, entries } = std::mem::take(&mut self.head.root);
        let mut entries = self.splice(level, entries, range, new).await?;
        while entries.len() > STREAM_NODE_ENTRIES_MAX {
            entries = self.pack(level, &entries, Vec::new())?;
            level += 1;
        }
        while let ([only], 1..) = (&entries[..], level) {
            let child = load(self.transaction, self.place, *only, level - 1).await?;
            self.delete(StreamPart::Node(only.id))?;
            (level, entries) = (child.level, child.entries);
        }
        if entries.is_empty() {
            level = 0;
        }
        self.head.root = Node { level, entries };
        Ok(())
    }

    /// Deletes all chunks and nodes.
    pub(super) async fn clear(&mut self) -> Result<()> {
        let Node { level, entries } = std::mem::take(&mut self.head.root);
        for entry in entries {
            self.free(level, entry).await?;
        }
        Ok(())
    }

    /// The entries of a node of `level` after the chunks of `range`, counted from its first byte, have
    /// been replaced. There may be more of them than a node holds, or none.
    fn splice(
        &mut self,
        level: u8,
        entries: Vec<NodeEntry>,
        range: Range<u64>,
        new: Vec<NodeEntry>,
    ) -> BoxFuture<'_, Result<Vec<NodeEntry>>> {
        async move {
            if level == 0 {
                return self.splice_leaf(&entries, &range, &new);
            }
            let Some((first, start)) = child_at(&entries, range.start) else {
                return Ok(new);
            };
            let last = last_child(&entries, first, start, range.end);
            let mut below = self
                .splice_children(level - 1, &entries[first..=last], start, range, new)
                .await?;
            let mut replaced = first..last + 1;
            if below.len() < NODE_ENTRIES_MIN {
                // So that cutting again and again does not leave a tree of nearly empty nodes.
                if let Some(before) = first.checked_sub(1) {
                    let node = load(self.transaction, self.place, entries[before], level - 1);
                    below.splice(..0, node.await?.entries);
                    replaced.start = before;
                } else if let Some(after) = entries.get(last + 1) {
                    let node = load(self.transaction, self.place, *after, level - 1);
                    below.extend(node.await?.entries);
                    replaced.end += 1;
                }
            }
            let free = entries[replaced.clone()].iter().map(|entry| entry.id);
            let packed = self.pack(level - 1, &below, free.collect())?;
            let mut entries = entries;
            entries.splice(replaced, packed);
            Ok(entries)
        }
        .boxed()
    }

    /// The entries of these neighbours together, of which the first begins at `start`, after the splice.
    async fn splice_children(
        &mut self,
        level: u8,
        children: &[NodeEntry],
        start: u64,
        range: Range<u64>,
        new: Vec<NodeEntry>,
    ) -> Result<Vec<NodeEntry>> {
        let (Some((first, rest)), end) = (children.split_first(), start + sum(children)) else {
            return Ok(new);
        };
        let node = load(self.transaction, self.place, *first, level).await?;
        let within = range.start - start..range.end.min(start + first.len) - start;
        let mut entries = self.splice(level, node.entries, within, new).await?;
        let Some((last, between)) = rest.split_last() else {
            return Ok(entries);
        };
        for child in between {
            self.free(level + 1, *child).await?;
        }
        let node = load(self.transaction, self.place, *last, level).await?;
        let within = 0..range.end - (end - last.len);
        let right = self.splice(level, node.entries, within, Vec::new()).await?;
        entries.extend(right);
        Ok(entries)
    }

    fn splice_leaf(
        &mut self,
        entries: &[NodeEntry],
        range: &Range<u64>,
        new: &[NodeEntry],
    ) -> Result<Vec<NodeEntry>> {
        let mut result = Vec::with_capacity(entries.len() + new.len());
        let (mut start, mut inserted) = (0, false);
        for entry in entries {
            let end = start + entry.len;
            if start >= range.end && !inserted {
                result.extend_from_slice(new);
                inserted = true;
            }
            if start >= range.start && end <= range.end {
                self.delete(StreamPart::Chunk(entry.id))?;
            } else {
                let is_outside = end <= range.start || start >= range.end;
                assert!(is_outside, "chunk {start}..{end} cut by {range:?}");
                result.push(*entry);
            }
            start = end;
        }
        if !inserted {
            result.extend_from_slice(new);
        }
        Ok(result)
    }

    /// Writes entries of `level` as nodes, filled evenly, under the numbers in `free` first; those that
    /// are left over are deleted. The entries that stand for these nodes.
    fn pack(&mut self, level: u8, entries: &[NodeEntry], free: Vec<u64>) -> Result<Vec<NodeEntry>> {
        let count = entries.len().div_ceil(STREAM_NODE_ENTRIES_MAX);
        let mut free = free.into_iter();
        let mut nodes = Vec::with_capacity(count);
        for i in 0..count {
            let part = entries.len() * i / count..entries.len() * (i + 1) / count;
            let id = free.next().unwrap_or_else(|| self.fresh());
            let entries = entries[part].to_vec();
            let node = Node { level, entries };
            let put = Op::Put(node.encode().into());
            self.transaction
                .write_full(self.place.full(StreamPart::Node(id)), &put)?;
            nodes.push(NodeEntry {
                id,
                len: node.len(),
            });
        }
        for id in free {
            self.delete(StreamPart::Node(id))?;
        }
        Ok(nodes)
    }

    /// Deletes what an entry of a node of `level` stands for, and everything below.
    fn free(&mut self, level: u8, entry: NodeEntry) -> BoxFuture<'_, Result<()>> {
        async move {
            if level == 0 {
                return self.delete(StreamPart::Chunk(entry.id));
            }
            let node = load(self.transaction, self.place, entry, level - 1).await?;
            for below in node.entries {
                self.free(level - 1, below).await?;
            }
            self.delete(StreamPart::Node(entry.id))?;
            self.transaction.relieve().await
        }
        .boxed()
    }

    fn delete(&mut self, part: StreamPart) -> Result<()> {
        let full = self.place.full(part);
        self.transaction.write_full(full, &Op::Delete)
    }
}

/// The child that holds `offset`, the last one for the offset behind it, and where it begins.
fn child_at(entries: &[NodeEntry], offset: u64) -> Option<(usize, u64)> {
    let mut start = 0;
    for (index, entry) in entries.iter().enumerate() {
        if offset < start + entry.len || index + 1 == entries.len() {
            return Some((index, start));
        }
        start += entry.len;
    }
    None
}

/// The child that holds the last byte before `end`, from the one at `first`, which begins at `start`.
fn last_child(entries: &[NodeEntry], first: usize, mut start: u64, end: u64) -> usize {
    for (index, entry) in entries.iter().enumerate().skip(first) {
        start += entry.len;
        if end <= start {
            return index;
        }
    }
    entries.len().saturating_sub(1)
}
