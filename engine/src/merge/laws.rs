//! The laws that every operator of the table keeps.

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::wire::StateReader;
use super::{
    Column, Edges, Inputs, Kind, Law, NoRow, OPERATORS, Operator, Parameter, QUANTILE_PARTS, State,
    States, merge,
};
use crate::base::Datum;
use crate::base::key::testing;

/// An operator, and values that may meet in one column.
struct Case {
    operator: Operator,
    values: BoxedStrategy<Datum>,
}

/// Every operator of the table, with each family of values that it merges.
fn cases() -> Vec<Case> {
    let families = |inputs| match inputs {
        Inputs::Numbers => vec![
            testing::int().boxed(),
            summable_float().boxed(),
            decimal_of_one_scale().boxed(),
        ],
        Inputs::Integers => vec![testing::int().boxed()],
        Inputs::Bools => vec![any::<bool>().prop_map(Datum::Bool).boxed()],
        Inputs::Rows | Inputs::Values | Inputs::WholeRecords => vec![testing::datum().boxed()],
    };
    let rows = OPERATORS.iter();
    rows.flat_map(|row| {
        let operator = row.operator;
        let families = families(row.inputs).into_iter();
        families.map(move |values| Case { operator, values })
    })
    .collect()
}

/// Floats of all sizes, also of a size whose sums leave the range, and what is not finite.
fn summable_float() -> impl Strategy<Value = Datum> {
    let finite = (-1.0..1.0, -308i32..309)
        .prop_map(|(digits, exponent): (f64, i32)| Datum::Float(digits * 10f64.powi(exponent)));
    let near = (-1000.0..1000.0).prop_map(Datum::Float);
    let edges = [
        0.0,
        -0.0,
        5e-324,
        f64::MAX,
        f64::MIN,
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
    ];
    let edges = prop::sample::select(edges.to_vec()).prop_map(Datum::Float);
    prop_oneof![6 => finite, 6 => near, 1 => edges]
}

fn decimal_of_one_scale() -> impl Strategy<Value = Datum> {
    (any::<i128>(), 0u32..128).prop_map(|(bits, shift)| Datum::Decimal {
        unscaled: bits >> shift,
        scale: 2,
    })
}

/// A column of the operator; of a set so small that values are left out.
fn column_of(operator: Operator) -> Column {
    let parameter = match operator.info().parameter {
        Parameter::Edges => {
            let edges = Edges::new(&[-10.0, 0.0, 1.0, 1e100]).unwrap();
            return Column::histogram("x", Kind::Int, edges).unwrap();
        }
        Parameter::None => 0,
        Parameter::Limit => 3,
        Parameter::Quantile => QUANTILE_PARTS / 2,
    };
    let input = match operator.info().inputs {
        Inputs::Integers | Inputs::Numbers => Kind::Int,
        Inputs::Bools => Kind::Bool,
        Inputs::Rows | Inputs::Values | Inputs::WholeRecords => Kind::Any,
    };
    Column::with_parameter("x", operator, input, parameter).unwrap()
}

fn state_of(operator: Operator, values: &[Datum]) -> State {
    let mut state = column_of(operator).empty_state();
    for value in values {
        state.add(value).unwrap();
    }
    state
}

fn sample(case: &Case) -> impl Strategy<Value = State> + use<> {
    let operator = case.operator;
    let value = prop_oneof![9 => case.values.clone(), 1 => Just(Datum::Null)];
    prop::collection::vec(value, 0..6).prop_map(move |values| state_of(operator, &values))
}

/// A state of any case, or a mismatch.
fn any_sample() -> impl Strategy<Value = State> {
    let mismatch = Just(State::Mismatch).boxed();
    let states = cases()
        .into_iter()
        .map(|case| sample(&case).boxed())
        .chain([mismatch]);
    prop::strategy::Union::new(states.collect::<Vec<_>>())
}

/// Holds `law` against every operator, with three states of one column.
fn hold(law: impl Fn(Operator, [State; 3]) -> Result<(), TestCaseError>) {
    for case in cases() {
        let mut runner = TestRunner::new(ProptestConfig::with_cases(200));
        let samples = (sample(&case), sample(&case), sample(&case));
        let result = runner.run(&samples, |(a, b, c)| law(case.operator, [a, b, c]));
        if let Err(error) = result {
            panic!("{}: {error}", case.operator);
        }
    }
}

fn merged(a: &State, b: &State) -> State {
    let mut state = a.clone();
    state.absorb(b);
    state
}

fn encoded(state: &State) -> Vec<u8> {
    let mut out = Vec::new();
    state.encode_into(&mut out);
    out
}

#[test]
fn no_row_changes_nothing() {
    hold(|operator, [a, ..]| {
        let none = State::new(operator);
        prop_assert_eq!(encoded(&merged(&a, &none)), encoded(&a));
        prop_assert_eq!(encoded(&merged(&none, &a)), encoded(&a));
        Ok(())
    });
}

#[test]
fn order_does_not_matter() {
    hold(|_, [a, b, _]| {
        let (ab, ba) = (merged(&a, &b), merged(&b, &a));
        prop_assert_eq!(encoded(&ab), encoded(&ba));
        Ok(())
    });
}

