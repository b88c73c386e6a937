//! What there is: volumes, processes and what was ever said over the bus.

use super::{Action, Bounds, Mutant, Possession};

/// No slot: what the first one follows.
const NONE: u8 = u8::MAX;

/// A slot: its number in the order of writing stands for its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Slot {
    /// The slot before it.
    pub(super) prev: u8,
    /// The transactions in it, a bit each.
    pub(super) holds: u8,
    /// Whether its bytes were offered.
    pub(super) is_offered: bool,
}

/// A process at a volume.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Process {
    pub(super) volume: usize,
    /// How many slots there were when it opened the database.
    pub(super) opened: usize,
    /// The slots that it knows and shows.
    pub(super) chain: Vec<u8>,
    /// How many of them its transaction has read, while it is open.
    pub(super) read: Option<usize>,
}

/// What became of a process's one transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Transaction {
    /// Where it was submitted.
    pub(super) home: Option<usize>,
    /// Number and hash of the slot that it read, once it was offered.
    pub(super) offer: Option<(usize, u8)>,
    /// The answer that its process may hear.
    pub(super) is_answered: bool,
    /// It was acknowledged, by that answer or by its own process.
    pub(super) is_acknowledged: bool,
}

/// A state of the model.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub(super) volumes: [Option<Vec<u8>>; 2],
    /// The copy that was taken of the first volume.
    pub(super) image: Option<Vec<u8>>,
    /// It has become a volume.
    pub(super) is_used: bool,
    pub(super) slots: Vec<Slot>,
    pub(super) processes: Vec<Option<Process>>,
    pub(super) transactions: Vec<Transaction>,
    /// Processes that have opened a database: in the order of their numbers, since one is like the other.
    pub(super) openings: usize,
    has_taken: bool,
    has_heard: bool,
}

impl Process {
    fn last(&self) -> u8 {
        self.chain.last().copied().unwrap_or(NONE)
    }

    /// Whether slot `at`, counted from 1, was written after this process had opened the database.
    fn is_proof(&self, at: usize) -> bool {
        at > self.opened
    }
}

impl State {
    pub(super) fn first(bounds: &Bounds) -> State {
        State {
            volumes: [Some(Vec::new()), None],
            image: None,
            is_used: false,
            slots: Vec::new(),
            processes: vec![None; bounds.processes],
            transactions: vec![Transaction::default(); bounds.processes],
            openings: 0,
            has_taken: false,
            has_heard: false,
        }
    }

    /// The slots that were ever written.
    pub(super) fn slots(&self) -> impl Iterator<Item = u8> + use<> {
        let len = u8::try_from(self.slots.len()).unwrap_or(NONE);
        0..len
    }

    /// The state after a step, `None` where it cannot be taken now.
    pub(super) fn after(&self, model: &Possession, action: Action) -> Option<State> {
        let mut next = self.clone();
        match action {
            Action::Open(process, volume) => next.open(process, volume)?,
            Action::Read(process) => next.read(process)?,
            Action::Take(process, slot) => next.take(model.mutant, process, slot)?,
            Action::Submit(process) => next.submit(process)?,
            Action::Offer(process) => next.offer(model.mutant, process)?,
            Action::Write(process, other) => next.write(model, process, other)?,
            Action::Hear(process) => next.hear(process)?,
            Action::Copy => next.copy()?,
            Action::Clone => next.mount(1)?,
            Action::SetBack => next.mount(0)?,
        }
        Some(next)
    }

    fn open(&mut self, process: usize, volume: usize) -> Option<()> {
        let log = self.volumes[volume].clone()?;
        if process != self.openings {
            return None;
        }
        self.openings += 1;
        self.processes[process] = Some(Process {
            volume,
            opened: log.len(),
            chain: log,
            read: None,
        });
        Some(())
    }

    fn read(&mut self, process: usize) -> Option<()> {
        let reader = self.processes[process].as_mut()?;
        let log = self.volumes[reader.volume].as_ref()?;
        let slot = *log.get(reader.chain.len())?;
        // Anything else would be damage to it; that it can come so far is another property.
        (self.slots[usize::from(slot)].prev == reader.last()).then(|| reader.chain.push(slot))
    }

    fn take(&mut self, mutant: Option<Mutant>, process: usize, slot: u8) -> Option<()> {
        let offered = self.slots[usize::from(slot)];
        // The bus knows slots by their numbers.
        let place = self.place_of(slot);
        let taker = self.processes[process].as_mut()?;
        let follows = offered.prev == taker.last() || mutant == Some(Mutant::SlotUnchained);
        let counts = taker.is_proof(taker.chain.len()) || mutant == Some(Mutant::TakeUnproved);
        let is_next = place == taker.chain.len() + 1;
        (offered.is_offered && is_next && follows && counts).then(|| taker.chain.push(slot))?;
        self.has_taken = true;
        Some(())
    }

    /// Its number, counted from 1.
    fn place_of(&self, slot: u8) -> usize {
        match self.slots.get(usize::from(slot)) {
            Some(found) => 1 + self.place_of(found.prev),
            None => 0,
        }
    }

    fn submit(&mut self, process: usize) -> Option<()> {
        let submitter = self.processes[process].as_mut()?;
        let transaction = &mut self.transactions[process];
        if transaction.home.is_some() {
            return None;
        }
        transaction.home = Some(submitter.volume);
        submitter.read = Some(submitter.chain.len());
        Some(())
    }

