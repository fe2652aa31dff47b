//! `capsim explore`.
use super::{Control, Described, Explorer, Group, Knob, Options, SLO, State, check};
use crate::scenario_args::{ScenarioArgs, command, flags_of, one_engine, quoted};
use crate::stop;
use anyhow::Context;
use capsim::device::builtin;
use capsim::engine::settings::{Slider, TABLE};
use capsim::fields::{Field, Kind};
use capsim::model;
use capsim::plan::Slo;
use capsim::predict::spec::{SERVED, ScenarioSpec};
use capsim::workload::load::LOAD;
use clap::Args;
use std::process::ExitCode;

#[derive(Args, Debug)]
#[command(
    after_help = "Flags with a knob say where it stands at first; the others hold throughout. See docs/guide/explore.md."
)]
pub struct ExploreArgs {
    /// Address to listen at
    #[arg(long, default_value = "127.0.0.1", help_heading = "Page")]
    host: String,
    /// Port; 0 takes any free one
    #[arg(long, default_value_t = 8010, help_heading = "Page")]
    port: u16,
    /// Conditions to draw into the curves: ttft.p99<2s,tpot.mean<100ms
    #[arg(long, help_heading = "Page")]
    slo: Option<String>,
    #[command(flatten)]
    scenario: ScenarioArgs,
}

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

fn knob(field: &Field, group: Group, control: Control) -> Knob {
    Knob {
        flag: field.flag(),
        label: field.label,
        group,
        control,
    }
}

/// How an engine setting is turned; `None`: it has no knob.
fn slider(s: Slider, kind: Kind) -> Option<Control> {
    let whole = matches!(kind, Kind::Count(_));
    let number = |stops| Some(Control::Number { stops, whole });
    match s {
        Slider::None => None,
        Slider::Doubling(low, high) => number(doubling(low, high)),
        Slider::Hundredths(low, high, step) => number(hundredths((low..=high).step_by(step))),
        Slider::Stops(stops) => number(stops.to_vec()),
        Slider::OnOff => Some(words(&["true", "false"])),
        Slider::Words(all) => Some(words(all)),
    }
}

/// How a field of what is served, or of the load, is turned; `None`: it has no knob.
fn control(name: &str) -> Option<Control> {
    let whole = |stops| Control::Number { stops, whole: true };
    let any = |stops| Control::Number {
        stops,
        whole: false,
    };
    let engines = builtin::engines;
    Some(match name {
        "model" => Control::Choice(model::builtin::ALL.iter().map(|b| b.name()).collect()),
        "weights" => words(&[
            "bf16", "fp16", "fp8", "int8", "awq", "gptq", "mxfp4", "q4_k_m", "q8_0",
        ]),
        "device" => Control::Choice(builtin::devices().into_iter().map(|d| d.id).collect()),
        "engine" => Control::Choice(engines().into_iter().map(|e| e.id).collect()),
        "moe_tiles" => {
            let mut all: Vec<String> = engines()
                .into_iter()
                .flat_map(|e| e.moe_paths.into_keys())
                .collect();
            all.sort();
            all.dedup();
            Control::Choice(all)
        }
        "max_concurrency" => whole(doubling(1, 1024)),
        "request_rate" => any(rates()),
        "random_input_len" => whole(doubling(1, 131_072)),
        "random_output_len" => whole(doubling(1, 16_384)),
        "random_range_ratio" => any(hundredths((0..=95).step_by(5))),
        "prompts" => words(&["distinct", "identical", "shared-prefix"]),
        "shared_prefix_len" => whole([0.0].into_iter().chain(doubling(16, 65_536)).collect()),
        "num_prompts" => whole(doubling(1, 20_000)),
        _ => return None,
    })
}

fn knobs() -> Vec<Knob> {
    let served = SERVED
        .iter()
        .filter_map(|f| Some(knob(f, Group::Serve, control(f.name)?)));
    let settings = TABLE.iter().filter_map(|s| {
        Some(knob(
            &s.field,
            Group::Engine,
            slider(s.slider, s.field.kind)?,
        ))
    });
    let load = LOAD
        .iter()
        .filter_map(|f| Some(knob(f, Group::Load, control(f.name)?)));
    let slo = Knob {
        flag: SLO.into(),
        label: "SLO, drawn into the curves",
        group: Group::Load,
        control: Control::Text {
            example: "ttft.p99<2s,tpot.mean<100ms",
        },
    };
    served.chain(settings).chain(load).chain([slo]).collect()
}

/// Where the knobs stand at first, and the rest of the scenario, which holds throughout.
fn split(
    spec: &ScenarioSpec,
    knobs: &mut [Knob],
) -> anyhow::Result<(Vec<(String, String)>, ScenarioSpec)> {
    let (mut start, mut fixed) = (vec![], spec.unsaid());
    for (field, value) in spec.said() {
        let Some(knob) = knobs.iter_mut().find(|k| k.flag == field.flag()) else {
            fixed.set(field.name, value)?;
            continue;
        };
        let value = value.to_string();
        // A file's path, or a format that is rarer than those on the list.
        if let Control::Choice(options) = &mut knob.control
            && !options.contains(&value)
        {
            options.push(value.clone());
        }
        start.push((knob.flag.clone(), value));
    }
    Ok((start, fixed))
}

/// A state of the page as a document: what holds throughout, and where the knobs stand.
fn turned(state: &State, fixed: &ScenarioSpec) -> Result<ScenarioSpec, String> {
    let mut spec = fixed.clone();
    for (flag, value) in state.0.iter().filter(|(flag, _)| flag != SLO) {
        let field = ScenarioSpec::field(flag).map_err(|e| e.to_string())?;
        let value = field.parse(value).map_err(|e| e.to_string())?;
        spec.set(flag, value).map_err(|e| e.to_string())?;
    }
    Ok(spec)
}

pub fn run(args: &ExploreArgs) -> anyhow::Result<ExitCode> {
    let mut knobs = knobs();
    let spec = args.scenario.spec()?;
    one_engine(&spec, "explore")?;
    // What the page would be told is told here, before it is opened.
    spec.resolve(&args.scenario.files)?;
    let (mut start, fixed) = split(&spec, &mut knobs)?;
    if let Some(slo) = &args.slo {
        Slo::parse(slo).context("--slo")?;
        start.push((SLO.into(), slo.clone()));
    }
    let start = check(&knobs, &start)
        .map_err(|r| anyhow::anyhow!("--{}: {}", r.flag.unwrap_or_default(), r.message))?;
    let shown = match flags_of(&fixed) {
        Some(flags) => quoted(&flags),
        None => "a profile or config that was given whole".into(),
    };
    let not_simulated = spec.not_simulated.clone();
    let files = args.scenario.files.clone();
    let describe = move |state: &State| {
        let spec = turned(state, &fixed)?;
        let scenario = spec.resolve(&files).map_err(|e| e.to_string())?;
        Ok(Described {
            scenario,
            command: command("predict", &spec),
        })
    };
    let options = Options {
        host: args.host.clone(),
        port: args.port,
        knobs,
        start,
        fixed: shown,
        describe: Box::new(describe),
    };
    stop::serve(async |mut stop| {
        let explorer = Explorer::start(options).await?;
        println!(
            "capsim explore: open this page, end with Ctrl-C\n  {}",
            explorer.url()
        );
        for flag in &not_simulated {
            println!("  not simulated: {flag}");
        }
        stop.asked().await;
        explorer.shutdown().await;
        Ok(ExitCode::SUCCESS)
    })
}
