//! `capsim tune`.
use super::files::Files;
use super::load;
use super::pool::PoolArgs;
use super::report::plots;
use super::scenario_args::{ScenarioArgs, asked};
use super::verify::{self, VerifyArgs};
use anyhow::{Context, anyhow, bail, ensure};
use capsim::engine::fleet::Role;
use capsim::engine::kind;
use capsim::engine::settings::{
    ENFORCE_EAGER, EngineSection, NUM_SPECULATIVE_TOKENS, TABLE, Tries,
};
use capsim::fields::{Section, Value};
use capsim::model::{KvDtype, Precision};
use capsim::plan::tune::{Objective, Question, Tuned, tune};
use capsim::plan::{Knob, Pool, Setting, Slo};
use capsim::predict::spec::ScenarioSpec;
use capsim::predict::{About, Scenario, Settings};
use capsim::workload::load::{MAX_CONCURRENCY, NUM_PROMPTS};
use capsim_study::report::{answer as in_words, tune as report};
use clap::{Args, ValueEnum};
use std::process::ExitCode;

/// The question.
#[derive(Args, Debug)]
pub struct TuneQuestion {
    /// What must hold, as for `capsim capacity`: ttft.p95<2s,tpot.p95<100ms
    #[arg(long, help_heading = "Question")]
    slo: Option<String>,
    /// What is better (default: throughput where the server sets the pace, else latency)
    #[arg(long, help_heading = "Question")]
    objective: Option<Goal>,
    /// A knob and the values to try besides today's, NAME=V,V…; may be repeated. Names: the engine's settings (docs/settings.md),
    /// moe-tiles, weights, kv-cache-dtype, device; replicas for data-parallel-size, or of a deployment's pools: replicas, prefill-replicas,
    /// decode-replicas
    #[arg(long, value_name = "NAME=VALUES", help_heading = "Question")]
    knob: Vec<String>,
    /// Turn only the knobs given with --knob
    #[arg(long, requires = "knob", help_heading = "Question")]
    only: bool,
    /// Also try other weights and KV formats, which change answers
    #[arg(long, help_heading = "Question")]
    answers_may_change: bool,
    /// Most devices that a setting may use
    #[arg(long, value_name = "N", help_heading = "Question")]
    devices: Option<u32>,
    /// Loads to try each setting at: requests open at once
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "N",
        help_heading = "Question"
    )]
    levels: Vec<u32>,
    /// Most settings to try; if there are more combinations, some are drawn
    #[arg(long, default_value_t = 1024, help_heading = "Question")]
    settings: usize,
    /// Runs of each finalist
    #[arg(long, default_value_t = 3, help_heading = "Question")]
    seeds: u32,
}

