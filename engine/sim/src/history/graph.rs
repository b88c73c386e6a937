//! Which transaction has to come before which, and why.

use super::anomaly::EdgeKind;
use super::transaction::Key;

/// Why a link holds. Values are what the history shows; the rest is looked up when somebody asks.
#[derive(Clone, Copy)]
pub(super) enum Because {
    /// `from` wrote the list's `earlier`, `to` the `later`.
    Appended { list: u64, earlier: u64, later: u64 },
    /// `from` wrote the last value of the list that anybody saw, `to` one that nobody saw.
    Unseen { list: u64, last: u64, unseen: u64 },
    /// `to` read what `from` wrote.
    Saw { key: Key, value: u64 },
    /// `from` read the list without what `to` appended.
    MissedAppend { list: u64, missed: u64 },
    /// `from` read a register as `read`; `to` wrote `written`, after `read` was written by
    /// `writer` (none: at the very beginning).
    Replaced {
        register: u64,
        read: Option<u64>,
        written: u64,
        writer: Option<usize>,
    },
    /// `from` wrote `hidden` to a register before `reader` read it as `read`, which `to` wrote.
    Hidden {
        register: u64,
        hidden: u64,
        read: u64,
        reader: usize,
    },
    /// `from` was over before `to` began.
    Time,
}

impl Because {
    pub(super) fn key(self) -> Option<Key> {
        match self {
            Because::Appended { list, .. }
            | Because::Unseen { list, .. }
            | Because::MissedAppend { list, .. } => Some(Key::List(list)),
            Because::Saw { key, .. } => Some(key),
            Because::Replaced { register, .. } | Because::Hidden { register, .. } => {
                Some(Key::Register(register))
            }
            Because::Time => None,
        }
    }
}

/// `from` comes before `to`.
#[derive(Clone, Copy)]
pub(super) struct Link {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) kind: EdgeKind,
    pub(super) because: Because,
    /// A link rests only on links of earlier rounds; those from
    /// [`timed_from`](Graph::timed_from) on rest on real time.
    pub(super) round: u32,
}

/// Which transaction has to come before which, and why.
///
/// The first nodes are the transactions, in the history's order. The others are instants, which
/// stand between transactions in time and carry nothing else.
pub(super) struct Graph {
    transactions: usize,
    links: Vec<Link>,
    /// Node to its outgoing links.
    out: Vec<Vec<usize>>,
    /// The round that links are added in.
    pub(super) round: u32,
    /// The first round that knows of real time.
    pub(super) timed_from: u32,
}

/// Strongly connected components.
pub(super) struct Components {
    /// Node to component.
    pub(super) of: Vec<usize>,
    /// Component to size.
    pub(super) sizes: Vec<usize>,
    /// Every node, after all nodes that it leads to, as far as there are no cycles.
    pub(super) successors_first: Vec<usize>,
}

impl Components {
    pub(super) fn cyclic(&self) -> bool {
        self.sizes.iter().any(|size| *size > 1)
    }
}

impl Graph {
    pub(super) fn new(transactions: usize) -> Graph {
        Graph {
            transactions,
            links: Vec::new(),
            out: vec![Vec::new(); transactions],
            round: 0,
            timed_from: u32::MAX,
        }
    }

    pub(super) fn add_instant(&mut self) -> usize {
        self.out.push(Vec::new());
        self.out.len() - 1
    }

    /// How many nodes it has, transactions and instants.
    pub(super) fn nodes(&self) -> usize {
        self.out.len()
    }

    pub(super) fn is_instant(&self, node: usize) -> bool {
        node >= self.transactions
    }

    pub(super) fn link(&mut self, from: usize, to: usize, kind: EdgeKind, because: Because) {
        assert_ne!(from, to, "{kind}: nothing comes before itself");
        self.out[from].push(self.links.len());
        self.links.push(Link {
            from,
            to,
            kind,
            because,
            round: self.round,
        });
    }

    pub(super) fn links(&self) -> &[Link] {
        &self.links
    }

    pub(super) fn out(&self, node: usize) -> impl Iterator<Item = (usize, &Link)> {
        self.out[node].iter().map(|at| (*at, &self.links[*at]))
    }

    /// Tarjan (1972), with a stack of its own instead of recursion: a history may be long.
    pub(super) fn components(&self) -> Components {
        let nodes = self.out.len();
        let mut state = Tarjan {
            number: vec![UNSEEN; nodes],
            low: vec![0; nodes],
            open: Vec::new(),
            next: 0,
            found: Components {
                of: vec![UNSEEN; nodes],
                sizes: Vec::new(),
                successors_first: Vec::with_capacity(nodes),
            },
        };
        let mut path: Vec<(usize, usize)> = Vec::new();
        for root in 0..nodes {
            if state.number[root] != UNSEEN {
                continue;
            }
            state.enter(root);
            path.push((root, 0));
            while let Some((node, at)) = path.last_mut() {
                let node = *node;
                if let Some(link) = self.out[node].get(*at) {
                    *at += 1;
                    let to = self.links[*link].to;
                    if state.number[to] == UNSEEN {
                        state.enter(to);
                        path.push((to, 0));
                    } else if state.found.of[to] == UNSEEN {
                        state.low[node] = state.low[node].min(state.number[to]);
                    }
                    continue;
                }
                path.pop();
                state.leave(node);
                if let Some((parent, _)) = path.last() {
                    state.low[*parent] = state.low[*parent].min(state.low[node]);
                }
            }
        }
        assert_eq!(state.found.successors_first.len(), nodes);
        state.found
    }
}

const UNSEEN: usize = usize::MAX;

struct Tarjan {
    number: Vec<usize>,
    low: Vec<usize>,
    open: Vec<usize>,
    next: usize,
    found: Components,
}

impl Tarjan {
    fn enter(&mut self, node: usize) {
        self.number[node] = self.next;
        self.low[node] = self.next;
        self.next += 1;
        self.open.push(node);
    }

    /// Closes the component that the node is the first of, if it is.
    fn leave(&mut self, node: usize) {
        if self.low[node] != self.number[node] {
            return;
        }
        let component = self.found.sizes.len();
        let mut size = 0;
        while let Some(member) = self.open.pop() {
            self.found.of[member] = component;
            self.found.successors_first.push(member);
            size += 1;
            if member == node {
                break;
            }
        }
        self.found.sizes.push(size);
    }
}
