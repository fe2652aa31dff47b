//! Load shapes against their laws: arrival processes, lengths, users. Tolerances are five standard errors.
use capsim::cost::LinearCost;
use capsim::engine::observe::{Observer, RequestRecord};
use capsim::engine::{EngineConfig, simulate};
use capsim::stats;
use capsim::units::Span;
use capsim::workload::arrival::{Inverse, integral, weibull_cv, weibull_shape};
use capsim::workload::{
    Arrival, Length, PromptKind, RampUp, Request, Source, Think, Users, WorkloadSpec, vllm_bench,
};

fn open(n: u32, rate: Option<f64>, arrival: Arrival) -> WorkloadSpec {
    WorkloadSpec {
        request_rate: rate,
        arrival: Some(arrival),
        ..WorkloadSpec::open_loop(n, 1.0, 10, 10)
    }
}

fn requests(spec: &WorkloadSpec) -> Vec<Request> {
    let mut s = spec.source().unwrap();
    std::iter::from_fn(|| s.pop()).collect()
}

fn times(spec: &WorkloadSpec) -> Vec<f64> {
    requests(spec).iter().map(|r| r.arrival.secs()).collect()
}

fn gaps(times: &[f64]) -> Vec<f64> {
    std::iter::once(times[0])
        .chain(times.windows(2).map(|w| w[1] - w[0]))
        .collect()
}

/// Largest distance between the empirical distribution of `sample` and `cdf`, times √n. Above 2.2 with probability 1.3e-4
/// if `sample` is of the law (Kolmogorov), less for discrete laws.
fn ks(mut sample: Vec<f64>, cdf: impl Fn(f64) -> f64) -> f64 {
    sample.sort_by(f64::total_cmp);
    let n = sample.len() as f64;
    let worst = sample
        .iter()
        .enumerate()
        .map(|(i, x)| {
            let c = cdf(*x);
            (c - i as f64 / n).abs().max((c - (i + 1) as f64 / n).abs())
        })
        .fold(0.0, f64::max);
    worst * n.sqrt()
}

fn exponential(x: f64) -> f64 {
    1.0 - libm::exp(-x)
}

const N: u32 = 20_000;

#[test]
fn constant_gaps_are_constant() {
    let t = times(&open(1000, Some(4.0), Arrival::Constant));
    for (k, t) in t.iter().enumerate() {
        assert!((t - (k + 1) as f64 / 4.0).abs() < 1e-9);
    }
}

#[test]
fn gamma_gaps_are_the_same_with_and_without_their_name() {
    let spec = WorkloadSpec {
        burstiness: 0.3,
        ..open(500, Some(2.0), Arrival::Gamma)
    };
    let unnamed = WorkloadSpec {
        arrival: None,
        ..spec.clone()
    };
    assert_eq!(requests(&spec), requests(&unnamed));
}

#[test]
fn weibull_gaps_follow_their_law() {
    for shape in [0.5, 1.0, 2.5] {
        let g = gaps(&times(&open(N, Some(4.0), Arrival::Weibull { shape })));
        let scale = 0.25 / libm::tgamma(1.0 + 1.0 / shape);
        let d = ks(g.clone(), |x| exponential(libm::pow(x / scale, shape)));
        assert!(d < 2.2, "shape {shape}: KS {d}");
        let se = weibull_cv(shape) / f64::from(N).sqrt();
        assert!((stats::mean(&g) * 4.0 - 1.0).abs() < 5.0 * se);
    }
}

#[test]
fn the_weibull_shape_is_the_inverse_of_its_cv() {
    // k = 1: exponential. k = 2 (Rayleigh): √(4/π − 1). k = ½: √5.
    for (k, cv) in [
        (1.0, 1.0),
        (2.0, (4.0 / std::f64::consts::PI - 1.0f64).sqrt()),
        (0.5, 5f64.sqrt()),
    ] {
        assert!((weibull_cv(k) - cv).abs() < 1e-9);
        assert!((weibull_shape(cv) / k - 1.0).abs() < 1e-9);
    }
}

