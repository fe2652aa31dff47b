//! Flags of a pasted line that may change memory or speed and are not simulated: how they are named, and how much wider the intervals
//! are for them.
use super::Z95;

/// What the words of a flag end in that no list of flags holds (`line/read.rs`).
const REMARK: &str = " (";

/// Deviation of all times for one flag of unknown effect. Assumed: two thirds of what another engine's prices are taken to differ by
/// (`OTHER_ENGINE` in `beyond.rs`), as one switch changes less than all of an engine.
const ONE: f64 = 0.2;

/// Deviation for speculative decoding that is left out: assumed, one and a half times another engine's prices, as tokens of a draft that
/// are accepted come several at a time.
const SPECULATION: f64 = 0.45;

/// Largest deviation for all of them together: beyond it an interval says nothing.
const MOST: f64 = 0.6;

/// A flag's words as they are shown: the flag itself in quotes, a remark behind it not.
pub fn quoted(words: &str) -> String {
    match words.split_once(REMARK) {
        Some((flag, remark)) => format!("`{flag}`{REMARK}{remark}"),
        None => format!("`{words}`"),
    }
}

fn rel_sd_of(words: &str) -> f64 {
    let flag = words.split([' ', '=']).next().unwrap_or_default();
    let of_speculation = ["--speculative", "--spec-", "--draft", "--model-draft"];
    if of_speculation.iter().any(|s| flag.starts_with(s)) {
        SPECULATION
    } else {
        ONE
    }
}

/// Deviation of all times for these flags together.
pub fn rel_sd(flags: &[String]) -> f64 {
    let mut speculates = false;
    let mut sum = 0.0;
    for sd in flags.iter().map(|f| rel_sd_of(f)) {
        // The flags of one feature count once.
        if sd == SPECULATION && std::mem::replace(&mut speculates, true) {
            continue;
        }
        sum += sd * sd;
    }
    libm::sqrt(sum).min(MOST)
}

/// All flags, in a sentence that says what they do to the intervals.
pub fn sentence(flags: &[String]) -> String {
    let all: Vec<String> = flags.iter().map(|f| quoted(f)).collect();
    let factor = libm::exp(Z95 * rel_sd(flags));
    format!(
        "{}: may change speed or memory and {} not simulated; for that, 90 % intervals are taken to be wider by a factor of {factor:.2} \
         either way",
        all.join(", "),
        if flags.len() == 1 { "is" } else { "are" }
    )
}

/// The same where no interval is computed: of the memory.
pub fn memory_sentence(flags: &[String]) -> String {
    let all: Vec<String> = flags.iter().map(|f| quoted(f)).collect();
    format!(
        "{}: may change the memory that is needed, and {} not counted",
        all.join(", "),
        if flags.len() == 1 { "is" } else { "are" }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_flags_widen_more_and_those_of_one_feature_once() {
        let of = |flags: &[&str]| rel_sd(&flags.iter().map(|f| f.to_string()).collect::<Vec<_>>());
        assert_eq!(of(&[]), 0.0);
        assert!(of(&["--a 1", "VLLM_B=1"]) > of(&["--a 1"]));
        let two = of(&["--draft-max 8", "--model-draft m.gguf"]);
        assert_eq!(two, of(&["--draft-max 8"]));
        assert!(two > of(&["--a 1"]));
        assert_eq!(of(&["--a"; 99]), MOST);
        assert_eq!(quoted("--x 1"), "`--x 1`");
        let unknown = "--x 1 (no flag that capsim knows)";
        assert_eq!(quoted(unknown), "`--x 1` (no flag that capsim knows)");
    }
}
