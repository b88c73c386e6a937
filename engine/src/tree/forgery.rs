//! Damage that the checksums allow: what a faulty writer might leave. Reading must not panic, and
//! proofreading must say what is wrong.

#![allow(clippy::cast_possible_truncation, reason = "numbers below 40")]

use std::sync::Arc;

use bytes::Bytes;
use futures::executor::block_on;
use proptest::prelude::*;

use super::frame::{FRAME_LEN, PagePtr};
use super::testing::{numbered, open, try_open, write};
use super::trailer::Trailer;
use super::*;
use crate::base::Op;
use crate::base::checksum::{checksum64, hash128};

/// A file that can be changed and made to look whole again.
struct Forgery {
    bytes: Vec<u8>,
    /// All pages, in the order of a descent: root first, then down and to the right.
    pages: Vec<PagePtr>,
    trailer: Trailer,
}

impl Forgery {
    fn new(file: &Bytes) -> Forgery {
        let run = open(file.clone());
        let trailer = run.trailer().clone();
        let mut pages = Vec::new();
        let mut visits: Vec<_> = trailer
            .root
            .iter()
            .map(|ptr| (*ptr, trailer.height - 1))
            .collect();
        while let Some((ptr, level)) = visits.pop() {
            pages.push(ptr);
            let page = block_on(run.read_page(ptr, level)).unwrap();
            if level > 0 {
                let branch = page.branch();
                visits.extend(
                    (0..branch.len())
                        .rev()
                        .map(|i| (branch.child(i), level - 1)),
                );
            }
        }
        Forgery {
            bytes: file.to_vec(),
            pages,
            trailer,
        }
    }

    fn body(&mut self, page: usize) -> &mut [u8] {
        let PagePtr { offset, len } = self.pages[page];
        let from = usize::try_from(offset).unwrap();
        &mut self.bytes[from + FRAME_LEN..from + len as usize]
    }

    fn filter(&mut self) -> &mut [u8] {
        let from = usize::try_from(self.trailer.filter_offset).unwrap();
        let len = usize::try_from(self.trailer.filter_len).unwrap();
        &mut self.bytes[from..from + len]
    }

    /// The file with every checksum as it should be.
    fn seal(mut self) -> Bytes {
        for PagePtr { offset, len } in &self.pages {
            let from = usize::try_from(*offset).unwrap();
            let page = &mut self.bytes[from..from + *len as usize];
            let sum = checksum64(&page[8..]) ^ offset;
            page[..8].copy_from_slice(&sum.to_le_bytes());
        }
        let trailer_at = self.trailer.filter_offset + self.trailer.filter_len;
        self.bytes.truncate(usize::try_from(trailer_at).unwrap());
        self.trailer.filter_checksum = checksum64(self.filter());
        self.trailer.content_hash = hash128(&self.bytes);
        self.trailer.file_len = trailer_at + self.trailer.encoded_len() as u64;
        self.bytes.extend(self.trailer.encode());
        self.bytes.into()
    }
}

fn forge(file: &Bytes, change: impl FnOnce(&mut Forgery)) -> Vec<String> {
    let mut forgery = Forgery::new(file);
    change(&mut forgery);
    let found = block_on(open(forgery.seal()).check(&mut |_| {}));
    found.problems.iter().map(ToString::to_string).collect()
}

type Change = fn(&mut Forgery);

#[test]
fn proofreading_sees_what_checksums_do_not() {
    let ops = numbered(b"key/", 300, |_| b"value".to_vec());
    let options = RunOptions {
        page_len: 1024,
        ..RunOptions::default()
    };
    let (file, _) = write(options, &ops);
    assert_eq!(
        forge(&file, |_| ()),
        [""; 0],
        "resealing alone changes nothing"
    );

    let forgeries: [(&str, Change); 8] = [
        ("its head or tag is another key's", |f| {
            flip(&mut f.body(FIRST_LEAF)[FIRST_TAG_AT]);
        }),
        ("is not above the one before", |f| *last_key_byte(f) = 0),
        ("belongs to another leaf", |f| *last_key_byte(f) = 0xff),
        ("is out of order", |f| *f.body(ROOT).last_mut().unwrap() = 0),
        ("says puts: 301, found 300", |f| f.trailer.puts += 1),
        ("says leaves: 99, found", |f| f.trailer.leaves = 99),
        ("its first or last key is another", |f| {
            flip(&mut f.trailer.first_key[0]);
        }),
        ("the filter does not know its key", |f| f.filter().fill(0)),
    ];
    for (expected, change) in forgeries {
        let problems = forge(&file, change);
        let found = problems.iter().any(|problem| problem.contains(expected));
        assert!(found, "`{expected}` not in {problems:?}");
    }
}

