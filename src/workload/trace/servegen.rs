//! ServeGen (alibaba/ServeGen; Y. Xiang et al., NSDI 2026): production clients as laws, from which requests are drawn.
//!
//! Per client N, `chunk-N-trace.csv` has lines `start,rate,cv,pattern,shape,scale` without a header, one per window (600 s):
//! start in seconds, rate per second, pattern `Gamma` or `Weibull` with its fitted parameters, or empty while the client is
//! idle. `chunk-N-dataset.json` maps the start of longer windows to `{"input_tokens": "{100: 0.5, …}", "output_tokens": …}`:
//! probabilities by length, written as a Python dictionary in a string. (`servegen/clientpool.py`, `servegen/construct.py`.)
//!
//! Drawing differs from ServeGen's own generator in two points, both stated in docs/workloads.md: the gaps of a client are one
//! renewal process in the time that its changing rate measures, instead of being stretched to fill each window; and input and
//! output lengths are independent, instead of being read off at the same quantile.
use super::super::arrival::{weibull_cv, weibull_shape};
use super::super::length::{LONGEST, Length, Sampler};
use super::{Builder, MOST_ROWS, Row, Trace, TraceError};
use crate::rng::{Rng, Seed};
use crate::units::Span;
use rand_distr::{Distribution, Gamma, Weibull};
use std::collections::BTreeMap;

/// Rate and gaps of a client from a moment on.
#[derive(Clone, Debug, PartialEq)]
struct Window {
    start: f64,
    /// Requests per second; 0: idle.
    rate: f64,
    weibull: bool,
    shape: f64,
}

/// Lengths from a moment on.
#[derive(Clone, Debug, PartialEq)]
struct Lengths {
    start: f64,
    input: Length,
    output: Length,
}

/// One client.
#[derive(Clone, Debug, PartialEq)]
pub struct Client {
    name: String,
    windows: Vec<Window>,
    lengths: Vec<Lengths>,
}

/// All clients of a folder.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pool {
    /// In order of their numbers.
    pub clients: Vec<Client>,
}

/// Length of the last window, whose end is not written down: that of all others in the published data.
const LAST_WINDOW: f64 = 600.0;

fn fail<T>(file: &str, line: u64, problem: String) -> Result<T, TraceError> {
    Err(TraceError {
        file: file.into(),
        line,
        problem,
    })
}

impl Client {
    /// A client from its two files, `(name, text)` each.
    ///
    /// # Errors
    /// Names file and line.
    pub fn parse(trace: (&str, &str), dataset: (&str, &str)) -> Result<Self, TraceError> {
        let windows = windows(trace.0, trace.1)?;
        let lengths = lengths(dataset.0, dataset.1)?;
        if lengths.is_empty() && windows.iter().any(|w| w.rate > 0.0) {
            return fail(
                dataset.0,
                0,
                "holds no lengths, but the client sends requests".into(),
            );
        }
        Ok(Self {
            name: trace.0.into(),
            windows,
            lengths,
        })
    }

    fn end(&self) -> f64 {
        let n = self.windows.len();
        let width = if n > 1 {
            self.windows[n - 1].start - self.windows[n - 2].start
        } else {
            LAST_WINDOW
        };
        self.windows[n - 1].start + width
    }

    /// Appends the requests of `start .. start + duration`, with the rate times `factor`.
    fn draw(
        &self,
        from: f64,
        to: f64,
        factor: f64,
        seed: Seed,
        out: &mut Vec<(f64, u32, u32)>,
    ) -> bool {
        let mut gaps = seed.stream(&format!("ServeGen gaps {}", self.name));
        let mut tokens = seed.stream(&format!("ServeGen lengths {}", self.name));
        let samplers: Vec<(f64, Sampler, Sampler)> = self
            .lengths
            .iter()
            .map(|l| (l.start, Sampler::new(&l.input), Sampler::new(&l.output)))
            .collect();
        // What is left of the present gap, in units of the mean gap; the client was there before `from`.
        let mut due: Option<f64> = None;
        for (i, w) in self.windows.iter().enumerate() {
            let end = self.windows.get(i + 1).map_or(self.end(), |n| n.start);
            let (mut at, end) = (w.start.max(from), end.min(to));
            let rate = w.rate * factor;
            if at >= end || rate <= 0.0 {
                continue;
            }
            // The window of lengths that it falls in: the last that began before it, or the first there is.
            let l = samplers
                .partition_point(|s| s.0 <= w.start)
                .saturating_sub(1);
            let mut left = match due {
                Some(d) => d,
                // A gap that a random moment falls into: uniform in it, it being drawn in proportion to its length.
                None => residual(w, &mut gaps),
            };
            loop {
                let next = at + left / rate;
                if next >= end {
                    due = Some(left - (end - at) * rate);
                    break;
                }
                at = next;
                let (_, input, output) = &samplers[l];
                out.push((at - from, input.draw(&mut tokens), output.draw(&mut tokens)));
                if out.len() > MOST_ROWS {
                    return false;
                }
                left = unit_gap(w, &mut gaps);
            }
        }
        true
    }
}

