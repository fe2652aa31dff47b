//! `capsim models`.
use crate::device::builtin;
use crate::model::{self, Model, Precision};
use crate::report::table::plain;
use std::process::ExitCode;

pub fn run() -> anyhow::Result<ExitCode> {
    let mut t = plain(["model", "parameters", "active", "weights", "KV/token"]);
    for b in model::builtin::ALL {
        let config = b.config();
        let m = Model::new(&config, Precision::of(&config));
        let p = m.parameters();
        t.add_row([
            b.name(),
            format!("{:.2} B", p.total() as f64 / 1e9),
            format!("{:.2} B", p.active() as f64 / 1e9),
            m.total_weight_bytes().to_string(),
            m.kv_bytes_per_token().to_string(),
        ]);
    }
    println!("{t}\n");
    let mut t = plain(["device", "name", "rests on"]);
    for d in builtin::devices() {
        t.add_row([d.id, d.name, d.provenance.origin.word().into()]);
    }
    println!("{t}\n");
    let mut t = plain(["engine", "name", "rests on"]);
    for e in builtin::engines() {
        t.add_row([e.id, e.name, e.provenance.origin.word().into()]);
    }
    println!("{t}");
    Ok(ExitCode::SUCCESS)
}
