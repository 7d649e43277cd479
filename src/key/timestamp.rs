//! Timestamps, in microseconds since 1970 in UTC.
//!
//! Owns: conversion from and to system time and RFC 3339. Never: reads the clock, or handles leap seconds or zones
//! beyond an offset.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::error::Error;

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;
/// Days in 400 years, after which the calendar repeats.
const DAYS_OF_400_YEARS: i64 = 146_097;

/// A point in time, in microseconds since 1970-01-01 00:00 UTC.
///
/// It prints and parses as RFC 3339; years outside 0 to 9999 have a sign and six digits. Parsing accepts any offset,
/// and a date alone as midnight UTC. Digits beyond microseconds are dropped. With the feature `serde` it serializes as
/// this text in human-readable formats, and as microseconds in others.
///
/// ```
/// use tenure::key::Timestamp;
///
/// let moment: Timestamp = "1815-12-10T13:30:00.5+01:00".parse()?;
/// assert_eq!(moment.to_string(), "1815-12-10T12:30:00.500000Z");
/// assert_eq!("1970-01-02".parse::<Timestamp>()?.micros(), 86_400_000_000);
/// # Ok::<(), tenure::Error>(())
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    micros: i64,
}

impl Timestamp {
    /// From microseconds since 1970.
    pub fn from_micros(micros: i64) -> Self {
        Self { micros }
    }

    /// Microseconds since 1970.
    pub fn micros(self) -> i64 {
        self.micros
    }

    /// Converts to system time; `None` if it is out of range there.
    pub fn to_system_time(self) -> Option<SystemTime> {
        let distance = Duration::from_micros(self.micros.unsigned_abs());
        if self.micros < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) }
    }
}

/// Rounds down to microseconds, which preserves order. Times more than 292 thousand years away saturate at the first or
/// last timestamp.
impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let micros = match time.duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
            Err(before) => {
                i64::try_from(before.duration().as_nanos().div_ceil(1000)).map_or(i64::MIN, |micros| -micros)
            }
        };
        Self { micros }
    }
}

/// Days from the first day of the year 0 to the first day of `year`.
fn days_before(year: i64) -> i64 {
    let last = year - 1;
    365 * year + last.div_euclid(4) - last.div_euclid(100) + last.div_euclid(400) + 1
}

