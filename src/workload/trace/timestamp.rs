//! Times in files: a number in some unit, or a date.

/// Seconds from 1970 to the year 5000: a later time is in a finer unit than it seems.
const YEAR_5000: i128 = 95_617_584_000;

/// A number of units as it stands in a file, exact where it is whole.
#[derive(Clone, Copy, Debug)]
enum Number {
    Whole(i128),
    Real(f64),
}

impl Number {
    fn parse(text: &str) -> Option<Self> {
        match text.parse::<i128>() {
            Ok(n) => Some(Self::Whole(n)),
            Err(_) => text.parse().ok().map(Self::Real),
        }
    }

    fn nanoseconds(self, unit: i128) -> Option<i128> {
        match self {
            Self::Whole(n) => n.checked_mul(unit).filter(|ns| ns.abs() < 1 << 119),
            Self::Real(v) => {
                let ns = v * unit as f64;
                (ns.is_finite() && ns.abs() < 1e35).then(|| libm::round(ns) as i128)
            }
        }
    }
}

/// The unit of a clock that reads `number` units of `unit` nanoseconds since 1970: as it is said, unless that lies beyond the year 5000,
/// then the first finer one (milliseconds, microseconds, nanoseconds) for which it does not.
fn finer(number: Number, unit: i128) -> i128 {
    let units = [unit, 1_000_000, 1_000, 1]
        .into_iter()
        .filter(|u| *u <= unit);
    let fits = |u: &i128| {
        number
            .nanoseconds(*u)
            .is_some_and(|ns| ns <= YEAR_5000 * 1_000_000_000)
    };
    units.clone().find(fits).unwrap_or(unit)
}

/// A file's clock: its unit is found at the first number, and holds for the rest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    unit: i128,
    settled: bool,
}

impl Clock {
    /// Numbers are units of `unit` nanoseconds, or of a finer unit where they are too large for that.
    pub fn guessed(unit: i128) -> Self {
        Self {
            unit,
            settled: false,
        }
    }

    /// Numbers are units of `unit` nanoseconds.
    pub fn told(unit: i128) -> Self {
        Self {
            unit,
            settled: true,
        }
    }

    /// Nanoseconds of a number or a date.
    pub fn read(&mut self, text: &str) -> Option<i128> {
        let text = text.trim();
        if !self.settled
            && let Some(number) = Number::parse(text)
        {
            self.unit = finer(number, self.unit);
            self.settled = true;
        }
        nanoseconds(text, self.unit)
    }
}

/// Nanoseconds of a date, or of a number in seconds or whatever finer unit its size tells.
pub(super) fn by_size(text: &str) -> Option<i128> {
    Clock::guessed(1_000_000_000).read(text)
}

/// Nanoseconds of `text`: a number of units of `unit` nanoseconds, or `YYYY-MM-DD HH:MM:SS[.fraction]` (also with a T, a comma before the
/// fraction, and Z or an offset such as +02:00).
pub(super) fn nanoseconds(text: &str, unit: i128) -> Option<i128> {
    let text = text.trim();
    if let Some(number) = Number::parse(text) {
        return number.nanoseconds(unit);
    }
    let (date, time) = text.split_once([' ', 'T'])?;
    let number = |s: &str, digits: std::ops::RangeInclusive<usize>| -> Option<i64> {
        (digits.contains(&s.len()) && s.bytes().all(|b| b.is_ascii_digit()))
            .then(|| s.parse().ok())?
    };
    let mut parts = date.split('-');
    let (year, month, day) = (
        number(parts.next()?, 4..=4)?,
        number(parts.next()?, 1..=2)?,
        number(parts.next()?, 1..=2)?,
    );
    let (time, offset) = zone(time)?;
    let (time, fraction) = time.split_once(['.', ',']).unwrap_or((time, "0"));
    let mut hms = time.split(':');
    let (h, m, s) = (
        number(hms.next()?, 1..=2)?,
        number(hms.next()?, 1..=2)?,
        number(hms.next()?, 1..=2)?,
    );
    if parts.next().is_some()
        || hms.next().is_some()
        || !(1..=12).contains(&month)
        || !(1..=31).contains(&day)
        || h > 23
        || m > 59
        || s > 60
    {
        return None;
    }
    let nine: String = fraction
        .chars()
        .chain("000000000".chars())
        .take(9)
        .collect();
    let fraction = number(&nine, 9..=9)?;
    // Days since 1970-01-01 in the proleptic Gregorian calendar, years beginning in March.
    let y = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = 365 * y + y / 4 - y / 100 + y / 400 + day_of_year - 719_468;
    let seconds = i128::from(days * 86_400 + h * 3_600 + m * 60 + s);
    Some((seconds - offset) * 1_000_000_000 + i128::from(fraction))
}

