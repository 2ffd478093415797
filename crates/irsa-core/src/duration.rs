//! Durations as people write them in flags, and as they are shown.

use std::time::Duration;

/// Why a text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDuration {
    /// It has no number where one is needed, or a unit that is not one of `ns`, `us`, `µs`, `ms`, `s`, `m`, `h`.
    #[error("invalid duration: use a number and a unit, such as 500ms, 30s, 1m30s or 2h")]
    Syntax,
    /// A number without a unit, in a flag that follows Go's syntax.
    #[error("missing unit: use for example 500ms, 30s, 1m30s or 2h")]
    MissingUnit,
    /// It is less than zero.
    #[error("a duration cannot be negative")]
    Negative,
    /// It is longer than Go's `time.Duration` can hold, about 292 years.
    #[error("the duration is too long")]
    TooLong,
}

/// Longest duration of Go's `time.Duration`, in nanoseconds.
const MAX: u128 = i64::MAX as u128;

/// Reads `90` (seconds), `500ms`, `30s`, `1m30s`, `1.5h`: what [`parse_go`] reads, and plain seconds.
///
/// # Errors
/// [`InvalidDuration`] says what is wrong.
pub fn parse(text: &str) -> Result<Duration, InvalidDuration> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        let seconds: u128 = text.parse().map_err(|_| InvalidDuration::TooLong)?;
        return of_nanoseconds(seconds.saturating_mul(1_000_000_000));
    }
    parse_go(text)
}

/// Reads a duration as Go's `time.ParseDuration` does, except that a negative one is refused. A number needs its unit,
/// unless it is `0`. The flags that the Go webhook has, too, are read by this.
///
/// # Errors
/// [`InvalidDuration`] says what is wrong.
pub fn parse_go(text: &str) -> Result<Duration, InvalidDuration> {
    if let Some(positive) = text.strip_prefix('-') {
        return match parse_go(positive)? {
            Duration::ZERO => Ok(Duration::ZERO),
            _ => Err(InvalidDuration::Negative),
        };
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(InvalidDuration::Syntax);
    }
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let (whole, after) = digits(rest);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => digits(after),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(InvalidDuration::Syntax);
        }
        let (size, after) = unit(after)?;
        let whole: u128 = match whole {
            "" => 0,
            whole => whole.parse().map_err(|_| InvalidDuration::TooLong)?,
        };
        total = whole
            .checked_mul(size)
            .and_then(|part| part.checked_add(fraction_of(fraction, size)))
            .and_then(|part| part.checked_add(total))
            .ok_or(InvalidDuration::TooLong)?;
        rest = after;
    }
    of_nanoseconds(total)
}

/// The digits in front, and the rest.
fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// The length in nanoseconds of the unit in front, and the rest.
fn unit(text: &str) -> Result<(u128, &str), InvalidDuration> {
    let end = text
        .find(|c: char| c == '.' || c.is_ascii_digit())
        .unwrap_or(text.len());
    let size = match &text[..end] {
        "" => return Err(InvalidDuration::MissingUnit),
        "ns" => 1,
        // Go takes both the micro sign and the Greek letter.
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return Err(InvalidDuration::Syntax),
    };
    Ok((size, &text[end..]))
}

/// The part of a unit of `size` nanoseconds that the digits behind the point are; what is below a nanosecond is dropped.
fn fraction_of(digits: &str, size: u128) -> u128 {
    let (mut numerator, mut denominator) = (0, 1);
    // The longest unit has 13 digits of nanoseconds: more digits than that cannot count.
    for digit in digits.bytes().take(15) {
        numerator = numerator * 10 + u128::from(digit - b'0');
        denominator *= 10;
    }
    numerator * size / denominator
}

fn of_nanoseconds(total: u128) -> Result<Duration, InvalidDuration> {
    match u64::try_from(total) {
        Ok(nanoseconds) if total <= MAX => Ok(Duration::from_nanos(nanoseconds)),
        _ => Err(InvalidDuration::TooLong),
    }
}

/// The two largest units of a number of seconds, without its sign: `3d4h`, `59m30s`, `12s`.
pub fn short(seconds: i64) -> String {
    let mut rest = seconds.unsigned_abs();
    let mut parts = Vec::new();
    for (size, unit) in [(86_400, 'd'), (3_600, 'h'), (60, 'm'), (1, 's')] {
        let count = rest / size;
        rest %= size;
        if count > 0 {
            parts.push(format!("{count}{unit}"));
        } else if !parts.is_empty() {
            break;
        }
        if parts.len() == 2 {
            break;
        }
    }
    if parts.is_empty() {
        return "0s".to_owned();
    }
    parts.concat()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, nanoseconds) in [
            ("0", 0),
            ("+0", 0),
            ("-0s", 0),
            ("0s", 0),
            ("60s", 60_000_000_000),
            ("1m30s", 90_000_000_000),
            ("30s1m", 90_000_000_000),
            ("300ms", 300_000_000),
            ("7\u{b5}s7\u{3bc}s1us1ns", 15_001),
            ("1.5h", 5_400_000_000_000),
            (".5s", 500_000_000),
            ("5.s", 5_000_000_000),
            ("0.9999999999s", 999_999_999),
            ("9223372036.854775807s", 9_223_372_036_854_775_807),
        ] {
            assert_eq!(parse_go(text), Ok(Duration::from_nanos(nanoseconds)), "{text}");
            assert_eq!(parse(text), parse_go(text), "{text}");
        }
        for (text, error) in [
            ("", InvalidDuration::Syntax),
            ("+", InvalidDuration::Syntax),
            ("s", InvalidDuration::Syntax),
            (".s", InvalidDuration::Syntax),
            ("1x", InvalidDuration::Syntax),
            ("1 s", InvalidDuration::Syntax),
            ("1.2.3s", InvalidDuration::MissingUnit),
            ("1s2", InvalidDuration::MissingUnit),
            ("60", InvalidDuration::MissingUnit),
            ("-5s", InvalidDuration::Negative),
            ("9223372036.854775808s", InvalidDuration::TooLong),
            (
                "99999999999999999999999999999999999999999s",
                InvalidDuration::TooLong,
            ),
        ] {
            assert_eq!(parse_go(text), Err(error), "{text}");
        }
    }

    #[test]
    fn a_number_alone_is_seconds_except_in_flags_of_the_go_webhook() {
        assert_eq!(parse("90"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_go("90"), Err(InvalidDuration::MissingUnit));
        assert_eq!(parse(""), Err(InvalidDuration::Syntax));
        assert_eq!(parse("99999999999999999999"), Err(InvalidDuration::TooLong));
        assert_eq!(parse("9".repeat(60).as_str()), Err(InvalidDuration::TooLong));
    }

    #[test]
    fn the_two_largest_units_are_shown() {
        for (seconds, expected) in [
            (0, "0s"),
            (59, "59s"),
            (3570, "59m30s"),
            (3600, "1h"),
            (-90_061, "1d1h"),
            (86_405, "1d"),
            (i64::MIN, "106751991167300d15h"),
        ] {
            assert_eq!(short(seconds), expected);
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[-+0-9.hmsnu\u{b5} x]{0,24}") {
            let _ = (parse(&text), parse_go(&text));
        }

        #[test]
        fn hours_minutes_and_seconds_add_up(hours in 0_u64..1000, minutes in 0_u64..1000, seconds in 0_u64..1000) {
            let text = format!("{hours}h{minutes}m{seconds}s");
            prop_assert_eq!(parse(&text), Ok(Duration::from_secs(hours * 3600 + minutes * 60 + seconds)));
        }
    }
}
