//! Reads conditions as people write them.
use super::{PerRequest, Slo, SloError, Term};
use crate::metrics::{Latency, Metric, PERCENTILES, Statistic, Unit};

/// Reads conditions separated by commas.
pub(super) fn read(text: &str) -> Result<Slo, SloError> {
    let mut slo = Slo {
        terms: vec![],
        per_request: PerRequest::default(),
    };
    // The first limit of single requests.
    let mut bare = None;
    for token in text.split(',') {
        if token.trim().is_empty() {
            return err(
                text,
                "an empty condition; write for example ttft.p95<2s,tpot.p95<100ms",
            );
        }
        let condition = Condition::read(token)?;
        let term = match condition.subject {
            Subject::Latency(latency, None) => {
                condition.limit(latency, &mut slo.per_request)?;
                bare.get_or_insert(token.trim());
                continue;
            }
            Subject::Latency(latency, Some(stat)) => condition.latency(latency, stat)?,
            Subject::Goodput => condition.goodput()?,
            Subject::Throughput(metric) => condition.throughput(metric)?,
            Subject::Interactivity(stat) => condition.interactivity(stat)?,
        };
        if slo.terms.iter().any(|t| t.name() == term.name()) {
            return err(token, format!("{} was limited twice", term.name()));
        }
        slo.terms.push(term);
    }
    let goodput = slo.terms.iter().any(|t| matches!(t, Term::Goodput(_)));
    match (goodput, bare) {
        (true, None) => err(
            "goodput",
            "needs limits for single requests beside it, such as ttft<2s,tpot<100ms,goodput>95%",
        ),
        (false, Some(token)) => err(
            token,
            "names no figure: write .p95 or .mean after the latency, or add goodput>95% for the share of \
             requests that must meet it",
        ),
        _ => Ok(slo),
    }
}

/// What stands left of the comparison.
enum Subject {
    Latency(Latency, Option<Statistic>),
    Goodput,
    Throughput(Metric),
    /// Tokens per second that one user sees: the inverse of TPOT.
    Interactivity(Statistic),
}

fn latency(word: &str) -> Option<Latency> {
    Some(match word {
        "ttft" => Latency::Ttft,
        "tpot" => Latency::Tpot,
        "itl" => Latency::Itl,
        "e2el" | "e2e" | "latency" => Latency::E2el,
        _ => return None,
    })
}

fn stat(word: &str, token: &str) -> Result<Statistic, SloError> {
    match word {
        "mean" | "avg" => return Ok(Statistic::Mean),
        "median" => return Ok(Statistic::Percentile(50.0)),
        _ => {}
    }
    match word.strip_prefix('p').map(str::parse::<f64>) {
        Some(Ok(p)) if (0.0..=100.0).contains(&p) => Ok(Statistic::Percentile(p)),
        Some(Ok(p)) => err(token, format!("p{p} is no percentile: 0 to 100")),
        _ => err(
            token,
            format!("`{word}` is none of mean, median, p50, p90, p95, p99"),
        ),
    }
}

/// Reads the left side; also whether its name says that milliseconds are meant.
fn subject(name: &str, token: &str) -> Result<(Subject, bool), SloError> {
    let name = name.trim().to_lowercase();
    // vLLM's own spelling: p99_ttft_ms.
    if let Some(words) = name.strip_suffix("_ms")
        && let Some((s, l)) = words.split_once('_')
        && let Some(l) = latency(l)
    {
        return Ok((Subject::Latency(l, Some(stat(s, token)?)), true));
    }
    let (head, tail) = match name.split_once(['.', ' ']) {
        Some((h, t)) => (h.trim(), Some(t.trim())),
        None => (name.as_str(), None),
    };
    let subject = match (head, tail) {
        (l, None) if latency(l).is_some() => Subject::Latency(latency(l).expect("just seen"), None),
        (l, Some(s)) if latency(l).is_some() => {
            Subject::Latency(latency(l).expect("just seen"), Some(stat(s, token)?))
        }
        ("goodput", None) => Subject::Goodput,
        ("throughput", None | Some("output")) | ("output_throughput", None) => {
            Subject::Throughput(Metric::OutputThroughput)
        }
        ("throughput", Some("total")) | ("total_token_throughput", None) => {
            Subject::Throughput(Metric::TotalThroughput)
        }
        ("throughput", Some("request" | "requests")) | ("request_throughput", None) => {
            Subject::Throughput(Metric::RequestThroughput)
        }
        ("interactivity", None) => Subject::Interactivity(Statistic::Mean),
        ("interactivity", Some(s)) => Subject::Interactivity(stat(s, token)?),
        _ => {
            return err(
                token,
                format!(
                    "`{name}` is none of ttft, tpot, itl, e2el (each with .mean, .p50, .p90, .p95, .p99), goodput, \
                     throughput, interactivity"
                ),
            );
        }
    };
    Ok((subject, false))
}

