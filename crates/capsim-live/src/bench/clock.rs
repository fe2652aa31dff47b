//! The one clock of a run.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a load client measures real time"
)]
use capsim::units::{SimTime, Span};
use std::time::{Duration, Instant};

/// Monotonic time since the run began.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// Begins now.
    pub fn start() -> Self {
        Self(Instant::now())
    }
    /// Time since the beginning.
    pub fn now(&self) -> SimTime {
        SimTime::ZERO + Span(self.0.elapsed().as_nanos() as u64)
    }
    /// Sleeps until `at`. The timer's resolution is a millisecond; the delay is recorded as lateness.
    pub async fn sleep_until(&self, at: SimTime) {
        let due = self.0 + Duration::from_nanos(at.0);
        tokio::time::sleep_until(tokio::time::Instant::from_std(due)).await;
    }
}

/// Seconds since 1970, for the date in a result file.
pub fn unix_seconds() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| d.as_secs())
}