#[test]
fn an_mmpp_has_the_mean_and_the_dispersion_of_its_law() {
    let (r, s) = ([20.0, 1.0], [2.0, 6.0]);
    let arrival = Arrival::Mmpp {
        rates: r,
        sojourns: s,
    };
    let mean = arrival.mean_rate().unwrap();
    assert_eq!(mean, (40.0 + 6.0) / 8.0);
    // Counts in windows of w: variance λw + 2 A (w − (1 − e^{−aw})/a), A = π₀π₁(r₀ − r₁)²/a, a = 1/s₀ + 1/s₁
    // (W. Fischer, K. Meier-Hellstern, Performance Evaluation 18, 1993).
    let w = 10.0;
    let a = 1.0 / s[0] + 1.0 / s[1];
    let (p0, p1) = (s[0] / (s[0] + s[1]), s[1] / (s[0] + s[1]));
    let cov = p0 * p1 * (r[0] - r[1]) * (r[0] - r[1]) / a;
    let variance = mean * w + 2.0 * cov * (w - (1.0 - libm::exp(-a * w)) / a);
    let mut counts: Vec<f64> = vec![];
    for seed in 0..8 {
        let t = times(&WorkloadSpec {
            seed,
            ..open(30_000, None, arrival.clone())
        });
        let windows = (t[t.len() - 1] / w) as usize;
        let mut c = vec![0.0; windows];
        for t in t {
            if let Some(c) = c.get_mut((t / w) as usize) {
                *c += 1.0;
            }
        }
        counts.extend(c);
    }
    let n = counts.len() as f64;
    let (m, sd) = (stats::mean(&counts), stats::std_dev(&counts));
    let v = sd * sd;
    // Neighbouring windows are correlated over about 1/a = 1.5 s of 10: count 15 % more for it.
    let se_m = (1.3 * variance / n).sqrt();
    let fourth = counts
        .iter()
        .map(|c| (c - m) * (c - m) * (c - m) * (c - m))
        .sum::<f64>()
        / n;
    let se_v = (1.3 * (fourth - v * v) / n).sqrt();
    assert!((m - mean * w).abs() < 5.0 * se_m, "mean {m} ± {se_m}");
    assert!(
        (v - variance).abs() < 5.0 * se_v,
        "variance {v} against {variance} ± {se_v}"
    );
}

#[test]
fn equal_rates_make_an_mmpp_a_poisson_process() {
    let t = times(&open(
        N,
        None,
        Arrival::Mmpp {
            rates: [3.0, 3.0],
            sojourns: [0.2, 5.0],
        },
    ));
    let d = ks(gaps(&t).iter().map(|g| g * 3.0).collect(), exponential);
    assert!(d < 2.2, "KS {d}");
}

/// ∫₀ᵗ rate of a series that stays at its last rate, the slow obvious way.
fn mass(points: &[(f64, f64)], t: f64) -> f64 {
    let mut sum = 0.0;
    for w in points.windows(2) {
        let ((t0, r0), (t1, r1)) = (w[0], w[1]);
        let x = (t - t0).clamp(0.0, t1 - t0);
        sum += r0 * x + 0.5 * (r1 - r0) / (t1 - t0) * x * x;
    }
    let (t1, r1) = points[points.len() - 1];
    sum + r1 * (t - t1).max(0.0)
}

const SERIES: &[(f64, f64)] = &[
    (0.0, 0.0),
    (10.0, 8.0),
    (20.0, 8.0),
    (25.0, 0.0),
    (40.0, 0.0),
    (50.0, 2.0),
];

#[test]
fn the_integrated_rate_is_inverted_exactly() {
    for step in [1e-6, 0.37, 1.0, 55.5] {
        let mut inverse = Inverse::new(SERIES.to_vec(), false);
        for k in 1..400 {
            let t = inverse.advance(step).unwrap();
            let want = step * f64::from(k);
            assert!(
                (mass(SERIES, t) - want).abs() < 1e-9 * want.max(1.0),
                "{t}: {want}"
            );
        }
    }
    // A series that begins anew: one pass holds its whole integral.
    let points = vec![(0.0, 1.0), (4.0, 3.0)];
    assert_eq!(integral(&points), 8.0);
    let mut inverse = Inverse::new(points.clone(), true);
    for k in 1..100 {
        let t = inverse.advance(1.0).unwrap();
        let pass = libm::floor(f64::from(k) / 8.0);
        let want = if k % 8 == 0 {
            0.0
        } else {
            f64::from(k) - 8.0 * pass
        };
        let got = mass(&points, t - 4.0 * pass);
        assert!((got - want).abs() < 1e-9, "{k}: {t}");
    }
    // Rate 0 for ever: nothing more.
    let mut inverse = Inverse::new(vec![(0.0, 1.0), (1.0, 0.0)], false);
    assert!(inverse.advance(0.4).is_some());
    assert_eq!(inverse.advance(0.4), None);
}

