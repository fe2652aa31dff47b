//! `capsim memory`.
use super::files::Files;
use super::scenario_args::{ScenarioArgs, asked, one_engine};
use anyhow::ensure;
use capsim::engine::settings::*;
use capsim::fields::human_int;
use capsim::plan::memory::{Demand, HostMemory, Memory, memory};
use capsim::predict::spec::ScenarioSpec;
use capsim::predict::{About, Scenario};
use capsim_study::report::{answer as in_words, memory as report};
use clap::Args;
use std::process::ExitCode;

/// A number as vLLM takes one: 32768, 32k, 32K.
fn count(text: &str) -> Result<u32, String> {
    let n = human_int(text).and_then(|n| u32::try_from(n).ok());
    n.ok_or_else(|| format!("`{text}` is not a whole number from 0 to {}", u32::MAX))
}

/// The question.
#[derive(Args, Debug)]
pub struct MemoryQuestion {
    /// Requests to be held at the same time, with --context: does it fit?
    #[arg(long, value_parser = count, requires = "context", help_heading = "Question")]
    concurrency: Option<u32>,
    /// Tokens of each of them, prompt and output together
    #[arg(long, value_parser = count, help_heading = "Question")]
    context: Option<u32>,
    /// Rows of the table: tokens per request (default: powers of two up to max-model-len)
    #[arg(long, value_parser = count, value_delimiter = ',', help_heading = "Question")]
    contexts: Vec<u32>,
    /// Device memory that the runtime reports, in GiB, instead of the profile's
    #[arg(long, value_name = "GIB", help_heading = "Memory of the machine")]
    device_memory_gib: Option<f64>,
    /// All memory of a machine whose host and device share it
    #[arg(long, value_name = "GIB", help_heading = "Memory of the machine")]
    host_ram_gib: Option<f64>,
    /// What its host is to keep
    #[arg(
        long,
        value_name = "GIB",
        default_value_t = 8.0,
        help_heading = "Memory of the machine"
    )]
    reserve_host_gib: f64,
    /// Part that the firmware sets aside for the device (UMA frame buffer)
    #[arg(long, value_name = "GIB", conflicts_with_all = ["gtt_gib", "device_memory_gib"],
          help_heading = "Memory of the machine")]
    carve_out_gib: Option<f64>,
    /// Part that the device may take from the host (GTT; ttm.pages_limit × 4096 bytes)
    #[arg(
        long,
        value_name = "GIB",
        conflicts_with = "device_memory_gib",
        help_heading = "Memory of the machine"
    )]
    gtt_gib: Option<f64>,
}

#[derive(Args, Debug)]
#[command(after_help = "Exit code 1: it does not fit. See docs/guide/memory.md.")]
pub struct MemoryArgs {
    #[command(flatten)]
    question: MemoryQuestion,
    /// Machine-readable output (capsim schema memory)
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub scenario: ScenarioArgs,
}

const GIB: f64 = 1_073_741_824.0;

impl MemoryQuestion {
    /// The flags that ask it again.
    fn words(&self) -> Vec<String> {
        let mut all = vec![];
        let mut put = |flag: &str, value: Option<String>| {
            all.extend(value.into_iter().flat_map(|v| [flag.to_string(), v]));
        };
        put("--concurrency", self.concurrency.map(|n| n.to_string()));
        put("--context", self.context.map(|n| n.to_string()));
        let contexts: Vec<String> = self.contexts.iter().map(u32::to_string).collect();
        put(
            "--contexts",
            (!contexts.is_empty()).then(|| contexts.join(",")),
        );
        put("--host-ram-gib", self.host_ram_gib.map(|g| g.to_string()));
        if self.host_ram_gib.is_some() {
            put(
                "--reserve-host-gib",
                Some(self.reserve_host_gib.to_string()),
            );
        }
        for (flag, gib) in [
            ("--device-memory-gib", self.device_memory_gib),
            ("--carve-out-gib", self.carve_out_gib),
            ("--gtt-gib", self.gtt_gib),
        ] {
            put(flag, gib.map(|g| g.to_string()));
        }
        all
    }
}

