//! Flags that shape the load beyond a rate and two lengths: arrival processes, users, laws of length, traces.
use super::files::Files;
use crate::workload::arrival::{Arrival, RampUp, weibull_shape};
use crate::workload::length::{LONGEST, Length};
use crate::workload::trace::{Format, Options, Pool, Trace, TraceSpec};
use crate::workload::{Think, Users, WorkloadSpec};
use anyhow::{Context, anyhow, bail, ensure};
use clap::Args;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const HEADING: &str = "Load shapes (docs/workloads.md)";

#[derive(Args, Clone, Debug, Default)]
pub struct LoadArgs {
    /// Law of the send times: constant, poisson, gamma (with --burstiness), weibull:CV or weibull:shape=K,
    /// mmpp:RATE,RATE,SECONDS,SECONDS, rate-series:T:RATE,T:RATE… (linear between; add /repeat to begin anew)
    #[arg(long, help_heading = HEADING)]
    arrival: Option<String>,
    /// Rate grows from request to request as in vllm bench serve: linear or exponential
    #[arg(long, requires_all = ["ramp_up_start_rps", "ramp_up_end_rps"],
          conflicts_with_all = ["request_rate", "arrival"], help_heading = HEADING)]
    ramp_up_strategy: Option<String>,
    /// Requests per second at the first request
    #[arg(long, requires = "ramp_up_strategy", allow_negative_numbers = true, help_heading = HEADING)]
    ramp_up_start_rps: Option<f64>,
    /// Requests per second at the last request
    #[arg(long, requires = "ramp_up_strategy", allow_negative_numbers = true, help_heading = HEADING)]
    ramp_up_end_rps: Option<f64>,
    /// Users who read an answer, think, and ask again, instead of a rate
    #[arg(long, value_delimiter = ',',
          conflicts_with_all = ["request_rate", "max_concurrency", "arrival", "ramp_up_strategy", "vllm_bench", "trace_file"],
          help_heading = HEADING)]
    pub users: Vec<u32>,
    /// Seconds from an answer to the same user's next request: SECONDS, exponential:MEAN, lognormal:MEAN,CV
    #[arg(long, help_heading = HEADING)]
    think_time: Option<String>,
    /// Requests per conversation: each prompt is all that was said, and new tokens of the input length
    #[arg(long, help_heading = HEADING)]
    turns: Option<u32>,
    /// Law of prompt lengths: fixed:N, uniform:MIN,MAX, normal:MEAN,SD, lognormal:MEDIAN,SIGMA,
    /// pareto-lognormal:TAIL,ALPHA,SCALE,MEDIAN,SIGMA (each with [,min=N][,max=N]), empirical:FILE
    #[arg(long, conflicts_with_all = ["random_input_len", "random_range_ratio", "vllm_bench", "trace_file"],
          help_heading = HEADING)]
    input_dist: Option<String>,
    /// Law of output lengths, as --input-dist
    #[arg(long, conflicts_with_all = ["random_output_len", "random_range_ratio", "vllm_bench", "trace_file"],
          help_heading = HEADING)]
    output_dist: Option<String>,
    /// Replay a recorded trace: a file, or a folder of ServeGen clients
    #[arg(long, value_name = "FILE",
          conflicts_with_all = ["request_rate", "arrival", "ramp_up_strategy", "random_input_len", "random_output_len", "random_range_ratio", "vllm_bench"],
          help_heading = HEADING)]
    pub trace_file: Option<PathBuf>,
    #[command(flatten)]
    read: ReadArgs,
    /// How many times faster than recorded
    #[arg(long, requires = "trace_file", value_delimiter = ',', allow_negative_numbers = true, help_heading = HEADING)]
    pub trace_speedup: Vec<f64>,
}

/// How a trace is read and which part of it is taken.
#[derive(Args, Clone, Debug, Default)]
pub struct ReadArgs {
    /// mooncake, bailian, llmservingsim, azure, burstgpt, vidur, csv, servegen (default: recognised by the first line)
    #[arg(long, help_heading = HEADING)]
    trace_format: Option<String>,
    /// Columns of any other CSV: time=NAME,input=NAME,output=NAME[,unit=s|ms|us|ns]
    #[arg(long, help_heading = HEADING)]
    trace_columns: Option<String>,
    /// Tokens per hash id (default: 512 for mooncake, 16 for bailian)
    #[arg(long, help_heading = HEADING)]
    trace_block_size: Option<u32>,
    /// Leave out requests without input or output tokens, instead of refusing the file
    #[arg(long, help_heading = HEADING)]
    trace_skip_empty: bool,
    /// Seconds of recorded time to leave out at the beginning
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true, help_heading = HEADING)]
    trace_start: f64,
    /// Seconds of recorded time to take (default: to the end)
    #[arg(long, allow_negative_numbers = true, help_heading = HEADING)]
    trace_duration: Option<f64>,
    /// Spread requests of one and the same time up to the next time recorded
    #[arg(long, help_heading = HEADING)]
    trace_spread: bool,
    /// Requests per second of all ServeGen clients together (default: as recorded)
    #[arg(long, allow_negative_numbers = true, help_heading = HEADING)]
    trace_rate: Option<f64>,
}

