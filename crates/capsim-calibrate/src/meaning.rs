//! What a device profile means for a model that people know: Qwen3-30B-A3B in bf16, one sequence.
use capsim::cost::{CostError, CostOptions, Routing, StepCost, StepPrice, StepShape};
use capsim::device::{DeviceProfile, EngineProfile, builtin};
use capsim::model::{self, Model, Precision};

/// The model.
pub const MODEL: &str = "Qwen/Qwen3-30B-A3B-Instruct-2507";
/// Tokens in the context.
pub const CONTEXT: u64 = 1024;

/// Tokens per second of one sequence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Meaning {
    /// If every kernel of an engine were as good as the microbenchmarks, and the host cost nothing.
    pub roof: f64,
    /// As vLLM 0.12 on ROCm uses a device: the built-in engine profile.
    pub engine: f64,
    /// Bytes of weights.
    pub weight_bytes: f64,
    /// Whether they fit into the device's memory.
    pub fits: bool,
}

fn ideal(mut engine: EngineProfile) -> EngineProfile {
    let names: Vec<(String, bool)> = engine
        .coefficients()
        .into_iter()
        .map(|(n, _)| (n.clone(), n.starts_with("host.")))
        .collect();
    for (name, host) in names {
        if let Some(q) = engine.coefficient_mut(&name) {
            q.value = if host { 0.0 } else { 1.0 };
        }
    }
    engine
}

/// Prices one decode step.
///
/// # Errors
/// The cost model's.
pub fn of(device: &DeviceProfile) -> Result<Meaning, CostError> {
    let config = model::builtin::find(MODEL).expect("shipped").config();
    let model = Model::new(&config, Precision::of(&config));
    let engine = builtin::engine("vllm-0.12-rocm").expect("shipped");
    let shape = StepShape {
        decode_seqs: 1,
        decode_context: CONTEXT,
        decode_context_windowed: CONTEXT,
        sampled: 1,
        distinct_tokens: 1,
        ..StepShape::default()
    };
    let rate = |engine: &EngineProfile| -> Result<f64, CostError> {
        let cost = StepPrice::new(
            &model,
            device,
            engine,
            CostOptions {
                draft: None,
                enforce_eager: false,
                async_scheduling: false,
                max_num_seqs: 1,
                max_num_batched_tokens: 64,
                micro_batch: None,
                images: None,
                placement: Default::default(),
                op_offload: true,
                moe_path: None,
                routing: Routing::Uniform,
            },
        )?;
        Ok(1.0 / cost.step(&shape).secs())
    };
    let weight_bytes = model.total_weight_bytes().0 as f64;
    Ok(Meaning {
        roof: rate(&ideal(engine.clone()))?,
        engine: rate(&engine)?,
        weight_bytes,
        fits: weight_bytes < device.memory.total_bytes.value,
    })
}
