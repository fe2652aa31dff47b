//! `capsim compare`.
use super::files::{self, Files};
use super::pool::PoolArgs;
use super::report::plots;
use super::scenario_args::{Described, ScenarioArgs, asked, flag, one_engine};
use anyhow::{Context, bail, ensure};
use capsim::device::{builtin, sheet};
use capsim::engine::settings::TENSOR_PARALLEL_SIZE;
use capsim::fields::Value;
use capsim::plan::compare::{Candidate, Compared, Missed, Price, Question, compare};
use capsim::plan::{Pool, Slo, lighter_weights};
use capsim::predict::spec::ScenarioSpec;
use capsim::predict::{About, Scenario};
use capsim::workload::load::{MAX_CONCURRENCY, NUM_PROMPTS, REQUEST_RATE, USERS};
use capsim_study::report::{answer as in_words, compare as report, deploy};
use clap::Args;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

/// The question.
#[derive(Args, Debug)]
pub struct CompareQuestion {
    /// Users to serve in all; each reads an answer, thinks (--think-time, default 0 s) and asks again. Example: 300
    #[arg(long, value_name = "N", help_heading = "Question")]
    for_users: u32,
    /// What must hold on every engine. Example: ttft.p95<2s,tpot.p95<100ms
    #[arg(long, help_heading = "Question")]
    slo: String,
    /// Price of one device: DEVICE=2.10/h rented, or DEVICE=2400,36mo bought and used for 36 months (repeatable)
    #[arg(long, value_name = "DEVICE=PRICE", help_heading = "Question")]
    pub price: Vec<String>,
    /// Price of electricity, for devices that are bought. Example: 0.30/kWh
    #[arg(
        long,
        value_name = "PRICE/kWh",
        allow_hyphen_values = true,
        help_heading = "Question"
    )]
    electricity: Option<String>,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Compares every device that ships with capsim unless --device names some, the model's own weights with 8-bit and 4-bit \
                  ones unless --weights does, and the two smallest tensor-parallel sizes that hold the model.\nExit code 1: no device \
                  serves the users. See docs/guide/compare.md."
)]
pub struct CompareArgs {
    #[command(flatten)]
    question: CompareQuestion,
    #[command(flatten)]
    pool: PoolArgs,
    /// Machine-readable output (capsim schema compare)
    #[arg(long)]
    json: bool,
    /// Also draw the answer's curves here, 80 columns wide
    #[arg(long, conflicts_with = "json")]
    plot: bool,
    /// Write server.sh, compose.yaml, kubernetes.yaml and values of Helm charts of the first offer into this folder
    #[arg(long, value_name = "DIR")]
    deploy: Option<PathBuf>,
    #[command(flatten)]
    pub scenario: ScenarioArgs,
}

impl CompareQuestion {
    /// The flags that ask it again.
    fn words(&self) -> Vec<String> {
        let mut all = vec!["--for-users".to_string(), self.for_users.to_string()];
        all.extend(["--slo".into(), self.slo.clone()]);
        for price in &self.price {
            all.extend(["--price".into(), price.clone()]);
        }
        let electricity = self.electricity.iter();
        all.extend(electricity.flat_map(|e| ["--electricity".into(), e.clone()]));
        all
    }
}

/// Most users; each is simulated.
const MOST_USERS: u32 = 100_000;

/// Tensor-parallel sizes tried where none is given: those of a usual node.
const SIZES: [u32; 4] = [1, 2, 4, 8];

/// Of these, as many as are simulated: the smallest that holds the model, and the next, which is faster.
const TRIED: usize = 2;

/// Prices by device id, as `--price` says them.
///
/// # Errors
/// One that cannot be read, or a device that does not ship.
pub fn prices(given: &[String]) -> anyhow::Result<BTreeMap<String, Price>> {
    let mut all = BTreeMap::new();
    for text in given {
        let (name, price) = text.split_once('=').with_context(|| {
            format!("--price `{text}`: write DEVICE=2.10/h or DEVICE=2400,36mo")
        })?;
        let device = builtin::device(name).map_err(|e| anyhow::anyhow!("--price {name}: {e}"))?;
        let price = Price::parse(price).map_err(|e| anyhow::anyhow!("--price {name}: {e}"))?;
        ensure!(
            all.insert(device.id.clone(), price).is_none(),
            "--price {name}: given twice"
        );
    }
    Ok(all)
}