#[derive(Args, Debug)]
#[command(after_help = "Exit code 1: no setting meets the SLO. See docs/guide/tune.md.")]
pub struct TuneArgs {
    #[command(flatten)]
    question: TuneQuestion,
    #[command(flatten)]
    pool: PoolArgs,
    /// Machine-readable output (capsim schema tune)
    #[arg(long)]
    json: bool,
    /// Also draw the answer's curves here, 80 columns wide
    #[arg(long, conflicts_with = "json")]
    plot: bool,
    #[command(flatten)]
    verify: VerifyArgs,
    #[command(flatten)]
    pub scenario: ScenarioArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Goal {
    /// More output tokens per second
    Throughput,
    /// More room to the SLO's limits; without an SLO, shorter answers
    Latency,
    /// More output tokens per second and device
    PerDevice,
}

/// A knob's value from its text.
///
/// # Errors
/// No such knob, or a value that it cannot have.
pub fn setting(knob: &str, v: &str, base: &Scenario) -> anyhow::Result<Setting> {
    Ok(match knob {
        "moe-tiles" => {
            let known: Vec<&str> = base.engine.moe_paths.keys().map(String::as_str).collect();
            ensure!(
                known.contains(&v),
                "`{v}` is no path of the engine profile; it has {}",
                known.join(", ")
            );
            Setting::MoeTiles(v.into())
        }
        "weights" => Setting::Weights(v.into(), Precision::by_name(v, base.model.config())?),
        "kv-cache-dtype" => Setting::KvCacheDtype(v.parse::<KvDtype>()?),
        "device" => Setting::Device(Box::new(load::device(v)?)),
        name if replicas_of(name).is_some_and(|r| has_pool(base, r)) => {
            let n: u32 = v
                .parse()
                .ok()
                .filter(|n| (1..=1 << 16).contains(n))
                .ok_or_else(|| anyhow!("`{v}` is no number of replicas from 1 to 65536"))?;
            Setting::Replicas(replicas_of(name).expect("just seen"), n)
        }
        name => {
            let at = EngineSection::place(name)
                .map_err(|_| anyhow!("there is no knob `{name}`; see --help"))?;
            let row = &TABLE[at];
            let engine = base.engine.scheduler;
            ensure!(
                row.of(engine),
                "{} has no setting `{name}`",
                kind(engine).name()
            );
            let value = row.field.parse(v)?;
            // No setting makes sense at zero but a limit that it switches off, and a share has to be one.
            let sane = match value {
                // No drafts are no speculative decoding.
                Value::Count(n) => n > 0 || at == NUM_SPECULATIVE_TOKENS.place(),
                Value::Number(share) => share > 0.0 && share <= 1.0,
                _ => true,
            };
            ensure!(
                sane,
                "`{v}` must be above 0{}",
                match value {
                    Value::Number(_) => " and at most 1",
                    _ => "",
                }
            );
            Setting::Engine(at, value)
        }
    })
}

/// The knob of a role's replicas.
fn replica_knob(role: Role) -> &'static str {
    match role {
        Role::Serve => "replicas",
        Role::Prefill => "prefill-replicas",
        Role::Decode => "decode-replicas",
    }
}

/// The role whose replicas a knob counts.
fn replicas_of(knob: &str) -> Option<Role> {
    let all = [Role::Serve, Role::Prefill, Role::Decode];
    all.into_iter().find(|r| replica_knob(*r) == knob)
}

fn has_pool(base: &Scenario, role: Role) -> bool {
    let mut pools = base.deployment.iter().flat_map(|d| &d.pools);
    pools.any(|p| p.role == role)
}

/// The engine's settings that may be turned: today's value first, then what the table tries.
fn engine_knobs(base: &Scenario, now: &Settings) -> Vec<Knob> {
    let w = &base.workload;
    // Conversations and traces grow to the limit, so that theirs stays.
    let grows = w.users.as_ref().is_some_and(|u| u.turns > 1) || w.trace.is_some();
    let needed = u64::from((w.longest_input() + w.longest_output()).next_multiple_of(256));
    let mut knobs = vec![];
    for (at, row) in TABLE.iter().enumerate() {
        let Some(today) = now
            .in_force
            .at(at)
            .filter(|_| row.of(base.engine.scheduler))
        else {
            continue;
        };
        let more: Vec<Value> = match (row.tries, today) {
            (Tries::Counts(all), _) => all.iter().map(|n| Value::Count((*n).into())).collect(),
            (Tries::Fractions(all), _) => all.iter().map(|v| Value::Number(*v)).collect(),
            (Tries::Both, Value::Switch(on)) => vec![Value::Switch(!on)],
            (Tries::Needed, Value::Count(n)) if !grows => vec![Value::Count(needed.min(*n))],
            _ => vec![],
        };
        let values = std::iter::once(today.clone()).chain(more);
        knobs.push(Knob {
            name: row.field.flag(),
            values: values.map(|v| Setting::Engine(at, v)).collect(),
        });
    }
    knobs.retain(|k| k.name != "kv-cache-dtype");
    knobs
}