#[test]
fn a_rate_series_is_poisson_in_its_own_time() {
    let series = Arrival::RateSeries {
        points: SERIES.to_vec(),
        repeat: false,
    };
    for burstiness in [1.0, 4.0] {
        let t = times(&WorkloadSpec {
            burstiness,
            ..open(N, None, series.clone())
        });
        let own: Vec<f64> = gaps(&t.iter().map(|t| mass(SERIES, *t)).collect::<Vec<_>>());
        let cv = stats::std_dev(&own) / stats::mean(&own);
        // Standard error of a CV: at most 1 / √n here.
        assert!(
            (cv - 1.0 / burstiness.sqrt()).abs() < 5.0 / f64::from(N).sqrt(),
            "{cv}"
        );
        if burstiness == 1.0 {
            let d = ks(own, exponential);
            assert!(d < 2.2, "KS {d}");
        }
    }
    // None where the rate is 0.
    let t = times(&open(N, None, series));
    assert!(!t.iter().any(|t| (25.001..40.0).contains(t)));
}

#[test]
fn a_ramp_up_is_that_of_vllm_bench() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/numpy/ramp.json");
    let cases: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    for case in cases.as_array().unwrap() {
        let f = |k: &str| case[k].as_f64().unwrap_or(f64::INFINITY);
        let want: Vec<f64> = case["values"]
            .as_array()
            .unwrap()
            .iter()
            .map(|v| v.as_f64().unwrap())
            .collect();
        let strategy: RampUp = serde_json::from_value(case["strategy"].clone()).unwrap();
        let n = want.len() as u32;
        let seed = case["seed"].as_u64().unwrap();
        let got = vllm_bench::ramp_up(
            n,
            strategy,
            f("start"),
            f("end"),
            f("burstiness"),
            seed as u32,
        );
        for (a, b) in got.iter().zip(&want) {
            assert!((a - b).abs() <= 1e-12 * b, "{a} {b}");
        }
        // The whole way: the very requests, and our own draws with the same mean.
        if f("burstiness").is_finite() {
            let spec = WorkloadSpec {
                burstiness: f("burstiness"),
                vllm_bench: true,
                seed,
                ..open(
                    n,
                    None,
                    Arrival::RampUp {
                        strategy,
                        start_rps: f("start"),
                        end_rps: f("end"),
                    },
                )
            };
            for (a, b) in times(&spec).iter().zip(&want) {
                assert!((a - b).abs() < 1e-9);
            }
        }
    }
    // Our own draws: gap i, times its rate, is exponential.
    let spec = open(
        N,
        None,
        Arrival::RampUp {
            strategy: RampUp::Exponential,
            start_rps: 1.0,
            end_rps: 50.0,
        },
    );
    let unit: Vec<f64> = gaps(&times(&spec))
        .iter()
        .enumerate()
        .map(|(i, g)| g * RampUp::Exponential.rate(1.0, 50.0, i as u32, N))
        .collect();
    let d = ks(unit, exponential);
    assert!(d < 2.2, "KS {d}");
}

fn lengths(law: &Length) -> (Vec<f64>, Vec<f64>) {
    let spec = WorkloadSpec {
        input_dist: Some(law.clone()),
        output_dist: Some(law.clone()),
        ..WorkloadSpec::open_loop(N, 1.0, 1, 1)
    };
    requests(&spec)
        .iter()
        .map(|r| (f64::from(r.prompt.len()), f64::from(r.max_tokens)))
        .unzip()
}

