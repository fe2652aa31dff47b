//! The twin of `vllm bench serve`'s random numbers, against vectors that NumPy itself computed.
use capsim::workload::numpy::{DefaultRng, LegacyRandom};
use capsim::workload::vllm_bench;
use serde_json::Value;

fn vectors(kind: &str) -> Vec<Value> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/numpy/vectors.json");
    let v: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    v[kind].as_array().unwrap().clone()
}

fn floats(v: &Value) -> Vec<f64> {
    v.as_array()
        .unwrap()
        .iter()
        .map(|x| x.as_f64().unwrap())
        .collect()
}

/// NumPy calls the platform's logarithm, we call libm's: the last bits may differ, nothing else.
fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-13 * b.abs()
}

#[test]
fn legacy_gamma_variates_are_numpys() {
    for case in vectors("gamma") {
        let mut rng = LegacyRandom::new(case["seed"].as_u64().unwrap() as u32);
        let (shape, scale) = (
            case["shape"].as_f64().unwrap(),
            case["scale"].as_f64().unwrap(),
        );
        for want in floats(&case["values"]) {
            let got = rng.gamma(shape, scale);
            assert!(close(got, want), "shape {shape}: {got} against {want}");
        }
    }
}

#[test]
fn bounded_integers_are_numpys() {
    for case in vectors("integers") {
        let mut rng = DefaultRng::new(case["seed"].as_u64().unwrap());
        let ranges = case["ranges"].as_array().unwrap();
        for (range, values) in ranges.iter().zip(case["values"].as_array().unwrap()) {
            let bound = |i: usize| range[i].as_u64().unwrap() as u32;
            for want in values.as_array().unwrap() {
                assert_eq!(
                    u64::from(rng.integer(bound(0), bound(1))),
                    want.as_u64().unwrap()
                );
            }
        }
    }
}

#[test]
fn arrivals_are_those_of_vllm_bench() {
    for case in vectors("arrivals") {
        let want = floats(&case["values"]);
        let (rate, n) = (case["rate"].as_f64().unwrap(), want.len() as u32);
        let burstiness = case["burstiness"].as_f64().unwrap();
        let got = vllm_bench::arrivals(
            n,
            Some(rate),
            burstiness,
            case["seed"].as_u64().unwrap() as u32,
        );
        assert!(
            got.iter().zip(&want).all(|(a, b)| close(*a, *b)),
            "{got:?} {want:?}"
        );
        assert!(
            close(*got.last().unwrap(), f64::from(n) / rate),
            "the last one is at N / rate"
        );
    }
}

#[test]
fn lengths_are_drawn_inputs_first() {
    // integers(512, 1537, 33) and then integers(128, 385, 33) of seed 1, as recorded.
    let case = &vectors("integers")[1];
    let got = vllm_bench::lengths(33, 1024, 256, 0.5, 1);
    let want = |k: usize| -> Vec<u64> {
        case["values"][k]
            .as_array()
            .unwrap()
            .iter()
            .map(|v| v.as_u64().unwrap())
            .collect()
    };
    assert_eq!(
        got.iter().map(|l| u64::from(l.0)).collect::<Vec<_>>(),
        want(0)
    );
    assert_eq!(
        got.iter().map(|l| u64::from(l.1)).collect::<Vec<_>>(),
        want(1)
    );
}
