//! Calibration: the protocol against a device with known truth, and the same body on every device there is.
//! No speed of a real device is asserted anywhere: these machines are shared.
use assert_cmd::Command;
use capsim::calibrate::backend::{Backend, BackendError};
use capsim::calibrate::clock::{Clock, HostClock, SimulatedClock};
use capsim::calibrate::compare::{Verdict, compare};
use capsim::calibrate::cpu::Cpu;
use capsim::calibrate::family::{Effort, Family};
use capsim::calibrate::protocol::{self, Event, SessionError};
use capsim::calibrate::samples::{Flag, Limits, Outcome, SamplesFile};
use capsim::calibrate::synthetic::{self, Knee, Synthetic, Throttle, Truth};
use capsim::calibrate::{families, fit};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;

fn empty(device: &dyn Backend, effort: Effort, seed: u64) -> SamplesFile {
    let info = device.info().clone();
    SamplesFile {
        schema: SamplesFile::SCHEMA.into(),
        capsim: "test".into(),
        command: "test".into(),
        started: "2026-01-01T00:00:00Z".into(),
        complete: false,
        api: device.api(),
        environment: BTreeMap::new(),
        effort,
        seed,
        only: vec![],
        ring_bytes: protocol::ring_bytes(&info, effort),
        budget_bytes: protocol::memory_budget(&info, None),
        timer_tick_s: 0.0,
        submit_s: 0.0,
        limits: Limits::default(),
        kernels: BTreeMap::new(),
        sentinel: vec![],
        points: vec![],
        device: info,
    }
}

struct Session {
    truth: Truth,
    seed: u64,
    effort: Effort,
    budget: Option<Duration>,
    limits: Limits,
}

impl Session {
    fn of(truth: Truth, seed: u64) -> Self {
        Self {
            truth,
            seed,
            effort: Effort::Full,
            budget: None,
            limits: Limits::default(),
        }
    }
    fn run(&self) -> (SamplesFile, SimulatedClock) {
        let clock = SimulatedClock::default();
        let mut device = Synthetic::new(self.truth.clone(), self.seed, clock.clone(), None);
        let mut file = empty(&device, self.effort, self.seed);
        file.limits = self.limits.clone();
        protocol::run(
            &mut device,
            &clock,
            &synthetic::families(),
            self.budget,
            &mut file,
            &mut |_, _| Ok(()),
        )
        .unwrap();
        (file, clock)
    }
}

fn measured(truth: Truth, seed: u64) -> SamplesFile {
    Session::of(truth, seed).run().0
}

/// What must hold of every calibration on every device.
fn body(
    device: &mut dyn Backend,
    clock: &dyn Clock,
    families: &[Box<dyn Family>],
    mut file: SamplesFile,
    budget: Option<Duration>,
) -> SamplesFile {
    let mut saved = 0;
    protocol::run(device, clock, families, budget, &mut file, &mut |e, f| {
        if *e == Event::End {
            // Every state that may be on disk when the power goes is a valid file.
            SamplesFile::parse(&f.to_text(), "partial").unwrap();
            saved += 1;
        }
        Ok(())
    })
    .unwrap();
    assert!(file.complete && saved >= file.points.len());
    let text = file.to_text();
    let again = SamplesFile::parse(&text, "whole").unwrap();
    assert_eq!(again, file, "a file reads back as it was written");
    let wrong: Vec<_> = file
        .points
        .iter()
        .filter(|p| matches!(&p.outcome, Outcome::Failed(w) if w.contains("wrong answer")))
        .map(|p| p.key())
        .collect();
    assert!(wrong.is_empty(), "wrong answers: {wrong:?}");
    for p in file.points.iter().filter(|p| p.seconds().is_some()) {
        assert!(p.variant.is_some() && p.trials.iter().any(|t| t.seconds.is_some()));
        let few = p.flags.contains(&Flag::FewSamples);
        assert!(
            few || p.samples_s.len() >= 11,
            "{}: too few samples",
            p.key()
        );
        assert_eq!(p.samples_s.len(), p.host_s.len());
    }
    file
}