#[test]
fn grouping_does_not_matter() {
    hold(|_, [a, b, c]| {
        let left = merged(&merged(&a, &b), &c);
        let right = merged(&a, &merged(&b, &c));
        prop_assert!(left != State::Mismatch, "values of one column mismatch");
        prop_assert_eq!(encoded(&left), encoded(&right));
        Ok(())
    });
}

#[test]
fn the_cut_into_operands_does_not_matter() {
    for case in cases() {
        let values = prop::collection::vec(case.values.clone(), 0..30);
        let mut runner = TestRunner::new(ProptestConfig::with_cases(200));
        let result = runner.run(&(values, any::<prop::sample::Index>()), |(values, cut)| {
            let (first, rest) = values.split_at(cut.index(values.len() + 1));
            let whole = state_of(case.operator, &values);
            let parts = [first, rest].map(|part| state_of(case.operator, part));
            prop_assert_eq!(encoded(&merged(&parts[1], &parts[0])), encoded(&whole));
            Ok(())
        });
        if let Err(error) = result {
            panic!("{}: {error}", case.operator);
        }
    }
}

#[test]
fn states_come_back_from_bytes() {
    hold(|_, [a, b, _]| {
        for state in [&a, &merged(&a, &b)] {
            let bytes = encoded(state);
            let mut reader = StateReader::new(&bytes);
            let back = State::decode(&mut reader);
            prop_assert!(reader.is_empty());
            prop_assert_eq!(back.map(|state| encoded(&state)), Some(bytes));
        }
        Ok(())
    });
}

#[test]
fn the_state_of_no_row_is_its_operators_and_shows_what_sql_says() {
    for row in OPERATORS {
        let none = State::new(row.operator);
        assert_eq!(none.operator(), Some(row.operator), "{row:?}");
        assert_eq!(
            none.shown(0, None).ok(),
            Some(row.of_no_row.datum()),
            "{row:?}"
        );
    }
    let shown = OPERATORS.map(|row| (row.name, row.of_no_row));
    assert!(shown.contains(&("count", NoRow::Zero)) && shown.contains(&("sum", NoRow::Null)));
}

#[test]
fn what_selects_is_idempotent() {
    hold(|operator, [a, b, _]| {
        let once = merged(&a, &b);
        if operator.info().law == Law::Selects {
            prop_assert_eq!(encoded(&merged(&once, &b)), encoded(&once));
        }
        Ok(())
    });
}

#[test]
fn what_accumulates_counts_every_operand() {
    for row in OPERATORS {
        let value = match row.inputs {
            Inputs::Bools => Datum::Bool(true),
            _ => Datum::Int(1),
        };
        let one = state_of(row.operator, &[value]);
        let twice = merged(&one, &one);
        let changes = encoded(&twice) != encoded(&one);
        assert_eq!(changes, row.law == Law::Accumulates, "{}", row.name);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn any_states_merge(a in any_sample(), b in any_sample(), c in any_sample()) {
        let ab = merged(&a, &b);
        prop_assert_eq!(encoded(&ab), encoded(&merged(&b, &a)));
        let right = merged(&a, &merged(&b, &c));
        prop_assert_eq!(encoded(&merged(&ab, &c)), encoded(&right));
        if a.operator() != b.operator() {
            prop_assert_eq!(merged(&ab, &c), State::Mismatch);
        }
    }

    #[test]
    fn any_records_merge(
        a in prop::collection::vec(any_sample(), 0..3),
        b in prop::collection::vec(any_sample(), 0..3),
    ) {
        let states = |samples: &[State]| samples.iter().cloned().collect::<States>();
        let bytes = |states: &States| { let mut out = Vec::new(); states.encode_into(&mut out); out };
        let (a, b) = (states(&a), states(&b));
        let mut both = a.clone();
        both.absorb(&b);
        prop_assert_eq!(merge(&bytes(&a), &bytes(&b)), bytes(&both));
        prop_assert_eq!(merge(&bytes(&b), &bytes(&a)), bytes(&both));
        prop_assert_eq!(both.is_empty(), a.len() != b.len() || a.is_empty());
    }

    #[test]
    fn any_bytes_merge(
        a in prop::collection::vec(any::<u8>(), 0..40),
        state in any_sample(),
        at in any::<prop::sample::Index>(),
        flip in 1u8..,
    ) {
        let mut record = Vec::new();
        [state].into_iter().collect::<States>().encode_into(&mut record);
        let mut damaged = record.clone();
        damaged[at.index(record.len())] ^= flip;
        for other in [a, damaged] {
            let merged = merge(&record, &other);
            prop_assert_eq!(&merged, &merge(&other, &record));
            // What decodes has one form, so what is merged decodes as well.
            prop_assert!(States::decode(&merged).is_ok());
            if let Ok(states) = States::decode(&other) {
                let mut back = Vec::new();
                states.encode_into(&mut back);
                prop_assert_eq!(back, other);
            }
        }
    }
}
