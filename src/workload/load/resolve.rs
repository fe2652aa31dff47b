//! What was said of a load, and the defaults of what was not → a load.
use super::table::*;
use super::{LoadFiles, LoadValues, ensure, laws, traced, wrong};
use crate::fields::{FieldError, Key, Value};
use crate::units::Span;
use crate::workload::arrival::{Arrival, RampUp};
use crate::workload::{Images, PromptKind, Think, Users, WorkloadSpec};

/// Clients of a closed loop where nothing sets a pace.
const CLIENTS: u32 = 32;

/// Requests measured where nothing says how many and no client or user bounds them: `vllm bench serve --num-prompts`.
const PROMPTS: u32 = 1000;

/// What a load was assumed to be where nothing was said, in words for the answer.
pub type Assumed = Vec<String>;

/// A load from what was said of it, and what was assumed of the rest.
///
/// Unsaid, a load is a closed loop of 32 clients with 256 tokens in and out. With `vllm_bench` it is what `vllm bench serve`
/// sends: 1000 requests of 1024 and 128 tokens, all at once (`vllm/benchmarks/serve.py`, `datasets.py`@v0.12.0).
///
/// # Errors
/// Values out of range, values that contradict each other, a file that cannot be read. Errors name the field.
pub fn resolve(
    v: &LoadValues,
    files: &dyn LoadFiles,
) -> Result<(WorkloadSpec, Assumed), FieldError> {
    let mut assumed = vec![];
    let mut w = plain(v)?;
    pace(v, &mut w)?;
    users(v, &mut w)?;
    for (key, slot) in [
        (INPUT_DIST, &mut w.input_dist),
        (OUTPUT_DIST, &mut w.output_dist),
    ] {
        if let Some(text) = v.get(key) {
            let law = laws::length(&text, files);
            *slot = Some(law.map_err(|e| wrong(key.name(), format!("`{text}`: {e}")))?);
        }
    }
    if let Some(text) = v.get(IMAGES) {
        let images = Images::parse(&text);
        w.images = Some(images.map_err(|e| wrong(IMAGES.name(), format!("`{text}`: {e}")))?);
    }
    w.trace = traced::trace(v, files)?;
    contradictions(v)?;
    let paced = w.request_rate.is_some()
        || v.get(REQUEST_RATE).is_some()
        || w.arrival.is_some()
        || w.users.is_some()
        || w.trace.is_some();
    if w.max_concurrency.is_none() && !paced {
        if w.vllm_bench {
            assumed.push("all requests at once, the default of vllm bench serve".into());
        } else {
            w.max_concurrency = Some(CLIENTS);
            assumed.push(format!("a closed loop of {CLIENTS} clients"));
        }
    }
    let lengths = [
        (RANDOM_INPUT_LEN, &w.input_dist, "prompt", w.input_len),
        (RANDOM_OUTPUT_LEN, &w.output_dist, "output", w.output_len),
    ];
    if w.trace.is_none() {
        for (key, law, what, len) in lengths {
            if v.get(key).is_none() && law.is_none() {
                assumed.push(format!("{len} {what} tokens per request"));
            }
        }
    }
    w.num_prompts = match v.get(NUM_PROMPTS) {
        Some(n) => n,
        None => {
            let n = num_prompts(&w);
            if w.trace.is_none() {
                assumed.push(format!("{n} requests"));
            }
            n
        }
    };
    w.check().map_err(|e| wrong(own_name(e.field), e.problem))?;
    Ok((w, assumed))
}

/// The table's name of a field of the load.
fn own_name(field: &str) -> &str {
    match field {
        "input_len" => "random_input_len",
        "output_len" => "random_output_len",
        "range_ratio" => "random_range_ratio",
        "send_skew" => "send_skew_ms",
        "think" => "think_time",
        "trace" => "trace_file",
        "warmup" => "num_warmups",
        other => other,
    }
}

