//! What the tests share: sessions on the synthetic device, and the command.
use assert_cmd::Command;
use capsim_calibrate::backend::Backend;
use capsim_calibrate::clock::SimulatedClock;
use capsim_calibrate::family::Effort;
use capsim_calibrate::fit;
use capsim_calibrate::protocol;
use capsim_calibrate::samples::{Limits, SamplesFile};
use capsim_calibrate::synthetic::{self, Synthetic, Truth};
use std::collections::BTreeMap;
use std::time::Duration;

pub fn empty(device: &dyn Backend, effort: Effort, seed: u64) -> SamplesFile {
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
        soak_s: 0.0,
        soak: vec![],
        power: None,
        points: vec![],
        device: info,
    }
}

pub struct Session {
    pub truth: Truth,
    pub seed: u64,
    pub effort: Effort,
    pub budget: Option<Duration>,
    pub limits: Limits,
    pub soak_s: f64,
}

impl Session {
    pub fn of(truth: Truth, seed: u64) -> Self {
        Self {
            truth,
            seed,
            effort: Effort::Full,
            budget: None,
            limits: Limits::default(),
            soak_s: 0.0,
        }
    }
    pub fn run(&self) -> (SamplesFile, SimulatedClock) {
        let clock = SimulatedClock::default();
        let mut device = Synthetic::new(self.truth.clone(), self.seed, clock.clone(), None);
        let mut file = empty(&device, self.effort, self.seed);
        file.limits = self.limits.clone();
        file.soak_s = self.soak_s;
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

pub fn measured(truth: Truth, seed: u64) -> SamplesFile {
    Session::of(truth, seed).run().0
}

/// The profile must be one that `predict` uses as it is.
pub fn accepted(file: &SamplesFile) {
    let fit = fit::fit(file, "test").unwrap();
    let m = capsim_calibrate::meaning::of(&fit.profile).unwrap();
    assert!(m.roof.is_finite() && m.roof > 0.0 && m.engine > 0.0);
    let svg = capsim_study::report::roofline::svg(file, &fit).unwrap();
    assert!(svg.starts_with("<svg") && !svg.contains("NaN") && !svg.contains("inf\""));
    let text = capsim_study::report::calibration::text(file, &fit, Some(&m));
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

pub fn capsim(args: &[&str]) -> std::process::Output {
    Command::cargo_bin("capsim")
        .unwrap()
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .args(args)
        .timeout(Duration::from_secs(300))
        .output()
        .unwrap()
}

pub fn stdout(args: &[&str]) -> String {
    let out = capsim(args);
    assert!(
        out.status.success(),
        "{args:?}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    String::from_utf8(out.stdout).unwrap()
}

pub fn samples(dir: &std::path::Path) -> SamplesFile {
    let text = std::fs::read_to_string(dir.join("samples.json")).unwrap();
    SamplesFile::parse(&text, "samples.json").unwrap()
}
