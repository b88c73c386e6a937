//! What only several transactions together show to be wrong, without a look at the clock.

use eciton_sim::history::{Operation, Transaction};

use crate::support::{append, list, ok, register, write};
use crate::{Planted, planted};

/// Writes and reads in the wrong order: everything runs at once.
pub(crate) fn orders() -> Vec<Planted> {
    let at_once = |operations| ok(1, 9, operations);
    vec![
        planted(
            "two reads that disagree on the order",
            vec![
                at_once(vec![append(1, 1)]),
                at_once(vec![append(1, 2)]),
                at_once(vec![list(1, &[1, 2])]),
                at_once(vec![list(1, &[2])]),
            ],
            &["incompatible order"],
            &["incompatible-order"],
        ),
        planted(
            "G0: two lists hold two transactions the other way round",
            vec![
                at_once(vec![append(1, 1), append(2, 1)]),
                at_once(vec![append(1, 2), append(2, 2)]),
                at_once(vec![list(1, &[1, 2])]),
                at_once(vec![list(2, &[2, 1])]),
            ],
            &["G0"],
            &["G0"],
        ),
        planted(
            "G1c: each reads the other's append",
            vec![
                at_once(vec![append(1, 1), list(2, &[1])]),
                at_once(vec![append(2, 1), list(1, &[1])]),
            ],
            &["G1c"],
            &["G1c"],
        ),
        planted(
            "G1c: each reads the other's write",
            vec![
                at_once(vec![write(1, 1), register(2, 1)]),
                at_once(vec![write(2, 1), register(1, 1)]),
            ],
            &["G1c"],
            &["G1c"],
        ),
    ]
}

/// Cycles that rest on a read of what others replaced, without time.
pub(crate) fn skews() -> Vec<Planted> {
    let at_once = |operations| ok(1, 9, operations);
    vec![
        planted(
            "lost update of a list",
            vec![
                at_once(vec![list(1, &[]), append(1, 1)]),
                at_once(vec![list(1, &[]), append(1, 2)]),
                at_once(vec![list(1, &[1, 2])]),
            ],
            &["lost update"],
            &["G-single-item", "lost-update"],
        ),
        planted(
            "lost update of a register",
            vec![
                at_once(vec![write(1, 1)]),
                at_once(vec![register(1, 1), write(1, 2)]),
                at_once(vec![register(1, 1), write(1, 3)]),
            ],
            &["lost update"],
            &["G2-item", "lost-update"],
        ),
        planted(
            "write skew over lists",
            vec![
                at_once(vec![list(1, &[]), append(2, 1)]),
                at_once(vec![list(2, &[]), append(1, 1)]),
            ],
            &["G2"],
            &["G2-item"],
        ),
        planted(
            "write skew over registers",
            vec![
                at_once(vec![register(1, None), write(2, 1)]),
                at_once(vec![register(2, None), write(1, 1)]),
            ],
            &["G2"],
            &["G2-item"],
        ),
        planted(
            "write skew over a list and a register",
            vec![
                at_once(vec![list(1, &[]), write(1, 1)]),
                at_once(vec![register(1, None), append(1, 1)]),
            ],
            &["G2"],
            &[],
        ),
        planted(
            "two readers see two writers the other way round",
            vec![
                at_once(vec![append(1, 1)]),
                at_once(vec![append(2, 1)]),
                at_once(vec![list(1, &[1]), list(2, &[])]),
                at_once(vec![list(1, &[]), list(2, &[1])]),
            ],
            &["G2"],
            &["G-nonadjacent-item"],
        ),
        planted(
            "fractured read of lists",
            vec![
                at_once(vec![append(1, 1), append(2, 1)]),
                at_once(vec![list(1, &[1]), list(2, &[])]),
            ],
            &["G-single"],
            &["G-single-item"],
        ),
        planted(
            "fractured read of registers",
            vec![
                at_once(vec![write(1, 1), write(2, 1)]),
                at_once(vec![register(1, 1), register(2, None)]),
            ],
            &["G-single"],
            &["G-single-item"],
        ),
        planted(
            "blind writes that only what else was read puts in order",
            vec![
                at_once(vec![write(1, 1), write(2, 1)]),
                at_once(vec![register(2, 1), write(1, 2), write(3, 1)]),
                at_once(vec![register(3, 1), register(1, 1)]),
            ],
            &["G-single"],
            &[],
        ),
        planted(
            "blind writes that only a chain of conclusions puts in order",
            chain(8),
            &["G-single"],
            &[],
        ),
    ]
}

/// One transaction writes every register. Others write one each, after the next one read theirs;
/// the first comes before the one, so all do, each since the one before it does; and the last has
/// seen it.
fn chain(length: u64) -> Vec<Transaction> {
    let (seen, last) = (100, 101);
    let mut one: Vec<Operation> = (0..length).map(|at| write(at, 2)).collect();
    one.extend([register(seen, 1), write(last, 1)]);
    let mut all = vec![ok(1, 9, one), ok(1, 9, vec![write(0, 1), write(seen, 1)])];
    for at in 1..length {
        all.push(ok(1, 9, vec![register(at - 1, 1), write(at, 1)]));
    }
    all.push(ok(1, 9, vec![register(length - 1, 1), register(last, 1)]));
    all
}
