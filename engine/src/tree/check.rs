//! Proofreading: reads every byte of a run and says everything that does not hold.

use super::frame::PagePtr;
use super::key_hash;
use super::leaf::{Leaf, OpKind, tag_of};
use super::page::Page;
use super::run::Run;
use super::search::head_of;
use super::trailer::{self, HEADER_LEN, Trailer};
use super::value::ValuePtr;
use crate::base::checksum::Hasher128;
use crate::base::{Error, Result};

/// Bytes read at once where the content is only hashed.
const CHUNK_LEN: u64 = 1024 * 1024;

/// Something in a run that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where in the file: of the page, value, filter, or of the trailer for what it says wrongly.
    pub offset: u64,
    /// What does not hold, the place included.
    pub detail: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.detail)
    }
}

/// What proofreading found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunCheck {
    /// Puts that were read.
    pub puts: u64,
    /// Deletes that were read.
    pub deletes: u64,
    /// Merges that were read.
    pub merges: u64,
    /// Pages that were read, leaves and branches.
    pub pages: u64,
    /// Values apart that were read.
    pub values: u64,
    /// XXH3-128 of the whole file as it is, to be compared with what the run was written as; `None`
    /// where the medium did not give all of it.
    pub content_hash: Option<u128>,
    /// Everything that does not hold, in the order found; empty for a sound run.
    pub problems: Vec<Problem>,
}

impl RunCheck {
    /// Entries that were read.
    pub fn entries(&self) -> u64 {
        self.puts + self.deletes + self.merges
    }
}

impl Run {
    /// Reads every page and every value past the cache and checks: header; checksums; that values and
    /// pages stand one behind the other without a gap; order of keys within and across pages; heads
    /// and tags; branch separators; counts; first and last key; that the filter knows every key; the
    /// hash of the content. A failure of the medium is reported like damage.
    ///
    /// Reads the file twice, once for its hash and once by its structure. `progress` is given the
    /// bytes read since it was last called, [`Run::check_len`] in all.
    pub async fn check(&self, progress: &mut (dyn FnMut(u64) + Send)) -> RunCheck {
        let mut checker = RunChecker {
            run: self,
            trailer: self.trailer(),
            found: RunCheck::default(),
            first_key: None,
            last_key: None,
            leaves: 0,
            expected_at: HEADER_LEN as u64,
            branches: Vec::new(),
            unread: false,
            reported_len: 0,
            progress,
        };
        checker.check_content().await;
        checker.check_tree().await;
        checker.check_totals();
        let left = self.check_len().saturating_sub(checker.reported_len);
        checker.report(left);
        checker.found
    }

    /// Bytes that [`Run::check`] reads.
    pub fn check_len(&self) -> u64 {
        self.file_len() * 2
    }
}

/// A page to be visited, and the keys it may hold: from `low`, included, up to `high`.
struct Visit {
    ptr: PagePtr,
    level: u8,
    low: Vec<u8>,
    high: Option<Vec<u8>>,
}

impl Run {
    async fn check_header(&self) -> Result<()> {
        let header = self.read(0, HEADER_LEN).await?;
        if *header != trailer::header() {
            return Err(self.corrupt("header at 0: is not that of a run"));
        }
        Ok(())
    }
}

impl Visit {
    fn allows(&self, key: &[u8]) -> bool {
        self.low.as_slice() <= key && self.high.as_deref().is_none_or(|high| key < high)
    }
}

struct RunChecker<'a> {
    run: &'a Run,
    trailer: &'a Trailer,
    found: RunCheck,
    first_key: Option<Vec<u8>>,
    last_key: Option<Vec<u8>>,
    leaves: u64,
    /// Where the next value or leaf must begin.
    expected_at: u64,
    branches: Vec<PagePtr>,
    /// Set when a page could not be read: what it held is not counted, so counts are not compared.
    unread: bool,
    reported_len: u64,
    progress: &'a mut (dyn FnMut(u64) + Send),
}

