//! Which fields of a scenario have a knob, and how it is turned.
use super::knob::{Control, ELECTRICITY, Group, Knob, PRICE, Pace, SLO};
use capsim::device::builtin;
use capsim::engine::EngineVersion;
use capsim::engine::settings::{Slider, TABLE};
use capsim::fields::{Field, Kind};
use capsim::model;
use capsim::predict::spec::SERVED;
use capsim::workload::load::LOAD;

/// Powers of two and the values half-way between, from `low` to `high`.
fn doubling(low: u32, high: u32) -> Vec<f64> {
    let mut all: Vec<u32> = (0..32)
        .flat_map(|i| [1u64 << i, 3 << i])
        .filter_map(|v| u32::try_from(v).ok())
        .filter(|v| (low..=high).contains(v))
        .chain([low, high])
        .collect();
    all.sort_unstable();
    all.dedup();
    all.into_iter().map(f64::from).collect()
}

/// `of` hundredths, from one to another.
fn hundredths(values: impl Iterator<Item = u32>) -> Vec<f64> {
    values.map(|v| f64::from(v) / 100.0).collect()
}

/// 1, 1.5, 2, 3, 5, 7 times powers of ten, per second.
fn rates() -> Vec<f64> {
    (0..5)
        .flat_map(|d| [10, 15, 20, 30, 50, 70].map(|m| m * 10u32.pow(d)))
        .map(|v| f64::from(v) / 1000.0)
        .chain([1000.0])
        .collect()
}

fn words(all: &[&str]) -> Control {
    Control::Choice(all.iter().map(|s| s.to_string()).collect())
}

fn whole(stops: Vec<f64>) -> Control {
    Control::Number { stops, whole: true }
}

fn any(stops: Vec<f64>) -> Control {
    Control::Number {
        stops,
        whole: false,
    }
}

/// Releases of vLLM from the first whose rules are simulated to the newest whose decisions were recorded.
fn releases() -> Vec<String> {
    let (first, last) = (EngineVersion::V0_12, EngineVersion::V0_33);
    (0..=first.releases_to(last))
        .map(|i| format!("0.{}", 12 + i))
        .collect()
}

/// How an engine setting is turned; `None`: it has no knob.
fn slider(s: Slider, kind: Kind) -> Option<Control> {
    let number = |stops| match kind {
        Kind::Count(_) => Some(whole(stops)),
        _ => Some(any(stops)),
    };
    match s {
        Slider::None => None,
        Slider::Doubling(low, high) => number(doubling(low, high)),
        Slider::Hundredths(low, high, step) => number(hundredths((low..=high).step_by(step))),
        Slider::Stops(stops) => number(stops.to_vec()),
        Slider::OnOff => Some(words(&["true", "false"])),
        Slider::Words(all) => Some(words(all)),
    }
}

/// How a field of what is served is turned.
fn served(name: &str) -> Option<Control> {
    let engines = builtin::engines;
    Some(match name {
        "model" => Control::Choice(model::builtin::ALL.iter().map(|b| b.name()).collect()),
        "weights" => words(&[
            "bf16", "fp16", "fp8", "int8", "awq", "gptq", "mxfp4", "q4_k_m", "q8_0",
        ]),
        "device" => Control::Choice(builtin::devices().into_iter().map(|d| d.id).collect()),
        "engine" => Control::Choice(engines().into_iter().map(|e| e.id).collect()),
        "engine_version" => Control::Choice(releases()),
        "moe_tiles" => {
            let paths = |e: capsim::device::EngineProfile| e.moe_paths.into_keys();
            let mut all: Vec<String> = engines().into_iter().flat_map(paths).collect();
            all.sort();
            all.dedup();
            Control::Choice(all)
        }
        _ => return None,
    })
}

/// How a field of the load is turned, and under which paces it means something; none named: under all.
fn load(name: &str) -> Option<(Control, &'static [Pace])> {
    use Pace::{Open, Rate, Trace, Users};
    const DRAWN: &[Pace] = &[Open, Rate, Users];
    Some(match name {
        "max_concurrency" => (whole(doubling(1, 1024)), &[Open, Rate, Trace]),
        "request_rate" => (any(rates()), &[Rate]),
        "users" => (whole(doubling(1, 2048)), &[Users]),
        "think_time" => (
            Control::Text {
                example: "exponential:10",
            },
            &[Users],
        ),
        "turns" => (
            whole(vec![
                1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 64.0,
            ]),
            &[Users],
        ),
        // Only files that the command line names: a page cannot ask for one.
        "trace_file" => (Control::Choice(vec![]), &[Trace, Users]),
        "trace_speedup" => (
            any(vec![
                0.1, 0.2, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 16.0, 32.0,
            ]),
            &[Trace],
        ),
        "random_input_len" => (whole(doubling(1, 131_072)), DRAWN),
        "random_output_len" => (whole(doubling(1, 16_384)), DRAWN),
        "random_range_ratio" => (any(hundredths((0..=95).step_by(5))), DRAWN),
        "prompts" => (words(&["distinct", "identical", "shared-prefix"]), DRAWN),
        "shared_prefix_len" => {
            let stops = [0.0].into_iter().chain(doubling(16, 65_536)).collect();
            (whole(stops), DRAWN)
        }
        "num_prompts" => (whole(doubling(1, 20_000)), &[]),
        _ => return None,
    })
}