/// Today's value of every knob, and what to try unless it is given.
fn usual(base: &Scenario, now: &Settings, answers_may_change: bool) -> anyhow::Result<Vec<Knob>> {
    let mut knobs = engine_knobs(base, now);
    let mut push = |name: &str, values: Vec<Setting>| {
        knobs.push(Knob {
            name: name.into(),
            values,
        });
    };
    let path = base.moe_path.as_ref().unwrap_or(&base.engine.moe_default);
    if base.model.experts().is_some() {
        let all = std::iter::once(path).chain(base.engine.moe_paths.keys());
        push("moe-tiles", all.cloned().map(Setting::MoeTiles).collect());
    }
    let precision = *base.model.precision();
    let own = Setting::Weights("as now".into(), precision);
    let kv = Setting::KvCacheDtype(precision.kv);
    let (mut weights, mut kvs) = (vec![own], vec![kv]);
    if answers_may_change {
        for name in ["fp8", "awq"] {
            weights.push(setting("weights", name, base)?);
        }
        kvs.push(Setting::KvCacheDtype(KvDtype::Fp8));
    }
    push("weights", weights);
    push("kv-cache-dtype", kvs);
    for p in base.deployment.iter().flat_map(|d| &d.pools) {
        let name = replica_knob(p.role);
        push(name, vec![Setting::Replicas(p.role, p.replicas)]);
    }
    push(
        "device",
        vec![Setting::Device(Box::new(base.device.clone()))],
    );
    Ok(knobs)
}

/// Keeps the first of equal values.
fn deduplicate(knob: &mut Knob) {
    let mut seen: Vec<Setting> = vec![];
    for v in std::mem::take(&mut knob.values) {
        if !seen.contains(&v) {
            seen.push(v);
        }
    }
    knob.values = seen;
}

/// Values to try that were given for a knob of that name.
type Given = (String, Vec<Setting>);

fn given(args: &TuneQuestion, base: &Scenario) -> anyhow::Result<Vec<Given>> {
    let mut all: Vec<Given> = vec![];
    for text in &args.knob {
        let (name, values) = text
            .split_once('=')
            .ok_or_else(|| anyhow!("--knob `{text}`: write NAME=VALUE,VALUE"))?;
        let name: String = match name.trim_start_matches('-') {
            "quantization" => "weights".to_string(),
            "replicas" if base.deployment.is_none() => "data-parallel-size".into(),
            n if replicas_of(&n.replace('_', "-")).is_some() => n.replace('_', "-"),
            n => EngineSection::place(n).map_or(n.into(), |at| TABLE[at].field.flag()),
        };
        ensure!(
            !all.iter().any(|g| g.0 == name),
            "--knob {name} was given twice"
        );
        let values = values
            .split(',')
            .map(|v| {
                let v = v.trim();
                ensure!(!v.is_empty(), "--knob `{text}`: an empty value");
                setting(&name, v, base).with_context(|| format!("--knob `{text}`"))
            })
            .collect::<anyhow::Result<_>>()?;
        all.push((name, values));
    }
    Ok(all)
}

/// Most combinations of given values among which an engine that starts is looked for.
const LOOKED_AT: usize = 4096;

/// The settings of today's engine or, if that does not start, of the first one with values given that does.
fn settings(base: &Scenario, given: &[Given]) -> anyhow::Result<Settings> {
    let today = match base.settings() {
        Ok(s) => return Ok(s),
        Err(e) => e,
    };
    let mut choices = vec![base.clone()];
    for (_, values) in given {
        let with: Vec<Scenario> = choices
            .iter()
            .flat_map(|s| {
                values.iter().map(|v| {
                    let mut s = s.clone();
                    v.apply(&mut s);
                    s
                })
            })
            .collect();
        if let Some(s) = with.iter().find_map(|s| s.settings().ok()) {
            return Ok(s);
        }
        choices.extend(with);
        if choices.len() > LOOKED_AT {
            break;
        }
    }
    let tried = match given {
        [] => "no other value of a knob was given with --knob",
        _ => "nor does it with any value given with --knob",
    };
    Err(today).with_context(|| format!("the engine does not start; {tried}"))
}

/// Today's scenario on the other devices that are tried.
fn elsewhere(base: &Scenario, knobs: &[Knob]) -> Vec<Scenario> {
    let values = knobs.iter().flat_map(|k| k.values.iter().skip(1));
    values
        .filter(|v| matches!(v, Setting::Device(_)))
        .map(|v| {
            let mut s = base.clone();
            v.apply(&mut s);
            s
        })
        .collect()
}

