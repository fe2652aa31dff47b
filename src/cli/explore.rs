//! `capsim explore`.
use super::files::Files;
use super::stop;
use super::sweep;
use super::sweep_args::SweepArgs;
use super::words::{self, Flags, Known, Word, quoted};
use crate::device::builtin;
use crate::explore::{Control, Described, Explorer, Group, Knob, Options, SLO, State, check};
use crate::model;
use crate::plan::Slo;
use anyhow::{Context, bail};
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
    scenario: SweepArgs,
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

fn knobs() -> Vec<Knob> {
    let choice = |all: Vec<String>| Control::Choice(all);
    let words = |all: &[&str]| Control::Choice(all.iter().map(|s| s.to_string()).collect());
    let whole = |stops: Vec<f64>| Control::Number { stops, whole: true };
    let any = |stops: Vec<f64>| Control::Number {
        stops,
        whole: false,
    };
    let on_off = || words(&["true", "false"]);
    let engines = builtin::engines();
    let mut tiles: Vec<String> = engines
        .iter()
        .flat_map(|e| e.moe_paths.keys().cloned())
        .collect();
    tiles.sort();
    tiles.dedup();
    use Group::{Engine, Load, Serve};
    let all: Vec<(&str, &str, Group, Control)> = vec![
        (
            "model",
            "Model",
            Serve,
            choice(model::builtin::ALL.iter().map(|b| b.name()).collect()),
        ),
        (
            "weights",
            "Weight format",
            Serve,
            words(&[
                "bf16", "fp16", "fp8", "int8", "awq", "gptq", "mxfp4", "q4_k_m", "q8_0",
            ]),
        ),
        (
            "kv-cache-dtype",
            "KV cache's type",
            Serve,
            words(&["auto", "fp8"]),
        ),
        (
            "device",
            "Device",
            Serve,
            choice(builtin::devices().into_iter().map(|d| d.id).collect()),
        ),
        (
            "engine",
            "Engine",
            Serve,
            choice(engines.into_iter().map(|e| e.id).collect()),
        ),
        ("moe-tiles", "Expert kernels", Serve, choice(tiles)),
        (
            "max-num-seqs",
            "Most sequences in a batch",
            Engine,
            whole(doubling(1, 1024)),
        ),
        (
            "max-num-batched-tokens",
            "Most new tokens in a step",
            Engine,
            whole(doubling(64, 32_768)),
        ),
        (
            "max-model-len",
            "Longest sequence",
            Engine,
            whole(doubling(128, 262_144)),
        ),
        (
            "gpu-memory-utilization",
            "Part of the memory to use",
            Engine,
            any(hundredths((10..=100).step_by(2))),
        ),
        (
            "tensor-parallel-size",
            "Devices that share every layer",
            Engine,
            whole(vec![1.0, 2.0, 4.0, 8.0]),
        ),
        ("enable-prefix-caching", "Prefix caching", Engine, on_off()),
        (
            "enable-chunked-prefill",
            "Chunked prefill",
            Engine,
            on_off(),
        ),
        (
            "async-scheduling",
            "Asynchronous scheduling",
            Engine,
            on_off(),
        ),
        ("enforce-eager", "No graphs", Engine, on_off()),
        (
            "max-concurrency",
            "Most requests open at once",
            Load,
            whole(doubling(1, 1024)),
        ),
        ("request-rate", "Requests per second", Load, any(rates())),
        (
            "input-len",
            "Prompt tokens",
            Load,
            whole(doubling(1, 131_072)),
        ),
        (
            "output-len",
            "Output tokens",
            Load,
            whole(doubling(1, 16_384)),
        ),
        (
            "random-range-ratio",
            "Spread of the lengths",
            Load,
            any(hundredths((0..=95).step_by(5))),
        ),
        (
            "prompts",
            "What prompts have in common",
            Load,
            words(&["distinct", "identical", "shared-prefix"]),
        ),
        (
            "shared-prefix-len",
            "Shared tokens, for shared-prefix",
            Load,
            whole([0.0].into_iter().chain(doubling(16, 65_536)).collect()),
        ),
        (
            "num-prompts",
            "Requests measured",
            Load,
            whole(doubling(1, 20_000)),
        ),
        (
            SLO,
            "SLO, drawn into the curves",
            Load,
            Control::Text {
                example: "ttft.p99<2s,tpot.mean<100ms",
            },
        ),
    ];
    all.into_iter()
        .map(|(flag, label, group, control)| Knob {
            flag,
            label,
            group,
            control,
        })
        .collect()
}

