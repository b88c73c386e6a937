//! Notes by which whoever is at a database announces himself, each with an end of its own.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::base::limits::{NOTE_ID_LEN_MAX, NOTE_LEN_MAX, NOTES_MAX};

const NS_A_MS: u64 = 1_000_000;

/// Notes by their names. Those that are over go by themselves; of too many those go that end soonest.
#[derive(Debug, Default)]
pub struct Notes {
    /// Each with its end on the clock of whoever keeps them.
    notes: BTreeMap<String, (Bytes, u64)>,
}

/// Whether a note is one that is shown.
pub(super) fn is_short(id: &str, note: &[u8]) -> bool {
    !id.is_empty() && id.len() <= NOTE_ID_LEN_MAX && note.len() <= NOTE_LEN_MAX
}

impl Notes {
    /// Puts a note, from `now_ns` on for `ms` milliseconds, in place of an earlier one of the same name; 0 takes it
    /// away. One that is too long is none.
    pub fn put(&mut self, id: &str, note: Bytes, now_ns: u64, ms: u64) {
        self.end(now_ns);
        self.notes.remove(id);
        if ms == 0 || !is_short(id, &note) {
            return;
        }
        let until = now_ns.saturating_add(ms.saturating_mul(NS_A_MS));
        self.notes.insert(id.to_owned(), (note, until));
        while self.notes.len() > NOTES_MAX {
            let soonest = self.notes.iter().min_by_key(|(_, (_, until))| *until);
            let Some(id) = soonest.map(|(id, _)| id.clone()) else {
                break;
            };
            self.notes.remove(&id);
        }
        assert!(self.notes.len() <= NOTES_MAX, "{} notes", self.notes.len());
    }

    /// Those that are not over, in the order of their names.
    pub fn shown(&mut self, now_ns: u64) -> Vec<(String, Bytes)> {
        self.end(now_ns);
        let over = self.notes.values().find(|(_, until)| *until <= now_ns);
        assert!(over.is_none(), "a note that is over at {now_ns}: {over:?}");
        let notes = self.notes.iter();
        notes
            .map(|(id, (note, _))| (id.clone(), note.clone()))
            .collect()
    }

    fn end(&mut self, now_ns: u64) {
        self.notes.retain(|_, (_, until)| *until > now_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(notes: &mut Notes, now_ns: u64) -> Vec<String> {
        let shown = notes.shown(now_ns);
        shown.into_iter().map(|(id, _)| id).collect()
    }

    #[test]
    fn a_note_is_shown_until_its_end_or_until_it_is_taken_away() {
        let mut notes = Notes::default();
        notes.put("a", "1".into(), 0, 10);
        notes.put("b", "2".into(), 0, 20);
        notes.put("b", "3".into(), 0, 30);
        let last_ns = 10 * NS_A_MS;
        assert_eq!(names(&mut notes, last_ns - 1), ["a", "b"]);
        let expected = [("b".to_owned(), Bytes::from("3"))];
        assert_eq!(notes.shown(last_ns), expected);
        notes.put("b", Bytes::new(), last_ns, 0);
        assert!(names(&mut notes, last_ns).is_empty());
    }

    #[test]
    fn notes_are_bounded_in_length_and_number() {
        let mut notes = Notes::default();
        notes.put("a", vec![0; NOTE_LEN_MAX].into(), 0, 10);
        notes.put("b", vec![0; NOTE_LEN_MAX + 1].into(), 0, 10);
        notes.put(&"c".repeat(NOTE_ID_LEN_MAX), Bytes::new(), 0, 10);
        notes.put(&"c".repeat(NOTE_ID_LEN_MAX + 1), Bytes::new(), 0, 10);
        notes.put("", Bytes::new(), 0, 10);
        assert_eq!(names(&mut notes, 0).len(), 2);
        for n in 0..NOTES_MAX {
            notes.put(&format!("n{n}"), Bytes::new(), 0, 20);
        }
        let names = names(&mut notes, 0);
        assert_eq!(names.len(), NOTES_MAX);
        assert!(
            names.iter().all(|name| name.starts_with('n')),
            "the others ended sooner"
        );
    }
}