/// The scenario and what fits.
///
/// # Errors
/// Flags that contradict each other.
pub fn answer(
    args: &MemoryQuestion,
    spec: &ScenarioSpec,
    files: &Files,
) -> anyhow::Result<(Scenario, Memory)> {
    one_engine(spec, "memory")?;
    for (flag, v) in [
        ("--device-memory-gib", args.device_memory_gib),
        ("--host-ram-gib", args.host_ram_gib),
        ("--carve-out-gib", args.carve_out_gib),
        ("--gtt-gib", args.gtt_gib),
    ] {
        if let Some(v) = v {
            ensure!(
                (0.001..=1e6).contains(&v),
                "{flag} {v}: must lie between 0.001 and 1e6 GiB"
            );
        }
    }
    ensure!(
        (0.0..=1e6).contains(&args.reserve_host_gib),
        "--reserve-host-gib {}: must lie between 0 and 1e6 GiB",
        args.reserve_host_gib
    );
    let mut scenario = spec.described(files)?;
    let longest = scenario.model.max_position_embeddings();
    let demand = Demand {
        concurrency: args.concurrency.unwrap_or(1),
        context: args.context.unwrap_or(0),
    };
    ensure!(
        args.concurrency != Some(0) && args.context != Some(0),
        "--concurrency and --context must be at least 1"
    );
    ensure!(
        demand.context <= longest,
        "--context {}: the model's max_position_embeddings is {longest}, the longest context possible",
        demand.context
    );
    if spec.settings.get(MAX_MODEL_LEN).is_none() {
        // vLLM's default, unless a shorter context is all that is asked for.
        scenario.serve.set(
            MAX_MODEL_LEN,
            (demand.context > 0).then_some(demand.context),
        );
    }
    if let Some(gib) = args
        .device_memory_gib
        .or(args.carve_out_gib)
        .or(args.gtt_gib)
    {
        scenario.device.memory.total_bytes.value = gib * GIB;
    }
    let host = match args.host_ram_gib {
        Some(ram) => {
            let device = scenario.device.memory.total_bytes.value / GIB;
            ensure!(
                scenario.device.memory.unified,
                "--host-ram-gib: host and device do not share memory on {}",
                scenario.device.id
            );
            ensure!(
                device <= ram,
                "--host-ram-gib {ram}: the device's {device:.1} GiB are part of it and cannot be more"
            );
            Some(HostMemory {
                ram: ram * GIB,
                reserve: args.reserve_host_gib * GIB,
                carved_out: args.gtt_gib.is_none(),
            })
        }
        None => None,
    };
    let len = scenario.serve.get(MAX_MODEL_LEN).unwrap_or(longest);
    let contexts = if args.contexts.is_empty() {
        let mut all: Vec<u32> = (9..31).map(|k| 1u32 << k).filter(|&n| n < len).collect();
        all.extend((demand.context > 0).then_some(demand.context));
        all.push(len);
        all.sort_unstable();
        all.dedup();
        all
    } else {
        ensure!(
            !args.contexts.contains(&0),
            "--contexts: a request has at least 1 token"
        );
        args.contexts.clone()
    };
    let mut answer = memory(&scenario, &demand, host, &contexts)?;
    answer.answer = in_words::for_device(&in_words::memory(&answer), &scenario);
    let command = asked("memory", &args.words(), &spec.clone().into());
    answer.about = Some(About {
        load: String::new(),
        ..About::of(&scenario, command)
    });
    Ok((scenario, answer))
}

pub fn run(args: &MemoryArgs) -> anyhow::Result<ExitCode> {
    let spec = args.scenario.spec()?;
    let (scenario, answer) = answer(&args.question, &spec, &args.scenario.files)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&answer)?);
    } else {
        print!("{}", report::text(&scenario, &answer));
    }
    Ok(if answer.fits {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
