//! Dates and timestamps as text, exactly.
//!
//! A date is `2013-02-14`. A timestamp is a date, `T` or a space, `10:00:00`, perhaps a fraction of a second and an
//! offset. Years are 0001 to 9999, and there is no leap second and no hour 24: what the calendar or the clock has not,
//! and digits beyond microseconds, are refused. The calendar is `chrono`'s; the clock is read here, since its parser takes
//! leap seconds, drops digits beyond nanoseconds and is slower.

use chrono::{Datelike, NaiveDate};

const MICROS: i64 = 1_000_000;
const DAY_SECONDS: i64 = 86_400;
/// Days from 0000-12-31 to 1970-01-01.
const EPOCH_DAYS: i32 = 719_163;

/// What a timestamp says about its place on the globe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Zone {
    /// It is a date: midnight, without an offset.
    Date,
    /// It has no offset.
    Local,
    /// It has one.
    Offset,
}

/// Days since 1970-01-01 of the first day of year 1, and of that after the last of year 9999.
const FIRST_DAY: i64 = -719_162;
const END_DAY: i64 = 2_932_897;

/// Whether a day is of the years 1 to 9999.
pub(super) fn is_day(days: i32) -> bool {
    (FIRST_DAY..END_DAY).contains(&i64::from(days))
}

/// Whether microseconds since 1970 are of the years 1 to 9999.
pub(super) fn is_moment(micros: i64) -> bool {
    (FIRST_DAY..END_DAY).contains(&micros.div_euclid(DAY_SECONDS * MICROS))
}

/// Days since 1970-01-01.
pub(super) fn date(text: &[u8]) -> Option<i32> {
    if text.len() != 10 || text[4] != b'-' || text[7] != b'-' {
        return None;
    }
    let year = i32::from(pair(text, 0)?) * 100 + i32::from(pair(text, 2)?);
    let (month, day) = (pair(text, 5)?, pair(text, 8)?);
    if year == 0 {
        return None;
    }
    let date = NaiveDate::from_ymd_opt(year, month.into(), day.into())?;
    Some(date.num_days_from_ce() - EPOCH_DAYS)
}

/// Microseconds since 1970-01-01, UTC; a timestamp without an offset is taken as UTC.
pub(super) fn timestamp(text: &[u8]) -> Option<(i64, Zone)> {
    let (day, rest) = text.split_at_checked(10)?;
    let days = i64::from(date(day)?);
    if rest.is_empty() {
        return Some((days * DAY_SECONDS * MICROS, Zone::Date));
    }
    let (clock, rest) = rest.split_at_checked(9)?;
    let shaped = matches!(clock[0], b'T' | b't' | b' ') && clock[3] == b':' && clock[6] == b':';
    if !shaped {
        return None;
    }
    let (hour, minute, second) = (pair(clock, 1)?, pair(clock, 4)?, pair(clock, 7)?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (fraction, rest) = fraction(rest)?;
    let (offset, zone) = offset(rest)?;
    let of_day = i64::from(hour) * 3600 + i64::from(minute) * 60 + i64::from(second);
    let seconds = days * DAY_SECONDS + of_day - offset;
    Some((seconds * MICROS + fraction, zone))
}

/// Two digits.
fn pair(text: &[u8], at: usize) -> Option<u8> {
    let digit = |at: usize| text.get(at).map(|byte| byte.wrapping_sub(b'0'));
    let (tens, ones) = (digit(at)?, digit(at + 1)?);
    (tens <= 9 && ones <= 9).then(|| tens * 10 + ones)
}

/// Microseconds of a fraction of a second, and what follows it.
fn fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let [b'.' | b',', rest @ ..] = text else {
        return Some((0, text));
    };
    let len = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = rest.split_at(len);
    let beyond = digits.get(6..).unwrap_or_default();
    if len == 0 || beyond.iter().any(|digit| *digit != b'0') {
        return None;
    }
    let place = |at: usize| i64::from(digits.get(at).map_or(0, |digit| digit - b'0'));
    Some(((0..6).fold(0, |micros, at| micros * 10 + place(at)), rest))
}

