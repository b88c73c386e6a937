//! What a database of a run lies on: a file system that can lose power, or a plain folder.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tempfile::TempDir;

use crate::dice::Dice;
use crate::disk::{Disk, Gate, Mounted};

/// The folder of the database, below the root, so that its own name can be lost as well.
const FOLDER: &str = "db";

/// A medium. Dropping it unmounts and removes everything.
pub struct Medium {
    power: Option<Power>,
    dir: TempDir,
}

/// A file system that can lose power.
struct Power {
    gate: Arc<Gate>,
    mounted: Option<Mounted>,
}

impl Medium {
    /// A medium that can lose power.
    ///
    /// # Errors
    /// No file system can be mounted here.
    pub fn mount(dice: Dice) -> io::Result<Medium> {
        let dir = tempfile::Builder::new().prefix("eciton-crash-").tempdir()?;
        let gate = Arc::new(Gate::new(Disk::new(dice)));
        let mounted = Mounted::new(Arc::clone(&gate), dir.path())?;
        let power = Some(Power {
            gate,
            mounted: Some(mounted),
        });
        Ok(Medium { power, dir })
    }

    /// A folder of this machine; it keeps what a killed process wrote.
    ///
    /// # Errors
    /// No temporary folder can be made.
    pub fn folder() -> io::Result<Medium> {
        let dir = tempfile::Builder::new().prefix("eciton-crash-").tempdir()?;
        Ok(Medium { power: None, dir })
    }

    /// Where the database is.
    pub fn database(&self) -> PathBuf {
        self.dir.path().join(FOLDER)
    }

    /// Where its operations pass, if it can lose power.
    pub fn gate(&self) -> Option<&Arc<Gate>> {
        self.power.as_ref().map(|power| &power.gate)
    }

    /// Loses power: what was not synced is kept or lost by the dice. Nobody uses it any more.
    ///
    /// # Errors
    /// It is still in use, or cannot be mounted again.
    pub fn power_loss(&mut self, dice: &Dice) -> io::Result<()> {
        let Some(power) = &mut self.power else {
            return Ok(());
        };
        if let Some(mounted) = power.mounted.take() {
            mounted.unmount()?;
        }
        power.gate.look().power_loss(dice);
        power.mounted = Some(Mounted::new(Arc::clone(&power.gate), self.dir.path())?);
        Ok(())
    }
}

impl Drop for Medium {
    fn drop(&mut self) {
        // A request that waits at the gate would keep the file system from being unmounted.
        if let Some(power) = self.power.take() {
            power.gate.refuse();
        }
    }
}