/// What was said on the command line about the scenario: flags under the names of knobs where they have one, and the words of
/// a pasted line.
fn said(knobs: &[Knob]) -> anyhow::Result<(Flags, Vec<String>)> {
    let matches = super::command().get_matches();
    let matches = matches
        .subcommand_matches("explore")
        .context("explore was not asked for")?;
    let (said, line) = words::said::<SweepArgs>(matches);
    let mut flags: Flags = vec![];
    for flag in said {
        let turned = |name: &str| knobs.iter().find(|k| k.flag == name).map(|k| k.flag);
        let name = flag.names.iter().find_map(|n| turned(n));
        let name = name.unwrap_or(flag.long());
        if flag.switch {
            flags.push(match flag.long().strip_prefix("no-").and_then(turned) {
                Some(knob) => (knob.into(), Word::Switch(false)),
                None => (name.into(), Word::Switch(true)),
            });
            continue;
        }
        let [value] = &flag.values[..] else {
            bail!(
                "--{}: one value is wanted here; its knob has the others",
                flag.long()
            );
        };
        flags.push((name.into(), Word::Text(value.clone())));
    }
    Ok((flags, line))
}

/// A state as flags: switches by their words.
fn flags(state: &State, knobs: &[Knob]) -> Flags {
    state
        .0
        .iter()
        .filter(|(flag, _)| flag != SLO)
        .map(|(flag, value)| {
            let switch = knobs.iter().any(|k| {
                k.flag == flag && matches!(&k.control, Control::Choice(c) if c[0] == "true")
            });
            let word = match (switch, value.as_str()) {
                (true, v) => Word::Switch(v == "true"),
                (false, v) => Word::Text(v.into()),
            };
            (flag.clone(), word)
        })
        .collect()
}

pub fn run(args: &ExploreArgs) -> anyhow::Result<ExitCode> {
    let mut knobs = knobs();
    let (given, line) = said(&knobs)?;
    let (mut start, mut fixed) = (vec![], Flags::new());
    for (flag, word) in given {
        match knobs.iter_mut().find(|k| k.flag == flag) {
            Some(k) => {
                let value = word.text();
                // A file's path, or a format that is rarer than those on the list.
                if let Control::Choice(options) = &mut k.control
                    && !options.contains(&value)
                {
                    options.push(value.clone());
                }
                start.push((flag, value));
            }
            None => fixed.push((flag, word)),
        }
    }
    if let Some(slo) = &args.slo {
        Slo::parse(slo).context("--slo")?;
        start.push((SLO.into(), slo.clone()));
    }
    let start = check(&knobs, &start)
        .map_err(|r| anyhow::anyhow!("--{}: {}", r.flag.unwrap_or_default(), r.message))?;
    let known = Known::<SweepArgs>::new("predict");
    let files = Files::default();
    // What the page would be told is told here, before anybody opens it.
    let (_, unmodelled) = {
        let mut all = fixed.clone();
        all.extend(flags(&start, &knobs));
        sweep::scenario(&known, &known.words(&all, &line)?, &files)?
    };
    let shown = quoted(&known.typed(&fixed, &line)?);
    let describe = {
        let knobs = knobs.clone();
        move |state: &State| {
            let mut all = flags(state, &knobs);
            all.extend(fixed.iter().cloned());
            let understood = known
                .words(&all, &line)
                .and_then(|words| sweep::scenario(&known, &words, &files))
                .and_then(|s| Ok((s, known.typed(&all, &line)?)));
            let ((scenario, unmodelled), words) = understood.map_err(|e| format!("{e:#}"))?;
            let command = ["capsim".to_string(), "predict".into()];
            Ok(Described {
                scenario,
                unmodelled,
                command: quoted(&[&command[..], &words].concat()),
            })
        }
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
        for flag in &unmodelled {
            println!("  not modelled: {flag}");
        }
        stop.asked().await;
        explorer.shutdown().await;
        Ok(ExitCode::SUCCESS)
    })
}
