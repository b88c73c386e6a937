//! Anomalies in words.

use super::anomaly::{Anomaly, AnomalyKind, Edge};
use super::cycle::Search;
use super::graph::{Because, Graph, Link};
use super::index::Index;
use super::observed::History;
use super::transaction::{Key, Operation, ShownList, ShownValue, TransactionId};

/// An anomaly that some transactions show together, without a cycle.
pub(super) fn together(
    history: &History,
    kind: AnomalyKind,
    who: &[usize],
    summary: String,
) -> Anomaly {
    let shown = who.iter().map(|at| history.transactions()[*at].to_string());
    Anomaly {
        kind,
        transactions: who.iter().map(|at| TransactionId(*at)).collect(),
        edges: Vec::new(),
        summary,
        shown: shown.collect(),
    }
}

/// An anomaly that is a cycle of these links.
pub(super) fn cycle(
    index: &Index<'_>,
    graph: &Graph,
    kind: AnomalyKind,
    links: &[usize],
) -> Anomaly {
    let steps = fold(graph, links);
    for (at, step) in steps.iter().enumerate() {
        let next = &steps[(at + 1) % steps.len()];
        assert_eq!(step.to, next.from, "a cycle has no gaps");
    }
    let who: Vec<usize> = steps.iter().map(|step| step.from).collect();
    let names: Vec<String> = who
        .iter()
        .map(|at| TransactionId(*at).to_string())
        .collect();
    let summary = format!("no order explains {} together", names.join(", "));
    let mut anomaly = together(index.history, kind, &who, summary);
    anomaly.edges = (steps.iter())
        .map(|step| Edge {
            from: TransactionId(step.from),
            to: TransactionId(step.to),
            kind: step.kind,
            because: because(index, graph, step),
        })
        .collect();
    anomaly
}

/// Joins links through instants to one from transaction to transaction.
fn fold(graph: &Graph, links: &[usize]) -> Vec<Link> {
    let mut steps: Vec<Link> = Vec::new();
    for at in links {
        let link = graph.links()[*at];
        match steps.last_mut() {
            Some(last) if graph.is_instant(last.to) => last.to = link.to,
            _ => steps.push(link),
        }
    }
    steps
}

fn because(index: &Index<'_>, graph: &Graph, link: &Link) -> String {
    let (from, to) = (TransactionId(link.from), TransactionId(link.to));
    match link.because {
        Because::Appended {
            list,
            earlier,
            later,
        } => format!("l{list} has {to}'s {later} after {from}'s {earlier}"),
        Because::Unseen { list, last, unseen } => format!(
            "no read of l{list} shows {to}'s {unseen}, so it came after the last that one does, \
             {from}'s {last}"
        ),
        Because::Saw { key, value } => format!("{to} read {value} in {key}, which {from} wrote"),
        Because::MissedAppend { list, missed } => {
            let read = list_as_read(index.history, link.from, list);
            format!("{from} read l{list} as {read}, without {to}'s {missed}")
        }
        Because::Replaced {
            register,
            read,
            written,
            writer,
        } => {
            let (read, earlier) = (ShownValue(read), writer.map(TransactionId));
            let path = writer.map_or(String::new(), |writer| {
                support(graph, link, writer, link.to)
            });
            match earlier {
                None => format!("{from} read r{register} before any write, and {to} wrote it"),
                Some(earlier) => format!(
                    "{from} read r{register} as {read}, which {earlier} wrote, and {to} wrote \
                     {written} after {earlier}{path}"
                ),
            }
        }
        Because::Hidden {
            register,
            hidden,
            read,
            reader,
        } => {
            let path = support(graph, link, link.from, reader);
            let reader = TransactionId(reader);
            format!(
                "{from} wrote {hidden} to r{register} before {reader}{path}, and {reader} read \
                 {to}'s {read} instead"
            )
        }
        Because::Time => {
            let transactions = index.history.transactions();
            let completed = transactions[link.from].completed.unwrap_or_default();
            let invoked = transactions[link.to].invoked;
            format!("{from} was over at step {completed}, {to} began at step {invoked}")
        }
    }
}

/// The way that a derived link rests on, in brackets. Only links of earlier rounds may support
/// it, or it would support itself.
fn support(graph: &Graph, link: &Link, from: usize, to: usize) -> String {
    let mut search = Search::new(graph.nodes());
    let earlier = |other: &Link| other.round < link.round;
    let path = search.path(graph, from, to, usize::MAX, earlier);
    assert!(path.is_some(), "a derived link rests on a way");
    let (_, links) = path.unwrap_or_default();
    let steps = fold(graph, &links);
    let steps = steps.iter().map(|step| {
        let to = TransactionId(step.to);
        format!(" -{}-> {to}", step.kind)
    });
    format!(" ({}{})", TransactionId(from), steps.collect::<String>())
}

/// The list as the transaction first read it.
fn list_as_read(history: &History, reader: usize, list: u64) -> String {
    let operations = &history.transactions()[reader].operations;
    let read = operations.iter().find_map(|operation| match operation {
        Operation::ReadList { values, .. } if operation.key() == Key::List(list) => Some(values),
        _ => None,
    });
    assert!(read.is_some(), "T{reader} missed an append without a read");
    read.map_or(String::new(), |values| ShownList(values).to_string())
}