/// The profile must be one that `predict` uses as it is.
fn accepted(file: &SamplesFile) {
    let fit = fit::fit(file, "test").unwrap();
    let m = capsim::calibrate::meaning::of(&fit.profile).unwrap();
    assert!(m.roof.is_finite() && m.roof > 0.0 && m.engine > 0.0);
    let svg = capsim::report::roofline::svg(file, &fit);
    assert!(svg.starts_with("<svg") && !svg.contains("NaN") && !svg.contains("inf\""));
    let text = capsim::report::calibration::text(file, &fit, Some(&m));
    let wide: Vec<&str> = text
        .lines()
        .filter(|l| l.trim_end().chars().count() > 80)
        .collect();
    assert!(wide.is_empty(), "{wide:?}");
    assert_eq!(
        fit.profile,
        fit::fit(file, "test").unwrap().profile,
        "a fit is a function of its samples"
    );
}

#[test]
fn the_same_body_on_the_synthetic_device() {
    let clock = SimulatedClock::default();
    let mut device = Synthetic::new(Truth::default(), 1, clock.clone(), None);
    let file = empty(&device, Effort::Standard, 1);
    let file = body(&mut device, &clock, &synthetic::families(), file, None);
    assert!(file.points.iter().all(|p| p.outcome == Outcome::Measured));
    accepted(&file);
}

#[test]
fn the_same_body_on_the_processor() {
    let mut device = Cpu::open().unwrap();
    let mut file = empty(&device, Effort::Quick, 1);
    // Small rings: this is about answers and plumbing.
    file.ring_bytes = 4 << 20;
    file.only = ["stream_read", "launch", "gemm_prefill", "gemm_skinny"]
        .map(String::from)
        .to_vec();
    let file = body(
        &mut device,
        &HostClock::start(),
        &families::all(),
        file,
        Some(Duration::from_secs(20)),
    );
    accepted(&file);
}

/// The same body on a GPU backend's first device; a machine without one skips it, aloud, unless it was told to have one.
fn on_backend(name: &str, device: Result<Box<dyn Backend>, BackendError>) {
    let mut device = match device {
        Ok(d) => d,
        Err(e) => {
            #[allow(
                clippy::disallowed_methods,
                reason = "CI says which devices must be there"
            )]
            let required = std::env::var("CAPSIM_REQUIRE_BACKENDS").unwrap_or_default();
            assert!(!required.split(',').any(|r| r == name), "{name}: {e}");
            eprintln!("SKIP {name}: {e}");
            return;
        }
    };
    let mut file = empty(device.as_ref(), Effort::Quick, 1);
    file.ring_bytes = 1 << 20;
    file.only = ["stream_read", "launch", "gemm_skinny"]
        .map(String::from)
        .to_vec();
    let file = body(
        device.as_mut(),
        &HostClock::start(),
        &families::all(),
        file,
        Some(Duration::from_secs(20)),
    );
    accepted(&file);
}

#[cfg(feature = "opencl")]
#[test]
fn the_same_body_through_opencl() {
    let open = || capsim::calibrate::opencl::OpenCl::open(0);
    on_backend("opencl", open().map(|d| Box::new(d) as Box<dyn Backend>));
}

#[cfg(feature = "wgpu")]
#[test]
fn the_same_body_through_wgpu() {
    let open = || capsim::calibrate::wgpu::Wgpu::open(0);
    on_backend("wgpu", open().map(|d| Box::new(d) as Box<dyn Backend>));
}

