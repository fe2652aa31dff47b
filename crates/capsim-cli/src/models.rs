//! `capsim models`.
use capsim::device::{Origin, Provenance, builtin, sheet};
use capsim::model::{self, Model, Precision};
use capsim::units::Bytes;
use capsim_study::report::json;
use capsim_study::report::json::listing::{ModelEntry, Models, ProfileEntry};
use capsim_study::report::table::{left, plain};
use clap::Args;
use std::process::ExitCode;

#[derive(Args, Debug)]
pub struct ModelsArgs {
    /// Machine-readable output (capsim schema models)
    #[arg(long)]
    json: bool,
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

fn all() -> Models {
    Models {
        schema: "capsim.models/1".into(),
        models: model::builtin::ALL
            .iter()
            .map(|b| {
                let config = b.config();
                let m = Model::new(&config, Precision::of(&config));
                let p = m.parameters();
                ModelEntry {
                    name: b.name(),
                    parameters: p.total(),
                    active_parameters: p.active(),
                    weight_bytes: m.total_weight_bytes().0,
                    kv_bytes_per_token: m.kv_bytes_per_token().0,
                }
            })
            .collect(),
        devices: devices(),
        engines: builtin::engines()
            .iter()
            .map(|e| entry(&e.id, &e.name, &e.provenance))
            .collect(),
    }
}

pub fn run(args: &ModelsArgs) -> anyhow::Result<ExitCode> {
    let all = all();
    if args.json {
        println!("{}", json::text(&all));
        return Ok(ExitCode::SUCCESS);
    }
    let mut t = plain(["model", "parameters", "active", "weights", "KV/token"]);
    for m in &all.models {
        t.add_row([
            m.name.clone(),
            format!("{:.2} B", m.parameters as f64 / 1e9),
            format!("{:.2} B", m.active_parameters as f64 / 1e9),
            Bytes(m.weight_bytes).to_string(),
            Bytes(m.kv_bytes_per_token).to_string(),
        ]);
    }
    println!("{t}");
    for (what, entries) in [("device", &all.devices), ("engine", &all.engines)] {
        let mut t = left(plain([what, "name", "rests on"]), &[1, 2]);
        for e in entries {
            t.add_row([&e.id, &e.name, e.rests_on.word()]);
        }
        println!("\n{}", t.trim_fmt());
    }
    Ok(ExitCode::SUCCESS)
}