/// The price of a kWh, as `--electricity` says it.
///
/// # Errors
/// No number from 0 on.
pub fn electricity(given: Option<&str>) -> anyhow::Result<Option<f64>> {
    let Some(text) = given else { return Ok(None) };
    let number = text.strip_suffix("/kWh").unwrap_or(text);
    match number.trim().parse::<f64>() {
        Ok(v) if (0.0..=1e6).contains(&v) => Ok(Some(v)),
        _ => bail!("--electricity `{text}`: write a price from 0 on, as 0.30/kWh"),
    }
}

/// The values of a field: those given, else what the document says, else none.
fn values(said: &Described, name: &str) -> Vec<Value> {
    if let Some((_, all)) = said.several.iter().find(|(f, _)| *f == name) {
        return all.clone();
    }
    let one = said.spec.said().into_iter().find(|(f, _)| f.name == name);
    one.map(|(_, v)| vec![v]).unwrap_or_default()
}

/// Candidates, and devices of which there is none.
fn candidates(said: &Described, files: &Files) -> anyhow::Result<(Vec<Candidate>, Vec<Missed>)> {
    let choices = ["device", "weights", "tensor_parallel_size"];
    if let Some((other, _)) = said.several.iter().find(|(f, _)| !choices.contains(f)) {
        bail!(
            "{}: give one value; compare varies --device, --weights and --tensor-parallel-size",
            flag(other)
        );
    }
    let mut devices: Vec<Option<Value>> = values(said, "device").into_iter().map(Some).collect();
    if devices.is_empty() {
        match said.spec.device {
            Some(_) => devices.push(None),
            None => {
                let ids = sheet::all().into_iter().map(|s| s.id);
                let mut ids: Vec<String> = builtin::devices()
                    .into_iter()
                    .map(|d| d.id)
                    .chain(ids)
                    .collect();
                ids.sort();
                ids.dedup();
                devices.extend(ids.into_iter().map(|id| Some(Value::Text(id))));
            }
        }
    }
    let weights = values(said, "weights");
    let sizes = values(said, "tensor_parallel_size");
    let (mut all, mut unfit) = (vec![], vec![]);
    for device in devices {
        let mut spec = said.spec.clone();
        if let Some(device) = device {
            spec.set("device", device)?;
        }
        let mut found = vec![];
        let mut why = String::new();
        for base in formats(&spec, &weights, files)? {
            found.extend(sized(base, &sizes, &mut why));
        }
        if found.is_empty() {
            let device = spec.described(files)?.device.id;
            unfit.push(Missed { device, why });
        }
        all.extend(found);
    }
    Ok((all, unfit))
}

/// The scenario in each weight format.
fn formats(spec: &ScenarioSpec, weights: &[Value], files: &Files) -> anyhow::Result<Vec<Scenario>> {
    if weights.is_empty() {
        let own = spec.described(files)?;
        let lighter = lighter_weights(&own).into_iter().map(|(_, s)| s);
        return Ok(std::iter::once(own.clone()).chain(lighter).collect());
    }
    let one = |w: &Value| {
        let mut spec = spec.clone();
        spec.set("weights", w.clone())?;
        Ok(spec.described(files)?)
    };
    weights.iter().map(one).collect()
}

