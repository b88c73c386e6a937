//! A full disk: the commit fails whole, the program says so and ends with 1; after space is made the
//! same command goes on.
//!
//! Needs the right to mount a small file system in memory; where that is missing the test says so and
//! tests nothing.

#![cfg(target_os = "linux")]

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::Command;

use crate::support::{Place, measurements, upsert};

/// Rows of the job: its records take more than what is left on the disk.
const ROWS: u32 = 20_000;
/// Bytes of the disk.
const DISK_LEN: u64 = 32 * 1024 * 1024;

/// A file system of its own, gone with this value.
pub(crate) struct Disk {
    path: PathBuf,
}

impl Disk {
    pub(crate) fn mount(place: &Place) -> Option<Disk> {
        let path = place.path("disk");
        fs::create_dir(&path).unwrap();
        let options = format!("size={DISK_LEN}");
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(&path);
        let mounted = mount.output().is_ok_and(|output| output.status.success());
        mounted.then_some(Disk { path })
    }

    /// Fills the disk but for `left` bytes; removing the file returned makes space again.
    pub(crate) fn fill(&self, left: usize) -> PathBuf {
        let files = fs::read_dir(&self.path).unwrap().count();
        let path = self.path.join(format!("filler-{files}"));
        let mut file = File::create(&path).unwrap();
        let piece = vec![1; 4 * 1024];
        let full = loop {
            if let Err(error) = file.write_all(&piece) {
                break error;
            }
        };
        assert_eq!(full.kind(), ErrorKind::StorageFull, "{full}");
        let len = file.metadata().unwrap().len();
        file.set_len(len.saturating_sub(left as u64)).unwrap();
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(&self.path).status();
        assert!(
            unmounted.is_ok_and(|status| status.success()),
            "{} stays",
            self.path.display()
        );
    }
}

#[test]
fn a_full_disk_ends_with_1_and_the_same_command_goes_on() {
    let undisturbed = Place::new();
    undisturbed.write("m.csv", measurements(ROWS));
    undisturbed.write("job.toml", upsert("4KiB"));
    undisturbed.call(&["run", "job.toml"]).done();
    let expected = undisturbed.records("levels");

    // From nothing left, where not even the database can be created, to enough for a part.
    for left in [0, 64 * 1024, 512 * 1024] {
        let place = Place::with_db("disk/db");
        let Some(disk) = Disk::mount(&place) else {
            println!("not tested: no right to mount a file system");
            return;
        };
        place.write("m.csv", measurements(ROWS));
        place.write("job.toml", upsert("4KiB"));
        let filler = disk.fill(left);
        place
            .call(&["run", "job.toml", "--commit-interval", "0s"])
            .with_code(1)
            .told(&["No space left on device"]);
        fs::remove_file(filler).unwrap();
        place.call(&["run", "job.toml"]).done();
        assert_eq!(place.records("levels"), expected, "with {left} bytes left");
        place.call(&["db", "verify"]).done();
    }
}
