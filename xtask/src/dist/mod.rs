//! Archives for users who build nothing: a tarball and a Python wheel of the program, and their checksums.
//!
//! The same commit, program and tools give the same bytes: names are sorted, every time is that of the commit, every owner is 0.
//! `strip`, `readelf`, `gzip` and `sha256sum` do the work on large files. They come with every Linux toolchain, and xtask itself is
//! built without optimization, in which compressing the program would take minutes.

mod elf;
mod gzip;
mod licenses;
mod options;
mod project;
mod sbom;
mod stage;
mod sums;
mod tar;
mod wheel;
mod zip;

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use crate::steps::{Failed, cargo, host, workspace};

pub(crate) use options::Options;
use stage::Stage;

/// The version of every crate of the workspace, and so of the program.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The file of checksums, beside the archives.
const SUMS: &str = "SHA256SUMS";

/// Makes the archives of a program that is already built, or else builds it first.
///
/// # Errors
/// The build fails, the program is of another version, a tool is missing, a license text is missing, or a file cannot be written.
pub(crate) fn run(options: &Options) -> Result<(), Failed> {
    let target = host()?;
    let program = match &options.binary {
        Some(binary) => fs::canonicalize(binary).map_err(|cause| at(binary, &cause))?,
        None => build(&options.profile)?,
    };
    check_version(&program)?;
    let seconds = source_date()?;
    fs::create_dir_all(&options.out).map_err(|cause| at(&options.out, &cause))?;
    eprintln!("packing {} for {target}", program.display());
    let stage = Stage::fill(&program, &target, &options.out)?;

    let tarball = format!("eciton-{VERSION}-{target}");
    let wheel = wheel::Wheel::new(&stage, &target, VERSION)?;
    let names = [format!("{tarball}.tar.gz"), wheel.name()];
    let partial = names.clone().map(|name| stage.path(&name));
    let level = options.level();
    thread::scope(|scope| {
        let packed = scope.spawn(|| pack(&stage, &tarball, seconds, level, &partial[0]));
        wheel.write(seconds, level, &partial[1])?;
        let packed = packed.join();
        packed.unwrap_or_else(|_| Err(Failed("the tarball was not written".to_owned())))
    })?;
    // Both are whole; only now those of an earlier call go.
    remove_previous(&options.out)?;
    let paths = names.clone().map(|name| options.out.join(name));
    for (from, to) in partial.iter().zip(&paths) {
        fs::rename(from, to).map_err(|cause| at(to, &cause))?;
    }
    write_sums(&options.out, &names, &paths)?;

    println!("{:>11} bytes  the program", size(&program)?);
    println!(
        "{:>11} bytes  the program, stripped",
        size(&stage.program())?
    );
    for path in &paths {
        println!("{:>11} bytes  {}", size(path)?, path.display());
    }
    Ok(())
}

/// Builds the program and returns its path. The folder of the profile lies beside that of xtask.
///
/// The profile of the tests is built as they build it, with the features of the whole workspace, and others as `cargo run` builds them: else
/// `DataFusion` would be compiled again.
fn build(profile: &str) -> Result<PathBuf, Failed> {
    let is_tested = ["dev", "test"].contains(&profile);
    let scope: &[&str] = if is_tested { &["--workspace"] } else { &[] };
    let build = ["build", "--locked", "--bin", "eciton", "--profile", profile];
    cargo(&[&build, scope].concat(), &[])?;
    let own = std::env::current_exe()
        .map_err(|cause| Failed(format!("the folder of the programs is unknown: {cause}")))?;
    let folder = if is_tested { "debug" } else { profile };
    let built = own.parent().and_then(Path::parent);
    let built = built.map(|target| target.join(folder).join("eciton"));
    built.ok_or_else(|| Failed(format!("{} lies in no target folder", own.display())))
}

