//! Leaves that are full: encoded, compressed and under their checksums, some at a time, so that a second
//! thread can help.
//!
//! Which thread seals a leaf changes nothing in what it becomes, and nobody waits for a helper that has
//! not begun: whoever wants the leaves seals those that are left. So a run is the same byte for byte with
//! help and without.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::compress::{Compression, Compressor};
use super::frame;
use super::leaf::LeafBuilder;

/// Leaves of a batch.
const BATCH_LEN: usize = 32;

/// A leaf on its way, with memory to be used again.
#[derive(Default)]
pub(super) struct LeafPage {
    leaf: LeafBuilder,
    body: Vec<u8>,
    /// Of its keys, once it is sealed.
    pub(super) hashes: Vec<u64>,
    /// As it stands in the file but for its offset, once it is sealed.
    pub(super) frame: Vec<u8>,
}

impl LeafPage {
    fn seal(&mut self, compressor: &mut Compressor) {
        // It is empty once it is sealed.
        if self.leaf.is_empty() {
            return;
        }
        self.hashes.clear();
        self.leaf.finish(&mut self.hashes, &mut self.body);
        self.frame.clear();
        frame::frame(&self.body, compressor, &mut self.frame);
    }
}

/// Leaves that any number of threads seal together, each leaf one of them.
struct SealBatch {
    pages: Vec<Mutex<LeafPage>>,
    next: AtomicUsize,
}

impl SealBatch {
    fn seal(&self, compressor: &mut Compressor) {
        while let Some(page) = self.pages.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            page.lock().seal(compressor);
        }
    }
}

/// Seals leaves in the order in which they came.
pub(super) struct Sealer {
    compression: Compression,
    compressor: Compressor,
    with_help: bool,
    full: Vec<LeafPage>,
    sealing: Option<Arc<SealBatch>>,
    spare: Vec<LeafPage>,
}

impl Sealer {
    pub(super) fn new(compression: Compression) -> Sealer {
        Sealer {
            compression,
            compressor: Compressor::new(compression),
            with_help: false,
            full: Vec::new(),
            sealing: None,
            spare: Vec::new(),
        }
    }

    /// From now on another thread may help.
    pub(super) fn accept_help(&mut self) {
        self.with_help = true;
    }

    /// Takes the leaf and leaves an empty one.
    pub(super) fn push(&mut self, leaf: &mut LeafBuilder) {
        let mut page = self.spare.pop().unwrap_or_default();
        std::mem::swap(&mut page.leaf, leaf);
        self.full.push(page);
    }

    /// Whether it is time to write what is sealed.
    #[inline]
    pub(super) fn is_due(&self) -> bool {
        self.full.len() >= BATCH_LEN
    }

    /// Whether no more leaves are to come before some have been written.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.full.len() >= 2 * BATCH_LEN
    }

    /// Whether all that came has been given back.
    pub(super) fn is_empty(&self) -> bool {
        self.full.is_empty() && self.sealing.is_none()
    }

    /// Leaves that are sealed, the oldest there are; the next ones are begun with.
    pub(super) fn next(&mut self) -> Vec<LeafPage> {
        let sealed = self.sealing.take();
        if !self.full.is_empty() {
            let pages = self.full.drain(..).map(Mutex::new).collect();
            let next = AtomicUsize::new(0);
            let batch = Arc::new(SealBatch { pages, next });
            if self.with_help {
                let (batch, compression) = (Arc::clone(&batch), self.compression);
                rayon::spawn(move || batch.seal(&mut Compressor::new(compression)));
            }
            self.sealing = Some(batch);
        }
        let Some(batch) = sealed else {
            return Vec::new();
        };
        batch.seal(&mut self.compressor);
        let mut pages = Vec::with_capacity(batch.pages.len());
        for page in &batch.pages {
            let mut page = page.lock();
            // A helper may have taken its number and not have begun.
            page.seal(&mut self.compressor);
            pages.push(std::mem::take(&mut *page));
        }
        pages
    }

    /// Takes memory back, to be used again.
    pub(super) fn reuse(&mut self, page: LeafPage) {
        if self.spare.len() < BATCH_LEN {
            self.spare.push(page);
        }
    }

    /// For what is no leaf.
    pub(super) fn compressor(&mut self) -> &mut Compressor {
        &mut self.compressor
    }
}
