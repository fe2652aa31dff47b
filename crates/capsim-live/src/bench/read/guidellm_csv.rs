//! GuideLLM's `benchmarks.csv` as its JSON: up to 0.3 one header line (src/guidellm/benchmark/output.py: `Successful Request latency mean`),
//! since 0.4 three (benchmark/outputs/csv.py: group, field, statistic). Percentiles stand in one cell as a list.
use super::Bad;
use serde_json::{Map, Value, json};

/// What the list of percentiles holds, in order.
const PERCENTILES: [&str; 11] = [
    "min", "p001", "p01", "p05", "p10", "p25", "p75", "p90", "p95", "p99", "max",
];

/// Metrics by the words of either header.
const METRICS: [(&str, &str); 14] = [
    ("Requests per second", "requests_per_second"),
    ("Request latency", "request_latency"),
    ("Prompt token count", "prompt_token_count"),
    ("Output token count", "output_token_count"),
    ("Time to first token ms", "time_to_first_token_ms"),
    ("Inter token latency ms", "inter_token_latency_ms"),
    ("Output tokens per second", "output_tokens_per_second"),
    (
        "Server Throughput|Successful Requests/Sec",
        "requests_per_second",
    ),
    ("Request Latency|Successful Sec", "request_latency"),
    (
        "Token Metrics|Successful Input Tokens",
        "prompt_token_count",
    ),
    (
        "Token Metrics|Successful Output Tokens",
        "output_token_count",
    ),
    (
        "Time to First Token|Successful ms",
        "time_to_first_token_ms",
    ),
    (
        "Inter Token Latency|Successful ms",
        "inter_token_latency_ms",
    ),
    (
        "Token Throughput|Successful Output Tokens/Sec",
        "output_tokens_per_second",
    ),
];

pub(super) fn is(first_line: &str) -> bool {
    first_line.contains("Successful Requests") || first_line.starts_with("Run Info,")
}

/// Name of a column: in one line, or of group and field with the statistic behind.
fn column(rows: &[csv::StringRecord], i: usize) -> (String, String) {
    let cell = |r: usize| {
        rows.get(r)
            .and_then(|row| row.get(i))
            .unwrap_or_default()
            .trim()
    };
    if rows.len() > 1 {
        return (
            format!("{}|{}", cell(0), cell(1)),
            cell(2).to_ascii_lowercase(),
        );
    }
    let text = cell(0);
    let text = text.strip_prefix("Successful ").unwrap_or(text);
    for statistic in ["mean", "median", "std dev"] {
        if let Some(name) = text.strip_suffix(statistic) {
            return (name.trim().into(), statistic.into());
        }
    }
    match text.split_once('[') {
        Some((name, _)) => (name.trim().into(), "percentiles".into()),
        None => (text.into(), String::new()),
    }
}

/// Statistics of a cell: a number, or a list of percentiles.
fn statistics(statistic: &str, cell: &str, into: &mut Map<String, Value>) {
    if statistic == "percentiles" {
        let list = cell.trim().trim_start_matches('[').trim_end_matches(']');
        for (name, value) in PERCENTILES.iter().zip(list.split(',')) {
            if let Ok(v) = value.trim().parse::<f64>() {
                into.insert((*name).into(), json!(v));
            }
        }
    } else if let Ok(v) = cell.trim().parse::<f64>() {
        into.insert(statistic.replace(' ', "_"), json!(v));
    }
}

/// `constant@1.55`, `concurrent@4`, `synchronous`.
fn strategy(text: &str) -> Value {
    let (kind, rate) = text.trim().split_once('@').unwrap_or((text.trim(), ""));
    let rate: Option<f64> = rate.trim().parse().ok();
    match kind {
        "concurrent" => json!({"type_": kind, "streams": rate.map(|r| r as u64)}),
        _ => json!({"type_": kind, "rate": rate}),
    }
}