fn days_of_months(year: i64) -> [i64; 12] {
    let leap = days_before(year + 1) - days_before(year) == 366;
    [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
}

/// Year, month and day from days since 1970.
fn date(days: i64) -> (i64, u8, i64) {
    let days = days + days_before(1970);
    // An estimate by the mean length of a year is off by one at most.
    let mut year =
        days.div_euclid(DAYS_OF_400_YEARS) * 400 + days.rem_euclid(DAYS_OF_400_YEARS) * 400 / DAYS_OF_400_YEARS;
    if days < days_before(year) {
        year -= 1;
    } else if days >= days_before(year + 1) {
        year += 1;
    }
    let (mut month, mut day) = (1, days - days_before(year));
    for length in days_of_months(year) {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    (year, month, day + 1)
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = date(self.micros.div_euclid(DAY));
        let micros = self.micros.rem_euclid(DAY);
        let (seconds, micros) = (micros / SECOND, micros % SECOND);
        if (0..10_000).contains(&year) { write!(f, "{year:04}") } else { write!(f, "{year:+07}") }?;
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        write!(f, "-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        if micros != 0 { write!(f, ".{micros:06}Z") } else { f.write_str("Z") }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Timestamp {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let why = "write it as 2026-01-31T12:00:00Z, with an offset if it is not UTC";
        let micros = Fields { rest: text }.moment();
        micros.map(Self::from_micros).ok_or_else(|| Error::bad_key_text(text, "timestamp", why))
    }
}

/// The rest of the text.
struct Fields<'a> {
    rest: &'a str,
}

impl Fields<'_> {
    fn skip(&mut self, one_of: &[char]) -> Option<char> {
        let first = self.rest.chars().next().filter(|first| one_of.contains(first))?;
        self.rest = self.rest.strip_prefix(first)?;
        Some(first)
    }

    /// Exactly this many digits.
    fn digits(&mut self, count: usize) -> Option<i64> {
        let (digits, rest) = self.rest.split_at_checked(count)?;
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        self.rest = rest;
        digits.parse().ok()
    }

    /// A two-digit number below `end`.
    fn pair(&mut self, end: i64) -> Option<i64> {
        self.digits(2).filter(|number| *number < end)
    }

    fn moment(mut self) -> Option<i64> {
        let year = match self.skip(&['+', '-']) {
            Some('-') => -self.digits(6)?,
            Some(_plus) => self.digits(6)?,
            None => self.digits(4)?,
        };
        self.skip(&['-'])?;
        let month = self.pair(13)?;
        self.skip(&['-'])?;
        let day = self.pair(32)?;
        let lengths = days_of_months(year);
        let index = usize::try_from(month - 1).ok()?;
        if !(1..=*lengths.get(index)?).contains(&day) {
            return None;
        }
        let months: i64 = lengths.iter().take(index).sum();
        let days = days_before(year) - days_before(1970) + months + day - 1;
        let within = if self.rest.is_empty() { 0 } else { self.time()? };
        // The first representable day begins before the first representable timestamp.
        i64::try_from(i128::from(days) * i128::from(DAY) + i128::from(within)).ok()
    }

    /// Microseconds of the day in UTC; the offset may move them to the day before or after.
    fn time(&mut self) -> Option<i64> {
        self.skip(&['T', 't', ' '])?;
        let hour = self.pair(24)?;
        self.skip(&[':'])?;
        let minute = self.pair(60)?;
        self.skip(&[':'])?;
        let second = self.pair(60)?;
        let mut micros = ((hour * 60 + minute) * 60 + second) * SECOND;
        if self.skip(&['.']).is_some() {
            let digits = self.rest.bytes().take_while(u8::is_ascii_digit).count();
            let (fraction, rest) = self.rest.split_at_checked(digits)?;
            let kept: String = fraction.chars().chain("000000".chars()).take(6).collect();
            micros += kept.parse::<i64>().ok().filter(|_| digits > 0)?;
            self.rest = rest;
        }
        let offset = match self.skip(&['Z', 'z', '+', '-'])? {
            sign @ ('+' | '-') => {
                let hours = self.pair(24)?;
                self.skip(&[':'])?;
                let minutes = hours * 60 + self.pair(60)?;
                if sign == '-' { -minutes } else { minutes }
            }
            _utc => 0,
        };
        if self.rest.is_empty() { Some(micros - offset * 60 * SECOND) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_print_and_parse() {
        let cases = [
            (0, "1970-01-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59.999999Z"),
            (951_782_400_000_000, "2000-02-29T00:00:00Z"),
            (4_107_542_400_000_000, "2100-03-01T00:00:00Z"),
            (1_700_000_000_000_001, "2023-11-14T22:13:20.000001Z"),
            (-62_167_219_200_000_000, "0000-01-01T00:00:00Z"),
            (-62_167_219_200_000_001, "-000001-12-31T23:59:59.999999Z"),
            (253_402_300_800_000_000, "+010000-01-01T00:00:00Z"),
            (i64::MAX, "+294247-01-10T04:00:54.775807Z"),
            (i64::MIN, "-290308-12-21T19:59:05.224192Z"),
        ];
        for (micros, text) in cases {
            assert_eq!(Timestamp::from_micros(micros).to_string(), text);
            assert_eq!(text.parse::<Timestamp>().unwrap().micros(), micros, "{text}");
        }
    }

    #[test]
    fn every_day_of_800_years_follows_the_one_before() {
        let (mut year, mut month, mut day) = date(-300_000);
        for days in -299_999..0 {
            let next = date(days);
            let same_month = next == (year, month, day + 1);
            let next_month = next == (year, month + 1, 1) && day >= 28;
            let next_year = next == (year + 1, 1, 1) && (month, day) == (12, 31);
            assert!(same_month || next_month || next_year, "{next:?} after {:?}", (year, month, day));
            let text = Timestamp::from_micros(days * DAY).to_string();
            assert_eq!(text.parse::<Timestamp>().unwrap().micros(), days * DAY, "{text}");
            (year, month, day) = next;
        }
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        let cases = "|1970|1970-01|1970-13-01|1970-00-01|1970-02-29|1970-01-01T|1970-01-01T00:00:00|1970-01-01T24:00:00Z|\
             1970-01-01T00:60:00Z|1970-01-01T00:00:60Z|1970-01-01T00:00:00.Z|1970-01-01T00:00:00+01|1970-01-01 00:00|\
             1970-01-01T00:00:00Zz|19700-01-01|+1970-01-01|1970-1-1|é|+294247-01-10T04:00:54.775808Z|\
             -290308-12-21T19:59:05.224191Z|+999999-01-01";
        for text in cases.split('|') {
            assert!(text.parse::<Timestamp>().is_err(), "{text:?} parsed");
        }
        assert!("1970-01-01 00:00:00.123456789-00:30".parse::<Timestamp>().is_ok());
    }

    #[test]
    fn the_times_of_the_system_round_down() {
        let from = |nanos| Timestamp::from(UNIX_EPOCH + Duration::from_nanos(nanos)).micros();
        assert_eq!([from(0), from(999), from(1000)], [0, 0, 1]);
        let before = |nanos| Timestamp::from(UNIX_EPOCH - Duration::from_nanos(nanos)).micros();
        assert_eq!([before(1), before(1000), before(1001)], [-1, -1, -2]);
        for micros in [0, -1, 1_700_000_000_000_000, -5_000_000] {
            let time = Timestamp::from_micros(micros).to_system_time().unwrap();
            assert_eq!(Timestamp::from(time).micros(), micros);
        }
    }
}
