//! [`MirrorStorage`]: two storage paths as one medium.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::try_join_all;
use parking_lot::Mutex;

use super::guide::{KnownPath, MirrorGuide};
use super::member::{Fault, Member, PathHealth};
use super::object::{MirrorObject, WholeObject};
use super::probe::probe;
use super::unreachable::Unreachable;
use super::writer::MirrorWriter;
use crate::base::clock::Clock;
use crate::base::entropy::Entropy;
use crate::base::limits::PATHS_MAX;
use crate::base::{Error, Generation, Mutant, PathId, Position, Result, metric};
use crate::storage::fault::{FaultClass, class_of};
use crate::storage::{
    Access, AppendFile, Capabilities, ContentOf, Created, Exclusion, LockGuard, LockMode, Name,
    Object, ObjectWriter, Operation, Stat, Storage,
};

/// Bytes of an object that is read whole: more than any but a segment has.
const WHOLE_LEN_MAX: u64 = 64 * 1024 * 1024;

/// What a mirror is made of.
pub struct MirrorParts {
    /// The paths that this process knows.
    pub paths: Vec<KnownPath>,
    /// The generation up to which `in_force` is known.
    pub generation: Generation,
    /// The paths on which that generation stands, the active one first.
    pub in_force: Vec<PathId>,
    /// What the database is opened for.
    pub access: Access,
    /// Time, for the headers of seals.
    pub clock: Arc<dyn Clock>,
    /// Randomness, for the names of probes.
    pub entropy: Arc<dyn Entropy>,
    /// Knows where paths are, and what objects refer to.
    pub guide: Arc<dyn MirrorGuide>,
}

/// Two storage paths that hold one database.
pub struct MirrorStorage {
    members: Mutex<Vec<Arc<Member>>>,
    guide: Arc<dyn MirrorGuide>,
    force: Mutex<Force>,
    access: Access,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    /// When something began to speak against the active path, in monotonic nanoseconds.
    suspected: Mutex<Option<u64>>,
    /// The newest slot that was created or looked for here.
    pub(super) newest: Mutex<Position>,
}

/// Which paths a generation stands on.
#[derive(Clone, Debug)]
struct Force {
    generation: Generation,
    paths: Vec<PathId>,
}

/// The paths in force.
pub(super) struct Route {
    pub(super) active: Arc<Member>,
    pub(super) passive: Option<Arc<Member>>,
}

impl MirrorStorage {
    /// A mirror of these paths. A path in force that is not among them is taken for one that cannot be reached.
    pub fn new(parts: MirrorParts) -> MirrorStorage {
        let in_force = &parts.in_force;
        assert!(
            !in_force.is_empty() && in_force.len() <= PATHS_MAX,
            "generation {} stands on {in_force:?}",
            parts.generation
        );
        let paths = parts.paths.into_iter();
        let members = paths.map(|path| Arc::new(Member::new(path.id, path.storage, path.mark)));
        let mirror = MirrorStorage {
            members: Mutex::new(members.collect()),
            guide: parts.guide,
            force: Mutex::new(Force {
                generation: parts.generation,
                paths: parts.in_force,
            }),
            access: parts.access,
            clock: parts.clock,
            entropy: parts.entropy,
            suspected: Mutex::default(),
            newest: Mutex::default(),
        };
        mirror.report();
        mirror
    }

    /// Nothing is asked of this path any more, because of this failure.
    pub(crate) fn give_up(&self, id: PathId, error: Error) {
        let (_, cause) = class_of(&error);
        self.member(id).give_up(Fault { cause, error });
    }

    /// The set that the paths belong to.
    pub fn set(&self) -> u128 {
        self.guide.set()
    }

    pub(super) fn access(&self) -> Access {
        self.access
    }

    /// The paths in force, the active one first.
    pub fn paths(&self) -> Vec<PathId> {
        self.force.lock().paths.clone()
    }