/// Numbers that stand for themselves.
fn plain(v: &LoadValues) -> Result<WorkloadSpec, FieldError> {
    let vllm_bench = v.get(VLLM_BENCH).unwrap_or(false);
    let (input, output) = if vllm_bench { (1024, 128) } else { (256, 256) };
    let skew = v.get(SEND_SKEW_MS).unwrap_or(0.0);
    ensure((0.0..=3_600_000.0).contains(&skew), "send_skew_ms", || {
        format!("{skew}: must lie between 0 and 3600000")
    })?;
    let temperature = v.get(TEMPERATURE).unwrap_or(0.0);
    ensure(
        temperature.is_finite() && temperature >= 0.0,
        "temperature",
        || format!("{temperature}: must be at least 0"),
    )?;
    Ok(WorkloadSpec {
        max_concurrency: v.get(MAX_CONCURRENCY),
        request_rate: v.get(REQUEST_RATE).filter(|r| *r != f64::INFINITY),
        burstiness: v.get(BURSTINESS).unwrap_or(1.0),
        range_ratio: v.get(RANDOM_RANGE_RATIO).unwrap_or(0.0),
        prompts: match v.get(PROMPTS_IN_COMMON).as_deref() {
            Some("identical") => PromptKind::Identical,
            Some("shared-prefix") => PromptKind::SharedPrefix,
            _ => PromptKind::Distinct,
        },
        shared_prefix_len: v.get(SHARED_PREFIX_LEN).unwrap_or(0),
        greedy: temperature == 0.0,
        warmup: v.get(NUM_WARMUPS).unwrap_or(1),
        send_skew: Span::from_secs(skew / 1e3),
        seed: v.get(SEED).unwrap_or(0),
        vllm_bench,
        ..WorkloadSpec::closed_loop(
            1,
            1,
            v.get(RANDOM_INPUT_LEN).unwrap_or(input),
            v.get(RANDOM_OUTPUT_LEN).unwrap_or(output),
        )
    })
}

/// The law of the send times.
fn pace(v: &LoadValues, w: &mut WorkloadSpec) -> Result<(), FieldError> {
    if w.burstiness == f64::INFINITY {
        // vLLM's word for equal gaps.
        w.burstiness = 1.0;
        w.arrival = Some(Arrival::Constant);
        ensure(v.get(RAMP_UP_STRATEGY).is_none(), "burstiness", || {
            "inf contradicts --ramp-up-strategy".into()
        })?;
    }
    if let Some(text) = v.get(ARRIVAL) {
        let law = laws::arrival(&text).map_err(|e| wrong("arrival", format!("`{text}`: {e}")))?;
        ensure(
            w.arrival.is_none() || w.arrival.as_ref() == Some(&law),
            "burstiness",
            || format!("inf contradicts --arrival {text}"),
        )?;
        ensure(
            text != "poisson" || w.burstiness == 1.0,
            "burstiness",
            || {
                format!(
                    "{} contradicts --arrival poisson, which is burstiness 1",
                    w.burstiness
                )
            },
        )?;
        w.arrival = Some(law);
    }
    let ramp = (
        v.get(RAMP_UP_STRATEGY),
        v.get(RAMP_UP_START_RPS),
        v.get(RAMP_UP_END_RPS),
    );
    match ramp {
        (None, None, None) => {}
        (Some(s), Some(start_rps), Some(end_rps)) => {
            let strategy = match s.as_str() {
                "linear" => RampUp::Linear,
                "exponential" => RampUp::Exponential,
                other => {
                    return Err(wrong(
                        "ramp_up_strategy",
                        format!("`{other}`: must be linear or exponential"),
                    ));
                }
            };
            w.arrival = Some(Arrival::RampUp {
                strategy,
                start_rps,
                end_rps,
            });
        }
        _ => {
            return Err(wrong(
                "ramp_up_strategy",
                "ramp_up_strategy, ramp_up_start_rps and ramp_up_end_rps belong together",
            ));
        }
    }
    Ok(())
}

fn users(v: &LoadValues, w: &mut WorkloadSpec) -> Result<(), FieldError> {
    let Some(count) = v.get(USERS) else {
        let stray = [
            (THINK_TIME.name(), v.get(THINK_TIME).is_some()),
            (TURNS.name(), v.get(TURNS).is_some()),
        ];
        return match stray.iter().find(|s| s.1) {
            Some((field, _)) => Err(wrong(
                field,
                "needs --users, the number of people who think and ask",
            )),
            None => Ok(()),
        };
    };
    let think = match v.get(THINK_TIME) {
        None => Think::Fixed { secs: 0.0 },
        Some(t) => laws::think(&t).map_err(|e| wrong("think_time", format!("`{t}`: {e}")))?,
    };
    w.users = Some(Users {
        count,
        think,
        turns: v.get(TURNS).unwrap_or(1),
        max_context: None,
    });
    Ok(())
}