#[test]
fn lengths_follow_their_laws_independently() {
    let empirical =
        Length::parse_histogram("# tokens,count\n10,3\n\n500, 1\n20,0\n30,1\n10,1\n").unwrap();
    assert_eq!(
        empirical,
        Length::Empirical {
            lengths: vec![10, 20, 30, 500],
            weights: vec![4.0, 0.0, 1.0, 1.0]
        }
    );
    for law in [
        Length::Fixed { len: 77 },
        Length::Uniform { min: 3, max: 900 },
        Length::Normal {
            mean: 500.0,
            sd: 300.0,
            min: 50,
            max: 900,
        },
        Length::Lognormal {
            median: 300.0,
            sigma: 1.0,
            min: 1,
            max: 1 << 24,
        },
        Length::Lognormal {
            median: 300.0,
            sigma: 1.0,
            min: 100,
            max: 2000,
        },
        Length::ParetoLognormal {
            tail: 0.2,
            alpha: 1.1,
            scale: 2000.0,
            median: 250.0,
            sigma: 0.7,
            min: 1,
            max: 100_000,
        },
        empirical,
    ] {
        law.check("input_dist").unwrap();
        let (input, output) = lengths(&law);
        for sample in [&input, &output] {
            // At whole numbers, against P(length ≤ k): the discrete form of the Kolmogorov distance.
            let n = sample.len() as f64;
            let mut sorted = sample.clone();
            sorted.sort_by(f64::total_cmp);
            let mut worst: f64 = 0.0;
            for k in sorted.iter().map(|x| *x as u32) {
                let below = sorted.partition_point(|x| *x <= f64::from(k)) as f64 / n;
                worst = worst.max((below - law.cdf(k)).abs());
                let before = sorted.partition_point(|x| *x < f64::from(k)) as f64 / n;
                worst = worst.max((before - law.cdf(k - 1)).abs());
            }
            assert!(worst * n.sqrt() < 2.2, "{law:?}: {}", worst * n.sqrt());
            assert!(sorted[0] >= f64::from(law.shortest()));
            assert!(sorted[sorted.len() - 1] <= f64::from(law.longest()));
        }
        if law.longest() > law.shortest() {
            assert_ne!(input, output, "{law:?}");
        }
    }
}

#[test]
fn a_histogram_is_refused_by_line() {
    for (text, says) in [
        ("10\nten\n", "line 2: `ten`"),
        ("0\n", "line 1: `0`"),
        ("10,-1\n", "line 1: `-1`"),
        ("# nothing\n", "holds no length"),
        ("5,0\n", "holds no length"),
    ] {
        let e = Length::parse_histogram(text).unwrap_err();
        assert!(e.contains(says), "{text:?}: {e}");
    }
}

#[derive(Default)]
struct Log(Vec<RequestRecord>);
impl Observer for Log {
    fn on_request(&mut self, r: &RequestRecord) {
        self.0.push(*r);
    }
}

const COST: LinearCost = LinearCost {
    base: Span::from_millis(20),
    per_token: Span::from_micros(50),
    per_seq: Span::from_micros(300),
};

fn serve(spec: &WorkloadSpec) -> Vec<RequestRecord> {
    let config = EngineConfig {
        num_gpu_blocks: 40_000,
        max_num_seqs: 64,
        max_model_len: 8192,
        enable_prefix_caching: true,
        ..EngineConfig::default()
    };
    let mut log = Log::default();
    let s = simulate(&config, &COST, &mut spec.source().unwrap(), &mut log).unwrap();
    assert_eq!(s.rejected, 0);
    log.0.sort_by_key(|r| r.id);
    log.0
}

fn users(n: u32, count: u32, think: Think) -> WorkloadSpec {
    WorkloadSpec {
        max_concurrency: None,
        users: Some(Users {
            count,
            think,
            turns: 1,
            max_context: None,
        }),
        output_dist: Some(Length::Uniform { min: 5, max: 100 }),
        ..WorkloadSpec::closed_loop(n, 1, 100, 1)
    }
}

#[test]
fn users_obey_the_response_time_law() {
    for think in [
        Think::Fixed { secs: 4.0 },
        Think::Exponential { mean: 4.0 },
        Think::Lognormal { mean: 4.0, cv: 1.5 },
    ] {
        let count = 30;
        let r = serve(&users(12_000, count, think));
        assert_eq!(r.len(), 12_000);
        // Never more open than there are users.
        let mut events: Vec<(u64, i32)> = r
            .iter()
            .flat_map(|r| [(r.arrival.0, 1), (r.finish.0, -1)])
            .collect();
        events.sort();
        let mut open = 0;
        for (_, d) in events {
            open += d;
            assert!(open <= count as i32);
        }
        // X = N / (R + Z) (E. D. Lazowska et al., Quantitative System Performance, 1984, ch. 3), over the middle of the run.
        let (from, to) = (r[2_000].arrival.secs(), r[10_000].arrival.secs());
        let x = 8_000.0 / (to - from);
        let e2el: Vec<f64> = r[2_000..10_000]
            .iter()
            .map(|r| r.finish.since(r.arrival).secs())
            .collect();
        let want = f64::from(count) / (stats::mean(&e2el) + think.mean());
        // The mean of 8000 think times has a relative error of cv / √8000; that of the response times is smaller.
        let cv = match think {
            Think::Fixed { .. } => 0.0,
            Think::Exponential { .. } => 1.0,
            Think::Lognormal { cv, .. } => cv,
        };
        let se = cv / 8_000f64.sqrt() + f64::from(count) / 8_000.0;
        assert!(
            (x / want - 1.0).abs() < 5.0 * se,
            "{think:?}: {x} against {want}"
        );
    }
}

