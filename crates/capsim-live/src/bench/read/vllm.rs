//! `vllm bench serve`'s result file, and capsim's superset of it.
use super::totals::MEAN_LENGTHS;
use super::{Bad, Recorded, Recording, Tool, number, tokens};
use crate::bench::definition::MetricsAs;
use crate::bench::scrape::{Sample, ServerInfo};
use capsim::engine::settings::EngineSection;
use capsim::fields::Section;
use capsim::metrics::Metric;
use capsim::workload::{Prompt, Segment, StreamId};
use serde_json::Value;

fn list<'a>(v: &'a Value, key: &str) -> Result<Option<&'a Vec<Value>>, Bad> {
    match v.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(a)) => Ok(Some(a)),
        Some(other) => Err((
            key.into(),
            format!("must be a list, not {}", super::brief(other)),
        )),
    }
}

pub(super) fn is(v: &Value) -> bool {
    v.get("total_input_tokens").is_some() || v.get("input_lens").is_some()
}

pub(super) fn read(v: &Value) -> Result<Recording, Bad> {
    let ours = v.get("capsim").filter(|c| c.is_object());
    let mut r = Recording::empty(if ours.is_some() {
        Tool::Capsim
    } else {
        Tool::Vllm
    });
    r.date = v["date"].as_str().map(Into::into);
    r.model = v["model_id"].as_str().map(Into::into);
    r.max_concurrency = match v.get("max_concurrency") {
        None | Some(Value::Null) => None,
        Some(c) => Some(tokens(c, "max_concurrency")?),
    };
    r.request_rate = match v.get("request_rate") {
        None | Some(Value::Null) => None,
        Some(Value::String(s)) if s == "inf" => None,
        Some(n) => Some(number(n, "request_rate")?),
    };
    if let Some(b) = v.get("burstiness").filter(|b| !b.is_null()) {
        r.burstiness = number(b, "burstiness")?;
    }
    r.duration = v
        .get("duration")
        .map(|d| number(d, "duration"))
        .transpose()?
        .filter(|d| *d > 0.0);
    // Latencies under another tool's definitions are none of vLLM's: those of the requests count.
    let defined =
        ours.is_none_or(|c| c["metrics_as"] == MetricsAs::Vllm.name() || c["metrics_as"].is_null());
    for (k, value) in v.as_object().into_iter().flatten() {
        match known(k) {
            Some(metric) if defined || metric.latency().is_none() => {
                r.state(metric, value.as_f64())
            }
            Some(_) => {}
            None => served(k, value, &mut r),
        }
    }
    match ours {
        Some(c) => own(c, v, &mut r)?,
        None => details(v, &mut r)?,
    }
    Ok(r)
}

/// The metric that a key of the file holds. SGLang calls E2EL `e2e_latency`.
fn known(key: &str) -> Option<Metric> {
    if key == "total_throughput" {
        return Some(Metric::TotalThroughput);
    }
    let key = key.replace("e2e_latency", "e2el");
    let percentile = || {
        // Also of gaps that no simulation keeps: they are named as left out.
        let (statistic, latency) = key.strip_suffix("_ms")?.split_once('_')?;
        Some(Metric::Latency(
            latency.parse().ok()?,
            statistic.parse().ok()?,
        ))
    };
    let metric = key.parse::<Metric>().ok().or_else(percentile)?;
    (!matches!(metric, Metric::Completed | Metric::PrefixHitRate)).then_some(metric)
}

/// `vllm bench sweep serve` puts the server's settings beside a result's own keys, and so does --metadata.
fn served(key: &str, value: &Value, r: &mut Recording) {
    let Ok(place) = EngineSection::place(key) else {
        return;
    };
    let field = EngineSection::field(place);
    let text = match value {
        Value::String(s) => s.clone(),
        Value::Null | Value::Array(_) | Value::Object(_) => return,
        other => other.to_string(),
    };
    if let Ok(value) = field.parse(&text) {
        r.served.put(place, value);
    }
}

