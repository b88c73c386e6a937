//! What a program asks of the system that runs it, by `readelf`.

use std::path::Path;
use std::process::Command;

use super::text;
use crate::steps::Failed;

/// Libraries that every Linux with glibc has: programs that link no others run on all of them with that glibc or a newer one (PEP 600).
const EVERYWHERE: [&str; 6] = [
    "libgcc_s.so.1",
    "libm.so.6",
    "libc.so.6",
    "libdl.so.2",
    "libpthread.so.0",
    "librt.so.1",
];
/// The oldest glibc that Rust supports: 2.17.
const GLIBC_MINOR_MIN: u32 = 17;

/// The platform tag of a wheel with this program.
///
/// # Errors
/// `readelf` is missing, or there is no tag for the target.
pub(super) fn platform(program: &Path, target: &str) -> Result<String, Failed> {
    let arch = target.strip_suffix("-unknown-linux-gnu");
    let arch = arch.filter(|arch| ["x86_64", "aarch64"].contains(arch));
    let arch = arch.ok_or_else(|| {
        Failed(format!(
            "no platform tag of wheels is known for {target}; archives are made on Linux with glibc, on x86_64 and aarch64"
        ))
    })?;
    let mut readelf = Command::new("readelf");
    readelf.args(["--wide", "--dynamic", "--version-info"]);
    let told = text(readelf.arg(program).env("LC_ALL", "C"))?;
    let foreign = foreign(&told);
    if foreign.is_empty() {
        return Ok(format!("manylinux_2_{}_{arch}", glibc_minor(&told)));
    }
    eprintln!(
        "the program links {}, which not every Linux has; the wheel is for machines like this one",
        foreign.join(", ")
    );
    Ok(format!("linux_{arch}"))
}

/// Libraries that the program needs and that a Linux may lack.
fn foreign(told: &str) -> Vec<&str> {
    let needed = told.lines().filter(|line| line.contains("(NEEDED)"));
    let names = needed.filter_map(|line| line.split(['[', ']']).nth(1));
    names
        .filter(|name| !EVERYWHERE.contains(name) && !name.starts_with("ld-linux"))
        .collect()
}

/// The minor version of the newest glibc that a symbol asks for.
fn glibc_minor(told: &str) -> u32 {
    let names = told.split_whitespace();
    let versions = names.filter_map(|name| name.strip_prefix("GLIBC_2."));
    let minors = versions.filter_map(|version| version.split('.').next()?.parse().ok());
    minors.max().unwrap_or(0).max(GLIBC_MINOR_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLD: &str = "\
 0x0000000000000001 (NEEDED)             Shared library: [libgcc_s.so.1]
 0x0000000000000001 (NEEDED)             Shared library: [ld-linux-x86-64.so.2]
  000000: Version: 1  File: libm.so.6  Cnt: 2
  0x0010:   Name: GLIBC_2.9  Flags: none  Version: 13
  0x0020:   Name: GLIBC_2.2.5  Flags: none  Version: 5";

    #[test]
    fn the_newest_version_counts_by_its_number() {
        assert_eq!(glibc_minor(TOLD), GLIBC_MINOR_MIN);
        assert_eq!(glibc_minor(&TOLD.replace("2.9", "2.35")), 35);
    }

    #[test]
    fn libraries_that_a_linux_may_lack_are_named() {
        assert_eq!(foreign(TOLD), Vec::<&str>::new());
        let with = TOLD.replace("libgcc_s.so.1", "libssl.so.3");
        assert_eq!(foreign(&with), ["libssl.so.3"]);
    }
}