#[test]
fn the_truth_lies_within_the_intervals() {
    let mut rng = 7u64;
    let mut random = move |low: f64, high: f64| {
        rng = rng
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        low * libm::pow(high / low, (rng >> 11) as f64 / (1u64 << 53) as f64)
    };
    let (mut inside, mut all, mut widths) = (0, 0, vec![]);
    let (mut curve_inside, mut curve_all) = (0, 0);
    for i in 0..40 {
        let truth = Truth {
            launch_s: random(1e-6, 3e-5),
            cache_bytes: random(4e6, 4e7),
            cache_rate: random(8e11, 3e12),
            dram_rate: random(5e10, 5e11),
            flops: random(5e12, 1e14),
            half_intensity: random(10.0, 60.0),
            knee: if i % 2 == 0 {
                Knee::Smooth(random(3.0, 9.0))
            } else {
                Knee::Sharp
            },
            noise: random(0.002, 0.02),
            outliers: if i % 3 == 0 { 0.03 } else { 0.0 },
            ..Truth::default()
        };
        let file = measured(truth.clone(), i);
        let fit = fit::fit(&file, "test").unwrap();
        let p = &fit.profile;
        let mut hold = |what: &str, value: f64, sd: f64, true_value: f64| {
            let z = libm::log(value / true_value).abs() / sd.max(1e-9);
            all += 1;
            inside += usize::from(z <= 1.96);
            widths.push(sd);
            assert!(z < 8.0, "{what}: {value:e} ± {sd} against {true_value:e}");
        };
        hold("launch", p.launch.value, p.launch.rel_sd, truth.launch_s);
        let last = p.stream_read.points.last().unwrap();
        hold("memory", last.y, last.rel_sd, truth.stream_rate(last.x));
        for q in &p.gemm_f16.points {
            // The shapes of the synthetic family: 5120 × 2048 at 2 bytes.
            let (n, k) = (5120.0, 2048.0);
            let intensity = q.x * n * k / (n * k + q.x * (n + k));
            curve_all += 1;
            let off = (q.y / truth.compute_rate(intensity) - 1.0).abs();
            curve_inside += usize::from(off <= 2.0 * q.rel_sd);
        }
    }
    // 95 % of intervals should hold the truth; a binomial count of 80 below 85 % has a chance of about 1 in 2000.
    assert!(
        inside * 100 >= all * 85,
        "{inside} of {all} intervals hold the truth"
    );
    assert!(
        curve_inside * 100 >= curve_all * 85,
        "{curve_inside} of {curve_all} points"
    );
    // And they are no blankets.
    widths.sort_by(f64::total_cmp);
    assert!(
        widths[widths.len() / 2] < 0.03,
        "median width {}",
        widths[widths.len() / 2]
    );
}

#[test]
fn a_cliff_is_kept_and_named() {
    let truth = Truth {
        cliff: Some((250.0, 0.5)),
        ..Truth::default()
    };
    let fit = fit::fit(&measured(truth, 3), "test").unwrap();
    assert!(!fit.falls.is_empty());
    assert!(
        fit.falls.iter().any(|(_, f)| f.factor < 0.75),
        "{:?}",
        fit.falls
    );
    assert!(
        fit.profile
            .gemm_f16
            .points
            .windows(2)
            .any(|w| w[1].y < 0.8 * w[0].y)
    );
    let none = fit::fit(&measured(Truth::default(), 3), "test").unwrap();
    assert!(none.falls.is_empty(), "{:?}", none.falls);
}

#[test]
fn outliers_do_not_move_the_median_and_noise_is_flagged() {
    let clean = measured(Truth::default(), 5);
    let dirty = measured(
        Truth {
            outliers: 0.1,
            ..Truth::default()
        },
        5,
    );
    let off: Vec<f64> = clean
        .points
        .iter()
        .map(|p| {
            dirty.find(&p.family, &p.id).unwrap().seconds().unwrap() / p.seconds().unwrap() - 1.0
        })
        .collect();
    assert!(off.iter().all(|o| o.abs() < 0.03), "{off:?}");
    let noisy = measured(
        Truth {
            noise: 0.1,
            ..Truth::default()
        },
        5,
    );
    let flagged = |f: &SamplesFile| {
        f.points
            .iter()
            .filter(|p| p.flags.contains(&Flag::Noisy))
            .count()
    };
    assert!(flagged(&noisy) > noisy.points.len() * 3 / 4);
    assert_eq!(flagged(&clean), 0);
    // Noise is answered with more samples.
    assert!(
        noisy
            .points
            .iter()
            .filter(|p| p.samples_s.len() == 31)
            .count()
            > noisy.points.len() / 2
    );
    assert!(clean.points.iter().all(|p| p.samples_s.len() == 11));
}

