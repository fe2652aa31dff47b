//! Faults on demand, for tests of clients, gateways and autoscalers.
use std::str::FromStr;
use std::time::Duration;

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// `stall:AT,FOR`: the engine stands still, AT seconds after the start, for FOR seconds.
    Stall {
        /// Since the start.
        at: Duration,
        /// How long.
        lasting: Duration,
    },
    /// `error-rate:P`: this part of generating requests ends in status 500.
    ErrorRate(f64),
    /// `slow-start:S`: everything answers 503 in the first S seconds.
    SlowStart(Duration),
    /// `kill-after:S`: after S seconds the server is gone, in the middle of whatever it does.
    KillAfter(Duration),
}

/// Not a fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is none of stall:AT,FOR (seconds), error-rate:P (0 to 1), slow-start:SECONDS, kill-after:SECONDS"
)]
pub struct FaultError(String);

impl FromStr for Fault {
    type Err = FaultError;
    fn from_str(text: &str) -> Result<Self, FaultError> {
        let err = || FaultError(text.into());
        let secs = |s: &str| -> Option<Duration> {
            let v: f64 = s.trim().trim_end_matches('s').parse().ok()?;
            (0.0..=1e7).contains(&v).then(|| Duration::from_secs_f64(v))
        };
        let (kind, value) = text.split_once(':').ok_or_else(err)?;
        let fault = match kind {
            "stall" => value.split_once(',').and_then(|(at, lasting)| {
                Some(Fault::Stall {
                    at: secs(at)?,
                    lasting: secs(lasting)?,
                })
            }),
            "error-rate" => value
                .parse()
                .ok()
                .filter(|p| (0.0..=1.0).contains(p))
                .map(Fault::ErrorRate),
            "slow-start" => secs(value).map(Fault::SlowStart),
            "kill-after" => secs(value).map(Fault::KillAfter),
            _ => None,
        };
        fault.ok_or_else(err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read_or_refused() {
        assert_eq!(
            "stall:5,2.5s".parse(),
            Ok(Fault::Stall {
                at: Duration::from_secs(5),
                lasting: Duration::from_millis(2500)
            })
        );
        assert_eq!("error-rate:0.25".parse(), Ok(Fault::ErrorRate(0.25)));
        assert_eq!(
            "kill-after:3".parse(),
            Ok(Fault::KillAfter(Duration::from_secs(3)))
        );
        for bad in [
            "",
            "stall",
            "stall:1",
            "error-rate:2",
            "slow-start:-1",
            "kill-after:nan",
            "x:1",
        ] {
            assert!(bad.parse::<Fault>().is_err(), "{bad}");
        }
    }
}
