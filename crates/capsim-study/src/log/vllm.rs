//! vLLM's lines.
use super::{Moment, ServerLog, between, gib, number, say};
use capsim::device::EngineId;

/// What a line tells; whether it is one of vLLM's that is read.
pub(super) fn take(log: &mut ServerLog, n: usize, text: &str) -> bool {
    let known = start(log, n, text) || memory(log, n, text) || periodic(log, n, text);
    if known {
        log.engine(EngineId::Vllm);
    }
    known
}

fn start(log: &mut ServerLog, n: usize, text: &str) -> bool {
    if text.contains("vLLM API server version")
        || text.contains("vLLM engine (v")
        || text.contains("LLM engine (v")
    {
        let version =
            between(text, "API server version", &[' ', ',', ')']).filter(|v| !v.is_empty());
        let version = version.or_else(|| {
            text.split_once("API server version")
                .and_then(|(_, r)| r.split_whitespace().next())
        });
        let version = version.or_else(|| between(text, "engine (v", &[')']));
        say(&mut log.version, n, version.map(String::from));
        if let Some(model) = between(text, "model='", &['\''])
            .or_else(|| between(text, "model=", &[',', ' ']).map(|m| m.trim_matches('\'')))
        {
            say(&mut log.model, n, Some(model.to_string()));
        }
        say(&mut log.max_model_len, n, number(text, "max_seq_len="));
        // The arguments say it better, where they were logged.
        if log.arguments_line.is_none()
            && let Some((_, rest)) = text.split_once("config:")
        {
            let before = log.model.clone();
            named(log, n, rest);
            log.arguments_line = None;
            log.model = before.or(log.model.take());
        }
        return true;
    }
    if let Some((_, rest)) = text.split_once("args: Namespace(") {
        named(log, n, rest);
        return true;
    }
    if let Some((_, rest)) = text.split_once("non-default args:") {
        arguments(log, n, rest);
        return true;
    }
    if text.contains(" is enabled with max_num_batched_tokens=") {
        return say(
            &mut log.max_num_batched_tokens,
            n,
            number(text, "max_num_batched_tokens="),
        );
    }
    false
}

/// Arguments that a prediction depends on, as an engine's configuration and older releases' `Namespace(…)` write them.
const NAMES: [&str; 13] = [
    "tensor_parallel_size",
    "data_parallel_size",
    "pipeline_parallel_size",
    "max_model_len",
    "max_seq_len",
    "gpu_memory_utilization",
    "max_num_seqs",
    "max_num_batched_tokens",
    "block_size",
    "kv_cache_dtype",
    "quantization",
    "enforce_eager",
    "enable_prefix_caching",
];

/// `name=value` pairs with other values than the defaults of every release.
fn named(log: &mut ServerLog, n: usize, rest: &str) {
    if let Some(model) = between(rest, "model='", &['\'']).filter(|m| !m.is_empty()) {
        say(&mut log.model, n, Some(model.to_string()));
    }
    let mut words: Vec<String> = vec![];
    for name in NAMES {
        // Not the end of a longer name.
        let found = rest.match_indices(&format!("{name}=")).find(|(i, _)| {
            rest[..*i]
                .chars()
                .next_back()
                .is_none_or(|c| !c.is_alphanumeric() && c != '_')
        });
        let Some((i, key)) = found else { continue };
        let value = rest[i + key.len()..]
            .split([',', ')', ' '])
            .next()
            .unwrap_or_default()
            .trim_matches('\'');
        let flag = match name {
            "max_seq_len" => "--max-model-len".to_string(),
            other => format!("--{}", other.replace('_', "-")),
        };
        if words.contains(&flag) {
            continue;
        }
        match value {
            "" | "None" | "auto" | "False" => {}
            "1" if name.ends_with("parallel_size") => {}
            "True" => words.push(flag),
            value => words.extend([flag, value.to_string()]),
        }
    }
    log.arguments = words;
    log.arguments_line = Some(n);
}

/// The dictionary of arguments that differ from their defaults, as words of `vllm serve`.
fn arguments(log: &mut ServerLog, n: usize, rest: &str) {
    let mut words = vec![];
    for (key, value) in pairs(rest.trim().trim_start_matches('{').trim_end_matches('}')) {
        let flag = format!("--{}", key.replace('_', "-"));
        match (key.as_str(), value.as_str()) {
            ("model" | "model_tag", model) => {
                say(&mut log.model, n, Some(model.to_string()));
            }
            (_, "None") => {}
            ("speculative_config", value) => words.extend([flag, json(value)]),
            (_, "True") => words.push(flag),
            (_, "False") => words.push(format!("--no-{}", key.replace('_', "-"))),
            (_, value) if value.starts_with(['[', '{', '<']) => {
                // Names and lists of plugins change nothing that is simulated; the rest may.
                if !matches!(
                    key.as_str(),
                    "served_model_name"
                        | "allowed_origins"
                        | "middleware"
                        | "lora_modules"
                        | "api_key"
                ) {
                    log.left_out
                        .push(format!("--{} {value}", key.replace('_', "-")));
                }
            }
            (_, value) => words.extend([flag, value.to_string()]),
        }
    }
    log.arguments = words;
    log.arguments_line = Some(n);
}