/// Fields of the load in the order of the page: what sets the pace first.
const LOAD_ORDER: [&str; 13] = [
    "max_concurrency",
    "request_rate",
    "users",
    "think_time",
    "turns",
    "trace_file",
    "trace_speedup",
    "random_input_len",
    "random_output_len",
    "random_range_ratio",
    "prompts",
    "shared_prefix_len",
    "num_prompts",
];

/// Engine settings that most people turn; the others are folded away.
const USUAL: [&str; 10] = [
    "max_num_seqs",
    "max_num_batched_tokens",
    "max_model_len",
    "gpu_memory_utilization",
    "kv_cache_dtype",
    "tensor_parallel_size",
    "data_parallel_size",
    "enable_prefix_caching",
    "async_scheduling",
    "enforce_eager",
];

/// Fields of the load that few people turn.
const RARE: [&str; 4] = [
    "random_range_ratio",
    "prompts",
    "shared_prefix_len",
    "num_prompts",
];

/// What a field is called here, where the page has a clearer word than a form of all fields.
fn label(field: &Field) -> &'static str {
    match field.name {
        "max_concurrency" => "Requests open at once",
        "data_parallel_size" => "Replicas behind one router",
        "tensor_parallel_size" => "Devices that share the model",
        _ => field.label,
    }
}

fn knob(field: &Field, group: Group, control: Control) -> Knob {
    Knob {
        flag: field.flag(),
        label: label(field),
        help: field.help,
        group,
        control,
        paces: &[],
        rare: false,
    }
}

/// Knobs of the question rather than of the scenario.
fn goals() -> [Knob; 3] {
    let goal = |flag: &str, label, help, example| Knob {
        flag: flag.into(),
        label,
        help,
        group: Group::Goal,
        control: Control::Text { example },
        paces: &[],
        rare: false,
    };
    [
        goal(
            SLO,
            "SLO",
            "Limits that are judged and drawn into the curves, separated by commas; figures are mean, p50, p90, p95 and p99 of ttft, tpot, \
             itl and e2el, and throughputs",
            "ttft.p95<2s,tpot.p95<100ms",
        ),
        goal(
            PRICE,
            "Price of one device",
            "2.10/h for a rented device, or 2400,36mo for one that is bought and used for 36 months; in any currency",
            "2.10/h",
        ),
        goal(
            ELECTRICITY,
            "Price of electricity",
            "Per kWh, for a device that is bought; in the same currency",
            "0.30/kWh",
        ),
    ]
}

/// All knobs.
pub fn knobs() -> Vec<Knob> {
    let load = LOAD_ORDER.iter().filter_map(|name| {
        let field = LOAD.iter().find(|f| f.name == *name)?;
        let (control, paces) = load(name)?;
        Some(Knob {
            paces,
            rare: RARE.contains(name),
            ..knob(field, Group::Load, control)
        })
    });
    let served = SERVED
        .iter()
        .filter_map(|f| Some(knob(f, Group::Serve, served(f.name)?)));
    let settings = TABLE.iter().filter_map(|s| {
        let control = slider(s.slider, s.field.kind)?;
        Some(Knob {
            rare: !USUAL.contains(&s.field.name),
            ..knob(&s.field, Group::Engine, control)
        })
    });
    load.chain(goals()).chain(served).chain(settings).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use capsim::predict::spec::ScenarioSpec;

    #[test]
    fn the_knobs_of_a_pace_do_not_contradict_each_other() {
        for pace in [Pace::Open, Pace::Rate, Pace::Users] {
            let mut spec = ScenarioSpec::default();
            for k in knobs().iter().filter(|k| k.group == Group::Load) {
                if !(k.paces.is_empty() || k.paces.contains(&pace)) {
                    continue;
                }
                let value = match &k.control {
                    Control::Number { stops, .. } => stops[2].to_string(),
                    Control::Choice(all) if all.is_empty() => continue,
                    Control::Choice(all) => all[0].clone(),
                    Control::Text { example } => example.to_string(),
                };
                let field = ScenarioSpec::field(&k.flag).unwrap();
                spec.set(&k.flag, field.parse(&value).unwrap()).unwrap();
            }
            let load = capsim::workload::load::resolve(&spec.load, &());
            assert!(load.is_ok(), "{pace:?}: {load:?}");
        }
    }

    #[test]
    fn every_name_of_an_order_is_a_field() {
        let all = knobs();
        for name in LOAD_ORDER.iter().chain(&USUAL) {
            let flag = name.replace('_', "-");
            assert!(all.iter().any(|k| k.flag == flag), "{name}");
        }
    }
}
