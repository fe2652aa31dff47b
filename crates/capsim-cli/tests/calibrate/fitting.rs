//! From samples to profiles and comparisons, held against the truth of the synthetic device.
use super::common::measured;
use capsim_calibrate::compare::{Verdict, compare};
use capsim_calibrate::fit;
use capsim_calibrate::synthetic::{Knee, Truth};

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

#[test]
fn power_is_recorded_where_there_is_a_sensor_and_absent_where_there_is_none() {
    let silent = measured(Truth::default(), 3);
    assert!(silent.power.is_none() && fit::fit(&silent, "test").unwrap().profile.power.is_none());
    let told = measured(
        Truth {
            watts: Some([20.0, 120.0, 240.0]),
            ..Truth::default()
        },
        3,
    );
    let power = fit::fit(&told, "test").unwrap().profile.power.unwrap();
    let value = |q: &Option<capsim::device::Quantity>| q.as_ref().unwrap().value;
    assert_eq!(value(&power.idle_w), 20.0);
    assert_eq!(value(&power.streaming_w), 120.0);
    assert_eq!(value(&power.multiplying_w), 240.0);
    assert!(power.streaming_w.unwrap().rel_sd >= 0.05);
}
