//! Samples files: whatever is in them, reading and fitting do not panic.
use super::common::measured;
use capsim_calibrate::compare::compare;
use capsim_calibrate::fit;
use capsim_calibrate::samples::SamplesFile;
use capsim_calibrate::synthetic::Truth;
use proptest::prelude::*;

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
                let _ = capsim_study::report::roofline::svg(&file, &f);
                let _ = capsim_study::report::calibration::text(&file, &f, None);
                let _ = compare(&file, &file);
            }
        },
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: Some(Box::new(proptest::test_runner::FileFailurePersistence::WithSource("proptest-regressions"))), ..ProptestConfig::default() })]

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
