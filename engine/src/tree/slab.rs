//! Memory for pages: slabs of one length, cut from large regions that the system may back by huge pages,
//! and used again.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use bytes::BytesMut;
use parking_lot::Mutex;

use crate::base::huge::{HUGE_PAGE_LEN, wish_huge};
use crate::base::limits::PAGE_LEN;

/// Bytes of a slab: a full page, decompressed.
const SLAB_LEN: usize = PAGE_LEN;
/// Pages up to this take memory of their own: a slab would waste half of itself.
const SMALL_LEN_MAX: usize = SLAB_LEN / 2;
/// Bytes of a region. Only what is written to takes memory.
const REGION_LEN: usize = 8 * HUGE_PAGE_LEN;

/// Bytes that are prepared at once, ahead of those who need them.
const CHUNK_LEN: usize = HUGE_PAGE_LEN;

/// Slabs that nobody uses, and where more come from.
#[derive(Default)]
pub(super) struct Slabs(Mutex<Pool>);

#[derive(Default)]
struct Pool {
    free: Vec<BytesMut>,
    /// What is left of the newest region. Nothing was written to it yet.
    region: BytesMut,
    /// Regions so far.
    regions: usize,
    /// What is left of memory that was prepared.
    prepared: BytesMut,
    /// More of it.
    next: Option<BytesMut>,
    /// Whether a helper prepares some.
    is_preparing: bool,
}

/// The bytes of one page.
pub(super) struct PageBody {
    bytes: BytesMut,
    len: usize,
    /// Where the slab goes back to; `None` for memory of its own.
    home: Option<Arc<Slabs>>,
}

impl Slabs {
    /// Memory for `len` bytes; what is in them is left over from others.
    pub(super) fn take(self: &Arc<Self>, len: usize) -> PageBody {
        if len <= SMALL_LEN_MAX || len > SLAB_LEN {
            return PageBody {
                bytes: BytesMut::zeroed(len),
                len,
                home: None,
            };
        }
        let (bytes, raw) = self.0.lock().take();
        if let Some(raw) = raw {
            self.prepare(raw);
        }
        PageBody {
            bytes,
            len,
            home: Some(Arc::clone(self)),
        }
    }

    /// Lets a helper write to memory for the first time. The system finds and clears it then, which takes longer than
    /// reading the page that goes there, and much longer where it has to move others' memory out of the way
    /// of a huge page.
    fn prepare(self: &Arc<Self>, mut raw: BytesMut) {
        let home = Arc::clone(self);
        rayon::spawn(move || {
            raw.resize(CHUNK_LEN, 0);
            let mut pool = home.0.lock();
            pool.next = Some(raw);
            pool.is_preparing = false;
        });
    }
}

impl Pool {
    /// A slab, and memory to be prepared, if more will soon be needed. Nobody waits for a helper: what is not
    /// prepared is taken as it is.
    fn take(&mut self) -> (BytesMut, Option<BytesMut>) {
        if let Some(slab) = self.free.pop() {
            return (slab, None);
        }
        if self.prepared.len() < SLAB_LEN
            && let Some(next) = self.next.take()
        {
            self.prepared = next;
        }
        let slab = if self.prepared.len() < SLAB_LEN {
            let mut slab = self.cut(SLAB_LEN);
            slab.resize(SLAB_LEN, 0);
            slab
        } else {
            self.prepared.split_to(SLAB_LEN)
        };
        assert_eq!(slab.len(), SLAB_LEN, "bytes of a slab");
        // A small cache gets no memory that it may never need.
        let is_low = self.regions > 1 && self.next.is_none() && !self.is_preparing;
        let raw = is_low.then(|| self.cut(CHUNK_LEN));
        self.is_preparing |= raw.is_some();
        (slab, raw)
    }

    /// The next `len` bytes of memory that nobody has written to: empty, with room for so many.
    fn cut(&mut self, len: usize) -> BytesMut {
        assert!(len <= REGION_LEN, "{len} bytes of a region");
        if self.region.capacity() < len {
            self.region = region();
            self.regions += 1;
        }
        let rest = self.region.split_off(len);
        std::mem::replace(&mut self.region, rest)
    }
}

/// A region that begins where a huge page does.
fn region() -> BytesMut {
    let mut region = BytesMut::with_capacity(REGION_LEN + HUGE_PAGE_LEN);
    let memory = region.spare_capacity_mut();
    let lead = memory
        .as_ptr()
        .align_offset(HUGE_PAGE_LEN)
        .min(HUGE_PAGE_LEN);
    wish_huge(memory);
    region.split_off(lead)
}

impl PageBody {
    /// Bytes of memory taken.
    pub(super) fn held_len(&self) -> usize {
        self.bytes.len()
    }
}

impl Deref for PageBody {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl DerefMut for PageBody {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.len]
    }
}

impl Drop for PageBody {
    fn drop(&mut self) {
        if let Some(home) = self.home.take() {
            let slab = std::mem::take(&mut self.bytes);
            home.0.lock().free.push(slab);
        }
    }
}

impl std::fmt::Debug for PageBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PageBody({} bytes)", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slabs_do_not_overlap_and_are_used_again() {
        let slabs = Arc::new(Slabs::default());
        let count = 2 * REGION_LEN / SLAB_LEN + 3;
        let fill = |i: usize| u8::try_from(i % 251).unwrap();
        let mut bodies: Vec<PageBody> = (0..count).map(|_| slabs.take(SLAB_LEN)).collect();
        for (i, body) in bodies.iter_mut().enumerate() {
            body.fill(fill(i));
        }
        for (i, body) in bodies.iter().enumerate() {
            assert!(body.iter().all(|byte| *byte == fill(i)), "slab {i}");
        }
        let places = |bodies: &[PageBody]| {
            let mut places: Vec<_> = bodies.iter().map(|body| body.as_ptr().addr()).collect();
            places.sort_unstable();
            places
        };
        let before = places(&bodies);
        drop(bodies);
        let again: Vec<PageBody> = (0..count).map(|_| slabs.take(SLAB_LEN - 1)).collect();
        assert_eq!(places(&again), before);
        assert!(again.iter().all(|body| body.len() == SLAB_LEN - 1));
    }

    #[test]
    fn small_and_large_bodies_take_what_they_need() {
        let slabs = Arc::new(Slabs::default());
        for len in [0, 1, SMALL_LEN_MAX, SLAB_LEN + 1] {
            assert_eq!(slabs.take(len).held_len(), len);
        }
        assert_eq!(slabs.take(SMALL_LEN_MAX + 1).held_len(), SLAB_LEN);
    }

    #[test]
    fn what_a_helper_prepared_is_nobody_elses() {
        let slabs = Arc::new(Slabs::default());
        let mut bodies = Vec::new();
        // Whether the helper is quick or not; a large cache ends in memory that it prepared.
        while slabs.0.lock().prepared.is_empty() {
            let mut body = slabs.take(SLAB_LEN);
            body.fill(u8::try_from(bodies.len() % 251).unwrap());
            bodies.push(body);
            assert!(bodies.len() < 100_000, "nothing was prepared");
        }
        assert!(
            bodies.len() >= REGION_LEN / SLAB_LEN,
            "{} slabs",
            bodies.len()
        );
        for (i, body) in bodies.iter().enumerate() {
            let fill = u8::try_from(i % 251).unwrap();
            assert!(body.iter().all(|byte| *byte == fill), "slab {i}");
        }
        let mut places: Vec<_> = bodies.iter().map(|body| body.as_ptr().addr()).collect();
        places.sort_unstable();
        assert!(places.is_sorted_by(|a, b| a + SLAB_LEN <= *b));
    }
}
