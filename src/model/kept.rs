//! Which linear layers a quantised checkpoint keeps in floats, by the names and patterns that its config lists.
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Kinds of matrices that are kept in the model's own type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// QKV and O projections.
    pub attention: bool,
    /// Projections of linear attention.
    pub recurrent: bool,
    /// Dense MLPs and shared experts.
    pub mlp: bool,
    /// Routed experts.
    pub experts: bool,
}

/// From so many layers named one by one a list speaks of all layers: some checkpoints keep the first or the last few only.
const MANY: usize = 8;

/// What the listed names leave unquantised, and whether they name more than is understood.
pub(super) fn kept<'a>(names: impl Iterator<Item = &'a str>) -> (Kept, bool) {
    let mut kept = Kept::default();
    let mut unclear = false;
    // Layers in which a kind is named: attention, recurrent, mlp, experts.
    let mut layers: [BTreeSet<u32>; 4] = Default::default();
    for name in names {
        let kinds = kinds_of(name);
        if kinds == Kept::default() {
            continue;
        }
        match layer_of(name) {
            None => kept = kept.and(kinds),
            Some(layer) => {
                let of = [kinds.attention, kinds.recurrent, kinds.mlp, kinds.experts];
                for (set, _) in layers.iter_mut().zip(of).filter(|(_, of)| *of) {
                    set.insert(layer);
                }
            }
        }
    }
    let all = layers.each_ref().map(|l| l.len() >= MANY);
    unclear |= layers.iter().any(|l| (1..MANY).contains(&l.len()));
    let [attention, recurrent, mlp, experts] = all;
    let listed = Kept {
        attention,
        recurrent,
        mlp,
        experts,
    };
    (kept.and(listed), unclear)
}

impl Kept {
    fn and(self, other: Self) -> Self {
        Self {
            attention: self.attention || other.attention,
            recurrent: self.recurrent || other.recurrent,
            mlp: self.mlp || other.mlp,
            experts: self.experts || other.experts,
        }
    }
}

/// The kinds that a name or pattern means. Embedding, head, norms, routers and gates are never counted as quantised anyway.
fn kinds_of(name: &str) -> Kept {
    let has = |part: &str| name.contains(part);
    // Beside these, what linear attention never has quantised: its convolution, and the narrow projections of b and a.
    let never = [
        "visual",
        "vision",
        "mtp",
        "norm",
        "gate$",
        "conv1d",
        "in_proj_a",
        "in_proj_b",
        "A_log",
        "dt_bias",
    ];
    if never.iter().any(|part| has(part)) || name.ends_with("gate") {
        return Kept::default();
    }
    let linear = has("linear_attn") || has("mamba") || has("delta");
    let shared = has("shared_expert");
    // A pattern for every MLP means the experts, too.
    let every = has("mlp.*") || name.ends_with("mlp");
    let experts = (has("experts") && !has("shared_experts")) || (every && layer_of(name).is_none());
    Kept {
        attention: has("attn") && !linear,
        // A pattern for every kind of attention.
        recurrent: linear || (has(".*attn") && !has("self_attn")),
        mlp: shared || every || ((has("mlp") || has("feed_forward")) && !experts),
        experts,
    }
}

/// The number of the layer in `model.layers.12.self_attn`.
fn layer_of(name: &str) -> Option<u32> {
    let (_, rest) = name.split_once("layers.")?;
    rest.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(names: &[&str]) -> (Kept, bool) {
        kept(names.iter().copied())
    }

    #[test]
    fn lists_and_patterns_name_kinds() {
        let none = Kept::default();
        assert_eq!(
            of(&["lm_head", "re:.*mlp.gate$", "model.visual"]),
            (none, false)
        );
        let attention = Kept {
            attention: true,
            ..none
        };
        assert_eq!(of(&["re:.*self_attn.*"]), (attention, false));
        assert_eq!(of(&["model.layers.3.self_attn.q_proj"]), (none, true));
        let each: Vec<String> = (0..48)
            .map(|i| format!("model.layers.{i}.self_attn"))
            .collect();
        assert_eq!(kept(each.iter().map(String::as_str)), (attention, false));
        // Qwen's FP8 checkpoints list, layer by layer, what is never quantised.
        let narrow: Vec<String> = (0..48)
            .flat_map(|i| ["conv1d", "in_proj_a", "in_proj_b"].map(|n| (i, n)))
            .map(|(i, n)| format!("model.language_model.layers.{i}.linear_attn.{n}"))
            .collect();
        assert_eq!(kept(narrow.iter().map(String::as_str)), (none, false));
        let (mlp, _) = of(&["re:.*mlp.*"]);
        assert!(mlp.mlp && mlp.experts && !mlp.attention);
        let (gptq, unclear) = of(&["-:.*attn.*", "-:.*shared_expert.*", "-:.*mtp.*"]);
        assert!(gptq.attention && gptq.recurrent && gptq.mlp && !gptq.experts && !unclear);
    }
}
