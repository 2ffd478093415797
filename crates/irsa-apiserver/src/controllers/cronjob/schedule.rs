//! Cron expressions: five fields, names of months and weekdays, and the `@hourly` kind of words. In UTC.

use jiff::civil::DateTime;
use jiff::{Timestamp, ToSpan as _, Unit};

/// When a CronJob is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Schedule {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    // With both restricted, either is enough.
    either_day: bool,
}

const MONTHS: &[&str] = &[
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const WEEKDAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
/// A schedule that is not due within four years and a day never is.
const HORIZON: i64 = 366 * 4 + 1;

impl Schedule {
    /// Reads an expression; the error says what is wrong with which field.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let expanded = match text {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            other if other.starts_with('@') => return Err(format!("unrecognized descriptor: {other}")),
            other => other,
        };
        let fields: Vec<&str> = expanded.split_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = fields.as_slice() else {
            return Err(format!(
                "expected exactly 5 fields, found {}: [{expanded}]",
                fields.len()
            ));
        };
        let mut week = field(weekdays, 0, 7, WEEKDAYS, 0)?;
        if week & (1 << 7) != 0 {
            week |= 1;
        }
        Ok(Self {
            minutes: field(minutes, 0, 59, &[], 0)?,
            hours: field(hours, 0, 23, &[], 0)?,
            days: field(days, 1, 31, &[], 0)?,
            months: field(months, 1, 12, MONTHS, 1)?,
            weekdays: week,
            either_day: !starred(days) && !starred(weekdays),
        })
    }

    fn matches_day(&self, at: DateTime) -> bool {
        let day = self.days & (1 << at.day()) != 0;
        let weekday = self.weekdays & (1 << at.weekday().to_sunday_zero_offset()) != 0;
        let month = self.months & (1 << at.month()) != 0;
        month
            && if self.either_day {
                day || weekday
            } else {
                day && weekday
            }
    }

    /// The first time after `after` at which it is due.
    pub(crate) fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let zone = jiff::tz::TimeZone::UTC;
        let start = after.to_zoned(zone.clone()).datetime();
        let mut at = start
            .checked_sub(start.second().seconds())
            .ok()?
            .round(Unit::Second)
            .ok()?
            .checked_add(1.minute())
            .ok()?;
        at = at.with().second(0).subsec_nanosecond(0).build().ok()?;
        let last = at.checked_add(HORIZON.days()).ok()?;
        while at < last {
            if !self.matches_day(at) {
                at = at.date().tomorrow().ok()?.at(0, 0, 0, 0);
            } else if self.hours & (1 << at.hour()) == 0 {
                at = at.with().minute(0).build().ok()?.checked_add(1.hour()).ok()?;
            } else if self.minutes & (1 << at.minute()) == 0 {
                at = at.checked_add(1.minute()).ok()?;
            } else {
                return at.to_zoned(zone).ok().map(|at| at.timestamp());
            }
        }
        None
    }
}

fn starred(text: &str) -> bool {
    text.starts_with(['*', '?'])
}

fn field(text: &str, low: u32, high: u32, names: &[&str], first_name: u32) -> Result<u64, String> {
    let bad = || format!("{text:?} is not a list of numbers from {low} to {high}");
    let number = |word: &str| -> Result<u32, String> {
        let lower = word.to_lowercase();
        if let Some(index) = names.iter().position(|name| *name == lower) {
            return u32::try_from(index)
                .map(|index| index + first_name)
                .map_err(|_| bad());
        }
        word.parse::<u32>()
            .ok()
            .filter(|number| (low..=high).contains(number))
            .ok_or_else(bad)
    };
    let mut bits = 0;
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (
                range,
                step.parse::<u32>()
                    .ok()
                    .filter(|step| *step > 0)
                    .ok_or_else(bad)?,
            ),
            None => (part, 1),
        };
        let stepped = part.contains('/');
        let (from, to) = match range.split_once('-') {
            _ if range == "*" || range == "?" => (low, high),
            Some((from, to)) => (number(from)?, number(to)?),
            None => {
                let from = number(range)?;
                (from, if stepped { high } else { from })
            }
        };
        if from > to {
            return Err(bad());
        }
        let step = usize::try_from(step).map_err(|_| bad())?;
        for value in (from..=to).step_by(step) {
            bits |= 1_u64 << value;
        }
    }
    Ok(bits)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn next(schedule: &str, after: &str) -> String {
        let after: Timestamp = after.parse().unwrap();
        Schedule::parse(schedule)
            .unwrap()
            .next(after)
            .unwrap()
            .to_string()
    }

    #[test]
    fn the_next_time_is_after_the_given_one() {
        assert_eq!(next("* * * * *", "2026-11-24T07:07:00Z"), "2026-11-24T07:08:00Z");
        assert_eq!(
            next("*/15 * * * *", "2026-11-24T07:46:30Z"),
            "2026-11-24T08:00:00Z"
        );
        assert_eq!(next("30 2 * * *", "2026-11-24T07:00:00Z"), "2026-11-25T02:30:00Z");
        assert_eq!(next("@monthly", "2026-11-24T07:00:00Z"), "2026-12-01T00:00:00Z");
        assert_eq!(next("0 0 29 2 *", "2026-11-24T07:00:00Z"), "2028-02-29T00:00:00Z");
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_schedule_or_an_error(text in "[-*/,0-9a-z@ ?]{0,24}") {
            if let Ok(schedule) = Schedule::parse(&text) {
                let after = "2026-11-24T07:07:07Z".parse().unwrap();
                if let Some(next) = schedule.next(after) {
                    proptest::prop_assert!(next > after);
                }
            }
        }
    }

    #[test]
    fn names_and_either_day_are_understood() {
        assert_eq!(
            next("0 9 * * MON-FRI", "2026-11-27T10:00:00Z"),
            "2026-11-30T09:00:00Z"
        );
        assert_eq!(next("0 0 13 * 5", "2026-11-24T07:00:00Z"), "2026-11-27T00:00:00Z");
        assert_eq!(
            next("0 0 * jan 7", "2026-11-24T07:00:00Z"),
            "2027-01-03T00:00:00Z"
        );
    }

    #[test]
    fn what_is_no_schedule_is_refused_with_the_reason() {
        for bad in [
            "",
            "* * * *",
            "60 * * * *",
            "5-1 * * * *",
            "*/0 * * * *",
            "@never",
            "a * * * *",
        ] {
            assert!(Schedule::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(
            Schedule::parse("0 0 31 2 *").unwrap().next(Timestamp::UNIX_EPOCH),
            None
        );
    }
}
