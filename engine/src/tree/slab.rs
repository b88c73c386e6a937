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

/// Slabs that nobody uses, and where more come from.
#[derive(Default)]
pub(super) struct Slabs(Mutex<Pool>);

#[derive(Default)]
struct Pool {
    free: Vec<BytesMut>,
    /// What is left of the newest region.
    region: BytesMut,
}

/// The bytes of one page.
pub(super) struct Body {
    bytes: BytesMut,
    len: usize,
    /// Where the slab goes back to; `None` for memory of its own.
    home: Option<Arc<Slabs>>,
}

impl Slabs {
    /// Memory for `len` bytes; what is in them is left over from others.
    pub(super) fn take(self: &Arc<Self>, len: usize) -> Body {
        if len <= SMALL_LEN_MAX || len > SLAB_LEN {
            return Body {
                bytes: BytesMut::zeroed(len),
                len,
                home: None,
            };
        }
        Body {
            bytes: self.0.lock().take(),
            len,
            home: Some(Arc::clone(self)),
        }
    }
}

impl Pool {
    fn take(&mut self) -> BytesMut {
        if let Some(slab) = self.free.pop() {
            return slab;
        }
        if self.region.capacity() < SLAB_LEN {
            self.region = region();
        }
        let rest = self.region.split_off(SLAB_LEN);
        let mut slab = std::mem::replace(&mut self.region, rest);
        slab.resize(SLAB_LEN, 0);
        slab
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

impl Body {
    /// Bytes of memory taken.
    pub(super) fn held_len(&self) -> usize {
        self.bytes.len()
    }
}

impl Deref for Body {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl DerefMut for Body {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.len]
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if let Some(home) = self.home.take() {
            let slab = std::mem::take(&mut self.bytes);
            home.0.lock().free.push(slab);
        }
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Body({} bytes)", self.len)
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
        let mut bodies: Vec<Body> = (0..count).map(|_| slabs.take(SLAB_LEN)).collect();
        for (i, body) in bodies.iter_mut().enumerate() {
            body.fill(fill(i));
        }
        for (i, body) in bodies.iter().enumerate() {
            assert!(body.iter().all(|byte| *byte == fill(i)), "slab {i}");
        }
        let places = |bodies: &[Body]| {
            let mut places: Vec<_> = bodies.iter().map(|body| body.as_ptr().addr()).collect();
            places.sort_unstable();
            places
        };
        let before = places(&bodies);
        drop(bodies);
        let again: Vec<Body> = (0..count).map(|_| slabs.take(SLAB_LEN - 1)).collect();
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
}
