//! Makes the archives of the program that was built for the tests, and installs each as users do.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;

/// The time that the archives of this test have: 14 November 2023, 22:13:20.
const SECONDS: &str = "1700000000";
/// The version of the workspace.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The file of checksums.
const SUMS: &str = "SHA256SUMS";

/// A folder of this test, empty.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder).unwrap();
    }
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// The program that was built with xtask.
fn program() -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_xtask")).with_file_name("eciton");
    let build = "`cargo build --workspace --bin eciton`";
    assert!(
        program.is_file(),
        "no {}; run {build} first",
        program.display()
    );
    program
}

/// A call of `cargo xtask dist`.
fn dist() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.arg("dist").env("SOURCE_DATE_EPOCH", SECONDS);
    command
}

/// What the command prints; it must succeed.
fn passed(command: &mut Command) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    let (stdout, stderr) = (
        String::from_utf8_lossy(&stdout),
        String::from_utf8_lossy(&stderr),
    );
    assert!(
        status.success(),
        "{command:?}: {status}\n{stdout}\n{stderr}"
    );
    stdout.into_owned()
}

/// The names in a folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

/// The one name with this ending.
fn ending<'a>(names: &'a [String], ending: &str) -> &'a str {
    let found: Vec<&String> = names.iter().filter(|name| name.ends_with(ending)).collect();
    let [name] = found[..] else {
        panic!("{ending}: {names:?}")
    };
    name
}

/// A job of one line of data.
fn job(folder: &Path) -> PathBuf {
    fs::write(
        folder.join("sales.csv"),
        "shop,amount\nnorth,2\nsouth,3\nnorth,4\n",
    )
    .unwrap();
    let job = folder.join("sales.toml");
    let text = "name = \"sales\"\n[source]\nformat = \"csv\"\npaths = [\"sales.csv\"]\n[transform]\n\
                sql = \"SELECT shop, sum(amount) AS total FROM source GROUP BY shop\"\n";
    fs::write(&job, text).unwrap();
    job
}

/// Has a program tell its version and run a job.
fn works(program: &Path, place: &Path) {
    let told = passed(Command::new(program).arg("--version"));
    assert_eq!(told.trim(), format!("eciton {VERSION}"));
    let mut run = Command::new(program);
    run.arg("run")
        .arg(job(place))
        .arg("--db")
        .arg(place.join("db"));
    let told = passed(run.args(["--show", "--json", "--workers", "1"]));
    let expected =
        "{\"key\":\"north\",\"value\":{\"total\":6}}\n{\"key\":\"south\",\"value\":{\"total\":3}}";
    assert!(told.trim().ends_with(expected), "{told}");
}

/// Checks what is in the tarball, and runs the program from there.
fn unpacks(place: &Path, tarball: &str, packed: &Path) {
    let mut list = Command::new("tar");
    let list = passed(
        list.args(["--numeric-owner", "-tvzf"])
            .arg(packed)
            .env("TZ", "UTC"),
    );
    for line in list.lines() {
        let is_like_all = line.contains(" 0/0 ") && line.contains(" 2023-11-14 22:13 ");
        assert!(is_like_all, "{line}");
    }
    let packed_names = list
        .lines()
        .filter_map(|line| line.split_whitespace().last());
    let packed_names: Vec<&str> = packed_names.collect();
    assert!(packed_names.is_sorted(), "{packed_names:?}");

    passed(
        Command::new("tar")
            .arg("-xzf")
            .arg(packed)
            .arg("-C")
            .arg(place),
    );
    let top = place.join(tarball);
    let expected = [
        "LICENSE",
        "README.md",
        "SBOM.cdx.json",
        "THIRD-PARTY.txt",
        "completions",
        "eciton",
        "man",
    ];
    assert_eq!(names(&top), expected);
    assert_eq!(names(&top.join("completions")).len(), 5);
    let page = fs::read_to_string(top.join("man/man1/eciton-worker.1")).unwrap();
    assert!(page.contains("ECITON_DB"), "{page}");
    let stripped = fs::metadata(top.join("eciton")).unwrap().len();
    let built = fs::metadata(program()).unwrap().len();
    assert!(stripped < built, "{stripped} of {built} bytes");

    let licenses = fs::read_to_string(top.join("THIRD-PARTY.txt")).unwrap();
    for package in ["\ndatafusion ", "\ntokio ", "\nzstd-sys ", "\nText 1\n"] {
        assert!(licenses.contains(package), "{package}");
    }
    let materials = fs::read_to_string(top.join("SBOM.cdx.json")).unwrap();
    let materials: serde_json::Value = serde_json::from_str(&materials).unwrap();
    assert_eq!(materials["bomFormat"], "CycloneDX");
    let components = materials["components"].as_array().unwrap();
    let linked: std::collections::BTreeSet<&str> = components
        .iter()
        .map(|component| component["purl"].as_str().unwrap())
        .collect();
    assert_eq!(linked.len(), components.len(), "a component twice");
    let depends = materials["dependencies"][0]["dependsOn"]
        .as_array()
        .unwrap();
    assert_eq!(depends.len(), components.len());
    for package in ["pkg:cargo/datafusion@", "pkg:cargo/zstd-sys@"] {
        assert!(
            linked.iter().any(|purl| purl.starts_with(package)),
            "{package}"
        );
    }
    let own = licenses.lines().find(|line| line.starts_with("eciton-"));
    assert_eq!(own, None, "not a third party");
    works(&top.join("eciton"), place);
}

