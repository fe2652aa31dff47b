//! Logs of servers: what was started, where its memory went, and how busy it was.
//!
//! Formats: vLLM 0.6 to 0.33 (vllm/v1/worker/gpu_worker.py, v1/core/kv_cache_utils.py, v1/metrics/loggers.py), SGLang 0.4 to 0.5
//! (sglang/srt/model_executor, managers/scheduler_metrics_mixin.py), llama.cpp's llama-server (src/llama-model.cpp, src/llama-kv-cache.cpp,
//! tools/server), with whatever a terminal, journald, Docker or Kubernetes puts in front of a line.
mod busy;
mod drafts;
mod line;
mod llama;
mod metrics;
mod sglang;
mod vllm;

use capsim::device::EngineId;
pub use drafts::Drafts;

/// Something that a line says, and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Said<T> {
    /// What.
    pub value: T,
    /// Its line, from 1.
    pub line: usize,
}

/// The server at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Moment {
    /// The line, from 1.
    pub line: usize,
    /// Prompt tokens per second, where told.
    pub prompt: Option<f64>,
    /// Output tokens per second.
    pub generation: Option<f64>,
    /// Requests in the batch.
    pub running: Option<f64>,
    /// Requests that wait.
    pub waiting: Option<f64>,
    /// Part of the KV cache in use, 0 to 1.
    pub kv: Option<f64>,
    /// Part of the prompt tokens that the prefix cache had, 0 to 1, since the start.
    pub hits: Option<f64>,
}

impl Moment {
    /// Whether the server had something to do.
    pub fn busy(&self) -> bool {
        self.running.unwrap_or(0.0) > 0.0 || self.generation.unwrap_or(0.0) > 0.0
    }
}

/// A log, as far as it is understood.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServerLog {
    /// Whose.
    pub engine: Option<EngineId>,
    /// The release.
    pub version: Option<Said<String>>,
    /// The model, as it was named.
    pub model: Option<Said<String>>,
    /// The arguments that were not the defaults, as words of its command line.
    pub arguments: Vec<String>,
    /// Where they stand.
    pub arguments_line: Option<usize>,
    /// Arguments that are no simple words, and may change memory or speed.
    pub left_out: Vec<String>,
    /// Weights, in GiB, of one device.
    pub weights: Option<Said<f64>>,
    /// The KV cache, in GiB, of one device.
    pub kv_cache: Option<Said<f64>>,
    /// Tokens that it holds.
    pub kv_tokens: Option<Said<f64>>,
    /// Graphs, in GiB.
    pub graphs: Option<Said<f64>>,
    /// Buffers of a step, in GiB.
    pub buffers: Option<Said<f64>>,
    /// Most sequences in a batch, where it is told.
    pub max_num_seqs: Option<Said<f64>>,
    /// Most new tokens in a step, where it is told.
    pub max_num_batched_tokens: Option<Said<f64>>,
    /// Longest sequence, where it is told.
    pub max_model_len: Option<Said<f64>>,
    /// What the host's own memory holds of weights, KV cache and buffers, in GiB: all there is without a device.
    pub host: [Option<Said<f64>>; 3],
    /// The server over time.
    pub moments: Vec<Moment>,
    /// Drafts and how many of them were accepted.
    pub drafts: Option<Drafts>,
    /// Requests that were preempted or retracted, by the lines that say so.
    pub preemptions: usize,
    /// Errors of memory.
    pub out_of_memory: Option<usize>,
    /// Lines that something was read from.
    pub understood: usize,
    /// All lines.
    pub lines: usize,
}

