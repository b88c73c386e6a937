//! What only real time shows to be wrong, and what real time allows.

use crate::support::{append, list, ok, register, snapshot, unknown, write};
use crate::{Planted, planted};

/// Mistakes that only real time shows.
pub(crate) fn violations() -> Vec<Planted> {
    vec![
        planted(
            "stale read of a list",
            vec![ok(1, 2, vec![append(1, 1)]), ok(3, 4, vec![list(1, &[])])],
            &["G-single-realtime"],
            &["G-single-item-realtime"],
        ),
        planted(
            "stale read of a register",
            vec![
                ok(1, 2, vec![write(1, 1)]),
                ok(3, 4, vec![write(1, 2)]),
                ok(5, 6, vec![register(1, 1)]),
            ],
            &["G-single-realtime"],
            &["cyclic-versions"],
        ),
        planted(
            "fractured reads whose order of versions only time gives",
            vec![
                ok(1, 2, vec![write(1, 1), write(2, 1)]),
                ok(3, 9, vec![write(1, 2), write(3, 1)]),
                ok(3, 9, vec![write(2, 2), write(4, 1)]),
                ok(3, 9, vec![register(1, 1), register(4, 1)]),
                ok(3, 9, vec![register(2, 1), register(3, 1)]),
            ],
            &["G2-realtime"],
            &["G-nonadjacent-item"],
        ),
        planted(
            "acknowledged append that a later read lacks",
            vec![
                ok(1, 2, vec![append(1, 1)]),
                ok(3, 4, vec![append(1, 2)]),
                ok(5, 6, vec![list(1, &[2])]),
            ],
            &["G0-realtime"],
            &["G-single-item-realtime", "G0-realtime"],
        ),
        planted(
            "unknown outcome, seen and gone again",
            vec![
                unknown(1, vec![append(1, 1)]),
                ok(2, 3, vec![list(1, &[1])]),
                ok(4, 5, vec![list(1, &[])]),
            ],
            &["G-single-realtime"],
            &["G-single-item-realtime"],
        ),
        planted(
            "unknown outcome, what it read was stale",
            vec![
                ok(1, 2, vec![append(1, 1)]),
                unknown(3, vec![list(1, &[]), append(2, 1)]),
                ok(4, 5, vec![list(2, &[1])]),
            ],
            &["G-single-realtime"],
            &[],
        ),
        planted(
            "appends in the wrong order",
            vec![
                ok(1, 2, vec![append(1, 1)]),
                ok(3, 4, vec![append(1, 2)]),
                ok(3, 9, vec![list(1, &[2, 1])]),
            ],
            &["G0-realtime"],
            &["G0-realtime"],
        ),
        planted(
            "read from the future",
            vec![ok(1, 2, vec![list(1, &[1])]), ok(3, 4, vec![append(1, 1)])],
            &["G1c-realtime"],
            &["G1c-realtime"],
        ),
        planted(
            "snapshot from the future",
            vec![
                snapshot(1, 2, vec![list(1, &[1])]),
                ok(3, 4, vec![append(1, 1)]),
            ],
            &["G1c-realtime"],
            &["G1c-realtime"],
        ),
        planted(
            "two stale reads in one cycle",
            vec![
                ok(6, 7, vec![list(1, &[])]),
                ok(1, 9, vec![append(1, 1)]),
                ok(1, 9, vec![list(1, &[1]), list(2, &[])]),
                ok(1, 5, vec![append(2, 1)]),
            ],
            &["G2-realtime"],
            &["G-nonadjacent-item-realtime"],
        ),
    ]
}

/// What looks odd and is right.
pub(crate) fn innocent() -> Vec<Planted> {
    let right = |what, transactions| planted(what, transactions, &[], &[]);
    vec![
        right("nothing", vec![]),
        right("a transaction without operations", vec![ok(1, 2, vec![])]),
        right(
            "end and beginning at one step, which is no order",
            vec![ok(1, 3, vec![append(1, 1)]), ok(3, 4, vec![list(1, &[])])],
        ),
        right(
            "old snapshot",
            vec![
                ok(1, 2, vec![append(1, 1), write(1, 1)]),
                snapshot(3, 4, vec![list(1, &[]), register(1, None)]),
            ],
        ),
        right(
            "unknown outcomes: one that nobody saw, one that took effect late",
            vec![
                unknown(1, vec![append(1, 1), write(1, 1)]),
                unknown(1, vec![append(1, 2), write(1, 2)]),
                ok(2, 3, vec![list(1, &[]), register(1, None)]),
                ok(4, 5, vec![list(1, &[2]), register(1, 2)]),
            ],
        ),
        right(
            "unknown outcome that never was, with reads that became old",
            vec![
                unknown(1, vec![list(1, &[]), append(1, 1)]),
                ok(2, 3, vec![list(1, &[]), append(1, 2)]),
                ok(4, 5, vec![list(1, &[2])]),
            ],
        ),
        right(
            "read of either of two writers at once",
            vec![
                ok(1, 5, vec![write(1, 1)]),
                ok(2, 6, vec![write(1, 2)]),
                ok(7, 8, vec![register(1, 1)]),
                ok(7, 8, vec![register(1, 1), write(1, 3), register(1, 3)]),
            ],
        ),
        right(
            "own appends read before, between and after",
            vec![
                ok(1, 2, vec![append(1, 1)]),
                ok(
                    3,
                    4,
                    vec![
                        list(1, &[1]),
                        append(1, 2),
                        list(1, &[1, 2]),
                        append(1, 3),
                        list(1, &[1, 2, 3]),
                    ],
                ),
                ok(5, 6, vec![append(1, 4), list(1, &[1, 2, 3, 4])]),
            ],
        ),
    ]
}