fn number(text: &str) -> anyhow::Result<f64> {
    text.trim()
        .parse::<f64>()
        .ok()
        .filter(|v| v.is_finite())
        .ok_or_else(|| anyhow!("`{text}` is not a number"))
}

fn numbers<const N: usize>(text: &str, names: &str) -> anyhow::Result<[f64; N]> {
    let all: Vec<f64> = text.split(',').map(number).collect::<Result<_, _>>()?;
    <[f64; N]>::try_from(all).map_err(|all| anyhow!("needs {names}, not {} values", all.len()))
}

/// An arrival process from its text; `None`: gamma, the default.
fn arrival(text: &str) -> anyhow::Result<Arrival> {
    let (name, rest) = text.split_once(':').unwrap_or((text, ""));
    let parsed = match (name, rest) {
        ("constant", "") => Arrival::Constant,
        ("poisson" | "gamma", "") => Arrival::Gamma,
        ("weibull", r) if !r.is_empty() => Arrival::Weibull {
            shape: match r.strip_prefix("shape=") {
                Some(k) => number(k)?,
                None => {
                    let cv = number(r.strip_prefix("cv=").unwrap_or(r))?;
                    ensure!(
                        (0.02..=100.0).contains(&cv),
                        "the coefficient of variation must lie between 0.02 and 100, not {cv}"
                    );
                    weibull_shape(cv)
                }
            },
        },
        ("mmpp", r) if !r.is_empty() => {
            let [a, b, s, t] = numbers(r, "RATE,RATE,SECONDS,SECONDS")?;
            Arrival::Mmpp {
                rates: [a, b],
                sojourns: [s, t],
            }
        }
        ("rate-series", r) if !r.is_empty() => {
            let (r, repeat) = match r.strip_suffix("/repeat") {
                Some(r) => (r, true),
                None => (r, false),
            };
            let points = r
                .split(',')
                .map(|p| {
                    let (t, rate) = p
                        .split_once(':')
                        .ok_or_else(|| anyhow!("`{p}` is not TIME:RATE"))?;
                    Ok((number(t)?, number(rate)?))
                })
                .collect::<anyhow::Result<_>>()?;
            Arrival::RateSeries { points, repeat }
        }
        _ => bail!(
            "must be constant, poisson, gamma, weibull:CV, weibull:shape=K, mmpp:RATE,RATE,SECONDS,SECONDS or \
             rate-series:T:RATE,T:RATE…"
        ),
    };
    parsed.check()?;
    Ok(parsed)
}

fn think(text: &str) -> anyhow::Result<Think> {
    Ok(match text.split_once(':') {
        None => Think::Fixed {
            secs: number(text)?,
        },
        Some(("exponential" | "exp", mean)) => Think::Exponential {
            mean: number(mean)?,
        },
        Some(("lognormal", r)) => {
            let [mean, cv] = numbers(r, "MEAN,CV")?;
            Think::Lognormal { mean, cv }
        }
        Some(_) => bail!("must be SECONDS, exponential:MEAN or lognormal:MEAN,CV"),
    })
}

