//! capsim predicts how fast a language model will serve on a device, under a load, with given settings.
//!
//! ```
//! use capsim::cost::Routing;
//! use capsim::device::builtin;
//! use capsim::metrics::Metric;
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
//!     speculation: Default::default(),
//!     deployment: None,
//!     serve: SettingValues::default().with(MAX_NUM_SEQS, 4).with(MAX_MODEL_LEN, 2048),
//!     moe_path: None,
//!     routing: Routing::Uniform,
//!     // 16 requests of 128 + 32 tokens, 4 at a time.
//!     workload: WorkloadSpec::closed_loop(16, 4, 128, 32),
//! };
//! let answer = predict(&scenario)?;
//! assert_eq!(answer.run.summary.completed, 16);
//! let i = answer.interval_of(Metric::OutputThroughput).expect("it has one");
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
//! # What lies beside it
//!
//! This crate is the pure core: it reads no file and no clock, starts no thread, and gives the same bytes everywhere. The others of the
//! workspace stand on it: `capsim-calibrate` measures devices, `capsim-live` talks HTTP, `capsim-study` compares with recorded runs and
//! writes reports, `capsim-cli` is the command. The feature `schema` adds JSON Schemas of the file formats.
//!
//! # What is stable
//!
//! Until 1.0 a minor version may change any of it, and the changelog says so. Meant to last are the names in the table above, what
//! they take and return, [`units`], [`model`], [`device`], [`workload`], and the file formats (`capsim.device/1` and so on, which
//! change their number when they change). `docs/stability.md` says more.
pub mod units;
pub mod kernels;
pub mod fields;
pub mod rng;
pub mod stats;
pub mod text;
pub mod model;
pub mod device;
pub mod workload;
pub mod cost;
pub mod engine;
pub mod line;
pub mod metrics;
pub mod predict;
pub mod plan;