#[test]
fn a_user_thinks_between_answer_and_next_request() {
    // One user: every gap between an answer and the next request is a think time.
    let think = |think, n| -> Vec<f64> {
        serve(&users(n, 1, think))
            .windows(2)
            .map(|w| w[1].arrival.since(w[0].finish).secs())
            .collect()
    };
    assert!(
        think(Think::Fixed { secs: 2.5 }, 50)
            .iter()
            .all(|t| *t == 2.5)
    );
    let d = ks(
        think(Think::Exponential { mean: 3.0 }, 5000)
            .iter()
            .map(|t| t / 3.0)
            .collect(),
        exponential,
    );
    assert!(d < 2.2, "KS {d}");
    let t = think(Think::Lognormal { mean: 3.0, cv: 0.8 }, 5000);
    let (m, s2) = (stats::mean(&t), libm::log1p(0.64));
    assert!((m / 3.0 - 1.0).abs() < 5.0 * 0.8 / 5000f64.sqrt());
    let median = 3.0 * libm::exp(-0.5 * s2);
    let d = ks(t, |x| {
        0.5 * libm::erfc(-libm::log(x / median) / (2.0 * s2).sqrt())
    });
    assert!(d < 2.2, "KS {d}");
}

#[test]
fn a_conversation_grows_by_answer_and_question_and_its_past_is_cached() {
    let mut spec = users(60, 3, Think::Exponential { mean: 1.0 });
    spec.users.as_mut().unwrap().turns = 4;
    spec.output_dist = Some(Length::Fixed { len: 64 });
    spec.input_len = 160;
    let r = serve(&spec);
    assert_eq!(r.len(), 60);
    let mut by_length = std::collections::BTreeMap::new();
    for r in &r {
        *by_length.entry(r.prompt_tokens).or_insert(0) += 1;
        // Everything said before but the answer's last token, whose KV was not computed: 160 + 64 = 224 tokens a turn, 16 a block.
        let said = r.prompt_tokens - 160;
        let want = if said == 0 { 0 } else { (said - 1) / 16 * 16 };
        assert_eq!(r.cached_tokens, want, "{r:?}");
    }
    // 3 users, 60 requests, four turns: as many of each turn, but for conversations under way at the end.
    assert_eq!(
        by_length.keys().copied().collect::<Vec<_>>(),
        [160, 384, 608, 832]
    );
    assert!(
        by_length.values().all(|n| (13..=17).contains(n)),
        "{by_length:?}"
    );

    // The longest context ends a conversation early.
    spec.users.as_mut().unwrap().max_context = Some(700);
    let longest = serve(&spec).iter().map(|r| r.prompt_tokens + 64).max();
    assert_eq!(longest, Some(608 + 64));
}

#[test]
fn every_request_of_every_shape_is_sent_once_and_the_same_each_time() {
    let shapes = [
        open(300, Some(5.0), Arrival::Constant),
        open(300, Some(5.0), Arrival::Weibull { shape: 0.6 }),
        open(
            300,
            None,
            Arrival::Mmpp {
                rates: [9.0, 0.0],
                sojourns: [1.0, 2.0],
            },
        ),
        open(
            300,
            None,
            Arrival::RateSeries {
                points: vec![(0.0, 1.0), (9.0, 7.0)],
                repeat: true,
            },
        ),
        open(
            300,
            None,
            Arrival::RampUp {
                strategy: RampUp::Linear,
                start_rps: 1.0,
                end_rps: 9.0,
            },
        ),
        users(300, 7, Think::Lognormal { mean: 1.0, cv: 1.0 }),
    ];
    for spec in shapes {
        for (warmup, max_concurrency) in [(0, None), (3, Some(2))] {
            let spec = WorkloadSpec {
                warmup,
                max_concurrency: if spec.users.is_some() {
                    None
                } else {
                    max_concurrency
                },
                ..spec.clone()
            };
            let r = serve(&spec);
            assert_eq!(r.len() as u32, 300 + warmup, "{spec:?}");
            assert!(r.iter().enumerate().all(|(i, r)| r.id.0 == i as u64));
            assert_eq!(r, serve(&spec));
            // And through a file.
            let text = serde_json::to_string(&spec).unwrap();
            assert_eq!(serde_json::from_str::<WorkloadSpec>(&text).unwrap(), spec);
        }
    }
}

