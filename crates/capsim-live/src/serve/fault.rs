//! Faults on demand, for tests of clients, gateways and autoscalers.
use super::identity::mix;
use axum::http::{HeaderMap, StatusCode};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A fault.
#[derive(Clone, Debug, PartialEq)]
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
    /// `status:WHAT[,WHEN]`: requests to `/v1` are refused.
    Status(Refusal, When),
    /// `stream:HOW[,WHEN]`: streamed answers die.
    Stream(Death, When),
}

/// How a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// 401, as without a key.
    Unauthorized,
    /// 429, with `Retry-After`.
    TooMany,
    /// 500.
    Internal,
    /// 503, as vLLM's queue limits refuse (0.32.0, `exceptions.py`), with `Retry-After`.
    Unavailable,
    /// 529, Anthropic's, with `Retry-After`.
    Overloaded,
    /// 400: prompt and output are longer than the context.
    ContextLength,
}

/// How a stream dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// After the headers, when the first token would come.
    BeforeFirst,
    /// In the middle of the third event.
    MidToken,
    /// After all tokens and the usage, without the end.
    AfterUsage,
    /// After two events the server's half of the connection is closed; it still reads.
    HalfClosed,
    /// After two events nothing more comes, and the connection stays.
    Stalled,
    /// After two events the connection is reset (RST).
    Reset,
}

/// Which requests a fault strikes.
#[derive(Clone, Debug, PartialEq)]
pub enum When {
    /// All of them.
    Always,
    /// This part of them.
    Rate(f64),
    /// Those that come while so many wait.
    Queue(u64),
    /// Those with this header, and this value if there is one.
    Header(String, Option<String>),
}

const REFUSALS: [(&str, Refusal); 6] = [
    ("401", Refusal::Unauthorized),
    ("429", Refusal::TooMany),
    ("500", Refusal::Internal),
    ("503", Refusal::Unavailable),
    ("529", Refusal::Overloaded),
    ("context-length", Refusal::ContextLength),
];

const DEATHS: [(&str, Death); 6] = [
    ("before-first", Death::BeforeFirst),
    ("mid-token", Death::MidToken),
    ("after-usage", Death::AfterUsage),
    ("half-closed", Death::HalfClosed),
    ("stalled", Death::Stalled),
    ("reset", Death::Reset),
];

impl Refusal {
    /// Status, error type and message; `context`: the longest sequence.
    pub fn answer(self, context: u32) -> (StatusCode, &'static str, String) {
        let overloaded = StatusCode::from_u16(529).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        match self {
            Refusal::Unauthorized => (
                StatusCode::UNAUTHORIZED,
                "authentication_error",
                "Unauthorized".into(),
            ),
            Refusal::TooMany => (
                StatusCode::TOO_MANY_REQUESTS,
                "rate_limit_error",
                "Rate limit reached (--fault status:429)".into(),
            ),
            Refusal::Internal => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "Internal Server Error",
                "failed on purpose (--fault status:500)".into(),
            ),
            Refusal::Unavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "Service Unavailable",
                "The engine is currently busy and cannot accept new requests. Please try again later or on a different instance.".into(),
            ),
            Refusal::Overloaded => (overloaded, "overloaded_error", "Overloaded".into()),
            Refusal::ContextLength => (
                StatusCode::BAD_REQUEST,
                "BadRequestError",
                format!(
                    "This model's maximum context length is {context} tokens. However, your request has {} input tokens. Please reduce the length of the input messages.",
                    context.saturating_add(1)
                ),
            ),
        }
    }

    /// Whether the client is told to come again.
    pub fn passes(self) -> bool {
        matches!(
            self,
            Refusal::TooMany | Refusal::Unavailable | Refusal::Overloaded
        )
    }
}

impl When {
    /// Whether a request is struck; `chance` is a number of its own, `waiting` how many wait.
    pub fn strikes(&self, headers: &HeaderMap, chance: u64, waiting: impl FnOnce() -> u64) -> bool {
        match self {
            When::Always => true,
            When::Rate(p) => (mix(chance ^ 0x7374_7269_6b65) as f64) < p * (u64::MAX as f64),
            When::Queue(n) => waiting() >= *n,
            When::Header(name, value) => headers
                .get(name)
                .is_some_and(|v| value.as_ref().is_none_or(|w| v.as_bytes() == w.as_bytes())),
        }
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            When::Always => Ok(()),
            When::Rate(p) => write!(f, ",rate:{p}"),
            When::Queue(n) => write!(f, ",queue:{n}"),
            When::Header(name, None) => write!(f, ",header:{name}"),
            When::Header(name, Some(value)) => write!(f, ",header:{name}={value}"),
        }
    }
}

/// Not a fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is none of stall:AT,FOR (seconds), error-rate:P (0 to 1), slow-start:SECONDS, kill-after:SECONDS, \
     status:401|429|500|503|529|context-length and \
     stream:before-first|mid-token|after-usage|half-closed|stalled|reset, the last two with ,rate:P ,queue:N or ,header:NAME=VALUE behind"
)]
pub struct FaultError(String);

