//! Walking a run in order, both ways.

use std::sync::Arc;

use bytes::Bytes;

use super::entry::FoundEntry;
use super::frame::PagePtr;
use super::key_buf::KeyBuf;
use super::leaf::{Cell, OpKind};
use super::page::Page;
use super::run::{Run, Step};
use super::search::Side;
use crate::base::{Error, Op, Result};

/// A place in a run. Owns its run, so it lives as long as it likes; holds one leaf and the branches
/// above it in memory.
///
/// A new cursor stands nowhere. Seeking puts it on an entry if there is one; stepping past either
/// end, or an error, leaves it nowhere again, and only another seek brings it back.
///
/// ```text
/// let mut cursor = Cursor::new(run);
/// let mut here = cursor.seek(b"from").await?;
/// while here {
///     use_it(cursor.key(), cursor.op().await?);
///     here = cursor.next().await?;
/// }
/// ```
pub struct Cursor {
    run: Arc<Run>,
    /// The branches above the leaf, root first, with the child taken.
    path: Vec<Step>,
    leaf: Option<EntryPlace>,
    key: KeyBuf,
}

/// An entry of a leaf.
struct EntryPlace {
    page: Page,
    ptr: PagePtr,
    /// Entries of the leaf, and where their offsets begin in it.
    len: usize,
    offs_at: usize,
    i: usize,
    cell: Cell,
}

impl EntryPlace {
    /// Goes to entry `i` and makes `key` its key.
    #[inline]
    fn go(&mut self, i: usize, key: &mut KeyBuf) {
        let body = self.page.body();
        self.i = i;
        self.cell = Cell::at(body, self.offs_at, i);
        key.end_with(body, self.cell.suffix_range());
    }

    /// The value or operand, if it lies in the leaf.
    #[inline]
    fn payload(&self) -> Option<&[u8]> {
        (!self.cell.kind.is_apart()).then(|| self.cell.payload(self.page.body()))
    }
}

/// Which way to step.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Forward,
    Back,
}

impl Cursor {
    /// A cursor that stands nowhere yet.
    pub fn new(run: Arc<Run>) -> Cursor {
        Cursor {
            run,
            path: Vec::new(),
            leaf: None,
            key: KeyBuf::default(),
        }
    }

    /// Goes to the first entry whose key is `key` or greater; false if there is none.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Storage`].
    pub async fn seek(&mut self, key: &[u8]) -> Result<bool> {
        let Some((page, ptr)) = self
            .leaf_for(|page, _| page.branch().child_for(key))
            .await?
        else {
            return Ok(false);
        };
        let i = page.leaf().bound(key, Side::Before);
        if i < page.leaf().len() {
            self.stand(page, ptr, i);
            return Ok(true);
        }
        self.next_leaf(Way::Forward).await
    }

    /// Goes to the last entry whose key is less than `key`, or also equal to it if `inclusive`;
    /// false if there is none.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Storage`].
    pub async fn seek_back(&mut self, key: &[u8], inclusive: bool) -> Result<bool> {
        let Some((page, ptr)) = self
            .leaf_for(|page, _| page.branch().child_for(key))
            .await?
        else {
            return Ok(false);
        };
        let side = if inclusive { Side::After } else { Side::Before };
        if let Some(i) = page.leaf().bound(key, side).checked_sub(1) {
            self.stand(page, ptr, i);
            return Ok(true);
        }
        self.next_leaf(Way::Back).await
    }

    /// Goes to the first entry; false if there is none.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Storage`].
    pub async fn first(&mut self) -> Result<bool> {
        let Some((page, ptr)) = self.leaf_for(|_, _| 0).await? else {
            return Ok(false);
        };
        self.stand(page, ptr, 0);
        Ok(true)
    }

    /// Goes to the last entry; false if there is none.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Storage`].
    pub async fn last(&mut self) -> Result<bool> {
        let Some((page, ptr)) = self.leaf_for(|_, _| usize::MAX).await? else {
            return Ok(false);
        };
        let i = page.leaf().len() - 1;
        self.stand(page, ptr, i);
        Ok(true)
    }

    /// Goes to the entry behind this one; false if this was the last or the cursor stands nowhere.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Storage`].
    #[inline]
    pub async fn next(&mut self) -> Result<bool> {
        if self.next_in_leaf() {
            return Ok(true);
        }
        self.step_leaf(Way::Forward).await
    }

    /// Goes to the entry before this one; false if this was the first or the cursor stands nowhere.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Storage`].
    #[inline]
    pub async fn prev(&mut self) -> Result<bool> {
        if self.prev_in_leaf() {
            return Ok(true);
        }
        self.step_leaf(Way::Back).await
    }

    /// As [`Cursor::next`] while that needs no other page: no I/O and no yielding. On false nothing
    /// has moved, and `next` goes on.
    #[inline]
    pub fn next_in_leaf(&mut self) -> bool {
        match &mut self.leaf {
            Some(place) if place.i + 1 < place.len => {
                place.go(place.i + 1, &mut self.key);
                true
            }
            _ => false,
        }
    }

    /// As [`Cursor::prev`] while that needs no other page: no I/O and no yielding. On false nothing
    /// has moved, and `prev` goes on.
    #[inline]
    pub fn prev_in_leaf(&mut self) -> bool {
        match &mut self.leaf {
            Some(place) if place.i > 0 => {
                place.go(place.i - 1, &mut self.key);
                true
            }
            _ => false,
        }
    }

    /// Whether the greatest key of the leaf here is less than `key`; false where the cursor stands nowhere.
    pub fn leaf_ends_before(&self, key: &[u8]) -> bool {
        let leaf = self.leaf.as_ref().map(|place| place.page.leaf());
        leaf.is_some_and(|leaf| leaf.bound(key, Side::Before) == leaf.len())
    }