    /// Time, for the header of a seal.
    pub fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// Randomness, for the nonce of a seal.
    pub fn entropy(&self) -> &dyn Entropy {
        &*self.entropy
    }

    /// The medium of one path.
    ///
    /// # Errors
    /// Why nothing is asked of that path any more.
    pub fn path(&self, id: PathId) -> Result<Arc<dyn Storage>> {
        let member = self.member(id);
        match member.health() {
            PathHealth::Lost(fault) => Err(fault.error),
            _ => Ok(Arc::clone(&member.storage)),
        }
    }

    /// As [`Storage::confirm`] on one path. A sync that fails there gives that path up.
    ///
    /// # Errors
    /// As [`Storage::confirm`]; why nothing is asked of that path any more.
    pub async fn confirm_on(&self, id: PathId, name: &Name, bytes: &[u8]) -> Result<bool> {
        let member = self.member(id);
        member.run(member.storage.confirm(name, bytes)).await
    }

    /// Who knows where paths are.
    pub(super) fn guide(&self) -> &dyn MirrorGuide {
        &*self.guide
    }

    /// The generation in force, and its paths.
    pub(super) fn in_force_since(&self) -> (Generation, Vec<PathId>) {
        let force = self.force.lock();
        (force.generation, force.paths.clone())
    }

    /// A path, if this process knows where it is.
    pub(super) fn known(&self, id: PathId) -> Option<Arc<Member>> {
        let members = self.members.lock();
        members.iter().find(|member| member.id == id).cloned()
    }

    /// Tells the mirror of a path that is about to join.
    pub(crate) fn know(&self, path: KnownPath) {
        self.add_member(path);
    }

    /// A path that was found.
    pub(super) fn add_member(&self, path: KnownPath) -> Arc<Member> {
        let mut members = self.members.lock();
        if let Some(known) = members.iter().find(|member| member.id == path.id) {
            return Arc::clone(known);
        }
        let member = Arc::new(Member::new(path.id, path.storage, path.mark));
        members.push(Arc::clone(&member));
        member
    }

    fn member(&self, id: PathId) -> Arc<Member> {
        if let Some(known) = self.known(id) {
            return known;
        }
        let why = "this process was not told where it is; name it with --standby";
        let missing = Unreachable::new(format!("path {id}"), why);
        Arc::new(Member::new(id, Arc::new(missing), None))
    }

    pub(super) fn route(&self) -> Route {
        let paths = self.paths();
        Route {
            active: self.member(paths[0]),
            passive: paths.get(1).map(|id| self.member(*id)),
        }
    }

    /// The log has come to a generation that stands on these paths. One that is known already changes nothing.
    pub fn adopt(&self, generation: Generation, paths: &[PathId]) {
        assert!(
            !paths.is_empty() && paths.len() <= PATHS_MAX,
            "generation {generation} stands on {paths:?}"
        );
        let mut force = self.force.lock();
        if generation <= force.generation {
            return;
        }
        let before = std::mem::replace(
            &mut *force,
            Force {
                generation,
                paths: paths.to_vec(),
            },
        );
        drop(force);
        self.report();
        for left in before.paths.iter().filter(|id| !paths.contains(id)) {
            let since = self.suspected.lock().take();
            let took_ns = since.map_or(0, |since| self.clock.monotonic_ns().saturating_sub(since));
            let (cause, error) = match self.member(*left).health() {
                PathHealth::Suspect(fault) | PathHealth::Lost(fault) => {
                    (fault.cause, Some(fault.error))
                }
                PathHealth::Good => ("sealed", None),
            };
            let message = match &error {
                Some(error) => error.to_string(),
                None => "another process lost it".to_owned(),
            };
            metric::count_failover(cause);
            tracing::warn!(
                cause,
                path = self.member(*left).storage.location(),
                errno = error.as_ref().and_then(errno_of),
                generation = generation.0,
                position = self.newest.lock().0,
                duration_ms = took_ns / 1_000_000,
                "[Failover] the database goes on without this storage path: {message}"
            );
        }
    }

