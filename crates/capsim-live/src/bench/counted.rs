//! What a server counted between looks at its `/metrics`.
use super::scrape::deltas;
use crate::openai::metrics;
use crate::openai::prometheus::Scrape;

/// Growth between two looks, of all engines and models of the server together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counted {
    /// Steps with output.
    pub steps: f64,
    /// Tokens after a request's first one.
    pub tokens: f64,
    /// Seconds between each of them and the one before it.
    pub token_seconds: f64,
    /// First tokens.
    pub first_tokens: f64,
    /// Tokens of the prompts that had a first token.
    pub prompt_tokens: f64,
    /// Prompt tokens that the prefix cache had.
    pub cached_tokens: f64,
    /// Part of the KV blocks in use, 0 to 1: mean of both looks.
    pub kv_usage: f64,
    /// Requests running at the first look, and at the second.
    pub running: (f64, f64),
}

/// What grew from each look to the next. Where a counter falls the server was started anew: that pair is left out.
pub fn windows(looks: &[Scrape]) -> Vec<Counted> {
    looks
        .windows(2)
        .filter_map(|pair| between(&pair[0], &pair[1]))
        .collect()
}

fn between(a: &Scrape, b: &Scrape) -> Option<Counted> {
    let grown = deltas(a, b);
    if grown.values().any(|v| *v < 0.0) {
        return None;
    }
    let of = |name: &str, end: &str| grown.get(&format!("{name}{end}")).copied().unwrap_or(0.0);
    let gauge = |s: &Scrape, name: &str| -> (f64, f64) {
        let all = || s.named(name).map(|s| s.value);
        (all().sum(), all().count() as f64)
    };
    let usage = |s: &Scrape| {
        let (sum, engines) = gauge(s, metrics::KV_USAGE);
        sum / engines.max(1.0)
    };
    Some(Counted {
        steps: of(metrics::ITERATION_TOKENS, "_count"),
        tokens: of(metrics::ITL, "_count"),
        token_seconds: of(metrics::ITL, "_sum"),
        first_tokens: of(metrics::TTFT, "_count"),
        prompt_tokens: of(metrics::PROMPT_TOKENS, "_total"),
        cached_tokens: of(metrics::PREFIX_HITS, "_total"),
        kv_usage: 0.5 * (usage(a) + usage(b)),
        running: (gauge(a, metrics::RUNNING).0, gauge(b, metrics::RUNNING).0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(steps: f64, tokens: f64, running: f64) -> Scrape {
        Scrape::parse(&format!(
            "vllm:iteration_tokens_total_count{{engine=\"0\"}} {steps}\n\
             vllm:inter_token_latency_seconds_count{{engine=\"0\"}} {tokens}\n\
             vllm:inter_token_latency_seconds_sum{{engine=\"0\"}} {}\n\
             vllm:num_requests_running{{engine=\"0\"}} {running}\n\
             vllm:kv_cache_usage_perc{{engine=\"0\"}} 0.5\n",
            0.01 * tokens
        ))
    }

    #[test]
    fn what_grew_is_told_and_a_restart_is_left_out() {
        let all = windows(&[
            look(10.0, 80.0, 8.0),
            look(20.0, 160.0, 6.0),
            look(1.0, 2.0, 1.0),
        ]);
        assert_eq!(all.len(), 1);
        let c = all[0];
        assert_eq!((c.steps, c.tokens, c.running), (10.0, 80.0, (8.0, 6.0)));
        assert!((c.token_seconds - 0.8).abs() < 1e-9 && c.kv_usage == 0.5);
    }
}
