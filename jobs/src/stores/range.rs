//! Conditions on the fields of a key as ranges of keys.
//!
//! Conditions are met in the order of the key's fields, as far as each is fixed to one value. So
//! `carrier = 'AA' AND month >= 3` is one range of a key `[carrier, month]`. The field at which this ends may have a list
//! of values or bounds.

use std::collections::BTreeSet;

use datafusion::logical_expr::{Between, BinaryExpr, Expr, Like, Operator};
use datafusion::scalar::ScalarValue;
use eciton_engine::{Datum, Direction, Key, ScanRange, Store};

use super::columns::{ColumnOrigin, StoreColumns, StoredKind};

/// Values of a list that become ranges.
const POINTS_MAX: usize = 1000;

/// A range of keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct KeyRange {
    /// Included.
    pub(super) from: Option<Key>,
    /// Excluded.
    pub(super) to: Option<Key>,
    /// For people.
    pub(super) shown: String,
}

impl KeyRange {
    /// What to scan.
    pub(super) fn scan(&self) -> ScanRange {
        ScanRange {
            from: self.from.clone(),
            to: self.to.clone(),
            ..ScanRange::all()
        }
    }
}

/// The ranges of keys that conditions leave, in the order of keys.
#[derive(Clone, Debug)]
pub(super) struct Ranges {
    pub(super) all: Vec<KeyRange>,
    /// Of each condition, whether it holds for every record of the ranges.
    pub(super) is_exact: Vec<bool>,
    /// Of each condition, whether the ranges are narrower for it.
    pub(super) is_used: Vec<bool>,
}

/// What conditions say of one field of the key.
#[derive(Clone, Debug, Default)]
struct FieldBounds {
    /// The only values.
    points: Option<Vec<Datum>>,
    /// The least value, and whether it is one.
    low: Option<(Datum, bool)>,
    high: Option<(Datum, bool)>,
}

/// What one condition says.
enum Said {
    Points(Vec<Datum>),
    Low(Datum, bool),
    High(Datum, bool),
    Both((Datum, bool), (Datum, bool)),
}

/// A condition on a field of the key.
struct Condition {
    field: usize,
    said: Said,
    /// Whether the range is all that it says.
    is_exact: bool,
}

/// The ranges of keys of a store whose records conditions may hold for.
pub(super) fn ranges(store: &Store, columns: &StoreColumns, conditions: &[&Expr]) -> Ranges {
    let read: Vec<Option<Condition>> = conditions
        .iter()
        .map(|expr| condition(columns, expr))
        .collect();
    let fields = columns
        .all
        .iter()
        .filter(|column| matches!(column.origin, ColumnOrigin::Key(_)));
    let mut bounds = vec![FieldBounds::default(); fields.count()];
    for condition in read.iter().flatten() {
        bounds[condition.field].narrow(&condition.said);
    }
    let (all, reached) = walk(store, &bounds);
    let is_reached = |condition: &Option<Condition>| {
        condition
            .as_ref()
            .is_some_and(|condition| condition.field < reached)
    };
    Ranges {
        is_used: read.iter().map(is_reached).collect(),
        is_exact: read
            .iter()
            .map(|condition| {
                is_reached(condition)
                    && condition
                        .as_ref()
                        .is_some_and(|condition| condition.is_exact)
            })
            .collect(),
        all,
    }
}

impl FieldBounds {
    fn narrow(&mut self, said: &Said) {
        match said {
            Said::Points(points) => {
                let kept = match self.points.take() {
                    None => points.clone(),
                    Some(known) => known
                        .into_iter()
                        .filter(|point| points.contains(point))
                        .collect(),
                };
                self.points = Some(kept);
            }
            Said::Low(datum, included) => self.low((datum.clone(), *included)),
            Said::High(datum, included) => self.high((datum.clone(), *included)),
            Said::Both(low, high) => {
                self.low(low.clone());
                self.high(high.clone());
            }
        }
    }

    fn low(&mut self, new: (Datum, bool)) {
        let is_tighter = self.low.as_ref().is_none_or(|(known, included)| {
            match encoded(&new.0).cmp(&encoded(known)) {
                std::cmp::Ordering::Greater => true,
                std::cmp::Ordering::Equal => *included,
                std::cmp::Ordering::Less => false,
            }
        });
        if is_tighter {
            self.low = Some(new);
        }
    }

    fn high(&mut self, new: (Datum, bool)) {
        let is_tighter = self.high.as_ref().is_none_or(|(known, included)| {
            match encoded(&new.0).cmp(&encoded(known)) {
                std::cmp::Ordering::Less => true,
                std::cmp::Ordering::Equal => *included,
                std::cmp::Ordering::Greater => false,
            }
        });
        if is_tighter {
            self.high = Some(new);
        }
    }