/// A gap of mean 1.
fn unit_gap(w: &Window, rng: &mut Rng) -> f64 {
    let gap = if w.weibull {
        Weibull::new(1.0 / libm::tgamma(1.0 + 1.0 / w.shape), w.shape)
            .expect("checked before")
            .sample(rng)
    } else {
        Gamma::new(w.shape, 1.0 / w.shape)
            .expect("checked before")
            .sample(rng)
    };
    // A gap of exactly 0 would not advance; below the clock's resolution anyway.
    gap.max(1e-12)
}

fn residual(w: &Window, rng: &mut Rng) -> f64 {
    use rand::RngExt as _;
    let biased = if w.weibull {
        // Length-biased Weibull: (x/scale)^k is gamma of shape 1 + 1/k.
        let g: f64 = Gamma::new(1.0 + 1.0 / w.shape, 1.0)
            .expect("positive")
            .sample(rng);
        libm::pow(g, 1.0 / w.shape) / libm::tgamma(1.0 + 1.0 / w.shape)
    } else {
        Gamma::new(w.shape + 1.0, 1.0 / w.shape)
            .expect("positive")
            .sample(rng)
    };
    rng.random::<f64>() * biased
}

fn windows(file: &str, text: &str) -> Result<Vec<Window>, TraceError> {
    let mut all: Vec<Window> = vec![];
    for (i, line) in text.lines().enumerate() {
        let n = i as u64 + 1;
        if line.trim().is_empty() {
            continue;
        }
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        let [start, rate, cv, pattern, shape, _scale] = fields[..] else {
            return fail(
                file,
                n,
                format!(
                    "{} fields where start,rate,cv,pattern,shape,scale were expected",
                    fields.len()
                ),
            );
        };
        let number = |what: &str, text: &str, low: f64, high: f64| -> Result<f64, TraceError> {
            match text.parse::<f64>() {
                Ok(v) if (low..=high).contains(&v) => Ok(v),
                _ => fail(
                    file,
                    n,
                    format!("{what} `{text}` is not a number between {low} and {high}"),
                ),
            }
        };
        let start = number("start", start, 0.0, 1e9)?;
        if all.last().is_some_and(|w| w.start >= start) {
            return fail(
                file,
                n,
                format!("start {start} does not come after the window above"),
            );
        }
        let weibull = match pattern {
            "" => {
                all.push(Window {
                    start,
                    rate: 0.0,
                    weibull: false,
                    shape: 1.0,
                });
                continue;
            }
            "Gamma" => false,
            "Weibull" => true,
            other => {
                return fail(
                    file,
                    n,
                    format!("pattern `{other}`: must be Gamma, Weibull or empty"),
                );
            }
        };
        let rate = number("rate", rate, 0.0, 1e6)?;
        let fitted = number("shape", shape, 0.0, 1e9)?;
        // Without a fitted shape the coefficient of variation says it.
        let shape = if fitted > 0.0 {
            fitted
        } else {
            let cv = number("cv", cv, 1e-2, 400.0)?;
            if weibull {
                weibull_shape(cv)
            } else {
                1.0 / (cv * cv)
            }
        };
        let (low, high) = if weibull { (0.1, 100.0) } else { (1e-5, 1e6) };
        if !(low..=high).contains(&shape) || (weibull && !weibull_cv(shape).is_finite()) {
            return fail(
                file,
                n,
                format!("shape {shape} must lie between {low} and {high}"),
            );
        }
        all.push(Window {
            start,
            rate,
            weibull,
            shape,
        });
    }
    if all.is_empty() {
        return fail(file, 0, "holds no window".into());
    }
    Ok(all)
}