/// A Python dictionary of plain values as JSON.
fn json(text: &str) -> String {
    let all = pairs(text.trim().trim_start_matches('{').trim_end_matches('}'));
    let value = |v: &str| match v {
        "None" => "null".to_string(),
        "True" | "False" => v.to_lowercase(),
        v if v.parse::<f64>().is_ok() || v.starts_with('[') => v.into(),
        v => format!("{v:?}"),
    };
    let pair = |(k, v): &(String, String)| format!("{k:?}: {}", value(v));
    let words: Vec<String> = all.iter().map(pair).collect();
    format!("{{{}}}", words.join(", "))
}

/// `'key': value` pairs of a Python dictionary; what is nested stays one value.
fn pairs(text: &str) -> Vec<(String, String)> {
    let mut all = vec![];
    let (mut depth, mut quote, mut begin) = (0i32, None, 0);
    let mut parts = vec![];
    for (i, c) in text.char_indices() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '{' | '[' | '(' | '<') => depth += 1,
            (None, '}' | ']' | ')' | '>') => depth -= 1,
            (None, ',') if depth <= 0 => {
                parts.push(&text[begin..i]);
                begin = i + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[begin..]);
    for part in parts {
        if let Some((key, value)) = part.split_once(':') {
            let bare = |t: &str| t.trim().trim_matches(['\'', '"']).to_string();
            if !bare(key).is_empty() {
                all.push((bare(key), bare(value)));
            }
        }
    }
    all
}

fn memory(log: &mut ServerLog, n: usize, text: &str) -> bool {
    if text.contains("Model loading took") {
        return say(&mut log.weights, n, gib(text, "Model loading took"));
    }
    if text.contains("Loading model weights took") {
        return say(&mut log.weights, n, gib(text, "Loading model weights took"));
    }
    // 0.7 told all parts in one line.
    if text.contains("model weights take") && text.contains("reserved for KV Cache is") {
        say(&mut log.weights, n, gib(text, "model weights take"));
        return say(&mut log.kv_cache, n, gib(text, "reserved for KV Cache is"));
    }
    if text.contains("Maximum concurrency for") {
        return say(
            &mut log.max_model_len,
            n,
            number(text, "Maximum concurrency for"),
        );
    }
    if text.contains("Available KV cache memory:") {
        return say(
            &mut log.kv_cache,
            n,
            gib(text, "Available KV cache memory:"),
        );
    }
    if text.contains("GPU KV cache size:") {
        return say(&mut log.kv_tokens, n, number(text, "GPU KV cache size:"));
    }
    if text.contains("# GPU blocks:") {
        // Releases before 0.8 tell blocks of 16 tokens.
        let blocks = number(text, "# GPU blocks:");
        return say(&mut log.kv_tokens, n, blocks.map(|b| 16.0 * b));
    }
    if text.contains("Graph capturing finished") {
        return say(&mut log.graphs, n, gib(text, "took"));
    }
    if text.contains("is preempted by") || text.contains("Preempted request") {
        log.preemptions += 1;
        return true;
    }
    false
}

fn periodic(log: &mut ServerLog, n: usize, text: &str) -> bool {
    if !text.contains("Avg prompt throughput:") {
        return false;
    }
    let share = |before: &str| number(text, before).map(|p| p / 100.0);
    log.moments.push(Moment {
        line: n,
        prompt: number(text, "Avg prompt throughput:"),
        generation: number(text, "Avg generation throughput:"),
        running: number(text, "Running:"),
        waiting: number(text, "Waiting:").or_else(|| number(text, "Pending:")),
        kv: share("GPU KV cache usage:"),
        hits: share("Prefix cache hit rate:"),
    });
    true
}

#[cfg(test)]
mod tests {
    use super::super::ServerLog;

    /// Lines of vLLM 0.27.1 and 0.11 as public logs have them, the pid's prefix included.
    const LOG: &str = "\
(APIServer pid=1) INFO 08-18 02:10:11 [utils.py:233] non-default args: {'model_tag': 'Qwen/Qwen3-8B', 'model': 'Qwen/Qwen3-8B', 'max_model_len': 8192, 'gpu_memory_utilization': 0.95, 'enable_prefix_caching': False, 'compilation_config': {'level': 3, 'mode': 'a, b'}, 'served_model_name': ['q']}
(EngineCore pid=9) INFO 08-18 02:10:20 [core.py:77] Initializing a V1 LLM engine (v0.27.1) with config: model='Qwen/Qwen3-8B', speculative_config=None, max_seq_len=8192, tensor_parallel_size=1
(EngineCore pid=9) INFO 08-18 02:11:00 [model_runner.py:329] Model loading took 15.27 GiB and 36.382166 seconds
(EngineCore pid=9) INFO 08-18 02:11:40 [gpu_worker.py:563] Available KV cache memory: 4.92 GiB
(EngineCore pid=9) INFO 08-18 02:11:40 [kv_cache_utils.py:2235] GPU KV cache size: 35,792 tokens
(EngineCore pid=9) INFO 08-18 02:11:50 [model_runner.py:791] Graph capturing finished in 6 secs, took 0.56 GiB
(APIServer pid=1) INFO 08-18 02:13:00 [loggers.py:208] Engine 000: Avg prompt throughput: 1229.2 tokens/s, Avg generation throughput: 510.3 tokens/s, Running: 16 reqs, Waiting: 3 reqs, GPU KV cache usage: 97.4%, Prefix cache hit rate: 12.5%
";

