//! The operators, and the one table that says everything of them.
//!
//! Job files, SQL and the laws iterate over [`OPERATORS`], so that a new operator is a new row, a new [`Operator`], and the
//! arms of [`State`](super::State) that the compiler then asks for.

use std::fmt;

use super::Kind;
use crate::base::{Datum, Error, Result};

/// An operator over one column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operator {
    /// How many rows, or how many values that are not NULL.
    Count,
    /// The sum of the values.
    Sum,
    /// The smallest value, in key order.
    Min,
    /// The largest value, in key order.
    Max,
    /// The sum of the values divided by their number.
    Avg,
    /// The whole record of the largest place in a source.
    Latest,
    /// The value of the first row in the order of the source.
    First,
    /// The value of the last row in the order of the source.
    Last,
    /// The bits that any of the values has.
    BitOr,
    /// The smallest distinct values, so many of them.
    CollectSet,
    /// About how many distinct values there are.
    ApproxDistinct,
    /// About the smallest value that a given share of all values does not exceed.
    ApproxQuantile,
    /// The largest values, so many of them; equal values count each.
    TopK,
    /// How many values lie between given edges.
    Histogram,
    /// Whether all values are true.
    BoolAnd,
    /// Whether any value is true.
    BoolOr,
    /// The variance of all values.
    VarPop,
    /// The variance that the values tell of as a sample.
    VarSamp,
    /// The square root of [`Operator::VarPop`].
    StddevPop,
    /// The square root of [`Operator::VarSamp`].
    StddevSamp,
}

/// Which values an operator merges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Inputs {
    /// Rows, and so values of every kind; it also works without an argument: `count()`.
    Rows,
    /// Integers, floats, and decimals of one scale.
    Numbers,
    /// Integers.
    Integers,
    /// Truth values.
    Bools,
    /// Values of every kind.
    Values,
    /// Whole records with their place in a source: what an upsert merges. It takes no single column.
    WholeRecords,
}

/// The law that an operator keeps besides being total, commutative and associative, as all are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Law {
    /// Every operand adds to the result: merging one twice counts it twice.
    Accumulates,
    /// Merging one operand twice changes nothing (idempotent): the result is one of them, or a union.
    Selects,
}

/// The kind of what an operator shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shows {
    /// An integer.
    Int,
    /// A float.
    Float,
    /// A truth value.
    Bool,
    /// The kind of the values that it merges.
    Input,
    /// A list of values of that kind, which is of no kind itself.
    List,
}

/// What an operator is told besides its values, by the column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Parameter {
    /// Nothing.
    None,
    /// How many values it keeps, from 1 to [`SET_LEN_MAX`](super::SET_LEN_MAX).
    Limit,
    /// A quantile, in [parts of a million](super::QUANTILE_PARTS).
    Quantile,
    /// The [edges](super::Edges) between bins.
    Edges,
}

/// What an operator shows that has seen no row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoRow {
    /// 0.
    Zero,
    /// NULL.
    Null,
}

/// What is said of one operator: a row of [`OPERATORS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OperatorInfo {
    /// The operator.
    pub operator: Operator,
    /// Its name in job files, which is that of the aggregate function in SQL, where there is one.
    pub name: &'static str,
    /// Its number in the format; it is never given to another one. 0 is no operator.
    pub id: u8,
    /// The newest version of the state's layout that this program writes. A change of the layout raises it, and the older
    /// ones stay readable.
    pub version: u8,
    /// Its law.
    pub law: Law,
    /// What it merges.
    pub inputs: Inputs,
    /// What it shows, NULL aside.
    pub shows: Shows,
    /// What it shows of no row.
    pub of_no_row: NoRow,
    /// What a column of it has besides.
    pub parameter: Parameter,
}