    /// Whether the least key of the leaf here is `key` or greater; false where the cursor stands nowhere.
    pub fn leaf_begins_at_or_after(&self, key: &[u8]) -> bool {
        let leaf = self.leaf.as_ref().map(|place| place.page.leaf());
        leaf.is_some_and(|leaf| leaf.bound(key, Side::Before) == 0)
    }

    /// Whether the cursor stands on an entry.
    pub fn is_valid(&self) -> bool {
        self.leaf.is_some()
    }

    /// The key here; empty where the cursor stands nowhere.
    #[inline]
    pub fn key(&self) -> &[u8] {
        self.key.key()
    }

    /// What the entry here does to its key, without reading a value; `None` where the cursor stands
    /// nowhere.
    #[inline]
    pub fn kind(&self) -> Option<OpKind> {
        self.leaf.as_ref().map(|place| place.cell.kind.op_kind())
    }

    /// [`Cursor::kind`], and whether [`Cursor::inline_payload`] has something.
    #[inline]
    pub fn seen(&self) -> (Option<OpKind>, bool) {
        match &self.leaf {
            Some(place) => {
                let kind = place.cell.kind;
                (Some(kind.op_kind()), !kind.is_apart())
            }
            None => (None, false),
        }
    }

    /// The value or operand here, in place, if it lies in the leaf, as every one up to the inline limit does;
    /// empty for a delete, `None` where it lies apart or the cursor stands nowhere. No I/O.
    #[inline]
    pub fn inline_payload(&self) -> Option<&[u8]> {
        self.leaf.as_ref()?.payload()
    }

    /// The entry here under the same condition as [`Cursor::inline_payload`], its bytes copied. No
    /// I/O.
    #[inline]
    pub fn inline_op(&self) -> Option<Op> {
        let place = self.leaf.as_ref()?;
        let payload = place.payload()?;
        Some(
            place
                .cell
                .kind
                .op_kind()
                .op(|| Bytes::copy_from_slice(payload)),
        )
    }

    /// The entry here, its bytes copied. Reads a value that lies apart, each time it is asked for.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Storage`]; [`Error::Invalid`] where the cursor stands nowhere.
    #[inline]
    pub async fn op(&self) -> Result<Op> {
        match self.inline_op() {
            Some(op) => Ok(op),
            None => Ok(self.entry().await?.into_op()),
        }
    }

    /// As [`Cursor::op`], without copying.
    ///
    /// # Errors
    /// As [`Cursor::op`].
    pub async fn entry(&self) -> Result<FoundEntry> {
        let Some(place) = &self.leaf else {
            return Err(Error::Invalid("the cursor stands on no entry".to_owned()));
        };
        self.run
            .entry_at(place.page.clone().into(), place.cell, place.ptr)
            .await
    }

    /// The leaf that `choose` leads to, from the root; until it stands on one of its entries the
    /// cursor stands nowhere.
    async fn leaf_for(
        &mut self,
        choose: impl Fn(&Page, usize) -> usize,
    ) -> Result<Option<(Page, PagePtr)>> {
        self.leave();
        let Some(ptr) = self.run.descend(&mut self.path, choose).await? else {
            return Ok(None);
        };
        Ok(Some((self.run.leaf(ptr).await?, ptr)))
    }

    fn leave(&mut self) {
        self.leaf = None;
        self.key.clear();
    }

    async fn step_leaf(&mut self, way: Way) -> Result<bool> {
        if self.leaf.is_none() {
            return Ok(false);
        }
        self.leave();
        self.next_leaf(way).await
    }

    /// Goes to the nearest entry of the next leaf that way, from the leaf that `path` leads to.
    async fn next_leaf(&mut self, way: Way) -> Result<bool> {
        let turn = self.path.iter().rposition(|(page, i)| match way {
            Way::Forward => i + 1 < page.branch().len(),
            Way::Back => *i > 0,
        });
        let Some(turn) = turn else {
            return Ok(false);
        };
        let i = match way {
            Way::Forward => self.path[turn].1 + 1,
            Way::Back => self.path[turn].1 - 1,
        };
        let (page, ptr) = if turn + 1 == self.path.len() {
            let (branch, child) = &mut self.path[turn];
            *child = i;
            let ptr = branch.branch().child(i);
            (self.run.leaf(ptr).await?, ptr)
        } else {
            let mut chosen: Vec<usize> = self.path[..turn].iter().map(|(_, i)| *i).collect();
            chosen.push(i);
            let far = if way == Way::Forward { 0 } else { usize::MAX };
            let choose = |_: &Page, depth| chosen.get(depth).copied().unwrap_or(far);
            match self.leaf_for(choose).await? {
                Some(leaf) => leaf,
                None => return Ok(false),
            }
        };
        let i = if way == Way::Forward {
            0
        } else {
            page.leaf().len() - 1
        };
        self.stand(page, ptr, i);
        Ok(true)
    }

    fn stand(&mut self, page: Page, ptr: PagePtr, i: usize) {
        let leaf = page.leaf();
        let (len, offs_at, cell) = (leaf.len(), leaf.offs_at(), leaf.cell(i));
        self.key.share(leaf.prefix());
        self.key.end_with(page.body(), cell.suffix_range());
        self.leaf = Some(EntryPlace {
            page,
            ptr,
            len,
            offs_at,
            i,
            cell,
        });
    }
}

impl std::fmt::Debug for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.leaf {
            Some(_) => write!(
                f,
                "Cursor(at {} of {})",
                self.key().escape_ascii(),
                self.run.name()
            ),
            None => write!(f, "Cursor(nowhere in {})", self.run.name()),
        }
    }
}
