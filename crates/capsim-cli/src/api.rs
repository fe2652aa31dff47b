//! The commands as functions, for bindings to other languages: documents in, answers out. Nothing is printed, and no file written but
//! a sweep's. Fields have the documents' names, and errors the command line's words.
pub use super::files::{Files, Texts};
/// Fields that `-h` lists, with their examples.
pub const COMMON_FLAGS: &[(&str, &str)] = &super::flags::COMMON;
pub use super::predict::{Asked, asked, rows, to_json};
pub use super::scenario_args::Described;
pub use super::sweep::Elsewhere;
pub use super::sweep::job::{Job, evaluate, understand};
pub use super::sweep::plan::{Plan, parse as plan_of_toml, parse_json as plan_of_json};
pub use super::sweep::shard;
pub use super::sweep::store::Merged;
pub use super::words::Flags;

use super::capacity::CapacityQuestion;
use super::compare::CompareQuestion;
use super::memory::MemoryQuestion;
use super::scenario_args::{of_line, read_line};
use super::tune::TuneQuestion;
use super::validate::ValidateArgs;
use super::words::question;
use super::{
    capacity as capacity_, compare as compare_, load as load_, memory as memory_, tune as tune_,
    validate as validate_,
};
use anyhow::{bail, ensure};
use capsim::device::{DeviceProfile, EngineProfile};
use capsim::fields::Field;
use capsim::model::{Model, Overrides};
use capsim::plan::Pool;
use capsim::plan::capacity::Capacity;
use capsim::plan::compare::Compared;
use capsim::plan::memory::Memory;
use capsim::plan::tune::Tuned;
use capsim::predict::spec::{Catalog, ScenarioSpec, all_fields};
use capsim_study::report::json::validation::Validation;
use serde_json::Value;

/// What was said of a scenario: fields with their values, and the words of a line that starts a server, whose settings hold where no
/// field says otherwise. A list of values makes a scenario of each.
///
/// # Errors
/// A line that cannot be read, a name that is no field, a value that its field cannot have.
pub fn described(fields: &Flags, line: &[String]) -> anyhow::Result<Described> {
    let mut said = Described::default();
    let line = match line.is_empty() {
        true => None,
        false => Some(read_line(line, &Files::default())?),
    };
    if let Some(line) = &line {
        said.spec = of_line(line)?;
    }
    for (name, value) in fields {
        match value {
            Value::Null => {}
            Value::Array(values) if values.len() == 1 => said.spec.set_json(name, &values[0])?,
            Value::Array(values) => {
                let field = ScenarioSpec::field(name)?;
                ensure!(!values.is_empty(), "{name}: a list of values is empty");
                ensure!(field.many, "{name}: takes one value, not a list");
                let values = values.iter().map(|v| field.from_json(v));
                let values = values.collect::<Result<_, _>>()?;
                said.several.push((field.name, values));
            }
            value => said.spec.set_json(name, value)?,
        }
    }
    match &line {
        Some(line) if said.spec.model.is_none() => bail!(line.no_model()),
        _ => Ok(said),
    }
}

/// A scenario's document, read.
///
/// # Errors
/// It is none.
pub fn document(text: &str) -> anyhow::Result<ScenarioSpec> {
    Ok(ScenarioSpec::parse(text, "the scenario")?)
}

/// What a document says, field by field.
///
/// # Errors
/// A part of it is inline, and has no name that a field could have.
pub fn said(spec: &ScenarioSpec) -> anyhow::Result<Flags> {
    ensure!(
        !spec.has_inline(),
        "the document holds a model or a profile; give it to `capsim predict`, or name them"
    );
    let one =
        |(field, value): (&Field, _)| Ok((field.name.to_string(), serde_json::to_value(value)?));
    spec.said().into_iter().map(one).collect()
}

/// Names of all fields of a scenario, with their documentation.
pub fn scenario_fields() -> Vec<(String, String)> {
    all_fields()
        .map(|f| (f.name.to_string(), f.help.to_string()))
        .collect()
}

