//! Laws of send times, pauses and lengths, as they are typed.
use super::LoadFiles;
use crate::workload::Think;
use crate::workload::arrival::{Arrival, weibull_shape};
use crate::workload::length::{LONGEST, Length};

fn number(text: &str) -> Result<f64, String> {
    text.trim()
        .parse::<f64>()
        .ok()
        .filter(|v| v.is_finite())
        .ok_or_else(|| format!("`{text}` is not a number"))
}

fn numbers<const N: usize>(text: &str, names: &str) -> Result<[f64; N], String> {
    let all: Vec<f64> = text.split(',').map(number).collect::<Result<_, _>>()?;
    <[f64; N]>::try_from(all).map_err(|all| format!("needs {names}, not {} values", all.len()))
}

fn weibull(text: &str) -> Result<Arrival, String> {
    let shape = match text.strip_prefix("shape=") {
        Some(k) => number(k)?,
        None => {
            let cv = number(text.strip_prefix("cv=").unwrap_or(text))?;
            if !(0.02..=100.0).contains(&cv) {
                return Err(format!(
                    "the coefficient of variation must lie between 0.02 and 100, not {cv}"
                ));
            }
            weibull_shape(cv)
        }
    };
    Ok(Arrival::Weibull { shape })
}

fn rate_series(text: &str) -> Result<Arrival, String> {
    let (text, repeat) = match text.strip_suffix("/repeat") {
        Some(text) => (text, true),
        None => (text, false),
    };
    let point = |p: &str| {
        let (t, rate) = p
            .split_once(':')
            .ok_or_else(|| format!("`{p}` is not TIME:RATE"))?;
        Ok::<_, String>((number(t)?, number(rate)?))
    };
    let points = text.split(',').map(point).collect::<Result<_, _>>()?;
    Ok(Arrival::RateSeries { points, repeat })
}

/// An arrival process.
pub fn arrival(text: &str) -> Result<Arrival, String> {
    let (name, rest) = text.split_once(':').unwrap_or((text, ""));
    let parsed = match (name, rest) {
        ("constant", "") => Arrival::Constant,
        ("poisson" | "gamma", "") => Arrival::Gamma,
        ("weibull", r) if !r.is_empty() => weibull(r)?,
        ("mmpp", r) if !r.is_empty() => {
            let [a, b, s, t] = numbers(r, "RATE,RATE,SECONDS,SECONDS")?;
            Arrival::Mmpp {
                rates: [a, b],
                sojourns: [s, t],
            }
        }
        ("rate-series", r) if !r.is_empty() => rate_series(r)?,
        _ => {
            return Err(
                "must be constant, poisson, gamma, weibull:CV, weibull:shape=K, mmpp:RATE,RATE,SECONDS,SECONDS or \
                 rate-series:T:RATE,T:RATE…"
                    .into(),
            );
        }
    };
    parsed.check().map_err(|e| e.to_string())?;
    Ok(parsed)
}

/// A pause between an answer and the same user's next request.
pub fn think(text: &str) -> Result<Think, String> {
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
        Some(_) => return Err("must be SECONDS, exponential:MEAN or lognormal:MEAN,CV".into()),
    })
}

fn tokens(v: f64) -> Result<u32, String> {
    if v >= 1.0 && v <= f64::from(LONGEST) && v == libm::trunc(v) {
        Ok(v as u32)
    } else {
        Err(format!(
            "`{v}` is not a number of tokens between 1 and {LONGEST}"
        ))
    }
}

/// A law of lengths.
pub fn length(text: &str, files: &dyn LoadFiles) -> Result<Length, String> {
    let (name, rest) = text.split_once(':').unwrap_or((text, ""));
    if name == "empirical" && !rest.is_empty() {
        return Length::parse_histogram(&files.text(rest)?).map_err(|e| format!("{rest}: {e}"));
    }
    let (mut min, mut max) = (1, LONGEST);
    let mut values = vec![];
    for part in rest.split(',').filter(|p| !p.is_empty()) {
        let bound = |v: &str| {
            v.parse::<u32>()
                .map_err(|_| format!("`{part}`: not a number of tokens"))
        };
        match part.split_once('=') {
            Some(("min", v)) => min = bound(v)?,
            Some(("max", v)) => max = bound(v)?,
            Some(_) => return Err(format!("`{part}`: only min= and max= may follow")),
            None => values.push(number(part)?),
        }
    }
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
        _ => {
            return Err(
                "must be fixed:N, uniform:MIN,MAX, normal:MEAN,SD, lognormal:MEDIAN,SIGMA, \
                 pareto-lognormal:TAIL,ALPHA,SCALE,MEDIAN,SIGMA or empirical:FILE"
                    .into(),
            );
        }
    })
}
