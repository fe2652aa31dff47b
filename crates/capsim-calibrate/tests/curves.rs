//! What is measured is priced: every curve is fed by a family and read by a price, and stored samples give the stored profile.
use capsim::cost::{CostOptions, Routing, StepCost, StepPrice, StepShape};
use capsim::device::{CURVES, CurveId, DeviceProfile, Times, builtin};
use capsim::model::{self, Model, Precision};
use capsim_calibrate::samples::SamplesFile;
use capsim_calibrate::{families, fit};
use std::path::PathBuf;

/// The one calibration of a GPU that is stored with its samples.
fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../calibration/h200-sxm/measured-2026-11-27")
}

fn stored(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).expect("stored with capsim")
}

fn samples() -> SamplesFile {
    SamplesFile::parse(&stored("samples.json"), "samples.json").expect("valid")
}

fn profile() -> DeviceProfile {
    DeviceProfile::parse(&stored("device.json"), "device.json").expect("valid")
}

/// A processor that was measured with the same families.
fn processor() -> DeviceProfile {
    let path = folder().join("../../../validation/cpu-vllm/2026-11-30-0.32.0/device/device.json");
    let text = std::fs::read_to_string(path).expect("stored with capsim");
    DeviceProfile::parse(&text, "device.json").expect("valid")
}

/// Seconds of a step of a mixture in graphs, and of one with a prompt.
fn price(device: &DeviceProfile, shape: &StepShape) -> f64 {
    let name = "Qwen/Qwen3-30B-A3B-Instruct-2507";
    let config = model::builtin::find(name).expect("shipped").config();
    let model = Model::new(&config, Precision::of(&config));
    let mut engine = builtin::engine("vllm-0.20-cuda").expect("shipped");
    // Nothing of the host's hides what the device takes.
    engine.host.step.value = 1e-9;
    engine.host.launch_graph.value = 1e-9;
    engine.host.launch_eager.value = 1e-12;
    engine.host.launch_experts = None;
    let options = CostOptions {
        draft: None,
        enforce_eager: false,
        async_scheduling: true,
        max_num_seqs: 64,
        max_num_batched_tokens: 4096,
        micro_batch: None,
        images: None,
        placement: Default::default(),
        op_offload: true,
        moe_path: None,
        routing: Routing::Uniform,
    };
    let cost = StepPrice::new(&model, device, &engine, options).expect("a path");
    cost.step(shape).secs()
}

fn decode(seqs: u32, context: u64) -> StepShape {
    StepShape {
        decode_seqs: seqs,
        decode_context: context * u64::from(seqs),
        decode_context_windowed: context * u64::from(seqs),
        sampled: seqs,
        distinct_tokens: seqs,
        ..StepShape::default()
    }
}

fn prefill(tokens: u32) -> StepShape {
    let pairs = u64::from(tokens) * u64::from(tokens + 1) / 2;
    StepShape {
        prefill_seqs: 1,
        prefill_tokens: tokens,
        prefill_context: tokens.into(),
        prefill_pairs: pairs,
        prefill_pairs_windowed: pairs,
        sampled: 1,
        distinct_tokens: tokens,
        ..StepShape::default()
    }
}

#[test]
fn every_curve_is_fed_by_a_family_and_what_feeds_none_is_not_measured_by_default() {
    let all = families::all();
    for curve in CURVES {
        assert!(
            all.iter().any(|f| f.feeds().contains(&curve.id)),
            "nothing measures {}",
            curve.name
        );
    }
    let none: Vec<&str> = all
        .iter()
        .filter(|f| f.feeds().is_empty())
        .map(|f| f.name())
        .collect();
    assert_eq!(none, ["stream", "layer", "copy", "contention"]);
}

/// Makes one curve slower.
fn slower(device: &mut DeviceProfile, curve: CurveId) {
    let times = |t: &mut Option<Times>| {
        let t = t.as_mut().expect("measured");
        t.points.iter_mut().for_each(|p| p.seconds *= 2.0);
    };
    let rates = |c: &mut capsim::device::Curve| c.points.iter_mut().for_each(|p| p.y /= 2.0);
    let c = &mut device.curves;
    match curve {
        CurveId::StreamRead => rates(&mut device.stream_read),
        CurveId::GemmF16 => rates(&mut device.gemm_f16),
        CurveId::AttentionPrefill => rates(&mut device.attention_prefill),
        CurveId::Elementwise => rates(&mut device.elementwise),
        CurveId::Launch => device.launch.value *= 2.0,
        CurveId::MatrixStream => rates(c.matrix_stream.as_mut().expect("measured")),
        CurveId::ExpertsStream => rates(c.experts_stream.as_mut().expect("measured")),
        CurveId::ExpertsRate => rates(c.experts_rate.as_mut().expect("measured")),
        CurveId::AttentionDecode => times(&mut c.attention_decode),
        CurveId::Router => times(&mut c.router),
        CurveId::KvWrite => times(&mut c.kv_write),
        CurveId::Sampling => times(&mut c.sampling),
    }
}