/// A law of lengths from its text.
fn length(text: &str, files: &Files) -> anyhow::Result<Length> {
    let (name, rest) = text.split_once(':').unwrap_or((text, ""));
    if name == "empirical" && !rest.is_empty() {
        let path = Path::new(rest);
        let law = Length::parse_histogram(&files.read(path)?)
            .map_err(|e| anyhow!("{}: {e}", path.display()))?;
        return Ok(law);
    }
    let (mut min, mut max) = (1, LONGEST);
    let mut values = vec![];
    for part in rest.split(',').filter(|p| !p.is_empty()) {
        let bound = |v: &str| {
            v.parse::<u32>()
                .map_err(|_| anyhow!("`{part}`: not a number of tokens"))
        };
        match part.split_once('=') {
            Some(("min", v)) => min = bound(v)?,
            Some(("max", v)) => max = bound(v)?,
            Some(_) => bail!("`{part}`: only min= and max= may follow"),
            None => values.push(number(part)?),
        }
    }
    let tokens = |v: f64| -> anyhow::Result<u32> {
        ensure!(
            v >= 1.0 && v <= f64::from(LONGEST) && v == v.trunc(),
            "`{v}` is not a number of tokens between 1 and {LONGEST}"
        );
        Ok(v as u32)
    };
    Ok(match (name, &values[..]) {
        ("fixed", [n]) => Length::Fixed { len: tokens(*n)? },
        ("uniform", [a, b]) => Length::Uniform {
            min: tokens(*a)?,
            max: tokens(*b)?,
        },
        ("normal", [mean, sd]) => Length::Normal {
            mean: *mean,
            sd: *sd,
            min,
            max,
        },
        ("lognormal", [median, sigma]) => Length::Lognormal {
            median: *median,
            sigma: *sigma,
            min,
            max,
        },
        ("pareto-lognormal", [tail, alpha, scale, median, sigma]) => Length::ParetoLognormal {
            tail: *tail,
            alpha: *alpha,
            scale: *scale,
            median: *median,
            sigma: *sigma,
            min,
            max,
        },
        _ => bail!(
            "must be fixed:N, uniform:MIN,MAX, normal:MEAN,SD, lognormal:MEDIAN,SIGMA, \
             pareto-lognormal:TAIL,ALPHA,SCALE,MEDIAN,SIGMA or empirical:FILE"
        ),
    })
}

impl ReadArgs {
    fn options(&self) -> anyhow::Result<Options> {
        let format = match &self.trace_format {
            None => None,
            Some(name) => Some(Format::by_name(name).ok_or_else(|| {
                let names: Vec<&str> = Format::ALL.iter().map(|(n, _)| *n).collect();
                anyhow!(
                    "--trace-format `{name}`: must be one of {}",
                    names.join(", ")
                )
            })?),
        };
        Ok(Options {
            format,
            columns: self.trace_columns.clone(),
            block_size: self.trace_block_size,
            skip_empty: self.trace_skip_empty,
        })
    }

    /// Whether any of these flags was given.
    fn silent(&self) -> bool {
        self.trace_format.is_none()
            && self.trace_columns.is_none()
            && self.trace_block_size.is_none()
            && !self.trace_skip_empty
            && self.trace_start == 0.0
            && self.trace_duration.is_none()
            && !self.trace_spread
            && self.trace_rate.is_none()
    }

    /// The trace at `path`: what `options` says of it, and its data.
    pub fn load(&self, path: &Path, seed: u64, files: &Files) -> anyhow::Result<TraceSpec> {
        let options = self.options()?;
        for (flag, v) in [
            ("--trace-start", Some(self.trace_start)),
            ("--trace-duration", self.trace_duration),
        ] {
            if let Some(v) = v {
                ensure!(
                    (0.0..=4e9).contains(&v),
                    "{flag} {v}: must lie between 0 and 4e9 seconds"
                );
            }
        }
        let folder = files.is_dir(path) || options.format == Some(Format::ServeGen);
        let mut spec = TraceSpec::of(path.display().to_string(), Trace::default());
        spec.options = options;
        spec.start = self.trace_start;
        spec.duration = self.trace_duration;
        spec.spread = self.trace_spread;
        let mut data = if folder {
            spec.options.format = Some(Format::ServeGen);
            if let Some(r) = self.trace_rate {
                ensure!(
                    (1e-6..=1e6).contains(&r),
                    "--trace-rate {r}: must lie between 1e-6 and 1e6 per second"
                );
            }
            let drawn = servegen(path, files)?.draw(
                &spec.file,
                spec.start,
                spec.duration,
                self.trace_rate,
                seed,
            )?;
            // The part is what was drawn.
            (spec.start, spec.duration) = (0.0, None);
            drawn
        } else {
            ensure!(
                self.trace_rate.is_none(),
                "--trace-rate is for ServeGen folders; --trace-speedup makes a recorded trace faster"
            );
            Trace::parse(&files.read(path)?, &spec.file, &spec.options)?
        };
        if spec.spread {
            data.spread();
        }
        spec.data = Some(Arc::new(data));
        Ok(spec)
    }
}

/// All clients of a ServeGen folder.
fn servegen(folder: &Path, files: &Files) -> anyhow::Result<Pool> {
    let mut numbers: Vec<(u64, String)> = vec![];
    for name in files.list(folder)? {
        if let Some(n) = name
            .strip_prefix("chunk-")
            .and_then(|r| r.strip_suffix("-trace.csv"))
            && let Ok(number) = n.parse()
        {
            numbers.push((number, n.to_string()));
        }
    }
    ensure!(
        !numbers.is_empty(),
        "{}: holds no chunk-N-trace.csv of ServeGen",
        folder.display()
    );
    numbers.sort();
    let mut pool = Pool::default();
    for (_, n) in numbers {
        let (trace, dataset) = (
            folder.join(format!("chunk-{n}-trace.csv")),
            folder.join(format!("chunk-{n}-dataset.json")),
        );
        pool.clients.push(crate::workload::trace::Client::parse(
            (&trace.display().to_string(), &files.read(&trace)?),
            (&dataset.display().to_string(), &files.read(&dataset)?),
        )?);
    }
    Ok(pool)
}

