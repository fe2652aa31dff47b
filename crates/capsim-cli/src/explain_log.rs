//! `capsim explain LOG`: what a server's log tells, beside what is predicted of it.
use super::explain::ExplainArgs;
use super::files::{self, Files};
use super::scenario_args::{of_line, quoted, read_line};
use anyhow::Context;
use capsim::device::EngineId;
use capsim::engine::kind;
use capsim::engine::settings::{SPECULATIVE_ACCEPTANCE, SPECULATIVE_METHOD, SPECULATIVE_MODEL};
use capsim::fields::Value;
use capsim::metrics::{Metric, Percentiles};
use capsim::plan::memory::{Demand, Memory, memory};
use capsim::predict::simulate_once;
use capsim::predict::spec::ScenarioSpec;
use capsim_study::log::{Said, ServerLog};
use capsim_study::report::json::{
    self,
    log::{LoadSeen, LogAnswer, MemoryPart},
};
use capsim_study::report::table::{three, with_header, wrap};
use std::process::ExitCode;

const GIB: f64 = 1_073_741_824.0;

/// Output tokens of a request, where only the ratio of prompt to output tokens is known.
const OUTPUT: f64 = 256.0;

/// The line that starts such a server.
fn words(log: &ServerLog, engine: EngineId) -> Vec<String> {
    let model = log.model.as_ref().map_or("", |m| m.value.as_str());
    let parts = kind(engine).command(model.trim_end_matches(".gguf"));
    // Without a model nothing follows the program's name.
    let parts = parts
        .iter()
        .take(if model.is_empty() { 1 } else { usize::MAX });
    let start = parts.flat_map(|p| p.split_whitespace().map(String::from));
    start.chain(log.arguments.iter().cloned()).collect()
}

/// What was started, as a scenario; what the command says of it wins.
fn scenario(
    args: &ExplainArgs,
    log: &ServerLog,
    line: &[String],
    notes: &mut Vec<String>,
) -> anyhow::Result<ScenarioSpec> {
    let mut spec = ScenarioSpec::default();
    match read_line(line, &Files::default()).and_then(|l| of_line(&l)) {
        Ok(told) => spec = told,
        Err(e) => notes.push(format!(
            "the arguments in the log could not be read as a command: {e:#}"
        )),
    }
    if let Some(engine) = log.engine {
        spec.set_json("server", &serde_json::to_value(engine)?)?;
        let version = log.version.as_ref().filter(|_| kind(engine).has_releases());
        if let Some(v) =
            version.filter(|v| v.value.parse::<capsim::engine::EngineVersion>().is_ok())
        {
            spec.engine_version = Some(v.value.clone());
        }
    }
    for (name, value) in [
        ("model", &args.model),
        ("device", &args.device),
        ("engine", &args.engine),
        ("weights", &args.weights),
    ] {
        if let Some(v) = value {
            spec.set(name, Value::Text(v.clone()))?;
        }
    }
    for argument in &log.left_out {
        notes.push(format!("not simulated: {argument}"));
    }
    drafts(log, &mut spec, notes);
    if args.device.is_none() {
        notes.push("no log names the device's profile: predictions are for the default device; --device names the server's".into());
    }
    Ok(spec)
}

/// Drafts are accepted as the log tells.
fn drafts(log: &ServerLog, spec: &mut ScenarioSpec, notes: &mut Vec<String>) {
    let Some(d) = &log.drafts else { return };
    let told = format!(
        "mean acceptance length {:.2} of {:.0} verifications (up to line {})",
        d.mean_length(),
        d.verified,
        d.line
    );
    let s = &mut spec.settings;
    if s.get(SPECULATIVE_METHOD).is_none() && s.get(SPECULATIVE_MODEL).is_none() {
        notes.push(format!(
            "{told}, but nothing in the log names what drafts: predictions are without"
        ));
    } else {
        notes.push(format!(
            "{told}: --speculative-acceptance {}",
            d.acceptance()
        ));
        s.set(SPECULATIVE_ACCEPTANCE, d.acceptance());
    }
}

/// Parts of the memory, logged and predicted.
fn parts(log: &ServerLog, predicted: Option<&Memory>) -> Vec<MemoryPart> {
    let part =
        |part: &str, unit: &str, said: &Option<Said<f64>>, predicted: Option<f64>| MemoryPart {
            part: part.into(),
            unit: unit.into(),
            logged: said.as_ref().map(|s| s.value),
            line: said.as_ref().map(|s| s.line as u64),
            predicted,
        };
    let m = predicted.filter(|m| m.starts);
    let all = [
        part("weights", "GiB", &log.weights, m.map(|m| m.weights / GIB)),
        part(
            "KV cache",
            "GiB",
            &log.kv_cache,
            m.map(|m| m.kv_cache / GIB),
        ),
        part(
            "KV cache",
            "tokens",
            &log.kv_tokens,
            m.map(|m| m.kv_tokens as f64),
        ),
        part("graphs", "GiB", &log.graphs, None),
        part("buffers of a step", "GiB", &log.buffers, None),
    ];
    all.into_iter().filter(|p| p.logged.is_some()).collect()
}