    fn offer(&mut self, mutant: Option<Mutant>, process: usize) -> Option<()> {
        let offerer = self.processes[process].as_ref()?;
        let read = offerer.read?;
        let transaction = &mut self.transactions[process];
        let counts = offerer.is_proof(read) || mutant == Some(Mutant::OfferUnproved);
        if transaction.offer.is_some() || !counts {
            return None;
        }
        let hash = read.checked_sub(1).map_or(NONE, |at| offerer.chain[at]);
        transaction.offer = Some((read, hash));
        Some(())
    }

    fn write(&mut self, model: &Possession, process: usize, other: Option<usize>) -> Option<()> {
        if self.slots.len() >= model.bounds.slots {
            return None;
        }
        let writer = self.processes[process].as_ref()?;
        // Created if absent, where the slot before it stands.
        if self.volumes[writer.volume].as_ref() != Some(&writer.chain) {
            return None;
        }
        let mut holds = 0;
        if writer.read.is_some() && !self.holds(&writer.chain, process) {
            holds |= 1 << process;
        }
        if let Some(other) = other {
            let (read, hash) = self.transactions[other].offer?;
            let known = read
                .checked_sub(1)
                .map_or(Some(NONE), |at| writer.chain.get(at).copied());
            let same = known == Some(hash) || model.mutant == Some(Mutant::HistoryUnchecked);
            let counts = writer.is_proof(read) || model.mutant == Some(Mutant::TakeUnproved);
            let is_new = !self.holds(&writer.chain, other);
            if read > writer.chain.len() || !same || !counts || !is_new {
                return None;
            }
            holds |= 1 << other;
        }
        let is_offered =
            writer.is_proof(writer.chain.len()) || model.mutant == Some(Mutant::OfferUnproved);
        let (prev, volume) = (writer.last(), writer.volume);
        let slot = u8::try_from(self.slots.len()).ok()?;
        self.slots.push(Slot {
            prev,
            holds,
            is_offered,
        });
        self.volumes[volume].as_mut()?.push(slot);
        let writer = self.processes[process].as_mut()?;
        writer.chain.push(slot);
        if holds & 1 << process != 0 {
            writer.read = None;
            self.transactions[process].is_acknowledged = true;
        }
        if let Some(other) = other {
            self.transactions[other].is_answered = true;
        }
        Some(())
    }

    fn hear(&mut self, process: usize) -> Option<()> {
        let hearer = self.processes[process].as_mut()?;
        let transaction = &mut self.transactions[process];
        if !transaction.is_answered || hearer.read.is_none() {
            return None;
        }
        hearer.read = None;
        transaction.is_acknowledged = true;
        self.has_heard = true;
        Some(())
    }

    fn copy(&mut self) -> Option<()> {
        if self.image.is_some() {
            return None;
        }
        self.image.clone_from(&self.volumes[0]);
        Some(())
    }

    /// The copy becomes a volume, beside the original or in its place.
    fn mount(&mut self, volume: usize) -> Option<()> {
        let image = self.image.clone().filter(|_| !self.is_used)?;
        self.is_used = true;
        if volume == 0 {
            for process in &mut self.processes {
                *process = None;
            }
            for at in 0..self.transactions.len() {
                // What came after the copy is gone, as whoever sets a volume back wants it.
                let is_there = self.holds(&image, at);
                self.transactions[at].is_acknowledged &= is_there;
            }
        }
        self.volumes[volume] = Some(image);
        Some(())
    }

    fn holds(&self, log: &[u8], transaction: usize) -> bool {
        let mut slots = log.iter().map(|slot| self.slots[usize::from(*slot)]);
        slots.any(|slot| slot.holds & 1 << transaction != 0)
    }

    pub(super) fn keeps_what_it_acknowledged(&self) -> bool {
        let mut transactions = self.transactions.iter().enumerate();
        transactions.all(|(at, transaction)| {
            let log = transaction
                .home
                .and_then(|home| self.volumes[home].as_ref());
            !transaction.is_acknowledged || log.is_some_and(|log| self.holds(log, at))
        })
    }

    pub(super) fn is_apart(&self) -> bool {
        let image = self.image.as_deref().unwrap_or_default();
        let volumes = self.volumes.iter().enumerate();
        let mut written = volumes.flat_map(|(volume, log)| {
            let log = log.as_deref().unwrap_or_default();
            log.iter().map(move |slot| (volume, *slot))
        });
        written.all(|(volume, slot)| {
            let holds = self.slots[usize::from(slot)].holds;
            let mut transactions = self.transactions.iter().enumerate();
            image.contains(&slot)
                || transactions.all(|(at, transaction)| {
                    holds & 1 << at == 0 || transaction.home == Some(volume)
                })
        })
    }

    pub(super) fn shows_what_is_stored(&self) -> bool {
        self.processes.iter().flatten().all(|process| {
            let log = self.volumes[process.volume].as_deref().unwrap_or_default();
            log.starts_with(&process.chain)
        })
    }

    pub(super) fn has_taken(&self) -> bool {
        self.has_taken
    }

    pub(super) fn has_heard(&self) -> bool {
        self.has_heard
    }

    pub(super) fn both_go_on(&self) -> bool {
        let image = self.image.as_ref().map_or(0, Vec::len);
        let mut logs = self.volumes.iter();
        logs.all(|log| log.as_ref().is_some_and(|log| log.len() > image))
    }

    pub(super) fn goes_on_set_back(&self) -> bool {
        let image = self.image.as_ref().map_or(0, Vec::len);
        let len = self.volumes[0].as_ref().map_or(0, Vec::len);
        let is_set_back = self.is_used && self.volumes[1].is_none();
        is_set_back && len > image && self.slots.len() > len
    }
}
