//! Speculation of a model on an engine: what the scheduler decides by, and what drafts.
use super::{Acceptance, Method, RECORD, Requested, Speculation, requested};
use crate::device::EngineId;
use crate::engine::memory::DrafterMemory;
use crate::engine::resolved::{Asked, SettingsError, bad};
use crate::engine::settings::SPECULATIVE_ACCEPTANCE;
use crate::model::{Drafter, Head, Model};
use crate::units::Bytes;

/// What speculation needs beside settings.
#[derive(Clone, Debug, PartialEq)]
pub struct SpeculationInputs {
    /// The draft model, where one is named that is known.
    pub drafter: Option<Model>,
    /// Recorded numbers of accepted drafts.
    pub recorded: Option<Acceptance>,
    /// Factor on the chance of every draft: how far an interval looks.
    pub factor: f64,
}

impl Default for SpeculationInputs {
    fn default() -> Self {
        Self {
            drafter: None,
            recorded: None,
            factor: 1.0,
        }
    }
}

/// What drafts, and how.
#[derive(Clone, Debug)]
pub struct Drafting {
    /// What was asked for, with what was taken for the rest.
    pub requested: Requested,
    /// What drafts; `None`: the host, from the text.
    pub drafter: Option<Drafter>,
}

impl Drafting {
    /// Passes of the drafter in a step.
    pub fn passes(&self) -> u32 {
        self.requested.method.passes(self.requested.tokens)
    }

    /// What it takes of the memory.
    pub fn memory(&self) -> DrafterMemory {
        let of = |d: &Drafter| (d.weights, d.model.kv_bytes_per_token().as_f64());
        let (weights, kv_per_token) = self.drafter.as_ref().map_or((Bytes::ZERO, 0.0), of);
        DrafterMemory {
            weights,
            kv_per_token,
            drafts: self.requested.computed,
        }
    }
}

impl Asked<'_> {
    /// What drafts for `part`, one device's part of the model, if anything does.
    pub(in crate::engine) fn drafting(
        &self,
        part: &Model,
    ) -> Result<Option<Drafting>, SettingsError> {
        let (engine, class) = (self.profile.scheduler, self.model.config().architecture);
        let asked = requested(self.given, engine, class);
        let Some(mut requested) = asked.map_err(|(field, problem)| bad(field, problem))? else {
            return Ok(None);
        };
        let inputs = self.speculation;
        let said = self.given.get(SPECULATIVE_ACCEPTANCE);
        match (&inputs.recorded, said.filter(|s| s.starts_with(RECORD))) {
            (Some(recorded), Some(_)) => requested.acceptance = recorded.clone(),
            (None, Some(file)) => {
                let problem =
                    format!("`{file}` cannot be changed here: give the file with the scenario");
                return Err(bad("speculative_acceptance", problem));
            }
            _ => {}
        }
        if inputs.factor != 1.0 {
            requested.acceptance = requested.acceptance.scaled(inputs.factor);
            if requested.method == Method::Ngram {
                requested.drafted = (requested.drafted * inputs.factor).min(1.0);
            }
        }
        let drafter = match (&inputs.drafter, requested.method) {
            (_, Method::Ngram) => None,
            (Some(model), Method::DraftModel) => {
                let model = model.shared(part.parallel());
                let model = model.map_err(|e| bad("speculative_model", e))?;
                Some(Drafter::model(model))
            }
            (None, Method::DraftModel) => {
                return Err(bad(
                    "speculative_model",
                    "is missing: name the model that drafts, one that ships with capsim or the path of its config.json".into(),
                ));
            }
            (_, Method::Eagle) => Some(Drafter::head(Head::Eagle, part)),
            (_, Method::Eagle3) => Some(Drafter::head(Head::Eagle3, part)),
            (_, Method::Mtp) => Some(Drafter::head(Head::Mtp, part)),
            (_, Method::Dflash) => Some(Drafter::head(Head::Dflash, part)),
        };
        Ok(Some(Drafting { requested, drafter }))
    }
}

impl Speculation {
    /// What an engine's scheduler decides by.
    pub fn of(drafting: &Drafting, engine: EngineId) -> Self {
        let r = &drafting.requested;
        let vllm = engine == EngineId::Vllm;
        let (lookahead, draft_slots) = match r.method {
            _ if !vllm => (0, 0),
            Method::Ngram => (0, 0),
            // `VllmConfig.num_lookahead_tokens` and `SpeculativeConfig.max_num_new_slots_for_drafting`, 0.32.0.
            Method::Dflash => (r.tokens + 1, r.tokens),
            Method::DraftModel => (r.tokens, 1),
            Method::Eagle | Method::Eagle3 | Method::Mtp => (r.tokens, 0),
        };
        Self {
            method: r.method,
            tokens: r.tokens,
            computed: r.computed,
            lookahead,
            // `use_eagle_block_drop`, 0.32.0.
            drops_last_block: vllm && r.method.reads_hidden_states(),
            draft_slots,
            acceptance: r.acceptance.clone(),
            drafted: Acceptance::share(r.drafted),
            key: 0,
        }
    }
}
