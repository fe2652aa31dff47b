//! The smallest changes that make a refused configuration start.
use super::{Demand, Memory, Way, asked, fits, kv_tokens, with};
use crate::device::EngineId;
use crate::engine::kind;
use crate::engine::settings::*;
use crate::model::{KvDtype, Model, Precision};
use crate::predict::Scenario;

/// Highest utilisation offered: an engine that asks for all does not start beside a driver.
const HIGHEST: f64 = 0.98;

/// Most tokens of a step, and most sequences, that no default exceeds.
const MOST_TOKENS: u32 = 16_384;
const MOST_SEQS: u32 = 1024;

/// The largest number in a range for which something holds, if it holds below some limit and not above.
pub(super) fn largest(mut low: u32, mut high: u32, holds: impl Fn(u32) -> bool) -> Option<u32> {
    if low > high || !holds(low) {
        return None;
    }
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if holds(middle) {
            low = middle
        } else {
            high = middle - 1
        }
    }
    Some(low)
}

/// Changes tried on top of the places and the length asked for, and those that make it fit.
struct Offers<'a> {
    scenario: &'a Scenario,
    d: &'a Demand,
    m: &'a Memory,
    /// Flags of what was asked for; every change comes with them.
    flags: Vec<String>,
    all: Vec<Way>,
}

/// Every single change that makes it fit, each as small as it can be, on top of the places and the length asked for; if none
/// keeps the answers, also the highest utilisation together with the longest sequence that it allows.
pub(super) fn ways(scenario: &Scenario, d: &Demand, m: &Memory) -> Vec<Way> {
    let (asked, flags) = asked(scenario, d, m);
    if !flags.is_empty()
        && let Some(settings) = fits(&asked, d)
    {
        return vec![Way {
            change: flags.join(" "),
            same_answers: true,
            kv_tokens: kv_tokens(&settings),
        }];
    }
    let mut offers = Offers {
        scenario: &asked,
        d,
        m,
        flags,
        all: vec![],
    };
    offers.utilization();
    offers.own_cache();
    offers.length();
    offers.batch();
    offers.kv_type();
    offers.weights();
    if offers.all.iter().all(|w| !w.same_answers) {
        offers.utilization_and_length();
    }
    offers.devices();
    offers.host();
    offers.all
}