/// All operators, in the order of their numbers.
pub const OPERATORS: [OperatorInfo; 20] = [
    OperatorInfo {
        operator: Operator::Count,
        name: "count",
        id: 1,
        version: 1,
        law: Law::Accumulates,
        inputs: Inputs::Rows,
        shows: Shows::Int,
        of_no_row: NoRow::Zero,
        parameter: Parameter::None,
    },
    OperatorInfo {
        operator: Operator::Sum,
        name: "sum",
        id: 2,
        version: 1,
        law: Law::Accumulates,
        inputs: Inputs::Numbers,
        shows: Shows::Input,
        of_no_row: NoRow::Null,
        parameter: Parameter::None,
    },
    OperatorInfo {
        operator: Operator::Min,
        name: "min",
        id: 3,
        version: 1,
        law: Law::Selects,
        inputs: Inputs::Values,
        shows: Shows::Input,
        of_no_row: NoRow::Null,
        parameter: Parameter::None,
    },
    OperatorInfo {
        operator: Operator::Max,
        name: "max",
        id: 4,
        version: 1,
        law: Law::Selects,
        inputs: Inputs::Values,
        shows: Shows::Input,
        of_no_row: NoRow::Null,
        parameter: Parameter::None,
    },
    OperatorInfo {
        operator: Operator::Avg,
        name: "avg",
        id: 5,
        version: 1,
        law: Law::Accumulates,
        inputs: Inputs::Numbers,
        shows: Shows::Float,
        of_no_row: NoRow::Null,
        parameter: Parameter::None,
    },
    OperatorInfo {
        operator: Operator::Latest,
        name: "latest",
        id: 6,
        version: 1,
        law: Law::Selects,
        inputs: Inputs::WholeRecords,
        shows: Shows::Input,
        of_no_row: NoRow::Null,
        parameter: Parameter::None,
    },
    OperatorInfo {
        operator: Operator::First,
        name: "first",
        id: 7,
        version: 1,
        law: Law::Selects,
        inputs: Inputs::Values,
        shows: Shows::Input,
        of_no_row: NoRow::Null,
        parameter: Parameter::None,
    },
    OperatorInfo {
        operator: Operator::Last,
        name: "last",
        id: 8,
        version: 1,
        law: Law::Selects,
        inputs: Inputs::Values,
        shows: Shows::Input,
        of_no_row: NoRow::Null,
        parameter: Parameter::None,
    },
    OperatorInfo {
        operator: Operator::BitOr,
        name: "bit_or",
        id: 9,
        version: 1,
        law: Law::Selects,
        inputs: Inputs::Integers,
        shows: Shows::Int,
        of_no_row: NoRow::Null,
        parameter: Parameter::None,
    },
    OperatorInfo {
        operator: Operator::CollectSet,
        name: "collect_set",
        id: 10,
        version: 1,
        law: Law::Selects,
        inputs: Inputs::Values,
        shows: Shows::List,
        of_no_row: NoRow::Null,
        parameter: Parameter::Limit,
    },
    OperatorInfo {
        operator: Operator::ApproxDistinct,
        name: "approx_distinct",
        id: 11,
        version: 1,
        law: Law::Selects,
        inputs: Inputs::Values,
        shows: Shows::Int,
        of_no_row: NoRow::Zero,
        parameter: Parameter::None,
    },
    OperatorInfo {
        operator: Operator::ApproxQuantile,
        name: "approx_quantile",
        id: 12,
        version: 2,
        law: Law::Accumulates,
        inputs: Inputs::Numbers,
        shows: Shows::Float,
        of_no_row: NoRow::Null,
        parameter: Parameter::Quantile,
    },
    OperatorInfo {
        operator: Operator::TopK,
        name: "top_k",
        id: 13,
        version: 1,
        law: Law::Accumulates,
        inputs: Inputs::Values,
        shows: Shows::List,
        of_no_row: NoRow::Null,
        parameter: Parameter::Limit,
    },
    OperatorInfo {
        operator: Operator::Histogram,
        name: "histogram",
        id: 14,
        version: 1,
        law: Law::Accumulates,
        inputs: Inputs::Numbers,
        shows: Shows::List,
        of_no_row: NoRow::Null,
        parameter: Parameter::Edges,
    },
    OperatorInfo {
        operator: Operator::BoolAnd,
        name: "bool_and",
        id: 15,
        version: 1,
        law: Law::Selects,
        inputs: Inputs::Bools,
        shows: Shows::Bool,
        of_no_row: NoRow::Null,
        parameter: Parameter::None,
    },
    OperatorInfo {
        operator: Operator::BoolOr,
        name: "bool_or",
        id: 16,
        version: 1,
        law: Law::Selects,
        inputs: Inputs::Bools,
        shows: Shows::Bool,
        of_no_row: NoRow::Null,
        parameter: Parameter::None,
    },
    OperatorInfo {
        operator: Operator::VarPop,
        name: "var_pop",
        id: 17,
        version: 1,
        law: Law::Accumulates,
        inputs: Inputs::Numbers,
        shows: Shows::Float,
        of_no_row: NoRow::Null,
        parameter: Parameter::None,
    },
    OperatorInfo {
        operator: Operator::VarSamp,
        name: "var_samp",
        id: 18,
        version: 1,
        law: Law::Accumulates,
        inputs: Inputs::Numbers,
        shows: Shows::Float,
        of_no_row: NoRow::Null,
        parameter: Parameter::None,
    },
    OperatorInfo {
        operator: Operator::StddevPop,
        name: "stddev_pop",
        id: 19,
        version: 1,
        law: Law::Accumulates,
        inputs: Inputs::Numbers,
        shows: Shows::Float,
        of_no_row: NoRow::Null,
        parameter: Parameter::None,
    },
    OperatorInfo {
        operator: Operator::StddevSamp,
        name: "stddev_samp",
        id: 20,
        version: 1,
        law: Law::Accumulates,
        inputs: Inputs::Numbers,
        shows: Shows::Float,
        of_no_row: NoRow::Null,
        parameter: Parameter::None,
    },
];