/// Without lists: requests of mean lengths, and the metrics as stated.
fn totals(v: &Value, r: &mut Recording) -> Result<(), Bad> {
    let count = number(&v["completed"], "completed")?;
    if !(1.0..super::MOST as f64).contains(&count) {
        return Err((
            "completed".into(),
            format!("{count} requests were answered: there is nothing to compare"),
        ));
    }
    let total = |key: &str| number(&v[key], key);
    r.of_means(
        count,
        total("total_input_tokens")? / count,
        total("total_output_tokens")? / count,
    )
}

/// The lists of `--save-detailed`.
fn details(v: &Value, r: &mut Recording) -> Result<(), Bad> {
    let Some(inputs) = list(v, "input_lens")? else {
        r.notes.push(format!("{MEAN_LENGTHS} (no --save-detailed)"));
        return totals(v, r);
    };
    let column = |key: &str| -> Result<Option<&Vec<Value>>, Bad> {
        match list(v, key)? {
            Some(l) if l.len() != inputs.len() => Err((
                key.into(),
                format!("has {} entries, input_lens {}", l.len(), inputs.len()),
            )),
            l => Ok(l),
        }
    };
    let outputs = column("output_lens")?
        .ok_or_else(|| ("output_lens".to_string(), "is missing".to_string()))?;
    let ttfts = column("ttfts")?;
    let itls = column("itls")?;
    let latencies = column("latencies")?;
    let starts = column("start_times")?;
    let errors = column("errors")?;
    let queues = column("queue_times")?;
    if latencies.is_none() && itls.is_none() {
        return Err((
            "latencies".into(),
            "is missing, and so are itls: there are no latencies".into(),
        ));
    }
    let mut empty = 0;
    for i in 0..inputs.len() {
        let at = |key: &str| format!("{key}[{i}]");
        let get = |l: Option<&Vec<Value>>, key: &str| -> Result<Option<f64>, Bad> {
            match l.map(|l| &l[i]) {
                None | Some(Value::Null) => Ok(None),
                Some(x) => number(x, &at(key)).map(Some),
            }
        };
        let mut q = Recorded {
            measured: true,
            input: tokens(&inputs[i], &at("input_lens"))?,
            output: tokens(&outputs[i], &at("output_lens"))?,
            ttft: get(ttfts, "ttfts")?,
            latency: get(latencies, "latencies")?,
            sent: get(starts, "start_times")?,
            held: get(queues, "queue_times")?.unwrap_or(0.0),
            ..Recorded::default()
        };
        if let Some(gaps) = itls {
            let gaps = gaps[i]
                .as_array()
                .ok_or_else(|| (at("itls"), "must be a list of gaps".to_string()))?;
            q.itls = gaps
                .iter()
                .map(|g| number(g, &at("itls")))
                .collect::<Result<_, _>>()?;
        }
        // 0.12 stores no latencies: the gaps reach from the first to the last chunk.
        if q.latency.is_none() {
            q.latency = q.ttft.map(|t| t + q.itls.iter().sum::<f64>());
        }
        let error = errors.map(|l| l[i].as_str().is_some_and(|e| !e.is_empty()));
        q.ok = match error {
            Some(error) => !error,
            None => q.output > 0 && q.latency.is_some_and(|l| l > 0.0),
        };
        // vLLM up to 0.6 stores an answer whose first token ended the sequence as empty, with no times.
        if q.ok && q.output == 0 {
            empty += 1;
            q.output = 1;
            (q.ttft, q.latency) = (None, None);
        }
        r.requests.push(q);
    }
    if empty > 0 {
        r.notes.push(format!(
            "{empty} answers ended with their first token and were stored without times: they are simulated and in the counts, in no latency"
        ));
    }
    r.streamed = r
        .requests
        .iter()
        .any(|q| q.ok && (q.output <= 1 || !q.itls.is_empty()));
    if r.duration.is_none() {
        r.duration = span(r);
    }
    if starts.is_none() {
        r.notes.push(
            "send times were not stored (vllm bench serve before 0.32): an open loop's are drawn anew from --seed".into(),
        );
    }
    Ok(())
}

