//! What settings ask of speculation, and what is taken where they do not say it.
use super::{Acceptance, MOST_POSITIONS, Method};
use crate::device::EngineId;
use crate::engine::settings::*;

/// Speculation as settings ask for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Requested {
    /// What drafts.
    pub method: Method,
    /// Most drafts that a step may accept.
    pub tokens: u32,
    /// Drafts that a step computes: more than `tokens` in a tree.
    pub computed: u32,
    /// Sequences that the drafter goes on with at once, of each request.
    pub branches: u32,
    /// How many drafts are right.
    pub acceptance: Acceptance,
    /// Share of the steps of a sequence that have drafts at all.
    pub drafted: f64,
    /// Where acceptance comes from, if nothing was said of it.
    pub assumed: Option<Assumed>,
}

/// An acceptance that was not said.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Assumed {
    /// Where it was measured, and of what.
    pub source: &'static str,
    /// How far the chance of a draft may be off, one standard deviation relative to it: assumed, after how far published figures of other
    /// models and texts lie apart.
    pub rel_sd: f64,
}

/// How far a stated acceptance may be off: assumed, as engines print it with two to three digits.
pub const STATED_SD: f64 = 0.02;

/// The chances taken where nothing is said, by position as engines print them (later ones fall as the last two do), the share of steps
/// with drafts, and where they are from.
fn usual(method: Method) -> (&'static [f64], f64, Assumed) {
    let assumed = |source, rel_sd| Assumed { source, rel_sd };
    match method {
        // Means of Llama-3.1-8B, Qwen3-8B and gpt-oss-20b there.
        Method::Eagle3 => (
            &[0.700, 0.477, 0.297],
            1.0,
            assumed(
                "measured in vLLM with three EAGLE-3 drafters on MT-Bench, vllm-project/vllm tests/v1/spec_decode/test_acceptance_length.py@029ba37",
                0.2,
            ),
        ),
        // Mean lengths of 1.89 with two drafts and 2.08 with four.
        Method::Eagle => (
            &[0.55, 0.3025],
            1.0,
            assumed(
                "measured in vLLM with EAGLE on Llama-3-8B and MT-Bench, vllm-project/vllm#16035",
                0.2,
            ),
        ),
        // The first position; a mean length of 3.20 with seven drafts.
        Method::Mtp => (
            &[0.85, 0.5355],
            1.0,
            assumed(
                "DeepSeek-V3: 85 to 90 % of second tokens, arXiv:2412.19437, 5.4.3; later ones by the mean length in the card of nebius/MTP-DeepSeek-V3-0324",
                0.15,
            ),
        ),
        // Accepted over drafted tokens: 0.566 there, 0.576 in docs/speculative.md@067318e.
        Method::DraftModel => (
            &[0.57, 0.3249],
            1.0,
            assumed(
                "measured in llama.cpp with Qwen3-0.6B for Qwen3-235B-A22B, ggml-org/llama.cpp#14132",
                0.2,
            ),
        ),
        // A mean length of 3.1 with fifteen drafts; others saw less and up to 5.5.
        Method::Dflash => (
            &[0.68, 0.4624],
            1.0,
            assumed(
                "measured in llama.cpp with DFlash on Qwen3-8B, ggml-org/llama.cpp#25792; z-lab/dflash#133 and #170 saw a mean length from below 3 to 5.5",
                0.3,
            ),
        ),
        // 496 drafts in 7535 steps and 2901 in 28685, from the throughputs of the same lines.
        Method::Ngram => (
            &[0.615, 0.464, 0.383],
            0.1,
            assumed(
                "measured in vLLM with Qwen3-32B-FP8, vllm-project/vllm#19254: one step in ten had a draft; answers that repeat their prompts have far more",
                0.5,
            ),
        ),
    }
}

/// What stands before the name of a file of recorded numbers of accepted drafts.
pub const RECORD: &str = "trace:";

