//! The storage itself: names and whole objects.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use eciton_engine::base::{Error, Result};
use eciton_engine::storage::{
    AppendFile, Capabilities, ContentOf, Created, LockGuard, LockMode, Name, Object, ObjectWriter,
    Operation, Stat, Storage,
};
use futures::FutureExt;

use super::append::SimAppendFile;
use super::object::SimObject;
use super::writer::SimWriter;
use super::{SimStorage, Trouble, lost_reply, server_error};
use crate::context::Shared;
use crate::disk::{EIO, ETIMEDOUT, failure};
use crate::fault::FaultKind;
use crate::plan::Drawn;

/// What can happen to a create.
const CREATE: [FaultKind; 7] = [
    FaultKind::LostReply,
    FaultKind::FalseExists,
    FaultKind::HungCreate,
    FaultKind::ServerError,
    FaultKind::IoError,
    FaultKind::NoSpace,
    FaultKind::Slow,
];
const CHANGE: [FaultKind; 4] = [
    FaultKind::LostReply,
    FaultKind::ServerError,
    FaultKind::IoError,
    FaultKind::Slow,
];
const SYNC_NAMES: [FaultKind; 4] = [
    FaultKind::SyncFails,
    FaultKind::SyncLoses,
    FaultKind::IoError,
    FaultKind::Slow,
];
const LOOK: [FaultKind; 3] = [FaultKind::StaleLookup, FaultKind::IoError, FaultKind::Slow];
const LIST: [FaultKind; 3] = [FaultKind::StaleList, FaultKind::IoError, FaultKind::Slow];

/// Virtual milliseconds after which a hung create takes place: at once, or when everybody has
/// forgotten it.
const HUNG_MS: [u64; 6] = [3, 10, 40, 150, 600, 3_000];

impl SimStorage {
    /// A create, whole: the effect and what the caller is told.
    pub(super) async fn create_with(
        &self,
        operation: Operation,
        name: &Name,
        bytes: &[u8],
    ) -> Result<Created> {
        let object = name.as_str();
        let result = match self.begin(operation, object, &CREATE).await {
            Trouble::None => self.create_now(name, bytes).await,
            Trouble::Errno(errno) => Err(failure(operation, name, errno)),
            Trouble::Own(drawn) => self.create_but(drawn, operation, name, bytes).await,
        };
        let result = self.traced(operation, object, result, |created| format!("{created:?}"));
        self.shared.gap().await;
        result
    }

    async fn create_now(&self, name: &Name, bytes: &[u8]) -> Result<Created> {
        let created = self.disk.memory.create(name, bytes).await?;
        match created {
            Created::New => self.note(name, false),
            Created::Exists => self.disk.know(self.process, name),
        }
        Ok(created)
    }

    async fn create_but(
        &self,
        drawn: Drawn,
        operation: Operation,
        name: &Name,
        bytes: &[u8],
    ) -> Result<Created> {
        let object = name.as_str();
        match drawn.kind {
            FaultKind::HungCreate if self.inject(drawn, operation, object) => {
                self.create_later(name, bytes, drawn.bits);
                Err(failure(operation, name, ETIMEDOUT))
            }
            FaultKind::LostReply if self.inject(drawn, operation, object) => {
                self.create_now(name, bytes).await?;
                Err(lost_reply(operation, name, drawn.bits))
            }
            FaultKind::ServerError if self.inject(drawn, operation, object) => {
                if drawn.bits.is_multiple_of(2) {
                    self.create_now(name, bytes).await?;
                }
                Err(server_error(operation, name))
            }
            FaultKind::FalseExists => {
                let created = self.create_now(name, bytes).await?;
                let lies = created == Created::New && self.inject(drawn, operation, object);
                Ok(if lies { Created::Exists } else { created })
            }
            _ => self.create_now(name, bytes).await,
        }
    }

    /// The create takes place at some later time, whatever has become of its process.
    fn create_later(&self, name: &Name, bytes: &[u8], bits: u64) {
        let ms = HUNG_MS[crate::random::place(bits, HUNG_MS.len())];
        let (storage, name) = (self.clone(), name.clone());
        let bytes = Bytes::copy_from_slice(bytes);
        self.shared.later(ms, move || {
            let landed = storage.create_now(&name, &bytes).now_or_never();
            let outcome = format_args!("hung create lands: {landed:?}");
            storage.log(Operation::Create, name.as_str(), outcome);
        });
    }

