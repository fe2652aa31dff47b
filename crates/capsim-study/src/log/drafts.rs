//! How many drafts a server accepted, as it logs it: vLLM (`v1/spec_decode/metrics.py`), SGLang (`accept len` of its decode lines),
//! llama-server (`draft acceptance`, ggml-org/llama.cpp#24536).
use super::{ServerLog, number};

/// Drafts of a whole log.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Drafts {
    /// Verifications.
    pub verified: f64,
    /// Tokens that they accepted.
    pub accepted: f64,
    /// By position, where that is logged.
    pub at: Vec<f64>,
    /// The last line that tells of them, from 1.
    pub line: usize,
}

impl Drafts {
    /// Mean tokens of a verification.
    pub fn mean_length(&self) -> f64 {
        1.0 + self.accepted / self.verified.max(1e-9)
    }

    /// As `--speculative-acceptance` takes it.
    pub fn acceptance(&self) -> String {
        match self.at.len() {
            0 => format!("length:{:.3}", self.mean_length()),
            n => {
                let share = |a: &f64| format!("{:.3}", (a / self.verified).clamp(0.0, 1.0));
                let mut all: Vec<String> = self.at.iter().map(share).collect();
                // One alone would count for every position.
                if n == 1 {
                    all.push("0".into());
                }
                all.join(",")
            }
        }
    }

    fn add(&mut self, verified: f64, length: f64, rates: &[f64]) {
        self.verified += verified;
        self.accepted += verified * (length - 1.0);
        self.at.resize(self.at.len().max(rates.len()), 0.0);
        for (sum, rate) in self.at.iter_mut().zip(rates) {
            *sum += verified * rate;
        }
    }
}

/// The shares that stand after `before`.
fn rates(text: &str, before: &str) -> Vec<f64> {
    let rest = text.split_once(before).map_or("", |(_, r)| r);
    let words = rest.trim_start_matches([' ', '(']).split([',', ')']);
    words.map_while(|w| w.trim().parse().ok()).collect()
}

/// What a line tells of drafts; whether it does.
pub(super) fn take(log: &mut ServerLog, n: usize, text: &str) -> bool {
    let found = if text.contains("SpecDecoding metrics:") {
        let length = number(text, "Mean acceptance length:");
        let by_position = rates(text, "Per-position acceptance rate:");
        let drafted = number(text, "Drafted:");
        length.zip(drafted).map(|(length, drafted)| {
            let verified = drafted / (by_position.len().max(1) as f64);
            (verified, length, by_position)
        })
    } else if text.contains("accept len:") {
        let running = number(text, "#running-req:").unwrap_or(1.0);
        number(text, "accept len:").map(|length| (running, length, vec![]))
    } else if text.contains("draft acceptance =") {
        let length = number(text, "mean acceptance length =");
        let accepted = number(text, "(");
        let by_position = rates(text, "acceptance rate per position =");
        length.zip(accepted).and_then(|(length, accepted)| {
            (length > 1.0).then(|| (accepted / (length - 1.0), length, by_position))
        })
    } else {
        None
    };
    let Some((verified, length, by_position)) = found.filter(|f| f.0 > 0.0 && f.1 >= 1.0) else {
        return false;
    };
    let drafts = log.drafts.get_or_insert_default();
    drafts.add(verified, length, &by_position);
    drafts.line = n;
    true
}

#[cfg(test)]
mod tests {
    use super::super::ServerLog;

    #[test]
    fn accepted_drafts_are_read_from_every_engines_log() {
        // Of vllm-project/vllm#19254, and of a line of today's form.
        let vllm = "INFO 06-06 14:20:34 [loggers.py:116] Engine 000: Avg prompt throughput: 1.0 tokens/s, Avg generation throughput: 2.0 tokens/s, Running: 3 reqs, Waiting: 0 reqs, GPU KV cache usage: 9.5%, Prefix cache hit rate: 0.5%\n\
            INFO 06-06 14:20:34 [metrics.py:86] SpecDecoding metrics: Draft acceptance rate: 38.8%, Mean acceptance length: 2.16, Accepted: 150 tokens, Drafted: 387 tokens, Per-position acceptance rate: 0.543, 0.357, 0.264\n\
            INFO 06-06 14:20:44 [metrics.py:100] SpecDecoding metrics: Mean acceptance length: 2.46, Accepted throughput: 1.00 tokens/s, Drafted throughput: 30.00 tokens/s, Accepted: 725 tokens, Drafted: 1488 tokens, Per-position acceptance rate: 0.615, 0.464, 0.383, Avg Draft acceptance rate: 48.7%";
        let log = ServerLog::read(vllm).unwrap();
        let drafts = log.drafts.unwrap();
        assert_eq!(drafts.verified, 129.0 + 496.0);
        assert_eq!(drafts.acceptance(), "0.600,0.442,0.358");
        assert!((drafts.mean_length() - 2.398).abs() < 1e-3);
        let sglang = "[2025-10-02 23:42:16 TP0] Decode batch. #running-req: 4, #token: 5000, token usage: 0.01, accept len: 2.50, cuda graph: True, gen throughput (token/s): 300.0, #queue-req: 0,";
        let log = ServerLog::read(sglang).unwrap();
        assert_eq!(log.drafts.unwrap().acceptance(), "length:2.500");
        // Of ggml-org/llama.cpp#24536.
        let llama = "0.06.895.980 I slot print_timing: id  1 | task 0 | prompt eval time =     300.11 ms /    20 tokens (   15.01 ms per token,    66.64 tokens per second)\n\
            0.06.896.015 I slot print_timing: id  1 | task 0 | draft acceptance = 0.64479 (  167 accepted /   259 generated), mean acceptance length =  2.92, acceptance rate per position = (0.805, 0.632, 0.483)";
        let log = ServerLog::read(llama).unwrap();
        assert_eq!(log.drafts.unwrap().acceptance(), "0.805,0.632,0.483");
    }
}