    /// Says which paths are in force.
    fn report(&self) {
        let paths = self.paths();
        let members = self.members.lock().clone();
        for member in &members {
            let place = paths.iter().position(|id| *id == member.id);
            metric::set_storage_path(&member.storage.location(), place == Some(0));
        }
        metric::set_storage_paths_in_force(paths.len());
    }

    /// The path in force that is lost and that the database can go on without, if there is one: a sync has failed there, or
    /// an operation did and a write probe does, too. Nothing is asked of it from then on.
    pub async fn lost(&self) -> Option<PathId> {
        if self.access == Access::ReadOnly {
            return None;
        }
        let Route { active, passive } = self.route();
        let passive = passive?;
        // What failed there may have passed.
        if matches!(passive.health(), PathHealth::Suspect(_))
            && probe(&*passive.storage, &*self.entropy).await.is_ok()
        {
            passive.acquit();
        }
        match active.health() {
            PathHealth::Good if self.is_slow() => self.slow(&active, &passive).await,
            PathHealth::Good => None,
            PathHealth::Lost(_) => Some(active.id),
            PathHealth::Suspect(before) => match probe(&*active.storage, &*self.entropy).await {
                Ok(()) => {
                    active.acquit();
                    *self.suspected.lock() = None;
                    None
                }
                Err(error) => {
                    let (class, cause) = class_of(&error);
                    if class != FaultClass::Failover {
                        return None;
                    }
                    tracing::warn!(
                        cause,
                        path = active.storage.location(),
                        "[Failover] a storage path fails, and a write probe does, too: {}; {error}",
                        before.error
                    );
                    active.give_up(Fault { cause, error });
                    Some(active.id)
                }
            },
        }
    }

    /// Whether something speaks against the active path, so that [`MirrorStorage::lost`] is worth asking.
    pub fn is_suspect(&self) -> bool {
        let Route { active, passive } = self.route();
        let is_suspect = passive.is_some() && !matches!(active.health(), PathHealth::Good);
        if is_suspect {
            let now = self.clock.monotonic_ns();
            self.suspected.lock().get_or_insert(now);
        }
        is_suspect || self.is_slow()
    }

    /// Why the database does not go on: the passive path cannot be reached, and without it this process could not tell
    /// whether others have gone on there.
    pub fn stopped_by(&self) -> Option<String> {
        let passive = self.route().passive?;
        match passive.health() {
            PathHealth::Good => None,
            PathHealth::Suspect(fault) | PathHealth::Lost(fault) => {
                Some(format!("{}: {}", passive.storage.location(), fault.error))
            }
        }
    }

    /// Where who the database is stands for this process: on the first path in force that is not lost.
    fn home(&self) -> Arc<Member> {
        let Route { active, passive } = self.route();
        match (active.health(), passive) {
            (PathHealth::Lost(_), Some(passive)) => passive,
            _ => active,
        }
    }

    fn in_force(&self) -> Vec<Arc<Member>> {
        let Route { active, passive } = self.route();
        std::iter::once(active).chain(passive).collect()
    }
}

/// The number of the system's in an error, if it has one.
fn errno_of(error: &Error) -> Option<i32> {
    match error {
        Error::Storage { errno, .. } => *errno,
        _ => None,
    }
}

/// Whether an object belongs to each path by itself.
fn is_of_path(name: &Name) -> bool {
    *name == Name::instance()
}

/// Whether an object has a random name, so that nobody contends for it.
fn is_segment(name: &Name) -> bool {
    name.as_segment().is_some()
}

