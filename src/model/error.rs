//! What can be wrong with a model description, and what to do about it.

/// Why a model could not be described. Every text names the file and the field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// Not JSON, or a field of the wrong type.
    #[error("{file}: field `{field}`: {problem}")]
    Json {
        /// The name given to the text.
        file: String,
        /// Path of the field, `.` for the whole text.
        field: String,
        /// What serde found, with line and column.
        problem: String,
    },
    /// A field that the architecture needs is not there.
    #[error("{file}: field `{field}` is missing; {architecture} needs it")]
    Missing {
        /// The name given to the text.
        file: String,
        /// Path of the field.
        field: String,
        /// The architecture that needs it.
        architecture: String,
    },
    /// A value that no model can have.
    #[error("{file}: field `{field}`: {problem}")]
    Invalid {
        /// The name given to the text.
        file: String,
        /// Path of the field.
        field: String,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// An architecture capsim has no operators for.
    #[error(
        "{file}: field `{field}`: unknown architecture \"{value}\"{}; {why}--assume-architecture NAME counts its layers as those of another \
         class; known: {known}",
        did_you_mean(.suggestion)
    )]
    UnknownArchitecture {
        /// The name given to the text.
        file: String,
        /// Path of the field.
        field: String,
        /// What it says.
        value: Box<str>,
        /// The known name that it is a misspelling of, if it may be one.
        suggestion: Option<String>,
        /// Why no known class stands for it, ending in `; `; empty where nothing is to be said.
        why: Box<str>,
        /// All known names.
        known: Box<str>,
    },
    /// Understood, but not modelled: better no answer than a wrong one.
    #[error("{file}: field `{field}`: {problem} (not modelled yet)")]
    Unsupported {
        /// The name given to the text.
        file: String,
        /// Path of the field.
        field: String,
        /// What is not modelled.
        problem: String,
    },
    /// No built-in model has this name.
    #[error(
        "no built-in model \"{name}\"{}; give the path of a config.json (`hf download ORG/NAME config.json` gets one), or a name of those that \
         `capsim models` lists",
        did_you_mean(.suggestion)
    )]
    UnknownModel {
        /// What was asked for.
        name: String,
        /// The closest known name, if any is close.
        suggestion: Option<String>,
    },
    /// A quantization flag that says only that the checkpoint is quantized.
    #[error(
        "`{name}` says that the checkpoint is quantized, and the model's config states no format: name it with --weights (awq, gptq, \
         fp8, int8, mxfp4, ...), or give the checkpoint's own config.json"
    )]
    UnstatedFormat {
        /// The flag's value.
        name: String,
    },
    /// No weight or KV format has this name.
    #[error("unknown {what} \"{name}\"{}", meant(.suggestion, .known))]
    UnknownFormat {
        /// "weight format" or "KV-cache dtype".
        what: &'static str,
        /// What was asked for.
        name: String,
        /// The closest known name, if any is close.
        suggestion: Option<String>,
        /// All known names.
        known: String,
    },
}

/// What is suggested, else all that there is.
fn meant(suggestion: &Option<String>, known: &str) -> String {
    match suggestion {
        Some(_) => did_you_mean(suggestion),
        None => format!("; known: {known}"),
    }
}

fn did_you_mean(suggestion: &Option<String>) -> String {
    suggestion
        .as_ref()
        .map_or(String::new(), |s| format!(" (did you mean \"{s}\"?)"))
}

/// The candidate most like `word`, ignoring case, if it is at all alike.
pub(crate) fn closest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    // Long input is noise, and edit distance is quadratic.
    let word: String = word.chars().take(100).collect::<String>().to_lowercase();
    candidates
        .into_iter()
        .map(|c| (strsim::jaro_winkler(&word, &c.to_lowercase()), c))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, c)| c.to_owned())
}
