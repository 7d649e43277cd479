//! Numbers for people: bytes, counts, durations.
//!
//! Owns: how they are printed, and how sizes are parsed from arguments.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];

/// `1536` as `1.5 KiB`.
pub fn bytes(count: u64) -> String {
    let mut unit = None;
    // Tenths are enough for people; integer arithmetic keeps them exact.
    let mut tenths = u128::from(count) * 10;
    for name in UNITS {
        if tenths < 10_240 {
            break;
        }
        tenths = (tenths + 512) / 1024;
        unit = Some(name);
    }
    match unit {
        None => format!("{count} B"),
        Some(name) => format!("{}.{} {name}", tenths / 10, tenths % 10),
    }
}

/// `1234567` as `1,234,567`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 record`, `2 records`, `2 key indexes`.
pub fn counted(number: u64, one: &str) -> String {
    let ending = match number {
        1 => "",
        _ if one.ends_with('x') => "es",
        _ => "s",
    };
    format!("{} {one}{ending}", count(number))
}

/// A duration with a suitable unit.
pub fn time(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    match nanos {
        0..1_000 => format!("{nanos} ns"),
        1_000..1_000_000 => format!("{:.1} µs", duration.as_secs_f64() * 1e6),
        1_000_000..1_000_000_000 => format!("{:.1} ms", duration.as_secs_f64() * 1e3),
        _ => format!("{:.2} s", duration.as_secs_f64()),
    }
}

/// `3` of `8` as `37.5 %`; nothing of nothing is 100 %.
pub fn percent(part: u64, whole: u64) -> String {
    let tenths = if whole == 0 { 1000 } else { u128::from(part) * 1000 / u128::from(whole) };
    format!("{}.{} %", tenths / 10, tenths % 10)
}

/// How many per second at this rate.
pub fn per_second(number: u64, duration: Duration) -> u64 {
    let nanos = duration.as_nanos().max(1);
    u64::try_from(u128::from(number) * 1_000_000_000 / nanos).unwrap_or(u64::MAX)
}

/// A time as `2031-05-06T07:08:09Z`.
pub fn moment(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

/// The date `days` days after the beginning of 1970.
fn date(mut days: u64) -> (u64, u64, u64) {
    // 146,097 days are 400 years; the rest takes at most 400 steps.
    let mut year = 1970 + days / 146_097 * 400;
    days %= 146_097;
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    loop {
        let length = if leap(year) { 366 } else { 365 };
        if days < length {
            break;
        }
        days -= length;
        year += 1;
    }
    let february = if leap(year) { 29 } else { 28 };
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

/// Reads `65536`, `64K`, `64KiB`, `1MiB` or `2G`.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not a number of bytes: write it like 65536, 64KiB or 1GiB");
    let end = text.find(|char: char| !char.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at_checked(end).ok_or_else(wrong)?;
    let number: u64 = digits.parse().map_err(|_parse| wrong())?;
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        "t" | "tib" => 40,
        _ => return Err(wrong()),
    };
    number.checked_mul(1 << shift).ok_or_else(wrong)
}

/// Parses `500ms`, `2s`, `3m` or `1h`; a number alone is seconds.
pub fn parse_time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a time: write it like 500ms, 2s or 3m");
    let end = text.find(|char: char| !char.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at_checked(end).ok_or_else(wrong)?;
    let number: u64 = digits.parse().map_err(|_parse| wrong())?;
    let millis = match unit.trim() {
        "ms" => 1,
        "" | "s" => 1000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(millis).map(Duration::from_millis).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_take_the_unit_that_fits() {
        let shown: Vec<_> = [0, 1023, 1024, 1536, 1 << 20, u64::MAX].map(bytes).into();
        assert_eq!(shown, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1.0 MiB", "16384.0 PiB"]);
    }

    #[test]
    fn counts_are_grouped() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(["record", "index"].map(|one| counted(2, one)), ["2 records", "2 indexes"]);
    }

    #[test]
    fn what_is_counted_has_its_plural() {
        let shown = [(1, "record"), (1200, "record"), (1, "key index"), (3, "key index")];
        let shown = shown.map(|(number, one)| counted(number, one));
        assert_eq!(shown, ["1 record", "1,200 records", "1 key index", "3 key indexes"]);
    }

    #[test]
    fn sizes_are_read_and_nonsense_is_refused() {
        assert_eq!(parse_bytes("64KiB"), Ok(65_536));
        assert_eq!(parse_bytes("2 g"), Ok(2 << 30));
        assert_eq!(parse_bytes("7"), Ok(7));
        for text in ["", "KiB", "-1", "1.5M", "1 parsec", "99999999999999999999", "99999999999T"] {
            assert!(parse_bytes(text).is_err(), "{text:?} was read");
        }
    }

    #[test]
    fn times_are_read_and_nonsense_is_refused() {
        for (text, millis) in
            [("500ms", 500), ("2s", 2000), ("2 s", 2000), ("3", 3000), ("4m", 240_000), ("1h", 3_600_000)]
        {
            assert_eq!(parse_time(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "s", "-1s", "1.5s", "1 fortnight", "99999999999999999999h"] {
            assert!(parse_time(text).is_err(), "{text:?} was read");
        }
    }

    #[test]
    fn parts_are_shown_in_percent() {
        assert_eq!(
            [(0, 0), (0, 8), (3, 8), (8, 8)].map(|(part, whole)| percent(part, whole)),
            ["100.0 %", "0.0 %", "37.5 %", "100.0 %"]
        );
    }

    #[test]
    fn moments_follow_the_calendar() {
        let at = |seconds| moment(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(at(1_709_251_199), "2024-02-29T23:59:59Z");
        assert_eq!(at(4_102_444_800), "2100-01-01T00:00:00Z");
    }
}