#[test]
fn a_throttled_device_is_given_a_rest_and_marked_if_that_does_not_help() {
    let throttled = |recovers_s| Truth {
        throttle: Some(Throttle {
            after_s: 1.3,
            factor: 0.7,
            recovers_s,
        }),
        ..Truth::default()
    };
    let hopeless = measured(throttled(1e9), 2);
    assert!(
        hopeless
            .points
            .iter()
            .any(|p| p.flags.contains(&Flag::Throttled))
    );
    // A device that recovers within the pause is measured again: the block's figures are those of a rested device.
    let (rested, clock) = Session::of(
        Truth {
            throttle: Some(Throttle {
                after_s: 1.5,
                factor: 0.7,
                recovers_s: 1.0,
            }),
            ..Truth::default()
        },
        2,
    )
    .run();
    let calm = measured(Truth::default(), 2);
    assert!(clock.now() > Duration::from_secs(1), "it had a rest");
    let good = || rested.points.iter().filter(|p| p.flags.is_empty());
    assert!(
        good().count() * 2 > rested.points.len(),
        "{} of {}",
        good().count(),
        rested.points.len()
    );
    assert!(
        rested
            .sentinel
            .iter()
            .any(|r| r.stream > 1.2 || r.gemm > 1.2),
        "it did slow down: {:?}",
        rested.sentinel
    );
    for p in good() {
        let want = calm.find(&p.family, &p.id).unwrap().seconds().unwrap();
        let got = p.seconds().unwrap();
        assert!(
            (got / want - 1.0).abs() < 0.05,
            "{}: {got:e} against {want:e}",
            p.key()
        );
    }
    assert!(calm.points.iter().all(|p| p.flags.is_empty()));
}

#[test]
fn a_wrong_answer_has_no_time() {
    let file = measured(
        Truth {
            wrong: true,
            ..Truth::default()
        },
        1,
    );
    assert!(!file.points.is_empty());
    for p in &file.points {
        assert!(
            matches!(&p.outcome, Outcome::Failed(w) if w.contains("wrong answer")),
            "{:?}",
            p.outcome
        );
        assert!(p.samples_s.is_empty() && p.stats.is_none());
    }
    let e = fit::fit(&file, "test").unwrap_err().to_string();
    assert!(e.contains("wrong answer"), "{e}");
}

#[test]
fn a_rate_above_physics_is_rejected_after_a_second_look_with_twice_the_ring() {
    let mut s = Session::of(Truth::default(), 1);
    s.limits = Limits {
        bandwidth: Some(150e9),
        flops: None,
        source: "a test".into(),
    };
    let (file, _) = s.run();
    let cold: Vec<_> = file
        .points
        .iter()
        .filter(|p| p.family == "stream_read" && p.axis("bytes").unwrap() >= file.ring_bytes as f64)
        .collect();
    assert!(!cold.is_empty());
    for p in cold {
        assert!(
            matches!(&p.outcome, Outcome::Failed(w) if w.contains("above what the memory can deliver"))
        );
        assert!(p.flags.contains(&Flag::RingDoubled));
    }
    // Reads from the cache may be faster than memory.
    assert!(file.measured("stream_read").count() > 3);
}

#[test]
fn every_sample_is_long_enough_and_whole_passes() {
    let file = measured(
        Truth {
            tick_s: 50e-6,
            ..Truth::default()
        },
        1,
    );
    assert!(
        (file.timer_tick_s - 50e-6).abs() < 2e-6,
        "tick {}",
        file.timer_tick_s
    );
    for p in &file.points {
        let sample = p.seconds().unwrap() * f64::from(p.passes);
        let longest = p.launches * p.passes + p.launches > 20_000;
        assert!(
            sample > 0.85 * 200.0 * 50e-6 || longest,
            "{}: {sample}",
            p.key()
        );
    }
}

#[test]
fn clocks_that_disagree_are_flagged() {
    let file = measured(
        Truth {
            clock_rate: 0.5,
            ..Truth::default()
        },
        1,
    );
    let n = file
        .points
        .iter()
        .filter(|p| p.flags.contains(&Flag::ClocksDisagree))
        .count();
    assert!(n * 2 > file.points.len(), "{n} of {}", file.points.len());
    let host = measured(
        Truth {
            tick_s: 0.0,
            ..Truth::default()
        },
        1,
    );
    assert!(
        host.points
            .iter()
            .all(|p| p.flags.contains(&Flag::HostClock))
    );
}

