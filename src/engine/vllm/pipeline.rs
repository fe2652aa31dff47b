//! Pipeline parallelism: which layers a stage has, what memory decides, and how many batches are in flight.
//!
//! vLLM gives every stage the same number of KV blocks: those of the stage that holds the fewest (0.32.0,
//! `v1/core/kv_cache_utils.py: get_kv_cache_configs`).
use super::Release;
use crate::engine::memory::{MemoryError, MemoryPlan};
use crate::engine::resolved::{SettingsError, StagePlan, bad};
use crate::engine::settings::*;
use crate::model::{Model, Parallel};

const SIZE: &str = "pipeline_parallel_size";

/// Layers of each stage as it is said, else as vLLM divides them.
fn layers(
    given: &SettingValues,
    parallel: Parallel,
    model: &Model,
) -> Result<Vec<u32>, SettingsError> {
    let config = model.config();
    let even = config
        .layers_of_stages(parallel.pipeline)
        .map_err(|problem| bad(SIZE, problem))?;
    match given.get(PP_LAYER_PARTITION) {
        None => Ok(even),
        Some(list) => config
            .layers_as_said(&list, parallel.pipeline)
            .map_err(|problem| bad("pp_layer_partition", problem)),
    }
}

/// The memory of each stage; none without a pipeline.
pub(super) fn plans(
    given: &SettingValues,
    parallel: Parallel,
    model: &Model,
    plan: impl Fn(&Model) -> Result<MemoryPlan, MemoryError>,
) -> Result<Vec<StagePlan>, SettingsError> {
    if parallel.pipeline == 1 && given.get(PP_LAYER_PARTITION).is_none() {
        return Ok(vec![]);
    }
    let layers = layers(given, parallel, model)?;
    if layers.len() == 1 {
        return Ok(vec![]);
    }
    if model.recurrent().is_some() {
        return Err(bad(
            SIZE,
            "pipelines of models with recurrent layers are not simulated: leave it out for the answer with tensor parallelism alone"
                .into(),
        ));
    }
    let of = |(model, layers): (Model, &u32)| {
        Ok(StagePlan {
            layers: *layers,
            memory: plan(&model)?,
        })
    };
    model
        .stages(&layers)
        .into_iter()
        .zip(&layers)
        .map(of)
        .collect()
}

/// The memory of the stage that holds the fewest blocks, the first of equals.
pub(super) fn fullest(stages: &[StagePlan]) -> Option<MemoryPlan> {
    let plans = stages.iter().map(|s| s.memory);
    plans.min_by_key(|m| m.num_gpu_blocks)
}

/// Whether steps are scheduled before the output of the previous one is known.
pub(super) fn async_scheduling(
    given: &SettingValues,
    parallel: Parallel,
    release: &Release,
) -> Result<bool, SettingsError> {
    let given = given.get(ASYNC_SCHEDULING);
    if parallel.pipeline == 1 || release.async_pipeline {
        return Ok(given.unwrap_or(release.async_scheduling));
    }
    match given {
        Some(true) => Err(bad(
            "async_scheduling",
            "with a pipeline it is simulated as vLLM has it from 0.32 on: name such a release with --engine-version, or leave it out"
                .into(),
        )),
        _ => Ok(false),
    }
}
