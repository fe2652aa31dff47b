//! The first question: how fast will this model serve on that device?
//!
//! `cargo run -p capsim --example first_prediction`
use capsim::cost::Routing;
use capsim::device::builtin;
use capsim::engine::settings::*;
use capsim::metrics::Percentiles;
use capsim::model::{self, Model, Precision};
use capsim::predict::{EngineWanted, Engines, Prediction, Scenario, predict};
use capsim::workload::WorkloadSpec;

/// Qwen3-8B in bf16 on a Radeon 8060S, 16 clients that ask 64 times in all: 512 tokens in, 64 out.
pub fn scenario() -> Result<Scenario, Box<dyn std::error::Error>> {
    let config = model::builtin::find("qwen3-8b")?.config();
    let device = builtin::device("gfx1151")?;
    let model = Model::new(&config, Precision::of(&config));
    Ok(Scenario {
        speculation: Default::default(),
        deployment: None,
        model_name: "qwen3-8b".into(),
        engine: Engines::builtin().choose(&EngineWanted::vllm(&model, &device)),
        engines: None,
        model,
        device,
        release: None,
        notes: Default::default(),
        // What is not said follows vLLM's own rules.
        serve: SettingValues::default()
            .with(MAX_NUM_SEQS, 16)
            .with(MAX_MODEL_LEN, 4096),
        moe_path: None,
        routing: Routing::Uniform,
        workload: WorkloadSpec::closed_loop(64, 16, 512, 64),
    })
}

/// Its prediction.
pub fn run() -> Result<Prediction, Box<dyn std::error::Error>> {
    Ok(predict(&scenario()?)?)
}

#[allow(dead_code, reason = "tests/examples.rs calls run")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let p = run()?;
    for (metric, i) in &p.intervals {
        let value = p.run.summary.metric(*metric, Percentiles::Linear);
        println!("{metric:<22} {value:>9.2}  [{:.2} … {:.2}]", i.low, i.high);
    }
    println!("limited by {}", p.binding);
    for caveat in &p.caveats {
        println!("note: {caveat}");
    }
    Ok(())
}
