//! An engine profile from a server's own counters, under whatever traffic it has.
//!
//! vLLM counts steps with output, tokens between which time passed and that time, first tokens, prompt tokens and hits of the prefix cache
//! (`v1/metrics/loggers.py`, vLLM 0.12 to 0.33). Over a second or so, in which batches hardly change, the mean time between two tokens of a
//! request is the mean step. With B = tokens after a first one per step, r = steps with a prefill chunk over all, q new tokens in such a chunk, and
//! c tokens of context per sequence (blocks in use × block size / B), it is
//!
//! (1 − r) · T(B, c) + r · T(B, c; q),
//!
//! T being the price of a step. The coefficients are fitted to these means as [`super::fit`] fits them to runs: shrunk to what the profile
//! said before where the counters say nothing. What happens outside the engine (`host.turnaround`, the front end) does not show in them.
use super::fit::problem::Problem;
use super::fit::{self, Fit, FitError};
use super::hypothesis::Basis;
use capsim::cost::{StepCost, StepPrice, StepShape};
use capsim::device::EngineProfile;
use capsim::engine::settings::SettingValues;
use capsim::predict::{PredictError, Scenario};
use capsim::workload::WorkloadSpec;

/// What a server counted between two looks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Window {
    /// Steps with output.
    pub steps: f64,
    /// Tokens after a request's first one.
    pub tokens: f64,
    /// Seconds between each of them and the one before it, in all.
    pub token_seconds: f64,
    /// First tokens.
    pub first_tokens: f64,
    /// Tokens of the prompts that had a first token.
    pub prompt_tokens: f64,
    /// Of looked-up prompt tokens those that were cached.
    pub cached_tokens: f64,
    /// Tokens in the KV cache, mean of both looks.
    pub kv_tokens: f64,
    /// Requests running at the first look, and at the second.
    pub running: (f64, f64),
}

impl Window {
    /// Tokens after a first one per step.
    fn batch(&self) -> f64 {
        (self.tokens / self.steps).max(1.0)
    }

    /// Whether the mean over its steps stands for each of them.
    fn is_steady(&self) -> bool {
        let (a, b) = self.running;
        (a - b).abs() <= 1.0_f64.max(0.2 * a.max(b))
    }

    fn add(&mut self, other: &Self) {
        // Weighted by tokens, as the mean that is compared is.
        let weight = other.tokens / (self.tokens + other.tokens).max(1.0);
        self.kv_tokens += weight * (other.kv_tokens - self.kv_tokens);
        self.steps += other.steps;
        self.tokens += other.tokens;
        self.token_seconds += other.token_seconds;
        self.first_tokens += other.first_tokens;
        self.prompt_tokens += other.prompt_tokens;
        self.cached_tokens += other.cached_tokens;
    }

    /// Windows with the same key had alike steps.
    fn key(&self) -> [i64; 4] {
        let log = |v: f64, per: f64| libm::round(per * libm::log(v.max(1.0))) as i64;
        let context = self.kv_tokens / self.batch();
        let per_step = self.first_tokens / self.steps;
        let prompt = self.prompt_tokens / self.first_tokens.max(1.0);
        [
            log(self.batch(), 6.0),
            log(context, 2.0),
            if per_step == 0.0 {
                -1
            } else {
                log(1e3 * per_step, 1.5)
            },
            log(prompt, 2.0),
        ]
    }
}

/// Tokens that a window needs to be looked at, and a group of windows to count.
const LEAST_TOKENS: f64 = 2.0;
const LEAST_IN_GROUP: f64 = 20.0;

