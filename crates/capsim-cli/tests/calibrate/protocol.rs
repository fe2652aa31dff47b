//! How points are measured, on the synthetic device with a simulated clock.
use super::common::{Session, accepted, empty, measured};
use capsim_calibrate::backend::{Backend, BackendError};
use capsim_calibrate::clock::{Clock, SimulatedClock};
use capsim_calibrate::family::Effort;
use capsim_calibrate::fit;
use capsim_calibrate::protocol::{self, Event, SessionError};
use capsim_calibrate::samples::{Flag, Limits, Outcome, SamplesFile};
use capsim_calibrate::synthetic::{self, Synthetic, Throttle, Truth};
use std::time::Duration;

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
    file.points[small].stats = Some(capsim_calibrate::samples::Stats::of(&slow));
    file.points[small].samples_s = slow;
    protocol::order::mark(&mut file);
    for p in &file.points {
        let flagged = p.flags.contains(&Flag::OutOfOrder);
        assert_eq!(flagged, p.id == "65536KiB", "{}", p.key());
    }
}

#[test]
fn a_cache_that_the_driver_does_not_tell_of_makes_the_ring_grow() {
    // 150 MB: the usual 256 MiB would be half cached.
    let truth = Truth {
        cache_bytes: 150e6,
        told_cache_bytes: Some(2 << 20),
        memory_bytes: 64 << 30,
        ..Truth::default()
    };
    let (file, _) = Session::of(truth.clone(), 1).run();
    assert_eq!(file.ring_bytes, 512 << 20);
    let fit = fit::fit(&file, "test").unwrap();
    assert!(
        fit.notes.iter().any(|n| n.contains("does not tell")),
        "{:?}",
        fit.notes
    );
    let last = fit.profile.stream_read.points.last().unwrap();
    let off = last.y / truth.dram_rate - 1.0;
    assert!(off.abs() < 0.02, "memory is read {off} faster than it is");
    // A driver that tells, and a small cache, leave the ring alone.
    let told = Truth {
        told_cache_bytes: None,
        ..truth
    };
    assert_eq!(measured(told, 1).ring_bytes, 600_000_000);
    assert_eq!(measured(Truth::default(), 1).ring_bytes, 256 << 20);
}

#[test]
fn a_soak_tells_what_a_device_sustains() {
    let soaked = |throttle| {
        let truth = Truth {
            throttle,
            ..Truth::default()
        };
        let session = Session {
            soak_s: 60.0,
            ..Session::of(truth, 1)
        };
        let (file, clock) = session.run();
        assert!(clock.now() > Duration::from_secs(60));
        assert!(file.complete && (20..=121).contains(&file.soak.len()));
        fit::fit(&file, "test").unwrap()
    };
    // Slower after 20 s without a second of rest.
    let fit = soaked(Some(Throttle {
        after_s: 20.0,
        factor: 0.7,
        recovers_s: 1.0,
    }));
    let sustained = |fit: &fit::Fit, what: &str| {
        let found = fit.parameters.iter().find(|p| p.name.starts_with(what));
        let p = found.unwrap_or_else(|| panic!("{what}"));
        assert!(p.name.ends_with("sustained / first") && p.rel_sd < 0.05);
        p.value
    };
    for what in ["memory read, ", "matrix rate, sus"] {
        assert!((sustained(&fit, what) - 0.7).abs() < 0.03);
    }
    assert!(fit.notes.iter().any(|n| n.contains("without a rest")));
    let calm = soaked(None);
    assert!((sustained(&calm, "memory read, ") - 1.0).abs() < 0.02);
    assert!(measured(Truth::default(), 1).soak.is_empty());
}
