//! Reading a run: opening, and finding single keys.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::branch::Branch;
use super::cache::PageCache;
use super::entry::FoundEntry;
use super::filter::Filter;
use super::frame::PagePtr;
use super::front::{self, LeafFound};
use super::leaf::{Cell, CellKind, tag_of};
use super::lent::{Leaves, LentPage};
use super::page::Page;
use super::trailer::{TAIL_LEN, Trailer};
use super::value::ValuePtr;
use crate::base::checksum::checksum64;
use crate::base::{Error, Op, Result};
use crate::storage::Object;

/// Bytes of branches that a run keeps in memory outside the cache even where its filter is smaller.
const PINNED_LEN_MIN: u64 = 1024 * 1024;

/// What a lookup that does no I/O can say.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// The run has this write of the key.
    Found(FoundEntry),
    /// The run does not have the key.
    Absent,
    /// A page or a value has to be read first: [`Run::read_at_once`] does where the medium can, and
    /// [`Run::entry_missing`] does in any case.
    NotCached(Missing),
}

/// What a lookup has to read before it can go on, so that it need not begin again.
#[derive(Clone, Debug)]
pub struct Missing(Unread);

#[derive(Clone, Debug)]
enum Unread {
    Branch,
    Leaf(PagePtr),
    /// On the heap, so that what every lookup carries with it stays small.
    Value(Box<(CellKind, ValuePtr)>),
}

impl From<Unread> for Lookup {
    fn from(unread: Unread) -> Lookup {
        Lookup::NotCached(Missing(unread))
    }
}

/// Memory of a thread for pages on their way: memory of its own for each would be allocated, filled and given back for
/// nothing.
struct Scratch {
    /// A page as it is stored.
    stored: Vec<u8>,
    /// The body of one that nobody keeps.
    body: Vec<u8>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = const {
        RefCell::new(Scratch {
            stored: Vec::new(),
            body: Vec::new(),
        })
    };
}

/// An immutable run, open. Everything about it is read through [`Object`], checked, and cached.
///
/// Outside the cache a run holds its filter (1.5 bytes a key) and its branches as they are first
/// used, up to the length of the filter or 1 MiB, whichever is more: in common shapes they take a
/// fifth of that, and a lookup then touches the cache for one page, the leaf. Branches beyond go
/// through the cache as leaves do.
///
/// Errors of reading are [`Error::Corrupt`] with the run's name and the offset of what is damaged,
/// and [`Error::Storage`] from the medium. One damaged page does not keep others from being read.
pub struct Run {
    object: Arc<dyn Object>,
    cache: Arc<PageCache>,
    /// Tells this run's pages from others' in the cache.
    number: u64,
    name: String,
    trailer: Trailer,
    filter: Option<Filter>,
    /// `None` where the root is a leaf or there is nothing.
    root: Option<MemoryNode>,
    /// Bytes of branches below the root that are kept, and that may be.
    pinned_len: AtomicU64,
    pub(super) pinned_len_max: u64,
}

/// A branch that stays in memory, with those below it that do.
struct MemoryNode {
    page: Page,
    /// One place a child where the children are branches too, none where they are leaves.
    children: Box<[OnceLock<Box<MemoryNode>>]>,
    /// The same where they are leaves.
    leaves: Arc<Leaves>,
}

impl MemoryNode {
    fn new(page: Page) -> MemoryNode {
        let count = page.branch().len();
        let (branches, leaves) = if page.level() > 1 {
            (count, 0)
        } else {
            (0, count)
        };
        MemoryNode {
            page,
            children: (0..branches).map(|_| OnceLock::new()).collect(),
            leaves: Arc::new(Leaves::new(leaves)),
        }
    }

    /// Bytes of memory that keeping the branch at `ptr` takes, about.
    fn kept_len(ptr: PagePtr, page: &Page) -> u64 {
        u64::from(ptr.len) + Leaves::PLACE_LEN * page.branch().len() as u64
    }

    fn child(&self, i: usize) -> Option<&MemoryNode> {
        Some(self.children.get(i)?.get()?)
    }
}

/// Where the leaf for a key is.
enum LeafPlace<'a> {
    /// Below a branch that is not in memory.
    Unread,
    /// It is this child of a branch in memory.
    Child(&'a Arc<Leaves>, usize, Branch<'a>),
    /// It is the root.
    Root(PagePtr),
}