#[test]
fn the_memory_guard_holds() {
    let small = Truth {
        memory_bytes: 1 << 30,
        ..Truth::default()
    };
    let file = measured(small, 1);
    assert_eq!(file.budget_bytes, (1 << 30) / 5 * 2);
    let refused: Vec<_> = file
        .points
        .iter()
        .filter(|p| matches!(&p.outcome, Outcome::Failed(w) if w.contains("memory guard")))
        .collect();
    assert!(
        refused
            .iter()
            .any(|p| p.axis("bytes") == Some((512u64 << 20) as f64))
    );

    let mut device = Synthetic::new(Truth::default(), 1, SimulatedClock::default(), None);
    let mut guarded = protocol::Guarded::new(&mut device, 1000);
    let a = guarded.alloc(600).unwrap();
    assert!(matches!(
        guarded.alloc(600),
        Err(BackendError::Memory { .. })
    ));
    guarded.free(a);
    guarded.alloc(600).unwrap();
}

#[test]
fn when_time_runs_out_the_rest_is_dropped_with_the_reason_and_required_points_come_first() {
    let mut s = Session::of(
        Truth {
            dram_rate: 2e9,
            cache_rate: 3e9,
            flops: 1e11,
            ..Truth::default()
        },
        1,
    );
    s.effort = Effort::Quick;
    s.budget = Some(Duration::from_secs(12));
    let (file, clock) = s.run();
    assert!(clock.now() < Duration::from_secs(18), "{:?}", clock.now());
    assert!(file.complete);
    let dropped = |required: bool| {
        let of = file.points.iter().filter(|p| p.required == required);
        of.clone()
            .filter(|p| matches!(p.outcome, Outcome::Dropped(_)))
            .count() as f64
            / of.count() as f64
    };
    assert!(dropped(false) > 0.0);
    assert!(
        dropped(true) < dropped(false),
        "{} {}",
        dropped(true),
        dropped(false)
    );
}

#[test]
fn an_interrupted_session_goes_on_where_it_ended() {
    let clock = SimulatedClock::default();
    let mut device = Synthetic::new(Truth::default(), 1, clock.clone(), None);
    let mut file = empty(&device, Effort::Standard, 1);
    let mut ends = 0;
    let stopped = protocol::run(
        &mut device,
        &clock,
        &synthetic::families(),
        None,
        &mut file,
        &mut |e, _| {
            ends += usize::from(*e == Event::End);
            if ends == 7 {
                Err("pulled the plug".into())
            } else {
                Ok(())
            }
        },
    );
    assert!(matches!(stopped, Err(SessionError::Stopped(_))));
    assert!(!file.complete && file.points.len() == 7);
    let before = file.points.clone();
    let mut file = SamplesFile::parse(&file.to_text(), "partial").unwrap();
    protocol::run(
        &mut device,
        &clock,
        &synthetic::families(),
        None,
        &mut file,
        &mut |_, _| Ok(()),
    )
    .unwrap();
    assert!(file.complete);
    assert_eq!(
        file.points[..7],
        before[..],
        "what was measured is not measured again"
    );
    let whole = measured(Truth::default(), 1);
    assert!(whole.points.len() >= file.points.len());
    accepted(&file);
}

#[test]
fn equal_devices_show_no_difference_and_unequal_ones_the_right_one() {
    let base = measured(Truth::default(), 100);
    for seed in 101..121 {
        let again = measured(Truth::default(), seed);
        let differ: Vec<_> = compare(&base, &again)
            .into_iter()
            .filter(|d| d.verdict != Verdict::NoDifference)
            .collect();
        assert!(differ.is_empty(), "{differ:?}");
    }
    let slower = measured(
        Truth {
            dram_rate: 180e9,
            ..Truth::default()
        },
        200,
    );
    let all = compare(&base, &slower);
    let of = |key: &str| all.iter().find(|d| d.key == key).unwrap().verdict;
    assert_eq!(of("stream_read/524288KiB"), Verdict::Slower);
    assert_eq!(of("stream_read/1024KiB"), Verdict::NoDifference);
    assert_eq!(of("launch/chain-1000"), Verdict::NoDifference);
    let back = compare(&slower, &base);
    assert!(back.iter().any(|d| d.verdict == Verdict::Faster));
    assert!(back.iter().all(|d| d.verdict != Verdict::Slower));
}

