//! `capsim devices`, and the hidden command that it runs in child processes.
use anyhow::Context;
use capsim_calibrate::backend::Api;
use capsim_calibrate::discover::{self, Selector};
use capsim_calibrate::environment::Environment;
use capsim_study::report;
use capsim_study::report::json::{self, listing::Devices};
use clap::{Args, ValueEnum};
use std::process::ExitCode;
use std::time::Duration;

#[derive(Args, Debug)]
pub struct DevicesArgs {
    /// Machine-readable output, with the state of the machine
    #[arg(long)]
    json: bool,
    /// Limits and features as well
    #[arg(long, short)]
    verbose: bool,
    /// Only devices of these APIs
    #[arg(long, value_delimiter = ',', value_name = "API")]
    backend: Vec<ApiArg>,
    /// Seconds that a device may take to answer
    #[arg(long, default_value_t = discover::DEADLINE.as_secs_f64(), value_name = "SECONDS")]
    timeout: f64,
}

/// APIs of real devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ApiArg {
    /// OpenCL
    Opencl,
    /// Vulkan, Metal or DX12
    Wgpu,
    /// The processor itself
    Cpu,
}

impl From<ApiArg> for Api {
    fn from(arg: ApiArg) -> Api {
        match arg {
            ApiArg::Opencl => Api::Opencl,
            ApiArg::Wgpu => Api::Wgpu,
            ApiArg::Cpu => Api::Cpu,
        }
    }
}

/// `capsim devices`.
pub fn run(args: &DevicesArgs) -> anyhow::Result<ExitCode> {
    let timeout = Duration::try_from_secs_f64(args.timeout)
        .ok()
        .filter(|t| !t.is_zero())
        .with_context(|| format!("--timeout {}: a number of seconds above 0", args.timeout))?;
    let program = discover::this_program().context("the path of this program")?;
    let apis: Vec<Api> = if args.backend.is_empty() {
        discover::APIS.to_vec()
    } else {
        args.backend.iter().map(|a| (*a).into()).collect()
    };
    let all = discover::discover(&program, &apis, timeout);
    let machine = Environment::read();
    if args.json {
        let answer = Devices {
            schema: "capsim.devices/1".into(),
            devices: all,
            disturbances: machine.disturbances(),
            environment: machine,
        };
        println!("{}", json::text(&answer));
        return Ok(ExitCode::SUCCESS);
    }
    print!("{}", report::devices::devices(&all, args.verbose));
    for line in machine.disturbances() {
        println!("{}", report::table::wrap(&format!("Busy: {line}."), 80, ""));
    }
    Ok(ExitCode::SUCCESS)
}

#[derive(Args, Debug)]
pub struct ProbeArgs {
    #[arg(long)]
    api: ApiArg,
    /// Without it: how many devices there are
    #[arg(long)]
    index: Option<usize>,
}

/// For tests of what a bad driver does, honoured only here: `CAPSIM_PROBE_FAULT=opencl:0=crash` or `wgpu=hang`. The fault is
/// one of `crash`, `hang`, `exit`, `silence`; a whole API stands for all its devices and for their listing.
const FAULT: &str = "CAPSIM_PROBE_FAULT";

/// `capsim probe-device`.
pub fn probe(args: &ProbeArgs) -> anyhow::Result<ExitCode> {
    let api = Api::from(args.api);
    if let Some(spec) = std::env::var_os(FAULT) {
        fault(&spec.to_string_lossy(), api, args.index)?;
    }
    let answer = discover::answer(api, args.index);
    // On a line of its own, whatever the driver has printed before it.
    println!("\n{}", serde_json::to_string(&answer)?);
    Ok(ExitCode::SUCCESS)
}

fn fault(spec: &str, api: Api, index: Option<usize>) -> anyhow::Result<()> {
    let (device, kind) = spec.rsplit_once('=').context("CAPSIM_PROBE_FAULT")?;
    let hit = match device.parse::<Selector>().map_err(anyhow::Error::msg)? {
        Selector::Api(a) => a == api,
        Selector::Index(a, i) => a == api && index == Some(i),
        Selector::Name(_) => false,
    };
    match kind {
        _ if !hit => Ok(()),
        "crash" => std::process::abort(),
        "hang" => loop {
            std::thread::sleep(Duration::from_secs(1));
        },
        "exit" => anyhow::bail!("the driver gave up"),
        "silence" => std::process::exit(0),
        other => anyhow::bail!("{FAULT}: no fault `{other}`"),
    }
}
