//! Flags, a document and a pasted line → a scenario, or a table of them.
use super::files::Files;
use super::flags::{Flagged, Given};
use anyhow::{Context, bail};
use capsim::engine::settings::{EngineSection, MAX_NUM_SEQS, TABLE};
use capsim::fields::{Field, Section, Value};
use capsim::line::{self, Line, Source};
use capsim::model::overrides::SEPARATOR;
#[cfg(feature = "live")]
use capsim::predict::Scenario;
use capsim::predict::spec::{
    DeploymentSection, Point, ScenarioSpec, ServedSection, Variation, all_fields, expand,
};
use capsim::workload::load::LoadSection;
use clap::Args;
use std::path::{Path, PathBuf};

impl Flagged for ServedSection {
    const HEADING: &'static str = "What to serve";
}

impl Flagged for EngineSection {
    const HEADING: &'static str = "Engine settings (vLLM's names and defaults)";
    fn short(at: usize) -> &'static [&'static str] {
        TABLE[at].short
    }
}

impl Flagged for DeploymentSection {
    const HEADING: &'static str = "Replicas and pools (docs/guide/fleets.md)";
}

impl Flagged for LoadSection {
    const HEADING: &'static str = "Load (vllm bench serve's names; docs/workloads.md)";
}

/// What describes a scenario on a command line. Later ones win: the document, the pasted line, the flags.
#[derive(Args, Clone, Debug, Default)]
pub struct ScenarioArgs {
    /// A scenario document, as --save-scenario writes it
    #[arg(value_name = "SCENARIO.json")]
    document: Option<PathBuf>,
    #[command(flatten)]
    pub served: Given<ServedSection>,
    #[command(flatten)]
    pub settings: Given<EngineSection>,
    #[command(flatten)]
    pub load: Given<LoadSection>,
    #[command(flatten)]
    pub deployment: Given<DeploymentSection>,
    /// Also write the scenario as a document (capsim schema scenario)
    #[arg(long, value_name = "FILE", help_heading = "What to serve")]
    save_scenario: Option<PathBuf>,
    /// A line that starts a server, as it is typed (vllm serve, docker run, llama-server, sglang; with variables, quoted or not), or a
    /// file with it (a script, compose, Kubernetes, systemd), or - for standard input; the flags above win
    #[arg(last = true, value_name = "SERVER LINE")]
    line: Vec<String>,
    /// Where the files named above are read.
    #[arg(skip)]
    pub files: Files,
}

/// Reads a server's line: its words, a file that holds it, or `-` for standard input.
///
/// # Errors
/// A file that cannot be read, words that start no server, flags that cannot be read.
pub fn read_line(words: &[String], files: &Files) -> anyhow::Result<Line> {
    let file = match words {
        [word] if word == "-" => {
            let text = std::io::read_to_string(std::io::stdin()).context("standard input")?;
            return line_of(Source::Text(&text), Path::new(""), files).context("on standard input");
        }
        [word] => Some(Path::new(word)),
        _ => None,
    };
    // A model's config.json is a model, not a line.
    let is_line =
        |p: &Path| p.extension().is_none_or(|e| e != "json") && files.exists(p) && !files.is_dir(p);
    match file.filter(|p| is_line(p)) {
        Some(path) => {
            let folder = path.parent().unwrap_or(Path::new(""));
            line_of(Source::Text(&files.read(path)?), folder, files)
                .with_context(|| format!("in {}", path.display()))
        }
        None => line_of(Source::Words(words), Path::new(""), files).context("in the pasted line"),
    }
}

/// Files that a line names lie beside the file that holds it, or where the command runs.
fn line_of(source: Source, folder: &Path, files: &Files) -> anyhow::Result<Line> {
    let read = |name: &str| {
        let beside = folder.join(name);
        let path = if files.exists(&beside) {
            &beside
        } else {
            Path::new(name)
        };
        files.read(path).map_err(|e| e.root_cause().to_string())
    };
    Ok(line::read(source, &read)?)
}

