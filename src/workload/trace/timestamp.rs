//! Times in tables: a number in some unit, or a date.

/// Nanoseconds of `text`: a number of units of `unit` nanoseconds, or `YYYY-MM-DD HH:MM:SS[.fraction]` (also with a T, and with
/// Z or an offset of zero).
pub(super) fn nanoseconds(text: &str, unit: i128) -> Option<i128> {
    let text = text.trim();
    if let Ok(v) = text.parse::<f64>() {
        let ns = v * unit as f64;
        return (ns.is_finite() && ns.abs() < 1e36).then(|| libm::round(ns) as i128);
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
    let time = time
        .strip_suffix('Z')
        .or_else(|| time.strip_suffix("+00:00"))
        .unwrap_or(time);
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
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
    Some(seconds * 1_000_000_000 + i128::from(fraction))
}

#[cfg(test)]
mod tests {
    use super::nanoseconds;

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
