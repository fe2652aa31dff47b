//! Flags of `python -m sglang.launch_server` (`predict::sglang` says what becomes of the settings).
use super::LineError;
use super::flags::FlagList;
use super::read::{self, Line};
use crate::device::Scheduler;
use crate::engine::settings::{
    ENABLE_EXPERT_PARALLEL, NUM_GPU_BLOCKS_OVERRIDE, TENSOR_PARALLEL_SIZE,
};

/// Values that are the engine's defaults, or what is simulated.
const DEFAULTS: &[(&str, &[&str])] = &[
    // First come, first served is the default, and what is simulated.
    ("--schedule-policy", &["fcfs"]),
    // The cache works on tokens here.
    ("--page-size", &["1"]),
    ("--pipeline-parallel-size", &["1"]),
    ("--expert-parallel-size", &["1"]),
    ("--node-rank", &["0"]),
    ("--cpu-offload-gb", &["0"]),
    ("--num-continuous-decode-steps", &["1"]),
    ("--schedule-conservativeness", &["1", "1.0"]),
    ("--tokenizer-worker-num", &["1"]),
];

/// Reads the words after `sglang.launch_server`.
pub(super) fn read(line: &mut Line, args: &[String]) -> Result<(), LineError> {
    let list = FlagList::of(Scheduler::Sglang);
    let arguments = read::given(args, &list, Scheduler::Sglang)?;
    let mut experts = None;
    for given in &arguments.given {
        match given.name() {
            "--expert-parallel-size" if given.value()? != "1" => experts = Some(given),
            "--model-path" => line.model = Some(given.value()?.into()),
            "--config" => {}
            "--chunked-prefill-size" if given.value()? == "-1" => line.change(given.words()),
            _ if line.set(Scheduler::Sglang, given)? => {}
            _ => line.other(given, DEFAULTS)?,
        }
    }
    // Whole experts are given to all devices, or to none.
    if let Some(given) = experts {
        let devices = line.settings.get(TENSOR_PARALLEL_SIZE).unwrap_or(1);
        match given.value()?.parse() == Ok(devices) {
            true => line.settings.set(ENABLE_EXPERT_PARALLEL, true),
            false => line.change(given.words()),
        }
    }
    // One token is the null block, which no request gets.
    if let Some(tokens) = line.settings.get(NUM_GPU_BLOCKS_OVERRIDE) {
        line.settings
            .set(NUM_GPU_BLOCKS_OVERRIDE, tokens.saturating_add(1));
    }
    for (i, word) in arguments.loose.iter().enumerate() {
        // `sglang serve MODEL`
        if i == 0 && line.model.is_none() {
            line.model = Some(word.clone());
        } else {
            line.stray(word);
        }
    }
    Ok(())
}
