//! `capsim capacity`.
use super::files::{self, Files};
use super::pool::PoolArgs;
use super::report::plots;
use super::scenario_args::{ScenarioArgs, asked};
use super::verify::{self, VerifyArgs};
use anyhow::{Context, bail, ensure};
use capsim::plan::capacity::{Capacity, Question, capacity};
use capsim::plan::{Axis, Pool, Slo};
use capsim::predict::spec::ScenarioSpec;
use capsim::predict::{About, Scenario};
use capsim::workload::load::*;
use capsim_study::report::{answer as in_words, capacity as report};
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::process::ExitCode;

/// The question.
#[derive(Args, Clone, Debug)]
pub struct CapacityQuestion {
    /// What must hold: ttft.p95<2s,tpot.p95<100ms. Latencies ttft, tpot, itl, e2el with .mean, .p50, .p90, .p95, .p99;
    /// throughput>N; interactivity>N; ttft<2s,tpot<100ms,goodput>95% for single requests
    #[arg(long, help_heading = "Question")]
    slo: String,
    /// What is raised until the SLO breaks (default: what the load's flags are about, else concurrency)
    #[arg(long, help_heading = "Question")]
    by: Option<By>,
    /// Independent runs per load
    #[arg(long, default_value_t = 5, help_heading = "Question")]
    seeds: u32,
    /// Runs of --seeds that must meet the SLO (default: all)
    #[arg(long, help_heading = "Question")]
    met_in: Option<u32>,
    /// Confidence of the statement about runs
    #[arg(long, default_value_t = 0.9, help_heading = "Question")]
    confidence: f64,
    /// Requests per second to serve in all: how many replicas?
    #[arg(long, conflicts_with = "for_users", help_heading = "Question")]
    for_rate: Option<f64>,
    /// Users to serve in all: how many replicas?
    #[arg(long, help_heading = "Question")]
    for_users: Option<u32>,
    /// Leave out what other settings would bring
    #[arg(long, help_heading = "Question")]
    no_what_if: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "Exit code 1: no load meets the SLO. See docs/guide/capacity.md.")]
pub struct CapacityArgs {
    #[command(flatten)]
    question: CapacityQuestion,
    #[command(flatten)]
    pool: PoolArgs,
    /// Machine-readable output (capsim schema capacity)
    #[arg(long)]
    json: bool,
    /// Also draw the answer's curves here, 80 columns wide
    #[arg(long, conflicts_with = "json")]
    plot: bool,
    /// Also write the curve as comma-separated values
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    #[command(flatten)]
    verify: VerifyArgs,
    #[command(flatten)]
    pub scenario: ScenarioArgs,
}

/// Most requests of one run; a search takes hundreds of runs.
const MOST_PROMPTS: u32 = 10_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum By {
    /// People who read an answer, think (--think-time) and ask again
    Users,
    /// Requests per second, whatever the server does
    Rate,
    /// Requests open at once: users who ask again at once
    Concurrency,
    /// How many times faster than recorded a trace is replayed
    Speedup,
}

/// What is raised: what is asked for, else what the load is about.
fn by(args: &CapacityQuestion, load: &LoadValues) -> By {
    let people =
        load.get(USERS).is_some() || load.get(THINK_TIME).is_some() || load.get(TURNS).is_some();
    args.by.unwrap_or(if people {
        By::Users
    } else if load.get(TRACE_FILE).is_some() {
        By::Speedup
    } else if load.get(REQUEST_RATE).is_some() || load.get(ARRIVAL).is_some() {
        By::Rate
    } else {
        By::Concurrency
    })
}

/// Refuses a load that says something else than what is raised.
fn contradictions(by: By, load: &LoadValues) -> anyhow::Result<()> {
    let rate = ("--request-rate", load.get(REQUEST_RATE).is_some());
    let limit = ("--max-concurrency", load.get(MAX_CONCURRENCY).is_some());
    let people = (
        "--users, --think-time and --turns",
        load.get(USERS).is_some() || load.get(THINK_TIME).is_some() || load.get(TURNS).is_some(),
    );
    let trace = (
        "--trace-file; a trace has --by speedup",
        load.get(TRACE_FILE).is_some(),
    );
    let (name, others) = match by {
        By::Users => ("users", vec![rate, limit]),
        By::Rate => ("rate", vec![people, trace]),
        By::Concurrency => ("concurrency", vec![people, rate, trace]),
        By::Speedup => {
            ensure!(trace.1, "--by speedup needs --trace-file");
            return Ok(());
        }
    };
    match others.iter().find(|(_, given)| *given) {
        Some((flag, _)) => bail!("--by {name} contradicts {flag}"),
        None => Ok(()),
    }
}

