//! Time as the protocol sees it, so that a test can run minutes of measuring in milliseconds.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "measuring is what this floor is for"
)]
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

/// A clock that can also wait.
pub trait Clock {
    /// Time since some fixed moment.
    fn now(&self) -> Duration;
    /// Lets time pass.
    fn pause(&self, how_long: Duration);
}

/// The host's monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct HostClock {
    start: std::time::Instant,
}

impl HostClock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self {
            start: std::time::Instant::now(),
        }
    }
}

impl Clock for HostClock {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }
    fn pause(&self, how_long: Duration) {
        std::thread::sleep(how_long);
    }
}

/// A clock that only moves when it is told to; clones share the time.
#[derive(Clone, Debug, Default)]
pub struct SimulatedClock {
    now: Rc<Cell<Duration>>,
}

impl Clock for SimulatedClock {
    fn now(&self) -> Duration {
        self.now.get()
    }
    fn pause(&self, how_long: Duration) {
        self.now.set(self.now.get() + how_long);
    }
}

/// Seconds since 1970 as `YYYY-MM-DDThh:mm:ssZ` (days to civil date after Howard Hinnant's `civil_from_days`).
pub fn utc(seconds: u64) -> String {
    let days = (seconds / 86_400) as i64 + 719_468;
    let era = days / 146_097;
    let doe = days % 146_097;
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + i64::from(month <= 2);
    let s = seconds % 86_400;
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        s / 3600,
        s / 60 % 60,
        s % 60
    )
}

/// The present moment, as [`utc`] writes it.
#[allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a recorded measurement says when it was made"
)]
pub fn now_utc() -> String {
    utc(std::time::SystemTime::now()
        .duration_since(std::time::SystemTime::UNIX_EPOCH)
        .map_or(0, |d| d.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right_around_leap_days() {
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(utc(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(utc(1_709_251_199), "2024-02-29T23:59:59Z");
        assert_eq!(utc(1_709_251_200), "2024-03-01T00:00:00Z");
    }
}