    /// Lines of vLLM 0.6.3 in the form of public logs.
    const OLD: &str = "\
INFO 10-20 07:00:01 api_server.py:528] vLLM API server version 0.6.3.post1
INFO 10-20 07:00:01 api_server.py:529] args: Namespace(host=None, port=8000, model='Qwen/Qwen2.5-7B-Instruct', tensor_parallel_size=2, max_model_len=16384, gpu_memory_utilization=0.95, max_num_seqs=256, quantization=None, enforce_eager=False, enable_prefix_caching=True)
INFO 10-20 07:00:05 llm_engine.py:237] Initializing an LLM engine (v0.6.3.post1) with config: model='Qwen/Qwen2.5-7B-Instruct', max_seq_len=16384, tensor_parallel_size=2
INFO 10-20 07:00:30 model_runner.py:1067] Loading model weights took 7.1216 GB
INFO 10-20 07:00:35 distributed_gpu_executor.py:57] # GPU blocks: 81234, # CPU blocks: 9362
INFO 10-20 07:01:35 metrics.py:345] Avg prompt throughput: 112.1 tokens/s, Avg generation throughput: 99.0 tokens/s, Running: 4 reqs, Swapped: 0 reqs, Pending: 1 reqs, GPU KV cache usage: 1.5%, CPU KV cache usage: 0.0%.
";

    #[test]
    fn older_releases_are_read() {
        let log = ServerLog::read(OLD).unwrap();
        assert_eq!(log.version.unwrap().value, "0.6.3.post1");
        assert_eq!(
            log.arguments,
            [
                "--tensor-parallel-size",
                "2",
                "--max-model-len",
                "16384",
                "--gpu-memory-utilization",
                "0.95",
                "--max-num-seqs",
                "256",
                "--enable-prefix-caching"
            ]
        );
        assert_eq!(
            (log.weights.unwrap().value, log.kv_tokens.unwrap().value),
            (7.1216, 1_299_744.0)
        );
        assert_eq!(
            (log.moments[0].waiting, log.moments[0].kv),
            (Some(1.0), Some(0.015))
        );
    }

    #[test]
    fn a_start_and_a_moment_are_read() {
        let log = ServerLog::read(LOG).unwrap();
        assert_eq!(log.model.as_ref().unwrap().value, "Qwen/Qwen3-8B");
        assert_eq!(log.version.as_ref().unwrap().value, "0.27.1");
        assert_eq!(
            log.arguments,
            [
                "--max-model-len",
                "8192",
                "--gpu-memory-utilization",
                "0.95",
                "--no-enable-prefix-caching"
            ]
        );
        let gib = |s: &Option<super::super::Said<f64>>| s.as_ref().map(|s| (s.value, s.line));
        assert!(
            log.left_out.len() == 1 && log.left_out[0].starts_with("--compilation-config"),
            "{:?}",
            log.left_out
        );
        assert_eq!(gib(&log.weights), Some((15.27, 3)));
        assert_eq!(gib(&log.kv_cache), Some((4.92, 4)));
        assert_eq!(gib(&log.kv_tokens), Some((35_792.0, 5)));
        assert_eq!(gib(&log.graphs), Some((0.56, 6)));
        let m = log.moments[0];
        assert_eq!(
            (m.line, m.running, m.waiting, m.generation),
            (7, Some(16.0), Some(3.0), Some(510.3))
        );
        assert!((m.kv.unwrap() - 0.974).abs() < 1e-12 && (m.hits.unwrap() - 0.125).abs() < 1e-12);
        // The same behind journald's prefix and in Docker's JSON.
        let journal: String = LOG
            .lines()
            .map(|l| format!("Aug 18 02:10:11 box vllm[77]: {l}\n"))
            .collect();
        let docker: String = LOG
            .lines()
            .map(|l| {
                serde_json::json!({"log": format!("{l}\n"), "stream": "stderr"}).to_string() + "\n"
            })
            .collect();
        for text in [journal, docker] {
            assert_eq!(ServerLog::read(&text).unwrap(), log, "{text}");
        }
    }
}
