//! Runs that were predicted, as an answer names the nearest of them.
use super::accuracy::{Role, ScoredRun};
use super::hypothesis::Basis;
use super::runs::RunsFile;
use capsim::engine::settings::{SPECULATIVE_METHOD, SettingValues};
use capsim::predict::{Record, Records};

/// Three digits are enough to tell how near and how good.
fn short(v: f64) -> f64 {
    format!("{v:.2e}").parse().expect("just written")
}

/// The runs of `sets` that were predicted, in their order.
pub fn records(runs: &[ScoredRun], sets: &[(RunsFile, Basis)]) -> Records {
    let of = |r: &ScoredRun| {
        let (file, basis) = sets.get(r.file)?;
        let run = file.runs.iter().find(|x| x.id == r.id)?;
        let weights = basis.model.weight_formats();
        Some(Record {
            device: file.device.clone(),
            engine: basis.engine.scheduler,
            profile: file.engine.clone(),
            model: name(&file.model).into(),
            active: basis.model.parameters().active(),
            experts: r.moe,
            drafts: run.engine_args.as_ref().is_some_and(drafts),
            weights: weights.first().map_or_else(String::new, |f| f.kind()),
            prompt: f64::from(run.workload.input_len),
            batch: short(r.batch.max(1.0)),
            decode: r.decode().map(|(_, e)| short(e)),
            ttft: r.ttft().map(short),
            source: r.group.clone(),
            seen: r.doubt.is_some(),
        })
    };
    let predicted = runs.iter().filter(|r| r.role == Role::Predicted);
    Records {
        schema: Records::SCHEMA.into(),
        runs: predicted.filter_map(of).collect(),
    }
}

/// Whether settings ask for speculative decoding.
fn drafts(settings: &SettingValues) -> bool {
    settings.get(SPECULATIVE_METHOD).is_some()
}

/// A model without its path: `models/yi-34b/config.json` is `yi-34b`.
fn name(model: &str) -> &str {
    let folder = model.strip_suffix("/config.json").unwrap_or(model);
    folder.rsplit('/').next().unwrap_or(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_named_without_its_folders() {
        assert_eq!(name("models/yi-34b/config.json"), "yi-34b");
        assert_eq!(name("Qwen/Qwen3-30B-A3B"), "Qwen3-30B-A3B");
        assert_eq!(name("qwen3-8b"), "qwen3-8b");
    }
}
