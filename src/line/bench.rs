//! Flags of `vllm bench serve`: a load, under the names that capsim's own loads have.
use super::LineError;
use super::arguments::{self, Parser};
use super::flags::FlagList;
use super::read::Line;
use crate::device::Scheduler;
use crate::fields::{Kind, Section};
use crate::workload::load::{LoadSection, VLLM_BENCH};

/// Values that change nothing.
const DEFAULTS: &[(&str, &[&str])] = &[
    ("--random-prefix-len", &["0"]),
    ("--random-batch-size", &["1"]),
    ("--dataset-name", &["random"]),
];

/// Reads the words after `vllm bench serve`.
pub(super) fn read(line: &mut Line, words: &[String]) -> Result<(), LineError> {
    let list = FlagList::of_bench();
    let arguments = arguments::read(words, &list, Parser::Argparse)?;
    line.load.set(VLLM_BENCH, true);
    for given in &arguments.given {
        let name = given.name().trim_start_matches('-');
        match name {
            "model" => line.model = Some(given.value()?.into()),
            "backend" if given.value()?.starts_with("sglang") => {
                line.engine = Some(Scheduler::Sglang)
            }
            _ => match LoadSection::place(name) {
                Ok(place) if LoadSection::field(place).kind != Kind::Switch => {
                    let value = LoadSection::field(place).parse(given.value()?);
                    line.load.put(
                        place,
                        value.map_err(|e| {
                            given.bad(format!("a value that it takes ({})", e.problem))
                        })?,
                    );
                }
                _ => line.other(given, DEFAULTS)?,
            },
        }
    }
    for word in &arguments.loose {
        line.stray(word);
    }
    Ok(())
}
