//! Random rows, and random queries over them.

use std::fmt::Write as _;

/// Draws from a seed.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    /// splitmix64
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(super) fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        let index = self.below(choices.len() as u64);
        choices[usize::try_from(index).unwrap()]
    }

    /// One in so many.
    fn once_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

/// Files of rows `k,i,j,f,b,d,t,z`, some of them without any: few values, so that rows group and tie, many NULLs, floats
/// whose sums are exact.
pub(super) fn table(dice: &mut Dice) -> Vec<String> {
    let files = 1 + dice.below(3);
    let file = |_| {
        let rows = dice.of(&[0, 1, 30, 150]);
        let mut text = "k,i,j,f,b,d,t,z\n".to_owned();
        for _ in 0..rows {
            let null = |dice: &mut Dice, value: String| match dice.once_in(6) {
                true => String::new(),
                false => value,
            };
            let sign = dice.of(&["", "-"]);
            let cents = dice.below(2000);
            // Eighths, so that sums are exact.
            let eighths = u32::try_from(dice.below(64)).unwrap();
            let fields = [
                dice.of(&["a", "b", "c", "ä", "\"x,y\""]).to_owned(),
                format!("{sign}{}", dice.below(9)),
                dice.below(1000).to_string(),
                format!("{sign}{}", f64::from(eighths) / 8.0),
                dice.of(&["true", "false"]).to_owned(),
                format!("{sign}{}.{:02}", cents / 100, cents % 100),
                format!("2013-01-{:02}", dice.below(28) + 1),
                format!("2013-02-01T00:00:{:02}.25Z", dice.below(60)),
            ];
            let fields = fields.map(|field| null(dice, field));
            // A blank line would be no row.
            let line = fields.join(",");
            let line = if line.starts_with(",,,,,,") {
                format!("a{line}")
            } else {
                line
            };
            writeln!(text, "{line}").unwrap();
        }
        text
    };
    (0..files).map(file).collect()
}

/// Something of a row.
fn scalar(dice: &mut Dice) -> String {
    let plain = dice.of(&["k", "i", "j", "f", "b", "d", "t", "z"]);
    match dice.below(12) {
        0 => "i + 1".to_owned(),
        1 => "i % 3".to_owned(),
        2 => "upper(k)".to_owned(),
        3 => "coalesce(i, j)".to_owned(),
        4 => dice
            .of(&[
                "CASE WHEN b THEN i ELSE j END",
                "CASE WHEN b THEN i ELSE f END",
                "coalesce(i, f)",
                "date_trunc('week', z)",
            ])
            .to_owned(),
        5 => "f * 2".to_owned(),
        6 => "k IS NULL".to_owned(),
        _ => plain.to_owned(),
    }
}

/// What a row may be filtered by.
fn predicate(dice: &mut Dice) -> String {
    let one = |dice: &mut Dice| {
        dice.of(&[
            "i > 3",
            "i > 100",
            "k = 'a'",
            "k IS NOT NULL",
            "b",
            "NOT b",
            "f < 1.5",
            "i IN (1, 2, 3)",
            "k LIKE '%b%'",
            "d >= 5.25",
            "t < DATE '2013-01-15'",
            "i > 0.5",
            "i IN (1.0, 2.5, 3.0)",
            "i BETWEEN -0.5 AND 2.5",
            "f <> i",
            "d > f",
            "t < z",
            "z > TIMESTAMP '2013-02-01 00:00:30'",
            "j IN (SELECT column1 * 2 FROM (VALUES (1), (2), (100)))",
        ])
    };
    match dice.below(4) {
        0 => format!("{} AND {}", one(dice), one(dice)),
        1 => format!("{} OR {}", one(dice), one(dice)),
        _ => one(dice).to_owned(),
    }
}

fn filter(dice: &mut Dice) -> String {
    match dice.once_in(2) {
        true => format!(" WHERE {}", predicate(dice)),
        false => String::new(),
    }
}

/// An aggregate of a number.
fn number_of(dice: &mut Dice) -> String {
    let column = dice.of(&["i", "j", "f", "i * 2", "d"]);
    let call = match dice.below(9) {
        0 | 1 => "count(*)".to_owned(),
        2 => format!("count({})", scalar(dice)),
        3 => format!("sum({column})"),
        4 => format!("min({column})"),
        5 => format!("max({column})"),
        6 => format!("avg({column})"),
        7 => format!("count(DISTINCT {})", scalar(dice)),
        _ => format!("sum(DISTINCT {})", dice.of(&["i", "j"])),
    };
    match dice.once_in(5) {
        true => format!("{call} FILTER (WHERE {})", predicate(dice)),
        false => call,
    }
}

fn aggregate(dice: &mut Dice) -> String {
    match dice.below(10) {
        0 => format!("min({})", scalar(dice)),
        1 => format!("max({})", scalar(dice)),
        2 => dice.of(&["bool_and(b)", "bool_or(b)"]).to_owned(),
        3 => format!("{} + {}", number_of(dice), number_of(dice)),
        4 => format!("coalesce({}, 0) * 2", number_of(dice)),
        5 if dice.once_in(2) => dice
            .of(&[
                "median(i)",
                "round(stddev(f), 6)",
                "round(var_pop(f), 6)",
                "array_agg(i)",
                "approx_distinct(k)",
                "bit_xor(i)",
                "first_value(k ORDER BY j)",
                "median(DISTINCT i)",
            ])
            .to_owned(),
        _ => number_of(dice),
    }
}

