//! Which layers are folded together: pure, so that it can be tested against its bounds.

/// A layer as planning sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    /// Bytes.
    pub(super) len: u64,
    /// A table must be written as a run; a run may stay as it is.
    pub(super) table: bool,
}

/// A run is merged into its older neighbour unless that is at least so many times larger.
///
/// With 2 a record is rewritten at most once for each doubling of what lies over it, and the sizes of
/// the runs that stay form a geometric series: their number is logarithmic in the database's size.
const GROWTH_MIN: u64 = 2;

/// The layers (newest first) in an order that says the same and costs less: a table goes up past runs that
/// have none of its keys, where that brings it to the next table or to the top. Else a few writes from
/// before a large load would have the whole load written again, just to lie in one run with them.
///
/// `is_apart` tells whether the run, the second, has none of the keys of the table, the first.
pub(super) fn order(layers: &[Size], is_apart: impl Fn(usize, usize) -> bool) -> Vec<usize> {
    let mut order = Vec::with_capacity(layers.len());
    for (index, layer) in layers.iter().enumerate() {
        // A run that stays on a table as large costs nothing where it is.
        let passes = |&run: &usize| {
            let Size { len, table } = layers[run];
            !table && layer.len < len.saturating_mul(GROWTH_MIN) && is_apart(index, run)
        };
        let runs = |&run: &usize| !layers[run].table;
        let above = order.iter().rev().copied().take_while(runs).count();
        let rises = layer.table && order[order.len() - above..].iter().all(passes);
        let at = order.len() - if rises { above } else { 0 };
        order.insert(at, index);
    }
    assert_eq!(order.len(), layers.len(), "each layer once: {order:?}");
    order
}

/// Cuts the layers (newest first) into groups of neighbours, each of which becomes one run. A group of
/// one run stays untouched. Neighbours only: writes of different age must never change places.
pub(super) fn groups(layers: &[Size]) -> Vec<std::ops::Range<usize>> {
    // From the oldest on: each group swallows the newer one while that has caught up with it.
    let mut stack: Vec<(std::ops::Range<usize>, Size)> = Vec::new();
    for (index, layer) in layers.iter().enumerate().rev() {
        let mut group = (index..index + 1, *layer);
        while let Some((older, size)) = stack.last() {
            let both_tables = group.1.table && size.table;
            if !both_tables && size.len >= group.1.len.saturating_mul(GROWTH_MIN) {
                break;
            }
            let table = group.1.table || size.table;
            group = (
                group.0.start..older.end,
                Size {
                    len: group.1.len + size.len,
                    table,
                },
            );
            stack.pop();
        }
        stack.push(group);
    }
    let groups: Vec<_> = stack.into_iter().rev().map(|(range, _)| range).collect();
    let covered: usize = groups.iter().map(ExactSizeIterator::len).sum();
    assert_eq!(covered, layers.len(), "each layer in one group: {groups:?}");
    let are_neighbours = groups.windows(2).all(|pair| pair[0].end == pair[1].start);
    assert!(are_neighbours, "groups of neighbours: {groups:?}");
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(len: u64) -> Size {
        Size { len, table: false }
    }

    #[test]
    fn neighbours_of_like_size_are_merged_and_small_ones_stay_on_large_ones() {
        assert_eq!(groups(&[run(10), run(100)]), vec![0..1, 1..2]);
        assert_eq!(groups(&[run(60), run(100)]), vec![0..2]);
        assert_eq!(
            groups(&[run(1), run(60), run(100), run(900)]),
            vec![0..1, 1..3, 3..4]
        );
        assert_eq!(groups(&[]), Vec::<std::ops::Range<usize>>::new());
    }

    #[test]
    fn tables_next_to_each_other_always_become_one_run() {
        let table = |len| Size { len, table: true };
        assert_eq!(
            groups(&[table(1), table(1000), run(100_000)]),
            vec![0..2, 2..3]
        );
    }

    #[test]
    fn a_table_rises_past_runs_that_have_none_of_its_keys() {
        let table = |len| Size { len, table: true };
        let apart = |_, _| true;
        // The catalog, a load, what came after it; a load alone; two loads.
        assert_eq!(order(&[table(9), run(100), table(1)], apart), [0, 2, 1]);
        assert_eq!(order(&[run(100), table(1)], apart), [1, 0]);
        let two = [run(100), table(2), run(50), table(1), run(7)];
        assert_eq!(order(&two, apart), [1, 3, 0, 2, 4]);
        // Never past what has its keys, nor a part of the way.
        assert_eq!(
            order(&two, |table, run| (table, run) != (1, 0)),
            [0, 1, 3, 2, 4]
        );
        assert_eq!(
            order(&two, |table, run| (table, run) != (3, 2)),
            [1, 0, 2, 3, 4]
        );
        // A small run stays on a large table.
        assert_eq!(order(&[run(100), table(200)], apart), [0, 1]);
    }

    #[test]
    fn a_thousand_equal_runs_cost_logarithmic_writes_and_stay_few() {
        let (mut runs, mut written, count) = (Vec::<u64>::new(), 0u64, 1000);
        for _ in 0..count {
            runs.insert(0, 1);
            let sizes: Vec<Size> = runs.iter().map(|len| run(*len)).collect();
            let next = groups(&sizes).into_iter().map(|group| {
                let len = runs[group.clone()].iter().sum::<u64>();
                written += if group.len() > 1 { len } else { 0 };
                len
            });
            runs = next.collect();
            assert!(runs.len() <= 11, "{runs:?}");
        }
        assert_eq!(runs.iter().sum::<u64>(), count);
        assert!(written <= count * 11, "{written} written for {count}");
    }
}