fn mutate(value: &mut serde_json::Value, path: &[usize], with: &serde_json::Value) {
    let Some((&first, rest)) = path.split_first() else {
        *value = with.clone();
        return;
    };
    match value {
        serde_json::Value::Array(a) if !a.is_empty() => {
            let n = a.len();
            mutate(&mut a[first % n], rest, with)
        }
        serde_json::Value::Object(o) if !o.is_empty() => {
            let key = o.keys().nth(first % o.len()).unwrap().clone();
            mutate(o.get_mut(&key).unwrap(), rest, with)
        }
        other => *other = with.clone(),
    }
}

/// Reads, fits and draws whatever is accepted: only a panic is a failure, but an error must name a field.
fn survives(text: &str) {
    match SamplesFile::parse(text, "samples.json") {
        Err(e) => assert!(e.to_string().contains("field `"), "{e}"),
        Ok(file) => match fit::fit(&file, "test") {
            Err(e) => assert!(e.to_string().len() > 20),
            Ok(f) => {
                let _ = capsim::report::roofline::svg(&file, &f);
                let _ = capsim::report::calibration::text(&file, &f, None);
                let _ = compare(&file, &file);
            }
        },
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_changed_value_makes_reading_or_fitting_panic(
        path in prop::collection::vec(0usize..64, 1..6),
        with in prop_oneof![
            Just(serde_json::json!(null)),
            Just(serde_json::json!(0)),
            Just(serde_json::json!(-1)),
            Just(serde_json::json!(1e308)),
            Just(serde_json::json!(1e-300)),
            Just(serde_json::json!("")),
            Just(serde_json::json!([])),
            Just(serde_json::json!({})),
            any::<f64>().prop_map(|v| serde_json::json!(v)),
        ],
        cut in 0usize..200_000,
    ) {
        static TEXT: std::sync::OnceLock<String> = std::sync::OnceLock::new();
        let text = TEXT.get_or_init(|| measured(Truth::default(), 1).to_text());
        let mut v: serde_json::Value = serde_json::from_str(text).unwrap();
        mutate(&mut v, &path, &with);
        survives(&v.to_string());
        survives(&text[..cut % text.len()]);
    }
}

#[test]
fn a_samples_file_obeys_its_schema() {
    let schema = serde_json::to_value(schemars::schema_for!(SamplesFile)).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let mut v: serde_json::Value =
        serde_json::from_str(&measured(Truth::default(), 1).to_text()).unwrap();
    let errors: Vec<String> = validator.iter_errors(&v).map(|e| e.to_string()).collect();
    assert!(errors.is_empty(), "{errors:?}");
    v["points"][0]["launches"] = serde_json::json!("many");
    assert!(!validator.is_valid(&v));
}

fn capsim(args: &[&str]) -> std::process::Output {
    Command::cargo_bin("capsim")
        .unwrap()
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(args)
        .timeout(Duration::from_secs(300))
        .output()
        .unwrap()
}

fn stdout(args: &[&str]) -> String {
    let out = capsim(args);
    assert!(
        out.status.success(),
        "{args:?}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn calibrate_refit_compare_and_predict_as_a_user_does() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let a = stdout(&[
        "calibrate",
        "--backend",
        "synthetic",
        "--quick",
        "-o",
        &at("a"),
    ]);
    assert!(a.contains("made up") && a.contains("tokens/s"), "{a}");
    let profile = std::fs::read_to_string(dir.path().join("a/device.json")).unwrap();
    stdout(&[
        "calibrate",
        "--refit",
        &at("a/samples.json"),
        "-o",
        &at("b"),
    ]);
    let again = std::fs::read_to_string(dir.path().join("b/device.json")).unwrap();
    assert_eq!(
        profile, again,
        "a refit of the same samples gives the same profile"
    );
    stdout(&[
        "predict",
        "--device",
        &at("a"),
        "--num-prompts",
        "2",
        "--num-gpu-blocks-override",
        "2000",
        "--json",
    ]);
    stdout(&[
        "calibrate",
        "--backend",
        "synthetic",
        "--quick",
        "--seed",
        "9",
        "-o",
        &at("c"),
    ]);
    let c = stdout(&["calibrate", "--compare", &at("a"), &at("c")]);
    assert!(c.contains("No difference seen"), "{c}");
    let refused = |args: &[&str], says: &str| {
        let out = capsim(args);
        let err = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(2), "{err}");
        assert!(err.contains(says) && out.stdout.is_empty(), "{err}");
    };
    refused(
        &["calibrate", "--backend", "synthetic", "--family", "steam"],
        "stream_read",
    );
    refused(
        &["calibrate", "--refit", &at("a/device.json")],
        "field `schema`",
    );
    refused(
        &[
            "calibrate",
            "--backend",
            "synthetic",
            "--resume",
            "-o",
            &at("nowhere"),
        ],
        "--resume",
    );
    refused(
        &[
            "calibrate",
            "--backend",
            "synthetic",
            "--resume",
            "--seed",
            "4",
            "-o",
            &at("a"),
        ],
        "the effort was",
    );
    assert!(!dir.path().join("nowhere").exists());
}

