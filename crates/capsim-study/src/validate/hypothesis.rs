//! What may have been true of a run whose settings are not all known.
use super::runs::{RecordedRun, RunsFile};
use capsim::device::{DeviceProfile, EngineProfile};
use capsim::engine::EngineVersion;
use capsim::engine::settings::*;
use capsim::model::Model;
use capsim::predict::Scenario;
use capsim::units::Span;
use capsim::workload::{Length, PromptKind, WorkloadSpec};

/// One possible truth about a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Hypothesis {
    /// In words; [`AS_RECORDED`] where nothing had to be supposed.
    pub words: String,
    /// Engine settings supposed.
    pub serve: SettingValues,
    /// Whether clients that send at the same time are admitted in the same step.
    pub together: bool,
    /// Whether one request runs at a time although more were sent.
    pub serial: bool,
}

/// What is said of a run whose record leaves nothing open.
pub const AS_RECORDED: &str = "settings as recorded";

/// Clients' first sends, and thereby identical requests, a step apart: longer than an engine needs to pick up
/// the first request, shorter than a step. On a live server a burst arrives in two steps, the first request
/// alone (validation/cpu-vllm).
const APART: Span = Span::from_millis(5);

/// All hypotheses for a run that its record leaves open.
///
/// - Settings not stated at all: the engine's defaults, and every other set of settings stated in the same file.
/// - `max_num_seqs` not stated, several clients: as many as asked for, or one at a time.
/// - Identical greedy prompts, several clients, a mixture of experts: admitted in the same step, or a step apart.
pub fn hypotheses(file: &RunsFile, run: &RecordedRun, moe: bool) -> Vec<Hypothesis> {
    let mut settings: Vec<(String, SettingValues)> = vec![];
    match &run.engine_args {
        Some(args) => settings.push((String::new(), args.clone())),
        None => {
            for other in &file.runs {
                if let Some(args) = &other.engine_args
                    && !settings.iter().any(|(_, a)| a == args)
                {
                    settings.push((format!("settings of {}", other.id), args.clone()));
                }
            }
            if settings.is_empty() {
                settings.push(("default settings".into(), SettingValues::default()));
            }
        }
    }
    let w = &run.workload;
    let several = w.clients() > 1;
    let lockstep = several
        && moe
        && w.prompts == Some(PromptKind::Identical)
        && w.send_skew_ms.is_none()
        && w.request_rate.is_none()
        && w.temperature.unwrap_or(0.0) == 0.0;
    let mut all = vec![];
    for (words, serve) in settings {
        let open_width = several && serve.get(MAX_NUM_SEQS).is_none();
        for serial in [false, true] {
            if serial && !open_width {
                continue;
            }
            for together in [true, false] {
                if !together && (serial || !lockstep) {
                    continue;
                }
                let mut parts = vec![];
                if !words.is_empty() {
                    parts.push(words.clone());
                }
                let mut serve = serve.clone();
                if serial {
                    serve.set(MAX_NUM_SEQS, 1);
                    parts.push("one request at a time".into());
                } else if open_width {
                    parts.push(format!("up to {} at a time", w.clients()));
                }
                if lockstep && !serial {
                    parts.push(if together {
                        "admitted in the same step".into()
                    } else {
                        "admitted a step apart".into()
                    });
                }
                all.push(Hypothesis {
                    words: if parts.is_empty() {
                        AS_RECORDED.into()
                    } else {
                        parts.join(", ")
                    },
                    serve,
                    together,
                    serial,
                });
            }
        }
    }
    all
}

/// Lengths of that mean that spread log-normally: the mean is e^(σ²/2) times the median.
fn varying(mean: u32, sigma: Option<f64>) -> Option<Length> {
    sigma.map(|sigma| Length::Lognormal {
        median: (f64::from(mean) * libm::exp(-sigma * sigma / 2.0)).max(1.0),
        sigma,
        min: 4,
        max: 1024,
    })
}

/// The profiles and the model that a file of runs is predicted with.
#[derive(Clone, Debug)]
pub struct Basis {
    /// The model's name.
    pub model_name: String,
    /// The model.
    pub model: Model,
    /// The device profile.
    pub device: DeviceProfile,
    /// The engine profile, fitted or not.
    pub engine: EngineProfile,
    /// Release of vLLM that ran, where it was named or recorded; `None`: the engine profile's own.
    pub release: Option<EngineVersion>,
    /// Mixture-of-experts path.
    pub moe_path: Option<String>,
}

impl Basis {
    /// Model, device profile and engine profile, in words.
    pub fn words(&self) -> String {
        format!(
            "Model {}, device profile {} ({}), engine profile {} ({}).",
            self.model_name,
            self.device.id,
            self.device.provenance.origin.word(),
            self.engine.id,
            self.engine.provenance.origin.word()
        )
    }
}

impl Basis {
    /// The run as a scenario, under a hypothesis.
    pub fn scenario(&self, run: &RecordedRun, h: &Hypothesis) -> Scenario {
        let w = &run.workload;
        let greedy = w.temperature.unwrap_or(0.0) == 0.0;
        Scenario {
            model_name: self.model_name.clone(),
            model: self.model.clone(),
            device: self.device.clone(),
            engine: self.engine.clone(),
            engines: None,
            release: self.release,
            notes: Default::default(),
            speculation: Default::default(),
            deployment: None,
            serve: h.serve.clone(),
            moe_path: self.moe_path.clone(),
            routing: Default::default(),
            workload: WorkloadSpec {
                // Unknown warm-up: one request, for a benchmark's first request is hardly ever its server's.
                warmup: w.warmup.unwrap_or(if w.trace.is_some() { 0 } else { 1 }),
                trace: w.trace.clone(),
                input_dist: varying(w.input_len, w.length_sigma),
                output_dist: varying(w.output_len, w.length_sigma),
                prompts: w.prompts.unwrap_or(PromptKind::Distinct),
                shared_prefix_len: w.shared_prefix_len.unwrap_or(0),
                greedy,
                request_rate: w.request_rate,
                max_concurrency: w.max_concurrency,
                vllm_bench: w.seed.is_some(),
                seed: w.seed.unwrap_or(0).into(),
                send_skew: match w.send_skew_ms {
                    Some(ms) => Span::from_secs(ms / 1e3),
                    None if h.together => Span::ZERO,
                    None => APART,
                },
                range_ratio: w.range_ratio.unwrap_or(0.0),
                ..WorkloadSpec::closed_loop(w.num_prompts, 1, w.input_len, w.output_len)
            },
        }
    }
}