impl Offers<'_> {
    /// Keeps a change if the scenario fits with it, and says whether.
    fn offer(&mut self, change: String, same_answers: bool, s: &Scenario) -> bool {
        let Some(settings) = fits(s, self.d) else {
            return false;
        };
        let change: Vec<String> = self.flags.iter().cloned().chain([change]).collect();
        self.all.push(Way {
            change: change.join(" "),
            same_answers,
            kv_tokens: kv_tokens(&settings),
        });
        true
    }

    fn utilization(&mut self) {
        let hundredths = libm::floor(100.0 * self.m.utilization + 1e-9) as u32 + 1;
        for u in hundredths..=(100.0 * HIGHEST) as u32 {
            let u = f64::from(u) / 100.0;
            let s = with(self.scenario, |s| s.serve.set(GPU_MEMORY_UTILIZATION, u));
            if self.offer(format!("--gpu-memory-utilization {u:.2}"), true, &s) {
                break;
            }
        }
    }

    /// Without a KV cache that was asked for, instead of the one that the engine finds room for.
    fn own_cache(&mut self) {
        for at in [
            NUM_GPU_BLOCKS_OVERRIDE.place(),
            KV_CACHE_MEMORY_BYTES.place(),
        ] {
            if self.scenario.serve.at(at).is_some() {
                let change = format!("without --{}", TABLE[at].field.flag());
                self.offer(change, true, &with(self.scenario, |s| s.serve.clear(at)));
            }
        }
    }

    fn length(&mut self) {
        let length = |n: u32| with(self.scenario, |s| s.serve.set(MAX_MODEL_LEN, n));
        if let Some(n) = largest(1, self.m.max_model_len.saturating_sub(1), |n| {
            fits(&length(n), self.d).is_some()
        }) {
            self.offer(format!("--max-model-len {n}"), true, &length(n));
        }
    }

    /// Smaller steps, then fewer sequences: halves, until it fits.
    fn batch(&mut self) {
        let (budget, seqs) = self.batch_in_force();
        let mut tokens = budget / 2;
        while tokens >= 64 {
            let s = with(self.scenario, |s| {
                s.serve.set(MAX_NUM_BATCHED_TOKENS, tokens);
                if seqs > tokens {
                    s.serve.set(MAX_NUM_SEQS, tokens);
                }
            });
            if self.offer(format!("--max-num-batched-tokens {tokens}"), true, &s) {
                break;
            }
            tokens /= 2;
        }
        let mut fewer = seqs / 2;
        while fewer >= self.d.concurrency.max(1) {
            let s = with(self.scenario, |s| s.serve.set(MAX_NUM_SEQS, fewer));
            if self.offer(format!("--max-num-seqs {fewer}"), true, &s) {
                break;
            }
            fewer /= 2;
        }
    }

    /// Tokens of a step and sequences now. Where the engine did not start, the defaults in force are not known: what no default
    /// exceeds.
    fn batch_in_force(&self) -> (u32, u32) {
        let (budget, seqs) = match self.scenario.settings() {
            Ok(now) => (now.config.max_num_batched_tokens, now.config.max_num_seqs),
            Err(_) => (self.m.max_num_batched_tokens, self.m.max_num_seqs),
        };
        (
            if budget == 0 { MOST_TOKENS } else { budget },
            if seqs == 0 { MOST_SEQS } else { seqs },
        )
    }

    fn kv_type(&mut self) {
        let precision = self.scenario.model.precision();
        if precision.kv.block_bytes(precision.dtype) > KvDtype::Fp8.block_bytes(precision.dtype) {
            let s = with(self.scenario, |s| {
                let p = s.model.precision().with_kv(KvDtype::Fp8);
                s.model = Model::new(s.model.config(), p);
            });
            self.offer("--kv-cache-dtype fp8".into(), false, &s);
        }
    }

    fn weights(&mut self) {
        let model = &self.scenario.model;
        for (name, words) in [
            ("fp8", "8-bit weights (fp8)"),
            ("awq", "4-bit weights (awq)"),
        ] {
            if let Ok(p) = Precision::by_name(name, model.config()) {
                let lighter = Model::new(model.config(), p.with_kv(model.precision().kv));
                if lighter.total_weight_bytes() < model.total_weight_bytes() {
                    let s = with(self.scenario, |s| s.model = lighter);
                    self.offer(words.into(), false, &s);
                }
            }
        }
    }

    /// Weights in the host's memory: as few as it takes.
    fn host(&mut self) {
        let (scenario, layers) = (self.scenario, self.scenario.model.num_layers());
        match scenario.engine.scheduler {
            EngineId::Vllm => {
                let gib = scenario.model.total_weight_bytes().as_f64() / 1_073_741_824.0;
                let of = |n: u32| with(scenario, |s| s.serve.set(CPU_OFFLOAD_GB, f64::from(n)));
                self.least(0, gib as u32 + 1, "--cpu-offload-gb", of);
            }
            EngineId::LlamaServer => {
                if scenario.model.experts().is_some() {
                    let of = |n: u32| with(scenario, |s| s.serve.set(N_CPU_MOE, n));
                    self.least(0, layers, "--n-cpu-moe", of);
                }
                let of = |n: u32| with(scenario, |s| s.serve.set(N_GPU_LAYERS, n));
                let fit = |n: u32| fits(&of(n), self.d).is_some();
                if let Some(n) = largest(0, layers, fit) {
                    self.offer(format!("--n-gpu-layers {n}"), true, &of(n));
                }
            }
            _ => {}
        }
    }

    /// The least number above `low` with which it fits.
    fn least(&mut self, low: u32, high: u32, flag: &str, of: impl Fn(u32) -> Scenario) {
        let short = |n: u32| fits(&of(n), self.d).is_none();
        if let Some(n) = largest(low, high, short).filter(|n| *n < high) {
            self.offer(format!("{flag} {}", n + 1), true, &of(n + 1));
        }
    }

    fn utilization_and_length(&mut self) {
        let both = |n: u32| {
            with(self.scenario, |s| {
                s.serve.set(GPU_MEMORY_UTILIZATION, HIGHEST);
                s.serve.set(MAX_MODEL_LEN, n);
            })
        };
        let longest = self.m.max_model_len.max(self.d.context);
        if let Some(n) = largest(1, longest, |n| fits(&both(n), self.d).is_some()) {
            let change = format!("--gpu-memory-utilization {HIGHEST} --max-model-len {n}");
            self.offer(change, true, &both(n));
        }
    }

    /// More devices, each with its part of every layer, where the engine can and the devices are known to be linked.
    fn devices(&mut self) {
        let scenario = self.scenario;
        let splits = kind(scenario.engine.scheduler).has_tensor_parallelism();
        if !splits || scenario.device.link.is_none() {
            return;
        }
        let tensor = scenario.serve.get(TENSOR_PARALLEL_SIZE).unwrap_or(1);
        let stages = scenario.serve.get(PIPELINE_PARALLEL_SIZE).unwrap_or(1);
        for n in [2, 4, 8, 16].into_iter().filter(|n| *n > tensor) {
            let s = with(scenario, |s| s.serve.set(TENSOR_PARALLEL_SIZE, n));
            let devices = n * stages;
            let change = format!("--tensor-parallel-size {n} on {devices} such devices");
            if self.offer(change, true, &s) {
                break;
            }
        }
    }
}