/// Refuses a program that was built from another version than the license list and the names are made for.
fn check_version(program: &Path) -> Result<(), Failed> {
    let mut command = Command::new(program);
    command.arg("--version").env_clear();
    let told = text(&mut command)?;
    if told.trim() == format!("eciton {VERSION}") {
        return Ok(());
    }
    let program = program.display();
    Err(Failed(format!(
        "{program} says `{}`, and this source is version {VERSION}; build the program again",
        told.trim()
    )))
}

/// The time that every packed file gets, in seconds since 1970: `SOURCE_DATE_EPOCH`, or else the time of the commit.
fn source_date() -> Result<u64, Failed> {
    let (told, from) = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(told) => (told, "SOURCE_DATE_EPOCH"),
        Err(_) => {
            let mut git = Command::new("git");
            git.args(["log", "-1", "--format=%ct"])
                .current_dir(workspace());
            let told = text(&mut git).map_err(|Failed(cause)| {
                Failed(format!(
                    "{cause}; outside of a clone, set SOURCE_DATE_EPOCH"
                ))
            })?;
            (told, "git log")
        }
    };
    let seconds = told.trim().parse();
    seconds.map_err(|_| {
        Failed(format!(
            "{from} says `{}`, which is no number of seconds",
            told.trim()
        ))
    })
}

/// Writes the tarball. Everything in it lies in one folder with the name of the archive.
fn pack(stage: &Stage, folder: &str, seconds: u64, level: u8, to: &Path) -> Result<(), Failed> {
    let out = File::create(to).map_err(|cause| at(to, &cause))?;
    gzip::stream(level, out, |out| {
        let mut tar = tar::Tar::new(out, seconds);
        for file in stage.files() {
            let mode = if file.is_program { 0o755 } else { 0o644 };
            tar.add(&format!("{folder}/{}", file.name), mode, &file.path)?;
        }
        tar.finish()
    })
}

/// Removes the archives that an earlier call has listed, so that `eciton-*.whl` names one file.
fn remove_previous(out: &Path) -> Result<(), Failed> {
    let sums = out.join(SUMS);
    let Ok(listed) = fs::read_to_string(&sums) else {
        return Ok(());
    };
    let names = listed.lines().filter_map(|line| line.split_once("  "));
    for (_, name) in names.filter(|(_, name)| name.starts_with("eciton-") && !name.contains('/')) {
        let path = out.join(name);
        if path.is_file() {
            fs::remove_file(&path).map_err(|cause| at(&path, &cause))?;
        }
    }
    fs::remove_file(&sums).map_err(|cause| at(&sums, &cause))
}

fn write_sums(out: &Path, names: &[String], paths: &[PathBuf]) -> Result<(), Failed> {
    let sums = sums::sha256(paths)?;
    let path = out.join(SUMS);
    let mut file = File::create(&path).map_err(|cause| at(&path, &cause))?;
    for (sum, name) in sums.iter().zip(names) {
        writeln!(file, "{sum}  {name}").map_err(|cause| at(&path, &cause))?;
    }
    Ok(())
}

fn size(path: &Path) -> Result<u64, Failed> {
    let about = fs::metadata(path).map_err(|cause| at(path, &cause))?;
    Ok(about.len())
}

/// What a program prints, as text.
///
/// # Errors
/// It does not start, or does not pass; its standard error says why.
fn text(command: &mut Command) -> Result<String, Failed> {
    Ok(String::from_utf8_lossy(&output(command)?).into_owned())
}

/// What a program prints.
///
/// # Errors
/// It does not start, or does not pass; its standard error says why.
fn output(command: &mut Command) -> Result<Vec<u8>, Failed> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output();
    let output = output.map_err(|cause| Failed(format!("{name} did not start: {cause}")))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let told = String::from_utf8_lossy(&output.stderr);
    Err(Failed(format!(
        "{name} did not pass ({}): {}",
        output.status,
        told.trim()
    )))
}

/// An error of the file system, with its path.
fn at(path: &Path, cause: &std::io::Error) -> Failed {
    Failed(format!("{}: {cause}", path.display()))
}
