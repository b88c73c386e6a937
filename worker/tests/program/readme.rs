//! Pastes the commands of the README, in order, into one fresh shell at the root of a fresh clone. Each command must succeed,
//! print what the README shows, and leave no process behind.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::support::{examples, program};

/// Ports in the README. The test replaces each of them by a free one.
const PORTS: [&str; 2] = ["6390", "7711"];
/// The command of the README that runs every test. It is not run here, because it runs this test, too.
const GATE: &str = "cargo xtask test";
/// Time limit for all commands, far more than they need. A block that hangs must not block the test run.
const ENOUGH: Duration = Duration::from_mins(5);
/// Markers in the output: the start of a block, with its line in the README; a failed command; the end.
const BLOCK: &str = "@@block ";
const FAILED: &str = "@@failed ";
const END: &str = "@@end";

/// Definitions for the shell. `cargo run` runs the program that was built for the tests. The trap reports each failed
/// command, except `kill` and `wait`: the process may already have exited.
const PRELUDE: &str = r#"
cargo() {
  while [ "$1" != -- ]; do [ $# -gt 0 ] || return 2; shift; done
  shift
  target/debug/eciton "$@"
}
trap 'case "$BASH_COMMAND" in kill\ *|wait\ *) ;; *) printf "@@failed %s\n" "$BASH_COMMAND" ;; esac' ERR
"#;

/// A fenced block of the README.
#[derive(Debug)]
pub(crate) struct Block {
    /// The line of its first line.
    pub(crate) line: usize,
    pub(crate) language: String,
    pub(crate) text: String,
}

/// The fenced blocks of a document, in order.
pub(crate) fn blocks(document: &str) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    let mut is_open = false;
    for (index, line) in document.lines().enumerate() {
        match line.strip_prefix("```") {
            Some(_) if is_open => is_open = false,
            Some(language) => {
                is_open = true;
                found.push(Block {
                    line: index + 2,
                    language: language.to_owned(),
                    text: String::new(),
                });
            }
            None if is_open => {
                let text = &mut found.last_mut().unwrap().text;
                text.push_str(line);
                text.push('\n');
            }
            None => {}
        }
    }
    assert!(!is_open, "a block does not end");
    found
}

/// Returns whether the lines match `shown`, in which a line `...` stands for any number of lines.
fn fits(shown: &[&str], lines: &[&str]) -> bool {
    match shown.split_first() {
        None => lines.is_empty(),
        Some((&"...", rest)) => (0..=lines.len()).any(|skipped| fits(rest, &lines[skipped..])),
        Some((line, rest)) => lines.split_first().is_some_and(|(first, others)| {
            first.trim_end() == line.trim_end() && fits(rest, others)
        }),
    }
}

/// The output without escape sequences and carriage returns.
fn plain(output: &str) -> String {
    let mut text = String::new();
    let mut chars = output.chars();
    while let Some(char) = chars.next() {
        match char {
            '\r' => {}
            // A letter ends an escape sequence.
            '\u{1b}' => {
                chars.by_ref().find(char::is_ascii_alphabetic);
            }
            char => text.push(char),
        }
    }
    text
}

/// As much of a clone as the README's commands need.
fn clone() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    copy(&examples(), &root.path().join("jobs/examples"));
    for profile in ["release", "debug"] {
        let folder = root.path().join("target").join(profile);
        fs::create_dir_all(&folder).unwrap();
        symlink(env!("CARGO_BIN_EXE_eciton"), folder.join("eciton")).unwrap();
    }
    root
}

pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Processes whose working directory is in this folder, including the shell.
fn at_work(folder: &Path) -> Vec<Pid> {
    let is_there = |process: &PathBuf| {
        fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd.starts_with(folder))
    };
    let pid = |process: PathBuf| Pid::from_raw(process.file_name()?.to_str()?.parse().ok()?);
    let entries = fs::read_dir("/proc").unwrap();
    let processes = entries.filter_map(|entry| Some(entry.ok()?.path()));
    processes.filter(is_there).filter_map(pid).collect()
}

/// The shell. Dropping it kills the shell and every process that it has started.
struct Shell {
    child: Child,
    folder: PathBuf,
}

impl Drop for Shell {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        for pid in at_work(&self.folder) {
            kill_process(pid, Signal::KILL).ok();
        }
    }
}

