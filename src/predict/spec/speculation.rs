//! What a scenario says of speculative decoding that settings alone do not hold: the draft model, a record of accepted drafts; and what an
//! answer has to say of what was taken for the rest.
use super::{Catalog, ScenarioSpec, SpecError, weighted};
use crate::engine::settings::{
    SPECULATIVE_ACCEPTANCE, SPECULATIVE_METHOD, SPECULATIVE_MODEL, SPECULATIVE_QUANTIZATION,
    SettingValues,
};
use crate::engine::speculation::{Acceptance, Method, RECORD, SpeculationInputs};
use crate::model::{Overrides, Precision};
use crate::predict::Scenario;

impl ScenarioSpec {
    /// The draft model and the record that settings name.
    pub(super) fn speculation(
        &self,
        catalog: &dyn Catalog,
    ) -> Result<SpeculationInputs, SpecError> {
        let s = &self.settings;
        let mut inputs = SpeculationInputs::default();
        let said = s.get(SPECULATIVE_ACCEPTANCE);
        if let Some(file) = said.as_deref().and_then(|t| t.strip_prefix(RECORD)) {
            let field = |e: String| SpecError::field("speculative_acceptance", e);
            let text = catalog.text(file).map_err(field)?;
            let recorded = Acceptance::recorded(&text)
                .map_err(|e| SpecError::field("speculative_acceptance", format!("{file}: {e}")))?;
            inputs.recorded = Some(recorded);
        }
        let Some(name) = s.get(SPECULATIVE_MODEL) else {
            return Ok(inputs);
        };
        let method = match s.get(SPECULATIVE_METHOD) {
            Some(method) => Method::of_name(&method).ok(),
            None => Some(Method::of_drafter(&name)),
        };
        if method != Some(Method::DraftModel) {
            return Ok(inputs);
        }
        let config = catalog
            .model(&name, &Overrides::default())
            .map_err(|e| SpecError::field("speculative_model", e))?;
        let weights = s.get(SPECULATIVE_QUANTIZATION);
        let none = SettingValues::default();
        let model = weighted(&config, weights.as_deref(), &none)
            .map_err(|e| SpecError::field("speculative_quantization", e))?;
        let kv = *self.weighted(&self.config(catalog)?.1)?.precision();
        let precision = Precision {
            kv: kv.kv,
            ..*model.precision()
        };
        inputs.drafter = Some(crate::model::Model::new(&config, precision));
        Ok(inputs)
    }
}

/// What was taken where the settings say nothing, in sentences for the first lines of an answer.
pub(super) fn assumed(scenario: &Scenario) -> Vec<String> {
    let Ok(settings) = scenario.settings() else {
        return vec![];
    };
    let Some(drafting) = &settings.drafting else {
        return vec![];
    };
    let r = &drafting.requested;
    let mut all = vec![];
    if let Some(assumed) = &r.assumed {
        let often = match r.drafted {
            share if share < 1.0 => {
                format!(" in {:.0} % of its steps, of which", 100.0 * share)
            }
            _ => ",".into(),
        };
        all.push(format!(
            "each sequence drafts {} tokens with {}{often} a verification yields {:.2} tokens ({}); --speculative-acceptance says how many \
             drafts your load accepts",
            r.computed,
            r.method.name(),
            r.acceptance.mean_length(r.tokens),
            assumed.source,
        ));
    }
    if let Some(drafter) = &drafting.drafter
        && r.method != Method::DraftModel
    {
        let layers = match drafter.model.num_layers() {
            1 => "one layer".to_string(),
            n => format!("{n} layers"),
        };
        all.push(format!(
            "the {} drafter has {layers} like the model's own, {} of weights beside it",
            r.method.name(),
            drafter.weights,
        ));
    }
    if r.branches > 1 {
        all.push(format!(
            "a tree of {} drafts with {} branches is accepted like a chain of {}",
            r.computed, r.branches, r.tokens
        ));
    }
    all
}