impl ServerLog {
    /// Reads a log; `None`: no line is one of a server that is known.
    pub fn read(text: &str) -> Option<Self> {
        let mut log = Self::default();
        for (i, raw) in text.lines().enumerate() {
            let n = i + 1;
            log.lines = n;
            let text = line::plain(raw);
            // A line of a decode batch tells other things, too.
            let drafted = drafts::take(&mut log, n, &text);
            let understood = metrics::take(&mut log, n, &text)
                || vllm::take(&mut log, n, &text)
                || sglang::take(&mut log, n, &text)
                || llama::take(&mut log, n, &text);
            log.understood += usize::from(understood || drafted);
            if [
                "CUDA out of memory",
                "HIP out of memory",
                "OutOfMemoryError",
                "No available memory for the cache blocks",
            ]
            .iter()
            .any(|w| text.contains(w))
            {
                log.out_of_memory.get_or_insert(n);
            }
        }
        let [weights, kv_cache, buffers] = log.host.clone();
        log.weights = log.weights.or(weights);
        log.kv_cache = log.kv_cache.or(kv_cache);
        log.buffers = log.buffers.or(buffers);
        (log.understood > 0).then_some(log)
    }

    fn engine(&mut self, id: EngineId) {
        self.engine.get_or_insert(id);
    }

    /// Moments at which there was something to do.
    pub fn busy(&self) -> Vec<&Moment> {
        self.moments.iter().filter(|m| m.busy()).collect()
    }
}

/// The last word of a server that starts again counts.
fn say<T>(slot: &mut Option<Said<T>>, line: usize, value: Option<T>) -> bool {
    match value {
        Some(value) => {
            *slot = Some(Said { value, line });
            true
        }
        None => false,
    }
}

/// The text after `before` and up to the first of `ends`.
fn between<'a>(text: &'a str, before: &str, ends: &[char]) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    Some(rest.split(ends).next().unwrap_or(rest).trim())
}

/// The number right after `before`, thousands divided by commas or not.
fn number(text: &str, before: &str) -> Option<f64> {
    let (_, rest) = text.split_once(before)?;
    let rest = rest.trim_start();
    let digits: String = rest
        .char_indices()
        .take_while(|(i, c)| {
            c.is_ascii_digit()
                || *c == '.'
                || (*c == '-' && *i == 0)
                || (*c == ','
                    && rest[i + 1..]
                        .chars()
                        .take(3)
                        .filter(char::is_ascii_digit)
                        .count()
                        == 3)
        })
        .map(|(_, c)| c)
        .filter(|c| *c != ',')
        .collect();
    digits.trim_end_matches('.').parse().ok()
}

/// The number and unit after `before`, in GiB.
fn gib(text: &str, before: &str) -> Option<f64> {
    let n = number(text, before)?;
    let (_, rest) = text.split_once(before)?;
    let unit: String = rest
        .chars()
        .skip_while(|c| !c.is_ascii_alphabetic())
        .take_while(char::is_ascii_alphabetic)
        .collect();
    Some(match unit.as_str() {
        "MiB" | "MB" => n / 1024.0,
        "KiB" | "KB" => n / (1024.0 * 1024.0),
        "TiB" | "TB" => n * 1024.0,
        // vLLM's older releases and SGLang say GB and divide by 2^30.
        _ => n,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_to_their_end() {
        assert_eq!(number("size: 380,912 tokens, x", "size:"), Some(380_912.0));
        assert_eq!(number("a: 12, b: 3", "a:"), Some(12.0));
        assert_eq!(number("usage: 3.5%, x", "usage:"), Some(3.5));
        assert_eq!(number("ends in 7.", "in"), Some(7.0));
        assert_eq!(number("nothing", "in"), None);
        assert_eq!(gib("took 563.5 MiB", "took"), Some(563.5 / 1024.0));
        assert_eq!(gib("took 15.27 GiB and 3 s", "took"), Some(15.27));
    }

    #[test]
    fn no_text_makes_a_reader_panic() {
        for text in [
            "",
            "hello",
            "Running: , Waiting:",
            "non-default args: {",
            "server_args=ServerArgs(",
            "{\"log\":",
            "KV buffer size = MiB",
            "\u{1b}[",
            "size: ,",
        ] {
            ServerLog::read(text);
        }
    }
}