/// A time of day and its zone's seconds ahead of UTC: `Z`, ` UTC`, `+02:00`, `-0530`, or nothing.
fn zone(time: &str) -> Option<(&str, i128)> {
    let time = time.trim_end();
    for utc in ["Z", "z", " UTC", " GMT"] {
        if let Some(rest) = time.strip_suffix(utc) {
            return Some((rest, 0));
        }
    }
    let Some(at) = time.rfind(['+', '-']) else {
        return Some((time, 0));
    };
    let digits: String = time[at + 1..].chars().filter(|c| *c != ':').collect();
    let whole = |s: &str| s.parse::<i128>().ok();
    let (hours, minutes) = match digits.len() {
        2 if digits.bytes().all(|b| b.is_ascii_digit()) => (whole(&digits)?, 0),
        4 if digits.bytes().all(|b| b.is_ascii_digit()) => {
            (whole(&digits[..2])?, whole(&digits[2..])?)
        }
        _ => return None,
    };
    let ahead = (hours <= 14 && minutes < 60).then_some(3600 * hours + 60 * minutes)?;
    Some((
        time[..at].trim_end(),
        if time[at..].starts_with('-') {
            -ahead
        } else {
            ahead
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::{Clock, by_size, nanoseconds};

    #[test]
    fn a_time_after_the_year_5000_is_in_a_finer_unit() {
        let ns = 1_753_694_362_340_138_614;
        assert_eq!(by_size("1753694362340138614"), Some(ns));
        assert_eq!(by_size("1753694362340138"), Some(ns / 1000 * 1000));
        assert_eq!(by_size("1753694362340"), Some(ns / 1_000_000 * 1_000_000));
        assert_eq!(
            by_size("1753694362"),
            Some(ns / 1_000_000_000 * 1_000_000_000)
        );
        assert_eq!(by_size("12.5"), Some(12_500_000_000));
        // One file has one clock.
        let mut clock = Clock::guessed(1_000_000);
        assert_eq!(clock.read("1753694362340138614"), Some(ns));
        assert_eq!(clock.read("5"), Some(5));
        assert_eq!(
            Clock::told(1_000_000_000).read("1753694362340"),
            Some(1_753_694_362_340_000_000_000)
        );
    }

    #[test]
    fn zones_count() {
        let utc = nanoseconds("2026-06-23T06:05:03.147785Z", 1);
        for same in [
            "2026-06-23T08:05:03.147785+02:00",
            "2026-06-23 01:35:03,147785-0430",
            "2026-06-23 06:05:03.147785 UTC",
            "2026-06-23T07:05:03.147785+01",
        ] {
            assert_eq!(nanoseconds(same, 1), utc, "{same}");
        }
        for wrong in [
            "2026-06-23T08:05:03+2",
            "2026-06-23T08:05:03+99:00",
            "2026-06-23T08:05:03+02:0a",
        ] {
            assert_eq!(nanoseconds(wrong, 1), None, "{wrong}");
        }
    }

    #[test]
    fn dates_count_from_1970_as_the_calendar_does() {
        let s = |t: &str| nanoseconds(t, 1).map(|n| n / 1_000_000_000);
        // Values of `date -u -d … +%s`.
        assert_eq!(s("1970-01-01 00:00:00"), Some(0));
        assert_eq!(s("2000-02-29 12:00:00"), Some(951_825_600));
        assert_eq!(s("2023-11-16T18:15:46Z"), Some(1_700_158_546));
        assert_eq!(s("2024-03-01 00:00:00"), Some(1_709_251_200));
        assert_eq!(
            nanoseconds("2023-11-16 18:15:46.6805900", 1),
            Some(1_700_158_546_680_590_000)
        );
        assert_eq!(nanoseconds("1.5", 1_000_000), Some(1_500_000));
        for wrong in [
            "",
            "soon",
            "2023-13-01 00:00:00",
            "2023-11-16",
            "2023-11-16 24:00:00",
            "1e400",
        ] {
            assert_eq!(nanoseconds(wrong, 1), None, "{wrong}");
        }
    }
}
