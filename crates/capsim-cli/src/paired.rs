//! `capsim validate --url` and `--bench`: the very requests of a benchmark, simulated.
use super::bench::client_args::ClientArgs;
use super::bench::load::ServeLoad;
use super::bench::session::Session;
use super::recordings::{of_files, other_model};
use super::report::slug;
use super::scenario_args::{of_line, read_line};
use super::validate::ValidateArgs;
use super::{files, load};
use anyhow::{Context, bail, ensure};
use capsim::engine::settings::*;
use capsim::line::Line;
use capsim::model::KvDtype;
use capsim::predict::spec::weighted;
use capsim::predict::{EngineWanted, Engines, unmodelled};
use capsim::workload::PromptKind;
use capsim::workload::Replay;
use capsim_live::bench::drive::conversations;
use capsim_live::bench::read::{Recording, Tool};
use capsim_study::report::json::{self, paired::PairedAnswer};
use capsim_study::report::{page, paired as report};
use capsim_study::validate::fit::Fit;
use capsim_study::validate::hypothesis::Basis;
use capsim_study::validate::paired::{self, Suppose};
use capsim_study::validate::runs::{ClientInfo, RunsFile, Tolerance};
use clap::Args;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Args, Debug)]
#[command(next_help_heading = "Stored benchmarks and running servers")]
pub struct PairedArgs {
    /// Result of a benchmark, of any tool in docs/bench.md: FILE, or FILE#3 for the third result in it; may be repeated
    #[arg(long, value_delimiter = ',', value_name = "FILE")]
    bench: Vec<PathBuf>,
    /// Model: a built-in name, or the path of a config.json (default: what the server or the file names)
    #[arg(long)]
    model: Option<String>,
    /// Weight format
    #[arg(long)]
    weights: Option<String>,
    /// Way the engine runs its expert kernels
    #[arg(long)]
    moe_tiles: Option<String>,
    /// Most sequences in a batch; no server tells it
    #[arg(long)]
    max_num_seqs: Option<u32>,
    /// Most new tokens in a step; no server tells it
    #[arg(long)]
    max_num_batched_tokens: Option<u32>,
    /// Clients of a closed loop, where a file does not tell them
    #[arg(long)]
    clients: Option<u32>,
    /// Mean prompt tokens, where a file does not tell them
    #[arg(long, value_name = "TOKENS")]
    recorded_input_len: Option<u32>,
    /// Mean output tokens, where a file does not tell them
    #[arg(long, value_name = "TOKENS")]
    recorded_output_len: Option<u32>,
    /// What prompts had in common, where a file does not tell it: distinct, identical, shared-prefix:TOKENS
    #[arg(long, default_value = "distinct")]
    recorded_prompts: String,
    /// Seed that vllm bench serve was given, for arrivals that a file does not tell
    #[arg(long, default_value_t = 0)]
    recorded_seed: u32,
    /// Write the recordings as capsim.runs/1
    #[arg(long, value_name = "FILE")]
    write_runs: Option<PathBuf>,
    /// Write the result JSON of a measured server, for --bench
    #[arg(long, value_name = "FILE", requires = "base_url")]
    save_bench: Option<PathBuf>,
    #[command(flatten)]
    client: ClientArgs,
    #[command(flatten)]
    load: ServeLoad,
    /// The server's `vllm serve …` line, pasted as it is
    #[arg(last = true, value_name = "vllm serve …")]
    line: Vec<String>,
}

impl PairedArgs {
    /// Whether a benchmark was named.
    pub fn wanted(&self) -> bool {
        self.client.named() || !self.bench.is_empty()
    }

    fn suppose(&self) -> anyhow::Result<Suppose> {
        let (prompts, shared_prefix_len) = match self.recorded_prompts.split_once(':') {
            None if self.recorded_prompts == "distinct" => (PromptKind::Distinct, 0),
            None if self.recorded_prompts == "identical" => (PromptKind::Identical, 0),
            Some(("shared-prefix", n)) => (
                PromptKind::SharedPrefix,
                n.parse()
                    .with_context(|| format!("--recorded-prompts: `{n}` is no number of tokens"))?,
            ),
            _ => bail!(
                "--recorded-prompts `{}`: must be distinct, identical or shared-prefix:TOKENS",
                self.recorded_prompts
            ),
        };
        ensure!(self.clients != Some(0), "--clients: must be at least 1");
        Ok(Suppose {
            prompts,
            shared_prefix_len,
            sampled: !self.client.greedy(),
            max_concurrency: self.clients,
            seed: self.recorded_seed,
        })
    }

