//! What a single transaction shows to be wrong.

use crate::support::{aborted, append, list, ok, register, write};
use crate::{Planted, planted};

/// Mistakes that a single read shows.
pub(crate) fn values() -> Vec<Planted> {
    vec![
        planted(
            "aborted append read",
            vec![
                aborted(1, 9, vec![append(1, 1)]),
                ok(2, 8, vec![list(1, &[1])]),
            ],
            &["G1a"],
            &["G1a"],
        ),
        planted(
            "aborted write read",
            vec![
                aborted(1, 9, vec![write(1, 1)]),
                ok(2, 8, vec![register(1, 1)]),
            ],
            &["G1a"],
            &["G1a"],
        ),
        planted(
            "list read between two appends of a transaction",
            vec![
                ok(1, 9, vec![append(1, 1), append(1, 2)]),
                ok(2, 8, vec![list(1, &[1])]),
            ],
            &["G-single", "G1b"],
            &["G-single-item", "G1b"],
        ),
        planted(
            "register read between two writes of a transaction",
            vec![
                ok(1, 9, vec![write(1, 1), write(1, 2)]),
                ok(2, 8, vec![register(1, 1)]),
            ],
            &["G1b"],
            &["G1b"],
        ),
    ]
}

/// Reads that show too much or too little.
pub(crate) fn elements() -> Vec<Planted> {
    vec![
        planted(
            "append applied twice",
            vec![
                ok(1, 2, vec![append(1, 1)]),
                ok(3, 4, vec![list(1, &[1, 1])]),
            ],
            &["duplicate element"],
            &["duplicate-elements"],
        ),
        planted(
            "own append applied twice at once",
            vec![ok(
                1,
                2,
                vec![append(1, 1), append(1, 2), list(1, &[1, 1, 2])],
            )],
            &["duplicate element"],
            &["duplicate-elements"],
        ),
        planted(
            "append applied again after another one",
            vec![
                ok(1, 9, vec![append(1, 1)]),
                ok(1, 9, vec![append(1, 2)]),
                ok(1, 9, vec![list(1, &[1, 2, 1])]),
            ],
            &["duplicate element"],
            &["duplicate-elements"],
        ),
        planted(
            "aborted append read, beside the order that others saw",
            vec![
                ok(1, 9, vec![append(1, 1), append(1, 2)]),
                aborted(1, 9, vec![append(1, 3)]),
                ok(1, 9, vec![list(1, &[1, 2])]),
                ok(1, 9, vec![list(1, &[3])]),
            ],
            &["G1a", "incompatible order"],
            &["G1a", "incompatible-order"],
        ),
        planted(
            "first of two appends lost",
            vec![
                ok(1, 2, vec![append(1, 1), append(1, 2)]),
                ok(3, 4, vec![list(1, &[2])]),
            ],
            &["G-single", "lost append"],
            &["G-single-item"],
        ),
        planted(
            "value out of nowhere in a list",
            vec![
                ok(1, 2, vec![append(1, 1)]),
                ok(3, 4, vec![list(1, &[1, 7])]),
            ],
            &["unwritten value"],
            &[],
        ),
        planted(
            "value out of nowhere in a register",
            vec![ok(1, 2, vec![write(1, 1)]), ok(3, 4, vec![register(1, 7)])],
            &["unwritten value"],
            &[],
        ),
    ]
}

/// Transactions that contradict themselves.
pub(crate) fn internal() -> Vec<Planted> {
    vec![
        planted(
            "own append not seen",
            vec![ok(1, 2, vec![append(1, 1), list(1, &[])])],
            &["internal"],
            &["internal"],
        ),
        planted(
            "own append seen too early",
            vec![ok(1, 2, vec![list(1, &[1]), append(1, 1)])],
            &["internal"],
            &["future-read"],
        ),
        planted(
            "list that changes inside a transaction",
            vec![
                ok(1, 9, vec![append(1, 1)]),
                ok(2, 8, vec![list(1, &[]), list(1, &[1])]),
            ],
            &["internal"],
            &["G-single-item", "internal"],
        ),
        planted(
            "register that changes inside a transaction",
            vec![
                ok(1, 9, vec![write(1, 1)]),
                ok(2, 8, vec![register(1, None), register(1, 1)]),
            ],
            &["internal"],
            &["internal"],
        ),
    ]
}
