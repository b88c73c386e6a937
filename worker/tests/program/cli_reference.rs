//! Compares `docs/cli.md` with the `--help` of every command. `cargo xtask renew-cli` regenerates the page.

use std::fs;
use std::path::Path;

use crate::support::program;

/// If set, the test writes the page before it compares.
const RENEW: &str = "ECITON_RENEW_CLI";
/// Options of every command, which the page shows once, at the top.
const GLOBAL: [&str; 5] = ["--db ", "--redis ", "--cache ", "--json ", "-h, --help"];

const HEAD: &str = "\
# CLI reference

This page is the output of `eciton COMMAND --help`, written by `cargo xtask renew-cli`; a test compares the two. The options `--db`, `--redis`,
`--cache` and `--json` work on every command and are listed only once, at the top. What the commands do together is in [Jobs](jobs.md) and
[Operations](operations.md).
";

/// The help of a command, as printed without a terminal.
fn help(path: &[String]) -> String {
    let output = program().args(path).arg("--help").output().unwrap();
    assert!(output.status.success(), "{path:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The subcommands that a help text lists.
fn commands(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let listed = lines.take_while(|line| !line.is_empty());
    // Continuation lines are indented further than names.
    let names = listed.filter_map(|line| {
        let name = line.strip_prefix("  ")?;
        (!name.starts_with(' ')).then(|| name.split(' ').next().unwrap_or_default().to_owned())
    });
    names.filter(|name| name != "help").collect()
}

/// The help without the options of every command.
fn own(help: &str) -> String {
    let mut text = String::new();
    let mut is_global = false;
    for line in help.lines() {
        let entry = line.trim_start();
        if line.starts_with("  ") && entry.starts_with('-') {
            is_global = GLOBAL
                .iter()
                .any(|option| format!("{entry} ").starts_with(option));
        } else if !line.starts_with("   ") {
            is_global = false;
        }
        if !is_global {
            text.push_str(line.trim_end());
            text.push('\n');
        }
    }
    // Some commands have no other options.
    text.replace("Options:\n\n", "").trim_end().to_owned()
}

fn walk(path: &[String], page: &mut String) {
    let help = help(path);
    let shown = if path.is_empty() {
        help.clone()
    } else {
        own(&help)
    };
    let lines: Vec<&str> = shown.trim_end().lines().map(str::trim_end).collect();
    let shown = lines.join("\n");
    let title = path
        .iter()
        .fold("eciton".to_owned(), |title, name| format!("{title} {name}"));
    let level = if path.len() > 1 { "###" } else { "##" };
    page.push_str(&format!("\n{level} {title}\n\n```text\n{shown}\n```\n"));
    for name in commands(&help) {
        walk(&[path, &[name]].concat(), page);
    }
}

#[test]
fn the_cli_reference_is_what_help_says() {
    let mut page = HEAD.to_owned();
    walk(&[], &mut page);
    for command in [
        "## eciton run\n",
        "### eciton job show\n",
        "### eciton db verify\n",
    ] {
        assert!(page.contains(command), "{command} is missing:\n{page}");
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/cli.md");
    if std::env::var_os(RENEW).is_some() {
        fs::write(&path, &page).unwrap();
    }
    let recorded = fs::read_to_string(&path).unwrap_or_default();
    let pairs = recorded.lines().zip(page.lines()).enumerate();
    let different = pairs
        .map(|(index, (old, new))| (index + 1, old, new))
        .find(|(_, old, new)| old != new);
    assert_eq!(
        different, None,
        "docs/cli.md is not what --help says: cargo xtask renew-cli"
    );
    assert_eq!(
        recorded.lines().count(),
        page.lines().count(),
        "docs/cli.md: cargo xtask renew-cli"
    );
}