    fn pasted(&self) -> anyhow::Result<Line> {
        let mut line = match self.line.is_empty() {
            true => Line::default(),
            false => read_line(&self.line, &Default::default())?,
        };
        let s = &mut line.settings;
        s.set(MAX_NUM_SEQS, self.max_num_seqs.or(s.get(MAX_NUM_SEQS)));
        s.set(
            MAX_NUM_BATCHED_TOKENS,
            self.max_num_batched_tokens
                .or(s.get(MAX_NUM_BATCHED_TOKENS)),
        );
        Ok(line)
    }

    /// Runs the load against the server.
    fn measure(&self) -> anyhow::Result<(Recording, bool)> {
        let spec = self.load.spec(self.client.greedy())?;
        let session = Session::open(&self.client, None, false, conversations(&spec))?;
        let (live, text, interrupted) = session.recording(&spec)?;
        if let Some(path) = &self.save_bench {
            files::write(path, &(text + "\n"))?;
        }
        Ok((live, interrupted))
    }

    /// The stored results, with what the command says of them.
    fn stored(&self) -> anyhow::Result<Vec<Recording>> {
        let flags = self.load.flags();
        ensure!(
            self.client.named() || self.bench.is_empty() || flags.is_empty(),
            "{}: the file says the load that was sent; with --bench there is --clients, --recorded-input-len, --recorded-output-len, \
             --recorded-prompts and --recorded-seed for what a file does not tell",
            flags.join(", ")
        );
        let mut all = of_files(&self.bench)?;
        for r in &mut all {
            self.lengths(r)?;
        }
        Ok(all)
    }

    /// Lengths that a file does not tell, as the command says them.
    fn lengths(&self, r: &mut Recording) -> anyhow::Result<()> {
        let (input, output) = (self.recorded_input_len, self.recorded_output_len);
        if input.is_none() && output.is_none() {
            if r.unsplit {
                r.notes.push(
                    "THE FILE HOLDS ONLY THE SUM OF PROMPT AND OUTPUT TOKENS: half of it is taken for each; --recorded-input-len says how many are \
                     the prompt's"
                        .into(),
                );
            }
            return Ok(());
        }
        let flag = if input.is_some() {
            "--recorded-input-len"
        } else {
            "--recorded-output-len"
        };
        ensure!(
            r.unsplit || r.tool == Tool::VllmLatency,
            "{flag}: {} says its lengths itself",
            r.name
        );
        let both = r.requests.first().map_or(0, |q| q.input + q.output);
        let (input, output) = match (input, output) {
            _ if !r.unsplit => (input, output),
            (Some(i), None) => (Some(i), Some(both.saturating_sub(i))),
            (None, Some(o)) => (Some(both.saturating_sub(o)), Some(o)),
            given => given,
        };
        ensure!(
            input != Some(0) && output != Some(0),
            "{flag}: prompt and output have {both} tokens together in {}",
            r.name
        );
        for q in &mut r.requests {
            q.input = input.unwrap_or(q.input);
            q.output = output.unwrap_or(q.output);
        }
        Ok(())
    }
}

/// The model that a server's own name for it stands for.
fn model_name(args: &PairedArgs, line: &Line, r: &Recording) -> anyhow::Result<String> {
    if let Some(name) = args.model.clone().or(line.model.clone()) {
        return Ok(name);
    }
    let names = [&r.server.root, &r.model];
    for name in names.into_iter().flatten() {
        if load::config(name).is_ok() {
            return Ok(name.clone());
        }
    }
    bail!(
        "the model is called {}, which is no built-in name: give --model with the path of its config.json",
        r.model.as_deref().unwrap_or("nothing")
    )
}

