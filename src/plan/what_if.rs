//! Changes worth trying, one at a time.
use crate::model::{KvDtype, Model, Precision};
use crate::predict::Scenario;

/// A change to a scenario.
#[derive(Clone, Debug)]
pub struct Change {
    /// As flags of the engine, or in words.
    pub what: String,
    /// Whether answers stay the same: other weights or KV formats change them.
    pub same_answers: bool,
    /// The scenario with it.
    pub scenario: Scenario,
}

/// The present scenario with one setting changed, for every setting that may matter and has another value to offer. Changes
/// that the engine would not start with are left out.
pub fn changes(base: &Scenario) -> Vec<Change> {
    let Ok(now) = base.settings() else {
        return vec![];
    };
    let c = &now.config;
    let mut all: Vec<Change> = vec![];
    let mut offer = |what: String, same_answers: bool, change: &dyn Fn(&mut Scenario)| {
        let mut scenario = base.clone();
        change(&mut scenario);
        if scenario.settings().is_ok() {
            all.push(Change {
                what,
                same_answers,
                scenario,
            });
        }
    };
    if base.model.experts().is_some() {
        let path = base.moe_path.as_ref().unwrap_or(&base.engine.moe_default);
        for other in base.engine.moe_paths.keys().filter(|p| *p != path) {
            offer(format!("MoE tiles `{other}`"), true, &|s| {
                s.moe_path = Some(other.clone());
            });
        }
    }
    for seqs in [c.max_num_seqs / 2, c.max_num_seqs.saturating_mul(2)] {
        if (1..=c.max_num_batched_tokens).contains(&seqs) {
            offer(format!("--max-num-seqs {seqs}"), true, &|s| {
                s.serve.max_num_seqs = Some(seqs);
            });
        }
    }
    let budget = c.max_num_batched_tokens;
    for tokens in [budget / 4, budget / 2, budget.saturating_mul(2)] {
        if tokens >= c.max_num_seqs && tokens <= 32_768 {
            offer(format!("--max-num-batched-tokens {tokens}"), true, &|s| {
                s.serve.max_num_batched_tokens = Some(tokens);
            });
        }
    }
    if !c.async_scheduling {
        offer("--async-scheduling".into(), true, &|s| {
            s.serve.async_scheduling = Some(true);
        });
    }
    if !c.enable_prefix_caching {
        offer("--enable-prefix-caching".into(), true, &|s| {
            s.serve.enable_prefix_caching = Some(true);
        });
    }
    if !c.enable_chunked_prefill {
        offer("--enable-chunked-prefill".into(), true, &|s| {
            s.serve.enable_chunked_prefill = Some(true);
        });
    }
    if now.enforce_eager {
        offer("graphs (no --enforce-eager)".into(), true, &|s| {
            s.serve.enforce_eager = Some(false);
        });
    }
    if now.gpu_memory_utilization < 0.945 {
        offer("--gpu-memory-utilization 0.95".into(), true, &|s| {
            s.serve.gpu_memory_utilization = Some(0.95);
        });
    }
    let precision = base.model.precision();
    if precision.kv.block_bytes(precision.dtype) > KvDtype::Fp8.block_bytes(precision.dtype) {
        offer("--kv-cache-dtype fp8".into(), false, &|s| {
            let p = s.model.precision().with_kv(KvDtype::Fp8);
            s.model = Model::new(s.model.config(), p);
            s.serve.kv_cache_dtype = Some("fp8".into());
        });
    }
    for (name, words) in [
        ("fp8", "8-bit weights (fp8)"),
        ("awq", "4-bit weights (awq)"),
    ] {
        let Ok(other) = Precision::by_name(name, base.model.config()) else {
            continue;
        };
        let model = Model::new(base.model.config(), other);
        if model.total_weight_bytes().as_f64() < 0.8 * base.model.total_weight_bytes().as_f64() {
            offer(words.into(), false, &|s| s.model = model.clone());
        }
    }
    all
}