/// A field and what is wrong with it.
type Wrong = (&'static str, String);

/// What settings ask for; `None`: no speculation. `class` is the model's, by which SGLang chooses its tree.
///
/// # Errors
/// Names the setting.
pub fn requested(
    given: &SettingValues,
    engine: EngineId,
    class: &str,
) -> Result<Option<Requested>, Wrong> {
    let Some(method) = method(given)? else {
        return Ok(None);
    };
    // SGLang's EAGLE without a draft model is the model's own layer (`arg_groups/speculative_hook.py`).
    let own = engine == EngineId::Sglang && given.get(SPECULATIVE_MODEL).is_none();
    let method = match method {
        Method::Eagle if own => Method::Mtp,
        other => other,
    };
    let shape = match engine {
        EngineId::Sglang => tree(given, method, class)?,
        _ => chain(given, method, engine)?,
    };
    let Some((tokens, computed, branches)) = shape else {
        return Ok(None);
    };
    if computed as usize > MOST_POSITIONS || branches as usize > MOST_POSITIONS {
        return Err((
            "num_speculative_tokens",
            format!("{computed}: at most {MOST_POSITIONS} drafts are simulated"),
        ));
    }
    let (shares, often, assumed) = usual(method);
    let said = given.get(SPECULATIVE_ACCEPTANCE);
    let acceptance = match &said {
        // Read where files are; [`Drafting`](super::Drafting) takes what it holds.
        Some(text) if text.starts_with(RECORD) => Acceptance::constant(0.0),
        Some(text) => Acceptance::parse(text, tokens)
            .map_err(|e| ("speculative_acceptance", e.to_string()))?,
        None => Acceptance::per_position(shares),
    };
    let drafted = match given.get(SPECULATIVE_DRAFTED) {
        Some(share) if (0.0..=1.0).contains(&share) => share,
        Some(share) => {
            let problem = format!("{share} must be a share from 0 to 1");
            return Err(("speculative_drafted", problem));
        }
        None => often,
    };
    Ok(Some(Requested {
        method,
        tokens,
        computed,
        branches,
        acceptance,
        drafted,
        assumed: said.is_none().then_some(assumed),
    }))
}

/// What drafts, if anything does.
fn method(given: &SettingValues) -> Result<Option<Method>, Wrong> {
    let model = given.get(SPECULATIVE_MODEL);
    match given.get(SPECULATIVE_METHOD).as_deref() {
        Some("none") => Ok(None),
        Some(name) => Method::of_name(name)
            .map(Some)
            .map_err(|problem| ("speculative_method", problem)),
        None if model.is_some() => Ok(model.as_deref().map(Method::of_drafter)),
        None => match said(given) {
            Some(field) => Err((
                field,
                "says how to draft, but nothing says what drafts: give --speculative-method ngram, eagle3, mtp or draft_model".into(),
            )),
            None => Ok(None),
        },
    }
}

/// A setting of speculation that is given, without what drafts. No drafts need nothing that makes them.
fn said(given: &SettingValues) -> Option<&'static str> {
    let some = [
        (
            given.get(NUM_SPECULATIVE_TOKENS).is_some_and(|n| n > 0),
            "num_speculative_tokens",
        ),
        (
            given.get(SPECULATIVE_ACCEPTANCE).is_some(),
            "speculative_acceptance",
        ),
        (
            given.get(SPECULATIVE_DRAFTED).is_some(),
            "speculative_drafted",
        ),
        (
            given.get(SPECULATIVE_EAGLE_TOPK).is_some(),
            "speculative_eagle_topk",
        ),
        (
            given.get(SPECULATIVE_NUM_DRAFT_TOKENS).is_some(),
            "speculative_num_draft_tokens",
        ),
    ];
    some.into_iter().find(|(is, _)| *is).map(|(_, field)| field)
}

/// Drafts one after another: vLLM and llama.cpp.
fn chain(
    given: &SettingValues,
    method: Method,
    engine: EngineId,
) -> Result<Option<(u32, u32, u32)>, Wrong> {
    for (tree, field) in [
        (given.get(SPECULATIVE_EAGLE_TOPK), "speculative_eagle_topk"),
        (
            given.get(SPECULATIVE_NUM_DRAFT_TOKENS),
            "speculative_num_draft_tokens",
        ),
    ] {
        if tree.is_some() {
            let problem =
                "is SGLang's: other engines draft one chain, of --num-speculative-tokens".into();
            return Err((field, problem));
        }
    }
    let usual = match (engine, method) {
        // As many layers as the checkpoint has for it, which is one (vLLM 0.33.0, `config/speculative.py`: `n_predict`).
        (_, Method::Mtp) => Some(1),
        // `--spec-draft-n-max` (common/common.h, summer of 2026; `--draft-max` had 16 before, docs/speculative.md@067318e).
        (EngineId::LlamaServer, _) => Some(3),
        _ => None,
    };
    match given.get(NUM_SPECULATIVE_TOKENS).or(usual) {
        Some(0) => Ok(None),
        Some(k) => Ok(Some((k, k, 1))),
        None => Err((
            "num_speculative_tokens",
            format!(
                "is missing: how many tokens {} drafts (3, say)",
                method.name()
            ),
        )),
    }
}