#[test]
fn the_archives_install_a_program_that_runs_a_job() {
    let place = folder("dist");
    let (first, second, venv) = (
        place.join("first"),
        place.join("second"),
        place.join("venv"),
    );
    // What an earlier call has listed goes away; other files stay.
    fs::create_dir(&first).unwrap();
    fs::write(
        first.join(SUMS),
        "00  eciton-0.0.1.whl\n00  notes\n00  eciton-0.0.2.whl\n",
    )
    .unwrap();
    for name in ["eciton-0.0.1.whl", "notes"] {
        fs::write(first.join(name), name).unwrap();
    }
    let pack = |out: &Path| {
        let mut command = dist();
        command
            .arg("--binary")
            .arg(program())
            .arg("--fast")
            .arg("--out")
            .arg(out);
        command
    };
    thread::scope(|scope| {
        scope.spawn(|| passed(&mut pack(&first)));
        // From another folder, with another umask, another time zone, and other settings.
        scope.spawn(|| {
            let pack = pack(&second);
            let mut other = Command::new("sh");
            other.args(["-c", "umask 077 && exec \"$@\"", "sh"]);
            other.arg(pack.get_program()).args(pack.get_args());
            other
                .env("SOURCE_DATE_EPOCH", SECONDS)
                .env("TZ", "Asia/Tokyo");
            other
                .env("ECITON_DB", "/elsewhere")
                .env("GZIP", "-9")
                .current_dir(&place);
            passed(&mut other);
        });
        scope.spawn(|| passed(Command::new("python3").args(["-m", "venv"]).arg(&venv)));
    });

    let made = names(&second);
    assert_eq!(made.len(), 3, "{made:?}");
    for name in &made {
        let differ = fs::read(first.join(name)).unwrap() != fs::read(second.join(name)).unwrap();
        assert!(!differ, "{name}: two calls give different bytes");
    }
    let kept: Vec<String> = names(&first)
        .into_iter()
        .filter(|name| !made.contains(name))
        .collect();
    assert_eq!(
        kept,
        ["notes"],
        "nothing but the archives and what was not listed"
    );
    passed(
        Command::new("sha256sum")
            .args(["--check", "--strict", SUMS])
            .current_dir(&second),
    );

    let tarball = ending(&made, ".tar.gz");
    let top = tarball.trim_end_matches(".tar.gz");
    let target = top.strip_prefix(&format!("eciton-{VERSION}-")).unwrap();
    names_of_binstall_match(target, top);
    unpacks(&second, top, &second.join(tarball));

    let wheel = second.join(ending(&made, ".whl"));
    let mut pip = Command::new(venv.join("bin/pip"));
    pip.args(["install", "--quiet", "--no-index", "--no-deps"]);
    passed(pip.arg("--disable-pip-version-check").arg(&wheel));
    works(&venv.join("bin/eciton"), &venv);
    for shared in ["man/man1/eciton.1", "bash-completion/completions/eciton"] {
        assert!(venv.join("share").join(shared).is_file(), "{shared}");
    }
    fs::remove_dir_all(&place).unwrap();
}

/// `cargo binstall` finds the tarball and the program in it under the names that `dist` gives them.
fn names_of_binstall_match(target: &str, top: &str) {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../worker/Cargo.toml");
    let manifest = fs::read_to_string(manifest).unwrap();
    let (_, section) = manifest
        .split_once("[package.metadata.binstall]\n")
        .unwrap();
    let value = |key: &str| {
        let mut lines = section.lines().take_while(|line| !line.starts_with('['));
        let line = lines
            .find_map(|line| line.strip_prefix(&format!("{key} = ")))
            .unwrap();
        let filled = line.trim_matches('"').replace("{ version }", VERSION);
        let filled = filled.replace("{ target }", target);
        filled
            .replace("{ bin }", "eciton")
            .replace("{ binary-ext }", "")
    };
    let url = value("pkg-url");
    assert!(url.ends_with(&format!("/v{VERSION}/{top}.tar.gz")), "{url}");
    assert_eq!(value("bin-dir"), format!("{top}/eciton"));
    assert_eq!(value("pkg-fmt"), "tgz");
}

#[test]
fn a_program_of_another_version_is_refused() {
    let place = folder("dist-version");
    // `true` of the system prints nothing, or a version that is not ours.
    let Output { status, stderr, .. } = dist()
        .args(["--binary", "/bin/true", "--out"])
        .arg(place.join("out"))
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&stderr);
    assert_eq!(status.code(), Some(1), "{told}");
    assert!(told.contains("build the program again"), "{told}");
    assert!(!place.join("out").exists(), "nothing is written");
    fs::remove_dir_all(&place).unwrap();
}

#[test]
fn an_unknown_argument_is_a_wrong_call() {
    let Output { status, stderr, .. } = dist().arg("--fats").output().unwrap();
    let told = String::from_utf8_lossy(&stderr);
    assert_eq!(status.code(), Some(2), "{told}");
    assert!(told.contains("`--fats`"), "{told}");
}
