//! How writes of one key lie over each other.

use bytes::Bytes;

use crate::base::Op;
use crate::merge::{self, States};

/// The one write that does what `older` and then `newer` do.
pub fn combine(older: &Op, newer: &Op) -> Op {
    match (older, newer) {
        (_, Op::Put(_) | Op::Delete) => newer.clone(),
        (Op::Delete, Op::Merge(operand)) => Op::Put(operand.clone()),
        (Op::Put(value), Op::Merge(operand)) => Op::Put(merge::merge(value, operand).into()),
        (Op::Merge(first), Op::Merge(second)) => Op::Merge(merge::merge(first, second).into()),
    }
}

/// The one write that does what all of `newest_first` do; `None` for none.
pub(super) fn flatten(newest_first: &[Op]) -> Option<Op> {
    let (oldest, newer) = newest_first.split_last()?;
    if newer.len() > 1 && newer.iter().all(|op| matches!(op, Op::Merge(_))) {
        return Some(absorb(oldest, newer));
    }
    Some(
        newer
            .iter()
            .rev()
            .fold(oldest.clone(), |older, newer| combine(&older, newer)),
    )
}

/// `oldest` with many operands merged onto it: decoded and encoded once, not once an operand.
fn absorb(oldest: &Op, newest_first: &[Op]) -> Op {
    let (base, rest) = match (oldest, newest_first.split_last()) {
        // Onto nothing the first operand becomes the value.
        (Op::Delete, Some((first, rest))) => (first, rest),
        _ => (oldest, newest_first),
    };
    let Ok(mut states) = States::decode(base.payload()) else {
        // Merging is total all the same: pairwise merging marks what cannot be decoded.
        let pairwise = newest_first.iter().rev();
        return pairwise.fold(oldest.clone(), |older, newer| combine(&older, newer));
    };
    for op in rest.iter().rev() {
        states.absorb_encoded(op.payload());
    }
    let mut bytes = Vec::new();
    states.encode_into(&mut bytes);
    match oldest {
        Op::Merge(_) => Op::Merge(bytes.into()),
        Op::Put(_) | Op::Delete => Op::Put(bytes.into()),
    }
}

/// The value that a reader sees below whom there is nothing more.
pub fn resolve(op: Option<Op>) -> Option<Bytes> {
    match op {
        Some(Op::Put(value) | Op::Merge(value)) => Some(value),
        Some(Op::Delete) | None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merge::{Column, Kind, Operator};

    fn operand(rows: u64) -> Bytes {
        let mut states = States::new(&[Column::new("n", Operator::Count, Kind::Any).unwrap()]);
        states[0].add_rows(rows);
        states.to_operand().unwrap().into_bytes()
    }

    #[test]
    fn many_operands_at_once_are_the_same_as_one_after_the_other() {
        let merges: Vec<Op> = (1..6).map(|rows| Op::Merge(operand(rows))).collect();
        let damaged = Bytes::from_static(b"\xff\xff");
        for oldest in [
            Op::Put(operand(10)),
            Op::Delete,
            Op::Merge(operand(10)),
            Op::Put(damaged),
        ] {
            let mut ops = merges.clone();
            ops.push(oldest.clone());
            let pairwise = merges
                .iter()
                .rev()
                .fold(oldest, |older, newer| combine(&older, newer));
            assert_eq!(flatten(&ops), Some(pairwise));
        }
        assert_eq!(flatten(&[]), None);
    }

    #[test]
    fn what_hides_older_writes_does_so() {
        let (put, merge) = (Op::Put(operand(1)), Op::Merge(operand(2)));
        assert_eq!(combine(&put, &Op::Delete), Op::Delete);
        assert_eq!(combine(&Op::Delete, &merge), Op::Put(operand(2)));
        assert_eq!(combine(&put, &merge), Op::Put(operand(3)));
        assert_eq!(combine(&merge, &merge), Op::Merge(operand(4)));
        assert_eq!(resolve(Some(Op::Delete)), None);
        assert_eq!(resolve(Some(merge)), Some(operand(2)));
    }
}