    /// The shared part of looks at a name: `true` if the process is told that it is absent.
    fn misses(&self, trouble: &Trouble, operation: Operation, name: &Name) -> bool {
        let Trouble::Own(drawn) = trouble else {
            return false;
        };
        let now = self.shared.kernel.now_ms();
        // Mounts that would be late about floors are refused when a database is opened.
        let is_floor = name.as_str().split('/').any(|part| part == Name::FLOOR);
        !is_floor
            && self.disk.may_miss(now, self.process, name)
            && self.inject(*drawn, operation, name.as_str())
    }

    /// A change that is all or nothing and may come to nothing, or be done without a reply.
    async fn change<T>(
        &self,
        operation: Operation,
        object: &str,
        effect: impl Future<Output = Result<T>>,
        show: impl FnOnce(&T) -> String,
    ) -> Result<T> {
        let result = match self.begin(operation, object, &CHANGE).await {
            Trouble::Errno(errno) => Err(failure(operation, object, errno)),
            Trouble::Own(drawn) if self.inject(drawn, operation, object) => {
                let is_done = drawn.kind == FaultKind::LostReply || drawn.bits.is_multiple_of(2);
                if is_done {
                    effect.await?;
                }
                match drawn.kind {
                    FaultKind::LostReply => Err(lost_reply(operation, object, drawn.bits)),
                    _ => Err(server_error(operation, object)),
                }
            }
            Trouble::None | Trouble::Own(_) => effect.await,
        };
        let result = self.traced(operation, object, result, show);
        self.shared.gap().await;
        result
    }
}