/// What a line says of a scenario.
///
/// # Errors
/// None that a line can cause.
pub fn of_line(line: &Line) -> anyhow::Result<ScenarioSpec> {
    Ok(ScenarioSpec::of_line(line)?)
}

impl ScenarioArgs {
    /// The server's line, read; an empty one where none is given.
    ///
    /// # Errors
    /// As [`read_line`].
    #[cfg(feature = "live")]
    pub fn line(&self) -> anyhow::Result<Line> {
        match self.line.is_empty() {
            true => Ok(Line::default()),
            false => read_line(&self.line, &self.files),
        }
    }

    /// What the document, the line and the flags say.
    ///
    /// # Errors
    /// A document or a line that cannot be read.
    pub fn described(&self) -> anyhow::Result<Described> {
        let mut spec = match &self.document {
            None => ScenarioSpec::default(),
            Some(path) => {
                ScenarioSpec::parse(&self.files.read(path)?, &path.display().to_string())?
            }
        };
        let line = match self.line.is_empty() {
            true => None,
            false => Some(read_line(&self.line, &self.files)?),
        };
        if let Some(line) = &line {
            spec.overlay(&of_line(line)?);
        }
        // Keys of the flags come on top of the line's.
        let keys = spec.set.take();
        let mut several = vec![];
        let mut take = |field: &'static Field, values: &[Value]| match values {
            [one] => spec.set(field.name, one.clone()),
            many => {
                several.push((field.name, many.to_vec()));
                Ok(())
            }
        };
        for (at, values) in self.served.iter() {
            take(ServedSection::field(at), values)?;
        }
        for (at, values) in self.settings.iter() {
            take(EngineSection::field(at), values)?;
        }
        for (at, values) in self.load.iter() {
            take(LoadSection::field(at), values)?;
        }
        for (at, values) in self.deployment.iter() {
            take(DeploymentSection::field(at), values)?;
        }
        if let Some(before) = keys {
            spec.set = Some(match spec.set.take() {
                Some(more) => format!("{before}{SEPARATOR}{more}"),
                None => before,
            });
        }
        match &line {
            Some(line) if spec.model.is_none() => bail!(line.no_model()),
            _ => Ok(Described { spec, several }),
        }
    }

    /// The one document that was described.
    ///
    /// # Errors
    /// Several values for a field.
    pub fn spec(&self) -> anyhow::Result<ScenarioSpec> {
        let spec = self.described()?.one()?;
        self.save(&spec)?;
        Ok(spec)
    }

    /// Writes the document, if a file was named for it. Models and profiles that are files go into it.
    fn save(&self, spec: &ScenarioSpec) -> anyhow::Result<()> {
        match &self.save_scenario {
            None => Ok(()),
            Some(path) => super::files::write(path, &self.files.inlined(spec)?.to_json()),
        }
    }

    /// Every combination of the values given.
    ///
    /// # Errors
    /// A description that cannot be read, or too many combinations.
    pub fn points(&self) -> anyhow::Result<Vec<Point>> {
        let points = self.described()?.points()?;
        match &points[..] {
            [point] => self.save(&point.spec)?,
            _ if self.save_scenario.is_some() => {
                bail!("--save-scenario: a document is one scenario; give one value per flag")
            }
            _ => {}
        }
        Ok(points)
    }

    /// The one scenario that was described.
    ///
    /// # Errors
    /// As [`spec`](Self::spec); a scenario that cannot be resolved.
    #[cfg(feature = "live")]
    pub fn scenario(&self) -> anyhow::Result<Scenario> {
        Ok(self.spec()?.resolve(&self.files)?)
    }
}

/// What was said of a scenario: a document, and the fields that were given several values.
#[derive(Clone, Debug, Default)]
pub struct Described {
    /// The document.
    pub spec: ScenarioSpec,
    /// Fields with several values.
    pub several: Vec<Variation>,
}

impl From<ScenarioSpec> for Described {
    fn from(spec: ScenarioSpec) -> Self {
        Self {
            spec,
            several: vec![],
        }
    }
}

