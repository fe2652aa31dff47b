//! `capsim models`.
use super::files::Files;
use anyhow::anyhow;
use capsim::device::{Origin, Provenance, builtin, sheet};
use capsim::model::overrides::{Overrides, SEPARATOR};
use capsim::model::{self, Model, ModelConfig, Precision};
use capsim::predict::spec::Catalog;
use capsim::units::Bytes;
use capsim_study::report::json;
use capsim_study::report::json::listing::{ModelEntry, Models, ProfileEntry};
use capsim_study::report::table::{left, plain, unbroken};
use clap::Args;
use std::process::ExitCode;

#[derive(Args, Debug)]
pub struct ModelsArgs {
    /// Only models whose name contains this; or a name, folder or config.json, whose figures are shown
    #[arg(value_name = "FILTER|PATH")]
    filter: Option<String>,
    /// A key of the model's config with another value, as text_config.num_hidden_layers=2 (repeatable)
    #[arg(long, value_name = "KEY=VALUE", requires = "filter")]
    set: Vec<String>,
    /// Class, or model_type, whose layers are taken, whatever the config names
    #[arg(long, value_name = "NAME", requires = "filter")]
    assume_architecture: Option<String>,
    /// Machine-readable output (capsim schema models)
    #[arg(long)]
    json: bool,
}

/// A model's figures as its checkpoint stores it.
fn figures(name: String, config: &ModelConfig) -> Result<ModelEntry, model::ModelError> {
    let m = Model::new(config, Precision::of_checkpoint(config)?);
    let p = m.parameters();
    Ok(ModelEntry {
        name,
        parameters: p.total(),
        active_parameters: p.active(),
        weight_bytes: m.total_weight_bytes().0,
        kv_bytes_per_token: m.kv_bytes_per_token().0,
        state_bytes_per_sequence: m.state_bytes_per_sequence().0,
    })
}

/// Those whose name contains the filter; if there is none, or something is said over its config, the one that it names.
fn chosen(args: &ModelsArgs) -> anyhow::Result<Vec<ModelEntry>> {
    let filter = args.filter.as_deref();
    let keys = Overrides::keys(&args.set.join(&SEPARATOR.to_string()));
    let over = Overrides {
        architecture: args.assume_architecture.clone(),
        keys: keys.map_err(|e| anyhow!("--set: {e}"))?,
    };
    let wanted = filter.unwrap_or_default().to_ascii_lowercase();
    let mut found = vec![];
    let named = |b: &&model::builtin::Builtin| b.id.to_ascii_lowercase().contains(&wanted);
    for b in model::builtin::ALL
        .iter()
        .filter(|_| over.is_empty())
        .filter(named)
    {
        found.push(figures(b.name(), &b.config())?);
    }
    if let (true, Some(name)) = (found.is_empty(), filter) {
        let config = Files::default().model(name, &over)?;
        for said in config.assumed.iter().chain(&config.caveats) {
            eprintln!("note: {said}");
        }
        found.push(figures(name.to_owned(), &config)?);
    }
    Ok(found)
}

fn entry(id: &str, name: &str, provenance: &Provenance) -> ProfileEntry {
    ProfileEntry {
        id: id.into(),
        name: name.into(),
        rests_on: provenance.origin,
    }
}

/// Measured devices, then those from data sheets.
fn devices() -> Vec<ProfileEntry> {
    let mut all: Vec<ProfileEntry> = builtin::devices()
        .iter()
        .map(|d| entry(&d.id, &d.name, &d.provenance))
        .collect();
    for s in sheet::all() {
        if all.iter().all(|d| d.id != s.id) {
            all.push(ProfileEntry {
                id: s.id,
                name: s.name,
                rests_on: Origin::Datasheet,
            });
        }
    }
    all
}

fn all(args: &ModelsArgs) -> anyhow::Result<Models> {
    Ok(Models {
        schema: "capsim.models/1".into(),
        models: chosen(args)?,
        devices: devices(),
        engines: builtin::engines()
            .iter()
            .map(|e| entry(&e.id, &e.name, &e.provenance))
            .collect(),
    })
}

/// Columns of a name; a longer one has a line to itself, for names are copied and must stay whole.
const NAME: usize = 20;

fn models(all: &[ModelEntry]) -> String {
    let header = [
        "parameters",
        "active",
        "weights",
        "KV/token",
        "state/sequence",
    ];
    let mut t = plain(header);
    for m in all {
        t.add_row([
            format!("{:.2} B", m.parameters as f64 / 1e9),
            format!("{:.2} B", m.active_parameters as f64 / 1e9),
            Bytes(m.weight_bytes).to_string(),
            Bytes(m.kv_bytes_per_token).to_string(),
            match m.state_bytes_per_sequence {
                0 => String::new(),
                n => Bytes(n).to_string(),
            },
        ]);
    }
    let figures = unbroken(t).0;
    let names = std::iter::once("model").chain(all.iter().map(|m| m.name.as_str()));
    let mut text = String::new();
    for (name, figures) in names.zip(figures.lines()) {
        let (line, rest) = match name.len() < NAME {
            true => (name, ""),
            false => ("", name),
        };
        if !rest.is_empty() {
            text += rest;
            text.push('\n');
        }
        text += &format!("{line:<NAME$}{figures}\n");
    }
    text
}

pub fn run(args: &ModelsArgs) -> anyhow::Result<ExitCode> {
    let all = all(args)?;
    if args.json {
        println!("{}", json::text(&all));
        return Ok(ExitCode::SUCCESS);
    }
    print!("{}", models(&all.models));
    if args.filter.is_some() {
        return Ok(ExitCode::SUCCESS);
    }
    for (what, entries) in [("device", &all.devices), ("engine", &all.engines)] {
        let mut t = left(plain([what, "name", "rests on"]), &[1, 2]);
        for e in entries {
            t.add_row([&e.id, &e.name, e.rests_on.word()]);
        }
        println!("\n{}", t.trim_fmt());
    }
    Ok(ExitCode::SUCCESS)
}
