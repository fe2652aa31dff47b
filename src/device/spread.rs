//! What a cost model gets wrong beyond its coefficients, by what is asked of it: the first token or the later ones, how many
//! sequences a step holds, experts or none.
use super::EngineProfile;
use serde::{Deserialize, Serialize};

/// What of an answer a figure is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Rates and times of decoding, and of whole runs.
    Decode,
    /// Times to the first token.
    Prefill,
}

/// How many sequences a step holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum BatchClass {
    /// One.
    One,
    /// 2 to 8.
    Few,
    /// More.
    Many,
}

impl BatchClass {
    /// Of the mean number of sequences in a step.
    pub fn of(mean: f64) -> Self {
        match mean {
            b if b < 1.5 => Self::One,
            b if b <= 8.5 => Self::Few,
            _ => Self::Many,
        }
    }

    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::One => "one at a time",
            Self::Few => "batches of 2 to 8",
            Self::Many => "batches beyond 8",
        }
    }
}

/// What a profile's model gets wrong in one class of runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ModelSpread {
    /// Of which figures.
    pub phase: Phase,
    /// Of high percentiles, smallest and largest values, which a few requests make; else of means, medians and rates.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tail: bool,
    /// Of which loads.
    pub batch: BatchClass,
    /// Whether of models with experts.
    pub experts: bool,
    /// Relative standard deviation.
    pub rel_sd: f64,
    /// What part of the coefficients' own spread the errors bear out, as a factor on its standard deviation: below 1 where nine tenths
    /// of the errors lie well inside it, with no deviation added. Of devices that the profile was held against; on others their spread
    /// counts in full.
    #[serde(default = "whole", skip_serializing_if = "is_whole")]
    pub explained: f64,
    /// Recorded runs of the class on devices of this maker (docs/accuracy.md); with few of them the deviation is more that of wider
    /// classes.
    pub runs: u32,
    /// Sources that they were published by.
    pub sources: u32,
}

fn whole() -> f64 {
    1.0
}

fn is_whole(x: &f64) -> bool {
    *x == 1.0
}

impl EngineProfile {
    /// The relative standard deviation of what the model gets wrong in a class: its own where the profile tells classes apart, else
    /// the one of the phase.
    pub fn model_sd(&self, phase: Phase, tail: bool, batch: BatchClass, experts: bool) -> f64 {
        match self.spread_of(phase, tail, batch, experts) {
            Some(s) => s.rel_sd,
            None => self.model_sd_of(phase),
        }
    }

    /// The factor on the standard deviation that uncertain coefficients give a figure of a class: 1 where nothing says less.
    pub fn explained(&self, phase: Phase, tail: bool, batch: BatchClass, experts: bool) -> f64 {
        let own = self.spread_of(phase, tail, batch, experts);
        own.map_or(1.0, |s| s.explained)
    }

    fn spread_of(
        &self,
        phase: Phase,
        tail: bool,
        batch: BatchClass,
        experts: bool,
    ) -> Option<&ModelSpread> {
        let class = (phase, tail, batch, experts);
        let own = |s: &&ModelSpread| (s.phase, s.tail, s.batch, s.experts) == class;
        self.model_spread.iter().find(own)
    }

    /// Leaves out what the model gets wrong, for those that estimate it.
    pub fn without_model_sd(&mut self) {
        self.model_rel_sd.value = 0.0;
        self.model_rel_sd_prefill = None;
        self.model_spread.clear();
    }

    /// The smallest of any class.
    pub fn least_model_sd(&self) -> f64 {
        let classes = self.model_spread.iter().map(|s| s.rel_sd);
        classes.fold(self.model_rel_sd.value, f64::min)
    }

    /// The deviation of a phase, all classes together.
    pub fn model_sd_of(&self, phase: Phase) -> f64 {
        let prefill = self.model_rel_sd_prefill.as_ref();
        match phase {
            Phase::Prefill => prefill.unwrap_or(&self.model_rel_sd).value,
            Phase::Decode => self.model_rel_sd.value,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_of_its_own_counts_before_the_phase() {
        let mut e = crate::device::builtin::engine("vllm-0.12-rocm").unwrap();
        e.model_spread = vec![ModelSpread {
            phase: Phase::Prefill,
            tail: false,
            batch: BatchClass::Many,
            experts: true,
            rel_sd: 0.5,
            explained: 0.5,
            runs: 3,
            sources: 2,
        }];
        e.model_rel_sd.value = 0.1;
        e.model_rel_sd_prefill = None;
        assert_eq!(
            e.model_sd(Phase::Prefill, false, BatchClass::Many, true),
            0.5
        );
        assert_eq!(
            e.model_sd(Phase::Prefill, false, BatchClass::Few, true),
            0.1
        );
        assert_eq!(
            e.model_sd(Phase::Decode, false, BatchClass::Many, true),
            0.1
        );
        let explained = |batch| e.explained(Phase::Prefill, false, batch, true);
        assert_eq!(
            (explained(BatchClass::Many), explained(BatchClass::Few)),
            (0.5, 1.0)
        );
    }

    #[test]
    fn classes_meet_at_one_and_a_half_and_eight_and_a_half() {
        assert_eq!(BatchClass::of(1.0), BatchClass::One);
        assert_eq!(BatchClass::of(2.0), BatchClass::Few);
        assert_eq!(BatchClass::of(8.0), BatchClass::Few);
        assert_eq!(BatchClass::of(9.0), BatchClass::Many);
    }
}
