//! SGLang's lines.
use super::{Moment, ServerLog, between, gib, number, say};
use capsim::device::EngineId;

/// Arguments that a prediction depends on, as they are written in `ServerArgs(…)` and as flags.
const ARGUMENTS: &[&str] = &[
    "tp_size",
    "dp_size",
    "context_length",
    "mem_fraction_static",
    "max_running_requests",
    "max_total_tokens",
    "chunked_prefill_size",
    "max_prefill_tokens",
    "kv_cache_dtype",
    "schedule_policy",
    "quantization",
];

/// What a line tells; whether it is one of SGLang's that is read.
pub(super) fn take(log: &mut ServerLog, n: usize, text: &str) -> bool {
    let known = start(log, n, text) || memory(log, n, text) || periodic(log, n, text);
    if known {
        log.engine(EngineId::Sglang);
    }
    known
}

fn start(log: &mut ServerLog, n: usize, text: &str) -> bool {
    let Some((_, rest)) = text.split_once("ServerArgs(") else {
        return false;
    };
    if let Some(model) = between(rest, "model_path='", &['\'']) {
        say(&mut log.model, n, Some(model.to_string()));
    }
    let mut words = vec![];
    for name in ARGUMENTS {
        let value = between(rest, &format!("{name}="), &[',', ')']).map(|v| v.trim_matches('\''));
        if let Some(value) = value.filter(|v| !matches!(*v, "None" | "auto" | "" | "-1")) {
            words.extend([format!("--{}", name.replace('_', "-")), value.to_string()]);
        }
    }
    for name in ["disable_radix_cache", "disable_cuda_graph"] {
        if rest.contains(&format!("{name}=True")) {
            words.push(format!("--{}", name.replace('_', "-")));
        }
    }
    log.arguments = words;
    log.arguments_line = Some(n);
    true
}

fn memory(log: &mut ServerLog, n: usize, text: &str) -> bool {
    if text.contains("Load weight end.") {
        return say(&mut log.weights, n, gib(text, "mem usage="));
    }
    if text.contains("KV Cache is allocated.") {
        let (k, v) = (gib(text, "K size:"), gib(text, "V size:"));
        let size = k
            .zip(v)
            .map(|(k, v)| k + v)
            .or_else(|| gib(text, "KV size:"));
        let told = say(&mut log.kv_cache, n, size);
        return say(&mut log.kv_tokens, n, number(text, "#tokens:")) || told;
    }
    if text.contains("max_total_num_tokens=") {
        say(&mut log.kv_tokens, n, number(text, "max_total_num_tokens="));
        say(
            &mut log.max_num_batched_tokens,
            n,
            number(text, "chunked_prefill_size=").filter(|v| *v > 0.0),
        );
        say(
            &mut log.max_num_seqs,
            n,
            number(text, "max_running_requests="),
        );
        say(&mut log.max_model_len, n, number(text, "context_len="));
        return true;
    }
    if text.contains("Capture cuda graph end.") {
        return say(&mut log.graphs, n, gib(text, "mem usage="));
    }
    if text.contains("KV cache pool is full. Retract requests")
        || text.contains("Decode out of memory happened")
    {
        log.preemptions += 1;
        return true;
    }
    false
}

fn periodic(log: &mut ServerLog, n: usize, text: &str) -> bool {
    let decode = text.contains("Decode batch");
    if !decode && !text.contains("Prefill batch") || !text.contains("#running-req:") {
        return false;
    }
    log.moments.push(Moment {
        line: n,
        prompt: None,
        generation: number(text, "gen throughput (token/s):").filter(|_| decode),
        running: number(text, "#running-req:"),
        waiting: number(text, "#queue-req:"),
        kv: number(text, "token usage:"),
        hits: None,
    });
    true
}

#[cfg(test)]
mod tests {
    use super::super::ServerLog;

    /// In the form of SGLang 0.4.6 to 0.5.
    const LOG: &str = "\
[2026-06-01 10:00:00] server_args=ServerArgs(model_path='meta-llama/Llama-3.1-8B-Instruct', tokenizer_mode='auto', tp_size=2, mem_fraction_static=0.88, max_running_requests=None, disable_radix_cache=True)
[2026-06-01 10:00:30 TP0] Load weight end. type=LlamaForCausalLM, dtype=torch.bfloat16, avail mem=70.10 GB, mem usage=7.51 GB.
[2026-06-01 10:00:31 TP0] KV Cache is allocated. #tokens: 912345, K size: 27.84 GB, V size: 27.84 GB
[2026-06-01 10:00:50 TP0] Capture cuda graph end. Time elapsed: 18.33 s. mem usage=1.20 GB. avail mem=8.31 GB.
[2026-06-01 10:00:51 TP0] max_total_num_tokens=912345, chunked_prefill_size=8192, max_prefill_tokens=16384, max_running_requests=4096, context_len=131072
[2026-06-01 10:02:00 TP0] Prefill batch. #new-seq: 4, #new-token: 2048, #cached-token: 0, token usage: 0.11, #running-req: 28, #queue-req: 2,
[2026-06-01 10:02:01 TP0] Decode batch. #running-req: 32, #token: 100358, token usage: 0.11, cuda graph: True, gen throughput (token/s): 2954.31, #queue-req: 0,
";

    #[test]
    fn a_start_and_batches_are_read() {
        let log = ServerLog::read(LOG).unwrap();
        assert_eq!(
            log.arguments,
            [
                "--tp-size",
                "2",
                "--mem-fraction-static",
                "0.88",
                "--disable-radix-cache"
            ]
        );
        assert_eq!(log.weights.unwrap().value, 7.51);
        assert_eq!(log.kv_cache.unwrap().value, 55.68);
        assert_eq!(log.kv_tokens.unwrap().value, 912_345.0);
        assert_eq!(
            (
                log.moments.len(),
                log.moments[0].waiting,
                log.moments[1].generation
            ),
            (2, Some(2.0), Some(2954.31))
        );
        assert_eq!(log.max_num_seqs.unwrap().value, 4096.0);
    }
}