impl Described {
    /// The one document.
    ///
    /// # Errors
    /// Several values for a field.
    pub fn one(self) -> anyhow::Result<ScenarioSpec> {
        if !self.several.is_empty() {
            let flags: Vec<String> = self.several.iter().map(|(f, _)| flag(f)).collect();
            bail!(
                "one value per setting is wanted here; several were given for: {}",
                flags.join(", ")
            );
        }
        Ok(self.spec)
    }

    /// Whether nothing was said of the model, the batch and the load.
    fn is_silent(&self) -> bool {
        let spec = &self.spec;
        let batch = ["max_num_seqs", "moe_tiles"];
        let elsewhere = |f: &str| batch.contains(&f) || LoadSection::place(f).is_ok();
        spec.model.is_none()
            && spec.load.is_empty()
            && spec.moe_tiles.is_none()
            && spec.settings.get(MAX_NUM_SEQS).is_none()
            && !self.several.iter().any(|(f, _)| elsewhere(f))
    }

    /// Every combination of the values given, and of nothing else. Where nothing is said, from one client to 32.
    ///
    /// # Errors
    /// A scenario that cannot be resolved, or too many combinations.
    pub fn points(mut self) -> anyhow::Result<Vec<Point>> {
        if self.is_silent() {
            let clients = [1, 2, 4, 8, 16, 32].map(Value::Count);
            self.several.push(("max_concurrency", clients.to_vec()));
        }
        let order = |f: &str| all_fields().position(|g| g.name == f);
        // What is served varies slowest, then the kind of prompts, settings and the load.
        self.several.sort_by_key(|(f, _)| match *f {
            "prompts" => (0, order("moe_tiles")),
            f => (usize::from(ServedSection::place(f).is_err()), order(f)),
        });
        Ok(expand(&self.spec, &self.several)?)
    }
}

/// Refuses a deployment where one engine is wanted.
///
/// # Errors
/// Names what was said of it.
pub fn one_engine(spec: &ScenarioSpec, verb: &str) -> anyhow::Result<()> {
    let Some((field, _)) = spec.deployment.iter().next() else {
        return Ok(());
    };
    bail!(
        "{}: `capsim {verb}` is of one engine; leave it out, or ask predict, capacity, tune or sweep about the deployment",
        flag(field.name)
    )
}

/// A field's flag, with its dashes.
pub fn flag(name: &str) -> String {
    format!("--{}", name.replace('_', "-"))
}

/// Words as a shell takes them.
pub fn quoted(words: &[String]) -> String {
    shlex::try_join(words.iter().map(String::as_str)).unwrap_or_else(|_| words.join(" "))
}

/// A document as flags that describe it; `None` where a part of it is inline and has no name.
pub fn flags_of(spec: &ScenarioSpec) -> Option<Vec<String>> {
    if spec.has_inline() {
        return None;
    }
    let mut words = vec![];
    for (field, value) in spec.said() {
        words.extend(flag_words(field.name, &value));
    }
    Some(words)
}

/// A field with its value as flags.
pub fn flag_words(name: &str, value: &Value) -> Vec<String> {
    match value {
        Value::Switch(true) => vec![flag(name)],
        Value::Switch(false) => vec![format!("--no-{}", name.replace('_', "-"))],
        value => vec![flag(name), value.to_string()],
    }
}

/// A question as a command in one line: the flags that ask it, then those that describe its scenario.
pub fn asked(verb: &str, question: &[String], said: &Described) -> String {
    let Some(mut flags) = flags_of(&said.spec) else {
        return format!("capsim {verb} {} SCENARIO.json", quoted(question));
    };
    for (field, values) in &said.several {
        let values: Vec<String> = values.iter().map(Value::to_string).collect();
        flags.extend([flag(field), values.join(",")]);
    }
    let start = ["capsim".to_string(), verb.into()];
    quoted(&[&start[..], question, &flags].concat())
}

/// A command with the flags that describe a document.
pub fn command(verb: &str, spec: &ScenarioSpec) -> String {
    let start = ["capsim".to_string(), verb.into()];
    match flags_of(spec) {
        Some(flags) => quoted(&[&start[..], &flags].concat()),
        None => format!("capsim {verb} SCENARIO.json"),
    }
}
