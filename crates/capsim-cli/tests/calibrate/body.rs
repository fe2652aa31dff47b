//! The same body on every device there is. No speed of a real device is asserted anywhere: these machines are shared.
use super::common::{accepted, empty};
use capsim_calibrate::backend::{Backend, BackendError};
use capsim_calibrate::clock::{Clock, HostClock, SimulatedClock};
use capsim_calibrate::cpu::Cpu;
use capsim_calibrate::families;
use capsim_calibrate::family::{Effort, Family};
use capsim_calibrate::protocol::{self, Event};
use capsim_calibrate::samples::{Flag, Outcome, SamplesFile};
use capsim_calibrate::synthetic::{self, Synthetic, Truth};
use std::time::Duration;

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
    let open = || capsim_calibrate::opencl::OpenCl::open(0);
    on_backend("opencl", open().map(|d| Box::new(d) as Box<dyn Backend>));
}

#[cfg(feature = "wgpu")]
#[test]
fn the_same_body_through_wgpu() {
    let open = || capsim_calibrate::wgpu::Wgpu::open(0);
    on_backend("wgpu", open().map(|d| Box::new(d) as Box<dyn Backend>));
}