/// The JSON that holds the same.
pub(super) fn json(text: &str) -> Result<Value, Bad> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(text.as_bytes());
    let rows = reader
        .records()
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| ("(the whole file)".to_string(), e.to_string()))?;
    let lines = if text.starts_with("Run Info,") { 3 } else { 1 };
    let (header, rows) = rows.split_at(lines.min(rows.len()));
    let all: Vec<Value> = rows
        .iter()
        .map(|row| {
            let mut metrics: Map<String, Value> = Map::new();
            let mut b = json!({"request_totals": {}, "requests": {}});
            for (i, cell) in row.iter().enumerate() {
                let (name, statistic) = column(header, i);
                let number = cell.trim().parse::<f64>().ok();
                match name.as_str() {
                    "Requests" | "Request Counts|Successful" => {
                        b["request_totals"]["successful"] = json!(number)
                    }
                    "Duration" | "Timings|Duration" => b["duration"] = json!(number),
                    "Name" | "Benchmark|Strategy" => b["config"]["strategy"] = strategy(cell),
                    _ => {
                        if let Some((_, key)) = METRICS.iter().find(|(n, _)| *n == name)
                            && let Value::Object(m) = metrics
                                .entry(*key)
                                .or_insert_with(|| json!({"successful": {}}))["successful"]
                                .take()
                        {
                            let mut m = m;
                            statistics(&statistic, cell, &mut m);
                            metrics[*key]["successful"] = Value::Object(m);
                        }
                    }
                }
            }
            b["metrics"] = Value::Object(metrics);
            b
        })
        .collect();
    Ok(json!({ "benchmarks": all }))
}

#[cfg(test)]
mod tests {
    use super::super::guidellm;

    #[test]
    fn both_headers_give_the_same_figures() {
        let old = "Type,Run Id,Id,Name,Start Time,End Time,Duration,Successful Requests,Successful Requests per second mean,Successful Request latency mean,\
            Successful Prompt token count mean,Successful Output token count mean,Successful Time to first token ms mean,Successful Time to first token ms median,\
            \"Successful Time to first token ms [min, 0.1, 1, 5, 10, 25, 75, 90, 95, 99, max]\",Incomplete Requests\n\
            generative_benchmark,r,i,concurrent@4,x,y,30.0,46,1.5,0.644,256,128,16.79,16.4,\"[15, 15, 15, 15, 16, 16, 17, 18, 18, 19, 20]\",1\n";
        let new = "Run Info,Benchmark,Timings,Request Counts,Server Throughput,Request Latency,Token Metrics,Token Metrics,Time to First Token,Time to First Token,Time to First Token\n\
            Run ID,Strategy,Duration,Successful,Successful Requests/Sec,Successful Sec,Successful Input Tokens,Successful Output Tokens,Successful ms,Successful ms,Successful ms\n\
            ,,Sec,,Mean,Mean,Mean,Mean,Mean,Median,Percentiles\n\
            r,synchronous,30.0,46,1.5,0.644,256,128,16.79,16.4,\"[15, 15, 15, 15, 16, 16, 17, 18, 18, 19, 20]\"\n";
        let mut reported = vec![];
        for (text, clients) in [(old, 4), (new, 1)] {
            let all = guidellm::read(&super::json(text).unwrap()).unwrap();
            let r = &all[0];
            assert_eq!(
                (all.len(), r.requests.len(), r.max_concurrency),
                (1, 46, Some(clients))
            );
            assert_eq!((r.requests[0].input, r.requests[0].output), (256, 128));
            reported.push(r.reported.clone());
        }
        assert_eq!(reported[0], reported[1]);
        let of = |name: &str| {
            reported[0]
                .iter()
                .find(|(k, _)| k.as_str() == name)
                .map(|(_, v)| *v)
        };
        assert_eq!(
            (of("mean_ttft_ms"), of("p99_ttft_ms"), of("mean_e2el_ms")),
            (Some(16.79), Some(19.0), Some(644.0))
        );
    }
}
