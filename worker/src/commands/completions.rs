//! `completions` and `man`: what shells and `man` need to know of the program.

use std::fs;
use std::io;
use std::path::Path;

use clap::CommandFactory;
use clap_mangen::Man as Page;
use serde_json::json;

use crate::cli::{Call, Completions, Global, Man};
use crate::failure::Failure;
use crate::output::Output;
use crate::words::counted;

/// Prints the completions of a shell.
///
/// # Errors
/// Where standard output fails.
pub(super) fn completions(global: &Global, args: &Completions) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Call::command(), "eciton", &mut script);
    let mut output = Output::new(global);
    output.bytes(&script)?;
    Ok(output.finish()?)
}

/// Prints the manual page of the program, or writes those of all its commands.
///
/// # Errors
/// Exit code 1 where a page cannot be written.
pub(super) fn man(global: &Global, args: &Man) -> Result<(), Failure> {
    let mut output = Output::new(global);
    let Some(folder) = &args.out else {
        output.bytes(&page(Call::command())?)?;
        return Ok(output.finish()?);
    };
    let failed =
        |path: &Path, error: &io::Error| Failure::Work(format!("{}: {error}", path.display()));
    fs::create_dir_all(folder).map_err(|error| failed(folder, &error))?;
    let mut all = Call::command();
    all.build();
    let mut pages = 0;
    for (name, command) in pages_of(&all) {
        let path = folder.join(format!("{name}.1"));
        fs::write(&path, page(command)?).map_err(|error| failed(&path, &error))?;
        pages += 1;
    }
    let text = format!("wrote {} to {}", counted(pages, "page"), folder.display());
    let json = json!({"folder": folder.display().to_string(), "pages": pages});
    output.either(&json, &text)?;
    Ok(output.finish()?)
}

fn page(command: clap::Command) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    Page::new(command).render(&mut page)?;
    Ok(page)
}

/// Each command that people see, by the name of its page.
fn pages_of(command: &clap::Command) -> Vec<(String, clap::Command)> {
    fn walk(command: &clap::Command, before: &str, pages: &mut Vec<(String, clap::Command)>) {
        let name = match before {
            "" => command.get_name().to_owned(),
            before => format!("{before}-{}", command.get_name()),
        };
        for below in command.get_subcommands() {
            if !below.is_hide_set() && below.get_name() != "help" {
                walk(below, &name, pages);
            }
        }
        pages.push((name, command.clone()));
    }
    let mut pages = Vec::new();
    walk(command, "", &mut pages);
    pages
}