/// Seconds east of Greenwich: `Z`, `UTC`, `+01`, `+0100` or `+01:00`, perhaps after a space.
fn offset(text: &[u8]) -> Option<(i64, Zone)> {
    if text.is_empty() {
        return Some((0, Zone::Local));
    }
    let text = text.strip_prefix(b" ").unwrap_or(text);
    if matches!(text, b"Z" | b"z" | b"UTC") {
        return Some((0, Zone::Offset));
    }
    let (sign, rest) = match text {
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return None,
    };
    let hours = pair(rest, 0)?;
    let minutes = match rest.get(2..)? {
        [] => 0,
        [b':', minutes @ ..] | minutes if minutes.len() == 2 => pair(minutes, 0)?,
        _ => return None,
    };
    if hours > 23 || minutes > 59 {
        return None;
    }
    let seconds = i64::from(hours) * 3600 + i64::from(minutes) * 60;
    Some((sign * seconds, Zone::Offset))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::types::{Date32Type, TimestampMicrosecondType};
    use arrow::compute::kernels::cast_utils::Parser;
    use proptest::prelude::*;

    #[test]
    fn what_the_calendar_has_not_is_refused() {
        for text in [
            "2023-02-29",
            "1900-02-29",
            "2024-02-30",
            "2024-04-31",
            "2024-13-01",
            "2024-00-10",
            "2024-01-00",
            "0000-01-01",
            "10000-01-01",
            "-001-01-01",
            "20240101",
            "2024-1-1",
            "2024/01/01",
            "2024-01-01 ",
            "2024-01-01T00:00:00",
        ] {
            assert_eq!(date(text.as_bytes()), None, "{text}");
        }
        assert_eq!(date(b"1970-01-01"), Some(0));
        assert_eq!(date(b"0001-01-01").map(i64::from), Some(FIRST_DAY));
        assert_eq!(date(b"9999-12-31").map(i64::from), Some(END_DAY - 1));
        let end = END_DAY * DAY_SECONDS * MICROS;
        assert!(is_moment(end - 1) && !is_moment(end) && !is_moment(i64::MAX));
        let first = FIRST_DAY * DAY_SECONDS * MICROS;
        assert!(is_moment(first) && !is_moment(first - 1) && !is_moment(i64::MIN));
        assert_eq!(date(b"2024-02-29"), Date32Type::parse("2024-02-29"));
        assert_eq!(date(b"2000-02-29"), Date32Type::parse("2000-02-29"));
    }

    #[test]
    fn timestamps_are_exact_or_refused() {
        let at = |text: &str| timestamp(text.as_bytes());
        let second = 1_704_067_200_000_000;
        for (text, expected) in [
            ("2024-01-01", Some((second, Zone::Date))),
            ("2024-01-01T00:00:00", Some((second, Zone::Local))),
            (
                "2024-01-01 00:00:00.5",
                Some((second + 500_000, Zone::Local)),
            ),
            (
                "2024-01-01T00:00:00.123456000Z",
                Some((second + 123_456, Zone::Offset)),
            ),
            ("2024-01-01T14:00:00+14:00", Some((second, Zone::Offset))),
            ("2023-12-31 10:00:00-14", Some((second, Zone::Offset))),
            ("2024-01-01 01:30:00 +0130", Some((second, Zone::Offset))),
            ("2024-01-01 00:00:00 UTC", Some((second, Zone::Offset))),
            ("2024-01-01T00:00:00.1234567Z", None),
            ("2024-01-01T00:00:60Z", None),
            ("2024-01-01T24:00:00Z", None),
            ("2024-01-01T00:60:00Z", None),
            ("2024-01-01T00:00:00.Z", None),
            ("2024-01-01T00:00:00+24:00", None),
            ("2024-01-01T00:00:00+1", None),
            ("2024-01-01T00:00:00 EST", None),
            ("2024-01-01T00:00", None),
            ("2024-01-01_00:00:00", None),
            ("2024-01-01T00:00:00Zx", None),
            ("1704067200", None),
        ] {
            assert_eq!(at(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_day_is_that_of_another_parser(year in 1..=9999, month in 1..=13, day in 1..=32) {
            let text = format!("{year:04}-{month:02}-{day:02}");
            prop_assert_eq!(date(text.as_bytes()), Date32Type::parse(&text));
        }

        #[test]
        fn every_moment_is_that_of_another_parser(
            day in 0..100_000_i64, clock in 0..86_400_i64, micros in 0..1_000_000_i64, east in -50_400..=50_400_i64,
        ) {
            let date = arrow::temporal_conversions::date32_to_datetime(i32::try_from(day).unwrap()).unwrap().date();
            let east = east / 60;
            let sign = if east < 0 { '-' } else { '+' };
            let text = format!(
                "{date}T{:02}:{:02}:{:02}.{micros:06}{sign}{:02}:{:02}",
                clock / 3600, clock / 60 % 60, clock % 60, east.abs() / 60, east.abs() % 60
            );
            let expected = TimestampMicrosecondType::parse(&text).map(|micros| (micros, Zone::Offset));
            prop_assert_eq!(timestamp(text.as_bytes()), expected);
        }
    }
}
