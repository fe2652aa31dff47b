//! Settings, simulated once each, and which of two is better.
use super::draw::{Choice, fits};
use super::{Objective, Outcome, Question};
use crate::metrics::{Latency, Statistic};
use crate::plan::slo::{PerRequest, Slo, figure};
use crate::plan::{Axis, Limit, Pool, Setting, Trial, trial};
use crate::predict::{PredictError, Scenario};
use std::collections::{BTreeMap, BTreeSet};

/// Figures of one setting at one load.
#[derive(Clone, Debug)]
pub struct Figures {
    pub met: bool,
    pub requests: u64,
    pub refused: u64,
    pub margin: f64,
    pub devices: u32,
    pub throughput: f64,
    pub interactivity: f64,
    pub score: f64,
    pub ttft: f64,
    pub tpot: f64,
    pub e2el: f64,
    pub preemptions: f64,
    pub kv_max: f64,
    pub waits_for: Limit,
}

impl Figures {
    /// What the front weighs against speed per user.
    pub fn worth(&self, objective: Objective) -> f64 {
        match objective {
            Objective::PerDevice => self.throughput / f64::from(self.devices),
            Objective::Throughput | Objective::Latency => self.throughput,
        }
    }
}

pub struct Tuner<'a, P> {
    pub base: &'a Scenario,
    pub q: &'a Question,
    pub slo: Slo,
    pub pool: &'a P,
    pub simulations: usize,
    /// By setting, level, requests and seeds.
    pub known: BTreeMap<(String, u32, u32, u32), Figures>,
}

/// An SLO that asks for nothing.
pub fn nothing() -> Slo {
    Slo {
        terms: vec![],
        per_request: PerRequest::default(),
    }
}

impl<P: Pool> Tuner<'_, P> {
    pub fn scenario(&self, choice: &[usize]) -> Scenario {
        let chosen = || self.q.knobs.iter().zip(choice.iter().copied());
        // What is not turned is as an engine on that device has it, and not as on today's.
        let elsewhere = chosen()
            .find(|(knob, i)| *i > 0 && matches!(knob.values[0], Setting::Device(_)))
            .and_then(|(knob, i)| {
                let mut s = self.base.clone();
                knob.values[i].apply(&mut s);
                s.settings().ok().map(|now| (s, now))
            });
        let mut s = self.base.clone();
        for (knob, i) in chosen() {
            match &elsewhere {
                Some((there, now)) if i == 0 => knob.values[0].in_force(there, now).apply(&mut s),
                _ => knob.values[i].apply(&mut s),
            }
        }
        s
    }

    /// What the engine comes to; `None`: it does not start, has no price, or takes more devices than there are.
    pub fn key(&self, choice: &[usize]) -> Option<String> {
        if !fits(self.base, self.q, choice) {
            return None;
        }
        let s = self.scenario(choice);
        let Some(d) = &s.deployment else {
            return Self::engine_key(&s).map(|(key, _)| key);
        };
        let mut all = String::new();
        let mut devices = 0;
        for (pool, s) in d.pools.iter().zip(d.scenarios(&s)) {
            let (key, each) = Self::engine_key(&s)?;
            devices += each * pool.replicas;
            all += &format!("{} × {key}; ", pool.replicas);
        }
        self.q
            .devices
            .is_none_or(|most| devices <= most)
            .then_some(all)
    }

    /// The same of one engine, and its devices.
    fn engine_key(s: &Scenario) -> Option<(String, u32)> {
        let settings = s.settings().ok()?;
        if !s.is_priced() {
            return None;
        }
        let key = format!(
            "{:?} {:?} {} {:?} {} {:?} {:?} {}",
            settings.config,
            settings.parallel,
            settings.pipeline(),
            settings.group,
            settings.enforce_eager,
            s.moe_path.as_ref().unwrap_or(&s.engine.moe_default),
            s.model.precision(),
            s.device.id
        );
        Some((key, settings.devices()))
    }

    pub fn levels(&self) -> Vec<Option<u32>> {
        match &self.q.concurrency[..] {
            [] => vec![None],
            all => all.iter().copied().map(Some).collect(),
        }
    }

    /// Requests of a run at full length.
    pub fn full(&self, level: Option<u32>) -> u32 {
        let w = &self.base.workload;
        self.q
            .prompts
            .unwrap_or_else(|| match (level.or(w.max_concurrency), &w.users) {
                (_, Some(_)) => w.num_prompts.max(64),
                (Some(c), _) => Axis::Concurrency.prompts(f64::from(c), self.slo.tail(), 1),
                (None, None) => w.num_prompts.max(64),
            })
    }

    /// Requests of a run of that part of the full length: short, but long enough that every user sends two requests.
    fn shortened(&self, level: Option<u32>, part: u32) -> u32 {
        let full = self.full(level);
        let clients = level.or(self.base.workload.max_concurrency).unwrap_or(0);
        full.div_ceil(part)
            .max(clients.saturating_mul(2))
            .max(24)
            .min(full)
    }

    /// Evaluates settings at all levels with so many parts of the full length and so many seeds.
    pub fn evaluate(
        &mut self,
        choices: &[(Choice, String)],
        part: u32,
        seeds: u32,
    ) -> Result<Vec<Vec<Figures>>, PredictError> {
        let levels = self.levels();
        let mut jobs: Vec<((String, u32, u32, u32), Scenario)> = vec![];
        let mut wanted = BTreeSet::new();
        for (choice, key) in choices {
            for level in &levels {
                let prompts = self.shortened(*level, part);
                let id = (key.clone(), level.unwrap_or(0), prompts, seeds);
                if self.known.contains_key(&id) || !wanted.insert(id.clone()) {
                    continue;
                }
                let mut s = self.scenario(choice);
                s.workload.num_prompts = prompts;
                if level.is_some() {
                    s.workload.max_concurrency = *level;
                }
                jobs.push((id, s));
            }
        }
        let slo = &self.slo;
        let objective = self.q.objective;
        self.simulations += jobs.len() * seeds as usize;
        let results = self.pool.map(&jobs, |(_, s)| {
            let trials = (0..seeds)
                .map(|k| {
                    let mut s = s.clone();
                    s.workload.seed = s.workload.seed.wrapping_add(u64::from(k));
                    trial(&s, slo)
                })
                .collect::<Result<Vec<_>, _>>()?;
            Ok::<_, PredictError>(figures(slo, objective, &trials))
        });
        for ((id, _), r) in jobs.into_iter().zip(results) {
            self.known.insert(id, r?);
        }
        Ok(choices
            .iter()
            .map(|(_, key)| {
                levels
                    .iter()
                    .map(|level| {
                        let prompts = self.shortened(*level, part);
                        self.known[&(key.clone(), level.unwrap_or(0), prompts, seeds)].clone()
                    })
                    .collect()
            })
            .collect())
    }

    pub fn outcome(&self, choice: &[usize], level: Option<u32>, f: &Figures) -> Outcome {
        let changes = self
            .q
            .knobs
            .iter()
            .zip(choice)
            .filter(|(_, i)| **i > 0)
            .map(|(k, &i)| (k.name.clone(), k.values[i].to_string()))
            .collect();
        Outcome {
            changes,
            serve: self.scenario(choice).server_lines(),
            concurrency: level,
            met: f.met,
            requests: f.requests,
            refused: f.refused,
            margin: (!self.slo.terms.is_empty()).then_some(f.margin),
            devices: f.devices,
            output_throughput: f.throughput,
            interactivity: f.interactivity,
            ttft: f.ttft,
            tpot: f.tpot,
            e2el: f.e2el,
            preemptions: f.preemptions,
            kv_max: f.kv_max,
            waits_for: f.waits_for,
            score: f.score,
        }
    }
}