#[test]
fn a_killed_run_is_resumed_to_a_complete_file() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("cpu");
    let args = [
        "calibrate",
        "--backend",
        "cpu",
        "--quick",
        "--force",
        "--family",
        "stream_read,launch,gemm_skinny",
        "-o",
        out.to_str().unwrap(),
    ];
    let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin("capsim"))
        .args(args)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let file = out.join("samples.json");
    let read = || {
        let text = std::fs::read_to_string(&file).ok()?;
        // Whenever it is there, it is whole.
        Some(SamplesFile::parse(&text, "samples.json").unwrap())
    };
    for _ in 0..1200 {
        std::thread::sleep(Duration::from_millis(50));
        if read().is_some_and(|f| f.points.len() >= 2) {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let before = read().expect("something was measured within a minute");
    let mut again = args.to_vec();
    again.push("--resume");
    stdout(&again);
    let after = read().unwrap();
    assert!(after.complete);
    for p in before.points.iter().filter(|p| p.seconds().is_some()) {
        assert_eq!(after.find(&p.family, &p.id).unwrap().samples_s, p.samples_s);
    }
    assert!(after.points.len() >= before.points.len());
}

/// `capsim calibrate` of the synthetic device, whose worker is to fail as `fault` says.
fn faulty(dir: &std::path::Path, fault: &str, timeout: &str, more: &[&str]) -> (i32, String) {
    let out = Command::cargo_bin("capsim")
        .unwrap()
        .env("CAPSIM_MEASURE_FAULT", fault)
        .args(["calibrate", "--backend", "synthetic", "--quick"])
        .args(["--timeout", timeout, "-o", dir.to_str().unwrap()])
        .args(more)
        .timeout(Duration::from_secs(300))
        .output()
        .unwrap();
    let err = String::from_utf8(out.stderr).unwrap();
    (out.status.code().expect("no signal"), err)
}

fn samples(dir: &std::path::Path) -> SamplesFile {
    let text = std::fs::read_to_string(dir.join("samples.json")).unwrap();
    SamplesFile::parse(&text, "samples.json").unwrap()
}

#[test]
fn a_point_that_brings_the_driver_down_is_recorded_and_the_rest_is_measured() {
    let dir = tempfile::tempdir().unwrap();
    let calm = dir.path().join("calm");
    assert_eq!(faulty(&calm, "nothing/here=crash", "60", &[]).0, 0);
    let calm = samples(&calm);
    for (i, (fault, timeout, says)) in [
        ("gemm_skinny/m64-qkv-f16=crash", "60", "crashed"),
        ("launch/chain-10=hang", "2", "no sign of life for 2 s"),
        ("stream_read/1024KiB=exit", "60", "the driver gave up"),
    ]
    .into_iter()
    .enumerate()
    {
        let at = dir.path().join(format!("{i}"));
        let (code, err) = faulty(&at, fault, timeout, &[]);
        assert_eq!(code, 0, "{fault}: {err}");
        let key = fault.split('=').next().unwrap();
        assert!(err.contains(key) && err.contains(says), "{fault}: {err}");
        let file = samples(&at);
        assert!(file.complete, "{fault}");
        assert_eq!(
            file.points.len(),
            calm.points.len(),
            "{fault}: every point is dealt with"
        );
        for p in &file.points {
            match &p.outcome {
                Outcome::Crashed(why) => {
                    assert!(p.key() == key && why.contains(says), "{}: {why}", p.key());
                }
                Outcome::Measured => assert_ne!(p.key(), key),
                other => panic!("{fault}: {}: {other:?}", p.key()),
            }
        }
        assert!(file.points.iter().any(|p| p.key() == key), "{fault}");
        assert!(at.join("device.json").exists());
    }
}

#[test]
fn a_variant_that_brings_the_driver_down_is_tried_once() {
    let dir = tempfile::tempdir().unwrap();
    let (code, err) = faulty(dir.path(), "stream_read@items=crash", "60", &[]);
    assert_eq!(code, 0, "{err}");
    let file = samples(dir.path());
    let crashed: Vec<_> = file
        .points
        .iter()
        .filter(|p| matches!(p.outcome, Outcome::Crashed(_)))
        .collect();
    assert_eq!(crashed.len(), 1, "{err}");
    assert_eq!(crashed[0].trials[0].variant, "items");
    assert!(file.complete);
    for p in file.measured("stream_read") {
        assert_eq!(p.variant.as_deref(), Some("lanes"), "{}", p.key());
    }
    assert!(file.measured("stream_read").count() > 5);
}

#[test]
fn a_driver_that_fails_again_and_again_ends_the_run_with_what_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let all = "stream_read=crash,launch=crash,gemm_skinny=crash,elementwise=crash";
    let (code, err) = faulty(dir.path(), all, "60", &[]);
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("3 failures in a row"), "{err}");
    let file = samples(dir.path());
    assert!(!file.complete && file.points.len() == protocol_crashes());
    // A better driver goes on after them.
    let (code, err) = faulty(dir.path(), "nothing/here=crash", "60", &["--resume"]);
    assert_eq!(code, 0, "{err}");
    let file = samples(dir.path());
    assert!(file.complete && file.points.iter().any(|p| p.seconds().is_some()));
}

