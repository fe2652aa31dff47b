//! What cannot be known from outside, inferred from what was measured, in plain words with the evidence.
use super::compare::{Candidate, RunComparison};
use super::hypothesis::Basis;
use super::runs::{RecordedRun, RunsFile};
use capsim::cost::Part;
use capsim::metrics::{Latency, Metric, Statistic};

/// One inference about one run or a pair of runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// What follows.
    pub claim: String,
    /// From what.
    pub evidence: String,
}

/// What was inferred about one run.
#[derive(Clone, Debug)]
pub struct RunFindings {
    /// The run's id.
    pub id: String,
    /// The findings, strongest first.
    pub findings: Vec<Finding>,
}

/// A statistic of a run's end-to-end latency, in seconds.
fn e2el(run: &RecordedRun, statistic: Statistic) -> Option<f64> {
    let metric = Metric::Latency(Latency::E2el, statistic);
    run.measured_of(metric).map(|v| v / 1e3)
}

/// Agreement that two arithmetic means of one run may be held to: rounding and the client's own time.
const CLOSE: f64 = 0.02;

/// How many requests were in flight on average, by Little's law (J. D. C. Little, 1961): throughput × latency.
pub fn requests_in_flight(run: &RecordedRun) -> Option<f64> {
    let mean = e2el(run, Statistic::Mean)?;
    let duration = run.measured_of(Metric::Duration)?;
    Some(f64::from(run.workload.num_prompts) * mean / duration)
}

/// Whether the run's requests were served one after another: with all N sent at once and served in turns of
/// s seconds, latencies are s, 2s, …, Ns, so that their mean is (N + 1)/2 · s and their maximum N · s.
pub fn serialised(run: &RecordedRun) -> Option<Finding> {
    let n = f64::from(run.workload.num_prompts);
    if run.workload.clients() < run.workload.num_prompts || n < 3.0 {
        return None;
    }
    let mean = e2el(run, Statistic::Mean)?;
    let duration = run.measured_of(Metric::Duration)?;
    let service = duration / n;
    let expected = (n + 1.0) / 2.0 * service;
    let longest = e2el(run, Statistic::Max).or_else(|| e2el(run, Statistic::Percentile(99.0)));
    let longest_fits = longest.is_none_or(|l| (l / duration - 1.0).abs() < CLOSE);
    ((mean / expected - 1.0).abs() < CLOSE && longest_fits).then(|| Finding {
        claim: "requests ran strictly one after another: the effective max-num-seqs was 1, whatever was configured; \
                the run says nothing about batching"
            .into(),
        evidence: format!(
            "{n:.0} requests in {duration:.2} s are {service:.2} s each; served in turn their mean latency is \
             (N+1)/2 × {service:.2} = {expected:.2} s (measured {mean:.2} s) and the last one ends after {duration:.1} s{}",
            longest.map_or(String::new(), |l| format!(" (measured {l:.2} s)"))
        ),
    })
}

/// Milliseconds per output token as seen by one request, prefill included.
fn per_token_ms(run: &RecordedRun) -> Option<f64> {
    Some(1e3 * e2el(run, Statistic::Mean)? / f64::from(run.workload.output_len))
}

fn concurrency(run: &RecordedRun, out: &mut Vec<Finding>) {
    if let Some(f) = serialised(run) {
        out.push(f);
    } else if run.workload.clients() > 1
        && let Some(l) = requests_in_flight(run)
    {
        let asked = f64::from(run.workload.clients());
        out.push(Finding {
            claim: if l > 0.85 * asked {
                format!("all {asked:.0} clients were kept busy: requests really ran side by side or queued")
            } else {
                format!("only {l:.1} of {asked:.0} clients were waiting for an answer on average")
            },
            evidence: format!(
                "Little's law: {} requests × {:.2} s / {:.2} s = {l:.2} in flight",
                run.workload.num_prompts,
                e2el(run, Statistic::Mean).unwrap_or(f64::NAN),
                run.measured_of(Metric::Duration).unwrap_or(f64::NAN),
            ),
        });
    }
}