pub fn figures(slo: &Slo, objective: Objective, trials: &[Trial]) -> Figures {
    let n = trials.len() as f64;
    let mean = |f: &dyn Fn(&Trial) -> f64| trials.iter().map(f).sum::<f64>() / n;
    let stat = |l| mean(&move |t: &Trial| figure(&t.run.summary, l, Statistic::Mean));
    let (ttft, tpot, e2el) = (
        stat(Latency::Ttft),
        stat(Latency::Tpot),
        stat(Latency::E2el),
    );
    let margin = if slo.terms.is_empty() {
        0.0
    } else {
        mean(&|t| slo.tightest(t).1.min(1e9))
    };
    let throughput = mean(&|t| t.run.summary.output_throughput());
    let devices = trials[0].run.devices();
    Figures {
        devices,
        met: trials.iter().all(|t| slo.met(t)),
        requests: trials[0].run.summary.asked(),
        refused: trials[0].run.summary.refused,
        margin,
        throughput,
        interactivity: 1.0 / tpot,
        score: match objective {
            Objective::Throughput => throughput,
            Objective::Latency if slo.terms.is_empty() => 1.0 / e2el,
            Objective::Latency => 1.0 / margin,
            Objective::PerDevice => throughput / f64::from(devices),
        },
        ttft,
        tpot,
        e2el,
        preemptions: mean(&|t| {
            t.run.summary.preemptions as f64 / (t.run.summary.completed as f64).max(1.0)
        }),
        kv_max: trials
            .iter()
            .map(|t| t.run.occupancy.kv_max)
            .fold(0.0, f64::max),
        waits_for: Limit::of(&trials[0].run),
    }
}

/// The order of settings: those that meet the SLO by their score, then the others by how little they miss it.
fn rank(f: &Figures) -> (bool, f64) {
    if f.met {
        (true, f.score)
    } else {
        (false, -f.margin)
    }
}

pub fn better(a: &Figures, b: &Figures) -> std::cmp::Ordering {
    let (x, y) = (rank(a), rank(b));
    x.0.cmp(&y.0).then(x.1.total_cmp(&y.1))
}

/// The best of a setting's levels.
pub fn top(levels: &[Figures]) -> (usize, &Figures) {
    levels
        .iter()
        .enumerate()
        .max_by(|a, b| better(a.1, b.1).then(b.0.cmp(&a.0)))
        .expect("at least one level")
}

/// By more than rounding.
pub fn clearly_better(a: &Figures, b: &Figures) -> bool {
    let (x, y) = (rank(a), rank(b));
    (x.0 && !y.0) || (x.0 == y.0 && x.1 > y.1 + 1e-6 * y.1.abs())
}