fn basis(v: &ValidateArgs, args: &PairedArgs, line: &Line, r: &Recording) -> anyhow::Result<Basis> {
    let model_name = model_name(args, line, r)?;
    let serve = &line.settings;
    let config = load::config(&model_name)?;
    let model = weighted(&config, args.weights.as_deref(), serve)?;
    let device = load::device(v.device.as_deref().unwrap_or("gfx1151"))?;
    // The server's own word counts more than the line's.
    let told = paired::release_of(&r.server);
    let pasted = line.release.as_ref().filter(|_| told.is_none());
    let release = v
        .engine_version
        .or_else(|| pasted.and_then(|text| text.parse().ok()));
    let engines = Engines::builtin();
    let engine = match &v.engine {
        Some(name) => {
            let named = load::engine(name)?;
            let rules = line.engine.or(r.engine).unwrap_or(named.scheduler);
            engines.under(named, rules, &device)
        }
        None => engines.choose(&EngineWanted {
            model: &model,
            device: &device,
            engine: line.engine.or(r.engine),
            release: release.or(told),
        }),
    };
    if let Some(path) = &args.moe_tiles
        && !engine.moe_paths.contains_key(path)
    {
        bail!("--moe-tiles: the engine profile has no path `{path}`");
    }
    Ok(Basis {
        model_name,
        model,
        device,
        engine,
        release,
        moe_path: args.moe_tiles.clone(),
    })
}

fn write_runs(
    path: &Path,
    basis: &Basis,
    args: &PairedArgs,
    first: &Recording,
    runs: Vec<capsim_study::validate::runs::RecordedRun>,
) -> anyhow::Result<()> {
    let file = RunsFile {
        schema: RunsFile::SCHEMA.into(),
        name: format!("Recorded benchmarks of {}", basis.model_name),
        date: None,
        source: "capsim validate --write-runs".into(),
        model: basis.model_name.clone(),
        weights: args.weights.clone(),
        kv_cache: match basis.model.precision().kv {
            KvDtype::Auto => None,
            kv => Some(kv.to_string()),
        },
        device: basis.device.id.clone(),
        engine: basis.engine.id.clone(),
        engine_version: basis
            .release
            .or_else(|| paired::release_of(&first.server))
            .map(|r| r.full()),
        moe_tiles: args.moe_tiles.clone(),
        client: ClientInfo::default(),
        tolerance: Tolerance::default(),
        runs,
    };
    files::write(path, &(serde_json::to_string_pretty(&file)? + "\n"))
}

/// The pictures of a comparison, written beside `base`.
fn draw(base: &Path, p: &paired::Paired) -> anyhow::Result<Vec<String>> {
    let stem = base.file_stem().unwrap_or_default().to_string_lossy();
    let clean: String = p
        .name
        .chars()
        .map(|c| {
            if c.is_alphanumeric() || "-_.".contains(c) {
                c
            } else {
                '-'
            }
        })
        .collect();
    let mut names = vec![];
    let answer = json::paired::Recording::new(p);
    for picture in page::paired::pictures(&answer) {
        if let Some(svg) = picture.file() {
            let name = format!("{stem}-{clean}-{}.svg", slug(picture.title()));
            files::write(&base.with_file_name(&name), &svg)?;
            names.push(name);
        }
    }
    Ok(names)
}

/// A recording, and what it is predicted with.
struct Case {
    recording: Recording,
    basis: Basis,
    replay: Replay,
}

/// The recordings of a command with what they are predicted with, and whether the last one was interrupted.
fn cases(
    v: &ValidateArgs,
    args: &PairedArgs,
    line: &Line,
    suppose: &Suppose,
) -> anyhow::Result<(Vec<Case>, bool)> {
    let mut recordings = args.stored()?;
    for id in &v.fit {
        let known: Vec<&str> = recordings.iter().map(|r| r.name.as_str()).collect();
        ensure!(
            known.contains(&id.as_str()),
            "--fit `{id}`: no such recording; there are: {}",
            known.join(", ")
        );
    }
    let mut interrupted = false;
    if args.client.named() {
        let (r, partial) = args.measure()?;
        interrupted = partial;
        recordings.push(r);
    }
    let all = recordings.into_iter().map(|recording| {
        let basis = basis(v, args, line, &recording).with_context(|| recording.name.clone())?;
        let replay = paired::replay(&recording, suppose)?;
        Ok(Case {
            recording,
            basis,
            replay,
        })
    });
    Ok((all.collect::<anyhow::Result<_>>()?, interrupted))
}