    /// Whether a value lies within the bounds.
    fn holds(&self, datum: &Datum) -> bool {
        let datum = encoded(datum);
        let above = self.low.as_ref().is_none_or(|(low, included)| {
            let low = encoded(low);
            datum > low || *included && datum == low
        });
        let below = self.high.as_ref().is_none_or(|(high, included)| {
            let high = encoded(high);
            datum < high || *included && datum == high
        });
        above && below
    }
}

/// A value as a key of one field has it, ascending: in its order.
fn encoded(datum: &Datum) -> Vec<u8> {
    Key::from_datums(std::slice::from_ref(datum))
        .map_or_else(|_| Vec::new(), |key| key.as_bytes().to_vec())
}

/// Goes through the fields as long as each has one value. Gives the ranges and how many fields they are about.
fn walk(store: &Store, bounds: &[FieldBounds]) -> (Vec<KeyRange>, usize) {
    let order = &store.schema().key_order;
    let direction = |at: usize| order.get(at).copied().unwrap_or_default();
    let mut prefix: Vec<(Datum, Direction)> = Vec::new();
    for (at, bound) in bounds.iter().enumerate() {
        if let Some(points) = &bound.points {
            let mut points: Vec<&Datum> =
                points.iter().filter(|point| bound.holds(point)).collect();
            let mut seen = BTreeSet::new();
            points.retain(|point| seen.insert(encoded(point)));
            if let [point] = points[..] {
                prefix.push((point.clone(), direction(at)));
                continue;
            }
            let mut all: Vec<KeyRange> = points
                .into_iter()
                .filter_map(|point| {
                    let mut fields = prefix.clone();
                    fields.push((point.clone(), direction(at)));
                    of_prefix(store, &fields)
                })
                .collect();
            all.sort_by(|a, b| a.from.cmp(&b.from));
            return (all, at + 1);
        }
        let is_bounded = bound.low.is_some() || bound.high.is_some();
        if is_bounded && direction(at) == Direction::Ascending {
            return (between(store, &prefix, bound).into_iter().collect(), at + 1);
        }
        let all = of_prefix(store, &prefix).into_iter().collect();
        return (all, at);
    }
    (
        of_prefix(store, &prefix).into_iter().collect(),
        bounds.len(),
    )
}

/// All keys that begin with these fields; `None` for fields that no key has.
fn of_prefix(store: &Store, fields: &[(Datum, Direction)]) -> Option<KeyRange> {
    if fields.is_empty() {
        return Some(KeyRange {
            shown: "all keys".to_owned(),
            ..KeyRange::default()
        });
    }
    let key = Key::encode(fields).ok()?;
    let shown = store.key_to_json(&key).ok()?;
    Some(KeyRange {
        to: Some(Key::from_encoded(key.prefix_end())),
        from: Some(key),
        shown: format!("{shown}"),
    })
}

/// The keys that begin with some fields and have the next one within bounds; NULL is in none.
fn between(store: &Store, prefix: &[(Datum, Direction)], bound: &FieldBounds) -> Option<KeyRange> {
    let with = |datum: &Datum| {
        let mut fields = prefix.to_vec();
        fields.push((datum.clone(), Direction::Ascending));
        Key::encode(&fields).ok()
    };
    let end = |datum: &Datum| with(datum).map(|key| Key::from_encoded(key.prefix_end()));
    let from = match &bound.low {
        Some((low, true)) => with(low)?,
        Some((low, false)) => end(low)?,
        None => end(&Datum::Null)?,
    };
    let whole = Key::encode(prefix).ok()?;
    let to = match &bound.high {
        Some((high, true)) => end(high)?,
        Some((high, false)) => with(high)?,
        None => Key::from_encoded(whole.prefix_end()),
    };
    let of = |bound: &Option<(Datum, bool)>| {
        let (datum, included) = bound.as_ref()?;
        let key = with(datum)?;
        let json = store.key_to_json(&key).ok()?;
        Some((json.to_string(), *included))
    };
    let low = of(&bound.low)
        .map(|(low, included)| format!("{} {low}", if included { "from" } else { "after" }));
    let high = of(&bound.high)
        .map(|(high, included)| format!("{} {high}", if included { "through" } else { "before" }));
    let shown: Vec<String> = low.into_iter().chain(high).collect();
    Some(KeyRange {
        from: Some(from),
        to: Some(to),
        shown: shown.join(" "),
    })
}

