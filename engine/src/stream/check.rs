//! Proofreading the streams of a store: every chunk that is listed is there, and no other one.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::node::{Head, Node, NodeEntry};
use super::walk::head_of;
use crate::base::codec::Malformed;
use crate::base::{Error, Op, Result};
use crate::fold::{ViewCursor, WalkDirection};
use crate::txn::{Snapshot, Store, StreamPart, StreamPlace};

/// What reading the streams of a store found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamCheck {
    /// Streams.
    pub streams: u64,
    /// Bytes of them.
    pub len: u64,
    /// What does not hold: the stream's key, and the detail.
    pub broken: Vec<(String, String)>,
}

/// Reads all streams of a store, every byte, and says what does not hold. Memory: some 100 bytes a chunk of
/// the longest stream.
///
/// # Errors
/// What reading a record gives, damage below the records included.
pub async fn check(snapshot: &Snapshot, store: &Store) -> Result<StreamCheck> {
    let range = StreamPlace::all_of(store.id());
    let (layers, at) = (&snapshot.view().layers, snapshot.position());
    let direction = WalkDirection::Forward;
    let mut cursor = ViewCursor::open(Vec::new(), layers, at, &range, direction).await?;
    let mut report = StreamCheck::default();
    let mut current: Option<OneStream> = None;
    while let Some((full, op)) = cursor.next().await? {
        let (Op::Put(value) | Op::Merge(value)) = op else {
            continue;
        };
        let Some((place, part)) = StreamPlace::parse(&full) else {
            let key = full.escape_ascii().to_string();
            let detail = "it lies among streams and is no part of one".to_owned();
            report.broken.push((key, detail));
            continue;
        };
        let stream = match current.take() {
            Some(stream) if stream.place == place => current.insert(stream),
            other => {
                if let Some(stream) = other {
                    stream.end(&mut report);
                }
                current.insert(OneStream::new(place))
            }
        };
        stream.record(part, value);
    }
    if let Some(stream) = current {
        stream.end(&mut report);
    }
    Ok(report)
}

/// The records of one stream as they come: the head, the nodes, the chunks.
struct OneStream {
    place: StreamPlace,
    head: Option<Head>,
    nodes: BTreeMap<u64, Node>,
    /// Chunks that are listed and have not come yet; `None` before the first chunk.
    expected: Option<BTreeMap<u64, u64>>,
    broken: Vec<String>,
}

impl OneStream {
    fn new(place: StreamPlace) -> OneStream {
        OneStream {
            place,
            head: None,
            nodes: BTreeMap::new(),
            expected: None,
            broken: Vec::new(),
        }
    }

    fn record(&mut self, part: StreamPart, value: Bytes) {
        match part {
            StreamPart::Head => match head_of(&self.place, Some(value)) {
                Ok(head) => self.head = head,
                Err(error) => self.broken.push(detail_of(error)),
            },
            StreamPart::Node(id) => match Node::decode(&value) {
                Ok(node) => drop(self.nodes.insert(id, node)),
                Err(Malformed(why)) => self.broken.push(format!("its node {id}: {why}")),
            },
            // Without a head every chunk would be one that nothing refers to.
            StreamPart::Chunk(_) if self.head.is_none() => {}
            StreamPart::Chunk(id) => {
                let len = value.len() as u64;
                match self.expected().remove(&id) {
                    Some(expected) if expected == len => {}
                    Some(expected) => self.broken.push(format!(
                        "its chunk {id} has {len} bytes, expected {expected}"
                    )),
                    None => self
                        .broken
                        .push(format!("nothing refers to its chunk {id}")),
                }
            }
        }
    }

    /// The chunks that the tree lists. Taking it apart finds whatever is wrong with its nodes.
    fn expected(&mut self) -> &mut BTreeMap<u64, u64> {
        if self.expected.is_none() {
            let chunks = self.take_apart();
            self.expected = Some(chunks);
        }
        self.expected.get_or_insert_default()
    }

    fn take_apart(&mut self) -> BTreeMap<u64, u64> {
        let mut chunks = BTreeMap::new();
        let Some(head) = &self.head else {
            if self.broken.is_empty() {
                self.broken.push("it has no head".to_owned());
            }
            return chunks;
        };
        let next = head.next;
        let mut left: Vec<(u8, NodeEntry)> = below(&head.root).collect();
        while let Some((level, entry)) = left.pop() {
            let id = entry.id;
            if id >= next {
                self.broken
                    .push(format!("number {id} has not been given yet"));
            }
            if level == 0 {
                if chunks.insert(id, entry.len).is_some() {
                    self.broken.push(format!("its chunk {id} is listed twice"));
                }
                continue;
            }
            // Taken out, so that a node that is listed twice is missing the second time.
            match self.nodes.remove(&id) {
                None => self.broken.push(format!("its node {id} is missing")),
                Some(node) if node.level + 1 != level || node.len() != entry.len => {
                    self.broken
                        .push(format!("its node {id} is not the one listed"));
                }
                Some(node) => left.extend(below(&node)),
            }
        }
        for id in self.nodes.keys() {
            self.broken.push(format!("nothing refers to its node {id}"));
        }
        chunks
    }

    fn end(mut self, report: &mut StreamCheck) {
        let missing: Vec<u64> = self.expected().keys().copied().collect();
        for id in missing {
            self.broken.push(format!("its chunk {id} is missing"));
        }
        report.streams += 1;
        report.len += self.head.map_or(0, |head| head.root.len());
        let key = self.place.key().to_string();
        let found = self.broken.into_iter().map(|detail| (key.clone(), detail));
        report.broken.extend(found);
    }
}

/// What a node lists, with the level at which it does.
fn below(node: &Node) -> impl Iterator<Item = (u8, NodeEntry)> + use<> {
    let level = node.level;
    let entries = node.entries.clone();
    entries.into_iter().map(move |entry| (level, entry))
}

fn detail_of(error: Error) -> String {
    match error {
        Error::Corrupt { detail, .. } => detail,
        other => other.to_string(),
    }
}
