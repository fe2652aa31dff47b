//! What the name of a GGUF file says: the model and its mixture of formats.

/// How files name their formats, and what [`Precision::by_name`](crate::model::Precision::by_name) calls them. Unsloth's dynamic mixtures
/// (`UD-…_XL`) are named after what they are close to (`Precision::by_name`).
const FORMATS: &[(&str, &str)] = &[
    ("bf16", "bf16"),
    ("f16", "fp16"),
    ("fp16", "fp16"),
    ("q8_0", "q8_0"),
    ("ud-q8_k_xl", "q8_0"),
    ("q6_k", "gguf-q6_k"),
    ("ud-q6_k_xl", "gguf-dynamic-q6"),
    ("q4_0", "gguf-q4_0"),
    ("iq4_nl", "gguf-q4_0"),
    ("q4_k_m", "q4_k_m"),
    ("q4_k_s", "q4_k_s"),
    ("q5_k_m", "q5_k_m"),
    ("q5_k_s", "q5_k_s"),
    ("ud-q4_k_xl", "gguf-dynamic-q4"),
    ("mxfp4", "gguf-mxfp4"),
    ("mxfp4_moe", "gguf-mxfp4"),
];

/// The file or repository in a path, address or id.
fn last_part(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}

/// The last piece of a name that looks like a format: `Q4_K_M`, `UD-IQ2_XXS`, `BF16`; and what stands before it.
fn split_format(name: &str) -> Option<(&str, &str)> {
    let lower = name.to_ascii_lowercase();
    for (mark, _) in lower.rmatch_indices(['-', '.']) {
        let word = &lower[mark + 1..];
        let digits = |w: &str| w.starts_with(|c: char| c.is_ascii_digit());
        let known = FORMATS.iter().any(|(f, _)| *f == word);
        let alike = word.strip_prefix("iq").is_some_and(digits)
            || (word.strip_prefix('q').is_some_and(digits) && word.contains('_'))
            || (word.strip_prefix("tq").is_some_and(digits));
        if known || alike {
            let before = &name[..mark];
            return Some(match before.to_ascii_lowercase().strip_suffix("-ud") {
                Some(rest) => (&name[..rest.len()], &name[rest.len() + 1..]),
                None => (before, &name[mark + 1..]),
            });
        }
    }
    None
}

/// The word for a format; one that is not known stays what it is, and is refused where it is looked up.
fn format(name: &str) -> String {
    let lower = name.to_ascii_lowercase();
    FORMATS
        .iter()
        .find(|(f, _)| *f == lower)
        .map_or(lower, |(_, word)| word.to_string())
}

/// A tag of Ollama's: the size with its variant, and the format, if one is named.
pub(crate) fn split_tag(tag: &str) -> (String, Option<String>) {
    match split_format(tag) {
        Some((size, f)) => (size.into(), Some(format(f))),
        None => (tag.into(), None),
    }
}

/// Model and weight format of a file: `/models/Qwen3-30B-A3B-Q4_K_M-00001-of-00002.gguf`.
pub(crate) fn of_file(path: &str) -> (String, Option<String>) {
    let name = last_part(path);
    let name = name.strip_suffix(".gguf").unwrap_or(name);
    // Parts of one file: -00001-of-00003.
    let name = match name.rsplitn(4, '-').collect::<Vec<_>>()[..] {
        [n, "of", i, rest]
            if [n, i]
                .iter()
                .all(|w| w.len() == 5 && w.bytes().all(|b| b.is_ascii_digit())) =>
        {
            rest
        }
        _ => name,
    };
    match split_format(name) {
        Some((model, f)) => (model.into(), Some(format(f))),
        None => (name.into(), None),
    }
}

/// Model and weight format of a repository: `unsloth/Qwen3-8B-GGUF:Q4_K_M`. Without one it is Q4_K_M (`--hf-repo`'s help); OpenAI's
/// models exist in MXFP4 only.
pub(crate) fn of_repo(repo: &str) -> (String, String) {
    let (repo, quant) = match repo.split_once(':') {
        Some((repo, quant)) => (repo, Some(format(quant))),
        None => (repo, None),
    };
    let name = last_part(repo);
    let cut = name.len().saturating_sub("-gguf".len());
    let name = match name.get(cut..) {
        Some(end) if end.eq_ignore_ascii_case("-gguf") => &name[..cut],
        _ => name,
    };
    let default = if name.to_ascii_lowercase().starts_with("gpt-oss") {
        "gguf-mxfp4"
    } else {
        "q4_k_m"
    };
    (name.into(), quant.unwrap_or_else(|| default.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_repositories_name_a_model_and_a_format() {
        for (path, model, weights) in [
            (
                "/m/Qwen3-30B-A3B-Q4_K_M.gguf",
                "Qwen3-30B-A3B",
                Some("q4_k_m"),
            ),
            ("llama-2-7b.Q4_0.gguf", "llama-2-7b", Some("gguf-q4_0")),
            (
                "Qwen3-8B-BF16-00001-of-00002.gguf",
                "Qwen3-8B",
                Some("bf16"),
            ),
            (
                "Qwen3-8B-UD-Q4_K_XL.gguf",
                "Qwen3-8B",
                Some("gguf-dynamic-q4"),
            ),
            ("Qwen3-8B-UD-IQ2_XXS.gguf", "Qwen3-8B", Some("ud-iq2_xxs")),
            ("gpt-oss-20b-mxfp4.gguf", "gpt-oss-20b", Some("gguf-mxfp4")),
            ("Qwen3-8B.gguf", "Qwen3-8B", None),
            ("é-Q8_0", "é", Some("q8_0")),
            ("", "", None),
        ] {
            let got = of_file(path);
            assert_eq!(
                (got.0.as_str(), got.1.as_deref()),
                (model, weights),
                "{path}"
            );
        }
        let repo = |r| of_repo(r);
        let both = |a: &str, b: &str| (a.to_string(), b.to_string());
        assert_eq!(repo("unsloth/Qwen3-8B-GGUF:Q8_0"), both("Qwen3-8B", "q8_0"));
        assert_eq!(
            repo("ggml-org/gpt-oss-20b-GGUF"),
            both("gpt-oss-20b", "gguf-mxfp4")
        );
        assert_eq!(repo("x/Qwen3-8B-gguf"), both("Qwen3-8B", "q4_k_m"));
    }
}
