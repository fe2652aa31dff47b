//! `capsim explore`.
use super::Described;
use super::knob::{Control, GOALS, Knob, Pace, SLO, State, check};
use super::seen::Prices;
use super::server::{Explorer, Options};
use super::table::knobs;
use crate::compare;
use crate::scenario_args::{ScenarioArgs, command, flags_of, one_engine, quoted};
use crate::stop;
use anyhow::Context;
use capsim::fields::Field;
use capsim::plan::Slo;
use capsim::predict::spec::ScenarioSpec;
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
    /// Limits that are judged and drawn into the curves. Example: ttft.p95<2s,tpot.p95<100ms
    #[arg(long, help_heading = "Page")]
    slo: Option<String>,
    /// Price of one device: DEVICE=2.10/h rented, or DEVICE=2400,36mo bought and used for 36 months (repeatable)
    #[arg(long, value_name = "DEVICE=PRICE", help_heading = "Page")]
    price: Vec<String>,
    /// Price of electricity, for devices that are bought. Example: 0.30/kWh
    #[arg(long, value_name = "PRICE/kWh", help_heading = "Page")]
    electricity: Option<String>,
    #[command(flatten)]
    scenario: ScenarioArgs,
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
    if state.get("trace-file").is_none() {
        // The trace was turned off: what was said of it means nothing now.
        let of_trace = |f: &Field| f.name.starts_with("trace_");
        for (place, _) in LOAD.iter().enumerate().filter(|(_, f)| of_trace(f)) {
            spec.load.clear(place);
        }
    }
    for (flag, value) in state
        .0
        .iter()
        .filter(|(flag, _)| !GOALS.contains(&flag.as_str()))
    {
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
    let prices = Prices {
        devices: compare::prices(&args.price)?,
        electricity: compare::electricity(args.electricity.as_deref())?,
    };
    // A trace that the command line did not name cannot be asked for.
    let no_trace = |k: &Knob| matches!(&k.control, Control::Choice(all) if all.is_empty());
    if knobs.iter().any(no_trace) {
        knobs.retain(|k| !no_trace(k) && k.paces != [Pace::Trace]);
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
        let document = files.inlined(&spec).map_err(|e| e.to_string())?.to_json();
        Ok(Described {
            scenario,
            command: command("predict", &spec),
            document,
        })
    };
    let options = Options {
        host: args.host.clone(),
        port: args.port,
        knobs,
        start,
        fixed: shown,
        prices,
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
