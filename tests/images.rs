//! Images of a load: how many prompt tokens they are, in which step the tower computes them, what they cost in time and memory.
use capsim::cost::{ImagesAtEnd, Part, StepCost, StepShape};
use capsim::device::{DeviceProfile, EngineId, EngineProfile, builtin};
use capsim::engine::observe::{Observer, StepRecord};
use capsim::engine::{EngineConfig, Group, Runtime};
use capsim::model::{ModelConfig, Overrides, checkpoint};
use capsim::predict::spec::{Catalog, ScenarioSpec, SpecError};
use capsim::predict::{Scenario, simulate_once};
use capsim::units::Span;
use capsim::workload::load::LoadFiles;
use capsim::workload::{Images, WorkloadSpec};

/// What ships.
struct Shipped;

impl LoadFiles for Shipped {
    fn text(&self, path: &str) -> Result<String, String> {
        Err(format!("{path}: no file"))
    }
    fn is_folder(&self, _: &str) -> bool {
        false
    }
    fn names(&self, folder: &str) -> Result<Vec<String>, String> {
        Err(format!("{folder}: no folder"))
    }
}

impl Catalog for Shipped {
    fn model(&self, name: &str, over: &Overrides) -> Result<ModelConfig, SpecError> {
        let found = checkpoint::find(name).and_then(|c| c.config_with(over));
        found.map_err(|e| SpecError::field("model", e))
    }
    fn device(&self, name: &str) -> Result<DeviceProfile, SpecError> {
        builtin::device(name).map_err(|e| SpecError::field("device", e))
    }
    fn engine(&self, name: &str) -> Result<EngineProfile, SpecError> {
        builtin::engine(name).map_err(|e| SpecError::field("engine", e))
    }
}

fn scenario(load: &str) -> Result<Scenario, SpecError> {
    let text = format!(
        r#"{{"schema": "capsim.scenario/1", "model": "qwen3-vl-8b-instruct", "device": "h100-sxm",
            "settings": {{"max_model_len": 8192}},
            "load": {{"max_concurrency": 1, "num_prompts": 4, "output_len": 8, {load}}}}}"#
    );
    ScenarioSpec::parse(&text, "s.json")?.resolve(&Shipped)
}

#[test]
fn images_are_prompt_tokens_and_time_of_the_tower() {
    let text = simulate_once(&scenario(r#""input_len": 1126"#).unwrap()).unwrap();
    let seen =
        simulate_once(&scenario(r#""input_len": 100, "images": "1x1024x1024""#).unwrap()).unwrap();
    // 1024 tokens of the image, and one before and behind it.
    assert_eq!(seen.summary.input_tokens, text.summary.input_tokens);
    let (tower, none) = (
        seen.breakdown.of(Part::Encoder),
        text.breakdown.of(Part::Encoder),
    );
    assert!(tower > 0.0 && none == 0.0, "{tower} {none}");
    // The time to the first token is longer by the tower's time for one image.
    let longer = seen.summary.ttft.mean() - text.summary.ttft.mean();
    assert!(
        (longer / (tower / 4.0) - 1.0).abs() < 0.3,
        "{longer} {tower}"
    );
    let twice =
        simulate_once(&scenario(r#""input_len": 100, "images": "2x1024x1024""#).unwrap()).unwrap();
    let two = twice.breakdown.of(Part::Encoder);
    assert!(two > 1.5 * tower && two < 2.5 * tower, "{two} {tower}");
}

#[test]
fn what_has_no_tower_and_what_is_no_image_is_refused() {
    let refused = |load: &str| scenario(load).unwrap_err().to_string();
    let e = refused(r#""images": "1024x1024""#);
    assert!(
        e.contains("--images") && e.contains("COUNTxWIDTHxHEIGHT"),
        "{e}"
    );
    let e = refused(r#""images": "1x1024x1024", "vllm_bench": true"#);
    assert!(e.contains("--images") && e.contains("vllm_bench"), "{e}");
    let text =
        r#"{"schema": "capsim.scenario/1", "model": "qwen3-8b", "load": {"images": "1x64x64"}}"#;
    let spec = ScenarioSpec::parse(text, "s.json").unwrap();
    let e = spec.resolve(&Shipped).unwrap_err().to_string();
    assert!(e.contains("--images") && e.contains("vision tower"), "{e}");
}

#[test]
fn the_tower_takes_its_part_of_the_memory() {
    let whole = scenario("\"input_len\": 10").unwrap();
    let mut blind = whole.clone();
    let mut config = blind.model.config().clone();
    let tower = config.encoder.take().unwrap();
    blind.model = capsim::model::Model::new(&config, *blind.model.precision());
    let (whole, blind) = (
        whole.settings().unwrap().memory,
        blind.settings().unwrap().memory,
    );
    assert_eq!(whole.encoder.as_f64(), 2.0 * tower.parameters as f64);
    assert_eq!(
        whole.weights.as_f64() - blind.weights.as_f64(),
        whole.encoder.as_f64()
    );
    assert!(whole.activations > blind.activations);
    assert!(whole.kv_cache < blind.kv_cache);
}

#[test]
fn an_image_counts_in_the_step_in_which_it_begins() {
    let images = ImagesAtEnd {
        count: 3,
        tokens: 10,
        embeds: 8,
        budget: 20,
    };
    // Prompt of 50: images begin at 20, 30 and 40.
    for (from, to, count) in [
        (0, 20, 0),
        (0, 21, 1),
        (20, 30, 1),
        (21, 30, 0),
        (15, 50, 3),
        (41, 50, 0),
        (50, 60, 0),
    ] {
        assert_eq!(images.beginning(50, from, to).0, count, "{from}..{to}");
    }
    assert_eq!(images.beginning(50, 25, 50), (2, 30));
}

/// Each step takes a second; images are those given.
#[derive(Clone, Copy)]
struct Seconds(ImagesAtEnd);

impl StepCost for Seconds {
    fn step(&self, _: &StepShape) -> Span {
        Span::from_millis(1000)
    }
    fn images(&self) -> Option<ImagesAtEnd> {
        Some(self.0)
    }
}

#[derive(Default)]
struct Steps(Vec<(u32, u32)>);

impl Observer for Steps {
    fn on_step(&mut self, step: &StepRecord) {
        self.0.push((step.shape.prefill_tokens, step.shape.images));
    }
}

#[test]
fn a_step_stops_before_the_image_that_the_towers_budget_has_no_room_for() {
    let images = ImagesAtEnd {
        count: 3,
        tokens: 100,
        embeds: 100,
        budget: 250,
    };
    let mut workload = WorkloadSpec::closed_loop(1, 1, 50, 2);
    workload.images = Some(Images {
        each: capsim::workload::ImageCost {
            tokens: 100,
            embeds: 100,
            patches: 400,
            tiles: 1,
        },
        ..Images::parse("3x10x10").unwrap()
    });
    let config = EngineConfig {
        max_num_batched_tokens: 1000,
        max_model_len: 2000,
        ..EngineConfig::default()
    };
    let mut steps = Steps::default();
    let runtime =
        Runtime::new(EngineId::Vllm, &config, Group::ONE, Seconds(images), false).unwrap();
    let mut source = workload.source().unwrap();
    runtime.run(&mut source, &mut steps).unwrap();
    let prefill: Vec<(u32, u32)> = steps.0.into_iter().filter(|(n, _)| *n > 0).collect();
    // Two images in the first step, with the text and all before the third; that one in the next.
    assert_eq!(prefill, [(250, 2), (100, 1)]);
}