/// A positive number and what follows it.
fn number<'a>(text: &'a str, token: &str) -> Result<(f64, &'a str), SloError> {
    let text = text.trim();
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    match digits.parse::<f64>() {
        Ok(v) if v > 0.0 && v.is_finite() => Ok((v, unit.trim())),
        Ok(_) => err(token, "the limit must be above 0"),
        Err(_) => err(token, format!("`{text}` does not begin with a number")),
    }
}

fn seconds(text: &str, token: &str, millis: bool) -> Result<f64, SloError> {
    let (v, unit) = number(text, token)?;
    let factor = match unit {
        "" if millis => 1e-3,
        "" => return err(token, "has no unit: write ms or s after the number"),
        "us" | "µs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "min" => 60.0,
        other => return err(token, format!("`{other}` is no unit of time: ms, s or min")),
    };
    Ok(v * factor)
}

/// One condition, its left side read. It compares in the direction that its subject wants.
struct Condition<'a> {
    token: &'a str,
    subject: Subject,
    /// Whether the subject's name says that milliseconds are meant.
    millis: bool,
    /// The right side.
    value: &'a str,
}

impl<'a> Condition<'a> {
    fn read(token: &'a str) -> Result<Self, SloError> {
        let Some(at) = token.find(['<', '>', '≤', '≥', '=']) else {
            return err(token, "has no `<` or `>`");
        };
        let (name, rest) = token.split_at(at);
        let sign = rest.chars().next().expect("found above");
        let value = &rest[sign.len_utf8()..];
        let value = value.strip_prefix('=').unwrap_or(value);
        if sign == '=' {
            return err(token, "compares with `=`; write `<` or `>`");
        }
        let upper = matches!(sign, '<' | '≤');
        let (subject, millis) = subject(name, token)?;
        let wants_upper = matches!(subject, Subject::Latency(..));
        if upper != wants_upper {
            return err(
                token,
                if wants_upper {
                    "a latency needs an upper limit: `<`"
                } else {
                    "needs a lower limit: `>`"
                },
            );
        }
        Ok(Self {
            token,
            subject,
            millis,
            value,
        })
    }

    /// Keeps a limit of single requests; it has no figure.
    fn limit(&self, latency: Latency, limits: &mut PerRequest) -> Result<(), SloError> {
        let token = self.token;
        let slot = match latency {
            Latency::Ttft => &mut limits.ttft,
            Latency::Tpot => &mut limits.tpot,
            Latency::E2el => &mut limits.e2el,
            Latency::Itl | Latency::Queue => {
                return err(
                    token,
                    format!("{latency} has no value per request; write {latency}.p95"),
                );
            }
        };
        if slot.is_some() {
            return err(token, "was given twice");
        }
        *slot = Some(seconds(self.value, token, false)?);
        Ok(())
    }

    /// A figure of a latency over all requests.
    fn latency(&self, latency: Latency, stat: Statistic) -> Result<Term, SloError> {
        let (token, value) = (self.token, self.value);
        if latency == Latency::Itl
            && !matches!(stat, Statistic::Mean)
            && !PERCENTILES.map(Statistic::Percentile).contains(&stat)
        {
            return err(token, "of itl, only mean, p50, p90, p95 and p99 are kept");
        }
        Ok(Term::Latency {
            latency,
            stat,
            limit: seconds(value, token, self.millis)?,
        })
    }

    fn goodput(&self) -> Result<Term, SloError> {
        let (token, value) = (self.token, self.value);
        let (v, unit) = number(value, token)?;
        let share = match unit {
            "%" => v / 100.0,
            "" if v <= 1.0 => v,
            _ => return err(token, "must be a share such as 95% or 0.95"),
        };
        if share > 1.0 {
            return err(token, "is more than all requests");
        }
        Ok(Term::Goodput(share))
    }

    fn throughput(&self, metric: Metric) -> Result<Term, SloError> {
        let (token, value) = (self.token, self.value);
        let (least, unit) = number(value, token)?;
        let requests = metric.unit() == Unit::RequestsPerSecond;
        match unit {
            "" | "/s" => {}
            "tok/s" | "t/s" | "tokens/s" if !requests => {}
            "req/s" | "rps" | "requests/s" if requests => {}
            other => {
                return err(token, format!("`{other}` is not {}", metric.unit()));
            }
        }
        Ok(Term::Throughput { metric, least })
    }

    fn interactivity(&self, stat: Statistic) -> Result<Term, SloError> {
        let (token, value) = (self.token, self.value);
        let (v, unit) = number(value, token)?;
        if !matches!(unit, "" | "tok/s" | "t/s" | "tokens/s" | "/s") {
            return err(token, format!("`{unit}` is not tok/s"));
        }
        Ok(Term::Latency {
            latency: Latency::Tpot,
            stat,
            limit: 1.0 / v,
        })
    }
}

fn err<T>(token: &str, problem: impl Into<String>) -> Result<T, SloError> {
    Err(SloError {
        token: token.trim().into(),
        problem: problem.into(),
    })
}