/// A scenario in the tensor-parallel sizes given, else in the smallest that hold the model; `why` it holds in none.
fn sized(base: Scenario, sizes: &[Value], why: &mut String) -> Vec<Candidate> {
    let given = sizes.iter().filter_map(|v| v.to_string().parse().ok());
    let given: Vec<u32> = given.collect();
    let tried = if given.is_empty() {
        &SIZES[..]
    } else {
        &given[..]
    };
    let most = if given.is_empty() { TRIED } else { given.len() };
    let mut all = vec![];
    for &tensor in tried {
        let mut scenario = base.clone();
        scenario.serve.set(TENSOR_PARALLEL_SIZE, tensor);
        scenario.hold_longest();
        match scenario.settings() {
            Ok(_) if all.len() < most => all.push(Candidate {
                weights: in_words::weights(&scenario),
                tensor,
                scenario,
            }),
            Ok(_) => {}
            Err(e) => *why = format!("with {tensor} devices for an engine: {e}"),
        }
    }
    all
}

/// The answer, and the scenario of its first offer.
///
/// # Errors
/// Flags that contradict each other; a load that makes no sense.
pub fn answer(
    args: &CompareQuestion,
    mut said: Described,
    files: &Files,
    pool: &impl Pool,
) -> anyhow::Result<(Slo, Compared, Option<Scenario>)> {
    one_engine(&said.spec, "compare")?;
    let slo = Slo::parse(&args.slo).context("--slo")?;
    ensure!(
        (1..=MOST_USERS).contains(&args.for_users),
        "--for-users {}: must lie between 1 and {MOST_USERS}",
        args.for_users
    );
    ensure!(
        !slo.against_load().terms.is_empty(),
        "--slo {slo}: throughput alone tells no number of devices; add a limit on ttft, tpot or e2el"
    );
    let command = asked("compare", &args.words(), &said);
    let load = &mut said.spec.load;
    for (given, name) in [
        (load.get(USERS).is_some(), "--users"),
        (load.get(MAX_CONCURRENCY).is_some(), "--max-concurrency"),
        (load.get(REQUEST_RATE).is_some(), "--request-rate"),
    ] {
        ensure!(
            !given,
            "{name} contradicts --for-users: the load is so many users in all"
        );
    }
    load.set(USERS, 1);
    let prompts = load.get(NUM_PROMPTS);
    // Each run has as many as its users need; what the load assumes for one user is none of them.
    load.set(NUM_PROMPTS, prompts.unwrap_or(1));
    let question = Question {
        slo,
        users: args.for_users,
        prompts,
        prices: prices(&args.price)?,
        electricity: electricity(args.electricity.as_deref())?,
    };
    let (candidates, unfit) = candidates(&said, files)?;
    let mut answer = compare(&candidates, unfit, &question, pool)?;
    let best = answer
        .offers
        .first()
        .map(|o| question.scenario(&candidates, o));
    answer.answer = in_words::compared(&answer);
    answer.about = candidates.first().map(|c| About {
        load: c.scenario.workload.sizes(),
        ..About::several(&c.scenario, command)
    });
    Ok((question.slo, answer, best.flatten()))
}

pub fn run(args: &CompareArgs) -> anyhow::Result<ExitCode> {
    let pool = args.pool.start()?;
    let said = args.scenario.described()?;
    let (slo, answer, best) = answer(&args.question, said, &args.scenario.files, &pool)?;
    drop(pool);
    if let Some(dir) = &args.deploy {
        let (Some(scenario), Some(first)) = (&best, answer.offers.first()) else {
            bail!("--deploy: no device serves the users, so that there is nothing to deploy");
        };
        let all = deploy::files(scenario, first.engines).map_err(|e| anyhow::anyhow!(e))?;
        std::fs::create_dir_all(dir).with_context(|| format!("--deploy {}", dir.display()))?;
        for (name, text) in all {
            files::write(&dir.join(name), &text)?;
        }
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&answer)?);
    } else {
        print!(
            "{}",
            report::text(&answer, best.as_ref().map(|s| (s, &slo)))
        );
    }
    if args.plot && !answer.offers.is_empty() {
        print!("{}", plots(&answer)?);
    }
    Ok(match answer.offers.is_empty() {
        false => ExitCode::SUCCESS,
        true => ExitCode::FAILURE,
    })
}