fn named(columns: &[String]) -> String {
    let named = columns.iter().enumerate();
    let named = named.map(|(index, column)| format!("{column} AS c{index}"));
    named.collect::<Vec<_>>().join(", ")
}

/// An order of all columns, so that rows that tie are alike, with a limit.
fn first_rows(dice: &mut Dice, columns: usize) -> String {
    let mut order: Vec<usize> = (0..columns).collect();
    for last in (1..columns).rev() {
        let other = usize::try_from(dice.below(last as u64 + 1)).unwrap();
        order.swap(last, other);
    }
    let by = order.iter().map(|column| {
        let (direction, nulls) = (
            dice.of(&["", " DESC"]),
            dice.of(&["", " NULLS FIRST", " NULLS LAST"]),
        );
        format!("c{column}{direction}{nulls}")
    });
    let by = by.collect::<Vec<_>>().join(", ");
    let limit = dice.of(&[
        "LIMIT 1",
        "LIMIT 5",
        "LIMIT 5 OFFSET 2",
        "LIMIT 1000",
        "LIMIT 3 OFFSET 100",
    ]);
    format!(" ORDER BY {by} {limit}")
}

fn scalars(dice: &mut Dice, count: u64) -> Vec<String> {
    (0..count).map(|_| scalar(dice)).collect()
}

/// A query of aggregates with as many columns as it says, named `c0` and so on.
fn grouped(dice: &mut Dice) -> (String, usize) {
    let keys = dice.below(3);
    let mut columns = scalars(dice, keys);
    columns.dedup();
    let group_by = match columns.is_empty() {
        true => String::new(),
        false => format!(" GROUP BY {}", columns.join(", ")),
    };
    for _ in 0..=dice.below(3) {
        columns.push(aggregate(dice));
    }
    let having = match dice.once_in(4) {
        true => format!(" HAVING {} > {}", number_of(dice), dice.below(9)),
        false => String::new(),
    };
    let filter = filter(dice);
    let sql = format!(
        "SELECT {} FROM source{filter}{group_by}{having}",
        named(&columns)
    );
    (sql, columns.len())
}

/// A query; most can be put together from shards.
pub(super) fn query(dice: &mut Dice) -> String {
    match dice.below(12) {
        0..=3 => {
            let (sql, columns) = grouped(dice);
            match dice.once_in(3) {
                true => format!("SELECT * FROM ({sql}){}", first_rows(dice, columns)),
                false => sql,
            }
        }
        4 => {
            let count = 1 + dice.below(3);
            let columns = scalars(dice, count);
            let filter = filter(dice);
            let order = match dice.once_in(2) {
                true => first_rows(dice, columns.len()),
                false => String::new(),
            };
            format!("SELECT DISTINCT {} FROM source{filter}{order}", named(&columns))
        }
        5 | 6 => {
            let count = 1 + dice.below(4);
            let columns = scalars(dice, count);
            let filter = filter(dice);
            let order = first_rows(dice, columns.len());
            format!("SELECT {} FROM source{filter}{order}", named(&columns))
        }
        7 => format!("SELECT j AS c0, k AS c1 FROM source{} LIMIT {}", filter(dice), dice.below(20)),
        8 => {
            let (sql, _) = grouped(dice);
            format!("SELECT count(*) AS n, count(c0) AS m, min(c0) AS lo FROM ({sql})")
        }
        9 => format!(
            "SELECT sum(j) AS s, count(*) AS n FROM (SELECT j FROM source{} ORDER BY j DESC, k LIMIT {})",
            filter(dice),
            dice.below(30)
        ),
        10 => format!(
            "SELECT w AS c0, {} AS c1 FROM source {} JOIN (VALUES ('a', 1), ('b', 2), ('q', 3)) AS v(c, w) ON k = c GROUP BY w",
            number_of(dice),
            dice.of(&["", "LEFT", "RIGHT", "FULL", "LEFT SEMI"])
        ),
        _ => dice
            .of(&[
                "SELECT k AS c0, row_number() OVER (ORDER BY j, k) AS c1 FROM source",
                "SELECT k AS c0 FROM source UNION ALL SELECT 'x'",
                "SELECT k AS c0 FROM source EXCEPT SELECT 'a'",
                "SELECT k AS c0 FROM source INTERSECT SELECT 'a'",
                "SELECT column1 AS c0 FROM (VALUES (1), (2)) WHERE column1 IN (SELECT i FROM source)",
                "SELECT k AS c0, n AS c1, sum(n) OVER (ORDER BY k NULLS FIRST) AS c2 FROM (SELECT k, count(*) AS n FROM source GROUP BY k)",
                "SELECT k AS c0, b AS c1, count(*) AS c2 FROM source GROUP BY CUBE (k, b)",
                "SELECT max(i) AS c0 FROM source UNION ALL SELECT 7",
                "SELECT count(*) AS c0 FROM (SELECT DISTINCT k, i FROM source) WHERE i > (SELECT min(column1) FROM (VALUES (2), (3)))",
                "SELECT DISTINCT ON (k) k AS c0, j AS c1 FROM source ORDER BY k, j",
                "SELECT k AS c0, x AS c1, count(*) AS c2 FROM (SELECT k, unnest(make_array(i, j, i)) AS x FROM source) GROUP BY k, x",
            ])
            .to_owned(),
    }
}