/// Adds what other devices' engines have and today's has not: their own expert paths; and, where an engine has another value of a
/// setting by itself, both values, as "today's" then means a different one on each device.
fn also_elsewhere(knob: &mut Knob, base: &Scenario, there: &[Scenario]) {
    let today = knob.values[0].clone();
    for s in there {
        if matches!(today, Setting::MoeTiles(_)) {
            let paths = s.engine.moe_paths.keys().cloned().map(Setting::MoeTiles);
            knob.values.extend(paths);
            deduplicate(knob);
            continue;
        }
        let own = s.settings().ok().map(|now| today.in_force(s, &now));
        if let Some(own) = own.filter(|own| *own != today) {
            let now = base.settings().ok().map(|now| today.in_force(base, &now));
            for v in [Some(own), now].into_iter().flatten() {
                if !knob.values[1..].contains(&v) {
                    knob.values.push(v);
                }
            }
        }
    }
}

fn knobs(args: &TuneQuestion, base: &Scenario) -> anyhow::Result<Vec<Knob>> {
    let given = given(args, base)?;
    let now = settings(base, &given)?;
    let mut all = usual(base, &now, args.answers_may_change)?;
    for (name, values) in &given {
        let knob = all
            .iter_mut()
            .find(|k| k.name == *name)
            .ok_or_else(|| anyhow!("--knob {name}: there is no such knob here; see --help"))?;
        knob.values.truncate(1);
        knob.values.extend(values.iter().cloned());
    }
    let is_given = |k: &Knob| given.iter().any(|g| g.0 == k.name);
    for k in &mut all {
        if args.only && !is_given(k) {
            k.values.truncate(1);
        }
        deduplicate(k);
    }
    let there: Vec<Scenario> = elsewhere(base, &all);
    for k in all.iter_mut().filter(|k| !args.only && !is_given(k)) {
        also_elsewhere(k, base, &there);
    }
    // Knobs that are turned only on demand: left out, they leave the draw of all others what it is without them.
    let on_demand = |name: &str| name.ends_with("-parallel-size") || replicas_of(name).is_some();
    all.retain(|k| k.values.len() > 1 || !on_demand(&k.name));
    Ok(all)
}

/// What is said where `enforce-eager` is among the values tried: the table never tries it by itself.
const NO_PRICE_OF_EAGER: &str = "enforce-eager has no measured price yet: on CUDA it costs nothing in this model, while a real server's \
                                 decode steps become longer. A gain or a tie is no advice to turn graphs off";

/// Whether a knob turns CUDA/HIP graphs off that are on today.
fn turns_graphs_off(knob: &Knob) -> bool {
    let eager = ENFORCE_EAGER.place();
    let off = |v: &Setting| matches!(v, Setting::Engine(at, Value::Switch(true)) if *at == eager);
    knob.values.len() > 1 && knob.values.iter().any(off)
}

/// Requests of a run unless a number is given.
const PROMPTS_TRIED: u32 = 400;