impl RunChecker<'_> {
    fn report(&mut self, len: u64) {
        // Never beyond what was announced, whatever a damaged file makes this read twice.
        let len = len.min(self.run.check_len() - self.reported_len);
        self.reported_len += len;
        (self.progress)(len);
    }

    fn problem(&mut self, offset: u64, detail: String) {
        self.found.problems.push(Problem { offset, detail });
    }

    fn page_problem(&mut self, ptr: PagePtr, what: &str) {
        self.problem(ptr.offset, format!("page at {}: {what}", ptr.offset));
    }

    fn error(&mut self, offset: u64, error: Error) {
        let detail = match error {
            Error::Corrupt { detail, .. } => detail,
            other => format!("at {offset}: {other}"),
        };
        self.problem(offset, detail);
    }

    /// Reads the file front to back: header, filter, hash of the content.
    async fn check_content(&mut self) {
        let trailer_at = self.trailer.filter_offset + self.trailer.filter_len;
        if let Err(error) = self.run.check_header().await {
            self.error(0, error);
        }
        if let Err(error) = self.run.reread_filter().await {
            self.error(self.trailer.filter_offset, error);
        }
        let mut hasher = Hasher128::default();
        let mut whole = self.hash_range(0, trailer_at, &mut hasher).await;
        if whole && hasher.digest() != self.trailer.content_hash {
            self.problem(
                trailer_at,
                format!("trailer at {trailer_at}: hash of what is before it"),
            );
        }
        whole = whole
            && self
                .hash_range(trailer_at, self.run.file_len(), &mut hasher)
                .await;
        self.found.content_hash = whole.then(|| hasher.digest());
    }

    /// Whether all of `from..to` could be read.
    async fn hash_range(&mut self, from: u64, to: u64, hasher: &mut Hasher128) -> bool {
        let mut at = from;
        while at < to {
            let len = (to - at).min(CHUNK_LEN);
            match self.run.read(at, usize::try_from(len).unwrap_or(0)).await {
                Ok(bytes) => hasher.update(&bytes),
                Err(error) => {
                    self.error(at, error);
                    return false;
                }
            }
            self.report(len);
            at += len;
        }
        true
    }

    /// Visits all pages, in the order of their keys.
    async fn check_tree(&mut self) {
        let Some(root) = self.trailer.root else {
            return;
        };
        let level = self.trailer.height - 1;
        let mut visits = vec![Visit {
            ptr: root,
            level,
            low: Vec::new(),
            high: None,
        }];
        while let Some(visit) = visits.pop() {
            let read = self.run.read_page(visit.ptr, visit.level).await;
            self.found.pages += 1;
            self.report(u64::from(visit.ptr.len));
            match read {
                Err(error) => {
                    self.unread = true;
                    self.error(visit.ptr.offset, error);
                }
                Ok(page) if visit.level == 0 => self.check_leaf(&visit, &page).await,
                Ok(page) => self.check_branch(&visit, &page, &mut visits),
            }
            if visit.level == 0 {
                self.leaves += 1;
                self.expected_at = visit.ptr.offset.saturating_add(u64::from(visit.ptr.len));
            } else {
                self.branches.push(visit.ptr);
            }
        }
    }

    /// Checks the separators and lets the children be visited next, the first of them first.
    fn check_branch(&mut self, visit: &Visit, page: &Page, visits: &mut Vec<Visit>) {
        let branch = page.branch();
        let mut low = visit.low.clone();
        let first = visits.len();
        for i in 0..branch.len() {
            let high = if i + 1 < branch.len() {
                let separator = branch.separator(i);
                if separator <= low || !visit.allows(&separator) || !branch.head_matches(i) {
                    self.page_problem(visit.ptr, &format!("separator {i} is out of order"));
                }
                Some(separator)
            } else {
                visit.high.clone()
            };
            let next_low = high.clone().unwrap_or_default();
            let (ptr, level) = (branch.child(i), visit.level - 1);
            visits.push(Visit {
                ptr,
                level,
                low,
                high,
            });
            low = next_low;
        }
        visits[first..].reverse();
    }

    async fn check_leaf(&mut self, visit: &Visit, page: &Page) {
        let leaf = page.leaf();
        let mut key = Vec::new();
        for i in 0..leaf.len() {
            let cell = leaf.cell(i);
            key.clear();
            key.extend_from_slice(leaf.prefix());
            key.extend_from_slice(cell.suffix(page.body()));
            self.check_key(visit, &leaf, i, &key);
            match cell.kind.op_kind() {
                OpKind::Put => self.found.puts += 1,
                OpKind::Delete => self.found.deletes += 1,
                OpKind::Merge => self.found.merges += 1,
            }
            if cell.kind.is_apart() {
                self.check_value(visit.ptr, cell.payload(page.body())).await;
            }
        }
        if visit.ptr.offset != self.expected_at {
            let what = format!("the leaf was expected at {}", self.expected_at);
            self.page_problem(visit.ptr, &what);
        }
    }

    fn check_key(&mut self, visit: &Visit, leaf: &Leaf<'_>, i: usize, key: &[u8]) {
        if self.last_key.as_deref().is_some_and(|last| key <= last) {
            self.page_problem(
                visit.ptr,
                &format!("entry {i}: its key is not above the one before"),
            );
        }
        if !visit.allows(key) {
            self.page_problem(
                visit.ptr,
                &format!("entry {i}: its key belongs to another leaf"),
            );
        }
        let hash = key_hash(key);
        let suffix = &key[leaf.prefix().len()..];
        if leaf.head_and_tag(i) != (head_of(suffix), tag_of(hash)) {
            self.page_problem(
                visit.ptr,
                &format!("entry {i}: its head or tag is another key's"),
            );
        }
        if !self.run.may_contain(hash) {
            self.page_problem(
                visit.ptr,
                &format!("entry {i}: the filter does not know its key"),
            );
        }
        if self.first_key.is_none() {
            self.first_key = Some(key.to_vec());
        }
        let last = self.last_key.get_or_insert_default();
        last.clear();
        last.extend_from_slice(key);
    }

    async fn check_value(&mut self, leaf: PagePtr, payload: &[u8]) {
        let ptr = match ValuePtr::decode(payload) {
            Ok(ptr) => ptr,
            Err(what) => return self.page_problem(leaf, &what),
        };
        if ptr.offset != self.expected_at {
            let (at, expected) = (ptr.offset, self.expected_at);
            self.problem(at, format!("value at {at}: was expected at {expected}"));
        }
        if let Err(error) = self.run.read_value(&ptr).await {
            self.error(ptr.offset, error);
        }
        self.found.values += 1;
        self.expected_at = ptr.offset.saturating_add(u64::from(ptr.stored_len));
        self.report(u64::from(ptr.stored_len));
    }

    /// Compares what was read with what the trailer says.
    fn check_totals(&mut self) {
        let trailer = self.trailer;
        let at = trailer.filter_offset + trailer.filter_len;
        let mut end = trailer.leaves_end;
        self.branches.sort_unstable_by_key(|ptr| ptr.offset);
        for ptr in std::mem::take(&mut self.branches) {
            if ptr.offset != end {
                self.page_problem(ptr, &format!("the branch was expected at {end}"));
            }
            end = ptr.offset.saturating_add(u64::from(ptr.len));
        }
        if self.unread {
            return;
        }
        let found = &self.found;
        let pairs = [
            ("puts", found.puts, trailer.puts),
            ("deletes", found.deletes, trailer.deletes),
            ("merges", found.merges, trailer.merges),
            ("leaves", self.leaves, trailer.leaves),
            (
                "the end of the leaves",
                self.expected_at,
                trailer.leaves_end,
            ),
            ("the end of the branches", end, trailer.filter_offset),
        ];
        for (what, found, said) in pairs {
            if found != said {
                self.problem(
                    at,
                    format!("trailer at {at}: says {what}: {said}, found {found}"),
                );
            }
        }
        let first = self.first_key.take().unwrap_or_default();
        let last = self.last_key.take().unwrap_or_default();
        if first != trailer.first_key || last != trailer.last_key {
            self.problem(
                at,
                format!("trailer at {at}: its first or last key is another"),
            );
        }
    }
}