#[async_trait]
impl Storage for MirrorStorage {
    fn capabilities(&self) -> Capabilities {
        let all: Vec<Capabilities> = self
            .in_force()
            .iter()
            .map(|member| member.storage.capabilities())
            .collect();
        let has_lock = all.iter().all(Capabilities::has_exclusive_lock);
        Capabilities {
            // Two files that grow by themselves could differ after a crash; a slot in a file of its own is there or not.
            append_files: false,
            exclusion: match has_lock {
                true => Exclusion::Machine,
                false => Exclusion::None,
            },
            durable_at_once: all.iter().all(|one| one.durable_at_once),
            keeps_removed: all.iter().all(|one| one.keeps_removed),
            read_only: all.iter().all(|one| one.read_only),
            stale_ms_max: all.iter().map(|one| one.stale_ms_max).max().unwrap_or(0),
        }
    }

    async fn create(&self, name: &Name, bytes: &[u8]) -> Result<Created> {
        self.create_contended(name, bytes).await
    }

    async fn create_with(&self, name: &Name, content: &ContentOf) -> Result<Created> {
        let Route { active, passive } = self.route();
        // As with `replace`: what the active path has is on both.
        if let Some(passive) = passive {
            passive
                .run(passive.storage.create_with(name, content))
                .await?;
        }
        active.run(active.storage.create_with(name, content)).await
    }

    async fn confirm(&self, name: &Name, bytes: &[u8]) -> Result<bool> {
        if is_segment(name) {
            let members = self.in_force();
            let confirms = members
                .iter()
                .map(|member| member.run(member.storage.confirm(name, bytes)));
            let confirmed = try_join_all(confirms).await?;
            return Ok(confirmed.into_iter().all(|one| one));
        }
        self.confirm_contended(name, bytes).await
    }

    fn mirror(&self) -> Option<&MirrorStorage> {
        Some(self)
    }

    async fn stands(&self) -> Result<()> {
        self.last_stands().await
    }

    async fn sync_names(&self, name: &Name) -> Result<()> {
        let members = self.in_force();
        let syncs = members
            .iter()
            .map(|member| member.run(member.storage.sync_names(name)));
        try_join_all(syncs).await?;
        Ok(())
    }

    async fn stat(&self, name: &Name) -> Result<Option<Stat>> {
        if is_of_path(name) {
            let home = self.home();
            return home.run(home.storage.stat(name)).await;
        }
        let Route { active, passive } = self.route();
        let Some(passive) = passive else {
            return active.run(active.storage.stat(name)).await;
        };
        if is_segment(name) && !Mutant::SegmentOnePath.on() {
            // Whoever wrote it asks whether it stands on both.
            let on_active = active.run(active.storage.stat(name)).await?;
            let on_passive = passive.run(passive.storage.stat(name)).await?;
            return Ok(on_active.zip(on_passive).map(|(a, b)| Stat {
                len: a.len,
                identity: a.identity ^ b.identity.rotate_left(64),
            }));
        }
        if let Some(found) = passive.run(passive.storage.stat(name)).await? {
            return Ok(Some(found));
        }
        let found = active.run(active.storage.stat(name)).await.unwrap_or(None);
        // Who reads it completes it first; who cannot, does not see it.
        Ok(found.filter(|_| self.access == Access::ReadWrite))
    }

    async fn read(&self, name: &Name) -> Result<Option<Bytes>> {
        self.read_at_most(name, u64::MAX).await
    }

    async fn read_at_most(&self, name: &Name, len_max: u64) -> Result<Option<Bytes>> {
        if is_of_path(name) {
            let home = self.home();
            return home.run(home.storage.read_at_most(name, len_max)).await;
        }
        self.find(name, len_max).await
    }

