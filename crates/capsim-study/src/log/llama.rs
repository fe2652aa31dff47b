//! llama-server's lines.
use super::{Moment, ServerLog, gib, number, say};
use capsim::device::EngineId;

/// What a line tells; whether it is one of llama-server's that is read.
pub(super) fn take(log: &mut ServerLog, n: usize, text: &str) -> bool {
    let known = start(log, n, text) || memory(log, n, text) || timing(log, n, text);
    if known {
        log.engine(EngineId::LlamaServer);
    }
    known
}

fn start(log: &mut ServerLog, n: usize, text: &str) -> bool {
    if text.starts_with("build: ") || text.contains(" build: ") && text.contains(" with ") {
        let build = number(text, "build:");
        return say(&mut log.version, n, build.map(|b| format!("b{b}")));
    }
    if let Some((_, path)) = text.split_once("loading model '") {
        let name = path
            .trim_end_matches('\'')
            .rsplit('/')
            .next()
            .unwrap_or(path);
        return say(&mut log.model, n, Some(name.to_string()));
    }
    if text.contains("general.name ")
        && (text.contains("print_info:") || text.contains("print_meta:"))
    {
        let name = text.rsplit('=').next().map(|v| v.trim().to_string());
        return log.model.is_none() && say(&mut log.model, n, name);
    }
    if text.contains("n_slots =") {
        return say(&mut log.max_num_seqs, n, number(text, "n_slots ="));
    }
    // `llama_context: n_ctx         = 8192`, under other names before 2025.
    if [
        "llama_context:",
        "llama_init_from_model:",
        "llama_new_context_with_model:",
    ]
    .iter()
    .any(|w| text.contains(w))
    {
        let key = |name: &str| text.contains(&format!(": {name} "));
        let value = text.rsplit('=').next().and_then(|v| v.trim().parse().ok());
        let flag = match () {
            () if key("n_ctx") => "-c",
            () if key("n_batch") => "-b",
            () if key("n_ubatch") => "-ub",
            () if key("n_seq_max") => "-np",
            () => return false,
        };
        let Some(value): Option<f64> = value else {
            return false;
        };
        if !log.arguments.iter().any(|w| w == flag) {
            log.arguments.extend([flag.to_string(), format!("{value}")]);
            log.arguments_line.get_or_insert(n);
        }
        match flag {
            "-np" => say(&mut log.max_num_seqs, n, Some(value)),
            "-c" => say(&mut log.max_model_len, n, Some(value)),
            "-b" => say(&mut log.max_num_batched_tokens, n, Some(value)),
            _ => true,
        };
        return true;
    }
    false
}

/// Adds to what several devices hold.
fn add(slot: &mut Option<super::Said<f64>>, n: usize, more: Option<f64>) -> bool {
    let before = slot.as_ref().map_or(0.0, |s| s.value);
    say(slot, n, more.map(|m| before + m))
}

fn memory(log: &mut ServerLog, n: usize, text: &str) -> bool {
    let size = |what: &str| gib(text, &format!("{what} buffer size ="));
    // What the host holds is none of the device's.
    let host = text.contains("CPU") || text.contains("Host");
    let [host_weights, host_kv, host_buffers] = &mut log.host;
    // Releases before 2025 say `llm_load_tensors: CUDA0 buffer size =`.
    let old = text.contains("llm_load_tensors:")
        && text.contains(" buffer size =")
        && !text.contains("model buffer");
    if old || text.contains("model buffer size =") {
        let n_gib = if old {
            gib(text, " buffer size =")
        } else {
            size("model")
        };
        return add(if host { host_weights } else { &mut log.weights }, n, n_gib);
    }
    if text.contains("KV buffer size =") {
        return add(
            if host { host_kv } else { &mut log.kv_cache },
            n,
            size("KV"),
        );
    }
    if text.contains("compute buffer size =") {
        return add(
            if host { host_buffers } else { &mut log.buffers },
            n,
            size("compute"),
        );
    }
    if text.contains("llama_kv_cache") && text.contains(" cells,") {
        return say(&mut log.kv_tokens, n, number(text, "("));
    }
    false
}

fn timing(log: &mut ServerLog, n: usize, text: &str) -> bool {
    // Not the prompt's line, whose words contain these.
    if text.contains("eval time =")
        && text.contains("tokens per second")
        && !text.contains("prompt eval time")
    {
        let rate = text
            .rsplit_once(',')
            .and_then(|(_, r)| r.split_whitespace().next()?.parse().ok());
        log.moments.push(Moment {
            line: n,
            generation: rate,
            ..Moment::default()
        });
        return rate.is_some();
    }
    text.contains("prompt eval time =") && text.contains("tokens per second")
}

#[cfg(test)]
mod tests {
    use super::super::ServerLog;

    /// In the form of llama.cpp b6865.
    const LOG: &str = "\
build: 6865 (1c1409e1) with HIP version: 6.4 for x86_64-unknown-linux-gnu
srv    load_model: loading model '/models/Llama-3.2-1B-Instruct-Q4_K_M.gguf'
load_tensors:        ROCm0 model buffer size =   762.81 MiB
load_tensors:   CPU_Mapped model buffer size =   205.49 MiB
llama_context: n_seq_max     = 4
llama_context: n_ctx         = 8192
llama_context: n_ctx_per_seq = 2048
llama_context: n_batch       = 2048
llama_context: n_ubatch      = 512
llama_kv_cache:      ROCm0 KV buffer size =   256.00 MiB
llama_kv_cache: size =  256.00 MiB (  8192 cells,  16 layers,  4/1 seqs), K (f16):  128.00 MiB, V (f16):  128.00 MiB
llama_context:      ROCm0 compute buffer size =   254.50 MiB
prompt eval time =     108.86 ms /   512 tokens (    0.21 ms per token,  4703.28 tokens per second)
       eval time =     654.22 ms /   128 tokens (    5.11 ms per token,   195.65 tokens per second)
";

    #[test]
    fn a_start_and_a_timing_are_read() {
        let log = ServerLog::read(LOG).unwrap();
        assert_eq!(
            log.model.unwrap().value,
            "Llama-3.2-1B-Instruct-Q4_K_M.gguf"
        );
        assert_eq!(
            log.arguments,
            ["-np", "4", "-c", "8192", "-b", "2048", "-ub", "512"]
        );
        assert_eq!(log.weights.unwrap().value, 762.81 / 1024.0);
        assert_eq!(log.kv_tokens.unwrap().value, 8192.0);
        assert_eq!(log.moments[0].generation, Some(195.65));
        assert_eq!(log.version.unwrap().value, "b6865");
    }
}
