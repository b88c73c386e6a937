//! What Redis holds and hands out, as bytes. Everything that comes back may be anything.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use redis::Value;

use crate::base::TxId;
use crate::base::limits::NOTES_MAX;
use crate::coord::notes::is_short;
use crate::coord::{Mailbox, OfferId, Offered};

/// Bytes before intents: a mailbox's name, which scripts look at, and an offer's.
const OFFER_HEAD_LEN: usize = 16 + 16;
/// Bytes before each answer of a message: whose it is, and how many bytes.
const ANSWER_HEAD_LEN: usize = 16 + 4;

/// Intents, after who published them and what they are called.
pub(super) fn pack_offered(offered: &Offered) -> Bytes {
    let Offered { by, id, intents } = offered;
    let mut out = BytesMut::with_capacity(OFFER_HEAD_LEN + intents.len());
    out.put_u128(by.0);
    out.put_u128(id.0);
    assert_eq!(out.len(), OFFER_HEAD_LEN, "the head of offer {:032x}", id.0);
    out.put_slice(intents);
    out.freeze()
}

/// What is an offer of what came back.
pub(super) fn unpack_offered(value: Value) -> Vec<Offered> {
    let Value::Array(values) = value else {
        return Vec::new();
    };
    let one = |value| {
        let mut bytes = bytes(value)?;
        let by = Mailbox(bytes.try_get_u128().ok()?);
        let id = OfferId(bytes.try_get_u128().ok()?);
        Some(Offered {
            by,
            id,
            intents: bytes,
        })
    };
    values.into_iter().filter_map(one).collect()
}

/// What is a note of what came back: names and notes in turn.
pub(super) fn unpack_notes(value: Value) -> Vec<(String, Bytes)> {
    let Value::Array(values) = value else {
        return Vec::new();
    };
    let mut notes = Vec::new();
    let mut values = values.into_iter();
    while let (Some(id), Some(note)) = (values.next(), values.next()) {
        let id = bytes(id).and_then(|id| String::from_utf8(id.to_vec()).ok());
        let Some((id, note)) = id.zip(bytes(note)) else {
            continue;
        };
        if is_short(&id, &note) && notes.len() < NOTES_MAX {
            notes.push((id, note));
        }
    }
    notes
}

/// Appends an answer to a message.
pub(super) fn pack_answer(out: &mut BytesMut, txid: TxId, answer: &Bytes) {
    let len = u32::try_from(answer.len()).unwrap_or(0);
    if len as usize == answer.len() {
        out.put_u128_le(txid.0);
        out.put_u32_le(len);
        out.put_slice(answer);
        assert!(
            out.len() >= ANSWER_HEAD_LEN + answer.len(),
            "{} bytes hold an answer of {}",
            out.len(),
            answer.len()
        );
    }
}

/// The answers of a message, as far as it is one.
pub(super) fn unpack_answers(mut message: Bytes) -> Vec<(TxId, Bytes)> {
    let mut answers = Vec::new();
    while message.len() >= ANSWER_HEAD_LEN {
        let txid = TxId(message.get_u128_le());
        let len = message.get_u32_le() as usize;
        if len > message.len() {
            break;
        }
        answers.push((txid, message.split_to(len)));
    }
    answers
}

/// The bytes of a reply, if it has any.
pub(super) fn bytes(value: Value) -> Option<Bytes> {
    match value {
        Value::BulkString(bytes) => Some(bytes.into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_round_trip_and_what_is_cut_off_is_dropped() {
        let mut out = BytesMut::new();
        let answers: Vec<_> = (0..3)
            .map(|id| (TxId(id), Bytes::from(vec![7; usize::try_from(id).unwrap()])))
            .collect();
        for (txid, answer) in &answers {
            pack_answer(&mut out, *txid, answer);
        }
        let message = out.freeze();
        assert_eq!(unpack_answers(message.clone()), answers);
        for len in 0..message.len() {
            let some = unpack_answers(message.slice(..len));
            assert!(some.len() < 3 && some == answers[..some.len()], "{len}");
        }
    }

    #[test]
    fn only_what_can_be_a_note_is_one() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let values = vec![
            text("a"),
            text("one"),
            Value::Nil,
            text("two"),
            Value::BulkString(vec![0xff]),
            text("three"),
            text(""),
            text("four"),
            text("b"),
            Value::BulkString(vec![0; crate::base::limits::NOTE_LEN_MAX + 1]),
            text("c"),
        ];
        let expected = [("a".to_owned(), Bytes::from("one"))];
        assert_eq!(unpack_notes(Value::Array(values)), expected);
        assert_eq!(unpack_notes(Value::Okay), []);
    }

    #[test]
    fn only_what_can_be_an_offer_is_one() {
        let offered = Offered {
            by: Mailbox(1 << 90),
            id: OfferId(1 << 80),
            intents: Bytes::from("intents"),
        };
        let packed = pack_offered(&offered);
        let values = vec![
            Value::Nil,
            Value::Int(3),
            Value::BulkString(vec![1; 31]),
            Value::BulkString(packed.to_vec()),
            Value::Array(vec![Value::Okay]),
        ];
        assert_eq!(unpack_offered(Value::Array(values)), [offered]);
        assert_eq!(unpack_offered(Value::Okay), []);
    }
}
