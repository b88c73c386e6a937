//! Where each key of a job file stands.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};

/// Line numbers of a text, and of the keys in it.
#[derive(Debug, Clone, Default)]
pub(super) struct Lines {
    /// Byte offset of the start of each line.
    starts: Vec<usize>,
    /// Line of each key, by its dotted path.
    keys: BTreeMap<String, usize>,
}

impl Lines {
    pub(super) fn of(text: &str) -> Self {
        let after_newlines = memchr::memchr_iter(b'\n', text.as_bytes()).map(|at| at + 1);
        Self {
            starts: std::iter::once(0).chain(after_newlines).collect(),
            keys: BTreeMap::new(),
        }
    }

    /// The line of a byte, counted from 1.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.starts.partition_point(|start| *start <= offset)
    }

    /// Remembers the line of every key of `table` and of the tables in it.
    pub(super) fn record(&mut self, prefix: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let path = join(prefix, key.get_ref());
            if let DeValue::Table(inner) = value.get_ref() {
                self.record(&path, inner);
            }
            let line = self.line(key.span().start);
            self.keys.insert(path, line);
        }
    }

    /// The line of a key; of the nearest table around it where the key is absent.
    pub(super) fn key_line(&self, key: &str) -> usize {
        let mut path = key;
        loop {
            if let Some(line) = self.keys.get(path) {
                return *line;
            }
            match path.rfind('.') {
                Some(dot) => path = &path[..dot],
                None => return 1,
            }
        }
    }
}

/// The dotted path of `key` in the table `prefix`.
pub(super) fn join(prefix: &str, key: &str) -> String {
    if prefix.is_empty() {
        key.to_owned()
    } else {
        format!("{prefix}.{key}")
    }
}