fn lengths(file: &str, text: &str) -> Result<Vec<Lengths>, TraceError> {
    let map: BTreeMap<String, BTreeMap<String, String>> =
        serde_json::from_str(text).or_else(|e| fail(file, e.line() as u64, e.to_string()))?;
    let mut all = vec![];
    for (key, fields) in &map {
        let at = |problem: String| TraceError {
            file: file.into(),
            line: 0,
            problem: format!("window `{key}`: {problem}"),
        };
        let start: f64 = key
            .parse()
            .ok()
            .filter(|s| (0.0..=1e9).contains(s))
            .ok_or_else(|| at("is not a number of seconds".into()))?;
        let field = |names: &[&str]| {
            names
                .iter()
                .find_map(|n| fields.get(*n))
                .ok_or_else(|| at(format!("has no {}", names[0])))
        };
        let input = histogram(field(&["input_tokens", "text_tokens"])?)
            .map_err(|p| at(format!("input_tokens: {p}")))?;
        let output =
            histogram(field(&["output_tokens"])?).map_err(|p| at(format!("output_tokens: {p}")))?;
        // A window without requests has empty dictionaries.
        if let (Some(input), Some(output)) = (input, output) {
            all.push(Lengths {
                start,
                input,
                output,
            });
        }
    }
    all.sort_by(|a, b| a.start.total_cmp(&b.start));
    Ok(all)
}

/// `{100: 0.5, 200: 0.5}` → histogram; `None` if it is empty. A length of 0 counts as 1: every request has a token.
fn histogram(text: &str) -> Result<Option<Length>, String> {
    let inner = text
        .trim()
        .strip_prefix('{')
        .and_then(|t| t.strip_suffix('}'))
        .ok_or_else(|| "is not a dictionary in braces".to_string())?;
    let mut bins: BTreeMap<u32, f64> = BTreeMap::new();
    for pair in inner.split(',').map(str::trim).filter(|p| !p.is_empty()) {
        let wrong = || format!("`{pair}` is not length: probability");
        let (len, p) = pair.split_once(':').ok_or_else(wrong)?;
        let len: f64 = len.trim().parse().map_err(|_| wrong())?;
        let p: f64 = p.trim().parse().map_err(|_| wrong())?;
        if !(0.0..=f64::from(LONGEST)).contains(&len) || !(0.0..=1.0).contains(&p) {
            return Err(wrong());
        }
        *bins.entry((len as u32).max(1)).or_insert(0.0) += p;
    }
    if bins.is_empty() {
        return Ok(None);
    }
    let sum: f64 = bins.values().sum();
    if (sum - 1.0).abs() > 1e-3 {
        return Err(format!("probabilities sum to {sum}, not 1"));
    }
    let (lengths, weights) = bins.into_iter().unzip();
    Ok(Some(Length::Empirical { lengths, weights }))
}

impl Pool {
    /// Mean requests per second of all clients together from `start` for `duration` seconds.
    fn mean_rate(&self, from: f64, to: f64) -> f64 {
        let mut requests = 0.0;
        for c in &self.clients {
            for (i, w) in c.windows.iter().enumerate() {
                let end = c.windows.get(i + 1).map_or(c.end(), |n| n.start);
                requests += w.rate * (end.min(to) - w.start.max(from)).max(0.0);
            }
        }
        requests / (to - from)
    }

    /// Draws the requests of `duration` seconds (absent: to the end) from `start` on; with `rate`, all rates are multiplied by what
    /// makes the mean rate of that time equal to it.
    ///
    /// # Errors
    /// Nothing to draw, or too much.
    pub fn draw(
        &self,
        folder: &str,
        start: f64,
        duration: Option<f64>,
        rate: Option<f64>,
        seed: u64,
    ) -> Result<Trace, TraceError> {
        let end = self.clients.iter().map(Client::end).fold(0.0, f64::max);
        let to = duration.map_or(end, |d| (start + d).min(end));
        if to.is_nan() || to <= start {
            return fail(
                folder,
                0,
                format!("holds nothing from {start} s on: it ends at {end} s"),
            );
        }
        let mean = self.mean_rate(start, to);
        let factor = rate.map_or(1.0, |r| r / mean);
        let expected = mean * factor * (to - start);
        if mean <= 0.0 || expected.is_nan() {
            return fail(
                folder,
                0,
                format!("no client is active between {start} and {to} s"),
            );
        }
        if expected > MOST_ROWS as f64 / 2.0 {
            return fail(
                folder,
                0,
                format!("{expected:.0} requests are too many: --trace-duration takes a part"),
            );
        }
        let mut all = vec![];
        for c in &self.clients {
            if !c.draw(start, to, factor, Seed(seed), &mut all) {
                return fail(folder, 0, "too many requests".into());
            }
        }
        // Stable: clients in their order at equal times.
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        if all.is_empty() {
            return fail(
                folder,
                0,
                format!("no request was drawn between {start} and {to} s"),
            );
        }
        let zero = all[0].0;
        let mut b = Builder::new(0);
        for (at, input, output) in all {
            b.push(
                Row {
                    at: Span::from_secs(at - zero),
                    input,
                    output,
                },
                std::iter::empty(),
            );
        }
        Ok(b.finish())
    }
}