    async fn open(&self, name: &Name) -> Result<Option<Arc<dyn Object>>> {
        if !is_segment(name) {
            let found = self.read_at_most(name, WHOLE_LEN_MAX).await?;
            return Ok(found.map(|bytes| -> Arc<dyn Object> {
                Arc::new(WholeObject {
                    name: name.clone(),
                    bytes,
                })
            }));
        }
        let Route { active, passive } = self.route();
        let opened = active.run(active.storage.open(name)).await;
        let Some(passive) = passive else {
            return opened;
        };
        let (member, object, other) = match opened {
            Ok(Some(object)) => (active, object, Some(passive)),
            failed => match passive.run(passive.storage.open(name)).await? {
                Some(object) => (passive, object, None),
                None => return failed,
            },
        };
        Ok(Some(Arc::new(MirrorObject {
            name: name.clone(),
            member,
            object,
            other,
            opened: Mutex::new(None),
        })))
    }

    async fn list(&self, dir: &str) -> Result<Vec<Name>> {
        let Route { active, passive } = self.route();
        let on_active = active.run(active.storage.list(dir)).await;
        let Some(passive) = passive else {
            return on_active;
        };
        let on_passive = passive.run(passive.storage.list(dir)).await?;
        let names: BTreeSet<Name> = on_active.unwrap_or_default().into_iter().collect();
        Ok(names
            .into_iter()
            .chain(on_passive)
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect())
    }

    async fn remove(&self, name: &Name) -> Result<bool> {
        // Whoever finds it on the active path alone completes it, which does no harm: what is removed lies below a floor,
        // or is referred to by nothing.
        let mut found = false;
        for member in self.in_force().iter().rev() {
            found |= member.run(member.storage.remove(name)).await?;
        }
        Ok(found)
    }

    async fn writer(&self, name: &Name) -> Result<Box<dyn ObjectWriter>> {
        let mut writers = Vec::new();
        for member in self.in_force() {
            if Mutant::SegmentOnePath.on() && !writers.is_empty() {
                break;
            }
            let writer = member.run(member.storage.writer(name)).await?;
            writers.push((member, writer));
        }
        Ok(Box::new(MirrorWriter { writers }))
    }

    async fn append_file(&self, name: &Name) -> Result<Box<dyn AppendFile>> {
        let cause = std::io::Error::from(std::io::ErrorKind::Unsupported);
        Err(Operation::AppendFile.error(name, &cause))
    }

    async fn replace(&self, name: &Name, content: &ContentOf) -> Result<u128> {
        let home = self.home();
        // Where who the database is stands for processes that reach both comes last: what is there is on both.
        for other in self.in_force() {
            if other.id != home.id && !matches!(other.health(), PathHealth::Lost(_)) {
                other.run(other.storage.replace(name, content)).await?;
            }
        }
        home.run(home.storage.replace(name, content)).await
    }

    async fn lock(&self, mode: LockMode) -> Result<Box<dyn LockGuard>> {
        let mut guards = Vec::new();
        let (mut failure, mut is_held) = (None, false);
        for member in self.in_force() {
            match member.run(member.storage.lock(mode)).await {
                Ok(guard) => {
                    guards.push(guard);
                    is_held = true;
                }
                Err(error @ Error::Locked { .. }) => return Err(error),
                // A path that cannot be reached is left later, or writing stops.
                Err(error) if class_of(&error).0 == FaultClass::Failover => failure = Some(error),
                Err(error @ Error::Halted { .. }) => failure = Some(error),
                Err(error) => return Err(error),
            }
        }
        match failure {
            Some(error) if !is_held => Err(error),
            _ => Ok(Box::new(MirrorLock { _guards: guards })),
        }
    }

    async fn prune(&self) -> Result<()> {
        for member in self.in_force() {
            member.run(member.storage.prune()).await?;
        }
        Ok(())
    }

    fn location(&self) -> String {
        let members = self.in_force();
        let locations = members.iter().map(|member| member.storage.location());
        locations.collect::<Vec<_>>().join(" + ")
    }
}

/// The locks of every path in force.
struct MirrorLock {
    _guards: Vec<Box<dyn LockGuard>>,
}

impl LockGuard for MirrorLock {}
