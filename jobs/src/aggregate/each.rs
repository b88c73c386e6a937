//! What a shard has accumulated of one value as the engine keeps it, a state for each group: of operators that have no
//! plainer form in memory.

use eciton_engine::KeyBuilder;
use eciton_engine::merge::{self, Ordinal, State};

use super::states::each;
use crate::columns::Column;

/// The states of all groups.
pub(super) struct Each {
    /// The state of no row.
    empty: State,
    states: Vec<State>,
    /// Bytes that they take besides.
    heap_len: usize,
    /// One value as a field of a key.
    field: KeyBuilder,
}

impl Each {
    pub(super) fn new(column: &merge::Column) -> Each {
        Each {
            empty: column.empty_state(),
            states: Vec::new(),
            heap_len: 0,
            field: KeyBuilder::new(),
        }
    }

    /// Makes room for `groups` groups, or forgets those behind.
    pub(super) fn resize(&mut self, groups: usize) {
        self.states.resize(groups, self.empty.clone());
        if groups == 0 {
            self.heap_len = 0;
        }
    }

    /// Bytes in use, about.
    pub(super) fn len_bytes(&self) -> usize {
        size_of_val(self.states.as_slice()) + self.heap_len
    }

    /// Adds a batch: `groups` has the group of each row, `first` is the place of the first one.
    pub(super) fn update(&mut self, groups: &[u32], column: &Column, first: Ordinal) {
        if matches!(column, Column::Null) {
            return;
        }
        let takes_fields = self.empty.takes_fields();
        let Each {
            states,
            heap_len,
            field,
            ..
        } = self;
        each(groups, column.nulls(), |group, row| {
            let state = &mut states[group];
            let before = state.heap_len_bytes();
            if takes_fields {
                field.clear();
                column.push_key(row, field);
                let ordinal = Ordinal {
                    row: first.row + row as u64,
                    ..first
                };
                state.add_field(ordinal, field.as_bytes());
            } else {
                match column {
                    Column::Int(array) => state.add_i64(array.value(row)),
                    Column::Uint(array) => state.add_u64(array.value(row)),
                    Column::Float(array) => state.add_f64(array.value(row)),
                    other => {
                        let added = state.add(&other.datum(row));
                        debug_assert!(added.is_ok(), "planned for another type: {added:?}");
                    }
                }
            }
            *heap_len = *heap_len + state.heap_len_bytes() - before;
        });
    }

    /// Adds what another accumulator of the same value has: `groups` has the group here of each group there.
    pub(super) fn absorb(&mut self, groups: &[u32], other: &Each) {
        for (group, their) in groups.iter().zip(&other.states) {
            let state = &mut self.states[*group as usize];
            let before = state.heap_len_bytes();
            state.absorb(their);
            self.heap_len = self.heap_len + state.heap_len_bytes() - before;
        }
    }

    /// The state of one group, as an operand carries it.
    pub(super) fn state(&self, group: usize) -> State {
        self.states[group].clone()
    }
}