/// What a condition says of a field of the key, if it is about one alone.
fn condition(columns: &StoreColumns, expr: &Expr) -> Option<Condition> {
    match expr {
        Expr::BinaryExpr(BinaryExpr {
            left,
            op: Operator::Or,
            right,
        }) => {
            let (left, right) = (condition(columns, left)?, condition(columns, right)?);
            match (left.said, right.said) {
                (Said::Points(mut points), Said::Points(more)) if left.field == right.field => {
                    points.extend(more);
                    (points.len() <= POINTS_MAX).then_some(Condition {
                        field: left.field,
                        said: Said::Points(points),
                        is_exact: left.is_exact && right.is_exact,
                    })
                }
                _ => None,
            }
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let (field, literal, op) = match (field(columns, left), field(columns, right)) {
                (Some(field), None) => (field, right, *op),
                (None, Some(field)) => (field, left, op.swap()?),
                _ => return None,
            };
            let datum = datum(field.1, literal)?;
            let said = match op {
                Operator::Eq => Said::Points(vec![datum]),
                Operator::Lt => Said::High(datum, false),
                Operator::LtEq => Said::High(datum, true),
                Operator::Gt => Said::Low(datum, false),
                Operator::GtEq => Said::Low(datum, true),
                _ => return None,
            };
            Some(said_of(field, said))
        }
        Expr::Between(Between {
            expr,
            negated: false,
            low,
            high,
        }) => {
            let field = field(columns, expr)?;
            let (low, high) = (datum(field.1, low)?, datum(field.1, high)?);
            Some(said_of(field, Said::Both((low, true), (high, true))))
        }
        Expr::InList(list) if !list.negated && list.list.len() <= POINTS_MAX => {
            let field = field(columns, &list.expr)?;
            let points = list.list.iter().map(|value| datum(field.1, value));
            Some(said_of(field, Said::Points(points.collect::<Option<_>>()?)))
        }
        Expr::Like(Like {
            negated: false,
            expr,
            pattern,
            escape_char: None,
            case_insensitive: false,
        }) => {
            let field = field(columns, expr).filter(|(_, kind)| *kind == StoredKind::Str)?;
            let Datum::Str(pattern) = datum(field.1, pattern)? else {
                return None;
            };
            let begin: String = pattern
                .chars()
                .take_while(|c| !matches!(c, '%' | '_' | '\\'))
                .collect();
            let condition = said_of(field, begins_with(&begin)?);
            Some(Condition {
                is_exact: false,
                ..condition
            })
        }
        _ => None,
    }
}

fn said_of((field, kind): (usize, StoredKind), said: Said) -> Condition {
    Condition {
        field,
        said,
        // SQL and keys do not agree about zeros and NaN.
        is_exact: kind != StoredKind::Float,
    }
}

/// All texts that begin so.
fn begins_with(begin: &str) -> Option<Said> {
    let last = begin.chars().next_back()?;
    let mut next = u32::from(last) + 1;
    while char::from_u32(next).is_none() && next <= u32::from(char::MAX) {
        next += 1;
    }
    let low = (Datum::Str(begin.to_owned()), true);
    let Some(next) = char::from_u32(next) else {
        return Some(Said::Low(low.0, true));
    };
    let mut end = begin[..begin.len() - last.len_utf8()].to_owned();
    end.push(next);
    Some(Said::Both(low, (Datum::Str(end), false)))
}

/// The field of the key that a column is, where its order in keys is that of SQL.
fn field(columns: &StoreColumns, expr: &Expr) -> Option<(usize, StoredKind)> {
    let Expr::Column(name) = expr else {
        return None;
    };
    let (at, _) = columns.schema.column_with_name(&name.name)?;
    let column = &columns.all[at];
    match column.origin {
        ColumnOrigin::Key(field) if column.is_pure && column.kind != StoredKind::Json => {
            Some((field, column.kind))
        }
        _ => None,
    }
}

/// A constant as the value of a field of this kind; `None` where SQL would convert the field.
fn datum(kind: StoredKind, expr: &Expr) -> Option<Datum> {
    let Expr::Literal(value, _) = expr else {
        return None;
    };
    Some(match (kind, value) {
        (StoredKind::Bool, ScalarValue::Boolean(Some(value))) => Datum::Bool(*value),
        (StoredKind::Int, ScalarValue::Int64(Some(value))) => Datum::Int((*value).into()),
        (StoredKind::Uint, ScalarValue::UInt64(Some(value))) => Datum::Int((*value).into()),
        (StoredKind::Float, ScalarValue::Float64(Some(value))) if !value.is_nan() => {
            Datum::Float(*value)
        }
        (StoredKind::Decimal(_), ScalarValue::Decimal128(Some(unscaled), _, scale)) => {
            Datum::Decimal {
                unscaled: *unscaled,
                scale: *scale,
            }
        }
        (
            StoredKind::Str,
            ScalarValue::Utf8(Some(text))
            | ScalarValue::LargeUtf8(Some(text))
            | ScalarValue::Utf8View(Some(text)),
        ) => Datum::Str(text.clone()),
        (StoredKind::Bytes, ScalarValue::Binary(Some(bytes))) => Datum::Bytes(bytes.clone()),
        (StoredKind::Date, ScalarValue::Date32(Some(days))) => Datum::Date(*days),
        (StoredKind::Timestamp, ScalarValue::TimestampMicrosecond(Some(micros), Some(_))) => {
            Datum::Timestamp(*micros)
        }
        _ => return None,
    })
}
