//! capsim predicts how fast a language model will serve on a device, under a load, with given settings.
//!
//! ```
//! use capsim::cost::Routing;
//! use capsim::device::builtin;
//! use capsim::model::{self, Model, Precision};
//! use capsim::engine::settings::{MAX_MODEL_LEN, MAX_NUM_SEQS, SettingValues};
//! use capsim::predict::{EngineWanted, Engines, Scenario, predict};
//! use capsim::workload::WorkloadSpec;
//!
//! let config = model::builtin::find("qwen3-0.6b")?.config();
//! let device = builtin::device("gfx1151")?;
//! let model = Model::new(&config, Precision::of(&config));
//! let scenario = Scenario {
//!     model_name: "qwen3-0.6b".into(),
//!     engine: Engines::builtin().choose(&EngineWanted::vllm(&model, &device)),
//!     engines: None,
//!     model,
//!     device,
//!     release: None,
//!     notes: Default::default(),
//!     serve: SettingValues::default().with(MAX_NUM_SEQS, 4).with(MAX_MODEL_LEN, 2048),
//!     moe_path: None,
//!     routing: Routing::Uniform,
//!     // 16 requests of 128 + 32 tokens, 4 at a time.
//!     workload: WorkloadSpec::closed_loop(16, 4, 128, 32),
//! };
//! let answer = predict(&scenario)?;
//! assert_eq!(answer.run.summary.completed, 16);
//! let i = answer.interval_of("output_throughput").expect("it has one");
//! println!("{:.0} to {:.0} output tokens/s, limited by {}", i.low, i.high, answer.binding);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The story
//!
//! The modules stand in the order measure → model → simulate → predict → validate. Each uses only those above it in this list
//! (`docs/architecture.md`).
//!
//! | you want | you take |
//! | --- | --- |
//! | a prediction with its interval | [`predict::predict`] |
//! | many of them, one after another | [`predict::simulate_once`]: one simulation, no interval |
//! | the scheduler under your own price of a step | [`cost::StepCost`] and [`engine::simulate`] |
//! | the scheduler in your own event loop | [`engine::Scheduler`], [`engine::Runtime`] |
//! | to see requests and steps go by | [`engine::observe::Observer`] |
//! | how many users, which settings, what fits | [`plan`] |
//!
//! `examples/` has a small program for each of the first five, and `docs/guide/embedding.md` walks through them.
//!
//! # Features
//!
//! Everything up to [`plan`] needs none: it is pure, reads no file and no clock, starts no thread, and gives the same bytes
//! everywhere. `default-features = false` therefore is what most programs want.
//!
//! | feature | adds |
//! | --- | --- |
//! | `validate` | comparison with recorded runs, and fits |
//! | `traces` | traces in comma-separated values |
//! | `schema` | JSON Schemas of the file formats |
//! | `import` | profiles from published measurements |
//! | `calibrate`, `opencl`, `wgpu` | microbenchmarks on the processor, through OpenCL, through Vulkan, Metal or DX12 |
//! | `http` | a load client and a stand-in server |
//! | `cli` | tables, reports and the command line |
//!
//! # What is stable
//!
//! Until 1.0 a minor version may change any of it, and the changelog says so. Meant to last are the names in the table above, what
//! they take and return, [`units`], [`model`], [`device`], [`workload`], and the file formats (`capsim.device/1` and so on, which
//! change their number when they change). [`calibrate`], [`serve`], [`mod@bench`], [`openai`], [`report`] and [`cli`] are public for the
//! program, the tests and the bindings, and change as these need it. `docs/stability.md` says more.
#![cfg_attr(
    not(all(feature = "cli", feature = "http")),
    allow(
        rustdoc::broken_intra_doc_links,
        reason = "links to modules that this build leaves out"
    )
)]
pub mod units;
pub mod fields;
pub mod rng;
pub mod stats;
pub mod model;
pub mod device;
pub mod workload;
pub mod cost;
pub mod engine;
pub mod line;
pub mod metrics;
pub mod predict;
pub mod plan;
#[cfg(feature = "http")]
pub mod openai;
#[cfg(feature = "calibrate")]
pub mod calibrate;
#[cfg(feature = "http")]
pub mod bench;
#[cfg(feature = "import")]
pub mod import;
#[cfg(feature = "http")]
pub mod serve;
#[cfg(feature = "validate")]
pub mod validate;
#[cfg(feature = "cli")]
pub mod report;
#[cfg(all(feature = "cli", feature = "http"))]
pub mod explore;
#[cfg(feature = "cli")]
pub mod cli;