/// The scenario and what was found.
///
/// # Errors
/// Flags that contradict each other; no setting that can be tried.
pub fn answer(
    args: &TuneQuestion,
    mut spec: ScenarioSpec,
    files: &Files,
    pool: &impl Pool,
) -> anyhow::Result<(Scenario, Tuned)> {
    let command = asked("tune", &args.words(), &spec.clone().into());
    let slo = match &args.slo {
        Some(text) => Some(Slo::parse(text).context("--slo")?),
        None => None,
    };
    ensure!(
        (1..=1_000_000).contains(&args.settings),
        "--settings {}: must lie between 1 and 1000000",
        args.settings
    );
    ensure!(
        (1..=1000).contains(&args.seeds),
        "--seeds {}: must lie between 1 and 1000",
        args.seeds
    );
    ensure!(!args.levels.contains(&0), "--levels: must be at least 1");
    ensure!(args.devices != Some(0), "--devices 0: must be at least 1");
    let said = spec.load.get(NUM_PROMPTS);
    if let Some(&level) = args.levels.first() {
        let others = ["request_rate", "max_concurrency", "users", "trace_file"];
        let other = spec.load.iter().find(|(f, _)| others.contains(&f.name));
        if let Some((field, _)) = other {
            bail!("--levels contradicts --{}: give one of them", field.flag());
        }
        spec.load.set(MAX_CONCURRENCY, level);
    }
    let mut base = spec.resolve(files)?;
    let w = &base.workload;
    ensure!(
        w.longest_output() > 1 || !slo.as_ref().is_some_and(Slo::needs_two_tokens),
        "--slo: answers of one token have no tpot and no itl"
    );
    let closed = w.max_concurrency.is_some() && w.request_rate.is_none() && w.arrival.is_none();
    if said.is_none() && w.users.is_none() && w.trace.is_none() {
        base.workload.num_prompts = PROMPTS_TRIED;
    }
    let objective = match args.objective {
        Some(Goal::Throughput) => Objective::Throughput,
        Some(Goal::Latency) => Objective::Latency,
        Some(Goal::PerDevice) => Objective::PerDevice,
        None if closed => Objective::Throughput,
        None => Objective::Latency,
    };
    let question = Question {
        slo,
        objective,
        knobs: knobs(args, &base)?,
        settings: args.settings,
        concurrency: args.levels.clone(),
        seeds: args.seeds,
        keep: 24,
        prompts: said,
        devices: args.devices,
        simpler: 0.003,
    };
    let mut answer = tune(&base, &question, pool)?;
    if question.knobs.iter().any(turns_graphs_off) {
        answer.notes.push(NO_PRICE_OF_EAGER.into());
    }
    answer.answer = in_words::for_device(&in_words::tune(&answer), &base);
    answer.about = Some(About::of(&base, command));
    Ok((base, answer))
}

impl TuneQuestion {
    /// The flags that ask it again.
    fn words(&self) -> Vec<String> {
        let mut all = vec![];
        let mut put = |flag: &str, value: Option<String>| {
            all.extend(value.into_iter().flat_map(|v| [flag.to_string(), v]));
        };
        put("--slo", self.slo.clone());
        let goal = self.objective.and_then(|o| o.to_possible_value());
        put("--objective", goal.map(|v| v.get_name().to_string()));
        for knob in &self.knob {
            put("--knob", Some(knob.clone()));
        }
        put("--devices", self.devices.map(|n| n.to_string()));
        let levels: Vec<String> = self.levels.iter().map(u32::to_string).collect();
        put("--levels", (!levels.is_empty()).then(|| levels.join(",")));
        put(
            "--settings",
            (self.settings != 1024).then(|| self.settings.to_string()),
        );
        put("--seeds", (self.seeds != 3).then(|| self.seeds.to_string()));
        for (flag, on) in [
            ("--only", self.only),
            ("--answers-may-change", self.answers_may_change),
        ] {
            all.extend(on.then(|| flag.to_string()));
        }
        all
    }
}

/// The answer for people, and the line that measures it on the user's machine.
fn text(args: &TuneArgs, base: &Scenario, answer: &Tuned, spec: &ScenarioSpec) -> String {
    let mut text = report::text(base, answer);
    if (answer.best.is_some() || answer.nearest.is_some()) && !args.verify.wanted() {
        text.push_str(
            "\nMeasure the best settings beside their predictions, as you restart the server:\n",
        );
        text.push_str(&verify::line("tune", &args.question.words(), spec, base));
    }
    text
}

pub fn run(args: &TuneArgs) -> anyhow::Result<ExitCode> {
    args.verify.check()?;
    let pool = args.pool.start()?;
    let spec = args.scenario.spec()?;
    let (base, answer) = answer(&args.question, spec.clone(), &args.scenario.files, &pool)?;
    drop(pool);
    #[cfg(feature = "live")]
    if args.verify.wanted() {
        if !args.json {
            print!("{}", text(args, &base, &answer, &spec));
        }
        let slo = args.question.slo.as_deref();
        return verify::tune(&args.verify, &base, slo, &answer, args.json);
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&answer)?);
    } else {
        print!("{}", text(args, &base, &answer, &spec));
    }
    if args.plot {
        print!("{}", plots(&answer)?);
    }
    Ok(if answer.best.is_some() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