fn protocol_crashes() -> usize {
    capsim::calibrate::supervise::MOST_CRASHES as usize
}

#[test]
fn one_core_is_a_device_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().display().to_string();
    let families = "launch,gemm_skinny";
    // Too little for a profile: this is about what the samples say.
    let out = capsim(&[
        "calibrate",
        "--backend",
        "cpu",
        "--threads",
        "1",
        "--quick",
        "--family",
        families,
        "-o",
        &at,
    ]);
    let file = samples(dir.path());
    assert!(file.complete, "{}", String::from_utf8_lossy(&out.stderr));
    assert!(file.device.name.starts_with("1 thread of "));
    assert_eq!(file.device.compute_units, 1);
    assert_eq!(file.environment["threads"], "1");
    assert!(fit::slug(&file.device.name).starts_with("1-thread-of-"));
    let refused = capsim(&["calibrate", "--backend", "cpu", "--threads", "0", "-o", &at]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--threads"));
}

#[test]
fn what_only_more_than_a_quick_run_measures_is_kept_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().display().to_string();
    // A pass of `copy` has no launches, one of `contention` has threads beside it.
    let out = capsim(&[
        "calibrate",
        "--backend",
        "cpu",
        "--family",
        "copy,contention,stream_read,gemm_prefill",
        "-o",
        &at,
    ]);
    let errors = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{errors}");
    let file = samples(dir.path());
    assert!(file.complete, "{errors}");
    for family in ["copy", "contention"] {
        let measured = file
            .points
            .iter()
            .filter(|p| p.family == family && p.stats.is_some());
        assert!(measured.count() > 1, "{family}");
    }
    assert!(
        file.points
            .iter()
            .any(|p| p.family == "copy" && p.launches == 0)
    );
}

#[test]
fn more_work_in_less_time_is_flagged() {
    let mut file = measured(Truth::default(), 1);
    assert!(
        file.points
            .iter()
            .all(|p| !p.flags.contains(&Flag::OutOfOrder))
    );
    let at = |file: &SamplesFile, id: &str| file.points.iter().position(|p| p.id == id).unwrap();
    let small = at(&file, "65536KiB");
    let slow: Vec<f64> = file.points[small]
        .samples_s
        .iter()
        .map(|s| 50.0 * s)
        .collect();
    file.points[small].stats = Some(capsim::calibrate::samples::Stats::of(&slow));
    file.points[small].samples_s = slow;
    protocol::order::mark(&mut file);
    for p in &file.points {
        let flagged = p.flags.contains(&Flag::OutOfOrder);
        assert_eq!(flagged, p.id == "65536KiB", "{}", p.key());
    }
}