/// Fields that cannot stand together, although each alone makes sense.
fn contradictions(v: &LoadValues) -> Result<(), FieldError> {
    // A switch that is off says nothing.
    let on = |value: &Value| *value != Value::Switch(false);
    let said = |name: &str| v.iter().any(|(f, value)| f.name == name && on(value));
    let lengths = ["random_input_len", "random_range_ratio"];
    let outputs = ["random_output_len", "random_range_ratio"];
    let times = ["request_rate", "arrival", "ramp_up_strategy"];
    let paces = ["request_rate", "max_concurrency", "arrival"];
    let pairs: [(&str, &[&str]); 9] = [
        ("users", &paces),
        ("users", &["ramp_up_strategy", "vllm_bench"]),
        ("ramp_up_strategy", &["request_rate", "arrival"]),
        ("input_dist", &lengths),
        ("output_dist", &outputs),
        ("trace_file", &times),
        ("trace_file", &["random_input_len", "random_output_len"]),
        (
            "trace_file",
            &["random_range_ratio", "vllm_bench", "images"],
        ),
        // Of users' requests the trace says how long they are, not when they come.
        ("users", &["trace_speedup", "trace_spread"]),
    ];
    for (field, others) in pairs {
        if let Some(other) = others.iter().find(|o| said(field) && said(o)) {
            return Err(wrong(
                field,
                format!(
                    "contradicts --{}: give one of them",
                    other.replace('_', "-")
                ),
            ));
        }
    }
    Ok(())
}

/// Requests measured unless a number is given: all of a trace, four per client or user, once through a series of rates.
fn num_prompts(w: &WorkloadSpec) -> u32 {
    if let Some(t) = &w.trace {
        let rows = t.data.as_ref().map(|data| {
            let (from, to) = t.rows(data);
            to - from
        });
        return rows.and_then(|n| u32::try_from(n).ok()).unwrap_or(PROMPTS);
    }
    if let Some(u) = &w.users {
        return (u.count.saturating_mul(4)).max(u.turns.saturating_mul(u.count));
    }
    match (&w.arrival, w.max_concurrency) {
        (Some(Arrival::RateSeries { points, .. }), _) if points.len() > 1 => {
            let n = libm::round(crate::workload::arrival::integral(points));
            (n as u32).max(1)
        }
        (_, Some(_)) if w.vllm_bench => PROMPTS,
        (_, Some(clients)) => clients.saturating_mul(4),
        _ => PROMPTS,
    }
}

const PROMPTS_IN_COMMON: Key<super::LoadSection, String> = super::PROMPTS;

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<(WorkloadSpec, Assumed), FieldError> {
        resolve(&serde_json::from_str(text).unwrap(), &())
    }

    #[test]
    fn an_unsaid_load_is_assumed_and_told() {
        let (w, told) = load("{}").unwrap();
        assert_eq!((w.max_concurrency, w.num_prompts), (Some(32), 128));
        assert_eq!(told.len(), 4, "{told:?}");
        // As `vllm bench serve` without flags.
        let (w, told) = load(r#"{"vllm_bench": true}"#).unwrap();
        assert_eq!((w.max_concurrency, w.request_rate), (None, None));
        assert_eq!(
            (w.num_prompts, w.input_len, w.output_len),
            (1000, 1024, 128)
        );
        assert!(told[0].contains("all requests at once"), "{told:?}");
        let (w, told) =
            load(r#"{"request_rate": 2, "num_prompts": 9, "input_len": 5, "output_len": 6}"#)
                .unwrap();
        assert_eq!((w.max_concurrency, w.request_rate), (None, Some(2.0)));
        assert!(told.is_empty(), "{told:?}");
        let (w, _) = load(r#"{"request_rate": "inf"}"#).unwrap();
        assert_eq!((w.max_concurrency, w.request_rate), (None, None));
    }

    #[test]
    fn what_contradicts_is_refused_by_name() {
        for (text, field) in [
            (r#"{"think_time": 3}"#, "think_time"),
            (r#"{"trace_start": 3}"#, "trace_start"),
            (r#"{"temperature": -1}"#, "temperature"),
            (r#"{"send_skew_ms": -1}"#, "send_skew_ms"),
            (r#"{"arrival": "x"}"#, "arrival"),
            (r#"{"ramp_up_strategy": "linear"}"#, "ramp_up_strategy"),
            (r#"{"input_dist": "fixed:3", "input_len": 4}"#, "input_dist"),
            (r#"{"trace_file": "x"}"#, "trace_file"),
        ] {
            assert_eq!(load(text).unwrap_err().field, field, "{text}");
        }
    }
}