/// Output tokens per second of as many requests as ran, in the ratio of prompt to output tokens that the log has.
fn throughput(spec: &ScenarioSpec, seen: &LoadSeen, files: &Files) -> anyhow::Result<Option<f64>> {
    let (Some(running), Some(prompt), Some(output)) =
        (seen.running, seen.prompt_throughput, seen.output_throughput)
    else {
        return Ok(None);
    };
    if output <= 0.0 {
        return Ok(None);
    }
    let clients = running.round().clamp(1.0, 4096.0) as u64;
    let input = (OUTPUT * prompt / output).round().clamp(1.0, 16_384.0) as u64;
    let mut spec = spec.clone();
    for (name, value) in [
        ("max_concurrency", clients),
        ("num_prompts", 4 * clients),
        ("random_input_len", input),
        ("random_output_len", OUTPUT as u64),
    ] {
        spec.set(name, Value::Count(value))?;
    }
    let run = simulate_once(&spec.resolve(files)?)?;
    let v = run
        .summary
        .metric(Metric::OutputThroughput, Percentiles::Linear);
    Ok(v.is_finite().then_some(v))
}

fn answer(args: &ExplainArgs, log: &ServerLog) -> anyhow::Result<LogAnswer> {
    let mut notes = vec![];
    let engine = log.engine.unwrap_or_default();
    let line = words(log, engine);
    let spec = scenario(args, log, &line, &mut notes)?;
    let files = Files::default();
    let scenario = match (&spec.model, spec.described(&files)) {
        (None, _) => {
            notes.push("the log does not name the model: --model says it".into());
            None
        }
        (_, Ok(s)) => Some(s),
        (_, Err(e)) => {
            notes.push(format!("nothing is predicted: {e}; --model, --weights and --device say what the log does not"));
            None
        }
    };
    let predicted =
        scenario
            .as_ref()
            .and_then(|s| match memory(s, &Demand::default(), None, &[]) {
                Ok(m) => Some(m),
                Err(e) => {
                    notes.push(format!("no memory is predicted: {e}"));
                    None
                }
            });
    if let Some(problem) = predicted.as_ref().and_then(|m| m.problem.as_ref()) {
        notes.push(format!(
            "predicted is that such a server does not start: {problem}"
        ));
    }
    let mut load = log.load();
    if let (Some(seen), Some(_)) = (&mut load, &scenario) {
        match throughput(&spec, seen, &files) {
            Ok(v) => seen.predicted_output_throughput = v,
            Err(e) => notes.push(format!("no throughput is predicted: {e:#}")),
        }
    }
    let limit = log.max_num_seqs.as_ref().map(|s| s.value as u32);
    let limit = limit.or_else(|| Some(scenario.as_ref()?.settings().ok()?.config.max_num_seqs));
    Ok(LogAnswer {
        schema: "capsim.log/1".into(),
        engine: kind(engine).key().into(),
        version: log.version.as_ref().map(|v| v.value.clone()),
        model: log.model.as_ref().map(|m| m.value.clone()),
        command: quoted(&line),
        lines: [log.lines as u64, log.understood as u64],
        memory: parts(log, predicted.as_ref()),
        load,
        findings: log.findings(limit),
        scenario: spec,
        notes,
    })
}

fn text(a: &LogAnswer) -> String {
    let version = a
        .version
        .as_deref()
        .map_or(String::new(), |v| format!(" {v}"));
    let mut o = format!(
        "{}{version}: {} of {} lines were understood\n  {}\n",
        a.engine,
        a.lines[1],
        a.lines[0],
        wrap(&a.command, 74, "    ")
    );
    let or_none = |v: Option<f64>| v.map_or("–".to_string(), three);
    if !a.memory.is_empty() {
        let mut t = with_header(&["memory", "log", "line", "predicted"]);
        for p in &a.memory {
            let line = p.line.map_or(String::new(), |n| n.to_string());
            t.add_row([
                format!("{} ({})", p.part, p.unit),
                or_none(p.logged),
                line,
                or_none(p.predicted),
            ]);
        }
        o += &format!("\n{t}\n");
    }
    if let Some(l) = &a.load {
        let mut t = with_header(&["load, while busy", "mean", "most"]);
        t.add_row([
            "requests that run".to_string(),
            or_none(l.running),
            or_none(l.running_max),
        ]);
        t.add_row([
            "requests that wait".to_string(),
            or_none(l.waiting),
            or_none(l.waiting_max),
        ]);
        t.add_row([
            "KV cache in use (%)".to_string(),
            "–".into(),
            or_none(l.kv_max.map(|k| 100.0 * k)),
        ]);
        t.add_row([
            "prompt tok/s".to_string(),
            or_none(l.prompt_throughput),
            String::new(),
        ]);
        t.add_row([
            "output tok/s".to_string(),
            or_none(l.output_throughput),
            String::new(),
        ]);
        o += &format!("\n{t}\n");
        if let Some(v) = l.predicted_output_throughput {
            o += &format!(
                "  predicted for as many requests of such prompts: {} output tok/s\n",
                three(v)
            );
        }
    }
    o.push('\n');
    for f in &a.findings {
        o += &format!(
            "  - {}\n    {}\n",
            wrap(&f.claim, 74, "    "),
            wrap(&format!("because {}", f.evidence), 74, "    ")
        );
    }
    for n in &a.notes {
        o += &format!("  Note: {}\n", wrap(n, 72, "  "));
    }
    o
}

pub fn run(args: &ExplainArgs, log: &ServerLog) -> anyhow::Result<ExitCode> {
    let a = answer(args, log)?;
    if let Some(path) = &args.save_scenario {
        files::write(path, &a.scenario.to_json()).context("--save-scenario")?;
    }
    if args.json {
        println!("{}", json::text(&a));
    } else {
        print!("{}", text(&a));
    }
    Ok(ExitCode::SUCCESS)
}