fn hypothesis(c: &RunComparison, out: &mut Vec<Finding>) {
    if c.candidates.len() < 2 {
        return;
    }
    let best = c.preferred();
    let list = |c: &Candidate| {
        let mean = c
            .metrics
            .iter()
            .find(|m| m.metric.is_recorded(Metric::mean(Latency::E2el)))
            .or_else(|| c.metrics.first());
        let experts = c
            .prediction
            .run
            .distinct_experts
            .map_or(String::new(), |d| {
                format!(", {d:.1} distinct experts per layer")
            });
        match mean {
            Some(m) => format!(
                "{}: {} {:.0} against {:.0} measured ({:+.1} %{experts})",
                c.hypothesis.words,
                m.metric,
                m.predicted,
                m.measured,
                100.0 * (m.predicted / m.measured - 1.0)
            ),
            None => c.hypothesis.words.clone(),
        }
    };
    // Settings that change nothing by more than the repeat spread cannot be told apart from outside.
    let close = c.candidates[1].misfit < best.misfit + 0.02;
    out.push(Finding {
        claim: if close {
            format!(
                "the data prefer “{}”, but “{}” fits nearly as well",
                best.hypothesis.words, c.candidates[1].hypothesis.words
            )
        } else {
            format!("the data prefer “{}”", best.hypothesis.words)
        },
        evidence: c.candidates.iter().map(list).collect::<Vec<_>>().join("; "),
    });
}

fn efficiency(run: &RecordedRun, c: &RunComparison, basis: &Basis, out: &mut Vec<Finding>) {
    let best = &c.preferred().prediction.run;
    let Some(distinct) = best.distinct_experts else {
        return;
    };
    let Some(measured) = e2el(run, Statistic::Mean) else {
        return;
    };
    let predicted = best.summary.e2el.mean();
    let steps = best.occupancy.steps.max(1) as f64;
    let experts = best.breakdown.of(Part::Experts) / steps;
    let rest = best.breakdown.total() / steps - experts;
    // All else equal, the measured run's expert time per step is what the measured step leaves.
    let step = best.breakdown.total() / steps * measured / predicted;
    let left = step - rest;
    let (Some(e), true) = (basis.model.experts(), left > 0.0) else {
        return;
    };
    let bytes = distinct * e.bytes_per_layer_and_expert * f64::from(e.layers);
    // Prefill steps touch more experts than the mean decode step; only runs dominated by decode say anything.
    if run.workload.output_len >= 64 {
        out.push(Finding {
            claim: format!(
                "expert weights stream at about {:.0} GB/s, {:.0} % of what the device can read",
                bytes / left / 1e9,
                100.0 * bytes / left / basis.device.dram_read()
            ),
            evidence: format!(
                "{:.1} ms per step measured, {:.1} ms of it not experts, {distinct:.1} distinct experts per layer are \
                 {:.2} GB",
                1e3 * step,
                1e3 * rest,
                bytes / 1e9
            ),
        });
    }
}

fn prefix(run: &RecordedRun, c: &RunComparison, out: &mut Vec<Finding>) {
    let best = &c.preferred().prediction.run;
    let rate = best.summary.prefix_hit_rate();
    if rate > 0.05 {
        out.push(Finding {
            claim: format!(
                "{:.0} % of the prompt tokens came from the prefix cache, so that the prefills were shorter than they look",
                100.0 * rate
            ),
            evidence: format!(
                "repeated prompts of {} tokens hit all whole blocks of {} but the one that holds the last token",
                run.workload.input_len, best.settings.config.block_size
            ),
        });
    }
}

/// Infers what can be inferred about every run of a file.
pub fn explain(file: &RunsFile, basis: &Basis, comparisons: &[RunComparison]) -> Vec<RunFindings> {
    file.runs
        .iter()
        .zip(comparisons)
        .map(|(run, c)| {
            let mut findings = vec![];
            concurrency(run, &mut findings);
            hypothesis(c, &mut findings);
            efficiency(run, c, basis, &mut findings);
            prefix(run, c, &mut findings);
            RunFindings {
                id: run.id.clone(),
                findings,
            }
        })
        .collect()
}