/// `capsim capacity`.
///
/// # Errors
/// As the command says them.
pub fn capacity(
    spec: ScenarioSpec,
    flags: &Flags,
    files: &Files,
    pool: &impl Pool,
) -> anyhow::Result<Capacity> {
    let asked: CapacityQuestion = question(None, flags)?;
    Ok(capacity_::answer(&asked, spec, files, pool)?.capacity)
}

/// `capsim tune`.
///
/// # Errors
/// As the command says them.
pub fn tune(
    spec: ScenarioSpec,
    flags: &Flags,
    files: &Files,
    pool: &impl Pool,
) -> anyhow::Result<Tuned> {
    let asked: TuneQuestion = question(None, flags)?;
    Ok(tune_::answer(&asked, spec, files, pool)?.1)
}

/// `capsim compare`; `prices` as `--price` takes them.
///
/// # Errors
/// As the command says them.
pub fn compare(
    said: Described,
    flags: &Flags,
    prices: &[String],
    files: &Files,
    pool: &impl Pool,
) -> anyhow::Result<Compared> {
    let mut asked: CompareQuestion = question(None, flags)?;
    asked.price = prices.to_vec();
    Ok(compare_::answer(&asked, said, files, pool)?.1)
}

/// `capsim memory`.
///
/// # Errors
/// As the command says them.
pub fn memory(spec: &ScenarioSpec, flags: &Flags, files: &Files) -> anyhow::Result<Memory> {
    let asked: MemoryQuestion = question(None, flags)?;
    Ok(memory_::answer(&asked, spec, files)?.1)
}

/// `capsim validate RUNS` of recorded runs: the answer of `--json`, and the fitted engine profile where runs were named by `fit`.
///
/// # Errors
/// As the command says them.
pub fn validate(
    runs: &str,
    flags: &Flags,
) -> anyhow::Result<(serde_json::Value, Option<EngineProfile>)> {
    // A name must not look like a flag.
    let dash = if runs.starts_with('-') { "./" } else { "" };
    let args: ValidateArgs = question(Some(&format!("{dash}{runs}")), flags)?;
    let c = validate_::compared(&args)?;
    let answer = serde_json::to_value(Validation::new(
        &c.file,
        c.fit.as_ref(),
        &c.runs,
        &c.not_predicted,
    ))?;
    Ok((answer, c.fit.map(|f| f.profile)))
}

/// A device profile by the name or path that `--device` takes.
///
/// # Errors
/// There is none, or it is not valid.
pub fn device(name: &str, files: &Files) -> anyhow::Result<DeviceProfile> {
    Ok(Catalog::device(files, name)?)
}

/// An engine profile by the name or path that `--engine` takes.
///
/// # Errors
/// There is none, or it is not valid.
pub fn engine(name: &str, files: &Files) -> anyhow::Result<EngineProfile> {
    Ok(Catalog::engine(files, name)?)
}

/// A model by the name or path that `--model` takes, in the formats that `--weights` and `--kv-cache-dtype` take.
///
/// # Errors
/// There is none, or it is not valid.
pub fn model(
    name: &str,
    weights: Option<&str>,
    kv_cache_dtype: Option<&str>,
    over: &Overrides,
    files: &Files,
) -> anyhow::Result<Model> {
    load_::model(&Catalog::model(files, name, over)?, weights, kv_cache_dtype)
}

/// What `--assume-architecture` and `--set` say over a model's config.
///
/// # Errors
/// A part of `set` that is not `KEY=VALUE`.
pub fn overrides(set: Option<&str>, architecture: Option<&str>) -> anyhow::Result<Overrides> {
    let spec = ScenarioSpec {
        set: set.map(String::from),
        assume_architecture: architecture.map(String::from),
        ..ScenarioSpec::default()
    };
    Ok(spec.overrides()?)
}
