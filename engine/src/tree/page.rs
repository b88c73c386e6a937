//! A page in memory: its body, decompressed and checked.

use std::sync::Arc;

use super::branch::Branch;
use super::decoded::Decoded;
use super::frame::Frame;
use super::leaf::Leaf;
use super::lent::{LentBody, LentPage};
use super::slab::Slabs;

/// The body of a page, decompressed and checked. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Page(Arc<LentBody>);

impl Page {
    /// Takes apart what stands at `offset` of the file, into memory of `slabs`.
    pub(super) fn decode(stored: &[u8], offset: u64, slabs: &Arc<Slabs>) -> Decoded<Page> {
        let frame = Frame::check(stored, offset)?;
        let mut body = slabs.take(frame.body_len);
        frame.unpack(&mut body)?;
        let page = Page(Arc::new(LentBody::new(body)));
        match page.level() {
            0 => drop(Leaf::parse(page.body())?),
            _ => drop(Branch::parse(page.body())?),
        }
        Ok(page)
    }

    /// 0 for a leaf; a branch is one level above what it refers to.
    #[inline]
    pub(super) fn level(&self) -> u8 {
        self.body().first().copied().unwrap_or(0)
    }

    /// Bytes of memory held.
    pub(super) fn held_len(&self) -> usize {
        self.0.body.held_len()
    }

    /// The page as a leaf: only for a page of level 0.
    #[inline]
    pub(super) fn leaf(&self) -> Leaf<'_> {
        debug_assert_eq!(self.level(), 0, "a branch taken for a leaf");
        Leaf::of_checked(self.body())
    }

    /// The page as a branch: only for a page above level 0.
    #[inline]
    pub(super) fn branch(&self) -> Branch<'_> {
        debug_assert_ne!(self.level(), 0, "a leaf taken for a branch");
        Branch::of_checked(self.body())
    }

    /// The body.
    #[inline]
    pub(super) fn body(&self) -> &[u8] {
        &self.0.body
    }

    /// The page that is shared so.
    #[cfg(test)]
    pub(super) fn of_shared(shared: Arc<LentBody>) -> Page {
        Page(shared)
    }

    /// What is shared by all clones.
    #[inline]
    pub(super) fn shared(&self) -> &Arc<LentBody> {
        &self.0
    }

    /// As [`Page::shared`], without counting anew.
    #[inline]
    pub(super) fn into_shared(self) -> Arc<LentBody> {
        self.0
    }

    /// Whether both are the same in memory.
    pub(super) fn is(&self, other: &Page) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl From<Page> for LentPage {
    #[inline]
    fn from(page: Page) -> LentPage {
        LentPage::of(page.into_shared())
    }
}
