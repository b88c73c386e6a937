//! The worst cycle of each component, as short as it can be.

use std::collections::VecDeque;

use super::anomaly::{Anomaly, AnomalyKind, EdgeKind};
use super::explain;
use super::graph::{Components, Graph, Link};
use super::index::Index;

/// A sort of cycle, after Adya: it has one edge of a kind, and the rest are of some kinds.
struct Sort {
    kind: AnomalyKind,
    /// The edge that it must have.
    anchor: EdgeKind,
    /// What else it may have.
    others: &'static [EdgeKind],
    /// Whether it may rest on real time.
    timed: bool,
    /// Whether all its edges are about one key.
    one_key: bool,
}

const fn sort(
    kind: AnomalyKind,
    anchor: EdgeKind,
    others: &'static [EdgeKind],
    timed: bool,
) -> Sort {
    Sort {
        kind,
        anchor,
        others,
        timed,
        one_key: matches!(kind, AnomalyKind::LostUpdate),
    }
}

use EdgeKind::{ReadWrite as Rw, RealTime, WriteRead as Wr, WriteWrite as Ww};

/// The worst first. No edge of time is an anchor, since time alone has no cycles.
const SORTS: [Sort; 9] = [
    sort(AnomalyKind::G0, Ww, &[Ww], false),
    sort(AnomalyKind::G1c, Wr, &[Ww, Wr], false),
    sort(AnomalyKind::LostUpdate, Rw, &[Ww, Rw], false),
    sort(AnomalyKind::GSingle, Rw, &[Ww, Wr], false),
    sort(AnomalyKind::G2, Rw, &[Ww, Wr, Rw], false),
    sort(AnomalyKind::G0RealTime, Ww, &[Ww, RealTime], true),
    sort(AnomalyKind::G1cRealTime, Wr, &[Ww, Wr, RealTime], true),
    sort(AnomalyKind::GSingleRealTime, Rw, &[Ww, Wr, RealTime], true),
    sort(AnomalyKind::G2RealTime, Rw, &[Ww, Wr, Rw, RealTime], true),
];

/// Reports one cycle, the worst and then the shortest, of every strongly connected component: a
/// component is one tangle, and a person begins with one thread of it.
pub(super) fn find(index: &Index<'_>, graph: &Graph, anomalies: &mut Vec<Anomaly>) {
    let components = graph.components();
    let mut tangled: Vec<bool> = components.sizes.iter().map(|size| *size > 1).collect();
    // In the order of transactions, which is the order that people read in.
    for component in &components.of {
        if !std::mem::take(&mut tangled[*component]) {
            continue;
        }
        let worst = SORTS.iter().find_map(|sort| {
            let cycle = shortest(graph, &components, *component, sort)?;
            Some((sort.kind, cycle))
        });
        assert!(worst.is_some(), "a component without a cycle of any sort");
        if let Some((kind, cycle)) = worst {
            anomalies.push(explain::cycle(index, graph, kind, &cycle));
        }
    }
}

/// The links of the shortest cycle of this sort in the component.
fn shortest(
    graph: &Graph,
    components: &Components,
    component: usize,
    sort: &Sort,
) -> Option<Vec<usize>> {
    let inside = |link: &Link| {
        components.of[link.from] == component
            && components.of[link.to] == component
            && (sort.timed || link.round < graph.timed_from)
    };
    let mut search = Search::new(components.of.len());
    let mut best: Option<(usize, Vec<usize>)> = None;
    for (at, anchor) in graph.links().iter().enumerate() {
        if anchor.kind != sort.anchor || !inside(anchor) {
            continue;
        }
        let key = anchor.because.key();
        let may = |link: &Link| {
            inside(link)
                && sort.others.contains(&link.kind)
                && (!sort.one_key || link.because.key() == key)
        };
        let bound = best.as_ref().map_or(usize::MAX, |(length, _)| *length);
        let Some((length, mut links)) = search.path(graph, anchor.to, anchor.from, bound, may)
        else {
            continue;
        };
        links.insert(0, at);
        best = Some((length, links));
        // Two transactions: no cycle is shorter.
        if length == 1 {
            break;
        }
    }
    best.map(|(_, links)| links)
}

/// Shortest paths, many times over one graph.
pub(super) struct Search {
    /// Node to the run that saw it last, its distance and the link that led there.
    seen: Vec<(usize, usize, usize)>,
    run: usize,
}

const NO_LINK: usize = usize::MAX;

impl Search {
    pub(super) fn new(nodes: usize) -> Search {
        Search {
            seen: vec![(0, 0, NO_LINK); nodes],
            run: 0,
        }
    }

    /// The shortest path over links that may be used, with its length in transactions: instants
    /// cost nothing. None if there is none shorter than the bound.
    pub(super) fn path(
        &mut self,
        graph: &Graph,
        from: usize,
        to: usize,
        bound: usize,
        may: impl Fn(&Link) -> bool,
    ) -> Option<(usize, Vec<usize>)> {
        self.run += 1;
        self.seen[from] = (self.run, 0, NO_LINK);
        let mut queue = VecDeque::from([(from, 0)]);
        while let Some((node, length)) = queue.pop_front() {
            if node == to {
                return Some((length, self.back(graph, from, to)));
            }
            if length > self.seen[node].1 {
                continue;
            }
            for (at, link) in graph.out(node).filter(|(_, link)| may(link)) {
                let free = graph.is_instant(link.to);
                let next = length + usize::from(!free);
                let (run, known, _) = self.seen[link.to];
                if next >= bound || (run == self.run && known <= next) {
                    continue;
                }
                self.seen[link.to] = (self.run, next, at);
                if free {
                    queue.push_front((link.to, next));
                } else {
                    queue.push_back((link.to, next));
                }
            }
        }
        None
    }

    fn back(&self, graph: &Graph, from: usize, to: usize) -> Vec<usize> {
        let mut links = Vec::new();
        let mut node = to;
        while node != from {
            let (run, _, at) = self.seen[node];
            assert_eq!(run, self.run, "a path leads through what was seen");
            links.push(at);
            node = graph.links()[at].from;
        }
        links.reverse();
        links
    }
}