/// Runs a script in a shell on a terminal, and returns its output on the terminal and on stderr.
fn paste(root: &Path, script: &str) -> (String, String) {
    fs::write(root.join("pasted.sh"), script).unwrap();
    let stdout = fs::File::create(root.join("stdout")).unwrap();
    // The rest of the script is on stdin, as in a paste: a command that reads stdin would swallow it, and fail the test.
    let line = "bash < pasted.sh 2> stderr";
    let mut command = Command::new("script");
    // Remove the settings of the user who runs the tests, as for every call of the program.
    for (name, value) in program().get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
        .args([
            "--quiet",
            "--return",
            "--flush",
            "--command",
            line,
            "typescript",
        ])
        .current_dir(root)
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(Stdio::inherit());
    let child = command
        .spawn()
        .unwrap_or_else(|e| panic!("`script` of util-linux is needed for this test: {e}"));
    let folder = root.canonicalize().unwrap();
    let mut shell = Shell { child, folder };
    let read =
        |name: &str| String::from_utf8_lossy(&fs::read(root.join(name)).unwrap()).into_owned();
    let begun = Instant::now();
    while shell.child.try_wait().unwrap().is_none() {
        assert!(
            begun.elapsed() < ENOUGH,
            "it hangs: {}\n{}",
            plain(&read("stdout")),
            read("stderr")
        );
        sleep(Duration::from_millis(50));
    }
    let left = at_work(&shell.folder);
    let stderr = read("stderr");
    assert!(left.is_empty(), "processes are left: {left:?}\n{stderr}");
    (plain(&read("stdout")), stderr)
}

/// The README with its ports replaced by free ones.
fn with_free_ports(mut text: String) -> String {
    let listen = |_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    // Bind all of them before reading any number, so that they differ.
    let listeners: Vec<TcpListener> = PORTS.iter().map(listen).collect();
    for (port, listener) in PORTS.iter().zip(&listeners) {
        assert!(
            text.contains(port),
            "the README no longer names port {port}"
        );
        let free = listener.local_addr().unwrap().port().to_string();
        text = text.replace(port, &free);
    }
    text
}

#[test]
fn the_readme_can_be_pasted() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = with_free_ports(fs::read_to_string(path).unwrap());
    let blocks = blocks(&readme);
    let mut script = PRELUDE.to_owned();
    // The line of each block that is run, with the output that the README shows for it.
    let mut run: Vec<(usize, Option<&str>)> = Vec::new();
    let mut gates = 0;
    for (index, block) in blocks.iter().enumerate() {
        match block.language.as_str() {
            "sh" if block.text.trim() == GATE => gates += 1,
            "sh" => {
                let next = blocks.get(index + 1).filter(|next| next.language == "text");
                run.push((block.line, next.map(|next| next.text.as_str())));
                script.push_str(&format!(
                    "printf '{BLOCK}%s\\n' {}\n{}",
                    block.line, block.text
                ));
            }
            "text" => {}
            other => panic!(
                "line {}: a block of `{other}`, expected `sh` or `text`",
                block.line
            ),
        }
    }
    script.push_str(&format!("printf '{END}\\n'\n"));
    assert_eq!(gates, 1, "`{GATE}` stands in a block of its own, once");
    assert!(run.len() >= 6, "too few blocks: {run:?}");

    let root = clone();
    let (stdout, stderr) = paste(root.path(), &script);
    assert!(
        stdout.contains(END),
        "the end was not reached:\n{stdout}\n{stderr}"
    );
    for line in stdout.lines() {
        let failed = line.strip_prefix(FAILED);
        assert!(failed.is_none(), "failed: {failed:?}\n{stdout}\n{stderr}");
    }
    let parts: Vec<&str> = stdout.split(BLOCK).skip(1).collect();
    assert_eq!(parts.len(), run.len(), "{stdout}");
    for ((line, shown), part) in run.iter().zip(parts) {
        let mut lines: Vec<&str> = part.lines().filter(|line| *line != END).collect();
        assert_eq!(lines.remove(0), line.to_string());
        if let Some(shown) = shown {
            let shown: Vec<&str> = shown.lines().collect();
            assert!(
                fits(&shown, &lines),
                "README.md:{line}: printed\n{}\nwhere it shows\n{}\n{stderr}",
                lines.join("\n"),
                shown.join("\n")
            );
        }
    }
}

#[test]
fn an_ellipsis_matches_any_lines() {
    let lines = ["a", "b", "c"];
    for shown in [
        &["a", "b", "c"][..],
        &["...", "c"],
        &["a", "..."],
        &["a", "...", "b", "...", "c"],
    ] {
        assert!(fits(shown, &lines), "{shown:?}");
    }
    for shown in [
        &["a", "b"][..],
        &["...", "b"],
        &["b", "..."],
        &["a", "...", "d"],
        &[],
    ] {
        assert!(!fits(shown, &lines), "{shown:?}");
    }
}