impl LoadArgs {
    /// Whether the load sets its own pace, so that no concurrency has to be assumed.
    pub fn paced(&self) -> bool {
        self.arrival.is_some()
            || self.ramp_up_strategy.is_some()
            || !self.users.is_empty()
            || self.trace_file.is_some()
    }

    /// Whether people were described, their number perhaps left open.
    pub fn people(&self) -> bool {
        !self.users.is_empty() || self.think_time.is_some() || self.turns.is_some()
    }

    /// Whether a law of send times was given.
    pub fn timed(&self) -> bool {
        self.arrival.is_some()
    }

    /// Whether nothing was said here.
    pub fn is_silent(&self) -> bool {
        !self.paced() && self.input_dist.is_none() && self.output_dist.is_none()
    }

    /// Puts what was said into a load.
    pub fn apply(&self, w: &mut WorkloadSpec, files: &Files) -> anyhow::Result<()> {
        if w.burstiness == f64::INFINITY {
            // vLLM's word for equal gaps.
            w.burstiness = 1.0;
            w.arrival = Some(Arrival::Constant);
            ensure!(
                self.ramp_up_strategy.is_none(),
                "--burstiness inf contradicts --ramp-up-strategy"
            );
        }
        if let Some(text) = &self.arrival {
            let law = arrival(text).with_context(|| format!("--arrival `{text}`"))?;
            ensure!(
                w.arrival.is_none() || w.arrival.as_ref() == Some(&law),
                "--burstiness inf contradicts --arrival {text}"
            );
            ensure!(
                text != "poisson" || w.burstiness == 1.0,
                "--burstiness {} contradicts --arrival poisson, which is burstiness 1",
                w.burstiness
            );
            w.arrival = Some(law);
        }
        if let (Some(s), Some(start_rps), Some(end_rps)) = (
            &self.ramp_up_strategy,
            self.ramp_up_start_rps,
            self.ramp_up_end_rps,
        ) {
            let strategy = match s.as_str() {
                "linear" => RampUp::Linear,
                "exponential" => RampUp::Exponential,
                other => bail!("--ramp-up-strategy `{other}`: must be linear or exponential"),
            };
            w.arrival = Some(Arrival::RampUp {
                strategy,
                start_rps,
                end_rps,
            });
        }
        for (flag, text, slot) in [
            ("--input-dist", &self.input_dist, &mut w.input_dist),
            ("--output-dist", &self.output_dist, &mut w.output_dist),
        ] {
            if let Some(text) = text {
                *slot = Some(length(text, files).with_context(|| format!("{flag} `{text}`"))?);
            }
        }
        for (flag, given) in [
            ("--think-time", self.think_time.is_some()),
            ("--turns", self.turns.is_some()),
        ] {
            ensure!(
                !given || !self.users.is_empty(),
                "{flag} needs --users, the number of people who think and ask"
            );
        }
        if let Some(&count) = self.users.first() {
            let think = match &self.think_time {
                None => Think::Fixed { secs: 0.0 },
                Some(t) => think(t).with_context(|| format!("--think-time `{t}`"))?,
            };
            w.users = Some(Users {
                count,
                think,
                turns: self.turns.unwrap_or(1),
                max_context: None,
            });
        }
        match &self.trace_file {
            Some(path) => w.trace = Some(self.read.load(path, w.seed, files)?),
            None => ensure!(
                self.read.silent(),
                "--trace-… flags need --trace-file, the trace that they describe"
            ),
        }
        Ok(())
    }

    /// Requests measured unless somebody says how many; `None`: as for a plain load.
    pub fn num_prompts(&self, w: &WorkloadSpec) -> Option<u32> {
        if let Some(t) = &w.trace {
            let data = t.data.as_ref()?;
            let (from, to) = t.rows(data);
            return u32::try_from(to - from).ok();
        }
        if let Some(u) = &w.users {
            return Some(
                u.count
                    .saturating_mul(4)
                    .max(u.turns.saturating_mul(u.count)),
            );
        }
        match &w.arrival {
            // Once through the series.
            Some(Arrival::RateSeries { points, .. }) if points.len() > 1 => {
                let n = crate::workload::arrival::integral(points).round();
                Some((n as u32).max(1))
            }
            _ => None,
        }
    }
}
