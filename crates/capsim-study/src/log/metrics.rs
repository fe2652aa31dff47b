//! Dumps of `/metrics`, one or several after another: vLLM's (`vllm:`), SGLang's (`sglang:`) and llama-server's (`llamacpp:`) gauges as a
//! moment each.
use super::{Moment, ServerLog, between, say};
use capsim::device::EngineId;

/// A gauge, and the field of a moment that it is.
type Gauge = (&'static str, fn(&mut Moment) -> &mut Option<f64>);

const GAUGES: [Gauge; 12] = [
    ("vllm:num_requests_running", |m| &mut m.running),
    ("vllm:num_requests_waiting", |m| &mut m.waiting),
    ("vllm:kv_cache_usage_perc", |m| &mut m.kv),
    ("vllm:gpu_cache_usage_perc", |m| &mut m.kv),
    ("sglang:num_running_reqs", |m| &mut m.running),
    ("sglang:num_queue_reqs", |m| &mut m.waiting),
    ("sglang:token_usage", |m| &mut m.kv),
    ("sglang:gen_throughput", |m| &mut m.generation),
    ("llamacpp:requests_processing", |m| &mut m.running),
    ("llamacpp:requests_deferred", |m| &mut m.waiting),
    ("llamacpp:kv_cache_usage_ratio", |m| &mut m.kv),
    ("llamacpp:predicted_tokens_seconds", |m| &mut m.generation),
];

/// Settings that `vllm:cache_config_info` has as labels, and their flags.
const LABELS: [(&str, &str); 3] = [
    ("block_size", "--block-size"),
    ("gpu_memory_utilization", "--gpu-memory-utilization"),
    ("kv_cache_dtype", "--kv-cache-dtype"),
];

/// What a line tells; whether it is one of such a dump.
pub(super) fn take(log: &mut ServerLog, n: usize, text: &str) -> bool {
    let text = text.trim();
    let engine = match text.split(':').next() {
        Some("vllm") => EngineId::Vllm,
        Some("sglang") => EngineId::Sglang,
        Some("llamacpp") => EngineId::LlamaServer,
        _ => return false,
    };
    let Some((series, value)) = text.rsplit_once(' ') else {
        return false;
    };
    let name = series.split('{').next().unwrap_or(series);
    let Ok(value) = value.parse::<f64>() else {
        return false;
    };
    let label = |key: &str| {
        between(series, &format!("{key}=\""), &['"']).filter(|v| !v.is_empty() && *v != "None")
    };
    if let Some(model) = label("model_name")
        && log.model.is_none()
    {
        say(&mut log.model, n, Some(model.to_string()));
    }
    log.engine(engine);
    if name == "vllm:cache_config_info" {
        for (key, flag) in LABELS {
            if let Some(v) = label(key).filter(|v| *v != "auto")
                && !log.arguments.iter().any(|w| w == flag)
            {
                log.arguments.extend([flag.to_string(), v.to_string()]);
            }
        }
        let count = |key| label(key).and_then(|v| v.parse::<f64>().ok());
        say(
            &mut log.kv_tokens,
            n,
            count("num_gpu_blocks")
                .zip(count("block_size"))
                .map(|(b, s)| b * s),
        );
        return true;
    }
    if name == "vllm:num_preemptions_total" {
        log.preemptions += usize::from(value > 0.0);
        return true;
    }
    let Some((_, field)) = GAUGES.iter().find(|(g, _)| *g == name) else {
        return false;
    };
    // The first gauge, or one that was already told, begins another dump.
    let again = log.moments.last_mut().is_none_or(|m| field(m).is_some());
    if again {
        log.moments.push(Moment {
            line: n,
            ..Moment::default()
        });
    }
    if let Some(m) = log.moments.last_mut() {
        *field(m) = Some(value);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::super::ServerLog;

    #[test]
    fn every_dump_is_a_moment() {
        let one = "# TYPE vllm:num_requests_running gauge\n\
            vllm:num_requests_running{engine=\"0\",model_name=\"Qwen/Qwen3-8B\"} 16.0\n\
            vllm:num_requests_waiting{engine=\"0\",model_name=\"Qwen/Qwen3-8B\"} 3.0\n\
            vllm:kv_cache_usage_perc{engine=\"0\",model_name=\"Qwen/Qwen3-8B\"} 0.974\n\
            vllm:cache_config_info{block_size=\"16\",gpu_memory_utilization=\"0.9\",num_gpu_blocks=\"2237\"} 1.0\n";
        let log = ServerLog::read(&[one, one].concat()).unwrap();
        assert_eq!(log.moments.len(), 2);
        assert_eq!(
            (
                log.moments[1].running,
                log.moments[1].waiting,
                log.moments[1].kv
            ),
            (Some(16.0), Some(3.0), Some(0.974))
        );
        assert_eq!(
            (
                log.model.unwrap().value.as_str(),
                log.kv_tokens.unwrap().value
            ),
            ("Qwen/Qwen3-8B", 35_792.0)
        );
        assert_eq!(
            log.arguments,
            ["--block-size", "16", "--gpu-memory-utilization", "0.9"]
        );
        let llama = "llamacpp:predicted_tokens_seconds 45.2\nllamacpp:requests_processing 2\nllamacpp:requests_deferred 1\n";
        assert_eq!(
            ServerLog::read(llama).unwrap().moments[0].waiting,
            Some(1.0)
        );
    }
}