#[async_trait]
impl Storage for SimStorage {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            // Nothing that is simulated only reads.
            read_only: false,
            ..Capabilities::FOLDER
        }
    }

    async fn create(&self, name: &Name, bytes: &[u8]) -> Result<Created> {
        self.create_with(Operation::Create, name, bytes).await
    }

    async fn sync_names(&self, name: &Name) -> Result<()> {
        let (operation, object) = (Operation::SyncNames, name.as_str());
        let result = match self.begin(operation, object, &SYNC_NAMES).await {
            Trouble::Errno(errno) => Err(failure(operation, name, errno)),
            Trouble::Own(drawn) if self.inject(drawn, operation, object) => {
                if drawn.kind == FaultKind::SyncLoses {
                    let entropy = Shared::entropy(drawn.bits);
                    self.disk.memory.lose_names(name, &entropy);
                }
                Err(failure(operation, name, EIO))
            }
            Trouble::None | Trouble::Own(_) => self.disk.memory.sync_names(name).await,
        };
        let result = self.traced(operation, object, result, |()| "done".to_owned());
        self.shared.gap().await;
        result
    }

    async fn stat(&self, name: &Name) -> Result<Option<Stat>> {
        let (operation, object) = (Operation::Stat, name.as_str());
        let result = match self.begin(operation, object, &LOOK).await {
            Trouble::Errno(errno) => Err(failure(operation, name, errno)),
            trouble if self.misses(&trouble, operation, name) => Ok(None),
            _ => {
                self.disk.know(self.process, name);
                self.disk.memory.stat(name).await
            }
        };
        self.traced(operation, object, result, |stat| match stat {
            Some(stat) => format!("{} bytes, identity {:x}", stat.len, stat.identity),
            None => "absent".to_owned(),
        })
    }

    async fn read(&self, name: &Name) -> Result<Option<Bytes>> {
        let (operation, object) = (Operation::Read, name.as_str());
        let result = match self.begin(operation, object, &LOOK).await {
            Trouble::Errno(errno) => Err(failure(operation, name, errno)),
            trouble if self.misses(&trouble, operation, name) => Ok(None),
            _ => {
                self.disk.know(self.process, name);
                self.disk.memory.read(name).await
            }
        };
        self.traced(operation, object, result, |bytes| match bytes {
            Some(bytes) => format!("{} bytes", bytes.len()),
            None => "absent".to_owned(),
        })
    }

    async fn open(&self, name: &Name) -> Result<Option<Arc<dyn Object>>> {
        let (operation, object) = (Operation::Open, name.as_str());
        let result = match self.begin(operation, object, &LOOK).await {
            Trouble::Errno(errno) => Err(failure(operation, name, errno)),
            trouble if self.misses(&trouble, operation, name) => Ok(None),
            _ => {
                self.disk.know(self.process, name);
                self.disk.memory.open(name).await
            }
        };
        let result = self.traced(operation, object, result, |object| match object {
            Some(object) => format!("{} bytes", object.len()),
            None => "absent".to_owned(),
        });
        Ok(result?.map(|inner| -> Arc<dyn Object> {
            Arc::new(SimObject::new(self.clone(), name.clone(), inner))
        }))
    }

    async fn list(&self, dir: &str) -> Result<Vec<Name>> {
        let operation = Operation::List;
        let result = match self.begin(operation, dir, &LIST).await {
            Trouble::Errno(errno) => Err(failure(operation, dir, errno)),
            Trouble::None => self.disk.memory.list(dir).await,
            Trouble::Own(drawn) => {
                let now = self.shared.kernel.now_ms();
                let names = self.disk.memory.list(dir).await?;
                let stale = self
                    .disk
                    .stale_list(now, self.process, dir, &names, drawn.bits);
                let is_stale = stale != names && self.inject(drawn, operation, dir);
                Ok(if is_stale { stale } else { names })
            }
        };
        self.traced(operation, dir, result, |names| {
            let names: Vec<&str> = names.iter().map(Name::as_str).collect();
            format!("[{}]", names.join(" "))
        })
    }

    async fn remove(&self, name: &Name) -> Result<bool> {
        let effect = async {
            let found = self.disk.memory.remove(name).await?;
            if found {
                self.note(name, true);
            }
            Ok(found)
        };
        let show = |found: &bool| format!("{found}");
        self.change(Operation::Remove, name.as_str(), effect, show)
            .await
    }

    async fn writer(&self, name: &Name) -> Result<Box<dyn ObjectWriter>> {
        // Nothing happens yet; the first write is the first point.
        Ok(Box::new(SimWriter::new(self.clone(), name.clone())))
    }

    async fn append_file(&self, name: &Name) -> Result<Box<dyn AppendFile>> {
        let (operation, object) = (Operation::AppendFile, name.as_str());
        let kinds = [FaultKind::IoError, FaultKind::NoSpace, FaultKind::Slow];
        let result = match self.begin(operation, object, &kinds).await {
            Trouble::Errno(errno) => Err(failure(operation, name, errno)),
            Trouble::None | Trouble::Own(_) => self.disk.memory.append_file(name).await,
        };
        let inner = self.traced(operation, object, result, |file| {
            format!("{} bytes", file.allocated())
        })?;
        self.note(name, false);
        self.shared.gap().await;
        Ok(Box::new(SimAppendFile::new(
            self.clone(),
            name.clone(),
            inner,
        )))
    }

    async fn replace(&self, name: &Name, content: &ContentOf) -> Result<u128> {
        let effect = self.disk.memory.replace(name, content);
        let show = |identity: &u128| format!("identity {identity:x}");
        self.change(Operation::Replace, name.as_str(), effect, show)
            .await
    }

    async fn lock(&self, mode: LockMode) -> Result<Box<dyn LockGuard>> {
        let operation = Operation::Lock;
        let object = format!("{mode:?}");
        let kinds = [FaultKind::IoError, FaultKind::Slow];
        let result = match self.begin(operation, &object, &kinds).await {
            Trouble::Errno(errno) => Err(failure(operation, &object, errno)),
            Trouble::None | Trouble::Own(_) => match self.disk.memory.lock(mode).await {
                // The number of the real process differs from run to run.
                Err(Error::Locked { host, .. }) => Err(Error::Locked {
                    path: self.location(),
                    pid: 0,
                    host,
                }),
                other => other,
            },
        };
        self.traced(operation, &object, result, |_| "granted".to_owned())
    }

    fn location(&self) -> String {
        format!("disk{}", self.disk.number)
    }
}
