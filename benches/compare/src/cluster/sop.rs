//! SOP by its Python package, with a Redis: a Python process for each of ours, which does the clients' work in threads.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::child::{READY, Told, wait_for_the_word};
use super::{Done, Orders, Place, Side, Work};
use crate::engine::{Result, text};

pub(super) const SIDE: Side = Side {
    name: "sop",
    by_name: true,
    serve: super::redis::serve,
    prepare,
    work,
    count,
};

fn script() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("python/sop_cluster.py")
}

fn python(what: &str, work: Work, place: &Place, numbers: &[u64]) -> Result<Child> {
    let mut command = Command::new("python3");
    command.arg(script()).args([what, work.name()]);
    command.arg(&place.folder).arg(&place.server);
    command.args(numbers.iter().map(u64::to_string));
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command.spawn().map_err(|error| format!("python3: {error}"))
}

/// What it says in the end.
fn said(what: &str, work: Work, place: &Place) -> Result<String> {
    let output = python(what, work, place, &[])?.wait_with_output();
    let output = output.map_err(text)?;
    if !output.status.success() {
        return Err(format!("sop: {what} ended: {}", output.status));
    }
    let said = String::from_utf8_lossy(&output.stdout);
    Ok(said.lines().last().unwrap_or_default().to_owned())
}

fn prepare(place: &Place, work: Work) -> Result<()> {
    said("prepare", work, place).map(drop)
}

fn work(orders: &Orders) -> Result<Done> {
    let ms = u64::try_from(orders.lasts.as_millis()).map_err(text)?;
    let numbers = [orders.process, orders.clients, ms];
    let mut child = python("work", orders.work, &orders.place(), &numbers)?;
    let mut stdin = child.stdin.take().ok_or("no pipe")?;
    let mut lines = BufReader::new(child.stdout.take().ok_or("no pipe")?).lines();
    let mut next = || lines.next().ok_or("sop: it ended")?.map_err(text);
    // Whatever its library prints comes before.
    while next()? != READY {}
    wait_for_the_word()?;
    writeln!(stdin, "go").map_err(text)?;
    let mut told = next()?;
    while Told::decode(&told).is_none() {
        told = next()?;
    }
    child.wait().map_err(text)?;
    Told::decode(&told)
        .map(|told| told.done)
        .ok_or(format!("sop: it told `{told}`"))
}

fn count(place: &Place, work: Work) -> Result<u64> {
    let said = said("count", work, place)?;
    said.parse()
        .map_err(|_| format!("sop: it counted `{said}`"))
}