#[test]
fn every_curve_of_a_measured_profile_is_read_by_a_price() {
    let (gpu, processor) = (profile(), processor());
    let shapes = [decode(8, 4096), prefill(4096)];
    for curve in CURVES {
        // Only processors have this one.
        let base = match curve.id {
            CurveId::ExpertsRate => &processor,
            _ => &gpu,
        };
        let before = shapes.map(|s| price(base, &s));
        let mut device = base.clone();
        slower(&mut device, curve.id);
        let after = shapes.map(|s| price(&device, &s));
        assert!(
            after.iter().zip(&before).any(|(a, b)| *a > 1.0005 * b),
            "nothing reads {}",
            curve.name
        );
        assert!(after.iter().zip(&before).all(|(a, b)| a >= b));
    }
}

#[test]
fn stored_samples_give_the_stored_profile_byte_for_byte() {
    let fit = fit::fit(&samples(), "samples.json").expect("complete");
    let text = serde_json::to_string_pretty(&fit.profile).expect("numbers and strings") + "\n";
    let kept = stored("device.json");
    let differs = text.lines().zip(kept.lines()).find(|(a, b)| a != b);
    assert!(
        text == kept,
        "capsim calibrate --refit calibration/h200-sxm/measured-2026-11-27 writes it anew: {differs:?}"
    );
}

#[test]
fn a_decode_step_never_takes_less_for_more() {
    let device = profile();
    let mut last = 0.0;
    for n in 1..=64 {
        let now = price(&device, &decode(n, 512));
        assert!(now >= last, "{n} sequences are faster than {}", n - 1);
        last = now;
    }
    let mut last = 0.0;
    for context in (1..200).map(|i| i * 100) {
        let now = price(&device, &decode(8, context));
        assert!(now >= last, "{context} tokens are faster than fewer");
        last = now;
    }
}

#[test]
fn kernels_without_matrix_units_set_no_limit() {
    let mut file = samples();
    let before = fit::fit(&file, "samples.json").expect("complete").profile;
    // All products that use no matrix units ten times slower, but for the fewest rows.
    for p in &mut file.points {
        let plain = p.variant.as_deref().is_some_and(|v| !v.contains("ptx"));
        if p.family == "gemm_skinny" && plain && p.axis("m") > Some(2.0) {
            p.samples_s.iter_mut().for_each(|s| *s *= 10.0);
            p.stats = Some(capsim_calibrate::samples::Stats::of(&p.samples_s));
        }
    }
    let after = fit::fit(&file, "samples.json").expect("complete").profile;
    assert_eq!(before.gemm_f16, after.gemm_f16);
    assert_eq!(before.curves, after.curves);
    // Without any product on matrix units there is nothing better.
    file.points.retain(|p| p.family != "gemm_prefill");
    let alone = fit::fit(&file, "samples.json").expect("complete").profile;
    assert!(alone.gemm_f16.peak() < 0.1 * after.gemm_f16.peak());
}

#[test]
fn experts_stream_no_slower_than_a_kernel_that_memory_limits() {
    // A grouped kernel that decodes every weight once and reads at half the memory's rate, whatever the rows: nothing of it is
    // arithmetic, so that all its points stand in the curve.
    let mut file = samples();
    let memory = profile().dram_read();
    for p in file.points.iter_mut().filter(|p| p.family == "moe") {
        p.variant = Some("bf16-ptx-16x64".into());
        let seconds = p.work.bytes / (0.5 * memory) + f64::from(p.launches) * 4.7e-6;
        p.samples_s = vec![seconds; 11];
        p.stats = Some(capsim_calibrate::samples::Stats::of(&p.samples_s));
    }
    let fit = fit::fit(&file, "samples.json").expect("complete");
    let curve = fit.profile.curves.experts_stream.expect("measured");
    assert!(curve.points.len() > 5);
    for p in &curve.points {
        assert!((p.y / (0.5 * memory) - 1.0).abs() < 0.02, "{p:?}");
    }
}