/// The engine profile fitted to the recordings that were named for it.
fn fitted(
    v: &ValidateArgs,
    cases: &mut [Case],
    line: &Line,
    suppose: &Suppose,
) -> anyhow::Result<Option<Fit>> {
    let named: Vec<&Case> = cases
        .iter()
        .filter(|c| v.fit.contains(&c.recording.name))
        .collect();
    let Some(first) = named.first() else {
        return Ok(None);
    };
    for c in cases.iter() {
        ensure!(
            c.basis.engine.id == first.basis.engine.id,
            "--fit: {} is predicted with {}, {} with {}: one profile is fitted at a time",
            first.recording.name,
            first.basis.engine.id,
            c.recording.name,
            c.basis.engine.id
        );
    }
    let runs: Vec<_> = named.iter().map(|c| (&c.recording, &c.replay)).collect();
    let fit = paired::fitted(&first.basis, &line.settings, &runs, suppose)?;
    if let Some(path) = &v.write_profile {
        files::write(path, &(serde_json::to_string_pretty(&fit.profile)? + "\n"))?;
    }
    for c in cases {
        c.basis.engine = fit.profile.clone();
    }
    Ok(Some(fit))
}

/// Compares each; what cannot be simulated is left out by name, unless nothing else is there.
fn compared(
    v: &ValidateArgs,
    cases: &[Case],
    line: &Line,
    notes: &[String],
) -> anyhow::Result<(Vec<paired::Paired>, Vec<String>)> {
    let (mut all, mut left_out) = (vec![], vec![]);
    for c in cases {
        let r = &c.recording;
        let fitted = v.fit.contains(&r.name);
        let compared = paired::compare(&c.basis, &line.settings, r, &c.replay, v.tolerance, fitted);
        let mut p = match compared.with_context(|| r.name.clone()) {
            Ok(p) => p,
            Err(e) if cases.len() == 1 => return Err(e),
            Err(e) => {
                left_out.push(format!("{e:#}"));
                continue;
            }
        };
        p.notes.splice(0..0, other_model(r, &c.basis.model_name));
        p.notes.extend(notes.iter().cloned());
        all.push(p);
    }
    ensure!(
        !all.is_empty(),
        "none of the results can be simulated:\n  {}",
        left_out.join("\n  ")
    );
    Ok((all, left_out))
}

pub fn run(v: &ValidateArgs, args: &PairedArgs) -> anyhow::Result<ExitCode> {
    let (suppose, line) = (args.suppose()?, args.pasted()?);
    let (mut cases, interrupted) = cases(v, args, &line, &suppose)?;
    let fit = fitted(v, &mut cases, &line, &suppose)?;
    if let Some(path) = &args.write_runs {
        let runs = cases
            .iter()
            .map(|c| paired::recorded_run(&c.recording, &line.settings, &suppose))
            .collect();
        let first = &cases[0];
        write_runs(path, &first.basis, args, &first.recording, runs)?;
    }
    let said = of_line(&line)?;
    let mut notes = said.line_notes.clone();
    if !said.not_simulated.is_empty() {
        notes.insert(0, unmodelled::sentence(&said.not_simulated));
    }
    let (all, left_out) = compared(v, &cases, &line, &notes)?;
    let pictures = match v.svg.as_deref() {
        Some(base) => all
            .iter()
            .map(|p| draw(base, p))
            .collect::<anyhow::Result<_>>()?,
        None => vec![],
    };
    if let Some(path) = &v.markdown {
        files::write(path, &report::markdown(fit.as_ref(), &all, &pictures))?;
    }
    if v.json {
        println!(
            "{}",
            json::text(&PairedAnswer {
                harmless: said.harmless,
                left_out,
                ..PairedAnswer::new(fit.as_ref(), &all)
            })
        );
    } else {
        print!("{}", report::text(fit.as_ref(), &all));
        for text in &left_out {
            eprintln!("note: left out: {text}");
        }
    }
    let agrees = all
        .iter()
        .filter(|p| !p.fitted)
        .flat_map(|p| &p.metrics)
        .all(|m| m.agrees() != Some(false));
    Ok(match (interrupted, agrees) {
        (true, _) => ExitCode::from(super::bench::INTERRUPTED),
        (false, true) => ExitCode::SUCCESS,
        (false, false) => ExitCode::FAILURE,
    })
}
