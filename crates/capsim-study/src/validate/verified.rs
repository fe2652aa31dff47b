//! An answer of `capacity` or `tune` held against its server: a measured run beside the simulation of the very same requests, and what the
//! SLO says of both.
use super::paired::{Paired, Suppose, compare_with, replay, settings};
use capsim::metrics::{Metric, Summary};
use capsim::plan::{Slo, Term};
use capsim::predict::{Interval, Scenario};
use capsim_live::bench::read::{Recorded, Recording};
use capsim_live::bench::scrape::ServerInfo;

/// A condition of the SLO on both sides; seconds, shares or per second, as [`Term::value_of`] has it.
#[derive(Clone, Debug)]
pub struct TermPair {
    /// The condition.
    pub term: Term,
    /// Measured; NaN where the run has none.
    pub measured: f64,
    /// Simulated.
    pub predicted: f64,
    /// 90 % interval of the prediction, in the same unit.
    pub interval: Option<Interval>,
}

/// A measured run and its prediction.
#[derive(Clone, Debug)]
pub struct Verified {
    /// The load or the setting, in words.
    pub what: String,
    /// Requests measured.
    pub num_prompts: u32,
    /// Requests that failed: each misses the SLO.
    pub failed: u64,
    /// The conditions.
    pub terms: Vec<TermPair>,
    /// Whether the server met the SLO.
    pub met: bool,
    /// Whether the simulation did.
    pub predicted_met: bool,
    /// Everything else that both have.
    pub paired: Paired,
}

impl Verified {
    /// Whether prediction and measurement say the same of the SLO.
    pub fn agrees(&self) -> bool {
        self.met == self.predicted_met
    }
}

/// Share of the measured requests that met every per-request limit. What was not streamed has no TTFT and no TPOT, and misses limits on them.
fn good_share(slo: &Slo, r: &Recording) -> f64 {
    let good = |q: &Recorded| {
        let latency = q.latency.unwrap_or(f64::INFINITY);
        let ttft = q.ttft.filter(|_| r.streamed).unwrap_or(f64::NAN);
        let gaps = f64::from(q.output.saturating_sub(1)).max(1.0);
        q.ok && slo
            .per_request
            .met_by(ttft, (latency - ttft) / gaps, latency)
    };
    let measured = r.requests.iter().filter(|q| q.measured);
    let (all, met) = measured.fold((0u64, 0u64), |(n, m), q| (n + 1, m + u64::from(good(q))));
    met as f64 / (all as f64).max(1.0)
}

/// The same of the simulated requests.
fn predicted_share(slo: &Slo, p: &Paired) -> f64 {
    let refused = p.prediction.run.summary.refused;
    let met = p.pairs.iter().filter(|q| {
        let gaps = f64::from(q.output.saturating_sub(1)).max(1.0);
        slo.per_request.met_by(
            q.ttft_predicted,
            (q.e2el_predicted - q.ttft_predicted) / gaps,
            q.e2el_predicted,
        )
    });
    met.count() as f64 / ((p.pairs.len() as u64 + refused) as f64).max(1.0)
}

/// The interval of a condition's value.
fn interval(p: &Paired, term: &Term) -> Option<Interval> {
    let (metric, scale) = match term {
        Term::Latency { latency, stat, .. } => (Metric::Latency(*latency, *stat), 1e-3),
        Term::Throughput { metric, .. } => (*metric, 1.0),
        Term::Goodput(_) => return None,
    };
    let i = p.prediction.interval_of(metric)?;
    Some(Interval {
        low: scale * i.low,
        high: scale * i.high,
    })
}

/// Compares a measured run with the simulation of its requests by the engine of `scenario`, under the settings that the server tells.
///
/// # Errors
/// A recording that cannot be replayed, or settings that contradict each other.
pub fn verified(
    what: String,
    scenario: &Scenario,
    slo: &Slo,
    r: &Recording,
) -> anyhow::Result<Verified> {
    let replayed = replay(r, &Suppose::default())?;
    let mut asked = scenario.clone();
    asked.serve = settings(&scenario.serve, r);
    if let Some(spec) = &r.spec {
        asked.workload.clone_from(spec);
    }
    asked.workload.warmup = r.warmup();
    let mut paired = compare_with(&asked, r, &replayed, None, false)?;
    paired
        .notes
        .splice(0..0, told_otherwise(scenario, &r.server));
    let summary = r.summary().map(|s| Summary {
        // What failed missed every limit.
        refused: r.failed() as u64,
        ..s
    });
    let simulated = &paired.prediction.run.summary;
    let (good, would) = (good_share(slo, r), predicted_share(slo, &paired));
    let terms: Vec<TermPair> = slo
        .terms
        .iter()
        .map(|term| TermPair {
            term: *term,
            measured: summary
                .as_ref()
                .map_or(f64::NAN, |s| term.value_of(s, good)),
            predicted: term.value_of(simulated, would),
            interval: interval(&paired, term),
        })
        .collect();
    let holds = |f: &dyn Fn(&TermPair) -> f64| terms.iter().all(|t| t.term.margin_of(f(t)) <= 1.0);
    Ok(Verified {
        what,
        num_prompts: asked.workload.num_prompts,
        failed: r.failed() as u64,
        met: holds(&|t| t.measured),
        predicted_met: holds(&|t| t.predicted),
        terms,
        paired,
    })
}

/// What the server says of itself that differs from what the answer was made with.
fn told_otherwise(scenario: &Scenario, server: &ServerInfo) -> Vec<String> {
    let Ok(now) = scenario.settings() else {
        return vec![];
    };
    let c = &now.config;
    let told = |name: &str, told: Option<String>, had: String| {
        told.filter(|t| *t != had).map(|t| {
            format!(
                "THE SERVER SAYS {name} {t}; the answer was made with {had}. The prediction beside the measurement has the server's value"
            )
        })
    };
    let text = |n: Option<u32>| n.map(|n| n.to_string());
    let switch = |on: bool| if on { "on" } else { "off" }.to_string();
    [
        told(
            "max-model-len",
            text(server.max_model_len),
            c.max_model_len.to_string(),
        ),
        told(
            "block-size",
            text(server.block_size),
            c.block_size.to_string(),
        ),
        told(
            "KV blocks",
            text(server.num_gpu_blocks),
            c.num_gpu_blocks.to_string(),
        ),
        told(
            "prefix caching",
            server.enable_prefix_caching.map(switch),
            switch(c.enable_prefix_caching),
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}