/// The quantity that is raised, and its present value if one was given; a load that has none gets one.
fn axis(by: By, spec: &mut ScenarioSpec) -> anyhow::Result<(Axis, Option<f64>)> {
    let load = &mut spec.load;
    contradictions(by, load)?;
    let (axis, present) = match by {
        By::Users => {
            let present = load.get(USERS);
            load.set(USERS, present.unwrap_or(1));
            (Axis::Users, present.map(f64::from))
        }
        By::Rate => {
            let present = load.get(REQUEST_RATE);
            load.set(REQUEST_RATE, present.unwrap_or(1.0));
            (Axis::Rate, present)
        }
        By::Concurrency => (Axis::Concurrency, load.get(MAX_CONCURRENCY).map(f64::from)),
        By::Speedup => (Axis::Speedup, load.get(TRACE_SPEEDUP)),
    };
    if let Some(p) = present {
        let flag = match axis {
            Axis::Users => "--users",
            Axis::Rate => "--request-rate",
            Axis::Concurrency => "--max-concurrency",
            Axis::Speedup => "--trace-speedup",
        };
        let most = axis.value(*axis.range().end());
        ensure!(
            p > 0.0 && p <= most,
            "{flag} {p}: today's load must lie above 0 and be at most {most}; leave it out if you do not know it"
        );
    }
    Ok((axis, present))
}

/// A question's scenario.
struct Described {
    scenario: Scenario,
    axis: Axis,
    present: Option<f64>,
    prompts: Option<u32>,
}

fn described(
    args: &CapacityQuestion,
    mut spec: ScenarioSpec,
    files: &Files,
) -> anyhow::Result<Described> {
    let (axis, present) = axis(by(args, &spec.load), &mut spec)?;
    let prompts = spec.load.get(NUM_PROMPTS);
    if let Some(n) = prompts {
        ensure!(
            (1..=MOST_PROMPTS).contains(&n),
            "--num-prompts {n}: must lie between 1 and {MOST_PROMPTS} per run; leave it out for as many as the percentiles need"
        );
    }
    Ok(Described {
        scenario: spec.resolve(files)?,
        axis,
        present,
        prompts,
    })
}

/// What was asked, and what was found.
#[derive(Debug)]
pub struct Answered {
    /// The scenario.
    pub scenario: Scenario,
    /// The question.
    pub question: Question,
    /// The answer.
    pub capacity: Capacity,
}