/// A step of a descent: a branch, and which of its children was taken.
pub(super) type Step = (Page, usize);

impl Run {
    /// Opens a run that stands in `object`; `name` is what errors call it.
    ///
    /// Reads the last 64 KiB, and the filter and the root if they lie before: three reads at most,
    /// whatever the length of the run. Nothing else of the file is looked at.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if trailer, filter or root is damaged or the file is not a run,
    /// [`Error::FormatTooNew`], [`Error::Storage`].
    pub async fn open(object: Arc<dyn Object>, cache: Arc<PageCache>, name: String) -> Result<Run> {
        let file_len = object.len();
        let tail_len = file_len.min(TAIL_LEN as u64);
        let tail_at = file_len - tail_len;
        let tail = object
            .read_at(tail_at, usize::try_from(tail_len).unwrap_or(TAIL_LEN))
            .await?;
        let trailer = Trailer::decode(&tail, file_len, &name)?;
        let mut run = Run {
            number: cache.number_run(),
            object,
            cache,
            name,
            trailer,
            filter: None,
            root: None,
            pinned_len: AtomicU64::new(0),
            pinned_len_max: 0,
        };
        let tail = RunTail {
            bytes: tail,
            at: tail_at,
        };
        run.pinned_len_max = run.trailer.filter_len.max(PINNED_LEN_MIN);
        run.filter = run.load_filter(&tail).await?;
        run.root = run.load_root(&tail).await?;
        Ok(run)
    }

    async fn load_filter(&self, tail: &RunTail) -> Result<Option<Filter>> {
        let (at, len) = (self.trailer.filter_offset, self.trailer.filter_len);
        if len == 0 {
            return Ok(None);
        }
        let bytes = self.read_with_tail(tail, at, len).await?;
        if checksum64(&bytes) != self.trailer.filter_checksum {
            return Err(self.corrupt(&format!("filter at {at}: checksum does not match")));
        }
        let filter = Filter::from_bytes(&bytes);
        filter
            .map(Some)
            .ok_or_else(|| self.corrupt(&format!("filter at {at}: not whole blocks")))
    }

    async fn load_root(&self, tail: &RunTail) -> Result<Option<MemoryNode>> {
        let (Some(ptr), 2..) = (self.trailer.root, self.trailer.height) else {
            return Ok(None);
        };
        let stored = self
            .read_with_tail(tail, ptr.offset, u64::from(ptr.len))
            .await?;
        let page = self.decode_page(&stored, ptr, self.trailer.height - 1)?;
        Ok(Some(MemoryNode::new(page)))
    }

    async fn read_with_tail(&self, tail: &RunTail, offset: u64, len: u64) -> Result<Bytes> {
        if let Some(bytes) = tail.slice(offset, len) {
            return Ok(bytes);
        }
        let len = usize::try_from(len).map_err(|_| {
            self.corrupt(&format!(
                "{len} bytes at {offset} pass this machine's memory"
            ))
        })?;
        self.read(offset, len).await
    }

    /// Exactly `len` bytes, which the caller has found to lie within the file.
    pub(super) async fn read(&self, offset: u64, len: usize) -> Result<Bytes> {
        let bytes = self.object.read_at(offset, len).await?;
        if bytes.len() != len {
            let got = bytes.len();
            return Err(self.corrupt(&format!("at {offset}: {got} bytes came, expected {len}")));
        }
        Ok(bytes)
    }

    pub(super) fn corrupt(&self, detail: &str) -> Error {
        Error::Corrupt {
            object: self.name.clone(),
            detail: detail.to_owned(),
        }
    }

    /// What errors call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Entries: puts, deletes and merges.
    pub fn entries(&self) -> u64 {
        self.trailer.entries()
    }

    /// Bytes of the file.
    pub fn file_len(&self) -> u64 {
        self.trailer.file_len
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.trailer.root.is_none()
    }

    /// The least key; empty where there are no entries.
    pub fn first_key(&self) -> &[u8] {
        &self.trailer.first_key
    }

    /// The greatest key; empty where there are no entries.
    pub fn last_key(&self) -> &[u8] {
        &self.trailer.last_key
    }

    /// Whether the run can have the key with this [`key_hash`](super::key_hash): false is certain.
    /// Always true for a run without filter. No I/O.
    #[inline]
    pub fn may_contain(&self, hash: u64) -> bool {
        self.filter
            .as_ref()
            .is_none_or(|filter| filter.contains(hash))
    }