/// Windows of alike steps together. Where no window is steady, all of them count.
fn grouped(windows: &[Window]) -> Vec<Window> {
    let full = |w: &&Window| w.steps >= 1.0 && w.tokens >= LEAST_TOKENS && w.token_seconds > 0.0;
    let all: Vec<&Window> = windows.iter().filter(full).collect();
    let mut steady: Vec<&Window> = all.iter().copied().filter(|w| w.is_steady()).collect();
    if steady.is_empty() {
        steady = all;
    }
    let mut groups = std::collections::BTreeMap::<[i64; 4], Window>::new();
    for w in steady {
        groups.entry(w.key()).and_modify(|g| g.add(w)).or_insert(*w);
    }
    let mut groups: Vec<Window> = groups.into_values().collect();
    groups.retain(|g| g.tokens >= LEAST_IN_GROUP);
    groups
}

/// Prices of a group's steps.
struct Prices {
    cost: StepPrice,
    budget: f64,
    window: Option<u64>,
}

impl Prices {
    /// Seconds of a step of so many decoding sequences (between two whole numbers: between their prices), with a chunk of so many
    /// tokens after so many cached ones.
    fn step(&self, batch: f64, context: f64, chunk: Option<(f64, f64)>) -> f64 {
        let low = libm::floor(batch);
        let part = batch - low;
        let at = |n: f64| self.cost.step(&self.shape(n, context, chunk)).secs();
        match part > 1e-9 {
            true => (1.0 - part) * at(low) + part * at(low + 1.0),
            false => at(low),
        }
    }

    fn shape(&self, n: f64, context: f64, chunk: Option<(f64, f64)>) -> StepShape {
        let windowed = |c: f64| self.window.map_or(c, |w| c.min(w as f64));
        let mut shape = StepShape {
            decode_seqs: n as u32,
            decode_context: (n * context) as u64,
            decode_context_windowed: (n * windowed(context)) as u64,
            sampled: n as u32,
            distinct_tokens: n as u32,
            ..StepShape::default()
        };
        if let Some((new, past)) = chunk {
            let (new, past) = (libm::round(new).max(1.0), libm::round(past));
            let pairs = new * past + new * (new + 1.0) / 2.0;
            shape.prefill_seqs = 1;
            shape.prefill_tokens = new as u32;
            shape.prefill_context = (new + past) as u64;
            shape.prefill_pairs = pairs as u64;
            shape.prefill_pairs_windowed = pairs.min(new * windowed(new + past)) as u64;
            shape.sampled += 1;
            shape.distinct_tokens += new as u32;
        }
        shape
    }

    /// The mean time between tokens in a group.
    fn mean(&self, g: &Window) -> f64 {
        let batch = g.batch();
        let context = (g.kv_tokens / batch).max(1.0);
        let plain = self.step(batch, context, None);
        if g.first_tokens == 0.0 {
            return plain;
        }
        let cached = (g.cached_tokens / g.first_tokens).max(0.0);
        let new = (g.prompt_tokens / g.first_tokens - cached).max(1.0);
        let chunks = libm::ceil(new / (self.budget - batch).max(1.0));
        // Several chunks in one step count as a longer one.
        let steps = (g.first_tokens * chunks).min(g.steps);
        let chunk = g.first_tokens * new / steps;
        let past = cached + (new - new / chunks) / 2.0;
        let r = steps / g.steps;
        (1.0 - r) * plain + r * self.step(batch, context, Some((chunk, past)))
    }
}

/// What was found, and from how much.
#[derive(Debug)]
pub struct FromMetrics {
    /// The profile and what changed in it.
    pub fit: Fit,
    /// Groups of windows of alike steps.
    pub groups: usize,
    /// Tokens in them.
    pub tokens: f64,
    /// Smallest and largest batch.
    pub batches: (f64, f64),
    /// Median relative error of the groups' means before the fit, and after.
    pub errors: (f64, f64),
}