// A row is found by its operator and by its number. The row of an operator that is given up stays.
const _: () = {
    let mut index = 0;
    while index < OPERATORS.len() {
        let row = OPERATORS[index];
        assert!(row.operator as usize == index && row.id as usize == index + 1);
        index += 1;
    }
};

impl Inputs {
    /// Whether values of this kind are among them.
    pub fn include(self, kind: Kind) -> bool {
        match self {
            Inputs::Rows | Inputs::Values | Inputs::WholeRecords => true,
            Inputs::Numbers => matches!(kind, Kind::Int | Kind::Float | Kind::Decimal { .. }),
            Inputs::Integers => kind == Kind::Int,
            Inputs::Bools => kind == Kind::Bool,
        }
    }
}

impl NoRow {
    /// The value that is shown.
    pub fn datum(self) -> Datum {
        match self {
            NoRow::Zero => Datum::Int(0),
            NoRow::Null => Datum::Null,
        }
    }
}

impl OperatorInfo {
    /// Whether the operator merges the values of a column, as opposed to whole records.
    pub fn merges_columns(&self) -> bool {
        self.inputs != Inputs::WholeRecords
    }
}

impl Operator {
    /// All operators, in the order of the [table](OPERATORS).
    pub const ALL: [Operator; OPERATORS.len()] = {
        let mut all = [Operator::Count; OPERATORS.len()];
        let mut index = 0;
        while index < all.len() {
            all[index] = OPERATORS[index].operator;
            index += 1;
        }
        all
    };

    /// The operator's row of the [table](OPERATORS).
    pub fn info(self) -> &'static OperatorInfo {
        const ROWS: &[OperatorInfo] = &OPERATORS;
        &ROWS[self as usize]
    }

    /// The number of the operator in the format; it is never given to another one. 0 is no operator.
    pub fn id(self) -> u8 {
        self.info().id
    }

    /// The version of the state's layout that this program writes.
    pub fn version(self) -> u8 {
        self.info().version
    }

    /// The operator of a number in the format.
    pub fn from_id(id: u8) -> Option<Operator> {
        let index = usize::from(id).checked_sub(1)?;
        Some(OPERATORS.get(index)?.operator)
    }

    /// The name, as job files write it.
    pub fn name(self) -> &'static str {
        self.info().name
    }

    /// The operator of a name.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the names there are.
    pub fn parse(name: &str) -> Result<Operator> {
        let found = Operator::ALL
            .into_iter()
            .find(|operator| operator.name() == name);
        found.ok_or_else(|| {
            let names = Operator::ALL.map(Operator::name).join(", ");
            Error::Invalid(format!("no operator `{name}`, expected one of {names}"))
        })
    }

    /// Whether the operator works on values of this kind.
    pub fn takes(self, input: Kind) -> bool {
        self.info().inputs.include(input)
    }

    /// The kind of what is read, NULL aside, from values of the kind `input`.
    pub fn output(self, input: Kind) -> Kind {
        match self.info().shows {
            Shows::Int => Kind::Int,
            Shows::Float => Kind::Float,
            Shows::Bool => Kind::Bool,
            Shows::Input => input,
            Shows::List => Kind::Any,
        }
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Operator {
    type Err = Error;

    fn from_str(name: &str) -> Result<Operator> {
        Operator::parse(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_unique() {
        for (index, row) in OPERATORS.iter().enumerate() {
            for other in &OPERATORS[..index] {
                assert!(row.id != other.id && row.name != other.name, "{row:?}");
            }
        }
    }

    #[test]
    fn names_and_numbers_lead_back() {
        for operator in Operator::ALL {
            assert_eq!(Operator::parse(operator.name()).unwrap(), operator);
            assert_eq!(Operator::from_id(operator.id()), Some(operator));
        }
        assert_eq!(Operator::from_id(0), None);
        let error = Operator::parse("median").unwrap_err();
        let expected = "invalid: no operator `median`, expected one of count, sum, min, max, avg, latest, first, last, bit_or, \
             collect_set, approx_distinct, approx_quantile, top_k, histogram, bool_and, bool_or, var_pop, var_samp, \
             stddev_pop, stddev_samp";
        assert_eq!(error.to_string(), expected);
    }
}