/// Attributes the difference between two runs of the same load to what was inferred about them.
pub fn attribute(file: &RunsFile, comparisons: &[RunComparison]) -> Vec<(String, String, Finding)> {
    let mut all = vec![];
    for (i, a) in file.runs.iter().enumerate() {
        for (j, b) in file.runs.iter().enumerate().skip(i + 1) {
            let same_load = (a.workload.num_prompts, a.workload.max_concurrency)
                == (b.workload.num_prompts, b.workload.max_concurrency)
                && (a.workload.input_len, a.workload.output_len)
                    == (b.workload.input_len, b.workload.output_len);
            let (Some(ta), Some(tb)) = (per_token_ms(a), per_token_ms(b)) else {
                continue;
            };
            if !same_load || (ta / tb - 1.0).abs() < CLOSE {
                continue;
            }
            let (ca, cb) = (comparisons[i].preferred(), comparisons[j].preferred());
            let part = |c: &Candidate, p: Part| {
                1e3 * c.prediction.run.breakdown.of(p)
                    / c.prediction.run.occupancy.steps.max(1) as f64
            };
            let mut terms: Vec<(Part, f64)> = Part::ALL
                .iter()
                .map(|p| (*p, part(cb, *p) - part(ca, *p)))
                .filter(|(_, d)| d.abs() > 0.2)
                .collect();
            terms.sort_by(|x, y| y.1.abs().total_cmp(&x.1.abs()));
            let experts = match (
                ca.prediction.run.distinct_experts,
                cb.prediction.run.distinct_experts,
            ) {
                (Some(x), Some(y)) if (x - y).abs() > 0.5 => format!(
                    "; distinct experts per layer {x:.1} in {} and {y:.1} in {}: routing correlation {}",
                    a.id,
                    b.id,
                    if y > x { "lost" } else { "gained" }
                ),
                _ => String::new(),
            };
            all.push((
                a.id.clone(),
                b.id.clone(),
                Finding {
                    claim: format!(
                        "{} takes {ta:.1} and {} {tb:.1} ms per output token ({:+.0} %){experts}",
                        a.id,
                        b.id,
                        100.0 * (tb / ta - 1.0)
                    ),
                    evidence: format!(
                        "predicted difference per step under the preferred hypotheses (“{}”, “{}”): {}",
                        ca.hypothesis.words,
                        cb.hypothesis.words,
                        if terms.is_empty() {
                            "none: the model does not explain it".to_string()
                        } else {
                            terms
                                .iter()
                                .map(|(p, d)| format!("{} {d:+.1} ms", p.words()))
                                .collect::<Vec<_>>()
                                .join(", ")
                        }
                    ),
                },
            ));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validate::runs::RecordedWorkload;

    fn run(n: u32, concurrency: u32, metrics: &[(&str, f64)]) -> RecordedRun {
        RecordedRun {
            experiment: None,
            source: None,
            diagnosis: None,
            doubt: None,
            disturbed: None,
            id: "r".into(),
            mode: None,
            engine_args: None,
            workload: RecordedWorkload {
                cycle: None,
                trace: None,
                num_prompts: n,
                max_concurrency: Some(concurrency),
                request_rate: None,
                seed: None,
                length_sigma: None,
                range_ratio: None,
                shared_prefix_len: None,
                send_skew_ms: None,
                input_len: 10,
                output_len: 10,
                prompts: None,
                temperature: None,
                warmup: None,
            },
            measured: metrics
                .iter()
                .map(|(k, v)| (k.parse().unwrap(), *v))
                .collect(),
            counters: Default::default(),
            unknown: vec![],
            note: String::new(),
        }
    }

    #[test]
    fn a_serialised_run_is_recognised_and_a_batched_one_is_not() {
        // 16 requests of 15.4775 s in turn: mean 8.5 × 15.4775 s.
        let serial = run(
            16,
            16,
            &[
                ("duration_s", 247.64),
                ("mean_e2el_ms", 131_680.0),
                ("p99_e2el_ms", 247_620.0),
            ],
        );
        assert!(serialised(&serial).is_some());
        let batched = run(16, 16, &[("duration_s", 30.0), ("mean_e2el_ms", 29_000.0)]);
        assert!(serialised(&batched).is_none());
        // A closed loop of two clients is no burst: the formula does not apply.
        let closed = run(8, 2, &[("duration_s", 31.2), ("mean_e2el_ms", 7_790.0)]);
        assert!(serialised(&closed).is_none());
        assert!((requests_in_flight(&closed).unwrap() - 2.0).abs() < 0.01);
    }
}