    /// The write of `key`, whose [`key_hash`](super::key_hash) is `hash`: computed once by the
    /// caller, for all runs. With the hash of another key the answer may be `None` wrongly.
    ///
    /// The write is the caller's own: a value that lies in its page is copied out of it, a longer one
    /// lies apart and is read from the object each time.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Storage`].
    #[inline]
    pub async fn get(&self, key: &[u8], hash: u64) -> Result<Option<Op>> {
        Ok(self.entry(key, hash).await?.map(FoundEntry::into_op))
    }

    /// As [`Run::get`], without copying: what is found is looked at where it lies.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Storage`].
    #[inline]
    pub async fn entry(&self, key: &[u8], hash: u64) -> Result<Option<FoundEntry>> {
        let mut looked_up = self.entry_cached(key, hash)?;
        if let Lookup::NotCached(missing) = looked_up {
            looked_up = self.read_at_once(key, hash, missing)?;
        }
        match looked_up {
            Lookup::Found(entry) => Ok(Some(entry)),
            Lookup::Absent => Ok(None),
            Lookup::NotCached(missing) => self.entry_missing(key, hash, missing).await,
        }
    }

    /// As [`Run::entry`], without I/O and without yielding.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    #[inline]
    pub fn entry_cached(&self, key: &[u8], hash: u64) -> Result<Lookup> {
        if self.may_contain(hash) {
            self.entry_cached_unfiltered(key, hash)
        } else {
            Ok(Lookup::Absent)
        }
    }

    /// As [`Run::entry_cached`] without asking the filter: for the oldest run, which has most keys that are
    /// asked for if no newer one has. Where the leaf is at hand, looking into it costs no more than the filter
    /// would have; where it is not, the filter is asked before anything is read.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    #[inline]
    pub fn entry_cached_unfiltered(&self, key: &[u8], hash: u64) -> Result<Lookup> {
        if self.is_empty() {
            return Ok(Lookup::Absent);
        }
        let (page, ptr) = match self.leaf_place(key) {
            LeafPlace::Unread => return Ok(Unread::Branch.into()),
            LeafPlace::Child(leaves, i, branch) => match leaves.get(i) {
                Some(page) => (page, branch.child(i)),
                None => {
                    let ptr = branch.child(i);
                    let Some(page) = self.cached_leaf(ptr)? else {
                        return Ok(Unread::Leaf(ptr).into());
                    };
                    let is_cached = || self.cache.holds(self.number, ptr.offset, &page);
                    leaves.keep(i, page.shared(), is_cached);
                    (page.into(), ptr)
                }
            },
            LeafPlace::Root(ptr) => match self.cached_leaf(ptr)? {
                Some(page) => (page.into(), ptr),
                None => return Ok(Unread::Leaf(ptr).into()),
            },
        };
        self.look_into(page, ptr, key, hash)
    }