const ROOT: usize = 0;
const FIRST_LEAF: usize = 1;
/// Behind eight bytes of header and what all keys of the leaf share.
const FIRST_TAG_AT: usize = 8 + b"key/".len() + 7;

fn flip(byte: &mut u8) {
    *byte ^= 1;
}

/// The only byte in which the last key of the first leaf differs from the others.
fn last_key_byte(forgery: &mut Forgery) -> &mut u8 {
    let body = forgery.body(FIRST_LEAF);
    let at = body.len() - b"value".len() - 1;
    &mut body[at]
}

#[test]
fn a_descent_that_leads_upwards_ends() {
    let ops = numbered(b"", 5000, |_| vec![1; 30]);
    let options = RunOptions {
        page_len: 1024,
        ..RunOptions::default()
    };
    let mut forgery = Forgery::new(&write(options, &ops).0);
    assert!(forgery.trailer.height > 2, "branches above branches");
    let root = forgery.pages[0].encode();
    let child = forgery.pages[1].encode();
    let body = forgery.body(0);
    let at = body
        .windows(root.len())
        .position(|bytes| bytes == child)
        .unwrap();
    body[at..at + root.len()].copy_from_slice(&root);
    let run = open(forgery.seal());
    let key = &ops[0].0;
    let error = block_on(run.get(key, key_hash(key))).unwrap_err();
    assert!(error.to_string().contains("level"), "{error}");
    let problems = block_on(run.check(&mut |_| {})).problems;
    assert!(
        problems
            .iter()
            .any(|problem| problem.detail.contains("level")),
        "{problems:?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn nothing_that_checksums_allow_panics(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 1..6),
        compression in prop::sample::select(Compression::ALL.to_vec()),
        probe in prop::collection::vec(any::<u8>(), 0..10),
    ) {
        let mut ops = numbered(b"key/", 400, |i| vec![3; (i % 40) as usize]);
        ops.extend((0..5u8).map(|i| (vec![b'z', i], Op::Merge(vec![i; 1500].into()))));
        let (file, _) = write(RunOptions { page_len: 1024, compression, filter: true }, &ops);
        let mut forgery = Forgery::new(&file);
        for (page, place, byte) in changes {
            let page = page.index(forgery.pages.len());
            let body = forgery.body(page);
            // Mostly where the structure is, not in the values.
            let at = place.index(body.len());
            let at = if byte % 2 == 0 { at } else { at % 64 };
            body[at] = byte;
        }
        if let Ok(run) = try_open(forgery.seal()) {
            use_everything(&run, &ops, &probe);
        }
    }
}

/// Asks for everything; whatever comes is right here, as long as it comes.
fn use_everything(run: &Arc<Run>, ops: &[(Vec<u8>, Op)], probe: &[u8]) {
    for (key, _) in ops {
        drop(block_on(run.get(key, key_hash(key))));
    }
    let mut cursor = Cursor::new(run.clone());
    block_on(async {
        let mut steps = 0;
        let mut here = cursor.first().await.unwrap_or(false);
        while here {
            drop(cursor.op().await);
            here = cursor.next().await.unwrap_or(false);
            steps += 1;
        }
        let mut here = cursor.last().await.unwrap_or(false);
        while here {
            here = cursor.prev().await.unwrap_or(false);
            steps += 1;
        }
        assert!(steps < 1_000_000, "{steps} steps");
        drop(cursor.seek(probe).await);
        drop(cursor.seek_back(probe, true).await);
        drop(run.check(&mut |_| {}).await);
    });
}