/// SGLang's depth, rows and branches (`docs/advanced_features/speculative_decoding.md`@067ad4d): all three or none are given; with one
/// branch the rows are those of the chain and the token before it.
fn tree(
    given: &SettingValues,
    method: Method,
    class: &str,
) -> Result<Option<(u32, u32, u32)>, Wrong> {
    let wide = class.starts_with("Llama") || class.starts_with("Grok");
    // A block, or what the text says: as many drafts as rows but one (`handle_speculative_decoding`: 16, or 12 of n-grams).
    if matches!(method, Method::Dflash | Method::Ngram) {
        let usual = if method == Method::Dflash { 16 } else { 12 };
        let rows = given.get(SPECULATIVE_NUM_DRAFT_TOKENS).unwrap_or(usual);
        let drafts = given.get(NUM_SPECULATIVE_TOKENS).unwrap_or(rows.max(1) - 1);
        return Ok((drafts > 0).then_some((drafts, drafts, 1)));
    }
    let (steps, branches, rows) = match method {
        Method::Eagle | Method::Eagle3 if wide => (5, 4, 8),
        _ => (3, 1, 4),
    };
    let steps = given.get(NUM_SPECULATIVE_TOKENS).unwrap_or(steps);
    if steps == 0 {
        return Ok(None);
    }
    let branches = given.get(SPECULATIVE_EAGLE_TOPK).unwrap_or(branches);
    if branches == 0 {
        return Err(("speculative_eagle_topk", "must be at least 1".into()));
    }
    if branches == 1 {
        return Ok(Some((steps, steps, 1)));
    }
    let rows = given.get(SPECULATIVE_NUM_DRAFT_TOKENS).unwrap_or(rows);
    if rows < 2 {
        return Err(("speculative_num_draft_tokens", "must be at least 2".into()));
    }
    // The token before the drafts is one of the rows.
    Ok(Some((steps.min(rows - 1), rows - 1, branches)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(words: &[(&str, &str)]) -> SettingValues {
        let mut all = SettingValues::default();
        for (name, value) in words {
            let at = <EngineSection as crate::fields::Section>::place(name).unwrap();
            all.put(at, TABLE[at].field.parse(value).unwrap());
        }
        all
    }

    fn of(engine: EngineId, words: &[(&str, &str)]) -> Result<Option<(Method, u32, u32)>, String> {
        requested(&settings(words), engine, "LlamaForCausalLM")
            .map(|r| r.map(|r| (r.method, r.tokens, r.computed)))
            .map_err(|(field, problem)| format!("{field}: {problem}"))
    }

    #[test]
    fn what_is_not_said_is_taken_as_the_engine_takes_it() {
        use EngineId::{LlamaServer, Sglang, Vllm};
        let method = |m| ("speculative_method", m);
        assert_eq!(of(Vllm, &[]), Ok(None));
        assert_eq!(of(Vllm, &[method("none")]), Ok(None));
        assert_eq!(of(Vllm, &[method("mtp")]), Ok(Some((Method::Mtp, 1, 1))));
        let model = ("speculative_model", "Qwen/Qwen3-0.6B");
        assert_eq!(
            of(LlamaServer, &[model]),
            Ok(Some((Method::DraftModel, 3, 3)))
        );
        assert_eq!(
            of(Sglang, &[method("EAGLE3")]),
            Ok(Some((Method::Eagle3, 5, 7)))
        );
        let one = ("speculative_eagle_topk", "1");
        assert_eq!(
            of(Sglang, &[method("EAGLE3"), one]),
            Ok(Some((Method::Eagle3, 5, 5)))
        );
        let none = ("num_speculative_tokens", "0");
        assert_eq!(of(Vllm, &[method("eagle3"), none]), Ok(None));
        assert_eq!(of(Vllm, &[none]), Ok(None));
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        use EngineId::Vllm;
        let method = |m| ("speculative_method", m);
        let k = |n| ("num_speculative_tokens", n);
        for (words, part) in [
            (
                vec![method("suffix"), k("3")],
                "speculative_method: `suffix` is not simulated",
            ),
            (vec![method("eagle3")], "num_speculative_tokens: is missing"),
            (vec![k("3")], "num_speculative_tokens: says how to draft"),
            (vec![method("ngram"), k("99")], "at most 64"),
            (
                vec![method("ngram"), k("3"), ("speculative_acceptance", "7")],
                "speculative_acceptance: `7` is no share",
            ),
            (
                vec![method("ngram"), k("3"), ("speculative_drafted", "2")],
                "speculative_drafted: 2 must be a share",
            ),
            (
                vec![method("eagle"), k("3"), ("speculative_eagle_topk", "2")],
                "speculative_eagle_topk: is SGLang's",
            ),
        ] {
            let e = of(Vllm, &words).unwrap_err();
            assert!(e.contains(part), "{e}");
        }
    }
}
