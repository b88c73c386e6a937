//! The worker processes of a run: started, listened to, and ended.

use std::io::{self, BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;

use super::WORK;
use super::places::Places;

/// A worker, running. Dropping it kills it.
pub(super) struct Worker {
    child: Child,
    reader: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts worker `number`; its lines go to `said`, and `None` at its end.
    pub(super) fn start(
        program: &Path,
        places: &Places,
        number: usize,
        said: Sender<(usize, Option<String>)>,
    ) -> io::Result<Worker> {
        let mut child = Command::new(program)
            .arg(WORK)
            .args(places.to_args())
            .arg(number.to_string())
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let out = child.stdout.take();
        let reader = std::thread::spawn(move || {
            let lines = out.into_iter().flat_map(|out| BufReader::new(out).lines());
            for line in lines.map_while(Result::ok) {
                if said.send((number, Some(line))).is_err() {
                    return;
                }
            }
            // Nobody may listen any more.
            said.send((number, None)).unwrap_or_default();
        });
        Ok(Worker {
            child,
            reader: Some(reader),
        })
    }

    /// Asks it to end after the commit that it is at.
    pub(super) fn ask_to_end(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Sends the signal that ends it. A process with a call that hangs ends once that returns.
    pub(super) fn kill(&mut self) {
        if let Err(cause) = self.child.kill() {
            eprintln!("a worker cannot be killed: {cause}");
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.kill();
        if let Err(cause) = self.child.wait() {
            eprintln!("a worker may be left behind: {cause}");
        }
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap_or_default();
        }
    }
}