/// The scenario, the question and what was found.
///
/// # Errors
/// Flags that contradict each other; a scenario that cannot be served at any load.
pub fn answer(
    args: &CapacityQuestion,
    spec: ScenarioSpec,
    files: &Files,
    pool: &impl Pool,
) -> anyhow::Result<Answered> {
    let slo = Slo::parse(&args.slo).context("--slo")?;
    let command = asked("capacity", &args.words(), &spec.clone().into());
    ensure!(
        (1..=1000).contains(&args.seeds),
        "--seeds {}: must lie between 1 and 1000",
        args.seeds
    );
    if let Some(k) = args.met_in {
        ensure!(
            (1..=args.seeds).contains(&k),
            "--met-in {k}: must lie between 1 and --seeds {}",
            args.seeds
        );
    }
    ensure!(
        args.confidence > 0.0 && args.confidence < 1.0,
        "--confidence {}: must lie between 0 and 1",
        args.confidence
    );
    let Described {
        scenario,
        axis,
        present,
        prompts,
    } = described(args, spec, files)?;
    let w = &scenario.workload;
    ensure!(
        w.longest_output() > 1 || !slo.needs_two_tokens(),
        "--slo: answers of one token have no tpot and no itl"
    );
    let wanted = match (axis, args.for_rate, args.for_users) {
        (_, None, None) => None,
        (Axis::Rate, Some(r), None) if r > 0.0 && r.is_finite() => Some(r),
        (Axis::Users | Axis::Concurrency, None, Some(n)) if n > 0 => Some(f64::from(n)),
        (Axis::Rate, ..) => bail!("--by rate takes --for-rate, a number above 0"),
        (Axis::Users | Axis::Concurrency, ..) => {
            bail!("--by users and --by concurrency take --for-users, a number above 0")
        }
        (Axis::Speedup, ..) => bail!("--for-rate and --for-users mean nothing for a trace"),
    };
    let bounds = !slo.against_load().terms.is_empty();
    ensure!(
        axis.counts() || bounds,
        "--slo {slo}: throughput alone bounds no rate, as it follows the rate until a queue grows; add a limit that the queue \
         breaks, such as e2el.p95<60s, or ask from how many requests at once on it holds (--by concurrency)"
    );
    ensure!(
        wanted.is_none() || bounds,
        "--for-users: the more users, the easier --slo {slo} is met, so that it tells no number of replicas; add a limit on \
         ttft, tpot or e2el"
    );
    let question = Question {
        slo,
        axis,
        seeds: args.seeds,
        needed: args.met_in,
        confidence: args.confidence,
        prompts,
        present,
        wanted,
        what_if: !args.no_what_if,
    };
    let mut capacity = capacity(&scenario, &question, pool)?;
    let words = in_words::capacity(&scenario, &question.slo, &capacity);
    capacity.answer = in_words::for_device(&words, &scenario);
    capacity.about = Some(About::of(&scenario, command));
    Ok(Answered {
        scenario,
        question,
        capacity,
    })
}

impl CapacityQuestion {
    /// The flags that ask it again.
    fn words(&self) -> Vec<String> {
        let mut all = vec!["--slo".to_string(), self.slo.clone()];
        let mut put = |flag: &str, value: Option<String>| {
            all.extend(value.into_iter().flat_map(|v| [flag.to_string(), v]));
        };
        let by = self.by.and_then(|b| b.to_possible_value());
        put("--by", by.map(|v| v.get_name().to_string()));
        put("--met-in", self.met_in.map(|n| n.to_string()));
        put("--seeds", (self.seeds != 5).then(|| self.seeds.to_string()));
        let confidence = (self.confidence != 0.9).then(|| self.confidence.to_string());
        put("--confidence", confidence);
        put("--for-rate", self.for_rate.map(|r| r.to_string()));
        put("--for-users", self.for_users.map(|n| n.to_string()));
        all.extend(self.no_what_if.then(|| "--no-what-if".into()));
        all
    }
}

/// The answer for people, and the line that measures it on the user's machine.
fn text(args: &CapacityArgs, a: &Answered, spec: &ScenarioSpec) -> String {
    let mut text = report::text(&a.scenario, &a.question.slo, &a.capacity);
    if !a.capacity.loads_around().is_empty() && !args.verify.wanted() {
        let question = CapacityQuestion {
            // What other settings would bring is known by now.
            no_what_if: true,
            confidence: 0.9,
            for_rate: None,
            for_users: None,
            ..args.question.clone()
        };
        text.push_str("Measure it there, three loads around it beside their predictions:\n");
        text.push_str(&verify::line(
            "capacity",
            &question.words(),
            spec,
            &a.scenario,
        ));
    }
    text
}

pub fn run(args: &CapacityArgs) -> anyhow::Result<ExitCode> {
    args.verify.check()?;
    let pool = args.pool.start()?;
    let spec = args.scenario.spec()?;
    let a = answer(&args.question, spec.clone(), &args.scenario.files, &pool)?;
    drop(pool);
    let c = &a.capacity;
    if let Some(path) = &args.csv {
        files::write(path, &report::csv(&a.question.slo, c))?;
    }
    #[cfg(feature = "live")]
    if args.verify.wanted() {
        if !args.json {
            print!("{}", text(args, &a, &spec));
        }
        return verify::capacity(&args.verify, &a, args.json);
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(c)?);
    } else {
        print!("{}", text(args, &a, &spec));
    }
    if args.plot {
        print!("{}", plots(&a.capacity)?);
    }
    Ok(if c.highest.is_some() && c.short_of.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