#[test]
fn contradictions_are_refused_by_field() {
    let refused = |spec: WorkloadSpec, field: &str, says: &str| {
        let e = spec.source().unwrap_err();
        assert_eq!(e.field, field, "{e}");
        assert!(e.to_string().contains(says), "{e}");
    };
    let plain = || WorkloadSpec::open_loop(10, 1.0, 10, 10);
    let series = |points: &[(f64, f64)]| {
        open(
            10,
            None,
            Arrival::RateSeries {
                points: points.to_vec(),
                repeat: false,
            },
        )
    };
    refused(
        open(10, None, Arrival::Constant),
        "request_rate",
        "needs one",
    );
    refused(
        open(
            10,
            Some(1.0),
            Arrival::Mmpp {
                rates: [1.0, 2.0],
                sojourns: [1.0, 1.0],
            },
        ),
        "request_rate",
        "its own",
    );
    refused(
        WorkloadSpec {
            burstiness: 2.0,
            ..open(10, Some(1.0), Arrival::Constant)
        },
        "burstiness",
        "constant",
    );
    refused(
        WorkloadSpec {
            vllm_bench: true,
            ..open(10, Some(1.0), Arrival::Weibull { shape: 1.0 })
        },
        "vllm_bench",
        "weibull",
    );
    refused(
        open(10, Some(1.0), Arrival::Weibull { shape: 0.0 }),
        "arrival",
        "shape",
    );
    refused(
        open(
            10,
            None,
            Arrival::Mmpp {
                rates: [0.0, 0.0],
                sojourns: [1.0, 1.0],
            },
        ),
        "arrival",
        "above 0",
    );
    refused(series(&[]), "arrival", "at least one");
    refused(series(&[(1.0, 1.0)]), "arrival", "begin at time 0");
    refused(
        series(&[(0.0, 1.0), (0.0, 2.0)]),
        "arrival",
        "must increase",
    );
    refused(series(&[(0.0, -1.0)]), "arrival", "rate at 0 s");
    refused(series(&[(0.0, 0.0), (5.0, 0.0)]), "arrival", "0 throughout");
    let some = Users {
        count: 3,
        think: Think::Fixed { secs: 1.0 },
        turns: 1,
        max_context: None,
    };
    refused(
        WorkloadSpec {
            users: Some(some.clone()),
            ..plain()
        },
        "users",
        "request_rate",
    );
    refused(
        WorkloadSpec {
            users: Some(Users {
                turns: 2,
                ..some.clone()
            }),
            prompts: PromptKind::Identical,
            ..WorkloadSpec {
                request_rate: None,
                ..plain()
            }
        },
        "prompts",
        "turns",
    );
    refused(
        WorkloadSpec {
            users: Some(Users {
                think: Think::Fixed { secs: f64::NAN },
                ..some
            }),
            ..WorkloadSpec {
                request_rate: None,
                ..plain()
            }
        },
        "think",
        "think time",
    );
    refused(
        WorkloadSpec {
            num_prompts: u32::MAX,
            ..plain()
        },
        "num_prompts",
        "between 1 and 100000000",
    );
    refused(
        users(100_000_000, 1, Think::Fixed { secs: 1e6 }),
        "think",
        "thirty years",
    );
    refused(
        WorkloadSpec {
            range_ratio: 0.5,
            input_dist: Some(Length::Fixed { len: 3 }),
            ..plain()
        },
        "input_dist",
        "range_ratio",
    );
    for law in [
        Length::Uniform { min: 9, max: 3 },
        Length::Fixed { len: 0 },
        Length::Normal {
            mean: -5e3,
            sd: 1.0,
            min: 1,
            max: 10,
        },
        Length::Lognormal {
            median: f64::NAN,
            sigma: 1.0,
            min: 1,
            max: 10,
        },
        Length::Empirical {
            lengths: vec![1],
            weights: vec![],
        },
        Length::Empirical {
            lengths: vec![1],
            weights: vec![0.0],
        },
    ] {
        refused(
            WorkloadSpec {
                output_dist: Some(law),
                ..plain()
            },
            "output_dist",
            "",
        );
    }
}
