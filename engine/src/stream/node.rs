//! The bytes of a stream's head and of the nodes of its tree.

use bytes::Bytes;

use crate::base::codec::{Malformed, Reader, put_varint};
use crate::base::limits::{STREAM_CHUNK_LEN_MAX, STREAM_LEN_MAX, STREAM_NODE_ENTRIES_MAX};

/// The form of heads that this program writes.
const VERSION: u8 = 1;
/// Levels that a tree may have at most: a full one would be longer than any stream.
const LEVEL_MAX: u8 = 16;

/// A part of the stream: a chunk, or everything below a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NodeEntry {
    /// The number of the chunk or node within its stream, never used twice as long as that lives.
    pub(super) id: u64,
    /// Bytes of the stream in it; never 0.
    pub(super) len: u64,
}

/// A node of the tree: what a stretch of the stream is made of, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Node {
    /// 0: the entries are chunks; else nodes of the level below.
    pub(super) level: u8,
    /// The parts.
    pub(super) entries: Vec<NodeEntry>,
}

/// The head of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// The number that the next chunk or node gets. Every change of a stream takes one, so a head that
    /// has not changed stands for a stream that has not.
    pub(super) next: u64,
    /// The root of the tree.
    pub(super) root: Node,
}

impl Node {
    /// Bytes of the stream below it.
    pub(super) fn len(&self) -> u64 {
        sum(&self.entries)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(4 + 8 * self.entries.len());
        self.encode_into(&mut out);
        out
    }

    fn encode_into(&self, out: &mut Vec<u8>) {
        let (count, max) = (self.entries.len(), STREAM_NODE_ENTRIES_MAX);
        assert!(count <= max, "{count} entries in a node");
        out.push(self.level);
        put_varint(out, count as u64);
        for entry in &self.entries {
            assert!(entry.len > 0, "entry {} is empty", entry.id);
            put_varint(out, entry.id);
            put_varint(out, entry.len);
        }
    }

    /// Reads what [`Node::encode`] wrote. Nothing beyond the limits is believed, so nobody allocates what
    /// a broken record asks for.
    pub(super) fn decode(bytes: &Bytes) -> Result<Node, Malformed> {
        let mut reader = Reader::new(bytes);
        let node = Node::decode_from(&mut reader)?;
        done(&reader)?;
        Ok(node)
    }

    fn decode_from(reader: &mut Reader<'_>) -> Result<Node, Malformed> {
        let level = reader.u8()?;
        if level > LEVEL_MAX {
            return Err(Malformed("more levels than a tree can have"));
        }
        let count = reader.varint()?;
        if count > STREAM_NODE_ENTRIES_MAX as u64 {
            return Err(Malformed("more entries than a node holds"));
        }
        let (mut entries, mut len) = (Vec::new(), 0u64);
        for _ in 0..count {
            let entry = NodeEntry {
                id: reader.varint()?,
                len: reader.varint()?,
            };
            if entry.len == 0 || (level == 0 && entry.len > STREAM_CHUNK_LEN_MAX as u64) {
                return Err(Malformed("an entry of a length that none has"));
            }
            len = len.saturating_add(entry.len);
            entries.push(entry);
        }
        if len > STREAM_LEN_MAX {
            return Err(Malformed("longer than a stream can be"));
        }
        Ok(Node { level, entries })
    }
}

impl Head {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        put_varint(&mut out, self.next);
        self.root.encode_into(&mut out);
        out
    }

    /// Reads what [`Head::encode`] wrote.
    pub(super) fn decode(bytes: &Bytes) -> Result<Head, Malformed> {
        let mut reader = Reader::new(bytes);
        if reader.u8()? != VERSION {
            return Err(Malformed(
                "a head of a form that this program does not know",
            ));
        }
        let head = Head {
            next: reader.varint()?,
            root: Node::decode_from(&mut reader)?,
        };
        done(&reader)?;
        Ok(head)
    }
}

fn done(reader: &Reader<'_>) -> Result<(), Malformed> {
    let is_done = reader.is_done();
    is_done.then_some(()).ok_or(Malformed("bytes left over"))
}

/// Bytes of the stream in all these.
pub(super) fn sum(entries: &[NodeEntry]) -> u64 {
    entries.iter().map(|entry| entry.len).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(level: u8, count: usize, len: u64) -> Head {
        let entry = |id| NodeEntry { id, len };
        let entries = (0..count as u64).map(entry).collect();
        let root = Node { level, entries };
        Head {
            next: 1 << 40,
            root,
        }
    }

    #[test]
    fn heads_and_nodes_round_trip_up_to_their_limits() {
        let chunk = STREAM_CHUNK_LEN_MAX as u64;
        for head in [
            Head::default(),
            head(0, STREAM_NODE_ENTRIES_MAX, chunk),
            head(1, 1, STREAM_LEN_MAX),
            head(LEVEL_MAX, 2, STREAM_LEN_MAX / 2),
        ] {
            assert_eq!(Head::decode(&head.encode().into()), Ok(head.clone()));
            assert_eq!(Node::decode(&head.root.encode().into()), Ok(head.root));
        }
    }

    #[test]
    fn what_passes_a_limit_is_not_believed() {
        let chunk = STREAM_CHUNK_LEN_MAX as u64;
        for head in [
            head(0, 1, chunk + 1),
            head(1, 1, STREAM_LEN_MAX + 1),
            head(1, 2, u64::MAX),
            head(LEVEL_MAX + 1, 1, 1),
        ] {
            assert!(Head::decode(&head.encode().into()).is_err(), "{head:?}");
        }
        let mut many = vec![0];
        put_varint(&mut many, STREAM_NODE_ENTRIES_MAX as u64 + 1);
        many.extend([1; 1000]);
        assert!(Node::decode(&many.into()).is_err());
        let empty_entry = Bytes::from_static(&[0, 1, 7, 0]);
        assert!(Node::decode(&empty_entry).is_err());
    }

    #[test]
    fn no_cut_and_no_addition_is_taken_for_a_head() {
        let bytes = head(0, 3, 1000).encode();
        for len in 0..bytes.len() {
            let cut = Bytes::copy_from_slice(&bytes[..len]);
            assert!(Head::decode(&cut).is_err(), "{len} bytes");
        }
        assert!(Head::decode(&[&bytes[..], &[0]].concat().into()).is_err());
        assert!(Head::decode(&[&[VERSION + 1], &bytes[1..]].concat().into()).is_err());
    }
}
