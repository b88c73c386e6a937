//! Programs that the tests start: installed where they are missing, as far as that can be done here.

use std::process::{Command, Stdio};

use crate::steps::Failed;

/// A program that tests start, and where it comes from.
struct Need {
    program: &'static str,
    /// What it takes to say its version.
    version: &'static str,
    package: &'static str,
}

/// What is there on no machine by itself.
const NEEDS: [Need; 2] = [
    Need {
        program: "redis-server",
        version: "--version",
        package: "redis-server",
    },
    // Of the network namespaces of `crash`, which take root, too.
    Need {
        program: "ip",
        version: "-V",
        package: "iproute2",
    },
];

/// Installs what is missing.
pub(crate) fn install() -> Result<(), Failed> {
    let is_missing = |need: &&Need| !is_there(need.program, need.version);
    let missing: Vec<&str> = NEEDS
        .iter()
        .filter(is_missing)
        .map(|need| need.package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let by_hand = format!(
        "apt-get install -y --no-install-recommends {}",
        missing.join(" ")
    );
    println!("$ {by_hand}");
    let is_installed = run("apt-get", &["update", "-qq"])
        && run(
            "apt-get",
            &[
                &["install", "-y", "-qq", "--no-install-recommends"],
                &missing[..],
            ]
            .concat(),
        );
    match is_installed {
        true => Ok(()),
        false => Err(Failed(format!(
            "the tests need {}, and it could not be installed; as root: {by_hand}",
            missing.join(", ")
        ))),
    }
}

fn is_there(program: &str, version: &str) -> bool {
    let quiet = Command::new(program)
        .arg(version)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    quiet.is_ok_and(|status| status.success())
}

/// Runs a program of the system, as root where that takes asking.
fn run(program: &str, args: &[&str]) -> bool {
    let mut command = match is_there("sudo", "--version") {
        true => {
            let mut command = Command::new("sudo");
            command.args(["-n", program]);
            command
        }
        false => Command::new(program),
    };
    let status = command
        .args(args)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .status();
    status.is_ok_and(|status| status.success())
}