    /// What the leaf `page`, which stands at `ptr`, has under `key`.
    #[inline(always)]
    #[allow(
        clippy::inline_always,
        reason = "a lookup in memory is this and a descent"
    )]
    fn look_into(&self, page: LentPage, ptr: PagePtr, key: &[u8], hash: u64) -> Result<Lookup> {
        let Some(cell) = page.leaf().find(key, tag_of(hash)) else {
            return Ok(Lookup::Absent);
        };
        if cell.kind.is_apart() {
            return self.value_missing(&page, cell, ptr);
        }
        Ok(FoundEntry::in_page(page, cell).map_or(Lookup::Absent, Lookup::Found))
    }

    #[inline(never)]
    fn value_missing(&self, page: &LentPage, cell: Cell, ptr: PagePtr) -> Result<Lookup> {
        let value = self.value_ptr(page, cell, ptr)?;
        Ok(Unread::Value(Box::new((cell.kind, value))).into())
    }

    fn value_ptr(&self, page: &LentPage, cell: Cell, ptr: PagePtr) -> Result<ValuePtr> {
        ValuePtr::decode(cell.payload(page.body())).map_err(|what| self.bad_page(ptr, &what))
    }

    /// Goes on from where [`Run::entry_cached`] found something `missing`, without yielding: reads a leaf where the
    /// medium reads at once. Else the same is missing as before.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Storage`].
    #[inline(never)]
    pub fn read_at_once(&self, key: &[u8], hash: u64, missing: Missing) -> Result<Lookup> {
        let Unread::Leaf(ptr) = missing.0 else {
            return Ok(Lookup::NotCached(missing));
        };
        if !self.may_contain(hash) {
            return Ok(Lookup::Absent);
        }
        let looked_up = self.look_past_cache(ptr, key, hash);
        looked_up.unwrap_or(Ok(Lookup::NotCached(missing)))
    }

    /// What the leaf at `ptr`, which the cache has missed, has under `key`. Reads it into the cache or past it, as the
    /// cache says. Returns `None` where the medium does not read at once: what takes long to read is worth keeping.
    fn look_past_cache(&self, ptr: PagePtr, key: &[u8], hash: u64) -> Option<Result<Lookup>> {
        if let Err(error) = self.check_place(ptr) {
            return Some(Err(error));
        }
        let is_admitted = self.cache.admits(self.number, ptr.offset);
        SCRATCH.with_borrow_mut(|Scratch { stored, body }| {
            let stored = match self.read_page_into(ptr, stored)? {
                Ok(stored) => stored,
                Err(error) => return Some(Err(error)),
            };
            if is_admitted {
                let page = self.decode_page(stored, ptr, 0);
                let page = page.map(|page| self.cache.insert(self.number, ptr.offset, page));
                return Some(page.and_then(|page| self.look_into(page.into(), ptr, key, hash)));
            }
            let found = front::find(stored, ptr.offset, (key, tag_of(hash)), body);
            Some(
                found
                    .map_err(|what| self.bad_page(ptr, &what))
                    .map(|found| match found {
                        None => Lookup::Absent,
                        Some(LeafFound::Here(kind, payload)) => {
                            Lookup::Found(FoundEntry::owned(kind, payload))
                        }
                        Some(LeafFound::Apart(kind, value)) => {
                            Unread::Value(Box::new((kind, value))).into()
                        }
                    }),
            )
        })
    }

    fn cached_leaf(&self, ptr: PagePtr) -> Result<Option<Page>> {
        let Some(page) = self.cache.get(self.number, ptr.offset) else {
            return Ok(None);
        };
        self.check_level(&page, ptr, 0)?;
        Ok(Some(page))
    }

    /// Where the leaf for `key` is, as far as the branches on the way are in memory.
    #[inline]
    fn leaf_place(&self, key: &[u8]) -> LeafPlace<'_> {
        let Some(mut node) = self.root.as_ref() else {
            return self.trailer.root.map_or(LeafPlace::Unread, LeafPlace::Root);
        };
        loop {
            let branch = node.page.branch();
            let i = branch.child_for(key);
            if node.page.level() == 1 {
                return LeafPlace::Child(&node.leaves, i, branch);
            }
            match node.child(i) {
                Some(child) => node = child,
                None => return LeafPlace::Unread,
            }
        }
    }

    /// As [`Run::entry`], from where [`Run::entry_cached`] found something `missing`.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Storage`].
    pub async fn entry_missing(
        &self,
        key: &[u8],
        hash: u64,
        missing: Missing,
    ) -> Result<Option<FoundEntry>> {
        let (page, ptr) = match missing.0 {
            Unread::Value(value) => {
                let (kind, value) = *value;
                return Ok(Some(FoundEntry::owned(
                    kind,
                    self.read_value(&value).await?,
                )));
            }
            _ if !self.may_contain(hash) => return Ok(None),
            // Not at hand a moment ago: the cache is not asked again.
            Unread::Leaf(ptr) => (self.page_into_cache(ptr, 0).await?, ptr),
            Unread::Branch => {
                let mut path = Vec::new();
                let lead = |page: &Page, _| page.branch().child_for(key);
                let Some(ptr) = self.descend(&mut path, lead).await? else {
                    return Ok(None);
                };
                if let Some(page) = self.cached_leaf(ptr)? {
                    (page, ptr)
                } else {
                    let leaf = Missing(Unread::Leaf(ptr));
                    return match self.read_at_once(key, hash, leaf)? {
                        Lookup::Found(entry) => Ok(Some(entry)),
                        Lookup::Absent => Ok(None),
                        Lookup::NotCached(missing) => {
                            Box::pin(self.entry_missing(key, hash, missing)).await
                        }
                    };
                }
            }
        };
        let Some(cell) = page.leaf().find(key, tag_of(hash)) else {
            return Ok(None);
        };
        self.entry_at(page.into(), cell, ptr).await.map(Some)
    }

    /// The entry at `cell` of the leaf `page` that stands at `ptr`, its value read if it is apart.
    pub(super) async fn entry_at(
        &self,
        page: LentPage,
        cell: Cell,
        ptr: PagePtr,
    ) -> Result<FoundEntry> {
        if let Some(entry) = FoundEntry::in_page(page.clone(), cell) {
            return Ok(entry);
        }
        let value = self.value_ptr(&page, cell, ptr)?;
        Ok(FoundEntry::owned(cell.kind, self.read_value(&value).await?))
    }

    /// Goes from the root to a leaf, taking the child that `choose` names at each branch, and says
    /// where that leaf stands; `None` in an empty run. `choose` is given the branch and how many
    /// stand above it. The way is left in `path`, root first.
    pub(super) async fn descend(
        &self,
        path: &mut Vec<Step>,
        choose: impl Fn(&Page, usize) -> usize,
    ) -> Result<Option<PagePtr>> {
        path.clear();
        let Some(root) = self.root.as_ref() else {
            return Ok(self.trailer.root);
        };
        let (mut page, mut node) = (root.page.clone(), Some(root));
        loop {
            let branch = page.branch();
            let i = choose(&page, path.len()).min(branch.len() - 1);
            let (ptr, level) = (branch.child(i), page.level() - 1);
            path.push((page, i));
            if level == 0 {
                return Ok(Some(ptr));
            }
            (page, node) = self.branch(node, i, ptr, level).await?;
        }
    }

    /// The branch that is child `i` of another, which is kept in `parent` if that is. Keeps it, while
    /// there is room for it.
    async fn branch<'a>(
        &self,
        parent: Option<&'a MemoryNode>,
        i: usize,
        ptr: PagePtr,
        level: u8,
    ) -> Result<(Page, Option<&'a MemoryNode>)> {
        let place = parent.and_then(|parent| parent.children.get(i));
        if let Some(kept) = place.and_then(OnceLock::get) {
            return Ok((kept.page.clone(), Some(kept)));
        }
        let Some(place) = place else {
            return Ok((self.page(ptr, level).await?, None));
        };
        let kept_len = self.pinned_len.load(Ordering::Relaxed);
        if kept_len.saturating_add(u64::from(ptr.len)) > self.pinned_len_max {
            return Ok((self.page(ptr, level).await?, None));
        }
        let page = self.read_page(ptr, level).await?;
        let page_len = MemoryNode::kept_len(ptr, &page);
        if place.set(Box::new(MemoryNode::new(page.clone()))).is_ok() {
            self.pinned_len.fetch_add(page_len, Ordering::Relaxed);
        }
        Ok((page, place.get().map(AsRef::as_ref)))
    }

    /// A leaf, through the cache.
    pub(super) async fn leaf(&self, ptr: PagePtr) -> Result<Page> {
        self.page(ptr, 0).await
    }

    /// A page that must be of `level`, through the cache.
    #[inline]
    async fn page(&self, ptr: PagePtr, level: u8) -> Result<Page> {
        if let Some(page) = self.cache.get(self.number, ptr.offset) {
            self.check_level(&page, ptr, level)?;
            return Ok(page);
        }
        self.page_into_cache(ptr, level).await
    }

    async fn page_into_cache(&self, ptr: PagePtr, level: u8) -> Result<Page> {
        let page = self.read_page(ptr, level).await?;
        Ok(self.cache.insert(self.number, ptr.offset, page))
    }

    /// A page that must be of `level`, past the cache.
    pub(super) async fn read_page(&self, ptr: PagePtr, level: u8) -> Result<Page> {
        self.check_place(ptr)?;
        if let Some(page) = self.read_page_at_once(ptr, level) {
            return page;
        }
        let stored = self.read(ptr.offset, ptr.len as usize).await?;
        self.decode_page(&stored, ptr, level)
    }

    /// Whether a page can stand there.
    #[inline]
    fn check_place(&self, ptr: PagePtr) -> Result<()> {
        let PagePtr { offset, len } = ptr;
        if ptr.end_within(self.trailer.filter_offset).is_some() {
            return Ok(());
        }
        Err(self.corrupt(&format!(
            "page at {offset}: its {len} bytes are not a page's"
        )))
    }

    #[cold]
    fn bad_page(&self, ptr: PagePtr, what: &str) -> Error {
        self.corrupt(&format!("page at {}: {what}", ptr.offset))
    }

    /// Where the medium can: without memory of its own for what is stored.
    fn read_page_at_once(&self, ptr: PagePtr, level: u8) -> Option<Result<Page>> {
        SCRATCH.with_borrow_mut(|Scratch { stored, .. }| {
            let stored = self.read_page_into(ptr, stored)?;
            Some(stored.and_then(|stored| self.decode_page(stored, ptr, level)))
        })
    }

    /// The stored bytes of a page, in `memory`, if the medium reads without waiting for others to do so.
    #[inline]
    fn read_page_into<'m>(
        &self,
        ptr: PagePtr,
        memory: &'m mut Vec<u8>,
    ) -> Option<Result<&'m [u8]>> {
        let len = ptr.len as usize;
        if memory.len() < len {
            memory.resize(len, 0);
        }
        let stored = &mut memory[..len];
        let read = self.object.read_into(ptr.offset, stored)?;
        Some(read.map(|()| &*stored))
    }

    fn decode_page(&self, stored: &[u8], ptr: PagePtr, level: u8) -> Result<Page> {
        let page = Page::decode(stored, ptr.offset, self.cache.slabs())
            .map_err(|what| self.bad_page(ptr, &what))?;
        self.check_level(&page, ptr, level)?;
        Ok(page)
    }

    /// Without this a pointer that leads upwards would make a descent endless.
    #[inline]
    fn check_level(&self, page: &Page, ptr: PagePtr, level: u8) -> Result<()> {
        if page.level() == level {
            return Ok(());
        }
        let (at, got) = (ptr.offset, page.level());
        Err(self.corrupt(&format!(
            "page at {at}: is of level {got}, expected {level}"
        )))
    }

    /// A value apart, past the cache.
    pub(super) async fn read_value(&self, ptr: &ValuePtr) -> Result<Bytes> {
        let at = ptr.offset;
        if ptr.end_within(self.trailer.leaves_end).is_none() {
            let len = ptr.stored_len;
            return Err(self.corrupt(&format!("value at {at}: its {len} bytes pass the leaves")));
        }
        let stored = self.read(at, ptr.stored_len as usize).await?;
        ptr.unpack(stored)
            .map_err(|what| self.corrupt(&format!("value at {at}: {what}")))
    }

    /// For each leaf that a branch in memory leads to past the cache: whether the cache has it too.
    #[cfg(test)]
    pub(super) fn lent_leaves(&self) -> Vec<bool> {
        let mut nodes: Vec<&MemoryNode> = self.root.iter().collect();
        let mut lent = Vec::new();
        while let Some(node) = nodes.pop() {
            nodes.extend(
                node.children
                    .iter()
                    .filter_map(OnceLock::get)
                    .map(AsRef::as_ref),
            );
            if node.page.level() == 1 {
                let branch = node.page.branch();
                let here = (0..branch.len())
                    .filter_map(|i| Some((i, Page::of_shared(node.leaves.body(i)?))));
                lent.extend(
                    here.map(|(i, page)| {
                        self.cache.holds(self.number, branch.child(i).offset, &page)
                    }),
                );
            }
        }
        lent
    }

    pub(super) fn trailer(&self) -> &Trailer {
        &self.trailer
    }

    /// Reads the filter as it stands in the file now and checks it, for proofreading.
    pub(super) async fn reread_filter(&self) -> Result<()> {
        let nothing = RunTail {
            bytes: Bytes::new(),
            at: self.file_len(),
        };
        self.load_filter(&nothing).await.map(drop)
    }
}

impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Run({}, {} entries, {} bytes)",
            self.name,
            self.entries(),
            self.file_len()
        )
    }
}

/// The last bytes of a file, which hold all that opening needs of a small one.
struct RunTail {
    bytes: Bytes,
    at: u64,
}

impl RunTail {
    fn slice(&self, offset: u64, len: u64) -> Option<Bytes> {
        let from = usize::try_from(offset.checked_sub(self.at)?).ok()?;
        let to = from.checked_add(usize::try_from(len).ok()?)?;
        (to <= self.bytes.len()).then(|| self.bytes.slice(from..to))
    }
}
