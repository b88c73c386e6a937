//! Where every request passes: at a chosen operation the medium stands still, until the harness has
//! decided what becomes of the process that asked.

use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use fuser::Errno;

use super::Disk;

/// Told when the medium stands still.
pub type Tripped = Box<dyn FnMut() + Send>;

/// What the medium does with a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It does it.
    Running,
    /// Nothing is done and nothing answered.
    Still,
    /// The process that asks is being killed: nothing is done any more.
    Dead,
}

/// What is wrong with a medium that no process is being killed on.
#[derive(Clone, Copy, Debug)]
pub enum Trouble {
    /// Every request fails with this error.
    Fails(Errno),
    /// Every change fails with this error.
    Refuses(Errno),
    /// No request is answered.
    Hangs,
    /// Every change takes that much longer.
    Slow(Duration),
}

struct State {
    disk: Disk,
    phase: Phase,
    /// Changes until it stands still.
    left: Option<u64>,
    tripped: Option<Tripped>,
}

/// The medium, shared between the file system and the harness.
pub struct Gate {
    state: Mutex<State>,
    moved: Condvar,
    trouble: Mutex<Option<Trouble>>,
    over: Condvar,
}

/// The medium, locked.
pub struct Entered<'a>(MutexGuard<'a, State>);

impl std::ops::Deref for Entered<'_> {
    type Target = Disk;

    fn deref(&self) -> &Disk {
        &self.0.disk
    }
}

impl std::ops::DerefMut for Entered<'_> {
    fn deref_mut(&mut self) -> &mut Disk {
        &mut self.0.disk
    }
}

impl Gate {
    /// A gate before a medium.
    pub fn new(disk: Disk) -> Gate {
        let state = State {
            disk,
            phase: Phase::Running,
            left: None,
            tripped: None,
        };
        Gate {
            state: Mutex::new(state),
            moved: Condvar::new(),
            trouble: Mutex::new(None),
            over: Condvar::new(),
        }
    }

    /// Enters for something that changes nothing, whatever the phase.
    pub fn look(&self) -> Entered<'_> {
        Entered(self.state.lock())
    }

    /// Enters for a request of a process that changes nothing.
    ///
    /// # Errors
    /// That of the trouble.
    pub fn ask(&self) -> Result<Entered<'_>, Errno> {
        self.pass(false)?;
        Ok(self.look())
    }

    /// From now on this is wrong with the medium; `None`: nothing, and requests that hang go on.
    pub fn set_trouble(&self, trouble: Option<Trouble>) {
        *self.trouble.lock() = trouble;
        self.over.notify_all();
    }

    fn pass(&self, is_change: bool) -> Result<(), Errno> {
        let mut trouble = self.trouble.lock();
        while let Some(Trouble::Hangs) = *trouble {
            self.over.wait(&mut trouble);
        }
        match *trouble {
            Some(Trouble::Fails(errno)) => Err(errno),
            Some(Trouble::Refuses(errno)) if is_change => Err(errno),
            Some(Trouble::Slow(longer)) if is_change => {
                drop(trouble);
                std::thread::sleep(longer);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Enters for a change, or a sync.
    ///
    /// # Errors
    /// `EIO` to a process that is being killed; that of the trouble.
    pub fn change(&self) -> Result<Entered<'_>, Errno> {
        self.pass(true)?;
        let mut state = self.state.lock();
        if state.phase == Phase::Running {
            if state.left == Some(0) {
                state.phase = Phase::Still;
                state.left = None;
                if let Some(tripped) = &mut state.tripped {
                    tripped();
                }
            }
            state.left = state.left.map(|left| left - 1);
        }
        while state.phase == Phase::Still {
            self.moved.wait(&mut state);
        }
        if state.phase == Phase::Dead {
            return Err(Errno::EIO);
        }
        state.disk.counts.changes += 1;
        Ok(Entered(state))
    }

    /// Stands still before the change that comes after `changes` others, and says so.
    pub fn trip_after(&self, changes: u64, tripped: Tripped) {
        let mut state = self.state.lock();
        state.left = Some(changes);
        state.tripped = Some(tripped);
    }

    /// Goes on.
    pub fn go_on(&self) {
        self.to(Phase::Running);
    }

    /// Refuses every change from now on.
    pub fn refuse(&self) {
        self.to(Phase::Dead);
    }

    fn to(&self, phase: Phase) {
        self.set_trouble(None);
        let mut state = self.state.lock();
        state.phase = phase;
        state.left = None;
        self.moved.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::sync::{Arc, mpsc};

    use super::super::ROOT;
    use super::*;
    use crate::dice::Dice;

    #[test]
    fn it_stands_still_before_the_chosen_change() {
        let gate = Arc::new(Gate::new(Disk::new(Dice::new(1))));
        let (tripped, waits) = mpsc::channel();
        let told = Box::new(move || tripped.send(()).unwrap());
        gate.trip_after(1, told);
        let asks = Arc::clone(&gate);
        let process = std::thread::spawn(move || {
            for name in ["a", "b", "c"] {
                asks.change()?.create(ROOT, OsStr::new(name))?;
            }
            Ok::<(), Errno>(())
        });
        waits.recv().unwrap();
        assert_eq!(gate.look().list(ROOT).len(), 1);
        gate.refuse();
        assert_eq!(process.join().unwrap(), Err(Errno::EIO));
        assert_eq!(gate.look().list(ROOT).len(), 1);
        gate.go_on();
        gate.change()
            .unwrap()
            .create(ROOT, OsStr::new("d"))
            .unwrap();
    }
}