fn span(r: &Recording) -> Option<f64> {
    let begin = r
        .answered()
        .filter_map(|q| q.sent)
        .fold(f64::INFINITY, f64::min);
    let end = r
        .answered()
        .filter_map(|q| Some(q.sent? + q.latency?))
        .fold(f64::NEG_INFINITY, f64::max);
    (end > begin).then_some(end - begin)
}

/// The `capsim` object.
fn own(c: &Value, v: &Value, r: &mut Recording) -> Result<(), Bad> {
    match c["schema"].as_str() {
        Some(s) if s == crate::bench::result::SCHEMA => {}
        _ => {
            return Err((
                "capsim.schema".into(),
                format!("must be \"{}\"", crate::bench::result::SCHEMA),
            ));
        }
    }
    let field = |name: &str| format!("capsim.{name}");
    r.temperature = c["temperature"].as_f64();
    r.streamed = c["stream"].as_bool().unwrap_or(true);
    r.spec = Some(
        serde_path_to_error::deserialize(&c["workload"]).map_err(|e| {
            (
                field(&format!("workload.{}", e.path())),
                e.inner().to_string(),
            )
        })?,
    );
    r.server = ServerInfo::deserialize_value(&c["server"]).map_err(|e| (field("server"), e))?;
    r.series = serde_json::from_value::<Vec<Sample>>(c["series"].clone())
        .map_err(|e| (field("series"), e.to_string()))?;
    r.deltas = serde_json::from_value(c["metrics_delta"].clone())
        .map_err(|e| (field("metrics_delta"), e.to_string()))?;
    if c["partial"] == true {
        r.notes
            .push("the run was interrupted: figures are of a part".into());
    }
    for note in c["remarks"].as_array().into_iter().flatten() {
        r.notes.extend(note.as_str().map(String::from));
    }
    let rows = c["requests"]
        .as_array()
        .ok_or_else(|| (field("requests"), "must be a list".to_string()))?;
    let gaps = list(v, "itls")?;
    let mut measured = 0;
    for (i, row) in rows.iter().enumerate() {
        let at = |key: &str| field(&format!("requests[{i}].{key}"));
        let time = |key: &str| match row.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(x) => number(x, &at(key)).map(Some),
        };
        let need = |key: &str| time(key)?.ok_or_else(|| (at(key), "is missing".to_string()));
        let sent = need("sent")?;
        let ok = row["failure"].is_null();
        let mut q = Recorded {
            measured: row["measured"].as_bool().unwrap_or(true),
            ok,
            sent: Some(sent),
            input: tokens(&row["input_len"], &at("input_len"))?,
            output: tokens(
                &row[if ok { "output_len" } else { "max_tokens" }],
                &at("output_len"),
            )?,
            ttft: time("first_token")?.map(|t| t - sent),
            latency: time("last_token")?.map(|t| t - sent),
            held: need("released")? - need("intended")?,
            prompt: segments(&row["prompt"]).map_err(|e| (at("prompt"), e))?,
            answer: row["answer"].as_u64().map(StreamId),
            ..Recorded::default()
        };
        if q.measured {
            if let Some(g) = gaps.and_then(|g| g.get(measured)).and_then(Value::as_array) {
                q.itls = g
                    .iter()
                    .map(|x| number(x, "itls"))
                    .collect::<Result<_, _>>()?;
            }
            measured += 1;
        }
        r.requests.push(q);
    }
    Ok(())
}

impl ServerInfo {
    fn deserialize_value(v: &Value) -> Result<Self, String> {
        serde_json::from_value(v.clone()).map_err(|e| e.to_string())
    }
}

fn segments(v: &Value) -> Result<Option<Prompt>, String> {
    if v.is_null() {
        return Ok(None);
    }
    let rows: Vec<(u64, u32, u32)> =
        serde_json::from_value(v.clone()).map_err(|e| e.to_string())?;
    let all: u64 = rows.iter().map(|(_, _, len)| u64::from(*len)).sum();
    if all > super::LONGEST as u64 {
        return Err("more than 2^24 tokens".into());
    }
    Ok(Some(Prompt::new(rows.into_iter().map(
        |(stream, start, len)| Segment {
            stream: StreamId(stream),
            start,
            len,
        },
    ))))
}