fn part(text: &str) -> Option<f64> {
    text.parse().ok().filter(|p| (0.0..=1.0).contains(p))
}

/// What stands behind `status:429` and the like: nothing, or one condition.
fn when(text: Option<&str>) -> Option<When> {
    let Some(text) = text else {
        return Some(When::Always);
    };
    let (kind, value) = text.split_once(':')?;
    match kind.trim() {
        "rate" => part(value).map(When::Rate),
        "queue" => value.parse().ok().map(When::Queue),
        "header" => {
            let (name, value) = match value.split_once('=') {
                Some((name, value)) => (name, Some(value.to_string())),
                None => (value, None),
            };
            let name = axum::http::HeaderName::try_from(name.trim()).ok()?;
            Some(When::Header(name.to_string(), value))
        }
        _ => None,
    }
}

fn named<T: Copy>(all: &[(&str, T)], name: &str) -> Option<T> {
    all.iter().find(|(n, _)| *n == name).map(|(_, t)| *t)
}

impl FromStr for Fault {
    type Err = FaultError;
    fn from_str(text: &str) -> Result<Self, FaultError> {
        let err = || FaultError(text.into());
        let secs = |s: &str| -> Option<Duration> {
            let v: f64 = s.trim().trim_end_matches('s').parse().ok()?;
            (0.0..=1e7).contains(&v).then(|| Duration::from_secs_f64(v))
        };
        let (kind, value) = text.split_once(':').ok_or_else(err)?;
        let (what, condition) = match value.split_once(',') {
            Some((what, condition)) => (what, Some(condition)),
            None => (value, None),
        };
        let fault = match kind {
            "stall" => secs(what)
                .zip(condition.and_then(secs))
                .map(|(at, lasting)| Fault::Stall { at, lasting }),
            "error-rate" => part(value).map(Fault::ErrorRate),
            "slow-start" => secs(value).map(Fault::SlowStart),
            "kill-after" => secs(value).map(Fault::KillAfter),
            "status" => named(&REFUSALS, what)
                .zip(when(condition))
                .map(|(r, w)| Fault::Status(r, w)),
            "stream" => named(&DEATHS, what)
                .zip(when(condition))
                .map(|(d, w)| Fault::Stream(d, w)),
            _ => None,
        };
        fault.ok_or_else(err)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name_of = |all: &[(&'static str, Refusal)], r: &Refusal| {
            all.iter().find(|(_, x)| x == r).map_or("", |(n, _)| n)
        };
        match self {
            Fault::Stall { at, lasting } => {
                write!(f, "stall:{},{}", at.as_secs_f64(), lasting.as_secs_f64())
            }
            Fault::ErrorRate(p) => write!(f, "error-rate:{p}"),
            Fault::SlowStart(s) => write!(f, "slow-start:{}", s.as_secs_f64()),
            Fault::KillAfter(s) => write!(f, "kill-after:{}", s.as_secs_f64()),
            Fault::Status(r, w) => write!(f, "status:{}{w}", name_of(&REFUSALS, r)),
            Fault::Stream(d, w) => {
                let name = DEATHS.iter().find(|(_, x)| x == d).map_or("", |(n, _)| n);
                write!(f, "stream:{name}{w}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read_as_they_are_printed_or_refused() {
        for text in [
            "stall:5,2.5",
            "error-rate:0.25",
            "slow-start:2",
            "kill-after:3",
            "status:429",
            "status:529,rate:0.1",
            "status:503,queue:8",
            "status:context-length,header:x-long",
            "stream:reset,header:x-test=a=b",
            "stream:before-first",
        ] {
            assert_eq!(text.parse::<Fault>().unwrap().to_string(), text);
        }
        assert_eq!(
            "stall:5,2.5s".parse(),
            Ok(Fault::Stall {
                at: Duration::from_secs(5),
                lasting: Duration::from_millis(2500)
            })
        );
        for bad in [
            "",
            "stall",
            "stall:1",
            "error-rate:2",
            "error-rate:0.1,rate:0.1",
            "slow-start:-1",
            "kill-after:nan",
            "x:1",
            "status:418",
            "status:429,rate:2",
            "status:429,queue:-1",
            "status:429,header:",
            "status:429,sometimes",
            "stream:slowly",
        ] {
            assert!(bad.parse::<Fault>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_rate_strikes_that_part_of_the_requests() {
        let headers = HeaderMap::new();
        let struck = |p: f64| {
            let when = When::Rate(p);
            (0..10_000)
                .filter(|i| when.strikes(&headers, *i, || 0))
                .count()
        };
        assert_eq!((struck(0.0), struck(1.0)), (0, 10_000));
        assert!((2300..2700).contains(&struck(0.25)), "{}", struck(0.25));
    }
}