/// Why there is no profile.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// Nothing to fit to.
    #[error(
        "the server gave {tokens:.0} tokens in {windows} looks, too few to fit to: run it under traffic, or look for longer (--minutes)"
    )]
    Idle {
        /// Tokens after first ones.
        tokens: f64,
        /// Looks.
        windows: usize,
    },
    /// Settings that contradict each other.
    #[error(transparent)]
    Predict(#[from] PredictError),
    /// The fit's own.
    #[error(transparent)]
    Fit(#[from] FitError),
}

fn scenario(basis: &Basis, settings: &SettingValues) -> Scenario {
    Scenario {
        notes: Default::default(),
        speculation: Default::default(),
        deployment: None,
        model_name: basis.model_name.clone(),
        model: basis.model.clone(),
        device: basis.device.clone(),
        engine: basis.engine.clone(),
        engines: None,
        release: basis.release,
        serve: settings.clone(),
        moe_path: basis.moe_path.clone(),
        routing: Default::default(),
        // Nothing is simulated: prices of steps alone are asked for.
        workload: WorkloadSpec::closed_loop(1, 1, 1, 1),
    }
}

fn median_error(groups: &[Window], means: &[f64]) -> f64 {
    let mut errors: Vec<f64> = groups
        .iter()
        .zip(means)
        .map(|(g, m)| (m / (g.token_seconds / g.tokens) - 1.0).abs())
        .collect();
    errors.sort_by(f64::total_cmp);
    capsim::stats::percentile(&errors, 50.0)
}

/// Fits the engine profile of `basis`, under the settings of the server's line, to what the server counted. `source` says which server, and
/// when.
///
/// # Errors
/// No traffic, or settings that contradict each other.
pub fn fit(
    basis: &Basis,
    settings: &SettingValues,
    windows: &[Window],
    source: &str,
) -> Result<FromMetrics, MetricsError> {
    let groups = grouped(windows);
    if groups.is_empty() {
        return Err(MetricsError::Idle {
            tokens: windows.iter().map(|w| w.tokens).sum(),
            windows: windows.len(),
        });
    }
    let asked = scenario(basis, settings);
    let resolved = asked.settings().map_err(PredictError::from)?;
    let budget = f64::from(resolved.config.max_num_batched_tokens);
    let sliding = basis.model.window().map(u64::from);
    let means = |engine: &EngineProfile| -> Result<Vec<f64>, FitError> {
        let scenario = Scenario {
            engine: engine.clone(),
            ..asked.clone()
        };
        let cost = scenario.cost(&resolved).map_err(|e| FitError::Predict {
            run: source.into(),
            error: e.into(),
        })?;
        let prices = Prices {
            cost,
            budget,
            window: sliding,
        };
        Ok(groups.iter().map(|g| prices.mean(g)).collect())
    };
    let observed: Vec<f64> = groups.iter().map(|g| g.token_seconds / g.tokens).collect();
    let quickest = observed.iter().copied().fold(f64::INFINITY, f64::min);
    let problem = Problem::new(basis, &[basis], observed, Box::new(&means));
    let solution = problem.solve_also_from("host.step", quickest)?;
    let before = median_error(&groups, &means(&basis.engine)?);
    let after = median_error(&groups, &solution.simulated);
    let mut found = fit::conclude(basis, &problem, &solution, vec![source.to_string()]);
    found.profile.id = format!("{}-from-metrics", basis.engine.id);
    let batches = groups.iter().map(Window::batch);
    Ok(FromMetrics {
        groups: groups.len(),
        tokens: groups.iter().map(|g| g.tokens).sum(),
        batches: (
            batches.clone().fold(f64::INFINITY, f64::min),
            batches.fold(0.0, f64::max),
        ),
        errors: (before, after),
        fit: found,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use capsim::device::builtin;
    use capsim::model::{self, Model, Precision};

    fn basis() -> Basis {
        let config = model::builtin::find("qwen3-8b").unwrap().config();
        Basis {
            model_name: "qwen3-8b".into(),
            model: Model::new(&config, Precision::of(&config)),
            device: builtin::device("gfx1151").unwrap(),
            engine: builtin::engine("vllm-0.12-rocm").unwrap(),
            release: None,
            moe_path: None,
        }
    }

    /// What a server of known coefficients counts, second by second, while its load rises and falls.
    fn counted(basis: &Basis, engine: &EngineProfile) -> Vec<Window> {
        let asked = Scenario {
            engine: engine.clone(),
            ..scenario(basis, &SettingValues::default())
        };
        let resolved = asked.settings().unwrap();
        let prices = Prices {
            cost: asked.cost(&resolved).unwrap(),
            budget: f64::from(resolved.config.max_num_batched_tokens),
            window: None,
        };
        let mut all = vec![];
        for batch in [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0] {
            for context in [200.0, 2000.0, 8000.0] {
                for prompts in [0.0, 3.0] {
                    let steps = 40.0;
                    let mut w = Window {
                        steps,
                        tokens: steps * batch,
                        first_tokens: prompts,
                        prompt_tokens: prompts * 1500.0,
                        kv_tokens: batch * context,
                        running: (batch, batch),
                        ..Window::default()
                    };
                    w.token_seconds = w.tokens * prices.mean(&w);
                    all.push(w);
                }
            }
        }
        all
    }

    #[test]
    fn known_coefficients_are_found_again() {
        let mut basis = basis();
        // A host that takes about as long as the device: less would not show.
        let prior = &mut basis.engine;
        prior.coefficient_mut("host.step").unwrap().value = 0.03;
        prior.coefficient_mut("host.per_seq").unwrap().value = 5e-4;
        let mut truth = basis.engine.clone();
        for (name, factor) in [
            ("host.step", 2.0),
            ("host.per_seq", 1.6),
            ("attention_stream", 0.7),
            ("dense_compute", 0.75),
        ] {
            truth.coefficient_mut(name).unwrap().value *= factor;
        }
        let found = fit(
            &basis,
            &SettingValues::default(),
            &counted(&basis, &truth),
            "test",
        )
        .unwrap();
        assert!(
            found.errors.0 > 0.1 && found.errors.1 < 0.02,
            "{:?}",
            found.errors
        );
        let profile = found.fit.profile;
        let value = |p: &EngineProfile, n: &str| {
            let all = p.coefficients();
            all.iter()
                .find(|(k, _)| k == n)
                .map(|(_, q)| q.value)
                .unwrap()
        };
        for name in ["host.step", "host.per_seq", "attention_stream"] {
            let ratio = value(&profile, name) / value(&truth, name);
            assert!((ratio - 1.0).abs() < 0.15, "{name}: {ratio}");
        }
        assert_eq!(profile.fit.unwrap().runs, ["test"]);
    }

    #[test]
    fn a_host_that_the_device_hid_is_found_where_it_is_slower() {
        let basis = Basis {
            device: builtin::device("h100-sxm").unwrap(),
            engine: builtin::engine("vllm-0.19-cuda").unwrap(),
            ..basis()
        };
        let mut truth = basis.engine.clone();
        truth.coefficient_mut("host.step").unwrap().value = 0.06;
        let windows = counted(&basis, &truth);
        let found = fit(&basis, &SettingValues::default(), &windows, "test").unwrap();
        let (before, after) = found.errors;
        assert!(before > 0.5 && after < 0.05, "{before} {after}");
    }

    #[test]
    fn an_idle_server_is_an_error_that_says_what_to_do() {
        let basis = basis();
        let idle = vec![Window::default(); 5];
        let e = fit(&basis, &SettingValues::default(), &idle, "test").unwrap_err();
        assert!(e.to_string().contains("--minutes"), "{e}");
    }

    #[test]
    fn windows_in_which_the_batch_changes_are_left_out() {
        let steady = Window {
            steps: 10.0,
            tokens: 80.0,
            token_seconds: 0.8,
            running: (8.0, 8.0),
            ..Window::default()
        };
        let rising = Window {
            running: (2.0, 14.0),
            token_seconds: 8.0,
            ..steady
        };
        let groups = grouped(&[steady, rising]);
        assert_eq!(groups, [steady]);
        assert_eq!(grouped(&[rising]), [rising]);
    }
}
