//! The time of a signature: `20150830T123600Z`.

use std::fmt;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use super::SKEW;

/// A moment with the precision of a second, as signatures write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AmzDate(DateTime);

impl AmzDate {
    /// Reads `YYYYMMDDTHHMMSSZ`, and nothing else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let [head @ .., b'Z'] = bytes else { return None };
        if head.len() != 15 || head[8] != b'T' {
            return None;
        }
        let number = |from: usize, to: usize| -> Option<i16> {
            let digits = head.get(from..to)?;
            digits.iter().all(u8::is_ascii_digit).then(|| {
                digits
                    .iter()
                    .fold(0_i16, |number, digit| number * 10 + i16::from(digit - b'0'))
            })
        };
        let part = |from: usize| number(from, from + 2).and_then(|n| i8::try_from(n).ok());
        DateTime::new(
            number(0, 4)?,
            part(4)?,
            part(6)?,
            part(9)?,
            part(11)?,
            part(13)?,
            0,
        )
        .ok()
        .map(Self)
    }

    /// Reads a `Date` header: an HTTP date or the basic ISO form.
    #[must_use]
    pub fn parse_date_header(text: &str) -> Option<Self> {
        Self::parse(text).or_else(|| {
            let zoned: Zoned = jiff::fmt::rfc2822::parse(text).ok()?;
            Some(Self::from(zoned.timestamp()))
        })
    }

    /// The eight digits of the day.
    #[must_use]
    pub fn day(self) -> String {
        format!("{:04}{:02}{:02}", self.0.year(), self.0.month(), self.0.day())
    }

    /// Whether `now` is within [`SKEW`] of this.
    ///
    /// # Errors
    /// When it is not.
    pub fn check(self, now: Timestamp) -> Result<(), TimeError> {
        let signed = self.timestamp();
        let now_shown = Self::from(now);
        if signed < now - SKEW {
            return Err(TimeError::Expired {
                signed: self,
                now: now_shown,
            });
        }
        if signed > now + SKEW {
            return Err(TimeError::NotYetCurrent {
                signed: self,
                now: now_shown,
            });
        }
        Ok(())
    }

    /// The same as a point in time.
    #[must_use]
    pub fn timestamp(self) -> Timestamp {
        // Only the rims of the year range (−9999, 9999) can fail, and a year here has four digits.
        TimeZone::UTC.to_timestamp(self.0).unwrap_or(Timestamp::MAX)
    }
}

impl From<Timestamp> for AmzDate {
    fn from(moment: Timestamp) -> Self {
        let civil = TimeZone::UTC.to_datetime(moment);
        Self(civil.with().subsec_nanosecond(0).build().unwrap_or(civil))
    }
}

impl fmt::Display for AmzDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:04}{:02}{:02}T{:02}{:02}{:02}Z",
            self.0.year(),
            self.0.month(),
            self.0.day(),
            self.0.hour(),
            self.0.minute(),
            self.0.second()
        )
    }
}

/// A signature that is not of now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    /// Too old.
    #[error("signed at {signed}, more than 15 minutes before {now}")]
    Expired {
        /// The date of the signature.
        signed: AmzDate,
        /// The server's.
        now: AmzDate,
    },
    /// From the future.
    #[error("signed at {signed}, more than 15 minutes after {now}")]
    NotYetCurrent {
        /// The date of the signature.
        signed: AmzDate,
        /// The server's.
        now: AmzDate,
    },
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn the_basic_form_is_read_and_written() {
        let date = AmzDate::parse("20150830T123600Z").unwrap();
        assert_eq!(date.to_string(), "20150830T123600Z");
        assert_eq!(date.day(), "20150830");
        assert_eq!(date.timestamp().to_string(), "2015-08-30T12:36:00Z");
        assert_eq!(AmzDate::from(date.timestamp()), date);
    }

    #[test]
    fn other_forms_are_not() {
        for text in [
            "",
            "Z",
            "20150830T123600",
            "2015-08-30T12:36:00Z",
            "20150830 123600Z",
            "20151330T123600Z",
            "20150231T123600Z",
            "20150830T253600Z",
            "+0150830T123600Z",
            "2015083éT123600Z",
            "20150830T1236000Z",
        ] {
            assert_eq!(AmzDate::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_date_header_may_be_an_http_date() {
        let date = AmzDate::parse_date_header("Sun, 30 Aug 2015 12:36:00 GMT").unwrap();
        assert_eq!(date.to_string(), "20150830T123600Z");
        assert_eq!(AmzDate::parse_date_header("yesterday"), None);
    }
}
